"""Can the mouth's opening be read from what the generator is shown? Ridge regression on mask and visible pixels.

N frames, D values. If it can, a generator may ignore the sound. The regression is fitted on some clips and scored by R² on others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.measures.image import luma

Array = NDArray[np.float64]

PENALTIES = 10.0 ** np.arange(-3, 4)  # times the mean eigenvalue
FOLDS = 4


@dataclass(frozen=True)
class Leak:
    """R² on the held-out clips: ``total`` of the opening itself, ``within`` of its course in a clip (clip means removed)."""

    total: float
    within: float


def visible(frames_THWC: NDArray[np.uint8], masks_THW: NDArray[np.bool_], size: int) -> Array:
    """What is seen of each frame, (T, 2·size²): luma with the face grey, and the mask, both area-averaged to ``size``."""
    shown = np.where(masks_THW, 127.5, luma(frames_THWC)) / 255
    both = [
        np.stack([cv2.resize(p, (size, size), interpolation=cv2.INTER_AREA) for p in x])
        for x in (shown, masks_THW * 1.0)
    ]
    return np.concatenate([x.reshape(len(x), -1) for x in both], 1)


def leak(
    features: Sequence[Array],
    openings: Sequence[Array],
    held_features: Sequence[Array],
    held_openings: Sequence[Array],
    *,
    components: int = 128,
) -> Leak:
    """R² of the mouth's opening on held-out clips; one array (T, D) of features and one (T,) of openings a clip.

    Features are reduced to their principal components on the fitting clips; the penalty is chosen by leaving whole clips out.
    ``within`` takes each clip's mean from features and openings first, which removes what tells people apart and finds the
    faintest trace of motion. Frames with a NaN opening are left out.
    """

    def r2(centre: bool) -> float:
        x, y, clip = _stack(features, openings, centre)
        held_x, held_y, _ = _stack(held_features, held_openings, centre)
        return _held_out_r2(x, y, clip, held_x, held_y, components)

    return Leak(total=r2(False), within=r2(True))


def _stack(
    features: Sequence[Array], openings: Sequence[Array], centre: bool
) -> tuple[Array, Array, NDArray[np.int64]]:
    xs, ys, clips = [], [], []
    for number, (x, y) in enumerate(zip(features, openings, strict=True)):
        y = np.asarray(y, np.float64)
        good = np.isfinite(y)
        x, y = np.asarray(x, np.float64)[good], y[good]
        if len(y):
            xs.append(x - x.mean(0) if centre else x)
            ys.append(y - y.mean() if centre else y)
            clips.append(np.full(len(y), number))
    return np.concatenate(xs), np.concatenate(ys), np.concatenate(clips)


def _held_out_r2(
    x_ND: Array, y_N: Array, clip_N: NDArray[np.int64], held_x: Array, held_y: Array, components: int
) -> float:
    mean = x_ND.mean(0)
    count = min(components, *x_ND.shape)
    covariance = (x_ND - mean).T @ (x_ND - mean)
    axes = np.linalg.eigh(covariance)[1][:, ::-1][:, :count]
    z, held_z = (x_ND - mean) @ axes, (held_x - mean) @ axes
    scale = z.std(0) + 1e-9
    z, held_z = (
        z / scale,
        held_z / scale,
    )  # whitened: a faint trace of the mouth counts as much as the background's light
    errors = [_cross_validated(z, y_N, clip_N, penalty) for penalty in PENALTIES]
    predict = _ridge(z, y_N, PENALTIES[int(np.argmin(errors))])
    residual = ((held_y - predict(held_z)) ** 2).sum()
    return float(1 - residual / max(((held_y - held_y.mean()) ** 2).sum(), 1e-12))


def _cross_validated(z: Array, y: Array, clip: NDArray[np.int64], penalty: float) -> float:
    error = 0.0
    for fold in range(FOLDS):
        out = clip % FOLDS == fold
        if out.any() and not out.all():
            error += ((y[out] - _ridge(z[~out], y[~out], penalty)(z[out])) ** 2).sum()
    return error


def _ridge(z_NK: Array, y_N: Array, penalty: float) -> Callable[[Array], Array]:
    """w = (ZᵀZ + λ·N·I)⁻¹ Zᵀy on centred values."""
    mean_z, mean_y = z_NK.mean(0), y_N.mean()
    centred = z_NK - mean_z
    gram = centred.T @ centred + penalty * len(z_NK) * np.eye(z_NK.shape[1])
    weights = np.linalg.solve(gram, centred.T @ (y_N - mean_y))
    return lambda held: (held - mean_z) @ weights + mean_y
