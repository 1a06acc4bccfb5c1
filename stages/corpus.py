"""Read the preprocessed corpus: faces, blinks and spectrograms of a clip, joined. T frames, S mel steps, H, W pixels."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import simplejpeg
from numpy.typing import NDArray

from stages import tables
from stages.geometry import clip_masks

MEL_STEPS_PER_FRAME = 3.2  # 80 steps a second over 25 frames a second


@dataclass(frozen=True)
class Clip:
    """A clip on its 25 fps time base."""

    name: str
    speaker: str  # the shard's name
    frames_THWC: NDArray[np.uint8]  # RGB, square
    landmarks_TL2: NDArray[np.float32]  # pixels of the frames
    masks_THW: NDArray[np.bool_]  # true where the face is generated
    ear_T2: NDArray[np.float32]  # left, right
    mel_SM: NDArray[np.float32]  # 80 steps a second, [-4, 4]
    audio: NDArray[np.int16]  # 16 kHz mono
    blinks: list[tuple[int, int]]  # first frame, first frame after

    def head(self, frames: int | None) -> Clip:
        """The clip's first ``frames`` frames with all its sound; the clip itself where it has no more, or for None.

        The masks stay those of the whole clip, so that a part is given what the whole is.
        """
        if frames is None or frames >= len(self.frames_THWC):
            return self
        return replace(
            self,
            frames_THWC=self.frames_THWC[:frames],
            landmarks_TL2=self.landmarks_TL2[:frames],
            masks_THW=self.masks_THW[:frames],
            ear_T2=self.ear_T2[:frames],
            blinks=[(start, min(end, frames)) for start, end in self.blinks if start < frames],
        )


def index(data: Path, splits: Collection[str] | None = None) -> pd.DataFrame:
    """The index of a run (``data/<run>``), in order of clip; only the given splits where any are given."""
    frame = tables.read(data / "index.parquet", tables.INDEX).to_pandas().sort_values("clip", ignore_index=True)
    return frame if splits is None else frame[frame["split"].isin(splits)].reset_index(drop=True)


@lru_cache(maxsize=4)
def _shard(path: Path, table: str) -> pa.Table:
    schema = {"faces": tables.FACES, "blink": tables.BLINK, "spectrogram": tables.SPECTROGRAM}[table]
    return tables.read(path, schema)


def _rows(data: Path, table: str, shard: str, clip: str) -> list[dict]:
    found = _shard(data / table / f"{shard}.parquet", table)
    return found.filter(pa.compute.equal(found["clip"], clip)).to_pylist()


def load(data: Path, shard: str, clip: str, *, size: int, dilation: float) -> Clip:
    """Load a usable clip with its frames resized to ``size`` (area) and its face masks (see :func:`geometry.clip_masks`)."""
    segments = sorted(_rows(data, "faces", shard, clip), key=lambda row: row["segment"])
    blink, sound = _rows(data, "blink", shard, clip)[0], _rows(data, "spectrogram", shard, clip)[0]
    frames = [simplejpeg.decode_jpeg(jpeg) for row in segments for jpeg in row["frames"]]
    landmarks = np.concatenate([np.asarray(row["landmarks"], np.float32).reshape(-1, 68, 2) for row in segments])
    scale = size / frames[0].shape[0]
    if scale != 1:
        frames = [cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames]
    landmarks = (landmarks + np.float32(0.5)) * np.float32(scale) - np.float32(0.5)  # pixel centres are whole numbers
    return Clip(
        name=clip,
        speaker=shard,
        frames_THWC=np.stack(frames),
        landmarks_TL2=landmarks,
        masks_THW=clip_masks(landmarks, size, dilation),
        ear_T2=np.stack([blink["ear_left"], blink["ear_right"]], -1).astype(np.float32),
        mel_SM=np.asarray(sound["mel"], np.float32).reshape(-1, 80),
        audio=np.frombuffer(sound["audio"], "<i2"),
        blinks=list(zip(blink["blink_start"], blink["blink_end"], strict=True)),
    )


def load_split(data: Path, splits: Collection[str], *, size: int, dilation: float) -> list[Clip]:
    """All clips of some splits, in order of their names; see :func:`load`."""
    rows = index(data, splits)
    return [load(data, str(row.shard), str(row.clip), size=size, dilation=dilation) for row in rows.itertuples()]


def files(data: Path, splits: Collection[str]) -> list[Path]:
    """The index and the shards' tables from which :func:`load_split` reads."""
    shards = sorted(set(index(data, splits)["shard"]))
    tables_read = [data / stage / f"{shard}.parquet" for stage in ("faces", "blink", "spectrogram") for shard in shards]
    return [data / "index.parquet", *tables_read]


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
