"""The cost of a call, against layers counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_networks import conditions, net
from torch import nn

from stages.base.params import load
from stages.networks.cost import forward_flops
from stages.networks.unet import SelfAttention
from stages.pretrained.hifidiff import HifiDiff

ROOT = Path(__file__).resolve().parents[2]
SHAPES = {"audio_steps": 16, "mel_bins": 80, "blink_frames": 3}


def by_hand(network: nn.Module, given, size: int) -> int:
    """2 · outputs · (inputs an output) of each convolution and linear layer, 4 · P² · C of each attention."""
    total = 0

    def count(layer: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += 2 * output[0].numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.Linear):
            total += 2 * output[0].numel() * layer.in_features
        elif isinstance(layer, SelfAttention):
            total += 4 * (output.shape[2] * output.shape[3]) ** 2 * output.shape[1]

    handles = [layer.register_forward_hook(count) for layer in network.modules()]
    network(torch.zeros(1, 3, size, size), torch.zeros(1, dtype=torch.long), given)
    for handle in handles:
        handle.remove()
    return total


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize(("blink", "mask"), [(True, True), (False, True), (True, False)])
def test_a_call_costs_its_layers(patch: int, blink: bool, mask: bool) -> None:
    network = net(patch=patch, uses_blink=blink, uses_mask=mask)
    expected = by_hand(network, conditions(1, 32, blink=blink, mask=mask), 32)
    assert forward_flops(network, **SHAPES) == expected


def test_no_weights_are_needed_and_none_are_changed() -> None:
    with torch.device("meta"):
        empty = net()
    network = net()
    assert forward_flops(empty, **SHAPES) == forward_flops(network, **SHAPES)
    assert all(parameter.device.type == "cpu" for parameter in network.parameters())
    assert network.training


def test_the_demos_ideas_cost_a_thousandth_at_paper_scale() -> None:
    """The options that preset paper leaves off, on: a forward's GFLOP and million parameters, as docs/reading.md tells them."""
    settings = load(ROOT / "presets" / "paper.yaml")
    told = []
    for options in ({}, {"places": True, "prior": 0.15, "condition_gain": 4.0, "residual": "blended"}):
        config = {
            "network": settings.network.model_copy(update=options).model_dump(),
            "diffusion": settings.diffusion.model_dump(),
            "mel_bins": settings.spectrogram.n_mels,
            "drop": [],
        }
        with torch.device("meta"):
            model = HifiDiff.from_config(config)
        told += [f"{model.forward_flops / 1e9:.2f}", f"{sum(p.numel() for p in model.net.parameters()) / 1e6:.3f}"]
    assert told == ["214.89", "86.577", "215.12", "86.584"]
    text = (ROOT / "docs" / "reading.md").read_text()
    assert all(number in text for number in told)
