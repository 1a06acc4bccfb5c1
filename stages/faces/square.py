"""The square that a clip's faces are cut from. T frames, L = 68 landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RISE = 0.06  # the crop's centre lies this share of its side above the landmarks', which end at the brows


def crop_square(landmarks_TL2: NDArray[np.float64], margin: float) -> tuple[int, int, int]:
    """The clip's crop as (x, y, side), source pixels; it may reach beyond the picture.

    All three are even, so that chroma of half the size is cut at the same places. The side is ``margin`` times the median
    over the frames of the landmarks' bounding square, or more where the head moves so far that the landmarks of some frame
    would leave it.
    """
    low, high = landmarks_TL2.min(1), landmarks_TL2.max(1)
    span = high.max(0) - low.min(0)
    side = 2 * round(max(margin * float(np.median((high - low).max(-1))), 1.15 * float(span.max())) / 2)
    centre = (high.max(0) + low.min(0)) / 2 - [0, RISE * side]
    x, y = 2 * np.round((centre - (side - 1) / 2) / 2).astype(int)
    return int(x), int(y), side


def to_crop(landmarks: NDArray[np.float64], crop: tuple[int, int, int], size: int) -> NDArray[np.float64]:
    """Source pixels → pixels of the resized crop, pixel centres at whole numbers in both."""
    x, y, side = crop
    return (landmarks - [x, y] + 0.5) * (size / side) - 0.5
