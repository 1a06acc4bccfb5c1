"""The parts made of a given face: the frames in which it talks, and its eyes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.base.errors import InputError, ParameterError
from stages.clips.conditions import ear_condition
from stages.faces.geometry import ear
from stages.pretrained.hifidiff import HifiDiff
from stages.talking import eyes, footage, heads, portrait
from stages.talking.footage import Footage
from stages.talking.options import BLINKS, MOTION, Options
from stages.talking.portrait import Picture
from stages.talking.subject import Frame, Moving, Still, Subject

FPS = 25.0  # of a picture's film


@dataclass
class Seen:
    """The face as it was given: a picture, or a video whose frames are read once it is known how many are needed."""

    path: Path
    picture: Picture | None
    points: NDArray[np.float64] | None
    warnings: list[str]

    @classmethod
    def of(cls, path: Path, options: Options) -> Seen:
        if portrait.is_video(path):
            return cls(path, None, None, [])
        for name in ("motion", "blink"):
            if getattr(options, name) == "own":
                raise ParameterError(
                    f"--{name} is own: {path} is a picture, which has none; give a number, a video or a CSV"
                )
        picture = portrait.read_picture(path, options.max_side)
        points = portrait.choose(path, picture, options.which, blinks=options.blink not in ("off", 0))
        return cls(path, picture, points, [])

    def subject(self, options: Options, seconds: float, frame: Frame) -> tuple[Subject, float, Footage | None]:
        """The face in as many frames as the sound needs, the frames a second, and the video that it is of."""
        filmed: Footage | None = None
        picture, points = self.picture, self.points
        fps = options.fps or FPS
        if picture is None or points is None:
            filmed = footage.read(
                self.path, fps=options.fps, seconds=seconds, max_side=options.max_side, which=options.which
            )
            self.warnings += filmed.warnings
            fps = filmed.fps
            shown = filmed.reference(None if options.reference == "auto" else float(options.reference), self.path)
            frames = max(round(seconds * fps), 1)
            if options.motion in (None, "own"):
                order = heads.order(len(filmed), frames, options.when_short)
                return Moving(filmed, order, shown, frame), fps, filmed
            picture, points = filmed.picture(shown), filmed.landmarks_TL2[shown]
        frames = max(round(seconds * fps), 1)
        return Still(picture, points, self._poses(options, frames, fps), frame), fps, filmed

    def _poses(self, options: Options, frames: int, fps: float) -> NDArray[np.float64]:
        amount = MOTION if options.motion is None else options.motion
        if not isinstance(amount, str):
            return heads.wandering(frames, fps, float(amount), np.random.default_rng([options.seed, 0]))
        path = Path(amount)
        if path.suffix.lower() == ".csv":
            poses = heads.table(path, heads.COLUMNS)[1]
            if (poses[:, 3] <= 0).any():
                raise InputError(path, f"holds a scale of {poses[:, 3].min():g}", "give factors above 0")
        else:
            other = _other(path, "--motion", fps, frames / fps)
            self.warnings += other.warnings
            poses = heads.of_landmarks(other.landmarks_TL2)
        return poses[heads.lent(len(poses), frames, options.when_short)]


def _other(path: Path, name: str, fps: float, seconds: float) -> Footage:
    """A video that lends its motion or its blinks; raises where it is none."""
    if not path.is_file():
        raise ParameterError(f"{name} is {str(path)!r}: no number, word or file; give one of these")
    return footage.read(path, fps=fps, seconds=seconds, max_side=portrait.LENT_SIDE, which="largest")


@dataclass(frozen=True)
class Looks:
    """The eyes of a film."""

    ear_T2: NDArray[np.float32]  # the eye aspect ratios that are asked for
    condition_T2: NDArray[np.float32]  # the same as the network is told them
    onsets: list[float] | None  # of blinks, seconds, where they are known


def eyes_of(model: HifiDiff, options: Options, subject: Subject, filmed: Footage | None, fps: float) -> Looks:
    """The eyes by the options: of a network that is told raw ratios, open ones within what it was trained on."""
    known: dict[str, list[float]] = model.config["corpus"]
    ear_by: str = model.config["network"]["ear"]
    own = filmed.open_ear if filmed is not None else np.asarray(ear(subject.reference()[1][2]), np.float64)
    is_open = own if ear_by == "normalised" else np.clip(own, known["open_ear"][0], known["open_ear"][2])
    closed = known["closed_ear"][1] if "closed_ear" in known else 1.0
    blink = options.blink
    if blink is None:
        blink = BLINKS if filmed is None else "own"
    if "blink" in model.drop or blink == "off":
        blink = 0.0
    frames, rng = len(subject), np.random.default_rng([options.seed, 1])
    onsets: list[float] | None = None
    if not isinstance(blink, str):
        trace, onsets = eyes.blinking(is_open, closed, frames, fps, float(blink), rng)
    elif blink != "own" and Path(blink).suffix.lower() == ".csv":
        trace, onsets = eyes.of_table(Path(blink), is_open, closed, frames, fps, options.when_short, rng)
    else:
        other = filmed if blink == "own" else _other(Path(blink), "--blink", fps, frames / fps)
        assert other is not None, "a picture's own blinks are refused before"
        order = subject.order if isinstance(subject, Moving) and blink == "own" else None
        if order is None:
            order = heads.lent(len(other), frames, options.when_short)
        trace = eyes.carried(other.ear_T2, is_open)[order]
        closed = eyes.least(other.ear_T2[other.found_T], closed)
    shut = closed * is_open if closed < 1 else 0.0 * is_open  # a model that knows no blink is told of open eyes alone
    return Looks(trace, ear_condition(trace, shut, is_open, ear=ear_by), onsets)
