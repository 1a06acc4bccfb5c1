"""The one training loop: a trainer's steps, resumed after a kill, saved on the way, stopped cleanly on SIGTERM.

What differs between trainings (HifiDiff's, the expert's, the judges', the other systems') is a :class:`Trainer`.
"""

from __future__ import annotations

import math
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from stages.base import devices
from stages.base.errors import TrainingError
from stages.base.progress import Progress
from stages.training import resume
from stages.training.processes import ALONE, World


class Stateful(Protocol):
    """Things that change in training, and so are saved: a network, an optimiser, an average."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


class Trainer(ABC):
    """A training: its networks, its optimisers, and what a step does to them."""

    @abstractmethod
    def states(self) -> dict[str, Stateful]:
        """All that changes in training, by name; a killed run goes on from it.

        A step may use no other memory, and no global random numbers but torch's, which are seeded before each step.
        """

    @abstractmethod
    def step(self, step: int) -> Mapping[str, Tensor | float]:
        """Do step ``step`` of 0, 1, …; gives the terms to plot, the same ones each time, single numbers.

        Tensors may lie on a GPU that has not computed them yet: they are read while the next step runs.
        """

    def suspects(self, step: int) -> str:
        """The possible causes of a term of this step, or of the one before, that is not finite, for the message."""
        return ""

    def scores(self) -> dict[str, float]:
        """The columns beside the terms in each row of the curve, such as scores on validation data."""
        return {}

    def finish(self) -> None:  # noqa: B027 - a hook, which few need
        """After the last step: bring what is to be saved, such as averaged weights, into the networks."""


class OneLoss(Trainer):
    """Trains one network in place on one loss: AdamW, the gradient's norm at most 1."""

    def __init__(self, network: nn.Module, learning_rate: float) -> None:
        self.network, self.learning_rate = network.train(), learning_rate
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4, fused=True)

    def states(self) -> dict[str, Stateful]:
        return {"network": self.network, "optimiser": self.optimiser}

    @abstractmethod
    def loss(self, step: int) -> Tensor:
        """The loss of a step's batch."""

    @abstractmethod
    def share(self, step: int) -> float:
        """Of the learning rate, at a step."""

    def step(self, step: int) -> dict[str, Tensor]:
        set_rate(self.optimiser, self.learning_rate * self.share(step))
        loss = self.loss(step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        return {"loss": loss}


class Fitted(NamedTuple):
    """A finished training."""

    curves: list[dict[str, float]]
    seconds: float  # in the loop, over all the processes that took part in it one after another


def fit(
    trainer: Trainer,
    *,
    steps: int,
    seed: int,
    log_every: int,
    checkpoint_every: int,
    state: Path,
    key: str,
    label: str,
    advice: str,
    on_step: Callable[[int], None] = lambda step: None,
    world: World = ALONE,
) -> Fitted:
    """Do a trainer's steps from the last saved state on.

    Args:
        trainer: with several processes each has its own, of the same weights.
        steps: how many in all.
        seed: of torch's random numbers, with the step's number.
        log_every: steps of which each row of the curve has the means.
        checkpoint_every: steps after each of which all is saved; so it is on SIGTERM. The first process saves.
        state: the file that is saved to, and gone on from where it has the same ``key``.
        key: what the state belongs to; see :func:`stages.training.resume.fingerprint`.
        label: what is trained, in messages.
        advice: what to do where a term is not finite.
        on_step: called with each step's number once it is made (and, where it is due, saved).
        world: the processes of this training.

    Raises:
        TrainingError: a term is not finite (with the step and the trainer's suspects), or SIGTERM came.
    """
    stop, curves = Stop(), Curves(log_every)
    states = {**trainer.states(), "curves": curves}
    first = _resumed(state, states, key=key)
    progress = Progress(label, steps, "steps", done=first)

    def look(sent: Sent) -> bool:
        """Read a step's terms; whether some process wishes to stop."""
        terms, wished = sent.read()
        if not all(math.isfinite(value) for value in terms.values()):
            about = ", ".join(filter(None, [str(terms), trainer.suspects(sent.step)]))
            raise TrainingError(f"{label}: the loss is not finite at step {sent.step}: {about}; {advice}")
        last = sent.step + 1 == steps
        curves.add(sent.step, terms, trainer.scores() if curves.closes(sent.step, last) else {}, last=last)
        shown = {"loss": terms["total"]} if "total" in terms else terms
        progress.update(note=" ".join(f"{name} {value:.4f}" for name, value in shown.items()))
        return wished

    def save(step: int) -> None:
        if world.first:
            resume.save(state, step + 1, {name: part.state_dict() for name, part in states.items()}, key=key)
        world.wait()

    sent: Sent | None = None
    for step in range(first, steps):
        seed_torch(seed, step)
        terms = trainer.step(step)
        now = Sent.of(step, terms, stop.wanted, world)
        stopping = look(sent) if sent else False
        sent = now
        due = resume.due(step, checkpoint_every, steps)
        alone = world.size == 1 and stop.wanted  # need not ask the others, who learn of a wish a step later
        if due or alone or stopping or curves.closes(step, step + 1 == steps):
            stopping |= look(sent)
            sent = None
        if due or alone or stopping:
            save(step)
        if stopping:
            raise TrainingError(f"{label}: stopped by SIGTERM after step {step + 1}; run the same command to go on")
        on_step(step)
    trainer.finish()
    return Fitted(curves.rows, curves.seconds)


def share_of_rate(step: int, *, steps: int, warmup: int, decay: Literal["constant", "cosine"]) -> float:
    """The share of the full learning rate at a step: linear warm-up, then constant, or a cosine to 2 % at the last step."""
    if step < warmup:
        return (step + 1) / warmup
    if decay == "constant":
        return 1.0
    done = (step - warmup) / max(steps - warmup, 1)
    return 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give all of an optimiser's parameters this learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate


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
    """Means of each term over ``every`` steps, and the time that the steps took."""

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

    def closes(self, step: int, last: bool) -> bool:
        """True if a row ends with this step: every ``every`` steps, and with the last one."""
        return last or (step + 1) % self.every == 0

    def add(
        self, step: int, terms: Mapping[str, float], scores: Mapping[str, float] | None = None, *, last: bool = False
    ) -> None:
        """Take a step's terms in; the row that ends with it has ``scores`` beside the means."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        if self.closes(step, last):
            count = step % self.every + 1
            means = {name: total / count for name, total in self.sums.items()}
            self.rows.append({"step": step + 1, **means, **(scores or {})})
            self.sums = {}


class Readback:
    """Numbers on their way from the device; reading them waits for what the device was given later where it pins no memory."""

    def __init__(self, values: Tensor) -> None:
        self._event = None
        self._values = values
        if devices.pins(values.device):
            self._values = torch.empty_like(values, device="cpu", pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._event = torch.Event(values.device)
            self._event.record()

    def read(self) -> list[float]:
        if self._event is not None:
            self._event.synchronize()
        return self._values.tolist()


@dataclass(frozen=True)
class Sent:
    """A step in flight: queued on the device, its numbers not read yet."""

    step: int
    names: tuple[str, ...]  # of the terms
    numbers: Readback  # the terms, and over all processes how many wish to stop

    @classmethod
    def of(cls, step: int, terms: Mapping[str, Tensor | float], stop: bool, world: World) -> Sent:
        """A step's terms, and whether this process wishes to stop; every process must call it."""
        device = next((value.device for value in terms.values() if isinstance(value, Tensor)), None)
        wide = devices.widest(device)
        numbers = [torch.as_tensor(value, dtype=wide, device=device).detach() for value in terms.values()]
        wishes = world.sum(torch.full((), float(stop), dtype=wide, device=device))
        return cls(step, tuple(terms), Readback(torch.stack([*numbers, wishes])))

    def read(self) -> tuple[dict[str, float], bool]:
        """The terms, and whether some process wishes to stop."""
        *values, wishes = self.numbers.read()
        return dict(zip(self.names, values, strict=True)), wishes > 0


class Stop:
    """Turns SIGTERM into a request, so that the state is saved before the process ends."""

    def __init__(self) -> None:
        self.wanted = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True


def _resumed(path: Path, states: Mapping[str, Stateful], *, key: str) -> int:
    """Bring all to what a killed training of the same key saved; the step to go on with, 0 where nothing was saved."""
    found = resume.load(path, key=key)
    if not found:
        return 0
    step, saved = found
    for name, part in states.items():
        part.load_state_dict(saved[name])
    return step


def seed_torch(*numbers: int) -> None:
    """Torch's random numbers from here on are those of these numbers."""
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))
