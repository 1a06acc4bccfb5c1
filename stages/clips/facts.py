"""Facts about the faces and voices of a model's training clips, stored with its weights for use with other faces and sounds.

T frames of a clip, N samples of its sound.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stages.clips.clip import Clip
from stages.faces.geometry import RIGID, head_axes, mouth_opening, similarity, transform

CHIN = 8
BLOCK_S = 0.01  # seconds that a level is measured over
RANGE_DB = 40.0  # blocks that are fainter than the loudest by more are pauses
PERCENTILES = (5, 50, 95)
DIGITS = 4  # what is stored


def facts(clips: Iterable[Clip], sample_rate: int) -> dict[str, list[float]]:
    """Percentiles 5, 50 and 95 over clips.

    ``open_ear``: eye aspect ratio of the open eyes, the clip's 90th percentile of both eyes' mean. ``closed_ear``: the least in
    each blink, over that. ``jaw_drop``: see :func:`jaw_drop`. ``mouth_opening``: 95th percentile of the gap between the inner
    lips, in distances of the outer eye corners. ``level_db``: of the speech, see :func:`level`.
    """
    rows: dict[str, list[float]] = {
        name: [] for name in ("open_ear", "closed_ear", "jaw_drop", "mouth_opening", "level_db")
    }
    for clip in clips:
        trace = clip.ear_T2.mean(1)
        is_open = float(np.percentile(trace, 90))
        rows["open_ear"].append(is_open)
        rows["closed_ear"] += [float(trace[start:end].min()) / is_open for start, end in clip.blinks]
        rows["jaw_drop"].append(jaw_drop(clip.landmarks_TL2))
        rows["mouth_opening"].append(float(np.percentile(mouth_opening(clip.landmarks_TL2), 95)))
        rows["level_db"].append(level(clip.audio, sample_rate))
    found = {name: np.asarray(values)[np.isfinite(values)] for name, values in rows.items()}
    return {n: [round(float(p), DIGITS) for p in np.percentile(v, PERCENTILES)] for n, v in found.items() if len(v)}


def jaw_drop(landmarks_TL2: NDArray[np.floating]) -> float:
    """The distance that the chin moves down the face within a clip, (T, 68, 2) → distances of the outer eye corners.

    The head's own motion is taken out: mouth shut to widest is what is left.
    """
    points = np.asarray(landmarks_TL2, np.float64)
    middle = points[len(points) // 2]
    still = transform(points, similarity(points[:, RIGID], middle[RIGID]))
    eyes, axes, distance, _ = head_axes(middle)
    down_T = (still[:, CHIN] - eyes) @ axes[1] / distance
    return float(np.ptp(down_T))


def level(audio_N: NDArray[np.int16], sample_rate: int) -> float:
    """Root mean square of a sound, dB of full scale, over the blocks within 40 dB of the loudest; −inf where it is silent."""
    block = round(BLOCK_S * sample_rate)
    count = len(audio_N) // block
    power = ((audio_N[: count * block].reshape(count, block) / 32768.0) ** 2).mean(1)
    if not count or not power.max():
        return -np.inf
    return float(10 * np.log10(power[power > power.max() * 10 ** (-RANGE_DB / 10)].mean()))
