"""The torture notices what it is there for: bytes that differ, files that are missing or left over, runs that don't end."""

from __future__ import annotations

import itertools
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from benchmarks import torture
from benchmarks.torture import Broken, Project, State, Stop


def project(root: Path, files: dict[str, str]) -> Project:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Project(root)


FILES = {"data/smoke/index.parquet": "a", "reports/smoke/index.md": "b", "data/smoke/resume/train/state.pt": "c"}


def test_only_the_truths_bytes_are_let_pass(tmp_path: Path) -> None:
    truth = project(tmp_path / "truth", FILES)
    same = FILES | {"data/smoke/resume/train/state.pt": "another"}  # what trainings resume from may differ
    assert torture.compare(project(tmp_path / "same", same), truth, all_of_them=True) == 2
    half = {"data/smoke/index.parquet": "a", "data/smoke/.index.parquet.1.part": ""}
    begun = project(tmp_path / "begun", half)
    assert torture.compare(begun, truth, all_of_them=False) == 1
    assert begun.left_over() == ["data/smoke/.index.parquet.1.part"]
    with pytest.raises(Broken, match=r"reports/smoke/index\.md: 1 files are missing"):
        torture.compare(begun, truth, all_of_them=True)
    for name, wrong in (
        ("other", FILES | {"data/smoke/index.parquet": "b"}),
        ("cut", FILES | {"reports/smoke/index.md": ""}),
        ("more", FILES | {"data/smoke/more": ""}),
    ):
        with pytest.raises(Broken, match="1 files are not the truth's"):
            torture.compare(project(tmp_path / name, wrong), truth, all_of_them=False)


def test_moments_are_the_same_in_parts_and_cover_the_wait_and_the_signals() -> None:
    at_once = list(itertools.islice(torture.draws(0, 0), 60))
    assert list(itertools.islice(torture.draws(0, 20), 40)) == at_once[20:]
    assert list(itertools.islice(torture.draws(1, 0), 60)) != at_once
    shares, names = zip(*at_once)
    assert min(shares) < 0.1
    assert max(shares) > 0.9
    assert set(names) == set(torture.SIGNALS)


@pytest.mark.parametrize("name", torture.SIGNALS)
def test_a_command_is_stopped_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    child = "sleep 100 & echo $! > child; while :; do :; done"
    monkeypatch.setattr(torture, "COMMAND", ("bash", "-c", child))
    assert torture.stop(Project(tmp_path), 0.2, name) == [torture.START]
    number = int((tmp_path / "child").read_text())
    with suppress(psutil.NoSuchProcess):
        left = psutil.Process(number)
        end = time.monotonic() + 10
        while left.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < end, "the child lives on"
            time.sleep(0.05)


def test_a_command_that_ends_by_itself_or_never_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "mask.py").write_text("while True: pass")
    for command, raised in (
        ("exit 0", None),
        ("echo why; exit 3", "ended with 3: why"),
        ("trap '' INT; while :; do :; done", "runs 2 s after"),
        ("trap 'exit 0' INT; python -m stages.mask", "in mask was not heard"),
    ):
        monkeypatch.setattr(torture, "COMMAND", ("bash", "-c", command))
        monkeypatch.setattr(torture, "ENDS_S", 2)
        if raised is None:
            assert torture.stop(Project(tmp_path), 30, "SIGINT") is None
        else:
            with pytest.raises(Broken, match=raised):
                torture.stop(Project(tmp_path), 0.3, signal.SIGINT.name)


def test_the_wait_doubles_where_nothing_gets_done() -> None:
    stops = [Stop(1, 1.0, "SIGKILL", ["report"], files=5)] * torture.STALLED
    assert State(0, 100, stops[1:]).longest_s() == 100 * torture.LONGEST
    assert State(0, 100, stops).longest_s() == 200 * torture.LONGEST
    assert State(0, 100, [*stops, Stop(1, 1.0, "SIGKILL", ["report"], files=6)]).longest_s() == 100 * torture.LONGEST


def test_the_page_counts_stops_by_stage_and_signal() -> None:
    stops = [Stop(1, 3.0, "SIGKILL", ["mask", "train"], 5), Stop(1, 4.0, "SIGINT", ["mask"], 6)]
    page = torture.page(State(0, 100, stops, [90]))
    assert "| mask | 1 | 1 | 0 | 2 of 2 |" in page
    assert "| train | 1 | 0 | 0 | 1 of 1 |" in page
    assert "| **stops** | 1 | 1 | 0 | 2 of 2 |" in page
    assert "90 files" in page
