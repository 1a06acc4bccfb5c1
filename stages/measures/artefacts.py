"""Artefacts of generated frames against the truth. T frames, H, W, L = 68 landmarks.

A 2×2 checkerboard, an edge where the mask ends, streaks beside the mouth, ghosts about the brows, white slits in closed lids.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.faces.geometry import LEFT_BROW, LEFT_EYE, MOUTH, RIGHT_BROW, RIGHT_EYE, grown_hull
from stages.measures.image import luma

Array = NDArray[np.float64]
Points = NDArray[np.floating]
Masks = NDArray[np.bool_]

# Rings about a part of the face: from and to where its hull is grown, as a share of the part's width.
BESIDE_MOUTH, ABOUT_BROWS = (0.2, 0.5), (0.12, 0.4)
LIDS = 0.05  # how far the eyes' hulls are grown, as a share of their width
SHUT = 0.7  # of a clip's open EAR; lids below it are measured as closed
BRIGHTEST = 95  # percentile of a lid's luma
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
        values[t] = np.sqrt(_gradient_energy(frame))
        borders[t] = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, kernel).astype(bool)
    return _mean(values, borders)


def mouth_streaks(frames_THWC: NDArray[np.uint8], landmarks_TL2: Points, masks_THW: Masks) -> Array:
    """Mean energy of luma's gradient in a ring about the mouth inside the mask, (T,), squared grey levels a pixel.

    ``landmarks_TL2`` are the true frames', so that video and truth are looked at in the same place. Skin is smooth there: over
    the truth's, a value above 1 is of streaks and smears that the truth does not have.
    """
    return _ring_energy(frames_THWC, landmarks_TL2, masks_THW, (MOUTH,), BESIDE_MOUTH)


def brow_ghosts(frames_THWC: NDArray[np.uint8], landmarks_TL2: Points, masks_THW: Masks) -> Array:
    """The same about both brows, where a second, displaced brow would lie; the eyes are left out."""
    return _ring_energy(frames_THWC, landmarks_TL2, masks_THW, (LEFT_BROW, RIGHT_BROW), ABOUT_BROWS)


def lid_light(frames_THWC: NDArray[np.uint8], landmarks_TL2: Points, ear_T: Points) -> Array:
    """Luma of the brightest twentieth of both eyes' pixels where the true lids are shut, (T,), 0 … 255; NaN where they are open.

    Shut is an eye aspect ratio below 0.7 of the clip's open one (its 90th percentile), at the bottom of a blink: in both
    neighbours it is not lower. A slit of white that stays in a closed lid is brighter than the lid.
    """
    ear = np.asarray(ear_T, np.float64)
    around = np.pad(ear, 1, mode="edge")
    shut = (ear < SHUT * np.percentile(ear, 90)) & (ear <= around[:-2]) & (ear <= around[2:])
    found = np.full(len(ear), np.nan)
    for t in np.flatnonzero(shut).tolist():
        points = np.asarray(landmarks_TL2[t], np.float64)
        eyes = [grown_hull(points[eye], frames_THWC.shape[1], LIDS) for eye in (LEFT_EYE, RIGHT_EYE)]
        found[t] = np.percentile(luma(frames_THWC[t])[eyes[0] | eyes[1]], BRIGHTEST)
    return found


def _ring_energy(
    frames_THWC: NDArray[np.uint8],
    landmarks_TL2: Points,
    masks_THW: Masks,
    parts: tuple[slice, ...],
    ring: tuple[float, float],
) -> Array:
    size = frames_THWC.shape[1]
    energy, where = np.empty(frames_THWC.shape[:3]), np.zeros(frames_THWC.shape[:3], bool)
    for t, frame in enumerate(luma(frames_THWC)):
        energy[t] = _gradient_energy(frame)
        inner = np.zeros((size, size), bool)
        for part in parts:
            where[t] |= grown_hull(landmarks_TL2[t, part], size, ring[1])
            inner |= grown_hull(landmarks_TL2[t, part], size, ring[0])
        for eye in (LEFT_EYE, RIGHT_EYE):
            inner |= grown_hull(landmarks_TL2[t, eye], size, ring[0])
        where[t] &= ~inner & np.asarray(masks_THW[t])
    return _mean(energy, where)


def _gradient_energy(grey_HW: Array) -> Array:
    """Squared magnitude of the gradient, by Sobel's kernels scaled to grey levels a pixel."""
    return (cv2.Sobel(grey_HW, cv2.CV_64F, 1, 0) / 8) ** 2 + (cv2.Sobel(grey_HW, cv2.CV_64F, 0, 1) / 8) ** 2


def _mean(values_THW: Array, where_THW: Masks) -> Array:
    """(T,); NaN where a mask is empty."""
    count = where_THW.sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, (values_THW * where_THW).sum((1, 2)) / count, np.nan)
