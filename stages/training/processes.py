"""The processes of one training, as ``torchrun`` starts them; one process by itself is a world of size 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from stages.base import devices


@dataclass(frozen=True)
class World:
    """This process's number among the training's, and how many there are."""

    rank: int
    size: int

    @property
    def first(self) -> bool:
        """True for the process that saves, records and prints."""
        return self.rank == 0

    def sum(self, x: Tensor) -> Tensor:
        """``x`` summed over the processes, in place; every process must call it."""
        if self.size > 1:
            dist.all_reduce(x)
        return x

    def wait(self) -> None:
        """Return once every process has come here."""
        if self.size > 1:
            dist.barrier()


ALONE = World(0, 1)


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Join the other processes, of all nodes, by the device's own backend; ``torchrun`` has set RANK and WORLD_SIZE."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    devices.current(device)
    dist.init_process_group(dist.get_default_backend_for_device(device))
    try:
        yield World(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()


def own_device(device: torch.device) -> torch.device:
    """The accelerator of this process, where there are several processes on one machine: ``torchrun`` has set LOCAL_RANK."""
    return devices.numbered(device, int(os.environ.get("LOCAL_RANK", "0")), "train.processes")
