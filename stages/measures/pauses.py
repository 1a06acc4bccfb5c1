"""Is the mouth shut where nothing is said? T frames, N samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FAINT_DB = 40.0  # below the loudest frame: a pause
MARGIN = 2  # frames on either side that have to be faint, too: lips open before a sound and close after it
RANGE = (2, 98)  # percentiles of the opening: its range, without outliers


def silent(audio_N: NDArray[np.floating], frames: int) -> NDArray[np.bool_]:
    """The frames that lie within pauses of a sound as long as the video, (frames,)."""
    edges = np.linspace(0, len(audio_N), frames + 1).round().astype(int)
    totals = np.concatenate([[0.0], np.cumsum(np.asarray(audio_N, np.float64) ** 2)])
    power = (totals[edges[1:]] - totals[edges[:-1]]) / np.maximum(np.diff(edges), 1)
    faint = power <= power.max(initial=0.0) * 10 ** (-FAINT_DB / 10)
    around = np.pad(faint, MARGIN, constant_values=True)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(around, 2 * MARGIN + 1).all(1))


def opening(opening_T: NDArray[np.floating], silent_T: NDArray[np.bool_]) -> Array:
    """(Σ, frames) of the opening in pauses, above its least and as a share of its range; NaN without a pause or a range."""
    known = np.isfinite(opening_T)
    values, paused = np.asarray(opening_T, np.float64)[known], silent_T[: len(opening_T)][known]
    if not paused.any():
        return np.full(2, np.nan)
    low, high = np.percentile(values, RANGE)
    if high <= low:
        return np.full(2, np.nan)
    return np.array([((values[paused] - low) / (high - low)).sum(), paused.sum()])
