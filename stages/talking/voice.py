"""A sound as the network is told it: at the training's level, silent where nobody speaks. N samples at the model's rate.

What is heard in the result is the sound itself.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages import media
from stages.base.errors import ClipError, InputError
from stages.clips import facts
from stages.clips.facts import BLOCK_S

GATE_ABOVE_FLOOR_DB, HIGHEST_GATE_DB, FLOOR_PERCENTILE = 7.0, -30.0, 10
FADE_BLOCKS = 2  # over which the gate opens and shuts, on either side
LEAST_DB = -120.0


def read(path: Path, rate: int, *, start: float, seconds: float | None) -> tuple[NDArray[np.int16], tuple[str, ...]]:
    """A part of a file's sound, mono, 16 bits, and what is to be said of it.

    Raises:
        InputError: it is missing, has no sound, is silent, or ends before the part begins.
    """
    if not path.is_file():
        raise InputError(path, "no such file", "name a file with sound")
    try:
        found = media.hear(path, rate)
    except ClipError as error:
        raise InputError(path, error.reason, "name a file with sound") from None
    sound = media.to_int16(found.samples)
    part = sound[round(start * rate) :]
    if seconds is not None:
        part = part[: round(seconds * rate)]
    if not len(part):
        raise InputError(path, f"has {len(sound) / rate:.2f} s of sound, and --from is {start:g}", "begin earlier")
    if not np.any(part):
        problem = "; ".join(["the sound is silent throughout", *found.remarks])
        raise InputError(path, problem, "choose another file or part")
    return part, found.remarks


def levelled(sound_N: NDArray[np.int16], rate: int, level_db: float | None) -> tuple[NDArray[np.float32], float]:
    """The sound brought to a level of speech, (N,) within [-1, 1], and the gain in dB; as it is where the level is None."""
    gain = 0.0 if level_db is None else level_db - facts.level(sound_N, rate)
    return np.clip(sound_N / 32768.0 * 10 ** (gain / 20), -1, 1).astype(np.float32), gain


def gated(sound_N: NDArray[np.float32], rate: int, gate: float | str) -> tuple[NDArray[np.float32], float | None]:
    """The sound with silence where its blocks of 10 ms are below the gate, and the gate in dB of full scale.

    ``gate``: dB; ``auto``: 7 dB above the noise's floor (its 10th percentile), at most −30 dB; ``off``.
    """
    if gate == "off":
        return sound_N, None
    block = round(BLOCK_S * rate)
    count = -(-len(sound_N) // block)
    blocks = np.pad(sound_N, (0, count * block - len(sound_N))).reshape(count, block)
    level = 10 * np.log10(np.maximum((blocks.astype(np.float64) ** 2).mean(1), 10 ** (LEAST_DB / 10)))
    if gate == "auto":
        gate = min(float(np.percentile(level, FLOOR_PERCENTILE)) + GATE_ABOVE_FLOOR_DB, HIGHEST_GATE_DB)
    is_open = (level >= float(gate)).astype(np.float64)
    near = np.ones(2 * FADE_BLOCKS + 1)
    is_open = np.convolve(is_open, near, "same") > 0  # a consonant is fainter than its vowel
    smooth = np.convolve(np.pad(is_open.astype(np.float64), FADE_BLOCKS, mode="edge"), near / near.sum(), "valid")
    centres = (np.arange(count) + 0.5) * block
    gain = np.interp(np.arange(len(sound_N)), centres, smooth)
    return (sound_N * gain).astype(np.float32), float(gate)
