"""The mouth's opening in a clip, as rendered if that is known."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages.clips.clip import Clip
from stages.faces.geometry import mouth_opening
from stages.store import tars

RAW_TRUTH = "truth.parquet"  # of the rendered corpus, in its tars


def mouth(raw: Path, clip: Clip, fps: float) -> NDArray[np.float32]:
    """The clip's mouth opening on the time base k/fps, (T,): as it was rendered (0 … 1), else as dlib measures it."""
    if RAW_TRUTH in tars.names(raw):
        table = pq.read_table(io.BytesIO(tars.read(raw, RAW_TRUTH)), columns=["clip", "time_s", "mouth_open"])
        for row in table.to_pylist():
            if row["clip"] == clip.name:
                times = np.arange(len(clip.frames_THWC)) / fps
                return np.interp(times, row["time_s"], row["mouth_open"]).astype(np.float32)
    return mouth_opening(clip.landmarks_TL2).astype(np.float32)
