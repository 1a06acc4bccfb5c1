"""The kernel distance against a double loop, its unbiasedness, and the coverage of its intervals."""

from __future__ import annotations

import numpy as np
import pytest

from stages.measures import kernel


def by_hand(a: np.ndarray, b: np.ndarray) -> float:
    """Each pair by itself."""
    k = lambda x, y: (float(x @ y) / len(x) + 1) ** 3  # noqa: E731
    n, m = len(a), len(b)
    aa = sum(k(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    bb = sum(k(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return aa + bb - 2 * sum(k(x, y) for x in a for y in b) / (n * m)


def test_against_a_double_loop() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(9, 5)), rng.normal(0.5, 2, (7, 5))
    assert kernel.distance(a, b) == pytest.approx(by_hand(a, b), rel=1e-12)
    assert kernel.distance(a, b) == pytest.approx(kernel.distance(b, a), rel=1e-12)


def test_of_equal_distributions_the_mean_is_nought_however_few_there_are() -> None:
    rng = np.random.default_rng(1)
    found = np.array([kernel.distance(*rng.normal(size=(2, 6, 8))) for _ in range(2000)])
    assert abs(found.mean()) < 3 * found.std() / np.sqrt(len(found))
    assert found.min() < 0
    moved = np.array([kernel.distance(rng.normal(size=(6, 8)), rng.normal(0.5, 1, (6, 8))) for _ in range(500)])
    assert moved.mean() > 10 * moved.std() / np.sqrt(len(moved))


def test_subsets_are_seeded_and_mean_what_the_whole_means() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(80, 8)), rng.normal(0.3, 1, (90, 8))
    one, again, other = (kernel.over_subsets(a, b, size=20, subsets=300, seed=seed) for seed in (3, 3, 4))
    assert one == again
    assert one != other
    assert one is not None
    assert one.mean == pytest.approx(kernel.distance(a, b), abs=4 * one.deviation / np.sqrt(300))
    whole = kernel.over_subsets(a, b, size=1000, subsets=3, seed=0)
    assert whole is not None
    assert whole.size == 80
    assert kernel.over_subsets(a[:1], b, size=10, subsets=3, seed=0) is None


def test_leaving_clips_out_is_the_distance_without_them() -> None:
    rng = np.random.default_rng(5)
    a = [rng.normal(size=(n, 4)) for n in (3, 5, 2, 4)]
    b = [rng.normal(0.4, 1, (n, 4)) for n in (3, 5, 1, 6)]
    sizes = np.array([[len(x), len(y)] for x, y in zip(a, b, strict=True)], float)
    direct = [kernel.distance(*(np.concatenate(s[:i] + s[i + 1 :]) for s in (a, b))) for i in range(4)]
    np.testing.assert_allclose(kernel._without_each(a, b, sizes), direct, rtol=1e-10)
    clips = [str(i) for i in range(4)]
    found = kernel.with_interval(a, b, speakers=clips, confidence=0.95)
    assert found.value == pytest.approx(kernel.distance(np.concatenate(a), np.concatenate(b)))
    assert found.n == 14
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high  # type: ignore[operator]
    assert kernel.with_interval([], [], speakers=[], confidence=0.95).value is None
    assert kernel.with_interval(a[:2], b[:2], speakers=clips[:2], confidence=0.95).low is None


def test_many_features_are_thinned_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    a, b = (list(rng.normal(size=(6, 10, 4))) for _ in range(2))
    monkeypatch.setattr(kernel, "MOST", 30)
    found = kernel.with_interval(a, b, speakers=[str(i) for i in range(6)], confidence=0.95)
    assert found.n == 30
    assert found.value == pytest.approx(kernel.distance(*(np.concatenate([x[::2] for x in side]) for side in (a, b))))


@pytest.mark.parametrize("clips_of_each", [1, 3])
def test_intervals_cover(clips_of_each: int) -> None:
    """Also where a speaker's generated clips err together, which leaving out clips would not see."""
    rng = np.random.default_rng(6)

    def generated(speakers: int) -> list[np.ndarray]:
        own = np.repeat(rng.normal(0, 0.3, (speakers, 1, 4)), clips_of_each, 0)
        return list(0.5 + own + rng.normal(size=(speakers * clips_of_each, 3, 4)))

    truth = np.mean([
        kernel.distance(rng.normal(size=(900, 4)), np.concatenate(generated(300))[:900]) for _ in range(30)
    ])  # fmt: skip
    hits = 0
    for _ in range(100):
        a = list(rng.normal(size=(15 * clips_of_each, 3, 4)))
        speakers = [str(i // clips_of_each) for i in range(len(a))]
        score = kernel.with_interval(a, generated(15), speakers=speakers, confidence=0.9)
        hits += score.low < truth < score.high  # type: ignore[operator]
    assert 80 <= hits <= 98
