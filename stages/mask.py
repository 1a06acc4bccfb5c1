"""Stage mask: finds the face in every clip of a shard and cuts it out.

A clip's pictures, on the 25 fps time base, are used twice: for the landmarks, which are measured on the full-size picture, then
for the frames. They are held in between where that takes no more than 64 MB; a longer clip is decoded twice, so that
memory does not grow with it. One square crop serves the whole clip. A clip that can't be used gets one row with the reason.

    python -m stages.mask --raw data/demo/raw/ada.tar --out data/demo/faces/ada.parquet
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from stages import media
from stages.base import params
from stages.base.errors import ClipError, run
from stages.base.progress import Progress
from stages.faces.landmarks import FaceTracker
from stages.faces.square import crop_square, to_crop
from stages.store import schemas, tables, tars

HELD = 64 * 2**20  # bytes of decoded pictures


class Film:
    """A clip's pictures, which can be gone through several times; decoded once where they fit into :data:`HELD` bytes."""

    def __init__(self, raw: Path, file: str, clip: str, fps: float) -> None:
        self.raw, self.file, self.clip, self.fps = raw, file, clip, fps
        self._held: list[media.Picture] | None = None

    def __iter__(self) -> Iterator[media.Picture]:
        """The pictures in order; raises ClipError like :func:`media.pictures`."""
        if self._held is not None:
            yield from self._held
            return
        held: list[media.Picture] | None = []
        taken = each = 0
        with tars.member(self.raw, self.file) as source:
            for picture in media.pictures(source, fps=self.fps, clip=self.clip):
                each = each or picture.nbytes  # all are of one size
                taken += 0 if picture.repeated else each
                held = held if taken <= HELD else None
                if held is not None:
                    held.append(picture)
                yield picture
        self._held = held


@dataclass(frozen=True)
class Face:
    """A face through a clip, in source pixels."""

    landmarks_TL2: NDArray[np.float64]
    detected_T: NDArray[np.bool_]  # false where interpolated
    rotation: int  # degrees counter-clockwise that turned the pictures upright
    faces_seen: int


def track(film: Film, settings: params.Mask) -> Face:
    """The landmarks on each frame of a clip.

    Raises:
        ClipError: the clip can't be decoded, or has no face for more than ``max_gap`` frames.
    """
    tracker, converter = FaceTracker(settings.detect_every, settings.looks), media.Converter()
    rotations: list[int] = []

    def images() -> Iterator[NDArray[np.uint8]]:
        for picture in film:
            rotations.append(picture.rotation)
            yield converter.luma(picture)

    found = list(tracker.follow(images()))
    landmarks, detected = fill_gaps(found, settings.max_gap, film.clip)
    return Face(landmarks, detected, rotations[0], tracker.faces_seen)


def fill_gaps(
    found: list[NDArray[np.float32] | None], max_gap: int, clip: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Interpolate the frames without a face linearly (T, 68, 2), and say where there was one (T,).

    At either end the nearest landmarks stand still.

    Raises:
        ClipError: there is no face at all, or none for more than ``max_gap`` frames in a row.
    """
    detected = np.array([points is not None for points in found])
    if not detected.any():
        raise ClipError(clip, "no face found")
    start, length = longest_gap(detected)
    if length > max_gap:
        raise ClipError(clip, f"the face is lost for {length} frames from frame {start} on (mask.max_gap is {max_gap})")
    known = np.flatnonzero(detected)
    values = np.stack([points for points in found if points is not None]).reshape(len(known), -1)
    frames = np.arange(len(found))
    filled = np.stack([np.interp(frames, known, column) for column in values.T], -1)
    return filled.reshape(len(found), -1, 2), detected


def longest_gap(detected_T: NDArray[np.bool_]) -> tuple[int, int]:
    """First frame and length of the longest run of false; length 0 where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ~detected_T, [False]])))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return 0, 0
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest] - starts[longest])


def face_picture(
    picture: media.Picture, converter: media.Converter, crop: tuple[int, int, int], size: int
) -> NDArray[np.uint8]:
    """The crop of a decoded picture, resized to ``size``: (size, size, 3) RGB.

    Where the picture has planes, each is cut and resized, and what is left converted to RGB: a tenth of the pixels.
    """
    planes = converter.planes(picture)
    if planes is None:
        return np.ascontiguousarray(media.cut(converter.rgb(picture), crop, size))
    half = (crop[0] >> planes.halvings, crop[1] >> planes.halvings, crop[2] >> planes.halvings)
    parts = [media.cut(planes.luma, crop, size), *(media.cut(plane, half, size) for plane in (planes.blue, planes.red))]
    return cv2.transform(cv2.merge(parts), planes.to_rgb_34).astype(np.uint8, copy=False)


def jpegs(film: Film, crop: tuple[int, int, int], settings: params.Mask) -> Iterator[bytes]:
    """The clip's frames, cropped and encoded."""
    converter = media.Converter()
    for picture in film:
        image = face_picture(picture, converter, crop, settings.size)
        yield simplejpeg.encode_jpeg(image, quality=settings.jpeg_quality, colorsubsampling="444")


def rows(raw: Path, file: str, clip: str, settings: params.Mask) -> Iterator[dict[str, Any]]:
    """The clip's rows, a segment each; raises ClipError like :func:`track`, before the first row."""
    film = Film(raw, file, clip, settings.fps)
    face = track(film, settings)
    crop = crop_square(face.landmarks_TL2, settings.margin)
    landmarks = to_crop(face.landmarks_TL2, crop, settings.size).astype(np.float32)
    pictures = jpegs(film, crop, settings)
    length = max(int(settings.segment_s * settings.fps), 1)
    for segment, start in enumerate(range(0, len(landmarks), length)):
        part = slice(start, min(start + length, len(landmarks)))
        yield {
            "clip": clip,
            "segment": segment,
            "status": "ok",
            "fps": settings.fps,
            "start": start,
            "frames": [next(pictures) for _ in range(part.start, part.stop)],
            "landmarks": landmarks[part].ravel(),
            "detected": face.detected_T[part],
            "crop": crop,
            "rotation": face.rotation,
            "faces_seen": face.faces_seen,
        }


def failed(clip: str, reason: str, fps: float) -> dict[str, Any]:
    """The row of a clip that can't be used."""
    lists: dict[str, Any] = {name: [] for name in ("frames", "landmarks", "detected", "crop")}
    return {
        "clip": clip,
        "segment": 0,
        "status": reason,
        "fps": fps,
        "start": 0,
        "rotation": 0,
        "faces_seen": 0,
        **lists,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Find the face in every clip of a shard and cut it out.")
    parser.add_argument("--raw", type=Path, required=True, help="tar of the download stage")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--params", default=params.PARAMS_FILE, help="section mask")
    args = parser.parse_args()
    settings = params.load(args.params).mask
    cv2.setNumThreads(1)
    clips = tars.listing(args.raw)
    progress = Progress(f"mask {args.out.stem}", len(clips), "clips")
    with tables.writer(args.out, schemas.FACES) as write:
        for clip in clips:
            name = clip["clip"]
            try:
                for row in rows(args.raw, clip["file"], name, settings):
                    write(row)
                    if row["faces_seen"] > 1 and row["segment"] == 0:
                        print(f"clip {name}: {row['faces_seen']} faces; the largest is followed", flush=True)
            except ClipError as error:
                write(failed(name, error.reason, settings.fps))
                print(f"{error}; left out, the other clips go on", flush=True)
            progress.update(note=name)


if __name__ == "__main__":
    run(main)
