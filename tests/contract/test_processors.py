"""Spectrograms are the same bytes whatever instructions a processor has; they are made by the libraries' plainest code, too."""

import os
import subprocess
import sys

import numpy as np
import pytest

from stages import media
from stages.corpora.rendered import speech

# What keeps each library from the instructions that only some processors have: OpenBLAS, NumPy, soxr, PyTorch and its MKL.
PLAIN = {
    "OPENBLAS_CORETYPE": "Prescott",
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX",
    "SOXR_USE_SIMD": "0",
    "SOXR_USE_SIMD32": "0",
    "SOXR_USE_SIMD64": "0",
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
}
# Prints digests of a file's sound as it is decoded, of its 16-bit samples, and of the spectrogram before and after rounding.
PROGRAM = """
import ctypes, glob, hashlib, os, sys, warnings
warnings.simplefilter("ignore")
import av
if sys.argv[2] == "plain":
    for library in glob.glob(os.path.join(os.path.dirname(av.__file__), "..", "av.libs", "libavutil*")):
        ctypes.CDLL(library).av_force_cpu_flags(0)
from stages import media
from stages.base import params
from stages.clips.mel import Mel
sound = media.decode_audio(sys.argv[1], 16000)
samples = media.to_int16(sound)
mel = Mel(params.load(params.PARAMS_FILE).spectrogram)
heard = media.to_float(samples)
for made in (sound, samples, mel.exact(heard), mel(heard)):
    print(hashlib.sha256(made.tobytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Two seconds of a voice with noise, at the rendered corpus's rate and in its codec."""
    path = tmp_path_factory.mktemp("sound") / "a.mp4"
    rng = np.random.default_rng(0)
    time_N = np.arange(2 * speech.SAMPLE_RATE) / speech.SAMPLE_RATE
    sound = 0.3 * np.sin(2 * np.pi * 180 * time_N * (1 + 0.1 * time_N)) + 0.03 * rng.normal(size=len(time_N))
    sound[: len(sound) // 4] *= 1e-3  # quiet sound has few bits
    picture = np.full((16, 16, 3), 90, np.uint8)
    media.write_video(
        path, [picture] * 50, fps=25, audio=sound, sample_rate=speech.SAMPLE_RATE, crf=30, lossless_sound=True
    )
    return path


def digests(file, how, **variables):
    command = [sys.executable, "-c", PROGRAM, str(file), how]
    found = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True)
    return found.stdout.split()


def test_spectrograms_are_the_same_on_processors_with_other_instructions(file):
    here, plain = digests(file, "here"), digests(file, "plain", **PLAIN)
    assert here[1] == plain[1]
    assert here[3] == plain[3]
    assert here[2] != plain[2], "both ran the same code: the test has lost its grip on the libraries"


def test_lossless_sound_is_what_was_given(file):
    assert len(media.decode_audio(file, speech.SAMPLE_RATE)) == 2 * speech.SAMPLE_RATE
    sound = (np.random.default_rng(1).normal(size=8000) * 3000).astype(np.int16)
    path, pictures = file.with_name("b.mp4"), [np.zeros((16, 16, 3), np.uint8)] * 25
    media.write_video(path, pictures, fps=50, audio=sound, sample_rate=16000, crf=30, lossless_sound=True)
    assert np.array_equal(media.to_int16(media.decode_audio(path, 16000)), sound)
