"""A training step with all four losses of eq. (5) against one without the sync and the perceptual term.

    python -m benchmarks.losses [--size 128 --channels 128 --batch 12] [--compile] [--json]

``--batch`` counts windows of five frames. The expert is Wav2Lip's network and LPIPS runs on VGG-16, both with random weights,
which cost what trained ones do. The step is the trainer's own: its objective, clipping, fused AdamW.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torchvision
from torch import nn

from benchmarks import networks, timing
from benchmarks.networks import Inputs, Layout
from benchmarks.timing import Goal, Report, Result, Setting, Turns
from stages.base.errors import run
from stages.base.params import Loss
from stages.clips.windows import Batch
from stages.diffusion.schedule import Diffusion
from stages.networks import perceptual, seeded
from stages.networks.hifidiff import HifiDiffNet
from stages.networks.lipsync_expert import FRAMES, MEL_STEPS
from stages.networks.wav2lip_expert import Wav2LipExpert
from stages.training.objective import Objective

SLOWER = Goal(most=1.25)
PAPER = {"simple": 1.0, "l2": 1.0, "sync": 0.15, "lpips": 0.25}


def weights(*, auxiliary: bool) -> Loss:
    """The paper's weights of the four terms; without ``auxiliary`` those of sync and perceptual term are 0."""
    rest = {"change": 0.0, "perceptual": "lpips_vgg", "mouth_weight": 1.0, "eye_weight": 1.0, "frames": FRAMES}
    return Loss.model_validate({**PAPER, **({} if auxiliary else {"sync": 0.0, "lpips": 0.0}), **rest})


def random_batch(layout: Layout, windows: int, device: torch.device) -> Batch:
    """``windows`` windows of noise, with loss weights of 1 throughout."""
    inputs = Inputs.random(layout, windows * FRAMES, device)
    return Batch(
        x_0=inputs.target.clamp(-1, 1),
        noise=inputs.x_t,
        t_N=inputs.t_N,
        weight_N1HW=torch.ones_like(inputs.x_t[:, :1]),
        given=inputs.given,
        sync_mel_BSM=inputs.given.mel_NSM[:windows, :MEL_STEPS].contiguous(),
        mouth_maps_BF23=torch.eye(2, 3, device=device).repeat(windows, FRAMES, 1, 1),
        clips=("noise",) * (windows * FRAMES),
    )


def lpips_vgg(device: torch.device) -> nn.Module:
    """LPIPS on an untrained VGG-16."""
    trunk = seeded(1, lambda: torchvision.models.vgg16(weights=None)).state_dict()
    return perceptual.lpips_from_trunk(trunk).to(device, memory_format=torch.channels_last)


def training_step(
    net: HifiDiffNet, objective: Objective, batch: Batch, *, compiled: bool = False
) -> Callable[[], torch.Tensor]:
    """A function that makes one step of the trainer on a fixed batch and gives its loss."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-5, fused=True)
    forward: Callable[..., torch.Tensor] = torch.compile(net) if compiled else net

    def step() -> torch.Tensor:
        total = objective.total(objective(forward, batch), len(batch.x_0), len(batch.sync_mel_BSM))
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        return total.detach()

    return step


def objectives(setting: Setting) -> dict[str, Objective]:
    """``four``: all terms of eq. (5); ``two``: eq. (1) and (2) alone."""
    expert = seeded(2, Wav2LipExpert).to(setting.device).eval().requires_grad_(False)
    network = lpips_vgg(setting.device)
    return {
        name: Objective(
            diffusion=Diffusion(1000, "cosine", "epsilon"),
            expert=expert,
            perceptual=lambda x, target, weight: network(x, target).flatten(),
            weights=weights(auxiliary=name == "four"),
            composite=True,
            bf16=setting.bf16,
        )
        for name in ("four", "two")
    }


def results(turns: Turns, images: int) -> list[Result]:
    """The lines of the report."""
    return [
        Result(
            "four_over_two", "seconds of a step with all four losses over without", turns.ratio("four", "two"), SLOWER
        ),
        *(Result(f"rate_{n}", f"images/s, {n} losses", images / turns.median(n)) for n in turns.seconds),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    timing.add_options(parser, turns=3)
    networks.add_layout(parser, cpu_size=64, cpu_channels=128, cpu_batch=1, cuda_batch=12)
    parser.add_argument("--compile", action="store_true", help="torch.compile on the network, in both cases")
    args = parser.parse_args()
    setting = Setting.of(args)
    layout, windows = networks.choose_layout(args, setting)
    batch = random_batch(layout, windows, setting.device)
    net = seeded(0, layout.whole).to(setting.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = {
        name: training_step(net, objective, batch, compiled=args.compile)
        for name, objective in objectives(setting).items()
    }
    turns = setting.time(steps)
    scale = f"{layout.size} pixels, {layout.channels} channels, {windows} windows of {FRAMES} images a step"
    machine = setting.machine() | {"scale": scale, "compile": "both" if args.compile else "none"}
    timing.show(Report("losses", machine, results(turns, windows * FRAMES)), as_json=args.json)


if __name__ == "__main__":
    run(main)
