"""Generated pages are current, links lead somewhere, and the paper's numbers are the same wherever they stand."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from stages.base.errors import InputError
from stages.reporting import paper
from workflow import docs
from workflow.registry import STAGES

PAGES = [
    *map(
        Path,
        (
            "README.md",
            "CHANGELOG.md",
            "stages/README.md",
            "benchmarks/README.md",
            "reports/gpu/README.md",
            "data/README.md",
        ),
    ),
    *sorted(Path("docs").glob("*.md")),
]


def test_the_readme_is_short() -> None:
    assert len(docs.README.read_text().splitlines()) <= 150


def test_the_output_page_is_current() -> None:
    assert docs.OUTPUT.read_text() == docs.output_page(), "run 'python -m workflow.docs'"


def test_the_readmes_numbers_are_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held against the report as committed: whoever ran the demo on another processor has another one in its place."""
    archive = subprocess.run(["git", "archive", "HEAD", docs.REPORT.as_posix()], stdout=subprocess.PIPE, check=True)
    subprocess.run(["tar", "-x"], cwd=tmp_path, input=archive.stdout, check=True)
    monkeypatch.setattr(docs, "REPORT", tmp_path / docs.REPORT)
    text = docs.README.read_text()
    assert docs.readme(text) == text, "run 'python -m workflow.docs'"


def test_the_list_of_stages_is_current() -> None:
    text = docs.CODE.read_text(encoding="utf-8")
    assert docs.code_page(text) == text, "run 'python -m workflow.docs'"


def test_every_column_of_every_table_has_a_meaning() -> None:
    for schema in docs.schemas():
        assert all(field.metadata[b"meaning"] for field in schema)
    assert {schema.metadata[b"table"].decode() for schema in docs.schemas()} == docs.WHERE.keys()


def test_the_walk_from_a_clip_to_a_cell_is_short_and_its_files_are_there() -> None:
    text = Path("docs/workflow.md").read_text()
    walk = text.partition("<!-- walk -->")[2].partition("<!-- end of walk -->")[0]
    files = re.findall(r"`(stages/[^`]+)`", walk)
    assert 20 <= len(files) <= 25
    assert all(map(Path.exists, map(Path, files)))


def test_the_page_of_data_names_each_folder_that_a_stage_writes() -> None:
    text = Path("data/README.md").read_text(encoding="utf-8")
    written = {path.partition("/")[0] for stage in STAGES for path in stage.writes}
    assert {folder for folder in written if f"`{folder}" not in text} == set()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())
    missing = [
        link
        for link in links
        if not (page.parent / link).exists() and not link.removeprefix("../").startswith("reports/")
    ]
    assert not missing


def test_the_papers_numbers_stand_the_same_in_the_reading() -> None:
    reading = (Path("docs") / "reading.md").read_text()
    for row in (*paper.TABLE1, *paper.TABLE2):
        assert f"| {' | '.join(row)} |" in reading


def test_a_readme_without_its_marks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"README\.md: lacks the line"):
        docs.readme("# Title\n")
    monkeypatch.setattr(docs, "REPORT", tmp_path / "absent")
    first, last = docs.MARKS
    assert docs.readme(f"a\n{first}\nold\n{last}\nb") == f"a\n{first}\n\nNo report is committed yet.\n\n{last}\nb"


def test_the_numbers_block_quotes_headline_and_claims(tmp_path: Path) -> None:
    (tmp_path / "headline.txt").write_text("2 of 3 claims hold\n")
    lines = [
        "claim,rule,command,expected,measured,holds",
        "The eyelids follow it,metrics,x,≥ 0.85,0.9,yes",
        "mouth,metrics,x,≥ 0.7,0.1,no",
        "steps,train,x,equal,equal,yes",
    ]
    (tmp_path / "claims.csv").write_text("\n".join(lines) + "\n")
    block = docs.numbers(tmp_path)
    assert "2 of 3 claims hold" in block
    assert "| The eyelids follow it | ≥ 0.85 | 0.9 | yes |" in block
    assert "| mouth | ≥ 0.7 | 0.1 | **no** |" in block
    assert "steps" not in block
    assert "[All 3 claims]" in block
    assert "No report is committed yet" in docs.numbers(tmp_path / "absent")


def test_the_citation_is_whole() -> None:
    citation = yaml.safe_load(Path("CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= citation.keys()
    assert len(citation["references"][0]["authors"]) == 5
