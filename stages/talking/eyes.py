"""Blinks of a portrait: the eye aspect ratio that the network is told. T frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.corpora.rendered.motion import blink_times, eyelid


def trace(
    open_2: NDArray[np.floating], closed: float, frames: int, fps: float, rate: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], list[float]]:
    """Eye aspect ratio of the left and the right eye, (T, 2), and the blinks' onsets in seconds.

    ``open_2`` is that of the open eyes, ``closed`` the share of it that is left in a blink, ``rate`` blinks a second; 0: none.
    """
    times = np.arange(frames) / fps
    onsets = blink_times(frames / fps, rate, rng) if rate > 0 else []
    lid = eyelid(onsets, times, rng)
    return (np.asarray(open_2) * (closed + (1 - closed) * lid)).astype(np.float32), onsets
