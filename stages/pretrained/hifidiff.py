"""A trained model on disk: ``model.safetensors`` and ``config.json`` in one folder; nothing in it is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from stages.base import params
from stages.base.errors import InputError
from stages.diffusion.schedule import Diffusion
from stages.networks import cost
from stages.networks.hifidiff import HifiDiffNet
from stages.store import atomic, weights_file

WEIGHTS, CONFIG = "model.safetensors", "config.json"
MOST_BINS = 1024  # of a spectrogram


@dataclass(frozen=True)
class HifiDiff:
    """A denoiser with the process it was trained for; ``drop`` names the conditions that it was never given.

    To load one and let a test clip speak with its own sound (pictures are RGB, 25 frames a second)::

        import numpy as np
        import torch
        from stages.base import params
        from stages.clips import corpus
        from stages.methods.generate import generate
        from stages.pretrained import HifiDiff

        model = HifiDiff.from_pretrained("data/demo/models/full")
        settings = params.load("params.yaml")
        size, dilation = settings.network.size, settings.mask.dilation
        clip = corpus.load(settings.data, "kira", "kira_s01", size=size, dilation=dilation)
        batches = generate(model, clip, clip, settings.sample, torch.device("cpu"), lambda frames: None)
        frames_THWC = np.concatenate(list(batches))
    """

    net: HifiDiffNet
    diffusion: Diffusion
    drop: tuple[str, ...]
    config: dict[str, Any]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HifiDiff:
        """An untrained model: ``config`` holds the sections ``network`` and ``diffusion``, ``mel_bins`` and ``drop``."""
        diffusion = Diffusion(**config["diffusion"])
        return cls(_net(config, diffusion), diffusion, tuple(config["drop"]), config)

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "cpu") -> HifiDiff:
        """Read a model that :meth:`save_pretrained` wrote, frozen and in evaluation mode, onto ``device``.

        Raises:
            InputError: a file is missing or damaged, or weights, configuration and this code don't belong together.
        """
        folder = Path(folder)
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                folder / CONFIG,
                f"can't be read ({error.strerror})",
                f"name a folder that holds {CONFIG} and {WEIGHTS}, or run 'snakemake --cores all' to make one",
            ) from None
        except (ValueError, RecursionError) as error:
            raise InputError(folder / CONFIG, f"not JSON ({error})", "restore the file") from None
        weights, inside = weights_file.read(folder / WEIGHTS)
        if inside != config:
            raise InputError(folder / WEIGHTS, f"was written with another configuration than {CONFIG}", "restore both")
        try:
            _check(config, weights)
            model = cls.from_config(config)
            model.net.load_state_dict(weights, strict=True)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            problem = f"not a model of this version of the code ({type(error).__name__}: {error})"
            raise InputError(folder, problem, "use the version that wrote it, or train it again") from None
        model.net.eval().requires_grad_(False).to(device)
        return model

    @property
    def forward_flops(self) -> int:
        """Floating-point operations of one network call for one frame, counted on shapes; see :mod:`stages.networks.cost`."""
        shapes = {name: self.config["network"][name] for name in ("audio_steps", "blink_frames")}
        return cost.forward_flops(self.net, mel_bins=self.config["mel_bins"], **shapes)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model; the weights last, so that a folder with weights is whole."""
        atomic.write_json(Path(folder) / CONFIG, self.config)
        weights_file.write(Path(folder) / WEIGHTS, self.net.state_dict(), self.config)


def _net(config: Mapping[str, Any], diffusion: Diffusion) -> HifiDiffNet:
    """The network of a configuration, with random weights."""
    layout = {name: value for name, value in config["network"].items() if name not in ("reference", "ear")}
    rates_2T = torch.stack([rate.flatten() for rate in diffusion.rates(torch.arange(diffusion.timesteps))])
    return HifiDiffNet(
        **layout,
        rates_2T=rates_2T,
        mel_bins=config["mel_bins"],
        uses_blink="blink" not in config["drop"],
        uses_mask="masked_face" not in config["drop"],
    )


def _check(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Compare a file's configuration with its weights before anything of the configuration's size takes memory or time.

    Raises:
        ValueError: a value that no network may have, or weights of another network.
    """
    sections: dict[str, type[params.Section]] = {"network": params.Network, "diffusion": params.Diffusion}
    for name, section in sections.items():
        try:
            section.model_validate(config[name])
        except ValidationError as error:
            raise ValueError("; ".join(params.explain(e, f"{name}.") for e in error.errors())) from None
    diffusion = Diffusion(**config["diffusion"])
    if not isinstance(config["mel_bins"], int) or not 0 < config["mel_bins"] <= MOST_BINS:
        raise ValueError(f"mel_bins is {config['mel_bins']!r}; allowed: 1 to {MOST_BINS}")
    with torch.device("meta"):
        expected = {name: value.shape for name, value in _net(config, diffusion).state_dict().items()}
    if expected != (found := {name: value.shape for name, value in weights.items()}):
        names = sorted(name for name in {**expected, **found} if expected.get(name) != found.get(name))
        raise ValueError(f"{len(names)} weights are not those of the configuration, such as {names[0]}")
