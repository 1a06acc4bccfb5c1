"""Mel-frequency cepstral coefficients as python_speech_features computes them by default, which SyncNet was trained on.

Shapes: S steps of 10 ms, L = 400 samples a frame, P = 257 bins of the spectrum, M = 26 filters, K = 13 coefficients.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

RATE = 16_000  # Hz
FRAME, STEP = 400, 160  # samples: 25 and 10 ms
N_FFT = 512
FILTERS = 26
COEFFICIENTS = 13
PREEMPHASIS = 0.97
LIFTER = 22
SMALLEST = float(np.finfo(np.float64).eps)  # stands for a power of zero, whose logarithm there is none of


def mfcc(samples: ArrayLike) -> Array:
    """Coefficients (S, K) of 16 kHz sound on the scale of int16; c_0 is the logarithm of the frame's energy.

    The frames are not windowed; the last one is filled up with zeros, so that S = 1 + ⌈(N − 400) / 160⌉ for N > 400 samples.
    On another scale than int16's, c_0 alone is another.

    Raises:
        ValueError: there is no sample, or there are several channels.
    """
    x = np.asarray(samples, np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"samples have the shape {x.shape}; wanted: one channel, one sample or more")
    emphasised = np.concatenate([x[:1], x[1:] - PREEMPHASIS * x[:-1]])
    steps = 1 + max(-(-(len(x) - FRAME) // STEP), 0)
    padded = np.pad(emphasised, (0, max((steps - 1) * STEP + FRAME - len(x), 0)))
    frames_SL = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::STEP][:steps]
    power_SP = np.abs(np.fft.rfft(frames_SL, N_FFT)) ** 2 / N_FFT
    log_mel_SM = _log(power_SP @ filters().T)
    cepstrum_SK = (log_mel_SM @ _cosines()) * (1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER))
    cepstrum_SK[:, 0] = _log(power_SP.sum(1))
    return cepstrum_SK


def _log(power: Array) -> Array:
    return np.log(np.where(power == 0, SMALLEST, power))


@cache
def filters() -> Array:
    """The triangles (M, P), whose corners lie evenly on the mel scale 2595 log10(1 + f / 700) and on whole bins."""
    corners_mel = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), FILTERS + 2)
    corners = np.floor((N_FFT + 1) * 700 * (10 ** (corners_mel / 2595) - 1) / RATE)
    left, middle, right = (c[:, None] for c in (corners[:-2], corners[1:-1], corners[2:]))
    bins = np.arange(N_FFT // 2 + 1)
    rising, falling = (bins - left) / (middle - left), (right - bins) / (right - middle)
    inside = (left <= bins) & (bins < right)
    return np.where(inside, np.where(bins < middle, rising, falling), 0.0)


@cache
def _cosines() -> Array:
    """The first K rows of the orthonormal DCT-II over M values, as columns (M, K)."""
    m, k = np.arange(FILTERS)[:, None], np.arange(COEFFICIENTS)
    return np.cos(np.pi * k * (2 * m + 1) / (2 * FILTERS)) * np.sqrt(np.where(k == 0, 1, 2) / FILTERS)
