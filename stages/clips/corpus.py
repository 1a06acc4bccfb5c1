"""Read the preprocessed corpus: faces, blinks and spectrograms of a clip, joined. T frames, S mel steps, H, W pixels."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from numpy.typing import NDArray

from stages.base.errors import InputError
from stages.base.lazy import LazyArray, Mapped
from stages.clips.clip import Clip
from stages.faces.geometry import clip_mask, mouth_opening, steady
from stages.store import schemas, tables, tars

EARS, BLINKS = ("ear_left", "ear_right"), ("blink_start", "blink_end")  # columns of the stage blink's table
LEVELS = ("speaker_shut", "speaker_open")
RAW_TRUTH = "truth.parquet"  # of the rendered corpus, in its tars
MANY = 10_000  # clips that are enough for statistics of a corpus, where it has more


def index(data: Path, splits: Collection[str] | None = None, columns: Collection[str] | None = None) -> pd.DataFrame:
    """The index of a run (``data/<run>``), in order of clip; only the splits and columns that are given, where any are.

    Rows and columns are picked before they become pandas' objects, which take several times as much memory as the table.
    """
    read = None if columns is None else [name for name in schemas.INDEX.names if name in {*columns, "clip", "split"}]
    table = tables.read(data / "index.parquet", schemas.INDEX, read)
    if splits is not None:
        table = table.filter(pa.compute.is_in(table["split"], pa.array([*splits], pa.string())))
    return table.to_pandas().sort_values("clip", ignore_index=True)


@lru_cache(maxsize=64)
def _places(path: Path, table: str) -> dict[str, list[tables.Place]]:
    schema = {"faces": schemas.FACES, "blink": schemas.BLINK, "spectrogram": schemas.SPECTROGRAM}[table]
    return tables.places(path, schema)


def _values(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The lists of some rows, one after another."""
    return pa.compute.list_flatten(column)


@dataclass(frozen=True)
class HeldJpegs:
    """A clip's JPEGs in memory, by frame.

    They lie in one Arrow buffer: reading a frame touches no reference count next to the data, so that forked workers keep sharing
    its pages.
    """

    jpegs_T: pa.BinaryArray

    def __getitem__(self, frame: int) -> NDArray[np.uint8]:
        return np.frombuffer(self.jpegs_T[frame].as_buffer(), np.uint8)


@dataclass(frozen=True)
class StreamedJpegs:
    """A clip's JPEGs by frame, from the file, of which memory holds the three segments that were used last.

    These are the reference's, the clip's first, and two where a batch of frames lies across their border.
    """

    path: Path
    places: list[tables.Place]  # of the segments
    starts: list[int]  # their first frames
    held: dict[int, pa.BinaryArray] = field(default_factory=dict, repr=False, compare=False)

    def __getitem__(self, frame: int) -> NDArray[np.uint8]:
        segment = bisect_right(self.starts, frame) - 1
        jpegs = self.held.pop(segment, None)
        if jpegs is None:
            jpegs = _jpegs(self.path, [self.places[segment]])
        self.held[segment] = jpegs  # the last one used stands last
        while len(self.held) > 3:
            del self.held[next(iter(self.held))]
        return np.frombuffer(jpegs[frame - self.starts[segment]].as_buffer(), np.uint8)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "held": {}}


def _jpegs(path: Path, places: list[tables.Place]) -> pa.BinaryArray:
    return _values(tables.read_rows(path, places, ["frames"])["frames"]).combine_chunks()


def decoded(jpegs: HeldJpegs | StreamedJpegs, count: int, size: int) -> LazyArray[np.uint8]:
    """Square JPEGs as frames, (T, size, size, 3), decoded where they are read and resized by area."""
    return LazyArray((count, size, size, 3), np.dtype(np.uint8), partial(_decode, jpegs))


def _decode(jpegs: HeldJpegs | StreamedJpegs, frame: int, picture_HWC: NDArray[np.uint8]) -> None:
    jpeg = jpegs[frame]
    if simplejpeg.decode_jpeg_header(jpeg)[:2] == picture_HWC.shape[:2]:
        simplejpeg.decode_jpeg(jpeg, buffer=picture_HWC)
    else:
        size = picture_HWC.shape[1], picture_HWC.shape[0]
        cv2.resize(simplejpeg.decode_jpeg(jpeg), size, dst=picture_HWC, interpolation=cv2.INTER_AREA)


def load(data: Path, shard: str, clip: str, *, size: int, dilation: float, stream: bool = False) -> Clip:
    """Load a usable clip with its frames resized to ``size`` (area) and its face masks (see :func:`geometry.mask_shape`).

    Frames are decoded, and masks drawn, when they are asked for. The JPEGs are held in memory, a sixth of the pictures they
    hold, for training, which reads them in any order; with ``stream`` they stay in the file and memory does not grow with them.
    """
    path = data / "faces" / f"{shard}.parquet"
    places, found = _segments(path, clip)
    starts = [0, *np.cumsum([len(points) for points in found])[:-1].tolist()]
    jpegs = StreamedJpegs(path, places, starts) if stream else HeldJpegs(_jpegs(path, places))
    landmarks = steady(_scaled(np.concatenate(found), jpegs, size)).astype(np.float32)
    count = len(landmarks)
    blink = _row(data, "blink", shard, clip, [*EARS, *BLINKS, *LEVELS])
    sound = _row(data, "spectrogram", shard, clip, ["mel", "audio"])
    return Clip(
        name=clip,
        speaker=shard,
        frames_THWC=decoded(jpegs, count, size),
        landmarks_TL2=landmarks,
        masks_THW=LazyArray((count, size, size), np.dtype(np.bool_), clip_mask(landmarks, dilation)),
        ear_T2=np.stack([_values(blink[name]).to_numpy() for name in EARS], -1),
        mel_SM=_values(sound["mel"]).to_numpy().reshape(-1, 80),
        audio=np.frombuffer(sound["audio"][0].as_buffer(), "<i2"),
        blinks=list(zip(*(_values(blink[name]).to_pylist() for name in BLINKS), strict=True)),
        eye_levels=(blink["speaker_shut"][0].as_py(), blink["speaker_open"][0].as_py()),
    )


def landmarks_as_found(data: Path, shard: str, clip: str, size: int) -> NDArray[np.float32]:
    """A usable clip's landmarks as the mask stage found them, (T, 68, 2), pixels of its frames at a size."""
    path = data / "faces" / f"{shard}.parquet"
    places, found = _segments(path, clip)
    return _scaled(np.concatenate(found), HeldJpegs(_jpegs(path, places[:1])), size)


def _segments(path: Path, clip: str) -> tuple[list[tables.Place], list[NDArray[np.float32]]]:
    """The rows of a clip in order, and the landmarks in each, (T, 68, 2), pixels of the crop."""
    places = _places(path, "faces")[clip]
    faces = tables.read_rows(path, places, ["segment", "landmarks"])
    order = np.argsort(faces["segment"].to_numpy()).tolist()
    found = [np.asarray(points.values, np.float32).reshape(-1, 68, 2) for points in faces["landmarks"].take(order)]
    return [places[i] for i in order], found


def _scaled(landmarks_TL2: NDArray[np.float32], jpegs: HeldJpegs | StreamedJpegs, size: int) -> NDArray[np.float32]:
    scale = size / simplejpeg.decode_jpeg_header(jpegs[0])[0]
    return (landmarks_TL2 + np.float32(0.5)) * np.float32(scale) - np.float32(0.5)  # pixel centres are whole numbers


def _row(data: Path, table: str, shard: str, clip: str, columns: list[str]) -> pa.Table:
    path = data / table / f"{shard}.parquet"
    return tables.read_rows(path, _places(path, table)[clip][:1], columns)


def crop(data: Path, shard: str, clip: str) -> tuple[int, int, int]:
    """The square that a clip's faces were cut from, (x, y, side) in pixels of the source's upright pictures."""
    x, y, side = _values(_row(data, "faces", shard, clip, ["crop"])["crop"]).to_pylist()
    return round(x), round(y), round(side)


def load_split(data: Path, splits: Collection[str], *, size: int, dilation: float, stream: bool = False) -> list[Clip]:
    """All clips of some splits, in order of their names; see :func:`load`."""
    rows = index(data, splits, ["shard"])
    how: Any = {"size": size, "dilation": dilation, "stream": stream}
    return [load(data, str(row.shard), str(row.clip), **how) for row in rows.itertuples()]


def each(
    data: Path, splits: Collection[str], *, size: int, dilation: float, most: int | None = None
) -> Mapped[tuple[str, str], Clip]:
    """The clips of some splits, in order of their names, each loaded when it is walked to; see :func:`load`.

    Where there are more than ``most``, so many of them, spread evenly.
    """

    def made(place: tuple[str, str]) -> Clip:
        return load(data, *place, size=size, dilation=dilation, stream=True)

    rows = index(data, splits, ["shard"])
    if most is not None and len(rows) > most:
        rows = rows.iloc[np.linspace(0, len(rows) - 1, most).round().astype(int)]
    return Mapped(made, list(zip(rows["shard"], rows["clip"], strict=True)))


def bytes_held(data: Path, split: str) -> int:
    """About so many bytes of memory would all clips of a split take, held for training: their share of their shards' tables."""
    rows = index(data, None, ["shard", "frames"])
    own = rows[rows["split"] == split]
    shards = set(own["shard"])
    stored = sum(path.stat().st_size for shard in shards for path in _tables(data, shard))
    all_frames, own_frames = (int(some["frames"].sum()) for some in (rows[rows["shard"].isin(shards)], own))
    return stored * own_frames // max(all_frames, 1)  # Python's integers: the product may pass 2⁶³


def load_some(data: Path, split: str, *, size: int, dilation: float) -> list[Clip]:
    """All clips of a split, for training; raises :class:`stages.base.errors.InputError` where there is none."""
    clips = load_split(data, (split,), size=size, dilation=dilation)
    if not clips:
        fix = "raise index.validation_fraction" if split == "validation" else "see its column 'status' for the reasons"
        raise InputError(data / "index.parquet", f"no {split} clip", fix)
    return clips


def true_mouth(raw: Path, clip: Clip, fps: float) -> NDArray[np.float32]:
    """The clip's mouth opening on the time base k/fps, (T,): as it was rendered (0 … 1), else as dlib measures it.

    ``raw``: the shard's tar of the stage ``download``, which holds the rendered openings where there are any.
    """
    if RAW_TRUTH in tars.names(raw):
        table = pq.read_table(io.BytesIO(tars.read(raw, RAW_TRUTH)), columns=["clip", "time_s", "mouth_open"])
        for row in table.to_pylist():
            if row["clip"] == clip.name:
                times = np.arange(len(clip.frames_THWC)) / fps
                return np.interp(times, row["time_s"], row["mouth_open"]).astype(np.float32)
    return mouth_opening(clip.landmarks_TL2).astype(np.float32)


def files(data: Path, splits: Collection[str]) -> list[Path]:
    """The index and the shards' tables from which :func:`load_split` reads."""
    shards = sorted(set(index(data, splits, ["shard"])["shard"]))
    return [data / "index.parquet", *(path for shard in shards for path in _tables(data, shard))]


def _tables(data: Path, shard: str) -> list[Path]:
    return [data / stage / f"{shard}.parquet" for stage in ("faces", "blink", "spectrogram")]
