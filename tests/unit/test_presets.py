"""Presets other than the demo hold only what differs; merged, they are whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stages.base import params, presets
from stages.base.errors import ParameterError
from stages.reporting.files import files
from workflow.sources import ROOT

OVERLAYS = [path for path in sorted((ROOT / "presets").glob("*.yaml")) if path.stem != "demo"]


def leaves(value: object, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    if isinstance(value, dict) and value:
        return {at: leaf for key, inner in value.items() for at, leaf in leaves(inner, (*path, key)).items()}
    return {path: value}


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.stem)
def test_an_overlay_holds_only_what_differs(path: Path) -> None:
    """No line of it says what its base says; rows of the tables are written whole."""
    text = path.read_text()
    base = path.with_name(text.split("base: ")[1].split("\n")[0] + ".yaml")
    under, over = (leaves(yaml.safe_load(presets.whole(p))) for p in (base, path))
    same = []
    for at, entry in written(path):
        if entry.mark == "" and not entry.inside and over.get(at, over) == under.get(at, under) and at[0] != "methods":
            same.append(".".join(at))
    assert same == []


def written(path: Path) -> list[tuple[tuple[str, ...], presets.Entry]]:
    def walk(entries: list[presets.Entry], above: tuple[str, ...]) -> list[tuple[tuple[str, ...], presets.Entry]]:
        return [
            found
            for entry in entries
            for found in [((*above, entry.key), entry), *walk(entry.inside, (*above, entry.key))]
        ]

    return walk(presets._read(path.read_text(encoding="utf-8"), path)[1], ())


def test_reports_of_people_hold_no_face() -> None:
    """What lies in a report's folder whose preset says ``report.faces: false``: texts, tables and charts."""
    for path in OVERLAYS:
        settings = params.validate(yaml.safe_load(presets.whole(path)), path)
        folder = ROOT / "reports" / settings.run
        if settings.report.faces or not folder.is_dir():
            continue
        found = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
        assert found <= {*files(settings), "provenance.md"}, path.stem


def merged(folder: Path, base: str, over: str) -> str:
    (folder / "b.yaml").write_text(base)
    (folder / "o.yaml").write_text(over)
    return presets.whole(folder / "o.yaml")


BASE = """# base
run: b # its name

# all of it
train:
  steps: 3 # few
  seed: 1
rows: # of tables
  one:
    {kind: a}
  two:
    kind: b
    deep: {x: 1}
"""


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes("run: zoë".encode("latin-1"))
    with pytest.raises(ParameterError, match=r"params\.yaml: not UTF-8 \(byte 7\); save it as UTF-8"):
        params.load(tmp_path / "params.yaml")


def test_a_key_that_stands_twice_is_refused_before_the_last_would_win(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"o\.yaml: line 4: steps stands twice; keep one of the two"):
        merged(tmp_path, BASE, "base: b\ntrain:\n  steps: 2\n  steps: 4\n")


def test_the_whole_keeps_order_and_comments(tmp_path: Path) -> None:
    over = "# over\nbase: b\nrun: o\ntrain:\n  seed: 2 # another\nrows:\n  three:\n    {kind: c}\n  two:\n    deep: {x: 2}\n"
    expected = (
        BASE.replace("# base", "# over").replace("run: b # its name", "run: o").replace("seed: 1", "seed: 2 # another")
    )
    expected = expected.replace("{x: 1}", "{x: 2}") + "  three:\n    {kind: c}\n"
    assert merged(tmp_path, BASE, over) == expected


def test_sections_are_replaced_and_removed_where_marked(tmp_path: Path) -> None:
    over = "base: b\nrun: o\ntrain: !replace\n  steps: 9\nrows:\n  one: !remove\n"
    found = yaml.safe_load(merged(tmp_path, BASE, over))
    assert found == {"run": "o", "train": {"steps": 9}, "rows": {"two": {"kind": "b", "deep": {"x": 1}}}}


def test_what_an_overlay_can_t_mean_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"o\.yaml: four is !remove, and its base has none"):
        merged(tmp_path, BASE, "base: b\nrun: o\nrows:\n  four: !remove\n")
    (tmp_path / "p.yaml").write_text("base: nowhere\nrun: p\n")
    with pytest.raises(ParameterError, match=r"p\.yaml: base is 'nowhere'; there is no .*nowhere\.yaml"):
        presets.whole(tmp_path / "p.yaml")
    with pytest.raises(ParameterError, match=r"base is 'nowhere'"):
        params.load(tmp_path / "p.yaml")


def test_a_file_without_a_base_is_as_it_is() -> None:
    demo = ROOT / "presets" / "demo.yaml"
    assert presets.whole(demo) == demo.read_text()
