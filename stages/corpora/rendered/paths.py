"""Smooth paths in time: blinks and slow wandering, for a rendered speaker and for a portrait that talks.

T times, seconds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

REFRACTORY_S = 0.45  # least time from one blink to the next


def during(times: Array, first: float, last: float) -> slice:
    """The slice of rising times in [first, last]. With it a short event costs no pass over the whole clip."""
    return slice(int(np.searchsorted(times, first)), int(np.searchsorted(times, last, side="right")))


def smoothstep(x: Array) -> Array:
    """0 below 0, 1 above 1, with a smooth rise between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def blink_times(seconds: float, rate: float, rng: np.random.Generator) -> list[float]:
    """Onsets of blinks in a clip: a renewal process (gamma of shape 3, so fewer empty clips than Poisson) with a dead time.

    No blink is cut by the clip's ends, so a clip holds a little less than ``rate`` a second.
    """
    mean = max(1 / rate - REFRACTORY_S, 0.1)
    onset = -rng.uniform(0, 1 / rate)
    onsets: list[float] = []
    while True:
        onset += REFRACTORY_S + rng.gamma(3.0, mean / 3.0)
        if onset > seconds - 0.3:
            return onsets
        if onset > 0.05:
            onsets.append(onset)


def eyelid(onsets: list[float], times_T: Array, rng: np.random.Generator, *, variety: float = 0.0) -> Array:
    """(T, 2) opening of the left and right eye: about 80 ms closing, 50 ms closed, 120 ms opening; both nearly together.

    Of the blinks a share, ``variety``, is another kind, each as likely: a pair, whose second begins while the lid reopens; a slow
    one, whose lid takes three to five times as long to open; a half one, which leaves a quarter to a half of the opening.
    """
    opening = np.ones((len(times_T), 2))
    kinds = rng.spawn(1)[0]  # so that whatever else is drawn stays as it is without variety
    for onset in onsets:
        close, hold, reopen = np.array([0.08, 0.05, 0.12]) * rng.uniform(0.85, 1.3, 3)
        jitter_2, depth = rng.uniform(0, 0.008, 2), 1.0
        kind = ("pair", "slow", "half")[kinds.integers(3)] if kinds.random() < variety else "single"
        starts = [onset]
        if kind == "pair":
            starts.append(onset + close + hold + reopen * kinds.uniform(0.6, 0.9))
        elif kind == "slow":
            reopen *= kinds.uniform(3, 5)
        elif kind == "half":
            depth = kinds.uniform(0.5, 0.75)
        for start in starts:
            near = during(times_T, start, start + 0.01 + close + hold + reopen)
            for eye, late in enumerate(jitter_2):
                t = times_T[near] - start - late
                lid = 1 - depth * (smoothstep(t / close) - smoothstep((t - close - hold) / reopen))
                opening[near, eye] = np.minimum(opening[near, eye], lid)
    return opening


def wander(times_T: Array, rng: np.random.Generator, slowest: float = 0.12, fastest: float = 0.7) -> Array:
    """Smooth random motion in [-1, 1]: four sinusoids, the slow ones larger."""
    rates = rng.uniform(slowest, fastest, 4)
    sizes = rng.uniform(0.4, 1, 4) / np.sqrt(rates / slowest)
    phases = rng.uniform(0, 2 * np.pi, 4)
    return (sizes * np.sin(2 * np.pi * rates * times_T[:, None] + phases)).sum(-1) / sizes.sum()
