"""Can the mouth's opening be read from what the generator is shown? Ridge regression on mask, visible pixels and head's place.

If it can, a generator may ignore the sound. The regression is fitted on some clips and scored by R² on others.
N frames, T frames of a clip, D values, K components.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import cv2
import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from stages.base.lazy import Mapped
from stages.faces.geometry import RIGID, head_turns, inter_ocular, similarity
from stages.measures.image import luma

Array = NDArray[np.float64]
Values = NDArray[np.floating]

PENALTIES = 10.0 ** np.arange(-3, 4)  # times the mean eigenvalue
FOLDS = 4


def visible(frames_THWC: NDArray[np.uint8], masks_THW: NDArray[np.bool_], size: int) -> Array:
    """The visible part of each frame, (T, 2·size²): luma with the face grey, and the mask, both area-averaged to ``size``."""
    shown = np.where(masks_THW, 127.5, luma(frames_THWC)) / 255
    both = [
        np.stack([cv2.resize(p, (size, size), interpolation=cv2.INTER_AREA) for p in x])
        for x in (shown, masks_THW * 1.0)
    ]
    return np.concatenate([x.reshape(len(x), -1) for x in both], 1)


def place(landmarks_TL2: Values) -> Array:
    """The head's place, (T, 6): the similarity from the first frame that carries mask and reference, and its turn since then.

    Turn in the picture's plane and growth, the shift of the middle of the rigid points in inter-ocular distances, and
    :func:`stages.faces.geometry.head_turns`; times 100, so that no reduction to principal components loses what pixels can't
    show.
    """
    rigid = np.asarray(landmarks_TL2, np.float64)[:, RIGID]
    middle = rigid[0].mean(0)
    moved = np.stack([similarity(rigid[0], points) for points in rigid])
    shift = (moved[:, :, :2] @ middle + moved[:, :, 2] - middle) / inter_ocular(landmarks_TL2[0])
    turned = head_turns(landmarks_TL2, range(len(rigid)))
    return 100 * np.column_stack([moved[:, :, 0] - [1, 0], shift, turned - turned[0]])


def centred(values: Iterable[Values]) -> Mapped[Values, Array]:
    """Each clip's values less their mean in the clip (NaN left out): what is left is motion, not who it is."""
    return Mapped(lambda x: np.asarray(x, np.float64) - np.nanmean(x, axis=0), values)


def predict(
    features: Iterable[Values], openings: Iterable[Values], held_features: Iterable[Values], *, components: int = 128
) -> list[Array]:
    """The opening on held-out clips, as ridge regression reads it: (T, D) features and (T,) openings a clip → (T,) a clip.

    Features are reduced to their principal components on the fitting clips and whitened, so that a faint trace of the mouth
    counts as much as the background's light; the penalty is chosen by leaving whole clips out. Frames with a NaN opening are
    left out of the fit. The features are walked through twice, so that of all clips only the components are in memory.
    """
    y = [np.asarray(x, np.float64) for x in openings]
    good = [np.isfinite(x) for x in y]
    mean, axes = _principal((x[g] for x, g in zip(features, good, strict=True)), components)
    z = np.concatenate([(np.asarray(x, np.float64)[g] - mean) @ axes for x, g in zip(features, good, strict=True)])
    y_N = np.concatenate([x[g] for x, g in zip(y, good, strict=True)])
    clip_N = np.repeat(np.arange(len(good)), [int(g.sum()) for g in good])
    errors = [_cross_validated(z, y_N, clip_N, penalty) for penalty in PENALTIES]
    read = _ridge(z, y_N, PENALTIES[int(np.argmin(errors))])
    return [read((np.asarray(x, np.float64) - mean) @ axes) for x in held_features]


def sums(openings_T: Values, predicted_T: Values) -> Array:
    """(Σ (y − ŷ)², Σ y, Σ y², frames) of one clip, which add up over clips; NaN frames are left out."""
    good = np.isfinite(openings_T)
    y, error = openings_T[good], (openings_T - predicted_T)[good]
    return np.array([error @ error, y.sum(), y @ y, len(y)])


def r2(sums_K: Array) -> Array:
    """R² = 1 − Σ (y − ŷ)² / Σ (y − ȳ)² of (..., 4) summed sums; below 0 where the mean of y is the better guess."""
    error, total, squares, count = np.moveaxis(np.asarray(sums_K, np.float64), -1, 0)
    return 1 - error / np.maximum(squares - total**2 / np.maximum(count, 1), 1e-12)


def _principal(parts_ND: Iterable[Values], components: int) -> tuple[Array, Array]:
    """Mean and whitening axes (D, K) of rows that come in parts."""
    count, total, gram = 0, np.zeros(0), np.zeros((0, 0))
    for part in parts_ND:
        x = np.asarray(part, np.float64)
        count, total, gram = count + len(x), x.sum(0) + (total if count else 0), x.T @ x + (gram if count else 0)
    mean = total / count
    largest = (max(len(mean) - components, 0), len(mean) - 1)
    values, vectors = scipy.linalg.eigh(gram - count * np.outer(mean, mean), subset_by_index=largest)
    keep = np.flatnonzero(values > 1e-9 * max(values[-1], 1e-12))[::-1]
    return mean, vectors[:, keep] / np.sqrt(values[keep] / count)


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
