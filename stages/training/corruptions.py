"""Damage done to clean frames, which the frame and video encoders learn to tell apart. T frames, H, W; uint8 RGB.

An encoder that only knew people would not see blur. These are the faults of generated faces: loss of detail, noise, blocks,
a grid, a pasted face that does not fit; and in time, frames that stand still, jump, flicker or run at another speed.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Corrupt = Callable[[Frames, np.random.Generator], Frames]


def clean(frames_THWC: Frames, rng: np.random.Generator) -> Frames:
    """As it is."""
    return frames_THWC


def blurred(frames_THWC: Frames, rng: np.random.Generator) -> Frames:
    """Gaussian blur, σ 1 to 2.5 pixels."""
    sigma = rng.uniform(1, 2.5)
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames_THWC])


def noisy(frames_THWC: Frames, rng: np.random.Generator) -> Frames:
    """Gaussian noise, σ 6 to 24 grey levels, new in each frame."""
    return _clip(frames_THWC + rng.normal(0, rng.uniform(6, 24), frames_THWC.shape))


def pixelated(frames_THWC: Frames, rng: np.random.Generator) -> Frames:
    """Blocks of 2 to 4 pixels."""
    height, width = frames_THWC.shape[1:3]
    block = int(rng.integers(2, 5))
    small = [cv2.resize(f, (width // block, height // block), interpolation=cv2.INTER_AREA) for f in frames_THWC]
    return np.stack([cv2.resize(f, (width, height), interpolation=cv2.INTER_NEAREST) for f in small])


def gridded(frames_THWC: Frames, rng: np.random.Generator) -> Frames:
    """A 2×2 checkerboard of ±4 to ±16 grey levels."""
    y, x = np.mgrid[: frames_THWC.shape[1], : frames_THWC.shape[2]]
    return _clip(frames_THWC + rng.uniform(4, 16) * (1 - 2 * ((x + y) % 2))[..., None])


def pasted(frames_THWC: Frames, rng: np.random.Generator) -> Frames:
    """A disc in the middle, shifted by a few pixels and of another brightness, as a face that does not fit its mask."""
    height, width = frames_THWC.shape[1:3]
    y, x = np.mgrid[:height, :width]
    inside = (y - height * 0.55) ** 2 + (x - width / 2) ** 2 < (width * rng.uniform(0.2, 0.35)) ** 2
    shift = tuple(int(s) for s in rng.integers(2, 5, 2) * rng.choice([-1, 1], 2))
    moved = np.roll(frames_THWC, shift, (1, 2)) + rng.uniform(-20, 20)
    return _clip(np.where(inside[..., None], moved, frames_THWC))


def frozen(frames_THWC: Frames, rng: np.random.Generator) -> Frames:
    """The first frame throughout."""
    return np.repeat(frames_THWC[:1], len(frames_THWC), 0)


def shuffled(frames_THWC: Frames, rng: np.random.Generator) -> Frames:
    """The frames in a random order."""
    return frames_THWC[rng.permutation(len(frames_THWC))]


def doubled(frames_THWC: Frames, rng: np.random.Generator) -> Frames:
    """Each frame shown twice: half the speed, jerky."""
    return frames_THWC[np.arange(len(frames_THWC)) // 2]


def flickering(frames_THWC: Frames, rng: np.random.Generator) -> Frames:
    """Brightness that changes at random from frame to frame, σ 4 to 14 grey levels."""
    return _clip(frames_THWC + rng.normal(0, rng.uniform(4, 14), (len(frames_THWC), 1, 1, 1)))


IN_SPACE: tuple[Corrupt, ...] = (clean, blurred, noisy, pixelated, gridded, pasted)
IN_TIME: tuple[Corrupt, ...] = (clean, blurred, noisy, pasted, frozen, shuffled, doubled, flickering)


def _clip(values: NDArray[np.floating]) -> Frames:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
