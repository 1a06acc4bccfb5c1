"""Free the folder where a killed Snakemake left it locked, so that the same command goes on. The Snakefile calls this."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

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


def release(root: Path) -> bool:
    """Remove a lock that no process holds any more; says whether there was one.

    While a Snakemake runs in ``root`` its lock stays, and Snakemake itself says what that means.
    """
    locks = sorted((root / LOCKS).glob("*.lock"))
    if not locks or holders(root):
        return False
    for lock in locks:
        lock.unlink(missing_ok=True)
    return True
