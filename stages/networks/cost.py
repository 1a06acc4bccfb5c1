"""The cost of a call of the denoiser, counted and not timed: the same on every machine."""

from __future__ import annotations

import copy

import torch

from stages.networks.hifidiff import Conditions, HifiDiffNet


def forward_flops(net: HifiDiffNet, *, audio_steps: int, mel_bins: int, blink_frames: int) -> int:
    """Floating-point operations of one forward pass for one frame: matrix products, convolutions and attention.

    A multiplication and an addition count as two. Shapes alone are looked at (the meta device), so that neither weights nor
    memory are needed; a network that already lies there is counted as well.
    """
    from torch.utils.flop_counter import FlopCounterMode  # brings Triton along

    shadow = copy.deepcopy(net).to("meta").eval()
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        picture = torch.zeros(1, 3, net.size, net.size)
        given = Conditions(
            reference_NCHW=picture,
            mel_NSM=torch.zeros(1, audio_steps, mel_bins),
            ear_NK2=torch.zeros(1, blink_frames, 2) if net.blink is not None else None,
            masked_NCHW=picture if net.uses_mask else None,
            places_N4HW=torch.zeros(1, 4, net.size, net.size) if net.places else None,
        )
        shadow(picture, torch.zeros(1, dtype=torch.long), given)
    return int(counter.get_total_flops())
