"""Batches made ahead of the training, in processes of their own, so that a GPU does not wait for them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from stages.base import devices
from stages.clips.windows import Batch, TrainingSet

AHEAD = 4  # batches that each worker has ready


@dataclass(frozen=True)
class Parts(Dataset):
    """The micro-batches of all steps, one after another: item ``step · parts + part``."""

    data: TrainingSet
    indices: list[list[int]]  # of each part, in the global batch

    def __getitem__(self, item: int) -> Batch:
        step, part = divmod(item, len(self.indices))
        return self.data.step(step, self.indices[part])


def shares(count: int, rank: int, processes: int, parts: int) -> list[list[int]]:
    """The share of the global batch's ``count`` windows and frames that each part of a process takes; windows come first in it.

    Dealt out like cards, so that each part has windows and single frames in the batch's proportion.

    Raises:
        ValueError: a part would be empty.
    """
    if processes * parts > count:
        raise ValueError(f"a batch of {count} cannot be cut into {processes} × {parts} parts")
    return [list(range(count))[rank + processes * part :: processes * parts] for part in range(parts)]


def batches(
    data: TrainingSet, indices: list[list[int]], *, first: int, steps: int, workers: int, device: torch.device
) -> Iterator[tuple[Batch, ...]]:
    """The parts of each step from ``first`` to ``steps``, on ``device``; made in this process where ``workers`` is 0.

    A batch depends on (seed, step, index) alone, so that it is the same from whichever process.
    """
    cv2.setNumThreads(1)  # a fork has no copy of OpenCV's threads, and would wait for them
    loader = DataLoader(
        Parts(data, indices),
        batch_size=None,
        sampler=range(first * len(indices), steps * len(indices)),
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        worker_init_fn=_leave_signals if workers else None,
        multiprocessing_context="fork" if workers else None,  # the clips are shared, not copied
        pin_memory=devices.pins(device),
    )
    made = (batch.to(device) for batch in loader)
    return zip(*[made] * len(indices), strict=True)


def _leave_signals(worker: int) -> None:
    """Signals are the training's affair: it saves its state, and ends its workers."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
