"""Does quality change along a clip? The last seconds against the first, with an interval from blocks of one second.

T frames, B blocks, K sums, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stages.measures.intervals import NOTHING, Score

Array = NDArray[np.float64]
Ends = tuple[Array, Array]  # sums of the blocks of the first and of the last seconds, (B, K) each


def ends(sums_TK: ArrayLike, *, window: int, block: int) -> Ends | None:
    """Sums over the blocks of a clip's first and last ``window`` frames; None where the two would overlap.

    A last block that is not whole is left out. A row of ``sums_TK`` with a NaN counts nothing.
    """
    sums = np.asarray(sums_TK, np.float64)
    if len(sums) < 2 * window or window < block:
        return None
    sums = finite_rows(sums)
    count = window // block
    first, last = sums[: count * block], sums[len(sums) - count * block :]
    return first.reshape(count, block, -1).sum(1), last.reshape(count, block, -1).sum(1)


def finite_rows(sums_TK: ArrayLike) -> Array:
    """The sums with 0 in each row that has a NaN or an infinite value, so that it counts nothing."""
    sums = np.asarray(sums_TK, np.float64)
    return np.where(np.isfinite(sums).all(axis=1, keepdims=True), sums, 0.0)


def drift(
    clips: Sequence[Ends],
    statistic: Callable[[Array], Array],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> Score:
    """The statistic of the last seconds less that of the first, mean over clips, with a percentile bootstrap's interval.

    Blocks are resampled, of each end of each clip apart: neighbouring frames are alike, seconds much less. n counts clips.
    """
    if not clips:
        return NOTHING
    value = float(np.mean([statistic(last.sum(0)) - statistic(first.sum(0)) for first, last in clips]))
    if not np.isfinite(value):
        return Score(None, None, None, len(clips))
    rng = np.random.default_rng(seed)
    drawn = np.zeros(resamples)
    for first, last in clips:
        for sums, sign in ((first, -1), (last, 1)):
            picks = rng.integers(len(sums), size=(resamples, len(sums)))
            drawn += sign * statistic(sums[picks].sum(1)) / len(clips)
    drawn = drawn[np.isfinite(drawn)]
    if min(len(first) for first, _ in clips) < 2 or not len(drawn):
        return Score(value, None, None, len(clips))
    low, high = np.quantile(drawn, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Score(value, float(low), float(high), len(clips))


def moments(x_T: ArrayLike, y_T: ArrayLike) -> Array:
    """(1, x, y, xy, x², y²) of each frame, (T, 6): sums that add up over frames, for :func:`correlation`."""
    x, y = np.asarray(x_T, np.float64), np.asarray(y_T, np.float64)
    length = min(len(x), len(y))
    x, y = x[:length], y[:length]
    return np.stack([np.where(np.isfinite(x + y), 1.0, np.nan), x, y, x * y, x * x, y * y], -1)


def correlation(sums_K: Array) -> Array:
    """Pearson's r of (..., 6) summed moments; NaN where a trace is constant or there are fewer than three frames."""
    n, x, y, xy, xx, yy = np.moveaxis(np.asarray(sums_K, np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        cov, var_x, var_y = xy - x * y / n, xx - x * x / n, yy - y * y / n
        return np.where((n >= 3) & (var_x > 1e-9) & (var_y > 1e-9), cov / np.sqrt(var_x * var_y), np.nan)
