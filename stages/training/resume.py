"""Resumable training: states written whole, that belong to one set of parameters and are used by one process at a time.

A loop that resumes derives its randomness from (seed, step), so that a state holds no generator: network, optimiser and
running averages are all. Killed at any moment and run again, it ends with the same bytes as if it had never stopped::

    with resume.lock(folder):
        key = resume.fingerprint(settings, [*files, *resume.code()])
        first, states = resume.load(folder / "state.pt", key=key) or (0, {})
        for step in range(first, steps):
            ...
            if resume.due(step, every, steps):
                resume.save(folder / "state.pt", step + 1, {"network": ..., "optimiser": ...}, key=key)
        weights_file.write(out, network.state_dict(), config)

The last state stays: a run that was killed after a training's end, or whose child ended the training on its own, does not train
again. The key tells whether it still fits; deleting ``data/<run>/resume`` frees its space.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from stages.base import meaning
from stages.store.atomic import whole_file


def fingerprint(settings: Mapping[str, Any], files: Iterable[Path] = ()) -> str:
    """The key of a state: a digest of the settings (JSON values) and of the files (data read, sources run).

    Of a source it is what the code means (:mod:`stages.base.meaning`): a comment makes no saved state useless.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in files:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(meaning.of_file(path)).digest())
    return digest.hexdigest()


def code() -> list[Path]:
    """The source files of this project that the process has loaded, in order: what a state's digest should hold of them."""
    loaded = [module for name, module in sys.modules.items() if name == "__main__" or name.split(".")[0] == "stages"]
    return sorted({Path(str(module.__file__)) for module in loaded if getattr(module, "__file__", None)})


def due(step: int, every: int, steps: int) -> bool:
    """True if a state is saved after ``step`` (from 0): each ``every`` steps, and after the last."""
    return (step + 1) % every == 0 or step + 1 == steps


def save(path: Path, step: int, states: dict[str, dict], *, key: str) -> None:
    """Save the states after ``step`` steps, whole or not at all. Tensors and optimiser states are kept to the bit."""
    with whole_file(path) as part:
        torch.save({"key": key, "step": step, "states": states}, part)


def load(path: Path, *, key: str) -> tuple[int, dict[str, Any]] | None:
    """The number of steps done and the states, or None where there is nothing to go on from.

    A damaged state, or one of other parameters, data or code, is left aside with a line on stderr: start anew.
    """
    if not path.exists():
        return None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        same, step, states = found["key"] == key, int(found["step"]), found["states"]
    except Exception as error:  # the unpickler raises anything, struct.error and AssertionError too, on damaged bytes
        print(
            f"{path}: not a readable state ({type(error).__name__}); starting from step 0", file=sys.stderr, flush=True
        )
        return None
    if not same:
        print(f"{path}: of other parameters, data or code; starting from step 0", file=sys.stderr, flush=True)
        return None
    print(f"{path}: going on from step {step} (delete it to start anew)", file=sys.stderr, flush=True)
    return step, states


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a resume folder alone; waits where another process has it, such as the child of a killed workflow.

    The lock is the kernel's (``flock``): it goes with its process, however that ends, and never goes stale.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            owner = handle.read().strip() or "unknown"
            print(f"{folder}: in use by process {owner}; waiting for it to end", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield
