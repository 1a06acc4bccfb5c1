"""stages/clips/mel.py: the mel spectrogram against Wav2Lip's recipe written out with NumPy and SciPy."""

import numpy as np
import pytest
import torch
from scipy.signal import get_window, lfilter
from torchaudio.transforms import MelSpectrogram

from stages import spectrogram
from stages.base import params
from stages.clips import mel


@pytest.fixture(scope="module")
def settings():
    return params.Spectrogram(sample_rate=16000, n_fft=800, hop=200, n_mels=80, f_min=55, f_max=7600, preemphasis=0.97)


def slaney_hz(mel):
    """Slaney's scale: linear below 1 kHz (15 mel), then a factor of 6.4 every 27 mel."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def slaney_mel(hertz):
    return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def reference_mel(audio):
    """librosa's ``stft`` and ``filters.mel`` and Wav2Lip's ``audio.py``, step by step; (S, 80)."""
    emphasised = lfilter([1, -0.97], [1], audio.astype(np.float64))
    padded = np.pad(emphasised, 400, mode="reflect")
    window = get_window("hann", 800, fftbins=True)
    frames = np.stack([padded[start : start + 800] for start in range(0, len(padded) - 799, 200)])
    magnitude = np.abs(np.fft.rfft(frames * window, axis=-1))
    edges = slaney_hz(np.linspace(slaney_mel(55), slaney_mel(7600), 82))
    bins = np.fft.rfftfreq(800, 1 / 16000)
    filters = np.stack(
        [
            np.clip(np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak)), 0, None) * 2 / (high - low)
            for low, peak, high in zip(edges, edges[1:], edges[2:], strict=False)
        ]
    )
    decibels = 20 * np.log10(np.maximum(1e-5, magnitude @ filters.T)) - 20
    return np.clip(8 * (decibels + 100) / 100 - 4, -4, 4)


@pytest.mark.parametrize("seed", [0, 1])
def test_mel_equals_wav2lips(settings, seed):
    rng = np.random.default_rng(seed)
    time = np.arange(16000 + 37) / 16000
    audio = 0.4 * np.sin(2 * np.pi * 180 * time * (1 + 0.1 * time)) + 0.05 * rng.normal(size=len(time))
    audio[4000:7000] = 0
    make, audio = mel.Mel(settings), audio.astype(np.float32)
    found, expected = make.exact(audio), reference_mel(audio)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4
    rounded = make(audio)
    assert rounded.dtype == np.float32
    assert np.abs(rounded - expected).max() < 1e-4 + mel.GRID / 2
    assert (rounded / mel.GRID % 1 == 0).all()


def test_mel_equals_torchaudios(settings):
    """Its transform, at every block's border too."""
    audio = np.random.default_rng(2).normal(scale=0.1, size=3 * mel.BLOCK * settings.hop + 71).astype(np.float32)
    transform = MelSpectrogram(
        sample_rate=16000, n_fft=800, win_length=800, hop_length=200, f_min=55, f_max=7600, n_mels=80, power=1.0,
        norm="slaney", mel_scale="slaney",
    )  # fmt: skip
    emphasised = np.concatenate([audio[:1], audio[1:] - np.float32(0.97) * audio[:-1]])
    decibels = 20 * np.log10(np.maximum(transform(torch.from_numpy(emphasised)).numpy().T, 1e-5)) - 20
    expected = np.clip(8 * (decibels + 100) / 100 - 4, -4, 4)
    assert np.abs(mel.Mel(settings).exact(audio) - expected).max() < 1e-4


def test_silence_is_minus_4_and_the_rate_is_80_a_second(settings):
    found = mel.Mel(settings)(np.zeros(16000, np.float32))
    assert found.shape == (81, 80)
    assert (found == -4).all()


def test_every_setting_counts(settings):
    audio = np.random.default_rng(0).normal(scale=0.1, size=8000).astype(np.float32)
    normal = mel.Mel(settings)(audio)
    changes = {
        "n_fft": 400,
        "hop": 160,
        "n_mels": 40,
        "f_min": 200,
        "f_max": 4000,
        "preemphasis": 0.5,
        "sample_rate": 17000,
    }
    for key, value in changes.items():
        other = mel.Mel(settings.model_copy(update={key: value}))(audio)
        assert other.shape != normal.shape or not np.allclose(other, normal), key


def test_fit_trims_and_pads():
    audio = np.ones(10, np.float32)
    assert len(spectrogram.fit(audio, 4)) == 4
    assert spectrogram.fit(audio, 12).tolist() == [1] * 10 + [0, 0]
