"""Does a measured trace follow the requested one? Correlation and error, pooled over clips. T frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def sums(requested_T: ArrayLike, measured_T: ArrayLike) -> Array:
    """(Σ dx·dy, Σ dx², Σ dy²) of one clip, each trace less its mean in the clip; frames with a NaN are left out.

    The sums of several clips add up; :func:`pearson` makes a correlation of them. Traces of different length are cut to the
    shorter one. NaN where fewer than three frames remain.
    """
    x, y = _paired(requested_T, measured_T)
    if len(x) < 3:
        return np.full(3, np.nan)
    dx, dy = x - x.mean(), y - y.mean()
    return np.array([dx @ dy, dx @ dx, dy @ dy])


def pearson(sums_K: Array) -> Array:
    """Pearson's r within clips, of (..., 3) summed sums; NaN where a trace is constant."""
    xy, xx, yy = np.moveaxis(np.asarray(sums_K, np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((xx > 1e-12) & (yy > 1e-12), xy / np.sqrt(xx * yy), np.nan)


def pooled(pairs: list[tuple[ArrayLike, ArrayLike]]) -> float:
    """Pearson's r of all clips' frames, each clip's means removed: differences between clips (faces) don't count."""
    rows = np.array([sums(x, y) for x, y in pairs])
    return float(pearson(rows[np.isfinite(rows).all(1)].sum(0)))


def absolute_error(requested_T: ArrayLike, measured_T: ArrayLike) -> Array:
    """(Σ |x − y|, frames) of one clip; frames with a NaN are left out."""
    x, y = _paired(requested_T, measured_T)
    return np.array([np.abs(x - y).sum(), len(x)]) if len(x) else np.full(2, np.nan)


def _paired(x_T: ArrayLike, y_T: ArrayLike) -> tuple[Array, Array]:
    x, y = np.asarray(x_T, np.float64), np.asarray(y_T, np.float64)
    length = min(len(x), len(y))
    x, y = x[:length], y[:length]
    good = np.isfinite(x) & np.isfinite(y)
    return x[good], y[good]
