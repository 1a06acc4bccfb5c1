"""HifiDiff's training: eq. (5) minimised by AdamW, and the weights averaged.

A step's batch may be cut into micro-batches (``train.accumulate``) and over processes (``torchrun``): a part's loss is its
share of the whole batch's, so that the gradients add up to those of one process with the whole batch. What a step sees
depends on (seed, step, index in the batch), not on how it is cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stages.base.params import Train
from stages.clips.windows import Batch, TrainingSet
from stages.networks.hifidiff import HifiDiffNet
from stages.training import loader, loop
from stages.training.loop import Average, Readback, Stateful, share_of_rate
from stages.training.objective import Objective
from stages.training.processes import ALONE, World

ADVICE = "look at these clips, or lower train.learning_rate"  # where a loss is not finite


def learning_rate(step: int, settings: Train) -> float:
    """That of a step; see :func:`stages.training.loop.share_of_rate`."""
    share = share_of_rate(step, steps=settings.steps, warmup=settings.warmup, decay=settings.lr_schedule)
    return settings.learning_rate * share


class Trainer(loop.Trainer):
    """Trains ``net`` in place. With several processes all make one with the same arguments.

    ``average`` has the averaged weights; ``finish`` leaves the network as the last step left it.
    """

    def __init__(
        self,
        net: HifiDiffNet,
        objective: Objective,
        data: TrainingSet,
        settings: Train,
        *,
        device: torch.device,
        world: World = ALONE,
    ) -> None:
        self.net, self.objective, self.data, self.settings = net.train(), objective, data, settings
        self.device, self.world, self.average = device, world, Average(net)
        self._optimiser = torch.optim.AdamW(
            net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self._forward: nn.Module = torch.compile(net) if settings.compile else net  # type: ignore[assignment]
        if world.size > 1:
            ids = None if device.type == "cpu" else [device.index]
            self._forward = DistributedDataParallel(self._forward, device_ids=ids)
        self._batches: Iterator[tuple[Batch, ...]] | None = None
        self._images: dict[int, tuple[Readback, tuple[str, ...]]] = {}  # by step: eq. (1) of each image, and its clip

    def states(self) -> dict[str, Stateful]:
        return {"net": self.net, "optimiser": self._optimiser, "average": self.average}

    def step(self, step: int) -> dict[str, Tensor]:
        settings, objective, data = self.settings, self.objective, self.data
        parts = self._parts(step)
        loop.set_rate(self._optimiser, learning_rate(step, settings))
        self._optimiser.zero_grad(set_to_none=True)
        names = [*objective.shares, "total"]
        sums = torch.zeros(len(names), device=self.device)
        simple: list[Tensor] = []
        for number, part in enumerate(parts):
            # Dropout is the only draw that ``data`` does not make; it alone depends on how a batch is cut.
            loop.seed_torch(settings.seed, step, self.world.rank, number)
            together = number + 1 == len(parts) or self.world.size == 1
            with nullcontext() if together else self._forward.no_sync():  # type: ignore[operator]
                terms = objective(self._forward, part)
                total = objective.total(terms, data.images, data.batch)
                (total * self.world.size).backward()  # the processes' gradients are averaged
            means = [terms[name].sum() / (data.batch if name == "sync" else data.images) for name in objective.shares]
            sums += torch.stack([*means, total]).detach()
            simple.append(terms["simple"].detach())
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), settings.clip_norm)
        self._optimiser.step()
        self.average.update(self.net, step, settings.ema)
        self._images.pop(step - 2, None)
        self._images[step] = Readback(torch.cat(simple)), tuple(clip for part in parts for clip in part.clips)
        return {**dict(zip(names, self.world.sum(sums), strict=True)), "gradient_norm": norm}

    def suspects(self, step: int) -> str:
        """The clips of this process whose images have no finite loss, else all of them."""
        values, clips = self._images[step]
        own = [clip for clip, value in zip(clips, values.read(), strict=True) if not math.isfinite(value)]
        return "clips " + ", ".join(dict.fromkeys(own or clips))

    def _parts(self, step: int) -> tuple[Batch, ...]:
        """The micro-batches of this process; ``step`` is the first one asked for, or the one after the last."""
        if self._batches is None:
            settings, data = self.settings, self.data
            images = data.batch + data.singles
            self._batches = loader.batches(
                data,
                loader.shares(images, self.world.rank, self.world.size, settings.accumulate),
                first=step,
                steps=settings.steps,
                workers=settings.workers,
                device=self.device,
            )
        return next(self._batches)
