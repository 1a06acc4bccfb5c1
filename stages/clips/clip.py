"""A clip as arrays, and windows of its spectrogram. T frames, S mel steps, H, W pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stages.base.lazy import LazyArray

MEL_STEPS_PER_FRAME = 3.2  # 80 steps a second over 25 frames a second

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Clip:
    """A clip on its 25 fps time base. Frames and masks, the large ones, are read as arrays are, and may be made only then."""

    name: str
    speaker: str  # the shard's name
    frames_THWC: NDArray[np.uint8] | LazyArray[np.uint8]  # RGB, square
    landmarks_TL2: NDArray[np.float32]  # pixels of the frames; see :func:`stages.faces.geometry.steady`
    masks_THW: NDArray[np.bool_] | LazyArray[np.bool_]  # true where the face is generated
    ear_T2: NDArray[np.float32]  # left, right
    mel_SM: NDArray[np.float32]  # 80 steps a second, [-4, 4]
    audio: NDArray[np.int16]  # 16 kHz mono
    blinks: list[tuple[int, int]]  # first frame, first frame after
    eye_levels: tuple[float, float] = (0.0, 1.0)  # ear_T2 of the speaker's shut and open eyes

    def head(self, frames: int | None) -> Clip:
        """The clip's first ``frames`` frames with all its sound; the clip itself where it has no more, or for None.

        The masks stay those of the whole clip, so that a part is given what the whole is.
        """
        if frames is None or frames >= len(self.frames_THWC):
            return self
        return replace(
            self,
            frames_THWC=_head(self.frames_THWC, frames),
            landmarks_TL2=self.landmarks_TL2[:frames],
            masks_THW=_head(self.masks_THW, frames),
            ear_T2=self.ear_T2[:frames],
            blinks=[(start, min(end, frames)) for start, end in self.blinks if start < frames],
        )

    def holding(self, frames: Sequence[int]) -> Clip:
        """The same clip with these frames and their masks made once, for those who read them several times."""
        lazy = {name: getattr(self, name) for name in ("frames_THWC", "masks_THW")}
        made = {name: items.holding(frames) for name, items in lazy.items() if isinstance(items, LazyArray)}
        return replace(self, **made)  # type: ignore[arg-type]


def _head(items: NDArray[Scalar] | LazyArray[Scalar], count: int) -> NDArray[Scalar] | LazyArray[Scalar]:
    return items.head(count) if isinstance(items, LazyArray) else items[:count]


def mel_window(mel_SM: NDArray[np.float32], start: int, steps: int) -> NDArray[np.float32]:
    """Steps [start, start + steps) of a spectrogram; what lies outside the clip is silence (-4)."""
    window = np.full((steps, mel_SM.shape[1]), -4.0, np.float32)
    first, last = max(start, 0), min(start + steps, len(mel_SM))
    if first < last:
        window[first - start : last - start] = mel_SM[first:last]
    return window


def condition_window(mel_SM: NDArray[np.float32], frame: int, steps: int = 16) -> NDArray[np.float32]:
    """The window that conditions a frame: ``steps`` mel steps centred at 3.2·frame."""
    return mel_window(mel_SM, round(MEL_STEPS_PER_FRAME * frame) - steps // 2, steps)


def sync_window(mel_SM: NDArray[np.float32], frame: int, steps: int = 16) -> NDArray[np.float32]:
    """The window of the lip-sync expert for the five frames from ``frame`` on: steps [int(3.2·frame), +16), as Wav2Lip."""
    return mel_window(mel_SM, int(MEL_STEPS_PER_FRAME * frame), steps)
