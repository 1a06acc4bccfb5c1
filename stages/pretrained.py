"""A trained model on disk: ``model.safetensors`` and ``config.json`` in one folder; nothing in it is ever unpickled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from stages import checkpoint, tables
from stages.diffusion.schedule import Diffusion
from stages.errors import InputError
from stages.networks.hifidiff import HifiDiffNet

WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True)
class Model:
    """A denoiser with the process it was trained for; ``drop`` names the conditions that it was never given."""

    net: HifiDiffNet
    diffusion: Diffusion
    drop: tuple[str, ...]
    config: dict[str, Any]


def build(config: dict[str, Any]) -> Model:
    """An untrained model: ``config`` holds the sections ``network`` and ``diffusion``, ``mel_bins`` and ``drop``."""
    drop = tuple(config["drop"])
    layout = {name: value for name, value in config["network"].items() if name != "reference"}
    net = HifiDiffNet(
        **layout,
        mel_bins=config["mel_bins"],
        uses_blink="blink" not in drop,
        uses_mask="masked_face" not in drop,
    )
    return Model(net, Diffusion(**config["diffusion"]), drop, config)


def save(folder: Path, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write a model; the weights last, so that a folder with weights is whole."""
    tables.write_json(folder / CONFIG, config)
    checkpoint.write_weights(folder / WEIGHTS, weights, config)


def load(folder: Path) -> Model:
    """Read a model that :func:`save` wrote, in evaluation mode.

    Raises:
        InputError: a file is missing or damaged, or weights and configuration don't belong together.
    """
    try:
        config = json.loads((folder / CONFIG).read_text())
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise InputError(folder / CONFIG, str(error), "run 'snakemake --cores all' to make the model") from None
    weights, inside = checkpoint.read_weights(folder / WEIGHTS)
    if inside != config:
        raise InputError(
            folder / WEIGHTS, "was written with another configuration than config.json", "restore both files"
        )
    model = build(config)
    model.net.load_state_dict(weights, strict=True)
    model.net.eval().requires_grad_(False)
    return model
