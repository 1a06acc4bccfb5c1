"""The small commands of the workflow: source lists, the graph of rules, the lock of a killed run, provenance."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

from workflow import lock, publish, rulegraph, sources


def package(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_sources_follow_imports_anywhere_in_a_module(tmp_path: Path) -> None:
    root = package(
        tmp_path,
        {
            "stages/__init__.py": "",
            "stages/errors.py": "",
            "stages/mask.py": "import numpy\nfrom stages import geometry\nfrom stages.errors import run\n",
            "stages/geometry.py": "def late():\n    import stages.net.unet\n",
            "stages/net/__init__.py": "",
            "stages/net/unet.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from stages import other\n",
            "stages/net/table.csv": "",
            "stages/other.py": "",
        },
    )
    expected = ["__init__.py", "geometry.py", "mask.py", "net/__init__.py", "net/table.csv", "net/unet.py"]
    assert sources.code("mask", root) == [f"stages/{name}" for name in expected]


def test_the_lists_in_dvc_yaml_are_what_update_writes(tmp_path: Path) -> None:
    copy = tmp_path / "dvc.yaml"
    copy.write_text((ROOT / "dvc.yaml").read_text())
    sources.update(copy)
    assert copy.read_text() == (ROOT / "dvc.yaml").read_text(), "python -m workflow.sources --update"


def test_the_graph_of_rules_is_reduced_and_current() -> None:
    assert rulegraph.edges("  id0[a]\n  id1[b]\n  id1 --> id0\n") == [("b", "a")]
    assert rulegraph.reduced([("a", "b"), ("a", "c"), ("b", "c")]) == [("a", "b"), ("b", "c")]
    assert (ROOT / "docs" / "rulegraph.md").read_text() == rulegraph.page(), "make rulegraph"


def test_a_lock_is_left_alone_while_a_snakemake_runs(tmp_path: Path) -> None:
    assert lock.release(tmp_path) is False
    locks = package(tmp_path, {".snakemake/locks/0.input.lock": "x\n", "Snakefile": "rule all:\n    input: []\n"})
    program = package(tmp_path, {"bin/snakemake": "import time\nprint(flush=True)\ntime.sleep(60)\n"}) / "bin/snakemake"
    running = subprocess.Popen([sys.executable, str(program)], cwd=tmp_path, stdout=subprocess.PIPE)
    try:
        assert running.stdout is not None
        running.stdout.readline()
        assert lock.holders(tmp_path) == [running.pid]
        assert lock.release(locks) is False
    finally:
        running.kill()
        running.communicate()
    assert lock.release(tmp_path) is True
    assert not list((tmp_path / ".snakemake").glob("locks/*.lock"))


def test_times_are_summed_over_a_rules_jobs(tmp_path: Path) -> None:
    table = "s\th:m:s\n{}\t0:00:00\n"
    package(tmp_path, {"index.tsv": table.format(1), "mask/ada.tsv": table.format(2), "mask/bela.tsv": table.format(3)})
    assert publish.rule_times(tmp_path) == {
        "index": {"jobs": 1, "seconds": 1.0, "longest": 1.0},
        "mask": {"jobs": 2, "seconds": 5.0, "longest": 3.0},
    }


def test_provenance_names_commit_hardware_times_and_runs() -> None:
    found = {
        "run": "demo",
        "finished": "today",
        "environment": {"commit": "abc"},
        "hardware": publish.hardware(),
        "rules": {"mask": {"jobs": 2, "seconds": 5.0, "longest": 3.0}},
    }
    text = publish.page(found, {"full": {"training": "r1"}})
    for row in (
        "| commit | abc |",
        f"| cores | {os.cpu_count()} |",
        "| mask | 2 | 5.0 | 3.0 |",
        "| full | training | `r1` |",
    ):
        assert row in text
    assert "MLflow: not present" in publish.page(found, {})
