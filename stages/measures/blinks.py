"""Blinks in a trace of the eye aspect ratio (EAR): a robust detector, and the one that the paper's numbers come from.

A trace is (T,), the mean of both eyes' EAR on each frame. A blink is (first frame, first frame after it), so that its length
in frames is the difference.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Blink = tuple[int, int]

DROP, APART = 0.072, 4  # DinoMan's: least fall of the EAR from one frame to the next; frames between two blinks


def open_ear(ear_T: Array, percentile: float) -> float:
    """EAR of the open eyes: a high percentile of the trace; 0 where it is empty."""
    return float(np.percentile(ear_T, percentile)) if len(ear_T) else 0.0


def find_blinks(
    ear_T: Array,
    *,
    open_percentile: float,
    close_ratio: float,
    reopen_ratio: float,
    min_frames: int,
    max_frames: int,
) -> list[Blink]:
    """Blinks by a threshold relative to the clip's own open eyes, with hysteresis.

    A blink begins on the first frame below ``close_ratio`` times the open EAR and ends before the first frame at or above
    ``reopen_ratio`` times it, or with the trace. Shorter than ``min_frames`` it is noise, longer than ``max_frames`` the eyes
    are shut or cast down: neither counts. Frames that are not finite count as open.
    """
    trace = np.asarray(ear_T, np.float64)
    finite = trace[np.isfinite(trace)]
    level = open_ear(finite, open_percentile)
    if level <= 0:
        return []
    trace = np.where(np.isfinite(trace), trace, level)
    blinks: list[Blink] = []
    start = None
    for frame, value in enumerate([*trace, np.inf]):
        if start is None and value < close_ratio * level:
            start = frame
        elif start is not None and value >= reopen_ratio * level:
            if min_frames <= frame - start <= max_frames:
                blinks.append((start, frame))
            start = None
    return blinks


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
