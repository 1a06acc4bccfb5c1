"""Networks: pure torch, no paths, no settings files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

import torch

M = TypeVar("M")


def seeded(seed: int, build: Callable[[], M]) -> M:
    """Build a network (or what holds one) whose initial weights depend on ``seed`` alone.

    The global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def exact() -> AbstractContextManager[None]:
    """Inside this, cuDNN gives the same bits each time.

    It would round to ten bits of mantissa (TF32) and try several algorithms, of which each gives other bits.
    """
    return torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
