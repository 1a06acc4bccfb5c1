"""Blinks as valleys: single ones as by the threshold, pairs, slow reopenings, half blinks, and eyes that are cast down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import people_blinks
from benchmarks.people_blinks import Counted, Tally
from stages.base.errors import InputError
from stages.measures.blinks import find_blinks
from stages.measures.valleys import valley_blinks

HOW: dict[str, Any] = {
    "open_percentile": 90,
    "close_ratio": 0.75,
    "reopen_ratio": 0.85,
    "min_frames": 2,
    "max_frames": 12,
}


def trace(*parts: tuple[int, list[float]], frames: int = 75) -> NDArray[np.float64]:
    """An open eye of 0.3, and from each frame on the given shares of it."""
    found = np.full(frames, 0.3)
    for start, shares in parts:
        found[start : start + len(shares)] = 0.3 * np.array(shares)
    return found


BLINK = [0.7, 0.3, 0.35, 0.6, 0.8]


def test_a_single_blink_is_that_of_the_threshold() -> None:
    one = trace((20, BLINK))
    assert valley_blinks(one, **HOW) == find_blinks(one, **HOW) == [(20, 25)]


def test_a_pair_that_does_not_open_between_is_two() -> None:
    pair = trace((20, [0.7, 0.3, 0.4, 0.65, 0.4, 0.3, 0.5, 0.8]))
    assert valley_blinks(pair, **HOW) == [(20, 23), (23, 28)]
    assert find_blinks(pair, **HOW) == [(20, 28)]
    three = trace((10, [0.6, 0.2, 0.6] * 5 + [0.8]))
    assert len(valley_blinks(three, **HOW)) == 5
    assert find_blinks(three, **HOW) == []  # one event of sixteen frames, too long for a blink


def test_lids_that_reopen_slowly_are_a_blink_and_eyes_cast_down_are_none() -> None:
    slow = trace((20, [0.5, 0.3, 0.4, *np.linspace(0.6, 0.84, 20)]))
    assert valley_blinks(slow, **HOW) == [(20, 43)]
    assert find_blinks(slow, **HOW) == []
    down = trace((20, [0.6, *[0.4] * 14, 0.6]))
    assert valley_blinks(down, **HOW) == []


def test_half_blinks_count_where_they_are_deep_enough() -> None:
    assert valley_blinks(trace((20, [0.8, 0.7, 0.72, 0.85])), **HOW) == [(21, 23)]
    assert valley_blinks(trace((20, [0.8, 0.76, 0.8])), **HOW) == []
    shaken = trace((20, [0.7, 0.6, 0.65, 0.58, 0.62, 0.8]))  # ridges of less than the depth are noise
    assert valley_blinks(shaken, **HOW) == [(20, 26)]


def test_the_ends_count_as_open_and_holes_too() -> None:
    assert valley_blinks(trace((0, [0.3, 0.5, 0.9])), **HOW) == [(0, 2)]
    assert valley_blinks(trace((72, [0.6, 0.3, 0.4])), **HOW) == [(72, 75)]
    holes = trace((20, BLINK))
    holes[40:50] = np.nan
    assert valley_blinks(holes, **HOW) == [(20, 25)]
    assert valley_blinks(np.full(5, np.nan), **HOW) == valley_blinks(np.zeros(0), **HOW) == []
    assert valley_blinks(np.full(20, 0.3), **HOW) == []


def test_a_tally_leaves_unsure_closures_out() -> None:
    tally = Tally()
    tally.add([(10, 15), (30, 33), (50, 55), (60, 64)], Counted(sure=(12, 34, 70), unsure=(52,)))
    assert (tally.both, tally.missed, tally.extra) == (1, 2, 2)
    close = Tally()
    close.add([(10, 13), (13, 16)], Counted(sure=(11, 14), unsure=()))
    assert (close.both, close.missed, close.extra) == (2, 0, 0)


def test_the_counts_are_of_fifty_clips_of_seven_speakers() -> None:
    counted = people_blinks.read(people_blinks.COUNTS)
    assert len(counted) == 50
    assert len({name.split("/")[0] for name in counted}) == 7
    assert (
        sum(not clip.sure and not clip.unsure for clip in counted.values()) > 10
    )  # clips without a blink test precision
    assert all(0 <= frame < 75 for clip in counted.values() for frame in (*clip.sure, *clip.unsure))


def test_a_clip_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"s1/bbaf2n: no such clip"):
        people_blinks.trace(tmp_path, "s1/bbaf2n", None)  # type: ignore[arg-type]
