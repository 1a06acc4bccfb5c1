"""A training step (forward, backward, fused AdamW on an MSE) of HifiDiff's network against ``diffusers``' ``UNet2DModel``.

    python -m benchmarks.unet [--size 128 --channels 128 --batch 32] [--compile] [--json]

The peer has the same widths, blocks, attention, heads and groups, the same precision, and runs in both memory formats; the
faster of the two counts. Its blocks know time alone: ours do more work for each image (a second modulation, and the encoders of
audio and blink).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F

from benchmarks import networks, timing
from benchmarks.networks import OURS, PEERS, Case, Inputs, Layout
from benchmarks.timing import Goal, Report, Result, Setting, Turns
from stages.base.errors import run

TIMES_THE_PEER = Goal(least=1.3)
SHARE_OF_LIMIT = Goal(least=0.65)
FORWARDS = 3  # a training step costs three forwards: the backward pass computes two products for each of the forward's


def training_step(case: Case, inputs: Inputs, setting: Setting) -> Callable[[], None]:
    """A function that makes one step on a fixed batch."""
    optimiser = torch.optim.AdamW(case.net.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        with setting.autocast():
            output = case.predict(inputs.x_t, inputs.t_N)
        loss = F.mse_loss(output.float(), inputs.target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def results(
    turns: Turns, sizes: dict[str, float], layout: Layout, batch: int, peak: float, share: Goal | None
) -> list[Result]:
    """The lines of the report from the times, the parameters in millions and the measured FLOP/s of a matrix product."""
    peer, flops = turns.fastest(PEERS), layout.flops()
    rate = batch / turns.median("hifidiff")
    limit = peak / (FORWARDS * flops)
    return [
        Result(
            "hifidiff_over_peer",
            f"HifiDiff's training throughput over {peer}",
            turns.ratio(peer, "hifidiff"),
            TIMES_THE_PEER,
        ),
        Result("unet_over_peer", f"the same of its bare UNet over {peer}", turns.ratio(peer, "unet")),
        Result("share_of_limit", "share of the counted limit", rate / limit, share),
        Result("limit", "counted limit, images/s, from the measured product", limit),
        *(Result(f"rate_{name}", f"{name}, images/s", batch / turns.median(name)) for name in turns.seconds),
        *(Result(f"parameters_{name}", f"{name}, million parameters", size) for name, size in sizes.items()),
        Result("gflop_forward", "GFLOP of a forward of one image, HifiDiff", flops / 1e9),
        Result("peak_tflops", "TFLOP/s of a large matrix product in this run", peak / 1e12),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    timing.add_options(parser, turns=5)
    networks.add_layout(parser, cpu_size=64, cpu_channels=64, cpu_batch=2, cuda_batch=64)
    parser.add_argument("--compile", action="store_true", help="torch.compile on both sides")
    parser.add_argument("--peak-tflops", type=float, help="instead of measuring a matrix product")
    args = parser.parse_args()
    setting = Setting.of(args)
    layout, batch = networks.choose_layout(args, setting)
    inputs = Inputs.random(layout, batch, setting.device)
    cases = networks.cases((*OURS, *PEERS), layout, inputs, setting, compiled=args.compile)
    turns = setting.time({name: training_step(case, inputs, setting) for name, case in cases.items()})
    peak = args.peak_tflops * 1e12 if args.peak_tflops else timing.peak_flops(setting)
    sizes = {name: networks.millions(case.net) for name, case in cases.items() if name != PEERS[1]}
    share = SHARE_OF_LIMIT if setting.device.type == "cuda" else None  # the goal is a GPU's
    scale = f"{layout.size} pixels, {layout.channels} channels, {batch} images a step"
    machine = setting.machine() | {"scale": scale, "compile": "both" if args.compile else "none"}
    timing.show(Report("unet", machine, results(turns, sizes, layout, batch, peak, share)), as_json=args.json)


if __name__ == "__main__":
    run(main)
