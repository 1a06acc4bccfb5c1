"""A copy of this project's working tree in a repository of its own, as a fresh clone of it would be: for tests and benchmarks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from stages.base import presets
from stages.base.params import PARAMS_FILE
from workflow.sources import ROOT

AUTHOR = ("-c", "user.name=HifiDiff", "-c", "user.email=hifidiff@localhost")
LISTED = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")


def copy_tree(root: Path, preset: str) -> None:
    """Copy the files that git has or would take, but for reports and ``dvc.lock``, and choose a preset."""
    for name in subprocess.check_output(LISTED, cwd=ROOT, encoding="utf-8").split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith("reports/") and name != "dvc.lock":
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)
    (root / PARAMS_FILE).write_text(presets.whole(ROOT / "presets" / f"{preset}.yaml"), encoding="utf-8")


def commit(root: Path) -> None:
    """Make the folder a repository and commit all of it."""
    for command in (["init", "--quiet"], ["add", "--all"], [*AUTHOR, "commit", "--quiet", "--message", "a copy"]):
        subprocess.run(["git", *command], cwd=root, check=True)
