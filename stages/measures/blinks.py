"""Blinks in a trace of the eye aspect ratio (EAR): a robust detector, and the one that the paper's numbers come from.

A trace is (T,), the mean of both eyes' EAR on each frame. A blink is (first frame, first frame after it), so that its length
in frames is the difference.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Blink = tuple[int, int]

SHUT_SHARE = 0.4  # of the open EAR, in a blink: 0.26 to 0.56 of rendered people, 0.33 to 0.71 of GRID's
FEW_BLINKS = 3
MOST_SHUT = 0.8
DROP, APART = 0.072, 4  # DinoMan's: least fall of the EAR from one frame to the next; frames between two blinks


def open_ear(ear_T: Array, percentile: float) -> float:
    """EAR of the open eyes: a high percentile of the trace; 0 where it is empty."""
    return float(np.percentile(ear_T, percentile)) if len(ear_T) else 0.0


def eye_levels(open_N: Sequence[float], shut_M: Sequence[float]) -> tuple[float, float]:
    """EAR of a person's shut and open eyes, by the open eyes of N clips and the least EAR in each of M blinks; medians.

    The shut one is drawn towards :data:`SHUT_SHARE` of the open one, as if :data:`FEW_BLINKS` blinks more had that, and is no
    more than :data:`MOST_SHUT` of it. (0, 1) where there is no open eye: the EAR stays as it is.
    """
    is_open = float(np.median(open_N)) if len(open_N) else 0.0
    if is_open <= 0:
        return 0.0, 1.0
    share = float(np.median(shut_M)) / is_open if len(shut_M) else SHUT_SHARE
    share = (len(shut_M) * share + FEW_BLINKS * SHUT_SHARE) / (len(shut_M) + FEW_BLINKS)
    return min(share, MOST_SHUT) * is_open, is_open


def find_blinks(
    ear_T: Array,
    *,
    open_percentile: float,
    close_ratio: float,
    reopen_ratio: float,
    depth: float,
    min_frames: int,
    max_frames: int,
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
    share += 1e-9 * np.arange(
        len(share)
    )  # of equal valleys the first counts as the deepest; find_peaks would take each
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


def dinoman_blinks(ear_T: Array, *, drop: float = DROP) -> list[Blink]:
    """Blinks as DinoMan/blink-detector finds them, which Diffused Heads and so the paper use: from peak to peak of the EAR.

    A blink is where the EAR falls by at least ``drop`` from one frame to the next (find_peaks keeps such falls 4 frames
    apart). It begins on the frame of the fall where that is a peak, else on the last EAR maximum before it, else on frame 0;
    it ends on the first maximum after it and before the next fall. Maxima below the middle of the trace's range don't count.
    Without such an end the fall is no blink, but for the last one, which ends with the trace. The threshold is absolute, so
    that noise of σ = 0.03 alone gives 0.9 blinks a second.
    """
    from scipy.signal import find_peaks  # takes longer to import than a shard's blinks take to find

    trace = np.asarray(ear_T, np.float64)
    if len(trace) < 3:
        return []
    middle = (trace.min() + trace.max()) / 2
    falls, _ = find_peaks(-np.diff(trace), height=drop, distance=APART)
    blinks: list[Blink] = []
    for fall, following in itertools.pairwise([*falls, len(trace)]):
        before, _ = find_peaks(trace[: fall + 1], height=middle)
        after, _ = find_peaks(trace[fall:following], height=middle)
        is_peak = trace[fall - 1] <= trace[fall]  # frame -1 is the last one, as in the reference
        start = int(fall) if is_peak else int(before[-1]) if len(before) else 0
        if len(after):
            blinks.append((start, int(fall + after[0])))
        elif following == len(trace):
            blinks.append((start, len(trace) - 1))
    return blinks


def rate(blinks: list[Blink], frames: int, fps: float) -> float:
    """Blinks a second; 0 for a clip without frames."""
    return len(blinks) * fps / frames if frames else 0.0


def durations(blinks: list[Blink], fps: float) -> list[float]:
    """Seconds of each blink."""
    return [(end - start) / fps for start, end in blinks]
