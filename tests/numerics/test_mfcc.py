"""The MFCC against the recipe written out sample by sample, and against stored values."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest

from stages.measures.mfcc import filters, mfcc


def signal(samples: int = 1000) -> np.ndarray:
    """Two tones and a swell, as int16: the same on every machine."""
    t = np.arange(samples) / 16000
    wave = 9000 * np.sin(2 * np.pi * 220 * t) + 2500 * np.sin(2 * np.pi * 1870 * t + 1) * np.linspace(0, 1, samples)
    return np.round(wave).astype(np.int16)


def to_mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def slow(samples: list[int]) -> list[list[float]]:
    """Pre-emphasis 0.97; frames of 400 every 160 samples, no window; 512-point power spectrum; 26 triangles on the mel scale
    up to 8 kHz; logarithm; orthonormal DCT-II, 13 of it; lifter 22; the logarithm of the energy for c_0."""
    emphasised = [float(samples[0])] + [samples[i] - 0.97 * samples[i - 1] for i in range(1, len(samples))]
    count = 1 if len(samples) <= 400 else 1 + math.ceil((len(samples) - 400) / 160)
    emphasised += [0.0] * (count * 160 + 400 - len(samples))
    edges = [math.floor(513 * 700 * (10 ** (to_mel(8000) * i / 27 / 2595) - 1) / 16000) for i in range(28)]
    result = []
    for number in range(count):
        frame = emphasised[160 * number : 160 * number + 400]
        turns = [cmath.exp(-2j * math.pi * k / 512) for k in range(512)]
        power = [abs(sum(x * turns[k * n % 512] for n, x in enumerate(frame))) ** 2 / 512 for k in range(257)]
        logs = []
        for left, middle, right in zip(edges, edges[1:], edges[2:]):
            total = sum(power[k] * (k - left) / (middle - left) for k in range(left, middle))
            total += sum(power[k] * (right - k) / (right - middle) for k in range(middle, right))
            logs.append(math.log(total or 2.0**-52))
        row = [math.log(sum(power) or 2.0**-52)]
        for c in range(1, 13):
            transformed = sum(x * math.cos(math.pi * c * (2 * m + 1) / 52) for m, x in enumerate(logs)) * math.sqrt(
                2 / 26
            )
            row.append(transformed * (1 + 11 * math.sin(math.pi * c / 22)))
        result.append(row)
    return result


@pytest.mark.parametrize("samples", [1, 300, 400, 401, 1000])
def test_against_the_recipe(samples: int) -> None:
    found = mfcc(signal(samples))
    np.testing.assert_allclose(found, slow([int(x) for x in signal(samples)]), rtol=1e-7, atol=1e-7)


# From the recipe above, of this signal: steps 0, 2 and 4.
STORED = np.array([
    [18.233546, 22.143395, -5.898472, 8.139541, 23.217645, -13.346770, -37.609994,
     -10.258181, -1.187626, -36.343151, -42.505407, -11.430431, -5.154525],
    [18.864516, 16.691136, -9.172549, 20.145598, 34.965241, -11.133745, -37.328207,
     -5.591931, 4.604630, -33.410183, -42.277240, -9.455525, -1.255150],
    [19.346401, 15.118303, -13.357308, 26.742055, 47.246225, -1.032665, -32.043799,
     -3.877352, 4.775068, -32.295300, -39.113628, -5.172735, 3.229997],
])  # fmt: skip


def test_against_stored_values() -> None:
    np.testing.assert_allclose(mfcc(signal())[[0, 2, 4]], STORED, atol=2e-6)


def test_silence_and_the_scale() -> None:
    silent = mfcc(np.zeros(800, np.int16))
    np.testing.assert_allclose(silent[:, 0], math.log(2.0**-52))
    np.testing.assert_allclose(silent[:, 1:], 0, atol=1e-9)
    loud, quiet = mfcc(signal()), mfcc(signal() / 32768)
    np.testing.assert_allclose(loud[:, 1:], quiet[:, 1:], atol=1e-8)
    np.testing.assert_allclose(loud[:, 0] - quiet[:, 0], 2 * math.log(32768))


def test_filters_are_triangles_over_whole_bins() -> None:
    assert filters().shape == (26, 257)
    np.testing.assert_array_equal(filters().max(1), 1)
    assert filters()[0].nonzero()[0].tolist() == [1, 2, 3]


def test_what_is_no_sound_is_refused() -> None:
    for bad in (np.zeros(0), np.zeros((10, 2))):
        with pytest.raises(ValueError, match="one channel"):
            mfcc(bad)
