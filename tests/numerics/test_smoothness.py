"""Smoothness and drift on cases worked out by hand: a still clip, a shifted picture, white flicker, a known trend."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.measures import drift, smoothness
from stages.measures.intervals import mean_of

SIZE, FRAMES = 64, 7
WHOLE = np.ones((FRAMES, SIZE, SIZE), bool)
INSIDE = np.zeros((FRAMES, SIZE, SIZE), bool)
INSIDE[:, 16:48, 16:48] = True


def texture(seed: int = 0) -> NDArray[np.uint8]:
    """A picture with soft blobs, larger than a frame, so that it can be shifted."""
    noise = np.random.default_rng(seed).normal(size=(2 * SIZE, 2 * SIZE)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 3)
    grey = 127 + 60 * soft / np.abs(soft).max()
    return np.repeat(grey[..., None], 3, -1).astype(np.uint8)


def shifted(step_x: int, step_y: int = 0) -> NDArray[np.uint8]:
    """A texture that moves by so many pixels a frame to the right and down."""
    picture = texture()
    starts = [(32 - step_y * t, 32 - step_x * t) for t in range(FRAMES)]
    return np.stack([picture[y : y + SIZE, x : x + SIZE] for y, x in starts])


def test_a_still_clip_has_none_of_it() -> None:
    still = np.repeat(texture()[None, :SIZE, :SIZE], FRAMES, 0)
    backward = smoothness.flows(still, backward=True)
    assert smoothness.f_mse(still, WHOLE) == pytest.approx(np.zeros(FRAMES - 1))
    assert smoothness.ofm(still, WHOLE) == pytest.approx(
        np.zeros(FRAMES - 1), abs=0.01
    )  # of the method, at the borders
    assert smoothness.warp_error(still, backward, WHOLE) == pytest.approx(np.zeros(FRAMES - 1), abs=0.01)


@pytest.mark.parametrize(("x", "y"), [(1, 0), (2, 0), (0, -3), (3, 4)])
def test_a_shift_of_k_pixels_is_a_flow_of_k(x: int, y: int) -> None:
    moving = shifted(x, y)
    assert smoothness.ofm(moving, INSIDE) == pytest.approx(np.full(FRAMES - 1, np.hypot(x, y)), rel=0.05)
    middle = smoothness.flows(moving)[:, 24:40, 24:40].mean((0, 1, 2))
    assert middle == pytest.approx([x, y], abs=0.15)
    assert smoothness.flows(moving, backward=True)[:, 24:40, 24:40].mean((0, 1, 2)) == pytest.approx([-x, -y], abs=0.15)


def test_a_shift_is_motion_and_no_flicker() -> None:
    moving = shifted(2)
    change = smoothness.f_mse(moving, INSIDE)
    left = smoothness.warp_error(moving, smoothness.flows(moving, backward=True), INSIDE)
    assert (change > 40).all()
    assert (left < 0.05 * change).all()


def test_white_flicker_has_twice_its_variance() -> None:
    """Differences of independent noise have variance 2σ²; over 6 pairs of 4,096 pixels in 3 colours that is known to 1 %."""
    rng = np.random.default_rng(1)
    sigma = 10.0
    grey = np.clip(np.round(128 + rng.normal(0, sigma, (FRAMES, SIZE, SIZE, 3))), 0, 255).astype(np.uint8)
    expected = 2 * (sigma**2 + 1 / 12)  # and the rounding's
    assert smoothness.f_mse(grey, WHOLE).mean() == pytest.approx(expected, rel=0.03)


def test_published_f_mse_wraps_and_ours_does_not() -> None:
    """Diffused Heads' program squares uint8 differences as uint8: 16 grey levels of change are none there, 15 are 225."""
    for step, theirs in ((1, 1), (15, 225), (16, 0), (20, 400 - 256), (240, 0)):
        frames = np.zeros((2, 8, 8, 3), np.uint8)
        frames[1] = step
        assert int(((frames[1] - frames[0]) ** 2).mean()) == theirs
        assert smoothness.f_mse(frames, np.ones((2, 8, 8), bool)) == pytest.approx([step**2])


def test_published_ofm_does_not_know_how_far_a_picture_moves() -> None:
    """It is the mean of JET's colours of each frame's flow, stretched to 0 … 255: twice the flow has the same colours."""
    flow = smoothness.flows(shifted(2))[0]
    once = np.hypot(flow[..., 0], flow[..., 1])

    def published(length: NDArray[np.float32]) -> float:
        stretched = cv2.normalize(length, None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
        return float(cv2.applyColorMap(stretched.astype(np.uint8), cv2.COLORMAP_JET).mean())

    assert published(2 * once) == published(once)
    still = np.zeros_like(once)
    assert published(still) == pytest.approx(128 / 3)  # JET's darkest blue, (0, 0, 128): nothing moves, and it is not 0


def test_flicker_on_a_moving_picture_is_told_from_its_motion() -> None:
    """The truth's flow takes the motion out and leaves the flicker: 2σ² where pixels are taken whole."""
    moving = shifted(2)
    rng = np.random.default_rng(2)
    flicker = rng.normal(0, 8, (FRAMES, 1, 1, 1))  # of the whole frame, as a lamp
    lit = np.clip(np.round(moving + flicker), 0, 255).astype(np.uint8)
    backward = smoothness.flows(moving, backward=True)
    added = smoothness.warp_error(lit, backward, INSIDE) - smoothness.warp_error(moving, backward, INSIDE)
    assert added == pytest.approx(np.diff(flicker[:, 0, 0, 0]) ** 2, rel=0.1, abs=5)


def test_what_is_outside_both_masks_does_not_count() -> None:
    frames = np.repeat(texture()[None, :SIZE, :SIZE], FRAMES, 0)
    frames[::2, :8] = 255
    assert smoothness.f_mse(frames, INSIDE) == pytest.approx(np.zeros(FRAMES - 1))
    one = INSIDE.copy()
    one[1] = False
    one[1, :8] = True  # the union with its neighbours' counts, on both sides
    assert (smoothness.f_mse(frames, one)[:2] > 100).all()
    assert np.isnan(smoothness.f_mse(frames, np.zeros_like(INSIDE))).all()


def test_one_frame_has_no_neighbour() -> None:
    one = texture()[None, :SIZE, :SIZE]
    assert smoothness.f_mse(one, WHOLE[:1]).shape == (0,)
    assert smoothness.ofm(one, WHOLE[:1]).shape == (0,)
    assert smoothness.warp_error(one, smoothness.flows(one, backward=True), WHOLE[:1]).shape == (0,)


HOW = {"resamples": 400, "confidence": 0.95, "seed": 0}


def test_drift_of_a_known_trend() -> None:
    """100 seconds at 25 frames that fall by 0.01 a second: the last ten seconds lie 0.9 below the first."""
    rng = np.random.default_rng(3)
    time = np.arange(2500) / 25
    values = 30 - 0.01 * time + rng.normal(0, 0.5, 100).repeat(25)
    sums = np.stack([values, np.ones(2500)], -1)
    found = drift.ends(sums, window=250, block=25)
    assert found is not None
    assert found[0].shape == (10, 2)
    score = drift.drift([found], mean_of, **HOW)  # type: ignore[arg-type]
    assert score.value == pytest.approx(values[-250:].mean() - values[:250].mean())
    assert score.low is not None
    assert score.high is not None
    assert score.low < -0.9 < score.high
    # blocks of a second hold one draw each: the interval is that of ten draws at either end
    assert score.high - score.low == pytest.approx(2 * 1.96 * 0.5 * np.sqrt(2 / 10), rel=0.35)


def test_drift_needs_two_windows_apart() -> None:
    assert drift.ends(np.ones((499, 2)), window=250, block=25) is None
    assert drift.ends(np.ones((500, 2)), window=250, block=25) is not None
    assert drift.drift([], mean_of, **HOW).value is None  # type: ignore[arg-type]
    one = drift.ends(np.ones((60, 2)), window=25, block=25)
    assert one is not None
    single = drift.drift([one], mean_of, **HOW)  # type: ignore[arg-type]
    assert (single.value, single.low, single.n) == (0.0, None, 1)


def test_correlation_of_moments_is_pearsons() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=200)
    y = x + rng.normal(size=200)
    y[7] = np.nan
    good = np.isfinite(y)
    sums = drift.moments(x, y)
    assert drift.correlation(drift.finite_rows(sums).sum(0)) == pytest.approx(np.corrcoef(x[good], y[good])[0, 1])
    assert np.isnan(drift.correlation(drift.moments(np.ones(9), x[:9]).sum(0)))
