"""One smoke run of the whole pipeline, which the tests of this folder copy and continue."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from workflow.copies import copy_tree

ROOT = Path(__file__).resolve().parents[2]


class Project:
    """A project folder, in which commands are run as a user would, in the environment that the tests run in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        programs = Path(sys.executable).parent
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "HIFIDIFF_"))}
        self.env |= {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.env |= {"DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull}

    def run(self, *command: str, fails: bool = False) -> str:
        """Run a command and give what it printed; it must succeed, or fail where ``fails``."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        assert (done.returncode != 0) == fails, f"{' '.join(command)}: {done.returncode}\n{done.stdout[-8000:]}"
        return done.stdout

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own, which hears SIGINT: a shell's background jobs ignore it."""
        heard = [
            "python",
            "-c",
            "import os, signal, sys; signal.signal(2, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])",
        ]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            [*heard, *command], cwd=self.root, env=self.env, stdout=quiet, stderr=quiet, start_new_session=True
        )

    def snakemake(self, *args: str) -> dict[str, int]:
        """Run Snakemake; gives the number of jobs of each rule, aggregates left out."""
        return job_counts(self.run("snakemake", "--cores", "2", *args))

    def to_do(self) -> dict[str, int]:
        """The jobs that a plain ``snakemake`` would run."""
        return self.snakemake("--dry-run")

    def repro(self) -> list[str]:
        """Run ``dvc repro``; gives the stages that ran or came from its run cache."""
        return re.findall(r"^(?:Running stage|Stage) '([^']+)'(?::| is cached)", self.run("dvc", "repro"), re.MULTILINE)

    def changed(self) -> list[str]:
        """The stages that ``dvc status`` finds changed."""
        status = self.run("dvc", "status")
        return [] if "up to date" in status else re.findall(r"^(\S+):$", status, re.MULTILINE)

    def edit(self, old: str, new: str) -> None:
        """Change params.yaml."""
        path = self.root / "params.yaml"
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in params.yaml"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "-m", "state")

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()


def job_counts(output: str) -> dict[str, int]:
    """The table of jobs that Snakemake prints."""
    table = re.search(r"^Job stats:\njob +count\n[- ]+\n(.*?)\n\n", output, re.MULTILINE | re.DOTALL)
    if table is None:
        assert "Nothing to be done" in output, output[-4000:]
        return {}
    counts = (line.split() for line in table[1].splitlines())
    return {rule: int(count) for rule, count in counts if rule not in ("all", "total")}


def wait_until(process: subprocess.Popen[bytes], happened: Callable[[], bool], limit_s: float = 120) -> None:
    """Wait until something has happened, which must be before a process ends."""
    end = time.monotonic() + limit_s
    while not happened():
        assert process.poll() is None, "ended before it got there"
        assert time.monotonic() < end, "did not get there in time"
        time.sleep(0.02)


def kill_when(process: subprocess.Popen[bytes], happened: Callable[[], bool]) -> None:
    """Kill a process and its children with SIGKILL as soon as something has happened, which must be before it ends."""
    wait_until(process, happened)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def packages(imports: str, *folders: str) -> dict[str, str] | None:
    """The variable with which what the Makefile installs beside the environment is found; None where an import fails."""
    places = [*(str(Path(sys.prefix, folder)) for folder in folders), os.environ.get("PYTHONPATH")]
    variables = {"PYTHONPATH": os.pathsep.join(filter(None, places))}
    command = [sys.executable, "-c", f"import {imports}"]
    failed = subprocess.run(command, env=os.environ | variables, capture_output=True).returncode
    return None if failed else variables


def new_project(root: Path, preset: str) -> Project:
    """The working tree's files as a fresh clone, with a preset chosen."""
    copy_tree(root, preset)
    project = Project(root)
    project.run("git", "init", "--quiet")
    project.commit()
    return project


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished smoke run, one for all processes that test. Not to be changed: tests that change something take ``smoke``."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "smoke"
    with FileLock(root.with_suffix(".lock")):
        if root.with_suffix(".made").exists():
            return Project(root)
        project = new_project(root, "smoke")
        project.snakemake()
        project.commit()
        root.with_suffix(".made").touch()
        return project


@pytest.fixture
def smoke(smoke_run: Project, tmp_path: Path) -> Project:
    """A copy of the finished smoke run, for one test."""
    copy = tmp_path / "project"
    subprocess.run(["cp", "--archive", smoke_run.root, copy], check=True)
    return Project(copy)


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """A fresh clone in which nothing has been made."""
    return new_project(tmp_path, "smoke")
