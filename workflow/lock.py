"""One run at a time in a folder. A second is told whose it is; a killed run's lock is freed, so that the same command resumes.

Snakemake's lock does not say whose it is. So each run leaves its host, process and command beside it, and a later one names them,
or removes the lock where its holder is known and dead: never one of another machine on a shared disk, or of a run that still
goes on. DVC leaves the process that is at a stage in a file of its own.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import psutil
from filelock import FileLock
from snakemake.exceptions import LockException
from snakemake.logging import logger
from snakemake.persistence import PersistenceBase

from stages.store import atomic

LOCKS = Path(".snakemake/locks")
HOLDERS = Path(".snakemake/holders")  # a file a run; runs of files that have nothing in common may go on side by side
GUARD = Path(".snakemake/holders.lock")  # held while a lock is freed or taken
DVC_AT_WORK = Path(".dvc/tmp/rwlock")
PART = re.compile(r".+\.(\d+)\.part")

Holder = dict[str, Any]  # host, process, started (seconds since 1970), command


def name_holders(root: Path) -> None:
    """Have Snakemake's lock of ``root`` say whose it is. A Snakemake that locks otherwise is left alone."""
    if not hasattr(PersistenceBase, "lock") or PersistenceBase.lock.__module__ == __name__:
        return
    own = PersistenceBase.lock

    @contextmanager
    def lock(self: PersistenceBase) -> Iterator[None]:
        with ExitStack() as stack:
            with _guard(root):
                if "DVC_STAGE" not in os.environ and (busy := dvc_at_work(root)):
                    _refuse(busy)
                others = living(root)
                stack.enter_context(
                    hold(root)
                )  # before the lock, or one killed in between would leave a lock without a name
                try:
                    stack.enter_context(own(self))
                except LockException:
                    _refuse(refusal(root, others))
            yield

    PersistenceBase.lock = lock


@contextmanager
def hold(root: Path) -> Iterator[None]:
    """Say that this process runs Snakemake in ``root``, until the block ends."""
    process = psutil.Process()
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    own: Holder = {"host": platform.node(), "process": process.pid, "started": process.create_time()}
    path = root / HOLDERS / f"{platform.node()}-{process.pid}.json"
    atomic.write_json(path, own | {"command": command})
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def release(root: Path) -> bool:
    """Remove the locks of holders that are dead; says whether there were any. In doubt they stay: ``snakemake --unlock``."""
    if not any((root / LOCKS).glob("*.lock")) or not any((root / HOLDERS).glob("*.json")):
        return False
    with _guard(root):
        locks = sorted((root / LOCKS).glob("*.lock"))
        if not locks or living(root):
            return False
        for lock in locks:
            lock.unlink(missing_ok=True)
        for holder in (root / HOLDERS).glob("*.json"):
            holder.unlink(missing_ok=True)
        return True


def living(root: Path) -> list[Holder]:
    """The runs that hold ``root``, or may: those of other machines count, alive or not."""
    holders = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((root / HOLDERS).glob("*.json"))]
    return [
        holder for holder in holders if holder["host"] != platform.node() or _runs(holder["process"], holder["started"])
    ]


def tidy(folders: Iterable[Path]) -> None:
    """Remove files that processes which are dead were writing: ``<name>.<process>.part``, of :mod:`stages.store.atomic`."""
    for folder in folders:
        for path in folder.rglob("*.part"):
            if (part := PART.fullmatch(path.name)) and not psutil.pid_exists(int(part[1])):
                path.unlink(missing_ok=True)


def refusal(root: Path, holders: list[Holder]) -> str:
    """What a second run is told, in one line."""
    if not holders:
        return (
            f"{root}: locked by a run that left no name; once you know that none goes on here, run 'snakemake --unlock'"
        )
    holder = holders[0]
    if holder["host"] == platform.node():
        group = os.getpgid(holder["process"])
        fix = f"wait for its end, or stop it with 'kill -TERM -- -{group}', and run the same command again"
    else:
        fix = "wait for its end; if it was killed there, run 'snakemake --unlock'"
    return f"{root}: {_named(holder)} runs here; {fix}"


def dvc_at_work(root: Path) -> str | None:
    """What a run beside ``dvc repro`` or ``dvc exp run`` is told, in one line; None where DVC is at no stage."""
    try:
        writers = json.loads((root / DVC_AT_WORK).read_text(encoding="utf-8")).get("write", {}).values()
    except (OSError, json.JSONDecodeError):
        return None
    for writer in writers:
        try:
            process = psutil.Process(writer["pid"])
            words = process.cmdline()
            started = process.create_time()
        except psutil.Error:
            continue  # it was killed; DVC takes it out itself
        programs = [place for place, word in enumerate(words) if Path(word).name == "dvc"]
        if not programs:
            continue  # another process has this id by now
        command = shlex.join(["dvc", *words[programs[0] + 1 :]])
        holder = {"host": platform.node(), "process": process.pid, "started": started, "command": command}
        return refusal(root, [holder])
    return None


def _refuse(message: str) -> NoReturn:
    """End Snakemake with one line: of an exception it would print the path through this module, too."""
    logger.error(message)
    raise SystemExit(1) from None


def _guard(root: Path) -> FileLock:
    (root / GUARD).parent.mkdir(exist_ok=True)
    return FileLock(root / GUARD)


def _named(holder: Holder) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["started"]))
    return f"'{holder['command']}' (process {holder['process']} on {holder['host']}, since {since})"


def _runs(process: int, started: float) -> bool:
    try:
        return abs(psutil.Process(process).create_time() - started) < 1  # else the id is another process's by now
    except psutil.NoSuchProcess:
        return False
