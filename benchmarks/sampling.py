"""Sampling by DDIM: HifiDiff's network and sampler against ``diffusers``' ``UNet2DModel``, and 10 steps against 50.

    python -m benchmarks.sampling [--size 128 --channels 128 --batch 25] [--compile] [--json]

The peer runs in both memory formats and by both loops, this project's and ``diffusers``' own ``DDIMScheduler``; the fastest
counts.
Every step puts the visible pixels back where the loop is ours.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import networks, timing
from benchmarks.networks import PEERS, Case, Inputs, Layout
from benchmarks.timing import Goal, Report, Result, Setting, Turns
from stages.base.errors import run
from stages.diffusion.samplers import sample_ddim
from stages.diffusion.schedule import Diffusion

STEPS, FEW = 50, 10
SHARE_OF_LIMIT = Goal(least=0.65)
FEW_OVER_MANY = Goal(least=0.95 * STEPS / FEW, most=1.05 * STEPS / FEW)


def sampler(case: Case, inputs: Inputs, setting: Setting, steps: int) -> Callable[[], Tensor]:
    """A function that samples the batch by this project's loop."""
    diffusion = Diffusion(1000, "cosine", "epsilon")
    masked_NCHW = inputs.given.masked_NCHW
    assert masked_NCHW is not None
    mask_N1HW = torch.ones_like(masked_NCHW[:, :1])

    def denoise(x_t: Tensor, t_N: Tensor) -> Tensor:
        with setting.autocast():
            output = case.predict(x_t, t_N)
        return mask_N1HW * diffusion.x_0(x_t, t_N, output.float()).clamp(-1, 1) + masked_NCHW

    @torch.no_grad()
    def sample() -> Tensor:
        return sample_ddim(diffusion, denoise, inputs.x_t, steps)

    return sample


def scheduler_sampler(case: Case, inputs: Inputs, setting: Setting, steps: int) -> Callable[[], Tensor]:
    """A function that samples the batch by ``diffusers``' own ``DDIMScheduler``."""
    scheduler = networks.import_peer().DDIMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    scheduler.set_timesteps(steps)

    @torch.no_grad()
    def sample() -> Tensor:
        x = inputs.x_t
        for t in scheduler.timesteps:
            with setting.autocast():
                output = case.predict(x, torch.full_like(inputs.t_N, int(t)))
            x = scheduler.step(output.float(), t, x).prev_sample
        return x

    return sample


def results(turns: Turns, layout: Layout, batch: int, peak: float, share: Goal | None) -> list[Result]:
    """The lines of the report; every case but ``few`` takes ``STEPS`` steps."""
    peer = turns.fastest([name for name in turns.seconds if name not in ("hifidiff", "few")])
    limit = peak / (STEPS * layout.flops())
    rate = batch / turns.median("hifidiff")
    rest = [
        Result(f"rate_{n}", f"{n}, frames/s at {STEPS} steps", batch / turns.median(n))
        for n in turns.seconds
        if n != "few"
    ]
    return [
        Result(
            "hifidiff_over_peer", f"HifiDiff's frames/s at {STEPS} steps over {peer}", turns.ratio(peer, "hifidiff")
        ),
        Result(
            "few_over_many",
            f"frames/s at {FEW} steps over {STEPS} steps",
            turns.ratio("hifidiff", "few"),
            FEW_OVER_MANY,
        ),
        Result("share_of_limit", "share of the counted limit", rate / limit, share),
        Result("limit", f"counted limit, frames/s at {STEPS} steps, from the measured product", limit),
        *rest,
        Result("peak_tflops", "TFLOP/s of a large matrix product in this run", peak / 1e12),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    timing.add_options(parser, turns=5)
    networks.add_layout(parser, cpu_size=32, cpu_channels=64, cpu_batch=1, cuda_batch=25)
    parser.add_argument("--compile", action="store_true", help="torch.compile on both sides")
    parser.add_argument("--peak-tflops", type=float, help="instead of measuring a matrix product")
    args = parser.parse_args()
    setting = Setting.of(args)
    layout, batch = networks.choose_layout(args, setting)
    inputs = Inputs.random(layout, batch, setting.device)
    cases = networks.cases(("hifidiff", *PEERS), layout, inputs, setting, compiled=args.compile)
    for case in cases.values():
        case.net.eval()
    runs = {"few": sampler(cases["hifidiff"], inputs, setting, FEW)}  # beside the case that it is compared with
    runs |= {name: sampler(case, inputs, setting, STEPS) for name, case in cases.items()}
    runs |= {f"{name}_own_scheduler": scheduler_sampler(cases[name], inputs, setting, STEPS) for name in PEERS}
    turns = setting.time(runs)
    peak = args.peak_tflops * 1e12 if args.peak_tflops else timing.peak_flops(setting)
    share = SHARE_OF_LIMIT if setting.device.type == "cuda" else None  # the goal is a GPU's
    scale = f"{layout.size} pixels, {layout.channels} channels, {batch} frames at a time"
    machine = setting.machine() | {"scale": scale, "compile": "both" if args.compile else "none"}
    timing.show(Report("sampling", machine, results(turns, layout, batch, peak, share)), as_json=args.json)


if __name__ == "__main__":
    run(main)
