"""The page's request for a video, and the command line that makes the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from stages.talking.options import FLAGS, LABEL, Options, flag


class Asked(BaseModel):
    """Options of :class:`stages.talking.options.Options` that the user changed; None is not changed.

    Numbers have the ranges that stand there. Where text may name a file there, it may not here: no path comes from a browser.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    motion: float | Literal["own"] | None = None
    blink: float | Literal["own"] | None = None
    which: Annotated[str, StringConstraints(pattern=r"^(one|largest|left|right|\d{1,2}|\d{1,5},\d{1,5})$")] | None = (
        None
    )
    start: float | None = None
    seconds: float | None = None
    steps: int | None = None
    seed: int | None = None
    preview: Literal[True] | None = None
    label: Literal["synthetic"] | None = None

    def options(self, usual: Options) -> Options:
        """The options of a film, where ``usual`` are those of a page's every film.

        Raises:
            ParameterError: a number is out of its range.
        """
        return replace(usual, **self.model_dump(exclude_none=True))

    def command(self, model: Path, always: Sequence[str]) -> list[str | None]:
        """Arguments that make the same; None stands for the face, then for the sound. ``always``: flags of every film."""
        words: list[str | None] = ["python", "-m", "stages.talk", str(model), None, None, *always]
        for name, value in self.model_dump(exclude_none=True).items():
            words += [flag(name)] if name in FLAGS or value == LABEL else [flag(name), _shown(value)]
        return words


def _shown(value: object) -> str:
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


class Wanted(BaseModel):
    """A job: the keys of two files that were sent, and what is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    face: str
    sound: str
    asked: Asked
