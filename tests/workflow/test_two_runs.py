"""A second run in a folder is told in one line who holds it, whichever of Snakemake and DVC came first."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from conftest import Project, wait_until

from workflow import lock

pytestmark = pytest.mark.workflow

EXPERT = "data/smoke/expert/expert.safetensors"


@pytest.fixture
def long(smoke: Project) -> Project:
    """The finished smoke run, whose expert is to be trained again, for longer than the tests take."""
    path = smoke.root / "params.yaml"
    before, expert, after = re.split(r"^(expert:\n(?:  .*\n)+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    path.write_text(before + expert.replace("  steps: 4\n", "  steps: 100000\n") + after, encoding="utf-8")
    (smoke.root / "logs/smoke/expert.log").unlink()  # it comes back as the job starts
    return smoke


@contextmanager
def training(project: Project, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that trains the expert, until the block ends."""
    with project.start(*command) as running:
        try:
            wait_until(running, (project.root / "logs/smoke/expert.log").exists)
            yield running
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)


def refused(project: Project, *command: str) -> str:
    """The line that names the holder."""
    printed = project.run(*command, fails=True)
    assert "Traceback" not in printed
    assert "Directory cannot be locked" not in printed
    (line,) = [line for line in printed.splitlines() if " runs here; " in line]
    return line


def test_beside_snakemake(long: Project) -> None:
    with training(long, "snakemake", "--cores", "1", EXPERT) as first:
        told = refused(long, "snakemake", "--cores", "1")
        assert re.search(
            rf"{re.escape(str(long.root))}: 'snakemake --cores 1 {EXPERT}' \(process {first.pid} on {platform.node()}, "
            rf"since [\d-]+ [\d:]+\) runs here; wait for its end, or stop it with 'kill -TERM -- -{first.pid}', and run the same",
            told,
        )
        assert f"(process {first.pid} on" in refused(long, "dvc", "repro", "expert")
        assert long.to_do()["expert"] == 1, "a dry run is none"
        assert first.poll() is None, "it goes on"
    assert lock.living(long.root) == [], "it was killed"
    assert long.to_do()["expert"] == 1


def test_a_run_that_is_stopped_as_advised_or_by_the_terminal_leaves_nothing_to_mend(long: Project) -> None:
    for asked in (signal.SIGTERM, signal.SIGINT):
        with training(long, "snakemake", "--cores", "1", EXPERT) as first:
            os.killpg(first.pid, asked)
            assert first.wait(120) != 0
        assert not list((long.root / ".snakemake/holders").iterdir())
        assert not (long.root / EXPERT).exists()
        (long.root / "logs/smoke/expert.log").unlink()
    assert long.to_do()["expert"] == 1


def test_beside_dvc(long: Project) -> None:
    with training(long, "dvc", "repro", "--single-item", "expert") as first:
        told = refused(long, "snakemake", "--cores", "1")
        assert f"'dvc repro --single-item expert' (process {first.pid} on {platform.node()}, since " in told
        assert f"(PID {first.pid})" in long.run("dvc", "repro", "--single-item", "expert", fails=True)
        assert first.poll() is None, "it goes on"
