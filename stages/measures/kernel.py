"""Kernel distance of two sets of features (KID; Bińkowski et al. 2018). N and M features, D values, C units: speakers or clips.

The unbiased estimate of the squared maximum mean discrepancy with the kernel k(x, y) = (x·y / D + 1)³. Unlike a Fréchet distance
its expectation doesn't depend on the number of features: of equal distributions it is 0, and single values may be negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from stages.measures.intervals import NOTHING, Score, units

Array = NDArray[np.float64]
Features = NDArray[np.floating]


def kernel(a_ND: Array, b_MD: Array) -> Array:
    """(x·y / D + 1)³ of each pair, (N, M)."""
    return (a_ND @ b_MD.T / a_ND.shape[1] + 1) ** 3


def distance(a_ND: ArrayLike, b_MD: ArrayLike) -> float:
    """The unbiased squared MMD of all features, two or more in each set: eq. (4) there, without the diagonals."""
    a, b = np.asarray(a_ND, np.float64), np.asarray(b_MD, np.float64)
    n, m = len(a), len(b)
    aa, bb = kernel(a, a), kernel(b, b)
    within = (aa.sum() - np.trace(aa)) / (n * (n - 1)) + (bb.sum() - np.trace(bb)) / (m * (m - 1))
    return float(within - 2 * kernel(a, b).mean())


@dataclass(frozen=True)
class Kid:
    """Mean and standard deviation over subsets; the deviation is that of one subset, no error of the mean."""

    mean: float
    deviation: float
    subsets: int
    size: int  # features of each set in a subset


def over_subsets(a_ND: ArrayLike, b_MD: ArrayLike, *, size: int, subsets: int, seed: int) -> Kid | None:
    """The distance as the field reports it: over random subsets, drawn from each set without replacement.

    torch-fidelity's are 100 of 1,000. Sets with fewer than ``size`` features are taken as a whole; None below two features.
    """
    a, b = np.asarray(a_ND, np.float64), np.asarray(b_MD, np.float64)
    size = min(size, len(a), len(b))
    if size < 2:
        return None
    rng = np.random.default_rng(seed)
    draw = lambda x: x[rng.choice(len(x), size, replace=False)]  # noqa: E731
    found = [distance(draw(a), draw(b)) for _ in range(subsets)]
    return Kid(float(np.mean(found)), float(np.std(found)), subsets, size)


MOST = 10_000  # features of a set whose pairs are computed; of more, evenly spaced ones are


def with_interval(a: Sequence[Features], b: Sequence[Features], *, speakers: Sequence[str], confidence: float) -> Score:
    """The distance of clips' features, ``a[i]`` and ``b[i]`` being clip i's in both sets, with an interval.

    As for the Fréchet distance, whole speakers are left out one at a time from both sets (the jackknife), clips where there are
    fewer than five speakers. Frames of one clip are alike, and so are clips of one speaker: the interval counts those, not
    frames. Of more than :data:`MOST` features in all, every second, third, … one of each clip is taken. n counts those taken.
    """
    step = max(-(-max(sum(map(len, side)) for side in (a, b)) // MOST), 1)
    owners = units(speakers)
    names = sorted(set(owners))

    def joined(side: Sequence[Features]) -> list[Array]:
        parts = [
            [np.asarray(x[::step], np.float64) for x, own in zip(side, owners, strict=True) if own == name]
            for name in names
        ]
        return [np.concatenate(part) for part in parts]

    a, b = joined(a), joined(b)
    count, total = len(names), sum(map(len, a))
    sizes_C2 = np.array([[len(x), len(y)] for x, y in zip(a, b, strict=True)], np.float64).reshape(count, 2)
    if count == 0 or sizes_C2.sum(0).min() < 2:
        return NOTHING
    everything = distance(np.concatenate(a), np.concatenate(b))
    if count < 3 or (sizes_C2.sum(0) - sizes_C2).min() < 2:
        return Score(everything, None, None, total)
    without = _without_each(a, b, sizes_C2)
    error = np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum())
    reach = float(stdtrit(count - 1, 0.5 + confidence / 2)) * error
    return Score(everything, float(everything - reach), float(everything + reach), total)


def _without_each(a: Sequence[Array], b: Sequence[Array], sizes_C2: Array) -> Array:
    """The distance without unit i (speaker or clip), for each i, from the kernel's sums over pairs of units."""
    aa, bb, ab = (
        np.array([[kernel(x, y).sum() for y in right] for x in left]) for left, right in ((a, a), (b, b), (a, b))
    )
    for sums, clips in ((aa, a), (bb, b)):  # without the features' kernels with themselves
        sums[np.diag_indices(len(clips))] -= [(((x**2).sum(1) / x.shape[1] + 1) ** 3).sum() for x in clips]
    n, m = (sizes_C2.sum(0) - sizes_C2).T
    left = [sums.sum() - sums.sum(0) - sums.sum(1) + np.diag(sums) for sums in (aa, bb, ab)]
    return left[0] / (n * (n - 1)) + left[1] / (m * (m - 1)) - 2 * left[2] / (n * m)
