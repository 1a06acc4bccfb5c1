"""Blinks in a trace of the eye aspect ratio (EAR): a robust detector, and the one that the paper's numbers come from.

A trace is (T,), the mean of both eyes' EAR on each frame. A blink is (first frame, first frame after it).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

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


def dinoman_blinks(ear_T: Array) -> list[Blink]:
    """Blinks as DinoMan/blink-detector finds them, which Diffused Heads and so the paper use.

    A blink is where the EAR falls by at least 0.072 from one frame to the next, blinks at least 4 frames apart. It reaches
    from the last EAR maximum before the fall to the first one after it, of those at or above the middle of the trace's
    range, or to the trace's end. Absolute, so noise of σ = 0.03 alone gives 0.9 blinks a second.
    """
    trace = np.asarray(ear_T, np.float64)
    if len(trace) < 3:
        return []
    falls, _ = find_peaks(-np.diff(trace), height=DROP, distance=APART)
    maxima, _ = find_peaks(trace, height=(trace.min() + trace.max()) / 2)
    blinks = []
    for fall in falls:
        before, after = maxima[maxima <= fall], maxima[maxima > fall]
        blinks.append((int(before[-1]) if len(before) else 0, int(after[0]) if len(after) else len(trace) - 1))
    return blinks


def rate(blinks: list[Blink], frames: int, fps: float) -> float:
    """Blinks a second; 0 for a clip without frames."""
    return len(blinks) * fps / frames if frames else 0.0


def durations(blinks: list[Blink], fps: float) -> list[float]:
    """Seconds of each blink."""
    return [(end - start) / fps for start, end in blinks]
