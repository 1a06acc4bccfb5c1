"""Mel spectrograms of speech. N samples, W of a window, F bins, B of a part of them, M mel bands, S steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray

from stages.base import params

# Wav2Lip's hparams: ref_level_db 20, min_level_db -100, symmetric normalisation to [-4, 4].
REFERENCE_DB, RANGE_DB, LIMIT, FLOOR = 20.0, 100.0, 4.0, 1e-5
# Into how many parts the spectrum is cut: a filter spans few bins, and most of a product with all of them would be zeros.
BANDS = 4
GRID = 2.0**-10  # of the spectrogram's values; 0.012 dB
BLOCK = 128  # steps that are transformed at once: a megabyte, and memory that does not grow with the clip


class Mel:
    """Mel spectrogram of speech: Wav2Lip's ``audio.melspectrogram`` and torchaudio's transform within 1e-4 before it is rounded.

    torchaudio gives the filters alone; the rest is done in blocks of steps that fit into the cache, so that the spectrum of a
    long clip need not fit into memory.
    """

    def __init__(self, settings: params.Spectrogram) -> None:
        from torchaudio.functional import melscale_fbanks

        self.preemphasis, self.n_fft, self.hop = settings.preemphasis, settings.n_fft, settings.hop
        self.n_mels = settings.n_mels
        turn_W = 2 * np.pi * np.arange(settings.n_fft) / settings.n_fft
        self.window_W = 0.5 - 0.5 * np.cos(turn_W)  # Hann's
        bins = settings.n_fft // 2 + 1
        with _in_float64():
            filters_FM = melscale_fbanks(
                bins,
                settings.f_min,
                settings.f_max,
                settings.n_mels,
                settings.sample_rate,
                norm="slaney",
                mel_scale="slaney",
            ).numpy()
        self.bands = [_band(part_B, filters_FM) for part_B in np.array_split(np.arange(bins), BANDS)]

    def __call__(self, audio_N: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mono audio in [-1, 1], (N,) → (S, M) in [-4, 4], multiples of :data:`GRID`, step s centred on sample s·hop."""
        return (np.round(self.exact(audio_N) / GRID) * GRID).astype(np.float32)

    def exact(self, audio_N: NDArray[np.float32]) -> NDArray[np.float64]:
        """The same before it is rounded.

        Pre-emphasis y[n] = x[n] − preemphasis·x[n−1]; magnitude STFT; Slaney mel; 20·log10 − 20 dB, of which 100 dB are
        spread over [-4, 4].
        """
        emphasised = audio_N.astype(np.float32)  # a copy
        emphasised[1:] -= np.float32(self.preemphasis) * audio_N[:-1]
        padded = np.pad(emphasised, self.n_fft // 2, mode="reflect")
        windows_SW = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft)[:: self.hop]
        mel_SM = np.zeros((len(windows_SW), self.n_mels))
        for start in range(0, len(mel_SM), BLOCK):
            block = slice(start, start + BLOCK)
            spectrum_SF = scipy.fft.rfft(windows_SW[block] * self.window_W)
            magnitude_SF = np.sqrt(spectrum_SF.real**2 + spectrum_SF.imag**2)
            for bins, mels, filters_BM in self.bands:
                mel_SM[block, mels] += magnitude_SF[:, bins] @ filters_BM
        decibels_SM = 20 * np.log10(np.maximum(mel_SM, FLOOR, out=mel_SM)) - REFERENCE_DB
        return np.clip(2 * LIMIT * (decibels_SM + RANGE_DB) / RANGE_DB - LIMIT, -LIMIT, LIMIT)


@contextmanager
def _in_float64() -> Iterator[None]:
    """Makes float64 PyTorch's default type: torchaudio's filters ask for no type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _band(bins_B: NDArray[np.intp], filters_FM: NDArray[np.float64]) -> tuple[slice, slice, NDArray[np.float64]]:
    """A part of the bins, the mels that it reaches, and the filters between the two, (B, M) of these."""
    reached = np.flatnonzero(filters_FM[bins_B].any(0))
    bins = slice(bins_B[0], bins_B[-1] + 1)
    mels = slice(reached[0], reached[-1] + 1) if len(reached) else slice(0, 0)
    return bins, mels, np.ascontiguousarray(filters_FM[bins, mels])
