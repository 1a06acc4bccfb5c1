"""The first picture, the video and the sound of a test clip in its own file: the input of ``python -m stages.talk``."""

from __future__ import annotations

import io
import tempfile
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages import media
from stages.base.errors import InputError
from stages.store import schemas, tables, tars

CRF = 4  # of a part of a video that is written anew: no loss that is seen


@dataclass(frozen=True)
class Place:
    """A clip in the media of its shard."""

    raw: Path  # the shard's tar
    clip: str
    picture: str  # member; one file serves as both if the corpus has them together
    sound: str
    first: int = 0  # frame of that file
    frames: int | None = None  # None: to its end


def place(data: Path, shard: str, clip: str) -> Place:
    """Find a clip in ``data/<run>/raw``: a file of its name, or the part of one that the mask stage has cut out.

    Raises:
        InputError: the shard has no such clip.
    """
    raw = data / "raw" / f"{shard}.tar"
    files = {entry["clip"]: entry for entry in tars.listing(raw)}
    name, first, frames = clip, 0, None
    if clip not in files:
        faces = data / "faces" / f"{shard}.parquet"
        rows = tables.places(faces, schemas.FACES).get(clip)
        if not rows:
            raise InputError(raw, f"no clip {clip}", "run 'snakemake --cores all'")
        found = tables.read_rows(faces, rows, ["part_of", "first", "detected"]).to_pylist()
        name, first, frames = found[0]["part_of"], found[0]["first"], sum(len(row["detected"]) for row in found)
    entry = files[name]
    return Place(raw, clip, entry["file"], str(entry.get("sound", entry["file"])), first, frames)


def still(found: Place, fps: float) -> NDArray[np.uint8]:
    """The first picture of a clip, (H, W, 3) RGB."""
    return next(_pictures(found, fps))


def video(found: Place, fps: float, sample_rate: int) -> tuple[bytes, str]:
    """A clip's video with its sound as a file, and its ending, such as ``.mp4``: its own, or a part of one written anew."""
    if found.frames is None:
        return tars.read(found.raw, found.picture), Path(found.picture).suffix
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.mp4"
        media.write_video(
            path,
            _pictures(found, fps),
            fps=fps,
            audio=_samples(found, fps, sample_rate),
            sample_rate=sample_rate,
            crf=CRF,
            preset="veryfast",
            chroma="yuv444",
            lossless_sound=True,
        )
        return path.read_bytes(), path.suffix


def sound(found: Place, fps: float, sample_rate: int) -> tuple[bytes, str]:
    """A clip's sound as a file, and its ending: its own, or a part of one written anew."""
    if found.frames is None:
        return tars.read(found.raw, found.sound), Path(found.sound).suffix
    content = io.BytesIO()
    with wave.open(content, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sample_rate)
        out.writeframes(_samples(found, fps, sample_rate).tobytes())
    return content.getvalue(), ".wav"


def _pictures(found: Place, fps: float) -> Iterator[NDArray[np.uint8]]:
    converter = media.Converter()
    with tars.member(found.raw, found.picture) as source:
        last = None if found.frames is None else found.first + found.frames
        for picture in islice(media.pictures(source, fps=fps, clip=found.clip), found.first, last):
            yield converter.rgb(picture)


def _samples(found: Place, fps: float, sample_rate: int) -> NDArray[np.int16]:
    with tars.member(found.raw, found.sound) as source:
        whole = media.decode_audio(source, sample_rate, clip=found.clip)
    first, last = (round(frame / fps * sample_rate) for frame in (found.first, found.first + (found.frames or 0)))
    return media.to_int16(whole[first:last])
