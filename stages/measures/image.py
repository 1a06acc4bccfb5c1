"""PSNR and SSIM inside a mask. T frames, H, W, C = 3 channels, uint8 RGB."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Array = NDArray[np.float64]

LUMA = np.array([0.299, 0.587, 0.114])  # BT.601
PEAK = 255.0
SSIM_WINDOW, SSIM_SIGMA, SSIM_K = 11, 1.5, (0.01, 0.03)  # Wang et al. 2004


def luma(frames: Frames) -> Array:
    """(..., H, W, 3) → (..., H, W) in 0 … 255."""
    return frames.astype(np.float64) @ LUMA


def psnr(a_THWC: Frames, b_THWC: Frames, masks_THW: NDArray[np.bool_]) -> Array:
    """Peak signal-to-noise ratio of the masked pixels of each frame, (T,) dB; NaN where a mask is empty, inf where equal."""
    error: Array = ((a_THWC.astype(np.float64) - b_THWC) ** 2).mean(-1)
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(PEAK**2 / _masked_mean(error, masks_THW)), np.float64)


def ssim(a_THWC: Frames, b_THWC: Frames, masks_THW: NDArray[np.bool_]) -> Array:
    """Structural similarity of luma (Wang et al. 2004: Gaussian window 11, σ 1.5), the map's mean in the mask, (T,)."""
    maps = np.stack([_ssim_map(a, b) for a, b in zip(luma(a_THWC), luma(b_THWC), strict=True)])
    return _masked_mean(maps, masks_THW)


def _ssim_map(a_HW: Array, b_HW: Array) -> Array:
    def blur(x: Array) -> Array:
        return np.asarray(
            cv2.GaussianBlur(x, (SSIM_WINDOW, SSIM_WINDOW), SSIM_SIGMA, borderType=cv2.BORDER_REFLECT_101)
        )

    c1, c2 = ((k * PEAK) ** 2 for k in SSIM_K)
    mean_a, mean_b = blur(a_HW), blur(b_HW)
    var_a, var_b = blur(a_HW**2) - mean_a**2, blur(b_HW**2) - mean_b**2
    cov = blur(a_HW * b_HW) - mean_a * mean_b
    return (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


def _masked_mean(values_THW: Array, masks_THW: NDArray[np.bool_]) -> Array:
    count = masks_THW.sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, (values_THW * masks_THW).sum((1, 2)) / count, np.nan).astype(np.float64)


def hull_crops(frames_THWC: Frames, masks_THW: NDArray[np.bool_], size: int, grey: int = 128) -> Frames:
    """The mask's bounding square of each frame with what lies outside the mask grey, resized: (T, size, size, 3)."""
    out = np.full((len(frames_THWC), size, size, 3), grey, np.uint8)
    for target, frame, mask in zip(out, frames_THWC, masks_THW, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows) == 0:
            continue
        kept = np.where(mask[..., None], frame, np.uint8(grey))
        side = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
        square = np.full((side, side, 3), grey, np.uint8)
        piece = kept[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        y, x = (side - piece.shape[0]) // 2, (side - piece.shape[1]) // 2
        square[y : y + piece.shape[0], x : x + piece.shape[1]] = piece
        target[:] = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
    return out
