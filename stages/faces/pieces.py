"""Footage as it is: where its shots begin, and which parts of it show one person who faces the camera and speaks.

A part ends at a cut to another picture, where the face is lost or turned away, in a long silence, and where it would be too long.
What is no part is named with its reason, so that each frame of the footage is in one or in the other. T frames; times are frames
on the time base.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.base import params
from stages.base.series import moving_mean, runs
from stages.faces.geometry import RIGID, inter_ocular, nose_tip, similarity, transform

THUMB = (48, 36)  # pixels that a picture is compared with the next at
# Of luma's mean difference at a cut. In 42 clips of people it is 0.3 from frame to frame, 1.9 at most; between clips of one
# person 0.9 to 21, of two people 11 and more.
CHANGED, TIMES = 4.0, 6.0  # grey levels; times the median of the frames before, and twice what the next frame changes
BEFORE = 12  # frames
TURNED_FOR, UNSTEADY_FOR = 5, 15  # frames that the two measurements of a face are averaged over
QUIET_DB = -35.0  # below the loud moments, under which nobody speaks
LOUD = 95  # percentile of a frame's level that loud moments have
NO_FACE = "no face"
BREATH_S = 0.2  # of silence that is left at either end of a part
# Distance of two descriptors of one person at most. The network was trained to 0.6; in 21 clips of seven people one person's lie
# apart by 0.30 at most, two people's by 0.64 at least.
SAME_PERSON = 0.5

Image = NDArray[np.uint8]
Thumb = NDArray[np.float32]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Piece:
    """A part of some footage."""

    first: int  # frame
    after: int
    reason: str = ""  # why it is left out; empty where it is used

    @property
    def frames(self) -> int:
        return self.after - self.first


class Shots:
    """The cuts of some pictures, found while they go through.

    Attributes:
        starts: frames at which another picture begins; those that are known so far.
    """

    def __init__(self) -> None:
        self.starts: list[int] = []
        self._changes: deque[float] = deque(maxlen=BEFORE)

    def follow(self, images: Iterable[Image]) -> Iterator[tuple[int, Image]]:
        """The number of the shot that each picture, (H, W) luma, is of, and the picture; one picture late."""
        seen: deque[tuple[Image, Thumb]] = deque(maxlen=4)  # two before the picture in question, itself, and the next
        number = -1
        for number, image in enumerate(images):
            thumb = cv2.resize(image, THUMB, interpolation=cv2.INTER_AREA).astype(np.float32)
            seen.append((image, thumb))
            if number:
                yield self._shot([thumb for _, thumb in seen], number - 1), seen[-2][0]
        if number >= 0:
            yield self._shot([*(thumb for _, thumb in seen), seen[-1][1]][-4:], number), seen[-1][0]

    def _shot(self, thumbs: list[Thumb], number: int) -> int:
        """The shot of a picture, the last but one of these.

        A single frame of another picture, such as a flash, is no cut, nor is the frame after it, which is like the one before.
        """
        if len(thumbs) > 2:
            *earlier, before, now, after = thumbs
            change = _apart(now, before)
            usual = float(np.median(self._changes)) if self._changes else 0.0
            least = max(CHANGED, TIMES * usual, TIMES / 2 * _apart(after, now))
            self._changes.append(change)
            others = [(after, before), *((now, other) for other in earlier)]
            if change > least and all(_apart(a, b) > change / 2 for a, b in others):
                self.starts.append(number)
        return len(self.starts)


def _apart(a: Thumb, b: Thumb) -> float:
    return float(np.abs(a - b).mean())


def turned_aside(landmarks_TL2: NDArray[np.floating]) -> Array:
    """How far the head is turned to a side, (T, 68, 2) → (T,): how far aside the nose's tip lies; 0 where it faces the camera,
    some 0.4 times the tangent of the angle.
    """
    return np.asarray(np.abs(nose_tip(landmarks_TL2)[..., 0]))


def unsteady(landmarks_TL2: NDArray[np.floating]) -> Array:
    """How far landmarks jump from one frame to the next beside the head's motion, (T, 68, 2) → (T,), inter-ocular distances: the
    points that neither speech nor blinks move, after the similarity that carries the frame before onto the frame. Landmarks that
    hang in the background jump.
    """
    rigid = np.asarray(landmarks_TL2, np.float64)[:, RIGID]
    found = np.zeros(len(rigid))
    if len(rigid) > 1:
        carried = transform(rigid[:-1], similarity(rigid[:-1], rigid[1:]))
        away = np.sqrt(np.square(carried - rigid[1:]).sum(-1).mean(-1))
        found[1:] = away / np.maximum(inter_ocular(np.asarray(landmarks_TL2[1:], np.float64)), 1e-6)
    return found


def levels(audio_N: NDArray[np.floating], sample_rate: int, fps: float, frames: int) -> Array:
    """The sound's level in each frame, (frames,), decibels below its loud moments; what has no sound is at -100."""
    step = sample_rate / fps
    edges = np.round(np.arange(frames + 1) * step).astype(int).clip(0, len(audio_N))
    power = np.concatenate([[0.0], np.cumsum(np.square(audio_N, dtype=np.float64))])
    mean = np.diff(power[edges]) / np.maximum(np.diff(edges), 1)
    loud = np.percentile(mean, LOUD) if frames else 0.0
    return np.asarray(10 * np.log10(np.maximum(mean / max(loud, 1e-12), 1e-10)))


def pieces(
    found: Sequence[NDArray[np.float32] | None],
    starts: Sequence[int],
    level_T: Array | None,
    *,
    cut: params.Cut,
    max_gap: int,
    fps: float,
) -> list[Piece]:
    """The parts of some footage in order, each frame in one of them.

    Args:
        found: the landmarks in each frame, None where there is no face.
        starts: frames at which a new shot begins.
        level_T: of the sound, see :func:`levels`; None where it has none.
        cut: how to cut.
        max_gap: frames without a face that a part may have in a row.
        fps: frames a second.
    """
    count = len(found)
    why = np.zeros(count, np.int8)  # the reason that each frame is left out, by number
    reasons = ("", NO_FACE, "the head is turned away", "the landmarks sit on no face", "nobody speaks")
    edges = [0, *starts, count]
    for first, after in itertools.pairwise(edges):
        missing = np.array([points is None for points in found[first:after]])
        for a, b in runs(missing):
            if b - a > max_gap or a == 0 or b == after - first:
                why[first + a : first + b] = 1
        known = [t for t in range(first, after) if found[t] is not None]
        if known:
            points = np.stack([found[t] for t in known])  # type: ignore[misc]
            aside = moving_mean(turned_aside(points), TURNED_FOR // 2)
            jumps = moving_mean(unsteady(points), UNSTEADY_FOR // 2)
            why[known] = np.where(
                why[known] == 0, np.select([aside > cut.turn, jumps > cut.jump], [2, 3], 0), why[known]
            )
    if level_T is not None:
        breath = round(BREATH_S * fps)
        for a, b in runs(level_T < QUIET_DB):
            if b - a > round(cut.silence_s * fps):
                inside = slice(a + (0 if a in edges else breath), b - (0 if b in edges else breath))
                why[inside] = np.where(why[inside] == 0, 4, why[inside])
    borders = sorted({0, count, *starts, *(np.flatnonzero(np.diff(why)) + 1).tolist()})
    parts: list[Piece] = []
    for first, after in itertools.pairwise(borders):
        if why[first]:
            parts.append(Piece(first, after, reasons[why[first]]))
        else:
            for a, b in _divided(first, after, level_T, cut.longest_s * fps):
                parts += [
                    piece if piece.reason else _long_enough(piece, cut, fps) for piece in _with_a_face(a, b, found)
                ]
    return _joined(parts)


def _with_a_face(first: int, after: int, found: Sequence[NDArray[np.float32] | None]) -> list[Piece]:
    """A part that begins and ends with a face; what is cut off at its ends by itself."""
    known = [t for t in range(first, after) if found[t] is not None]
    if not known:
        return [Piece(first, after, NO_FACE)]
    ends = [Piece(first, known[0], NO_FACE), Piece(known[0], known[-1] + 1), Piece(known[-1] + 1, after, NO_FACE)]
    return [piece for piece in ends if piece.frames]


def _long_enough(piece: Piece, cut: params.Cut, fps: float) -> Piece:
    short = piece.frames < round(cut.shortest_s * fps)
    return replace(piece, reason=f"shorter than {cut.shortest_s:g} s") if short else piece


def _divided(first: int, after: int, level_T: Array | None, longest: float) -> list[tuple[int, int]]:
    """A part in as few as may be, of some ``longest`` frames, a quarter more at most; at the quietest frames near equal parts."""
    count = int(np.ceil((after - first) / longest))
    edges = np.linspace(first, after, count + 1).round().astype(int).tolist()
    if level_T is not None:
        reach = (after - first) // (8 * count)
        for number in range(1, count):
            middle = edges[number]
            near = level_T[middle - reach : middle + reach + 1]
            edges[number] = middle - reach + int(np.argmin(near)) if len(near) else middle
    return list(itertools.pairwise(edges))


def _joined(parts: list[Piece]) -> list[Piece]:
    """Neighbours that are left out for one reason as one."""
    joined: list[Piece] = []
    for piece in parts:
        if joined and piece.reason and joined[-1].reason == piece.reason and joined[-1].after == piece.first:
            joined[-1] = replace(joined[-1], after=piece.after)
        else:
            joined.append(piece)
    return joined


def strangers(descriptors_ND: Array, frames_N: Sequence[int]) -> NDArray[np.bool_]:
    """Which of some parts show another person than the most, (N,): by their lengths, the person with the most frames stays."""
    if not len(descriptors_ND):
        return np.zeros(0, bool)
    apart = np.linalg.norm(descriptors_ND[:, None] - descriptors_ND[None], axis=-1) < SAME_PERSON
    most = int(np.argmax(apart @ np.asarray(frames_N, np.float64)))
    return ~apart[most]
