"""Artefacts of generated frames against the truth: a 2×2 checkerboard, and an edge where the mask ends. T frames, H, W."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.measures.image import luma

Array = NDArray[np.float64]
Masks = NDArray[np.bool_]

BLOCK = 8  # pixels; a grid that keeps its phase over a block is a grid and not texture


def grid_energy(frames_THWC: NDArray[np.uint8], masks_THW: Masks) -> Array:
    """Mean energy inside each frame's mask of what alternates from pixel to pixel, (T,), in squared grey levels.

    Luma is multiplied by the three carriers of the 2-pixel grid, (−1)^x, (−1)^y and (−1)^(x+y), and averaged over 8×8
    pixels: a pattern locked to the grid remains, texture and edges cancel. This is the spectrum at the Nyquist frequencies.
    """
    grey = luma(frames_THWC)
    y, x = np.mgrid[: grey.shape[1], : grey.shape[2]]
    energy = np.zeros_like(grey)
    for carrier in ((-1.0) ** x, (-1.0) ** y, (-1.0) ** (x + y)):
        for t, frame in enumerate(grey):
            energy[t] += cv2.blur(frame * carrier, (BLOCK, BLOCK)) ** 2
    return _mean(energy, masks_THW)


def border_gradient(frames_THWC: NDArray[np.uint8], masks_THW: Masks) -> Array:
    """Mean gradient magnitude of luma on each mask's border (one pixel to either side), (T,), grey levels a pixel."""
    grey = luma(frames_THWC)
    kernel = np.ones((3, 3), np.uint8)
    values = np.empty_like(grey)
    borders = np.empty(grey.shape, bool)
    for t, (frame, mask) in enumerate(zip(grey, masks_THW.astype(np.uint8), strict=True)):
        values[t] = np.hypot(cv2.Sobel(frame, cv2.CV_64F, 1, 0) / 8, cv2.Sobel(frame, cv2.CV_64F, 0, 1) / 8)
        borders[t] = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, kernel).astype(bool)
    return _mean(values, borders)


def _mean(values_THW: Array, where_THW: Masks) -> Array:
    """(T,); NaN where a mask is empty."""
    count = where_THW.sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, (values_THW * where_THW).sum((1, 2)) / count, np.nan)
