"""A video as the face: followed once, kept as JPEGs in a temporary file, so that going back costs a seek.

T frames, H, W pixels.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from stages import media
from stages.base.errors import ClipError, InputError
from stages.base.series import runs
from stages.faces.geometry import ear, mouth_opening, steady
from stages.faces.landmarks import FaceTracker, luma
from stages.talking import portrait
from stages.talking.eyes import OPEN_PERCENTILE
from stages.talking.portrait import Box, Picture

Array = NDArray[np.float64]

DETECT_EVERY, LOOKS = 8, 3  # see FaceTracker
SHORT_S = 0.48  # a face that is lost for no longer is interpolated
FADE_S = 0.2  # in which the made face goes before a longer gap, and comes after it
QUALITY = 97
OPEN_SHARE = 60  # percentile of the eyes' ratio that the reference reaches at least


@dataclass(frozen=True)
class Footage:
    """A video's frames and the face in them."""

    file: IO[bytes]  # JPEGs, one after another; it has no name
    starts: list[int]  # of each, and the end of the last
    landmarks_TL2: Array  # pixels, steady; interpolated where there is no face
    ear_T2: Array  # the eyes' ratio, of the landmarks as they were found
    found_T: NDArray[np.bool_]
    shown_T: NDArray[np.float64]  # share of the made face: 0 in gaps that are too long, and it fades at their ends
    fps: float
    warnings: list[str]

    def __len__(self) -> int:
        return len(self.landmarks_TL2)

    def picture(self, frame: int) -> Picture:
        """A frame, (H, W, 3) RGB."""
        self.file.seek(self.starts[frame])
        return simplejpeg.decode_jpeg(self.file.read(self.starts[frame + 1] - self.starts[frame]))

    @property
    def nbytes(self) -> int:
        """Of the temporary file."""
        return self.starts[-1]

    @property
    def open_ear(self) -> Array:
        """The open eyes' ratio, (2,)."""
        return np.percentile(self.ear_T2[self.found_T], OPEN_PERCENTILE, axis=0)

    def gaps(self) -> list[tuple[float, float]]:
        """Seconds from and to which the video is shown as it is."""
        return [(start / self.fps, end / self.fps) for start, end in runs(self.shown_T == 0)]

    def reference(self, at_s: float | None, path: Path) -> int:
        """The frame that the network is shown: the one at a time, or one with open eyes whose mouth is most shut.

        Raises:
            InputError: there is no such time in what is used of the video, or no face.
        """
        if at_s is not None:
            frame = round(at_s * self.fps)
            if frame >= len(self):
                raise InputError(
                    path,
                    f"--reference is {at_s:g}, and what is used of it ends at {len(self) / self.fps:.2f} s",
                    "give less",
                )
            if not self.found_T[frame]:
                raise InputError(path, f"no face at --reference {at_s:g}", "give another time")
            return frame
        lids, lips = self.ear_T2.mean(1), mouth_opening(self.landmarks_TL2)
        awake = self.found_T & (lids >= np.percentile(lids[self.found_T], OPEN_SHARE))
        return int(np.flatnonzero(awake)[np.argmin(lips[awake])])


class _From(FaceTracker):
    """Follows the face that was in a box."""

    def __init__(self, box: Box) -> None:
        super().__init__(DETECT_EVERY, LOOKS)
        self._known = box


def read(path: Path, *, fps: float | None, seconds: float, max_side: int, which: str) -> Footage:
    """A video's first seconds, on the time base k / fps (None: its own rate), and the face in them.

    A video that is damaged further on is taken up to there, and it is said.

    Raises:
        InputError: it can't be read, shows no face, several and none is chosen, or too small a one.
    """
    try:
        own = float(media.rate(media.frame_rate(path)))
    except ClipError as error:
        raise InputError(path, error.reason, "name a picture or a video of a face") from None
    film = _Film(path, fps or own, seconds, max_side)
    tracker: FaceTracker | None = None
    found: list[NDArray[np.float32] | None] = []
    pictures, waiting = film.pictures(), list[Picture]()
    for picture in pictures:
        if boxes := portrait.faces(picture):
            tracker, waiting = _From(portrait.pick(path, boxes, which)), [picture]
            break
        found.append(None)
    if tracker is None:
        problem = f"no face found in its {len(found)} frames" if found else f"no frame could be read{film.said()}"
        raise InputError(path, problem, "take a video in which a face looks at the camera, larger")
    found += list(tracker.follow(_grey(waiting, pictures)))
    seen = np.array([points is not None for points in found])
    known = np.flatnonzero(seen)
    if not len(known):
        raise InputError(path, "no face could be followed", "take a video in which a face looks at the camera, larger")
    values = np.stack([points for points in found if points is not None]).reshape(len(known), -1)
    filled = np.stack([np.interp(np.arange(len(found)), known, column) for column in values.T], -1)
    landmarks = filled.reshape(-1, 68, 2)
    made = Footage(
        film.file,
        film.starts,
        steady(landmarks, film.fps),
        np.asarray(ear(landmarks), np.float64),
        seen,
        _shown(seen, film.fps),
        film.fps,
        film.warnings,
    )
    for start, end in made.gaps():
        film.warnings.append(f"{path}: no face from {start:.2f} to {end:.2f} s: shown as the source has it")
    return made


def _grey(first: list[Picture], rest: Iterator[Picture]) -> Iterator[NDArray[np.uint8]]:
    return map(luma, chain(first, rest))


class _Film:
    """Decodes a video's pictures and keeps each as a JPEG."""

    def __init__(self, path: Path, fps: float, seconds: float, max_side: int) -> None:
        self.path, self.fps, self.most, self.max_side = path, fps, max(round(seconds * fps), 1), max_side
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the footage
        self.starts = [0]
        self.warnings: list[str] = []
        self.damage = ""

    def said(self) -> str:
        return f" ({self.damage})" if self.damage else ""

    def pictures(self) -> Iterator[Picture]:
        converter = media.Converter()
        try:
            for picture in media.pictures(self.path, fps=self.fps):
                if picture.number == self.most:
                    break
                yield self._kept(portrait.scaled(converter.rgb(picture), self.max_side))
        except ClipError as error:
            count = len(self.starts) - 1
            self.damage = error.reason
            self.warnings.append(f"{self.path}: {error.reason}: the first {count / self.fps:.2f} s are used")

    def _kept(self, picture: Picture) -> Picture:
        self.file.write(simplejpeg.encode_jpeg(picture, quality=QUALITY, colorsubsampling="444"))
        self.starts.append(self.file.tell())
        return picture


def _shown(found_T: NDArray[np.bool_], fps: float) -> NDArray[np.float64]:
    """Share of the made face in each frame, (T,): none in longer gaps, and less towards them."""
    shown = np.ones(len(found_T))
    frames = np.arange(len(found_T))
    for start, end in runs(~found_T):
        if end - start > SHORT_S * fps:
            away = np.maximum(np.maximum(start - frames, frames - end + 1), 0)
            shown = np.minimum(shown, away / (round(FADE_S * fps) + 1))
    return shown
