"""The processes of one training, as ``torchrun`` starts them; one process by itself is a world of size 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


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
    """Join the other processes (NCCL on GPUs, gloo on CPUs); ``torchrun`` has set RANK, LOCAL_RANK and WORLD_SIZE."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()


def own_device(device: torch.device) -> torch.device:
    """The GPU of this process, where there are several processes on one machine."""
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if device.type == "cuda" else device
