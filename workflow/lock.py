"""Free the folder where a killed Snakemake left it locked, so that the same command resumes. The Snakefile calls both.

Snakemake's lock does not say whose it is. So each run leaves its host and process beside it, and a later one removes a lock
whose holder is known and dead: never one of another machine on a shared disk, or of a run that still goes on.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path

import psutil

from stages.store import atomic

LOCKS = Path(".snakemake/locks")
HOLDER = Path(".snakemake/holder.json")


def hold(root: Path) -> None:
    """Say that this process runs Snakemake in ``root``."""
    own = {"host": platform.node(), "process": psutil.Process().pid, "started": psutil.Process().create_time()}
    atomic.write_json(root / HOLDER, own)


def release(root: Path) -> bool:
    """Remove the locks of a holder that is dead; says whether there were any. In doubt they stay: ``snakemake --unlock``."""
    locks = sorted((root / LOCKS).glob("*.lock"))
    if not locks or not (root / HOLDER).exists():
        return False
    holder = json.loads((root / HOLDER).read_text(encoding="utf-8"))
    if holder["host"] != platform.node() or _runs(holder["process"], holder["started"]):
        return False
    for lock in locks:
        lock.unlink(missing_ok=True)
    return True


def _runs(process: int, started: float) -> bool:
    try:
        return abs(psutil.Process(process).create_time() - started) < 1  # else the id is another process's by now
    except psutil.NoSuchProcess:
        return False
