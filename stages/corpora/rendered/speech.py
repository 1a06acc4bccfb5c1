"""A formant synthesiser: source and filter, after Klatt (1980), driven by the timeline of phones.

Glottal pulses and breath pass a cascade of five resonators, and a fixed filter where they are nasal; frication passes one
resonator of its own.
Control tracks change every 5 ms. N samples, K control steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter, sosfilt

from stages.corpora.rendered.phones import PHONES
from stages.corpora.rendered.sentences import Segment

Array = NDArray[np.float64]

SAMPLE_RATE = 48_000
STEP = 240  # samples of a control step, 5 ms
BANDWIDTHS = (70.0, 95.0, 140.0, 220.0, 300.0)  # Hz, of F1 to F5
PEAK = 0.7  # of the written sound
OPEN_QUOTIENT = 0.6  # share of a glottal period in which the folds are apart


@dataclass(frozen=True)
class Voice:
    """The measures that set one speaker's voice apart."""

    pitch: float  # Hz, mean
    formants: float  # all formants times this: 1 for a long vocal tract, 1.2 for a short one
    breath: float  # noise in the voiced source, [0, 1]
    rate: float  # speaking rate, 1 is normal
    melody: float  # size of the accents, in semitones


def control_track(segments: list[Segment], field: str, times: Array, smooth_s: float) -> Array:
    """A phone parameter over time: the phones' targets, blended by a raised-cosine window of ``smooth_s`` seconds."""
    starts = np.array([segment.start for segment in segments])
    targets = np.array([float(getattr(PHONES[segment.phone], field)) for segment in segments])
    steps = targets[np.clip(np.searchsorted(starts, times, side="right") - 1, 0, len(targets) - 1)]
    return blend(steps, smooth_s / (times[1] - times[0]))


def blend(values: Array, width: float) -> Array:
    """Smooth by a normalised raised-cosine window of ``width`` samples; the ends repeat."""
    half = max(1, round(width / 2))
    window = np.hanning(2 * half + 3)[1:-1]
    return np.convolve(np.pad(values, half, mode="edge"), window / window.sum(), mode="valid")


def pitch_track(segments: list[Segment], voice: Voice, times: Array, rng: np.random.Generator) -> Array:
    """F0 in Hz: declination, an accent on every stressed vowel, a final fall, and a slow drift."""
    speech = (times - segments[0].end) / (segments[-1].start - segments[0].end)
    semitones = 2.0 - 4.0 * np.clip(speech, 0, 1)
    accents = [segment for segment in segments if segment.stressed and PHONES[segment.phone].vowel]
    for number, segment in enumerate(accents):
        size = voice.melody * rng.uniform(0.6, 1.0) * (1.2 if number == 0 else 1.0)
        semitones += size * np.exp(-(((times - segment.start - 0.05) / 0.09) ** 2))
    semitones -= 3.0 * np.clip((speech - 0.85) / 0.15, 0, 1) ** 2
    drift = blend(rng.normal(size=len(times)), 40)
    return voice.pitch * 2 ** ((semitones + 0.5 * drift / max(drift.std(), 1e-9)) / 12)


def glottal_source(pitch_N: Array, rng: np.random.Generator) -> Array:
    """Derivative of the glottal flow, KLGLOTT88 pulses with jitter and shimmer of about one per cent; peak near 1."""
    phase = np.cumsum(pitch_N / SAMPLE_RATE)
    period = phase.astype(int)
    jitter = 1 + 0.01 * rng.normal(size=period[-1] + 2)
    shimmer = 1 + 0.03 * rng.normal(size=period[-1] + 2)
    place = (phase - period) * jitter[period]
    t = place / OPEN_QUOTIENT
    return np.where(t < 1, 2 * t - 3 * t**2, 0.0) * shimmer[period]


def resonator(frequency: Array, bandwidth: Array) -> Array:
    """Klatt's two-pole resonator as second-order sections, (K,) → (K, 6); unit gain at 0 Hz."""
    radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
    c = -(radius**2)
    b = 2 * radius * np.cos(2 * np.pi * frequency / SAMPLE_RATE)
    zero = np.zeros_like(b)
    return np.stack([1 - b - c, zero, zero, zero + 1, -b, -c], -1)


def time_varying(sound_N: Array, sections_KS6: Array) -> Array:
    """Filter a sound with sections that change at every control step; the filter's state is carried over."""
    out = np.empty_like(sound_N)
    state = np.zeros((sections_KS6.shape[1], 2))
    for number, sections in enumerate(sections_KS6):
        part = slice(number * STEP, (number + 1) * STEP)
        out[part], state = sosfilt(sections, sound_N[part], zi=state)
    return out


def vocal_tract(segments: list[Segment], voice: Voice, times_K: Array) -> Array:
    """Sections of the cascade, (K, 5, 6): resonators F1 to F5, wider where the phone is nasal."""
    formants = [voice.formants * control_track(segments, name, times_K, 0.07) for name in ("f1", "f2", "f3")]
    formants += [np.full(len(times_K), voice.formants * hz) for hz in (3500.0, 4500.0)]
    nasal = control_track(segments, "nasal", times_K, 0.04)
    return np.stack([resonator(hz, width * (1 + nasal)) for hz, width in zip(formants, BANDWIDTHS, strict=True)], 1)


def nasalised(sound_N: Array, nasal_N: Array) -> Array:
    """The murmur of a closed mouth for ``nasal_N`` of 1, the sound itself for 0: little above 500 Hz, and a zero near 900 Hz."""
    murmur = lfilter([0.06], [1, -0.94], sound_N)
    zero = np.exp(2j * np.pi * 900 / SAMPLE_RATE) * 0.985
    notch = np.array([1, -2 * zero.real, abs(zero) ** 2])
    murmur = 0.5 * murmur + 0.5 * lfilter(notch / notch.sum(), [1, -0.9, 0.2025], murmur) * 0.3025
    return sound_N + nasal_N * (1.6 * murmur - sound_N)


def synthesise(segments: list[Segment], voice: Voice, seconds: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Speak a timeline: mono sound of ``seconds`` at 48 kHz, in [-1, 1]."""
    steps = int(np.ceil(seconds * SAMPLE_RATE / STEP))
    times_K = (np.arange(steps) + 0.5) * STEP / SAMPLE_RATE
    times_N = np.arange(steps * STEP) / SAMPLE_RATE

    def fine(field: str, smooth_s: float) -> Array:
        return np.interp(times_N, times_K, control_track(segments, field, times_K, smooth_s))

    pitch = np.interp(times_N, times_K, pitch_track(segments, voice, times_K, rng))
    noise = rng.normal(size=len(times_N))
    pulses = glottal_source(pitch, rng)
    voiced = fine("voice", 0.03)
    stress = np.interp(times_N, times_K, stress_track(segments, times_K))
    source = stress * (
        voiced * pulses + voice.breath * 0.12 * voiced * noise * (pulses > 0) + 0.22 * fine("breath", 0.02) * noise
    )
    tract = time_varying(source, vocal_tract(segments, voice, times_K))
    hiss_hz = control_track(segments, "hiss_hz", times_K, 0.02) * (0.5 + 0.5 * voice.formants)
    band = resonator(hiss_hz, control_track(segments, "hiss_width", times_K, 0.02))
    hiss = time_varying(lfilter([1, -1], [1], noise), band[:, None]) * fine("hiss", 0.012)
    voiced_part = nasalised(tract, fine("nasal", 0.02))
    sound = voiced_part + 0.3 * _like(hiss, voiced_part)
    sound = sound[: round(seconds * SAMPLE_RATE)]
    return (PEAK * sound / np.abs(sound).max()).astype(np.float32)


def stress_track(segments: list[Segment], times_K: Array) -> Array:
    """Loudness of the source: 1 on stressed words' parts, less elsewhere."""
    starts = np.array([segment.start for segment in segments])
    targets = np.array([1.0 if segment.stressed else 0.72 for segment in segments])
    return blend(targets[np.clip(np.searchsorted(starts, times_K, side="right") - 1, 0, len(targets) - 1)], 24)


def _like(hiss: Array, tract: Array) -> Array:
    """Bring frication to the level of the voiced sound: equal peaks at equal amplitude parameters."""
    return hiss * (np.abs(tract).max() / max(np.abs(hiss).max(), 1e-9))
