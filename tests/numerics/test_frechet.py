"""The Fréchet distance against analytic values and SciPy's matrix root, and the coverage of its intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from stages.measures import frechet


def _covariance(rng: np.random.Generator, size: int) -> np.ndarray:
    x = rng.normal(size=(3 * size, size)) * rng.uniform(0.3, 2, size)
    return np.cov(x, rowvar=False)


def test_equal_covariances_leave_the_means() -> None:
    rng = np.random.default_rng(0)
    cov, a, b = _covariance(rng, 16), rng.normal(size=16), rng.normal(size=16)
    assert frechet.from_moments(a, cov, b, cov) == pytest.approx(((a - b) ** 2).sum(), rel=1e-9)


def test_diagonal_covariances() -> None:
    rng = np.random.default_rng(1)
    s, t = rng.uniform(0.1, 3, 20), rng.uniform(0.1, 3, 20)
    found = frechet.from_moments(np.zeros(20), np.diag(s**2), np.zeros(20), np.diag(t**2))
    assert found == pytest.approx(((s - t) ** 2).sum(), rel=1e-9)


@pytest.mark.parametrize("size", [2, 64, 200])
def test_agrees_with_scipys_root_at_full_rank(size: int) -> None:
    rng = np.random.default_rng(size)
    a, b = rng.normal(size=(4 * size, size)), rng.normal(size=(5 * size, size)) * rng.uniform(0.5, 2, size) + 0.3
    mean_a, cov_a = frechet.moments(a)
    mean_b, cov_b = frechet.moments(b)
    root = np.real(linalg.sqrtm(cov_a @ cov_b))
    expected = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root)
    assert frechet.distance(a, b) == pytest.approx(float(expected), rel=1e-9)


def test_rank_deficient_features() -> None:
    """n < d: the nuclear norm, the singular Gaussians, and the same features rotated into their own span agree."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(20, 64)), rng.normal(size=(30, 64)) + 0.1
    basis = np.linalg.qr(np.concatenate([a, b]).T)[0]
    assert frechet.distance(a, b) == pytest.approx(frechet.distance(a @ basis, b @ basis), abs=1e-9)
    assert frechet.distance(a, b) == pytest.approx(
        frechet.from_moments(*frechet.moments(a), *frechet.moments(b)), abs=1e-5
    )


def test_one_set_short_and_one_long() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(10, 32)), rng.normal(size=(500, 32))
    assert frechet.distance(a, b) == pytest.approx(
        frechet.from_moments(*frechet.moments(a), *frechet.moments(b)), abs=1e-5
    )
    assert frechet.distance(a, a) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("clips", [[2], [1, 2, 3]])
def test_the_interval_covers_a_known_distance(clips: list[int]) -> None:
    """Gaussians with a known distance, of 12 speakers who differ, and whose generated features each err in their own way.

    The 95 % interval of the limit covers it in 93 and 94 of 100 draws, with as many clips a speaker and with unequal ones. The
    plain distance is biased upwards at this n.
    """
    size, frames, noise, own = 8, 20, 0.5, 0.5
    var_true, var_made = 1 + 1.25, 1 + 1.25 + noise**2 + own**2
    truth = size * (0.5**2 + (np.sqrt(var_made) - np.sqrt(var_true)) ** 2)
    hits = above = 0
    for draw in range(100):
        rng = np.random.default_rng([draw, 12, sum(clips)])
        made, true, speakers = [], [], []
        for speaker in range(12):
            who, error = rng.normal(size=size), own * rng.normal(size=size)
            for _ in range(clips[speaker % len(clips)]):
                x = who + 0.5 * rng.normal(size=size) + rng.normal(size=(frames, size))
                true.append(x)
                made.append(x + 0.5 + error + noise * rng.normal(size=x.shape))
                speakers.append(str(speaker))
        plain, limit = frechet.with_intervals(made, true, speakers=speakers, confidence=0.95)
        assert limit.low is not None
        assert limit.high is not None
        assert plain.value is not None
        assert limit.value is not None
        hits += limit.low <= truth <= limit.high
        above += plain.value > limit.value
        assert plain.n == frames * len(made)
    assert 90 <= hits <= 100
    assert above > 95


def test_few_speakers_leave_out_clips() -> None:
    """24 clips of independent features: 88 to 100 of 100 intervals hold the distance."""
    size, shift = 8, 0.5
    hits = 0
    for draw in range(100):
        rng = np.random.default_rng([7, draw])
        a = [rng.normal(size=(10, size)) for _ in range(24)]
        b = [rng.normal(size=(10, size)) + shift for _ in range(24)]
        _, limit = frechet.with_intervals(a, b, speakers=["one"] * 24, confidence=0.95)
        assert limit.low is not None
        assert limit.high is not None
        hits += limit.low <= size * shift**2 <= limit.high
    assert 88 <= hits <= 100


def test_floors() -> None:
    rng = np.random.default_rng(5)
    people = rng.normal(size=(6, 4)) * 3
    features = [people[i // 2] + rng.normal(size=(20, 4)) for i in range(12)]
    speakers = [f"s{i // 2}" for i in range(12)]
    same, others = (
        frechet.halves(features, speakers=speakers, confidence=0.95),
        frechet.between_groups(features, speakers, confidence=0.95, seed=1),
    )
    assert same.value is not None
    assert others.value is not None
    assert same.n == 120
    assert same.low is not None
    assert same.value < 1 < others.value
    assert frechet.between_groups(features[:2], speakers[:2], confidence=0.95, seed=1).value is None


def test_too_little_is_undefined() -> None:
    assert frechet.with_intervals([], [], speakers=[], confidence=0.95)[0].value is None
    one = [np.random.default_rng(0).normal(size=(5, 2))]
    score, limit = frechet.with_intervals(one, one, speakers=["a"], confidence=0.95)
    assert score.value == pytest.approx(0, abs=1e-12)
    assert score.low is limit.value is None


@pytest.mark.parametrize("count", [12, 60], ids=["rank-deficient", "full rank"])
def test_covariances_divided_by_n(count: int) -> None:
    """StyleGAN-V's convention: the same features give (N − 1) / N times what does not lie in the means."""
    rng = np.random.default_rng(9)
    a, b = rng.normal(size=(count, 20)), rng.normal(0.3, 2, (count, 20))
    means = ((a.mean(0) - b.mean(0)) ** 2).sum()
    expected = means + (frechet.distance(a, b) - means) * (count - 1) / count
    assert frechet.distance(a, b, ddof=0) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(frechet.moments(a, ddof=0)[1], np.cov(a, rowvar=False, bias=True), rtol=1e-9)
