"""HifiDiff as a row among the others; the method itself is in :mod:`stages.diffusion`, :mod:`stages.networks.hifidiff` and
:mod:`stages.methods.generate`.
"""

from __future__ import annotations

import torch

from stages.base import params
from stages.methods.generate import generate
from stages.methods.systems import Render, Row
from stages.pretrained.hifidiff import HifiDiff

SEES = {
    "masked_face": "every masked frame (pose, hair, background)",
    "reference": "the first frame",
    "own": "the audio",
    "other": "the audio of another test clip",
    "blink": "the eye aspect ratio of each frame",
}


def renderer(row: Row) -> Render:
    """The trained denoiser, sampled as the row says."""
    device, sampling = row.device, row.sampling
    model = HifiDiff.from_pretrained(row.made_from, device)
    model.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.backends.cudnn.benchmark = True  # the shapes are the same at each step
    if sampling.compile:
        model.net.compile()
    return lambda clip, sound: generate(model, clip, sound, sampling, device, row.progress)


def sees(entry: params.Method) -> str:
    """The parts of a test clip given to the row."""
    given = ("masked_face", "reference", entry.audio, "blink")
    return ", ".join(SEES[name] for name in given if name not in entry.drop)
