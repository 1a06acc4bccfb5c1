"""Motion from frame to frame inside a mask: F-MSE, optical flow, and flicker apart from motion. T frames, H, W.

F-MSE and OFM are named after the measures that Diffused Heads (Stypułkowski et al. 2024) reports, and don't compare with its
columns. Its program, ``smoothness_eval.py`` of its published code, squares differences of uint8 frames as uint8, which wrap at
256: a change of 16 grey levels counts as none, one of 15 as 225. Its OFM stretches the flow's lengths of each frame to 0 … 255,
paints them by the colour map JET and takes the mean of the colours: how far the picture moves falls out, and where nothing moves
it is not 0. It measures whole frames at 128×128, with Farnebäck's method at 7 levels, windows of 5 and 15 iterations.

Here differences are of real numbers and flow is in pixels; a pair of neighbouring frames is measured where either frame's mask
is. Alone these numbers say little, a still picture has 0: they are read beside those of the true video, as a ratio.
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.measures.image import luma

Array = NDArray[np.float64]
Frames = NDArray[np.uint8]
Masks = NDArray[np.bool_]

# Farnebäck 2003 as OpenCV has it, with the values of its documentation.
FARNEBACK = {
    "pyr_scale": 0.5,
    "levels": 3,
    "winsize": 15,
    "iterations": 3,
    "poly_n": 5,
    "poly_sigma": 1.2,
    "flags": 0,
}


def f_mse(frames_THWC: Frames, masks_THW: Masks) -> Array:
    """Mean squared difference of neighbouring frames, (T − 1,), in squared grey levels (0 … 255) of a colour channel."""
    change = np.diff(frames_THWC.astype(np.float32), axis=0)
    return _mean_in_pairs((change**2).mean(-1), masks_THW)


def flows(frames_THWC: Frames, *, backward: bool = False) -> NDArray[np.float32]:
    """Dense flow between neighbouring frames' luma, (T − 1, H, W, 2) as (x, y) in pixels a frame, by Farnebäck's method.

    Forward: what is at x in frame t is at x + flow(x) in frame t + 1. ``backward``: from t + 1 to t.
    """
    grey = luma(frames_THWC).round().astype(np.uint8)
    pairs = ((b, a) if backward else (a, b) for a, b in itertools.pairwise(grey))
    found = [cv2.calcOpticalFlowFarneback(a, b, None, **FARNEBACK) for a, b in pairs]  # type: ignore[call-overload]
    return np.stack(found) if found else np.zeros((0, *grey.shape[1:], 2), np.float32)


def ofm(frames_THWC: Frames, masks_THW: Masks) -> Array:
    """Mean length of the optical flow between neighbouring frames, (T − 1,), in pixels a frame at the video's own size."""
    flow = flows(frames_THWC)
    return _mean_in_pairs(np.hypot(flow[..., 0], flow[..., 1]), masks_THW)


def warp_error(frames_THWC: Frames, backward_THW2: NDArray[np.float32], masks_THW: Masks) -> Array:
    """The part of a frame that the frame before does not explain, once moved as the true video moves, (T − 1,).

    Mean squared difference of frame t + 1 and frame t carried onto it by ``backward_THW2``, the *true* video's backward flow
    (bilinear), in squared grey levels: flicker counts, motion that is right does not. The flow-warping error of Lai et al.
    2018 without its occlusion mask, so that the true video's own value is above 0: newly seen teeth, and the flow's errors.
    """
    height, width = frames_THWC.shape[1:3]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    error = np.empty((max(len(frames_THWC) - 1, 0), height, width), np.float32)
    for t, flow in enumerate(backward_THW2):
        before, after = frames_THWC[t].astype(np.float32), frames_THWC[t + 1].astype(np.float32)
        carried = cv2.remap(
            before, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        error[t] = ((after - carried) ** 2).mean(-1)
    return _mean_in_pairs(error, masks_THW)


def _mean_in_pairs(values_THW: NDArray[np.float32], masks_THW: Masks) -> Array:
    """The mean of each pair's map where either frame's mask is; NaN where both are empty."""
    either = masks_THW[1:] | masks_THW[:-1]
    count = either.sum((1, 2))
    total = (values_THW.astype(np.float64) * either).sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(count > 0, total / count, np.nan), np.float64)
