"""A small model that is not trained, and a rendered face, to try ``talk`` with."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.base import params
from stages.corpora.rendered import face, identity, portrait, speaker
from stages.corpora.rendered.motion import Motion
from stages.networks import seeded
from stages.talking import HifiDiff

DEMO = params.load("presets/demo.yaml")
NETWORK = DEMO.network.model_dump() | {
    "size": 32, "channels": 8, "multipliers": [1, 2], "attention": [8], "head_channels": 8, "audio_channels": 4, "groups": 4,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "network": NETWORK,
    "diffusion": DEMO.diffusion.model_dump(),
    "mel_bins": 80,
    "drop": [],
    "mask": DEMO.mask.model_dump(include={"fps", "size", "margin", "dilation"}),
    "spectrogram": DEMO.spectrogram.model_dump(),
    "corpus": {
        "open_ear": [0.40, 0.43, 0.47], "closed_ear": [0.26, 0.36, 0.57], "jaw_drop": [0.12, 0.16, 0.23],
        "mouth_opening": [0.14, 0.18, 0.22], "level_db": [-19.0, -17.5, -16.0],
    },
}  # fmt: skip


def model(**changes: Any) -> HifiDiff:
    """The model; with another configuration, too."""
    made = seeded(1, lambda: HifiDiff.from_config(CONFIG | changes))
    made.net.eval().requires_grad_(False)
    return made


def rendered(
    name: str = "ada", *, width: int = 480, height: int = 360
) -> tuple[face.Renderer, Motion, NDArray[np.floating]]:
    """A renderer of a speaker, the motion of a sentence at 30 frames a second, and its sound at 48 kHz."""
    settings = DEMO.corpus.rendered.model_copy(update={"width": width, "height": height})
    who = identity.draw(settings.seed, name)
    moves, _, sound = speaker.perform(settings, who, 0)
    return face.Renderer(portrait.paint(who, width, height), width, height), moves, sound


def posed(moves: Motion, frames: slice = slice(0, 1), **poses: float) -> Motion:
    """Some frames of a motion, with some of what moves set: ``yaw`` in degrees, ``eyelid_T2`` from 0, shut, to 1."""
    cut = {field.name: np.array(getattr(moves, field.name)[frames]) for field in fields(Motion)}
    for name, value in poses.items():
        cut[name][:] = value
    return Motion(**cut)


def write(path: Path, pictures: Any, sound: NDArray[Any] | None, fps: float = 30) -> Path:
    """A video of pictures."""
    from stages import media

    media.write_video(path, pictures, fps=fps, audio=sound, sample_rate=48_000, crf=10, preset="ultrafast")
    return path
