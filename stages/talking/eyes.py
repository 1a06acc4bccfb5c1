"""Blinks: the eye aspect ratio that the network is told. T frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.base.errors import InputError
from stages.corpora.rendered.paths import blink_times, eyelid
from stages.talking import heads

Array = NDArray[np.floating]

OPEN_PERCENTILE = 90  # of a video's eyes, as the corpus's
SHUT, BLINK = (
    0.2,
    0.7,
)  # of the open ratio: the least that landmarks show of shut eyes, and what only a blink comes below
TIMES, RATIOS = ("time_s",), ("ear_left", "ear_right")


def blinking(
    open_2: Array, closed: float, frames: int, fps: float, rate: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], list[float]]:
    """Eye aspect ratio of the left and the right eye, (T, 2), and the blinks' onsets in seconds.

    ``open_2`` is that of the open eyes, ``closed`` the share of it that is left in a blink, ``rate`` blinks a second; 0: none.
    """
    onsets = blink_times(frames / fps, rate, rng) if rate > 0 else []
    return at(onsets, open_2, closed, frames, fps, rng), onsets


def at(
    onsets: list[float], open_2: Array, closed: float, frames: int, fps: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The same of blinks that begin at these seconds."""
    lid = eyelid(onsets, np.arange(frames) / fps, rng)
    return (np.asarray(open_2) * (closed + (1 - closed) * lid)).astype(np.float32)


def carried(trace_T2: Array, open_2: Array) -> NDArray[np.float32]:
    """Other eyes' ratios, (T, 2), on eyes that are open at ``open_2``: each as a share of its own open one."""
    own = np.percentile(trace_T2, OPEN_PERCENTILE, axis=0)
    return (np.asarray(open_2) * np.clip(trace_T2 / np.maximum(own, 1e-6), 0, 1.2)).astype(np.float32)


def least(trace_T2: Array, otherwise: float) -> float:
    """The least that is left of the open eyes' ratio in a video's blinks, or ``otherwise`` where it shows no blink."""
    both = trace_T2.mean(1)
    share = float(both.min() / max(np.percentile(both, OPEN_PERCENTILE), 1e-6))
    return max(share, SHUT) if share < BLINK else otherwise


def of_table(
    path: Path, open_2: Array, closed: float, frames: int, fps: float, when_short: str, rng: np.random.Generator
) -> tuple[NDArray[np.float32], list[float] | None]:
    """The ratios by a CSV: onsets of blinks in seconds (``time_s``), or the ratios (``ear_left``, ``ear_right``) a frame.

    Gives the onsets, too, where it holds these. Raises like :func:`stages.talking.heads.table`, and where a number is negative.
    """
    kind, values = heads.table(path, TIMES, RATIOS)
    if (values < 0).any():
        raise InputError(path, f"holds {values.min():g}", "give no negative number")
    if kind == 0:
        onsets = [float(time) for time in np.sort(values[:, 0]) if time < frames / fps]
        return at(onsets, open_2, closed, frames, fps, rng), onsets
    return values[heads.lent(len(values), frames, when_short)].astype(np.float32), None
