"""Mouth crops aligned to the head's pose, and windows of frames, for the judge networks. T frames, H, W, F frames of a window."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.faces.geometry import head_axes

Frames = NDArray[np.uint8]

MOUTH_BELOW = 1.75  # the cut's centre lies this many eye-to-nose distances below the eyes
MOUTH_SIDE = 1.0  # side of the cut, distances of the outer eye corners


def mouth_matrix(landmarks_L2: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """The 2×3 map from a frame to an upright cut of the mouth region, ``size`` pixels wide.

    It is made from the outer eye corners and the nose's base alone. The mouth's own landmarks would carry their opening
    into the cut, and so the truth's opening into the judgement of generated frames.
    """
    eyes, axes, distance, nose = head_axes(landmarks_L2)
    centre = eyes + axes[1] * MOUTH_BELOW * nose
    linear = size / (MOUTH_SIDE * distance) * axes
    return np.column_stack([linear, np.full(2, (size - 1) / 2) - linear @ centre])


def mouth_map(landmarks_L2: NDArray[np.floating], side: int) -> NDArray[np.float32]:
    """The same cut as the 2×3 map that ``torch.nn.functional.affine_grid`` takes: from the cut to a frame ``side`` pixels wide,
    both in [-1, 1] from edge to edge (``align_corners=False``), whatever the cut's size.
    """
    to_frame = np.linalg.inv(np.vstack([mouth_matrix(landmarks_L2, 2), [0, 0, 1]]))
    pixel_of_cut = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # of two pixels: x = (2 (u + 1) − 1) / 2
    of_frame = np.array([[2 / side, 0, 1 / side - 1], [0, 2 / side, 1 / side - 1], [0, 0, 1]])
    return (of_frame @ to_frame @ pixel_of_cut)[:2].astype(np.float32)


def mouth_crops(frames_THWC: Frames, landmarks_TL2: NDArray[np.floating], size: int) -> Frames:
    """The mouth region of each frame, (T, size, size, 3)."""
    crops = [
        cv2.warpAffine(
            frame, mouth_matrix(points, size), (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for frame, points in zip(frames_THWC, landmarks_TL2, strict=True)
    ]
    return np.stack(crops)


def resized(frames_THWC: Frames, size: int) -> Frames:
    """Frames brought to (T, size, size, 3), by area where they shrink."""
    side = frames_THWC.shape[1]
    if side == size:
        return frames_THWC
    how = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return np.stack([cv2.resize(frame, (size, size), interpolation=how) for frame in frames_THWC])


def windows(frames_THWC: Frames, length: int, stride: int) -> Frames:
    """All windows of ``length`` frames, ``stride`` apart: (N, F, H, W, 3); N is 0 for a shorter clip."""
    starts = range(0, len(frames_THWC) - length + 1, stride)
    return np.stack([frames_THWC[s : s + length] for s in starts]) if len(starts) else frames_THWC[:0, None]
