"""benchmarks/people_blinks.py: the counts, the tally, and the threshold that valleys are compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import people_blinks
from benchmarks.people_blinks import Counted, Tally, by_threshold
from stages.base.errors import InputError

HOW = {"open_percentile": 90, "close_ratio": 0.75, "reopen_ratio": 0.85, "min_frames": 2, "max_frames": 12}


def test_the_threshold_sees_one_event_in_a_pair_and_none_in_a_long_one() -> None:
    eye = np.full(60, 0.3)
    eye[20:28] = 0.3 * np.array([0.7, 0.3, 0.4, 0.65, 0.4, 0.3, 0.5, 0.8])
    assert by_threshold(eye, **HOW) == [(20, 28)]
    eye[20:35] = 0.1
    assert by_threshold(eye, **HOW) == []
    eye[20:32], eye[5:9] = 0.3, np.nan
    assert by_threshold(eye, **HOW) == [(32, 35)]
    assert by_threshold(np.zeros(0), **HOW) == []


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
