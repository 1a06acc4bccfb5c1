"""A sound, as it is heard and as the network is told it: at the training's level, silent where nobody speaks. N samples.

A sound is decoded once and lies in temporary files, which have no name: memory does not grow with its length.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from stages import media
from stages.base.errors import ClipError, InputError
from stages.base.params import Spectrogram
from stages.clips.clip import mel_window
from stages.clips.facts import BLOCK_S, RANGE_DB
from stages.clips.mel import Mel

HEARD_HZ = 48_000  # of the result's sound
GATE_ABOVE_FLOOR_DB, HIGHEST_GATE_DB, FLOOR_PERCENTILE = 7.0, -30.0, 10
FADE_BLOCKS = 2  # over which the gate opens and shuts, on either side
LEAST_DB = -120.0
AT_ONCE = 1 << 18  # samples
MORE_S = 1.0  # decoded beyond the part that is wanted: stamps may shift it


@dataclass(frozen=True)
class Stored:
    """Samples of 16 bits in a file, read as an array is, (N,)."""

    file: IO[bytes]
    rate: int
    count: int

    def __len__(self) -> int:
        return self.count

    @property
    def nbytes(self) -> int:
        return 2 * self.count

    def __getitem__(self, part: slice) -> NDArray[np.int16]:
        start, stop, _ = part.indices(self.count)
        self.file.seek(2 * start)
        return np.frombuffer(self.file.read(2 * max(stop - start, 0)), "<i2")

    def pieces(self, size: int) -> Iterator[NDArray[np.int16]]:
        """Consecutive pieces of so many samples; the last may be shorter."""
        return (self[start : start + size] for start in range(0, self.count, size))

    def padded(self, seconds: float) -> Stored:
        """The same, with silence after it or cut, so that it is so long."""
        count = round(seconds * self.rate)
        self.file.truncate(2 * count)  # a hole in the file reads as zeros
        return Stored(self.file, self.rate, count)


def read(path: Path, rate: int, *, start: float, seconds: float | None) -> tuple[Stored, Stored, tuple[str, ...]]:
    """A part of a file's sound, mono: as it is heard, at :data:`HEARD_HZ`, and at another rate; and what is to be said of it.

    Raises:
        InputError: it is missing, has no sound, is damaged, silent, or ends before the part begins.
    """
    if not path.is_file():
        raise InputError(path, "no such file", "name a file with sound")
    until = np.inf if seconds is None else start + seconds
    part = slice(round(start * HEARD_HZ), None if seconds is None else round(until * HEARD_HZ))
    try:
        found = media.store_audio(path, until=until + MORE_S)
        heard, count = _part(found.pieces(HEARD_HZ), HEARD_HZ, part)
    except ClipError as error:
        problem = error.reason.replace("not a readable video", "not a sound that can be read")
        raise InputError(path, problem, "name a file with sound") from None
    if not len(heard):
        raise InputError(path, f"has {count / HEARD_HZ:.2f} s of sound, and --from is {start:g}", "begin earlier")
    if not any(np.any(samples) for samples in heard.pieces(AT_ONCE)):
        problem = "; ".join(["the sound is silent throughout", *found.remarks])
        raise InputError(path, problem, "choose another file or part")
    other = media.resampled((samples / 32768.0 for samples in heard.pieces(AT_ONCE)), HEARD_HZ, rate)
    return heard, stored(other, rate), found.remarks


def stored(parts: Iterable[NDArray[np.floating]], rate: int) -> Stored:
    """Consecutive pieces of a sound in [-1, 1], in a file."""
    return _part(parts, rate, slice(None))[0]


def _part(parts: Iterable[NDArray[np.floating]], rate: int, part: slice) -> tuple[Stored, int]:
    """Some of the samples of a sound, in a file, and how many samples the sound has."""
    file, seen = tempfile.TemporaryFile(), 0  # noqa: SIM115  it lives as long as what reads it
    for samples in parts:
        first, last, _ = part.indices(seen + len(samples))
        file.write(media.to_int16(samples[max(first - seen, 0) : max(last - seen, 0)]).tobytes())
        seen += len(samples)
    return Stored(file, rate, file.tell() // 2), seen


def powers(sound: Stored) -> NDArray[np.float64]:
    """Mean square of each block of 10 ms, full scale 1; the last is filled up with silence."""
    block = round(BLOCK_S * sound.rate)
    found = [
        (np.pad(part, (0, -len(part) % block)).reshape(-1, block).astype(np.float64) ** 2).mean(1) / 32768.0**2
        for part in sound.pieces(block * 1000)
    ]
    return np.concatenate(found)


def level(power_B: NDArray[np.float64]) -> float:
    """Of the speech, dB: as :func:`stages.clips.facts.level`, from the blocks' powers."""
    return float(10 * np.log10(power_B[power_B > power_B.max() * 10 ** (-RANGE_DB / 10)].mean()))


def gate_of(power_B: NDArray[np.float64], gate: float | str) -> float | None:
    """The gate in dB of full scale, None where there is none.

    ``gate``: dB; ``auto``: 7 dB above the noise's floor (its 10th percentile), at most −30 dB; ``off``.
    """
    if gate != "auto":
        return None if gate == "off" else float(gate)
    floor = float(np.percentile(_decibels(power_B), FLOOR_PERCENTILE))
    return min(floor + GATE_ABOVE_FLOOR_DB, HIGHEST_GATE_DB)


def _decibels(power: NDArray[np.float64]) -> NDArray[np.float64]:
    return 10 * np.log10(np.maximum(power, 10 ** (LEAST_DB / 10)))


@dataclass(frozen=True)
class Told:
    """The sound as the network is told it: its own samples times a gain, with silence where its blocks are below a gate."""

    sound: Stored
    gain_db: float
    gate_db: float | None  # of the sound with the gain
    open_B: NDArray[np.float64]  # share that each block of 10 ms lets through
    mel: Mel

    @classmethod
    def of(cls, sound: Stored, settings: Spectrogram, *, level_db: float | None, gate: float | str) -> Told:
        """``level_db``: of the speech; None: as it is. ``gate``: see :func:`gate_of`."""
        power = powers(sound)
        gain = 0.0 if level_db is None else level_db - level(power)
        power = power * 10 ** (gain / 10)
        found = gate_of(power, gate)
        let_through = np.ones(len(power))
        if found is not None:
            near = np.ones(2 * FADE_BLOCKS + 1)
            is_open = np.convolve(_decibels(power) >= found, near, "same") > 0  # a consonant is fainter than its vowel
            edged = np.pad(is_open.astype(np.float64), FADE_BLOCKS, mode="edge")
            let_through = np.convolve(edged, near / near.sum(), "valid")
        return cls(sound, gain, found, let_through, Mel(settings))

    def __len__(self) -> int:
        return len(self.sound)

    @property
    def first_speech_s(self) -> float:
        """The time of the gate's first opening."""
        return float(np.argmax(self.open_B > 0) * BLOCK_S)

    def samples(self, start: int, stop: int) -> NDArray[np.float32]:
        """Samples [start, stop) of those there are, in [-1, 1]."""
        part = self.sound[start:stop] / 32768.0 * 10 ** (self.gain_db / 20)
        block = round(BLOCK_S * self.sound.rate)
        near = np.arange(max(start // block - 1, 0), min(stop // block + 2, len(self.open_B)))
        share = np.interp(np.arange(start, start + len(part)), (near + 0.5) * block, self.open_B[near])
        return (np.clip(part, -1, 1) * share).astype(np.float32)

    def windows(self, starts: list[int], steps: int) -> NDArray[np.float32]:
        """Mel windows of so many steps, (N, steps, M), that begin at these steps; silence beyond the sound."""
        hop, reach = self.mel.hop, self.mel.n_fft // self.mel.hop + 1  # steps that a spectrum reaches to either side
        total = len(self) // hop + 1
        first = min(max(min(starts), 0), total)
        last = min(max(starts) + steps, total)
        mel_SM = np.empty((0, self.mel.n_mels), np.float32)
        if first < last:
            before, after = max(first - reach, 0), min(last + reach, total)
            stop = len(self) if after == total else after * hop
            mel_SM = self.mel(self.samples(before * hop, stop))[first - before : last - before]
        return np.stack([mel_window(mel_SM, start - first, steps) for start in starts])
