"""The training loop: eq. (5) minimised by AdamW, weights averaged, the whole state saved so that a killed run goes on.

A step's batch may be cut into micro-batches (``train.accumulate``) and over processes (``torchrun``): a part's loss is its
share of the whole batch's, so that the gradients add up to those of one process with the whole batch. What a step sees
depends on (seed, step, index in the batch), not on how it is cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stages.base.errors import TrainingError
from stages.base.params import Train
from stages.base.progress import Progress
from stages.clips.windows import TrainingSet
from stages.networks.hifidiff import HifiDiffNet
from stages.store import checkpoint
from stages.training import loader, loop
from stages.training.loop import Average, Curves, Stateful, Stop, share_of_rate
from stages.training.objective import Objective
from stages.training.processes import ALONE, World


def learning_rate(step: int, settings: Train) -> float:
    """That of a step; see :func:`stages.training.loop.share_of_rate`."""
    share = share_of_rate(step, steps=settings.steps, warmup=settings.warmup, decay=settings.lr_schedule)
    return settings.learning_rate * share


class Readback:
    """A step's values on their way from the device; reading them does not wait for what the device was given later."""

    def __init__(self, values: Tensor) -> None:
        self._event = None
        self._values = values
        if values.device.type == "cuda":
            self._values = torch.empty_like(values, device="cpu", pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def read(self) -> list[float]:
        if self._event is not None:
            self._event.synchronize()
        return self._values.tolist()


class Sent(NamedTuple):
    """A step in flight: queued on the device, its values not read yet."""

    step: int
    values: Readback  # terms, total, gradient norm, wishes to stop; over all processes
    simple: Readback  # eq. (1) of each image of this process
    clips: tuple[str, ...]  # of each image of this process


class Fitted(NamedTuple):
    """A finished training."""

    weights: dict[str, Tensor]  # averaged
    curves: list[dict[str, float]]
    seconds: float  # in the loop, over all the processes that took part in it one after another


def fit(
    net: HifiDiffNet,
    objective: Objective,
    data: TrainingSet,
    settings: Train,
    *,
    device: torch.device,
    state: Path,
    key: str,
    label: str,
    on_step: Callable[[int], None],
    world: World = ALONE,
) -> Fitted:
    """Train ``net`` in place for ``settings.steps`` steps.

    Starts from ``state`` where one of the same ``key`` lies there. Saved after each ``checkpoint_every`` steps and on SIGTERM.
    ``on_step`` is called with the number of each step once it is made (and, where it is due, saved). With several processes
    all call this with the same arguments; the first one saves.

    A step's values are read while the device computes the next one, so that it never waits for this process.

    Raises:
        TrainingError: the loss is not finite (with the step and its clips), or SIGTERM came.
    """
    stop = Stop()
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    average, curves = Average(net), Curves(settings.log_every)
    states: dict[str, Stateful] = {"net": net, "optimiser": optimiser, "average": average, "curves": curves}
    first = loop.resumed(state, states, key=key)

    net.train()
    forward: nn.Module = torch.compile(net) if settings.compile else net  # type: ignore[assignment]
    if world.size > 1:
        forward = DistributedDataParallel(forward, device_ids=[device.index] if device.type == "cuda" else None)
    indices = loader.shares(data.batch + data.singles, world.rank, world.size, settings.accumulate)
    images, names = data.images, [*objective.shares, "total", "gradient_norm"]
    progress = Progress(f"train {label}", settings.steps, "steps", done=first)

    def finish(sent: Sent) -> bool:
        """Look at a step's values; whether some process wishes to stop."""
        *found, wishes = sent.values.read()
        values = dict(zip(names, found, strict=True))
        if not math.isfinite(values["total"]):
            own = [clip for clip, value in zip(sent.clips, sent.simple.read()) if not math.isfinite(value)]
            where = ", ".join(dict.fromkeys(own or sent.clips))
            raise TrainingError(
                f"train {label}: the loss is not finite at step {sent.step}: {values}, clips {where}; "
                "look at these clips, or lower train.learning_rate"
            )
        curves.add(sent.step, values, last=sent.step + 1 == settings.steps)
        progress.update(note=f"loss {values['total']:.4f}")
        return wishes > 0

    def save(step: int) -> None:
        if world.first:
            loop.save(state, step, states, key=key)
        world.wait()

    batches = loader.batches(data, indices, first=first, steps=settings.steps, workers=settings.workers, device=device)
    sent: Sent | None = None
    for step, parts in zip(range(first, settings.steps), batches, strict=True):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, settings)
        optimiser.zero_grad(set_to_none=True)
        sums = torch.zeros(len(names) - 1, device=device)
        simple: list[Tensor] = []
        for number, part in enumerate(parts):
            _seed_dropout(settings.seed, step, world.rank, number)
            last = number + 1 == len(parts)
            with nullcontext() if last or world.size == 1 else forward.no_sync():  # type: ignore[operator]
                terms = objective(forward, part)
                total = objective.total(terms, images, data.batch)
                (total * world.size).backward()  # the processes' gradients are averaged
            means = [terms[name].sum() / (data.batch if name == "sync" else images) for name in objective.shares]
            sums += torch.stack([*means, total]).detach()
            simple.append(terms["simple"].detach())
        norm = nn.utils.clip_grad_norm_(net.parameters(), settings.clip_norm)
        optimiser.step()
        average.update(net, step, settings.ema)
        world.sum(sums)
        wishes = world.sum(torch.full((1,), float(stop.wanted), device=device))
        values = torch.cat([sums, norm.detach().reshape(1), wishes])
        now = Sent(step, Readback(values), Readback(torch.cat(simple)), tuple(c for part in parts for c in part.clips))
        stopping = finish(sent) if sent else False
        sent = now
        if stopping or checkpoint.due(step, settings.checkpoint_every, settings.steps) or _alone(world, stop):
            stopping |= finish(sent)
            sent = None
            save(step)
        if stopping:
            raise loop.stopped(label, step)
        on_step(step)
    return Fitted(average.weights, curves.rows, curves.seconds)


def _alone(world: World, stop: Stop) -> bool:
    """Whether to stop at once: a process by itself need not ask the others, who learn of a wish a step later."""
    return world.size == 1 and stop.wanted


def _seed_dropout(seed: int, step: int, rank: int, part: int) -> None:
    """Dropout is the only draw that ``data`` does not make; it alone depends on how a batch is cut."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank, part]).generate_state(1, np.uint64)[0]))
