"""Stage mask: finds the face in every clip of a shard and cuts it out.

A clip's pictures, on the 25 fps time base, are used twice: for the landmarks, which are measured on the full-size picture, then
for the frames. They are held in between where that takes no more than 64 MB; a longer clip is decoded twice, so that
memory does not grow with it. One square crop serves the whole clip. A clip that can't be used gets one row with the reason.

With ``mask.cut`` a file is footage: it is cut into clips where the picture changes, the face is lost or turned away, nobody
speaks or another person than the shard's is seen (:mod:`stages.faces.pieces`). A clip is named after its file and numbered; those
that are left out are in the table, too, each with its reason, so that the numbers tell of all of the file.

    python -m stages.mask --raw data/demo/raw/ada.tar --out data/demo/faces/ada.parquet
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile, groupby
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
from stages.base.series import runs
from stages.faces.landmarks import FaceTracker
from stages.faces.observed import descriptor
from stages.faces.pieces import Piece, Shots, levels, pieces, strangers
from stages.faces.square import crop_square, to_crop
from stages.store import schemas, tables, tars

HELD = 64 * 2**20  # bytes of decoded pictures
LEVEL_RATE = 16000  # Hz, of the sound whose silences are looked for

Row = dict[str, Any]
Entry = dict[str, Any]  # of a tar's listing


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

    def forget(self) -> None:
        """Give the memory back; the pictures are decoded again where they are asked for."""
        self._held = None


@dataclass(frozen=True)
class Tracked:
    """A file's face, in source pixels."""

    found: list[NDArray[np.float32] | None]  # the landmarks in each frame, None where there is no face
    starts: list[int]  # frames at which a new shot begins
    rotation: int  # degrees counter-clockwise that turned the pictures upright
    faces_seen: int


@dataclass(frozen=True)
class Part:
    """A clip: a file, or a piece of one."""

    clip: str
    piece: Piece


def track(film: Film, settings: params.Mask) -> Tracked:
    """The landmarks in each frame of a file. With ``cut`` each shot is followed by itself; without, the face through all.

    Raises:
        ClipError: the file can't be decoded.
    """
    converter, shots = media.Converter(), Shots()
    trackers: list[FaceTracker] = []
    rotations: list[int] = []

    def images() -> Iterator[NDArray[np.uint8]]:
        for picture in film:
            rotations.append(picture.rotation)
            yield converter.luma(picture)

    found: list[NDArray[np.float32] | None] = []
    for _, shot in groupby(shots.follow(images()), lambda seen: seen[0] if settings.cut else 0):
        trackers.append(FaceTracker(settings.detect_every, settings.looks))
        found += trackers[-1].follow(image for _, image in shot)
    return Tracked(found, shots.starts, rotations[0], max(tracker.faces_seen for tracker in trackers))


def parts(clip: str, tracked: Tracked, level_T: NDArray[np.float64] | None, settings: params.Mask) -> list[Part]:
    """The clips of a file: one of its own name, or those that it is cut into, numbered."""
    whole = Part(clip, Piece(0, len(tracked.found)))
    if settings.cut is None:
        return [whole]
    found = pieces(tracked.found, tracked.starts, level_T, cut=settings.cut, max_gap=settings.max_gap, fps=settings.fps)
    if found == [whole.piece]:
        return [whole]
    digits = max(len(str(len(found))), 2)
    return [Part(f"{clip}_p{number:0{digits}}", piece) for number, piece in enumerate(found, 1)]


def fill_gaps(
    found: Sequence[NDArray[np.float32] | None], max_gap: int, clip: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Interpolate the frames without a face linearly (T, 68, 2), and say where there was one (T,).

    At either end the nearest landmarks stand still.

    Raises:
        ClipError: there is no face at all, or none for more than ``max_gap`` frames in a row.
    """
    detected = np.array([points is not None for points in found])
    if not detected.any():
        raise ClipError(clip, "no face found")
    start, end = max(runs(~detected), key=lambda gap: gap[1] - gap[0], default=(0, 0))
    if (length := end - start) > max_gap:
        raise ClipError(clip, f"the face is lost for {length} frames from frame {start} on (mask.max_gap is {max_gap})")
    known = np.flatnonzero(detected)
    values = np.stack([points for points in found if points is not None]).reshape(len(known), -1)
    frames = np.arange(len(found))
    filled = np.stack([np.interp(frames, known, column) for column in values.T], -1)
    return filled.reshape(len(found), -1, 2), detected


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


def part_rows(
    pictures: Iterator[media.Picture], clip: str, part: Part, tracked: Tracked, settings: params.Mask
) -> Iterator[Row]:
    """The rows of a clip, a segment each; raises ClipError before the first, where its face is lost for too long.

    ``pictures`` are its file's; those of the clip, and all before, are taken from them. ``clip`` is the file's own name.
    """
    first, after = part.piece.first, part.piece.after
    landmarks_TL2, detected_T = fill_gaps(tracked.found[first:after], settings.max_gap, part.clip)
    crop = crop_square(landmarks_TL2, settings.margin)
    landmarks = to_crop(landmarks_TL2, crop, settings.size).astype(np.float32)
    converter = media.Converter()
    own = dropwhile(lambda picture: picture.number < first, pictures)
    length = max(int(settings.segment_s * settings.fps), 1)
    for segment, start in enumerate(range(0, len(landmarks), length)):
        some = slice(start, min(start + length, len(landmarks)))
        images = (face_picture(next(own), converter, crop, settings.size) for _ in range(some.start, some.stop))
        yield {
            "clip": part.clip,
            "part_of": clip,
            "first": first,
            "after": after,
            "segment": segment,
            "status": "ok",
            "fps": settings.fps,
            "start": start,
            "frames": [
                simplejpeg.encode_jpeg(x, quality=settings.jpeg_quality, colorsubsampling="444") for x in images
            ],
            "landmarks": landmarks[some].ravel(),
            "detected": detected_T[some],
            "crop": crop,
            "rotation": tracked.rotation,
            "faces_seen": tracked.faces_seen,
        }


def failed(part: Part, reason: str, fps: float, clip: str) -> Row:
    """The row of a clip that can't be used; ``clip`` is the file's own name."""
    lists: Row = {name: [] for name in ("frames", "landmarks", "detected", "crop")}
    return {
        "clip": part.clip,
        "part_of": clip,
        "first": part.piece.first,
        "after": part.piece.after,
        "segment": 0,
        "status": reason,
        "fps": fps,
        "start": 0,
        "rotation": 0,
        "faces_seen": 0,
        **lists,
    }


@dataclass(frozen=True)
class Found:
    """A file of a shard, its face followed, and the clips that it makes."""

    clip: str  # the file's
    film: Film
    tracked: Tracked
    parts: list[Part]


def look(raw: Path, entry: Entry, settings: params.Mask) -> Found:
    """Follow the face through a file and part it; a file that can't be decoded is one part with the reason."""
    name, file = entry["clip"], entry["file"]
    film = Film(raw, file, name, settings.fps)
    try:
        tracked = track(film, settings)
    except ClipError as error:
        return Found(name, film, Tracked([], [], 0, 0), [Part(name, Piece(0, 0, error.reason))])
    level_T = None
    if settings.cut:
        level_T = level(raw, str(entry.get("sound", file)), name, settings.fps, len(tracked.found))
    elif tracked.starts:
        at = ", ".join(f"{start / settings.fps:.1f} s" for start in tracked.starts)
        print(
            f"clip {name}: another picture begins at {at}; it is one clip all the same; mask.cut parts it", flush=True
        )
    return Found(name, film, tracked, parts(name, tracked, level_T, settings))


def level(raw: Path, file: str, clip: str, fps: float, frames: int) -> NDArray[np.float64] | None:
    """How loud each frame of a file is; None where its sound can't be decoded, which the spectrogram stage will say."""
    try:
        with tars.member(raw, file) as source:
            return levels(media.hear(source, LEVEL_RATE, clip=clip).samples, LEVEL_RATE, fps, frames)
    except ClipError:
        return None


def descriptors(found: Found) -> list[NDArray[np.float64]]:
    """The person's descriptor in each of a file's clips that are used: the mean over three of its frames."""
    used = [part.piece for part in found.parts if not part.piece.reason]
    wanted: dict[int, int] = {}
    for number, piece in enumerate(used):
        known = [t for t in range(piece.first, piece.after) if found.tracked.found[t] is not None]
        wanted |= {known[int(share * len(known))]: number for share in (0.25, 0.5, 0.75)}
    converter = media.Converter()
    seen: list[list[NDArray[np.float64]]] = [[] for _ in used]
    for picture in found.film if used else ():
        points = found.tracked.found[picture.number] if picture.number in wanted else None
        if points is not None:
            box = np.concatenate([points.min(0), points.max(0)]).astype(np.float64)
            seen[wanted[picture.number]].append(descriptor(converter.rgb(picture), points.astype(np.float64), box))
    return [np.mean(some, 0) for some in seen]


def of_one_person(found: list[Found], seen: list[list[NDArray[np.float64]]]) -> list[Found]:
    """The files of a shard; clips of another person than most are left out. ``seen``: the descriptors of those used, by file."""
    used = [part.piece.frames for one in found for part in one.parts if not part.piece.reason]
    odd = iter(strangers(np.array([each for some in seen for each in some]), used))

    def checked(part: Part) -> Part:
        if part.piece.reason or not next(odd):
            return part
        return Part(part.clip, replace(part.piece, reason="another person than in most of the shard"))

    return [replace(one, parts=[checked(part) for part in one.parts]) for one in found]


def looked_at(raw: Path, entries: list[Entry], settings: params.Mask) -> Iterator[Found]:
    """A shard's files in order; with ``cut`` all are looked at before the first is given, as people are told apart by all."""
    if settings.cut is None:
        yield from (look(raw, entry, settings) for entry in entries)
        return
    found, seen = [], []
    for entry in entries:
        one = look(raw, entry, settings)
        seen.append(descriptors(one))
        one.film.forget()
        found.append(one)
    yield from of_one_person(found, seen)


def rows(raw: Path, file: str, clip: str, settings: params.Mask) -> Iterator[Row]:
    """The rows of all clips of a file, whoever is seen in it; raises ClipError where one can't be used."""
    found = look(raw, {"clip": clip, "file": file}, settings)
    pictures = iter(found.film)
    for part in found.parts:
        if part.piece.reason:
            raise ClipError(part.clip, part.piece.reason)
        yield from part_rows(pictures, clip, part, found.tracked, settings)


def write_clips(found: Found, write: Callable[[Row], None], settings: params.Mask) -> None:
    """Write the rows of a file's clips, and say what is left out."""
    pictures = iter(found.film)
    for part in found.parts:
        try:
            if part.piece.reason:
                raise ClipError(part.clip, part.piece.reason)
            for row in part_rows(pictures, found.clip, part, found.tracked, settings):
                write(row)
        except ClipError as error:
            write(failed(part, error.reason, settings.fps, found.clip))
            start, end = (frame / settings.fps for frame in (part.piece.first, part.piece.after))
            where = "" if len(found.parts) == 1 else f" ({start:.1f} to {end:.1f} s of {found.clip})"
            print(f"{error}{where}; left out, the other clips go on", flush=True)
    if found.tracked.faces_seen > 1:
        print(f"clip {found.clip}: {found.tracked.faces_seen} faces; the largest is followed", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Find the face in every clip of a shard and cut it out.")
    parser.add_argument("--raw", type=Path, required=True, help="tar of the download stage")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--params", default=params.PARAMS_FILE, help="section mask")
    args = parser.parse_args()
    settings = params.load(args.params).mask
    cv2.setNumThreads(1)
    files = tars.listing(args.raw)
    progress = Progress(f"mask {args.out.stem}", len(files), "files")
    with tables.writer(args.out, schemas.FACES) as write:
        for found in looked_at(args.raw, files, settings):
            write_clips(found, write, settings)
            progress.update(note=found.clip)


if __name__ == "__main__":
    run(main)
