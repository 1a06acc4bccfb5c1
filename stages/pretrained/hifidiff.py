"""A trained model on disk: ``model.safetensors`` and ``config.json`` in one folder; nothing in it is ever unpickled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stages.base.errors import InputError
from stages.diffusion.schedule import Diffusion
from stages.networks import cost
from stages.networks.hifidiff import HifiDiffNet
from stages.store import atomic, weights_file

WEIGHTS, CONFIG = "model.safetensors", "config.json"


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
        drop = tuple(config["drop"])
        layout = {name: value for name, value in config["network"].items() if name != "reference"}
        diffusion = Diffusion(**config["diffusion"])
        times = torch.arange(diffusion.timesteps)
        net = HifiDiffNet(
            **layout,
            rates_2T=torch.stack([rate.flatten() for rate in diffusion.rates(times)]),
            mel_bins=config["mel_bins"],
            uses_blink="blink" not in drop,
            uses_mask="masked_face" not in drop,
        )
        return cls(net, diffusion, drop, config)

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
        except ValueError as error:
            raise InputError(folder / CONFIG, f"not JSON ({error})", "restore the file") from None
        weights, inside = weights_file.read(folder / WEIGHTS)
        if inside != config:
            raise InputError(folder / WEIGHTS, f"was written with another configuration than {CONFIG}", "restore both")
        try:
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
