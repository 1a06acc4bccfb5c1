"""Blinks of people in a trace of the eye aspect ratio (EAR): valleys, so that pairs and slow reopenings count.

People's lids reopen slowly and blink again before they are open. A threshold with hysteresis (:mod:`stages.measures.blinks`)
then sees one event, which is too long for a blink. ``python -m benchmarks.people_blinks`` compares both with counts by eye; the
stage ``blink`` still takes the threshold.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from stages.measures.blinks import Blink, open_ear

DEPTH = 0.15  # share of the open EAR by which a valley lies below both ridges beside it


def valley_blinks(
    ear_T: NDArray[np.floating],
    *,
    open_percentile: float,
    close_ratio: float,
    reopen_ratio: float,
    min_frames: int,
    max_frames: int,
    depth: float = DEPTH,
) -> list[Blink]:
    """Blinks (first frame, first frame after it) of a trace (T,), each about one valley.

    A valley is a minimum below ``close_ratio`` times the open EAR that lies ``depth`` of it below the ridges on both sides; the
    trace counts as open beyond its ends. Its blink begins on the first frame below ``close_ratio`` and ends before the first at
    or above ``reopen_ratio``, or at the ridge to the next valley. Eyes that are more than half shut for over ``max_frames`` are
    cast down, and what is shorter than ``min_frames`` is noise: neither counts. Frames that are not finite count as open.
    """
    from scipy.signal import find_peaks  # takes longer to import than a shard's blinks take to find

    trace = np.asarray(ear_T, np.float64)
    level = open_ear(trace[np.isfinite(trace)], open_percentile)
    if level <= 0:
        return []
    share = np.where(np.isfinite(trace), trace, level) / level
    found, _ = find_peaks(-np.pad(share, 1, constant_values=1.0), height=-close_ratio, prominence=depth)
    if not len(found):
        return []
    valleys = (found - 1).tolist()
    ridges = [int(a + np.argmax(share[a : b + 1])) for a, b in itertools.pairwise(valleys)]
    blinks: list[Blink] = []
    for valley, first, last in zip(valleys, [0, *ridges], [*ridges, len(share)], strict=True):
        start, end = _around(share, valley, first, last, close_ratio, reopen_ratio)
        middle = (share[valley] + 1) / 2
        shut = _around(share, valley, start, end, middle, middle)
        if end - start >= min_frames and shut[1] - shut[0] <= max_frames:
            blinks.append((start, end))
    return blinks


def _around(share_T: NDArray[np.float64], valley: int, first: int, last: int, falling: float, rising: float) -> Blink:
    """The frames about a valley between two others: those below ``falling`` before it, and below ``rising`` after it."""
    start, end = valley, valley + 1
    while start > first and share_T[start - 1] < falling:
        start -= 1
    while end < last and share_T[end] < rising:
        end += 1
    return start, end
