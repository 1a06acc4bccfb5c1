"""What the training loops share: learning rates, running averages of weights, curves, a wish to stop that is heard."""

from __future__ import annotations

import math
import signal
from dataclasses import dataclass, field
from types import FrameType
from typing import Literal

import torch
from torch import Tensor, nn


def share_of_rate(step: int, *, steps: int, warmup: int, decay: Literal["constant", "cosine"]) -> float:
    """The share of the full learning rate at a step: linear warm-up, then constant, or a cosine to 2 % at the last step."""
    if step < warmup:
        return (step + 1) / warmup
    if decay == "constant":
        return 1.0
    done = (step - warmup) / max(steps - warmup, 1)
    return 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2


@torch.no_grad()
def update_average(average: dict[str, Tensor], net: nn.Module, step: int, decay: float) -> None:
    """Exponential moving average of the weights; its memory grows to ``decay`` over the first steps."""
    keep = min(decay, (1 + step) / (10 + step))
    weights = net.state_dict()
    torch._foreach_lerp_(list(average.values()), [weights[name].float() for name in average], 1 - keep)


class Average:
    """The moving average of a network's weights and running statistics, to be saved with a training's state."""

    def __init__(self, network: nn.Module) -> None:
        self.weights = {name: value.detach().clone().float() for name, value in network.state_dict().items()}

    def update(self, network: nn.Module, step: int, decay: float) -> None:
        """Take in the weights after a step; a ``decay`` of 0 keeps the last ones alone."""
        update_average(self.weights, network, step, decay)

    def state_dict(self) -> dict[str, Tensor]:
        return self.weights

    def load_state_dict(self, found: dict[str, Tensor]) -> None:
        for name, value in self.weights.items():
            value.copy_(found[name])


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
