"""The training loop: eq. (5) minimised by AdamW, weights averaged, the whole state saved so that a killed run goes on.

B windows, F frames of a window, N = B·F images.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stages import checkpoint
from stages.diffusion import losses
from stages.diffusion.schedule import Diffusion
from stages.errors import TrainingError
from stages.experts import Expert
from stages.networks.hifidiff import HifiDiffNet
from stages.params import Loss, Train
from stages.progress import Progress
from stages.windows import Batch, TrainingSet

PerceptualDistance = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, target, weight) → scalar


@dataclass(frozen=True)
class Objective:
    """Eq. (5): the four terms and their weights. The expert and the perceptual network are frozen."""

    diffusion: Diffusion
    expert: Expert
    perceptual: PerceptualDistance
    weights: Loss
    composite: bool  # whether visible pixels are put back before sync and perceptual terms
    bf16: bool = False  # whether the network computes in bfloat16 (autocast); weights and losses are float32

    def __call__(self, net: Callable[..., Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """L_total and its unweighted terms. Under x_0 prediction eq. (1) and (2) are one number, logged once as ``simple``."""
        x_t = self.diffusion.q_sample(batch.x_0, batch.t_N, batch.noise)
        with torch.autocast(x_t.device.type, torch.bfloat16, enabled=self.bf16):
            output = net(x_t, batch.t_N, batch.given)
        output = output.float()
        target = self.diffusion.target(batch.x_0, batch.t_N, batch.noise)
        x_0_hat = self.diffusion.x_0(x_t, batch.t_N, output)
        w = self.weights

        terms = {"simple": losses.simple_loss(output, target, batch.weight_N1HW)}
        share = {"simple": w.simple}
        if self.diffusion.prediction == "x0":
            share["simple"] += w.l2
        else:
            terms["l2"], share["l2"] = losses.l2_loss(x_0_hat, batch.x_0, batch.weight_N1HW), w.l2
        if self.composite:
            generated = (batch.weight_N1HW > 0).float()
            x_0_hat = generated * x_0_hat + (1 - generated) * batch.x_0
        if w.sync > 0:
            terms["sync"], share["sync"] = self._sync(x_0_hat, batch), w.sync
        if (
            w.lpips > 0
        ):  # eq. (4); paper: the text says the 'reference' frame's features, the formula, as here, the target's
            terms["lpips"] = self.perceptual(x_0_hat, batch.x_0, batch.weight_N1HW)
            share["lpips"] = w.lpips
        total = torch.stack([share[name] * value for name, value in terms.items()]).sum()
        return total, terms

    def _sync(self, x_0_hat: Tensor, batch: Batch) -> Tensor:
        """Eq. (3) on the windows whose audio the network was given; 0 where that is none."""
        windows, frames, kept_N = len(batch.sync_mel_BSM), self.weights.frames, batch.given.audio_kept_N
        video = (losses.windows(x_0_hat[: windows * frames], frames) + 1) / 2
        if kept_N is None:
            return losses.sync_loss(self.expert.embed_video(video), self.expert.embed_audio(batch.sync_mel_BSM))
        heard = kept_N[: windows * frames : frames] > 0
        if not heard.any():
            return x_0_hat.new_zeros(())
        audio = self.expert.embed_audio(batch.sync_mel_BSM[heard])
        return losses.sync_loss(self.expert.embed_video(video[heard]), audio)


def learning_rate(step: int, settings: Train) -> float:
    """Linear warm-up, then constant, or a cosine to 2 % of the peak at the last step."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    if settings.lr_schedule == "constant":
        return settings.learning_rate
    done = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return settings.learning_rate * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)


@torch.no_grad()
def update_average(average: dict[str, Tensor], net: nn.Module, step: int, decay: float) -> None:
    """Exponential moving average of the weights; its memory grows to ``decay`` over the first steps."""
    keep = min(decay, (1 + step) / (10 + step))
    for name, value in net.state_dict().items():
        average[name].lerp_(value.float(), 1 - keep)


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
) -> Fitted:
    """Train ``net`` in place for ``settings.steps`` steps.

    Starts from ``state`` where one of the same ``key`` lies there. Saved after each ``checkpoint_every`` steps and on SIGTERM.
    ``on_step`` is called with the number of each finished step.

    Raises:
        TrainingError: the loss is not finite (with the step and its clips), or SIGTERM came.
    """
    stop = Stop()
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    average = {name: value.detach().clone().float() for name, value in net.state_dict().items()}
    curves = Curves(settings.log_every)
    first, before, begun = 0, 0.0, time.monotonic()
    found = checkpoint.load(state, key=key)
    if found:
        first, saved = found
        net.load_state_dict(saved["net"])
        optimiser.load_state_dict(saved["optimiser"])
        average = {name: value.to(device) for name, value in saved["average"].items()}
        curves.rows, curves.sums = saved["curves"]["rows"], saved["curves"]["sums"]
        before = saved["curves"]["seconds"]

    net.train()
    forward: Callable[..., Tensor] = torch.compile(net) if settings.compile else net
    progress = Progress(f"train {label}", settings.steps, "steps", done=first)
    for step in range(first, settings.steps):
        batch = data.step(step).to(device)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, settings)
        torch.manual_seed(settings.seed * 1_000_003 + step)  # dropout, the only draw not made by `data`
        total, terms = objective(forward, batch)
        if not torch.isfinite(total):
            values = {name: value.item() for name, value in terms.items()}
            raise TrainingError(
                f"train {label}: the loss is not finite at step {step}: {values}, clips {', '.join(batch.clips)}; "
                "look at these clips, or lower train.learning_rate"
            )
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), settings.clip_norm)
        optimiser.step()
        update_average(average, net, step, settings.ema)
        values = {name: value.item() for name, value in terms.items()}
        curves.add(
            step, {"total": total.item(), **values, "gradient_norm": norm.item()}, last=step + 1 == settings.steps
        )
        if checkpoint.due(step, settings.checkpoint_every, settings.steps) or stop.wanted:
            states: dict[str, dict[str, Any]] = {
                "net": net.state_dict(),
                "optimiser": optimiser.state_dict(),
                "average": average,
                "curves": {"rows": curves.rows, "sums": curves.sums, "seconds": before + time.monotonic() - begun},
            }
            checkpoint.save(state, step + 1, states, key=key)
        if stop.wanted:
            raise TrainingError(
                f"train {label}: stopped by SIGTERM after step {step + 1}; run the same command to go on"
            )
        on_step(step)
        progress.update(note=f"loss {total.item():.4f}")
    return Fitted(average, curves.rows, before + time.monotonic() - begun)
