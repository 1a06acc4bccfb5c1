"""Free the folder where a killed Snakemake left it locked; ``make reproduce`` calls this first.

python -m workflow.lock
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psutil

from stages.errors import HifiDiffError, run
from workflow.sources import ROOT

LOCKS = Path(".snakemake/locks")


def holders(root: Path) -> list[int]:
    """Ids of the processes that run Snakemake in ``root``, this one and its parents excepted."""
    own = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = [Path(word).name for word in process.info["cmdline"] or []][:3]
        if process.pid in own or "snakemake" not in words:
            continue
        try:
            if Path(process.cwd()) == root:
                found.append(process.pid)
        except psutil.Error:  # ended meanwhile, or another user's
            continue
    return found


def release(root: Path = ROOT) -> bool:
    """Remove a lock that no process holds any more; says whether there was one.

    Raises:
        HifiDiffError: a Snakemake is running here.
    """
    if not any((root / LOCKS).glob("*.lock")):
        return False
    if running := holders(root):
        raise HifiDiffError(f"{root}: Snakemake is running here (process {running[0]}); wait for it, or stop it first")
    subprocess.run(["snakemake", "--unlock", "--quiet", "all"], cwd=root, check=True, capture_output=True)
    return True


def main() -> None:
    if release():
        print("a killed run had left the folder locked; going on from there")


if __name__ == "__main__":
    run(main)
