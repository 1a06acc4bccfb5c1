"""Fixtures that several tests share."""

import numpy as np
import pytest
import torch

from stages.corpus import Clip
from stages.geometry import clip_masks, ear

torch.set_num_threads(1)  # the tests' networks are small: a second thread would only wait for the first


def landmarks_of(rng: np.random.Generator, frames: int, size: int) -> np.ndarray:
    """A plausible set of 68 landmarks that nods, blinks and speaks a little, (T, 68, 2) in pixels."""
    jaw = np.stack([np.cos(a := np.linspace(np.pi, 0, 17)) * 0.32, np.sin(a) * 0.38], -1) + [0.5, 0.5]
    brows = np.concatenate([np.column_stack([np.linspace(x, x + 0.2, 5), np.full(5, 0.36)]) for x in (0.25, 0.55)])
    bridge = np.column_stack([np.full(4, 0.5), np.linspace(0.44, 0.58, 4)])
    nostrils = np.column_stack([np.linspace(0.44, 0.56, 5), np.full(5, 0.62)])
    around = np.pi - np.arange(6) * np.pi / 3
    eyes = np.concatenate(
        [np.column_stack([0.05 * np.cos(around), -0.02 * np.sin(around)]) + [x, 0.45] for x in (0.35, 0.65)]
    )
    outer, inner = np.pi - np.arange(12) * np.pi / 6, np.pi - np.arange(8) * np.pi / 4
    outer_lips = np.column_stack([0.1 * np.cos(outer), -0.05 * np.sin(outer)])
    inner_lips = np.column_stack([0.07 * np.cos(inner), -0.02 * np.sin(inner)])
    lips = np.concatenate([outer_lips, inner_lips]) + [0.5, 0.74]
    face = np.concatenate([jaw, brows, bridge, nostrils, eyes, lips])
    assert face.shape == (68, 2)
    sway = np.cumsum(rng.normal(scale=0.002, size=(frames, 1, 2)), 0)
    return ((face + sway + rng.normal(scale=0.0005, size=(frames, 68, 2))) * size).astype(np.float32)


def clip_of(name: str = "ada_s01", *, frames: int = 30, size: int = 32, seed: int = 0) -> Clip:
    """A clip of noise with plausible landmarks; the same arguments give the same clip."""
    rng = np.random.default_rng([seed, len(name), *name.encode()])
    landmarks = landmarks_of(rng, frames, size)
    return Clip(
        name=name,
        speaker=name.split("_")[0],
        frames_THWC=rng.integers(0, 256, (frames, size, size, 3), dtype=np.uint8),
        landmarks_TL2=landmarks,
        masks_THW=clip_masks(landmarks, size, 0.12),
        ear_T2=ear(landmarks).astype(np.float32),
        mel_SM=rng.uniform(-4, 4, (round(frames * 3.2), 80)).astype(np.float32),
        audio=rng.integers(-3000, 3000, frames * 640, dtype=np.int16),
        blinks=[(10, 14)] if frames > 14 else [],
    )


@pytest.fixture
def make_clip():
    """The function :func:`clip_of`."""
    return clip_of
