"""Fréchet distance between Gaussians fitted to features (Heusel et al. 2017), with intervals. N features, D values,
G speakers.

d² = |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁ Σ₂)^½, all in float64, covariances with N − 1 (``ddof`` 1) or N (``ddof`` 0, as
StyleGAN-V's FVD has it). The trace of the root is taken
without a matrix square root: as the root of the eigenvalues of Lᵀ Σ₂ L with Σ₁ = L Lᵀ where both have full rank, and as
the nuclear norm of X Yᵀ of the centred features where there are too few of them; so no version of SciPy matters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import lapack
from scipy.special import stdtrit

from stages.measures.intervals import NOTHING, Score, units

Array = NDArray[np.float64]
Features = NDArray[np.floating]


def moments(features_ND: ArrayLike, *, ddof: int = 1) -> tuple[Array, Array]:
    """Mean (D,) and covariance (D, D), divided by N − ddof; needs two features or more."""
    x = np.asarray(features_ND, np.float64)
    mean = x.mean(0)
    centred = x - mean
    return mean, centred.T @ centred / (len(x) - ddof)


def trace_of_root(a_DD: Array, b_DD: Array) -> float:
    """tr (A B)^½ of two covariances: Cholesky and eigenvalues, or a symmetric root of A where it is singular.

    LAPACK's ``sygst`` makes Lᵀ B L in a quarter of what two matrix products cost; its lower triangle is all that is read.
    """
    try:
        root = np.linalg.cholesky(a_DD)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(a_DD)
        root = vectors * np.sqrt(np.maximum(values, 0))
        product = root.T @ b_DD @ root
        product = (product + product.T) / 2
    else:
        product, _ = lapack.dsygst(b_DD, root, itype=2, lower=1)
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(product), 0)).sum())


def from_moments(mean_a: Array, cov_a: Array, mean_b: Array, cov_b: Array) -> float:
    """Squared Fréchet distance of two Gaussians given by mean (D,) and covariance (D, D)."""
    shift = np.asarray(mean_a, np.float64) - mean_b
    return float(shift @ shift + np.trace(cov_a) + np.trace(cov_b) - 2 * trace_of_root(cov_a, cov_b))


def distance(a_ND: ArrayLike, b_ND: ArrayLike, *, ddof: int = 1) -> float:
    """Squared Fréchet distance of two sets of features, at least two in each; rank-deficient sets (N ≤ D) included."""
    a, b = np.asarray(a_ND, np.float64), np.asarray(b_ND, np.float64)
    if min(len(a), len(b)) > a.shape[1]:
        return from_moments(*moments(a, ddof=ddof), *moments(b, ddof=ddof))
    mean_a, mean_b = a.mean(0), b.mean(0)
    x, y = (a - mean_a) / np.sqrt(len(a) - ddof), (b - mean_b) / np.sqrt(len(b) - ddof)
    trace_root = np.linalg.svd(_short(x) @ _short(y).T, compute_uv=False).sum()
    shift = mean_a - mean_b
    return float(shift @ shift + (x**2).sum() + (y**2).sum() - 2 * trace_root)


def _short(x_ND: Array) -> Array:
    """At most D rows with the same Gram matrix xᵀx."""
    return x_ND if len(x_ND) <= x_ND.shape[1] else np.asarray(np.linalg.qr(x_ND, mode="r"))


def with_intervals(
    a: Sequence[Features], b: Sequence[Features], *, speakers: Sequence[str], confidence: float, ddof: int = 1
) -> tuple[Score, Score]:
    """Distance of clips' features and its limit n → ∞, each with an interval; ``a[i]`` and ``b[i]`` are clip i's in both sets.

    Whole speakers are left out one at a time, from both sets (subsampling without replacement); where there are fewer than
    five, clips. Resampling with replacement would be wrong here: repeated clips shrink the covariances and move the whole
    distribution away from the estimate.

    The plain distance grows as 1/n on few features, and its interval is that of its expectation *at this n*. The second score is
    the extrapolation in 1/n (Chong and Forsyth 2020, arXiv 1911.07023) in its leave-out form, the jackknife for groups of unequal
    size (Busing, Meijer and van der Leeden 1999): with h_j = n / n_j, G·d² − Σ (1 − 1/h_j) d²₋ⱼ.

    On Gaussian features with a known distance, 8 values each, of 12 to 24 speakers whose generated features are off by an
    error of their own, the 95 % interval of the limit covered it in 93 or 94 of 100 draws; with clips left out instead in 79
    to 82 (6 speakers of three clips: 94, and 56), since the clips of a speaker err together.
    """
    a, b = list(a), list(b)
    total = sum(len(x) for x in a)
    if not a or min(total, sum(len(x) for x in b)) < 3:
        return NOTHING, NOTHING
    whole = distance(np.concatenate(a), np.concatenate(b), ddof=ddof)
    owners = units(speakers)
    names = sorted(set(owners))
    if len(names) < 3:
        return Score(whole, None, None, total), Score(None, None, None, total)
    count = len(names)

    def without(name: str) -> float:
        left = [i for i, unit in enumerate(owners) if unit != name]
        return distance(np.concatenate([a[i] for i in left]), np.concatenate([b[i] for i in left]), ddof=ddof)

    d_G = np.array([without(name) for name in names])
    h_G = total / np.array([sum(len(x) for x, unit in zip(a, owners, strict=True) if unit == name) for name in names])
    limit = count * whole - ((1 - 1 / h_G) * d_G).sum()
    pseudo_G = h_G * whole - (h_G - 1) * d_G
    error = np.sqrt(((pseudo_G - limit) ** 2 / (h_G - 1)).mean())
    reach = float(stdtrit(count - 1, 0.5 + confidence / 2) * error)
    plain, limit = float(whole), float(limit)
    return Score(plain, plain - reach, plain + reach, total), Score(limit, limit - reach, limit + reach, total)


def halves(features: Sequence[Features], *, speakers: Sequence[str], confidence: float, ddof: int = 1) -> Score:
    """The truth-against-truth floor: distance of the clips' first halves from their second halves, with its interval.

    The same people at other moments. n is the number of features in a half, so that this floor overstates the bias of a
    distance of all features; distances of different n are not comparable beyond that.
    """
    cut = [(x[: len(x) // 2], x[len(x) // 2 : 2 * (len(x) // 2)]) for x in features]
    first, second = [a for a, _ in cut], [b for _, b in cut]
    return with_intervals(first, second, speakers=speakers, confidence=confidence, ddof=ddof)[0]


def between_groups(
    features: Sequence[Features],
    groups: Sequence[str],
    *,
    confidence: float,
    seed: int,
    repeats: int = 20,
    ddof: int = 1,
) -> Score:
    """Distance of one set's two halves, no group (speaker) in both: what two samples of other people differ by.

    The mean over random halvings; low and high are the halvings' quantiles. n is the mean number of features in a half.
    """
    names = sorted(set(groups))
    if len(names) < 2:
        return NOTHING
    rng = np.random.default_rng(seed)
    values, sizes = [], []
    for _ in range(repeats):
        one = set(rng.permutation(np.array(names))[: len(names) // 2])
        sides = [[x for x, g in zip(features, groups, strict=True) if (g in one) == side] for side in (True, False)]
        a, b = (np.concatenate(side) for side in sides)
        if min(len(a), len(b)) < 2:
            return NOTHING
        values.append(distance(a, b, ddof=ddof))
        sizes.append(min(len(a), len(b)))
    low, high = np.quantile(values, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Score(float(np.mean(values)), float(low), float(high), int(np.mean(sizes)))
