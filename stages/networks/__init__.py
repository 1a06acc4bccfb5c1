"""Networks: pure torch, no paths, no settings files."""

from __future__ import annotations

from collections.abc import Callable
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
