"""What every training loop of this project has: running averages of weights, curves, and a wish to stop that is heard."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from types import FrameType

import torch
from torch import Tensor, nn


@torch.no_grad()
def update_average(average: dict[str, Tensor], net: nn.Module, step: int, decay: float) -> None:
    """Exponential moving average of the weights; its memory grows to ``decay`` over the first steps."""
    keep = min(decay, (1 + step) / (10 + step))
    weights = net.state_dict()
    torch._foreach_lerp_(list(average.values()), [weights[name].float() for name in average], 1 - keep)


@dataclass
class Curves:
    """Means of each loss term over ``every`` steps."""

    every: int
    rows: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, step: int, values: dict[str, float], *, last: bool = False) -> None:
        """Take a step's values in; a row is finished every ``every`` steps and at the last one."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        if last or (step + 1) % self.every == 0:
            count = step % self.every + 1
            self.rows.append({"step": step + 1, **{name: total / count for name, total in self.sums.items()}})
            self.sums = {}


class Stop:
    """Turns SIGTERM into a request, so that the state is saved before the process ends."""

    def __init__(self) -> None:
        self.wanted = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
