"""What training loops share: learning rates, averaged weights, curves, resuming after a kill, stopping cleanly on SIGTERM."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from stages.base.errors import TrainingError
from stages.store import checkpoint


class Stateful(Protocol):
    """What changes in training, and so is saved: a network, an optimiser, an average."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


def share_of_rate(step: int, *, steps: int, warmup: int, decay: Literal["constant", "cosine"]) -> float:
    """The share of the full learning rate at a step: linear warm-up, then constant, or a cosine to 2 % at the last step."""
    if step < warmup:
        return (step + 1) / warmup
    if decay == "constant":
        return 1.0
    done = (step - warmup) / max(steps - warmup, 1)
    return 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2


class Average:
    """The exponential moving average of a network's weights and running statistics."""

    def __init__(self, network: nn.Module) -> None:
        self.weights = {name: value.detach().clone().float() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int, decay: float) -> None:
        """Take in the weights after a step. The memory grows to ``decay`` over the first ones; 0 keeps the last weights alone."""
        keep, found = min(decay, (1 + step) / (10 + step)), network.state_dict()
        torch._foreach_lerp_(list(self.weights.values()), [found[name].float() for name in self.weights], 1 - keep)

    def state_dict(self) -> dict[str, Tensor]:
        return self.weights

    def load_state_dict(self, found: dict[str, Tensor]) -> None:
        for name, value in self.weights.items():
            value.copy_(found[name])


@dataclass
class Curves:
    """Means of each loss term over ``every`` steps, and the time that the steps took."""

    every: int
    rows: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """In the loop, over all the processes that took part in it one after another."""
        return time.monotonic() - self.begun

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "sums": self.sums, "seconds": self.seconds}

    def load_state_dict(self, found: dict[str, Any]) -> None:
        self.rows, self.sums = found["rows"], found["sums"]
        self.begun -= found["seconds"]

    def add(self, step: int, values: dict[str, float], *, last: bool = False) -> None:
        """Take a step's values in; a row is finished every ``every`` steps and at the last one."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        if last or (step + 1) % self.every == 0:
            count = step % self.every + 1
            self.rows.append({"step": step + 1, **{name: total / count for name, total in self.sums.items()}})
            self.sums = {}


def resumed(path: Path, states: Mapping[str, Stateful], *, key: str) -> int:
    """Bring all to what a killed training of the same key saved; the step to go on with, 0 where nothing was saved."""
    found = checkpoint.load(path, key=key)
    if not found:
        return 0
    step, saved = found
    for name, state in states.items():
        state.load_state_dict(saved[name])
    return step


def save(path: Path, step: int, states: Mapping[str, Stateful], *, key: str) -> None:
    """Save all after a step, for :func:`resumed`."""
    checkpoint.save(path, step + 1, {name: state.state_dict() for name, state in states.items()}, key=key)


def stopped(label: str, step: int) -> TrainingError:
    """What to raise after the step in which SIGTERM came."""
    return TrainingError(f"train {label}: stopped by SIGTERM after step {step + 1}; run the same command to go on")


class Stop:
    """Turns SIGTERM into a request, so that the state is saved before the process ends."""

    def __init__(self) -> None:
        self.wanted = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
