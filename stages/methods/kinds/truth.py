"""The ground truth as a row: the test clips' own frames, through the samples' codec."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stages.base import params
from stages.clips.clip import Clip
from stages.methods.systems import Render, Row


def renderer(row: Row) -> Render:
    """The clip's own frames."""
    batch = row.sampling.batch

    def copy(clip: Clip, sound: Clip) -> Iterator[NDArray[np.uint8]]:
        for first in range(0, len(clip.frames_THWC), batch):
            frames = clip.frames_THWC[first : first + batch]
            yield frames
            row.progress(len(frames))

    return copy


def sees(entry: params.Method) -> str:
    """The parts of a test clip given to the row."""
    return "everything: the test clip’s own frames, through the samples’ codec"
