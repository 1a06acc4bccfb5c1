"""stages/measures/blinks.py."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.measures.blinks import (
    FEW_BLINKS,
    MOST_SHUT,
    SHUT_SHARE,
    dinoman_blinks,
    durations,
    eye_levels,
    find_blinks,
    open_ear,
    rate,
)

SETTINGS = {
    "open_percentile": 90,
    "close_ratio": 0.75,
    "reopen_ratio": 0.85,
    "depth": 0.17,
    "min_frames": 2,
    "max_frames": 12,
}


def trace(frames=60, blinks=(), level=0.4, depth=0.12):
    ear = np.full(frames, level)
    for start, end in blinks:
        ear[start:end] = depth
    return ear


def test_blinks_are_found_with_their_frames():
    assert find_blinks(trace(blinks=[(10, 15), (40, 44)]), **SETTINGS) == [(10, 15), (40, 44)]


def test_the_threshold_is_relative_to_the_eyes():
    narrow = trace(blinks=[(10, 15)], level=0.2, depth=0.06)
    assert find_blinks(narrow, **SETTINGS) == [(10, 15)]


def test_a_shallow_flutter_is_one_blink_and_a_deep_one_two():
    ear = trace(blinks=[(10, 18)])
    ear[13] = 0.4 * 0.4  # a tenth above the closed lids
    assert find_blinks(ear, **SETTINGS) == [(10, 18)]
    ear[13] = 0.8 * 0.4  # above close_ratio, below reopen_ratio
    assert find_blinks(ear, **SETTINGS) == [(10, 13), (14, 18)]
    ear[13] = 0.9 * 0.4
    assert find_blinks(ear, **SETTINGS) == [(10, 13), (14, 18)]


def test_too_short_and_too_long_do_not_count():
    assert find_blinks(trace(blinks=[(5, 6), (20, 33)]), **SETTINGS) == []
    assert find_blinks(trace(blinks=[(5, 7), (20, 32)]), **SETTINGS) == [(5, 7), (20, 32)]


def test_clip_ends():
    assert find_blinks(trace(blinks=[(0, 3), (57, 60)]), **SETTINGS) == [(0, 3), (57, 60)]


@pytest.mark.parametrize("ear", [np.array([]), np.zeros(30), np.full(30, np.nan)])
def test_nothing_to_find(ear):
    assert find_blinks(ear, **SETTINGS) == []


def test_gaps_count_as_open():
    ear = trace(blinks=[(10, 14)])
    ear[30:40] = np.nan
    assert find_blinks(ear, **SETTINGS) == [(10, 14)]


@given(arrays(np.float64, st.integers(0, 80), elements=st.floats(0, 0.6)))
def test_events_are_ordered_apart_and_inside(ear):
    for blinks in (find_blinks(ear, **SETTINGS), dinoman_blinks(ear)):
        for start, end in blinks:
            assert 0 <= start < end <= len(ear)
    events = find_blinks(ear, **SETTINGS)
    assert all(end - start >= 2 for start, end in events)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(events))


def test_robust_against_landmark_noise():
    ear = trace(2000) + np.random.default_rng(0).normal(scale=0.02, size=2000)
    assert find_blinks(ear, **SETTINGS) == []


def test_dinoman_goes_from_peak_to_peak():
    ear = np.full(40, 0.40)
    ear[9], ear[17] = 0.42, 0.43  # the maxima beside the blink
    ear[10:17] = [0.41, 0.30, 0.15, 0.12, 0.15, 0.30, 0.41]
    assert dinoman_blinks(ear) == [(9, 17)]


def test_dinoman_falls_back_on_the_clips_ends():
    ear = np.concatenate([np.linspace(0.42, 0.40, 10), [0.1, 0.1], np.linspace(0.3, 0.4, 8)])
    assert dinoman_blinks(ear) == [(0, 19)]


def test_dinoman_needs_an_absolute_fall():
    assert dinoman_blinks(trace(blinks=[(10, 14)], level=0.14, depth=0.08)) == []


def test_rate_duration_and_open_eyes():
    assert rate([(0, 5), (20, 25)], frames=50, fps=25) == pytest.approx(1.0)
    assert rate([], frames=0, fps=25) == 0
    assert durations([(0, 5)], fps=25) == pytest.approx([0.2])
    assert open_ear(np.array([]), 90) == 0
    assert open_ear(trace(blinks=[(10, 15)]), 90) == pytest.approx(0.4)


def shares(*parts, frames=75):
    """An open eye of 0.3, and from each frame on the given shares of it."""
    found = np.full(frames, 0.3)
    for start, values in parts:
        found[start : start + len(values)] = 0.3 * np.array(values)
    return found


BLINK = [0.7, 0.3, 0.35, 0.6, 0.8]


def test_a_blink_ends_where_the_eye_has_reopened():
    assert find_blinks(shares((20, BLINK)), **SETTINGS) == [(20, 25)]


def test_a_pair_that_does_not_open_between_is_two():
    pair = shares((20, [0.7, 0.3, 0.4, 0.65, 0.4, 0.3, 0.5, 0.8]))
    assert find_blinks(pair, **SETTINGS) == [(20, 23), (23, 28)]
    three = shares((10, [0.6, 0.2, 0.6] * 5 + [0.8]))
    assert len(find_blinks(three, **SETTINGS)) == 5


def test_lids_that_reopen_slowly_are_a_blink_and_eyes_cast_down_are_none():
    slow = shares((20, [0.5, 0.3, 0.4, *np.linspace(0.6, 0.84, 20)]))
    assert find_blinks(slow, **SETTINGS) == [(20, 43)]
    down = shares((20, [0.6, *[0.4] * 14, 0.6]))
    assert find_blinks(down, **SETTINGS) == []


def test_half_blinks_count_where_they_are_deep_enough():
    assert find_blinks(shares((20, [0.8, 0.7, 0.72, 0.85])), **SETTINGS) == [(21, 23)]
    assert find_blinks(shares((20, [0.8, 0.76, 0.8])), **SETTINGS) == []
    shaken = shares((20, [0.7, 0.6, 0.65, 0.58, 0.62, 0.8]))  # ridges of less than the depth are noise
    assert find_blinks(shaken, **SETTINGS) == [(20, 26)]


def test_the_ends_count_as_open_and_holes_too():
    assert find_blinks(shares((0, [0.3, 0.5, 0.9])), **SETTINGS) == [(0, 2)]
    assert find_blinks(shares((72, [0.6, 0.3, 0.4])), **SETTINGS) == [(72, 75)]
    holes = shares((20, BLINK))
    holes[40:50] = np.nan
    assert find_blinks(holes, **SETTINGS) == [(20, 25)]
    assert find_blinks(np.full(5, np.nan), **SETTINGS) == find_blinks(np.zeros(0), **SETTINGS) == []
    assert find_blinks(np.full(20, 0.3), **SETTINGS) == []


def test_a_speakers_levels_are_medians_drawn_to_the_usual_where_few_blinks_were_seen() -> None:
    assert eye_levels([0.3, 0.32, 0.9], []) == (pytest.approx(SHUT_SHARE * 0.32), 0.32)
    few, many = (eye_levels([0.3], [0.2] * count)[0] for count in (1, 1000))
    assert SHUT_SHARE * 0.3 < few < many < 0.2
    assert few == pytest.approx((0.2 + FEW_BLINKS * SHUT_SHARE * 0.3) / (1 + FEW_BLINKS))
    assert many == pytest.approx(0.2, rel=0.01)
    assert eye_levels([0.3], [0.29] * 1000)[0] == pytest.approx(MOST_SHUT * 0.3), (
        "never so near that noise would be a blink"
    )
    assert eye_levels([], []) == (0.0, 1.0)
    assert eye_levels([0.0], []) == (0.0, 1.0)
