"""Values frame by frame: runs of true, and means of the frames around. T frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def runs(true_T: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The runs of true: (first, first after) of each."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], true_T, [False]]).astype(np.int8)))
    return [(int(first), int(after)) for first, after in edges.reshape(-1, 2)]


def moving_mean(values_TX: NDArray[np.floating], half: int) -> NDArray[np.float64]:
    """The mean of each value and of ``half`` on either side, the ends repeated: (T, …) → (T, …)."""
    padding = [(half + 1, half), *[(0, 0)] * (values_TX.ndim - 1)]
    sums = np.cumsum(np.pad(np.asarray(values_TX, np.float64), padding, mode="edge"), 0)
    return np.asarray((sums[2 * half + 1 :] - sums[: -2 * half - 1]) / (2 * half + 1))
