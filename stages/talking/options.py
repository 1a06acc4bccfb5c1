"""The options of a talking face, their ranges and their words, in one place for the command, lists of jobs and the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from stages.base.errors import ParameterError

PREVIEW_S = 3.0
BLINKS = 0.28  # a second, an adult's
MOTION = 1.0  # of a picture's head, as the training's
LABEL = "synthetic"


class Said(NamedTuple):
    """The values of an option, and its help text."""

    help: str
    number: type[int] | type[float] | None = None
    words: tuple[str, ...] = ()  # that it may be
    other: str = ""  # what other text means, such as a file; empty: nothing
    least: float = -math.inf
    most: float = math.inf
    flag: str = ""  # where it is not the field's name


def _option(default: Any, help: str, number: Any = None, words: Any = (), **more: Any) -> Any:
    return field(default=default, metadata={"said": Said(help, number, tuple(words), **more)})


@dataclass(frozen=True)
class Options:
    """The settings of a talking face; None is the value of the model, the face or the sound."""

    motion: float | str | None = _option(
        None,
        "of the head: a number (1 as the training's, 0 none), another's VIDEO, a CSV (roll,x,y,scale a "
        "frame), or own, a video's; 1 for a picture, own for a video",
        float,
        ["own"],
        other="file",
        least=0,
    )
    blink: float | str | None = _option(
        None,
        f"blinks a second, off, another's VIDEO, a CSV (time_s, or ear_left,ear_right a frame), or own, a video's; "
        f"{BLINKS} for a picture, own for a video",
        float,
        ["own", "off"],
        other="file",
        least=0,
        most=5,
    )
    which: str = _option("one", "face: one, largest, left, right, a number from the left, or x,y", other="place")
    fps: float | None = _option(None, "frames a second; 25 for a picture, a video's own", float, least=1, most=240)
    when_short: Literal["pingpong", "loop", "hold", "stop"] = _option(
        "pingpong",
        "a video that is shorter than the sound goes there and back, loops, holds its last frame, or stops all",
        words=["pingpong", "loop", "hold", "stop"],
    )
    reference: float | str = _option(
        "auto",
        "seconds into a video of the frame that the network is shown; auto: open eyes, closed mouth",
        float,
        ["auto"],
        least=0,
    )
    level: float | str = _option(
        "auto",
        "dB that the network is told the speech at; auto: the training's; off: as it is. What is heard is "
        "never changed",
        float,
        ["auto", "off"],
        least=-80,
        most=0,
    )
    gate: float | str = _option("auto", "dB below which it is told silence", float, ["auto", "off"], least=-120, most=0)
    jaw: float | None = _option(
        None, "how far below the chin the mask reaches, distances of the eye corners", float, least=0, most=1
    )
    paste: Literal["detail", "plain", "none"] = _option(
        "detail",
        "detail: the source's fine detail where nothing changed; none: the network's face alone",
        words=["detail", "plain", "none"],
    )
    feather: float = _option(
        0.06, "width of the blend, a share of the face's square; 0: hard", float, least=0, most=0.5
    )
    sampler: Literal["ddim", "ancestral", "dpm_solver++"] = _option(
        "ddim", "how noise becomes pictures", words=["ddim", "ancestral", "dpm_solver++"]
    )
    steps: int | None = _option(None, "of the sampler; 2 for a model like the demo's, else 50", int, least=1, most=1000)
    guidance_audio: float = _option(1.0, "1: none", float, least=0)
    guidance_blink: float = _option(1.0, "1: none", float, least=0)
    batch: int = _option(25, "frames at a time", int, least=1)
    seed: int = _option(5, "of noise, motion and blinks", int, least=0)
    start: float = _option(0.0, "begin so many seconds into the sound", float, least=0, flag="from")
    seconds: float | None = _option(None, "use so many seconds of it", float, least=0.04)
    tail: float = _option(0.0, "go on in silence for so many seconds", float, least=0, most=3600)
    preview: bool = _option(False, f"{PREVIEW_S:g} seconds, one step")
    max_side: int = _option(1920, "pixels; what is larger is scaled down", int, least=64)
    label: str | None = _option(None, f"a visible word in the corner; '{LABEL}' where none is given", other="word")
    check: bool = _option(True, "measure whether the mouth moves")
    device: str = _option("auto", "to compute on, such as cuda or mps", words=["auto", "cpu"], other="accelerator")
    precision: Literal["fp32", "bf16"] = _option("fp32", "of the network", words=["fp32", "bf16"])

    def __post_init__(self) -> None:
        """Raises ParameterError where a value is none that its option may have."""
        for name, said in SAID.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, bool):
                _check(flag(name), said, value)

    @property
    def settled(self) -> Options:
        """The same with what ``preview`` stands for."""
        if not self.preview:
            return self
        return replace(self, seconds=min(self.seconds or PREVIEW_S, PREVIEW_S), steps=1)


SAID: Mapping[str, Said] = {option.name: option.metadata["said"] for option in fields(Options)}
FLAGS = tuple(name for name in SAID if isinstance(getattr(Options, name), bool))  # options that are on or off


def flag(name: str) -> str:
    """``--max-side`` of ``max_side``."""
    return "--" + (SAID[name].flag or name).replace("_", "-")


def read(name: str, text: str) -> Any:
    """An option's value from a text: a number where it may be one, else a word or the text itself.

    Raises:
        ParameterError: it may be neither.
    """
    said = SAID[name]
    if name in FLAGS:
        if text.lower() not in ("yes", "no"):
            raise ParameterError(f"{flag(name)} is {text!r}; give yes or no")
        return text.lower() == "yes"
    value: Any = text
    if said.number is not None and text not in said.words:
        try:
            value = said.number(text)
        except ValueError:
            value = text
    _check(flag(name), said, value)
    return value


def _check(shown: str, said: Said, value: Any) -> None:
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        if value in said.words or said.other:
            return
        wanted = [*(["a number"] if said.number else []), *said.words]
        raise ParameterError(
            f"{shown} is {value!r}; give {' or '.join(filter(None, [', '.join(wanted[:-1]), wanted[-1]]))}"
        )
    if said.number is None or not math.isfinite(value):
        raise ParameterError(f"{shown} is {value!r}; give another value: {said.help}")
    if not said.least <= value <= said.most:
        beyond = f"{said.least:g} or more" if said.most == math.inf else f"{said.least:g} to {said.most:g}"
        raise ParameterError(f"{shown} is {value}; give {beyond}")
