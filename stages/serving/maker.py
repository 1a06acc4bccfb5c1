"""A trained model, read once, that makes videos one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from stages.faces import landmarks
from stages.talking import HifiDiff
from stages.talking.options import Options


class Maker:
    """Makes a video as :class:`stages.serving.line.Make` asks, the same bytes as the command.

    Raises:
        InputError: the folder holds no model.
    """

    def __init__(self, folder: Path) -> None:
        self.model = HifiDiff.from_pretrained(folder)

    def warm(self) -> None:
        """Read what finds faces, so that the first video need not wait for it."""
        blank = np.zeros((96, 96, 3), np.uint8)
        landmarks.detect(blank)
        landmarks.landmarks(blank, np.array([8.0, 8.0, 88.0, 88.0]))

    def __call__(
        self,
        face: Path,
        sound: Path,
        options: Options,
        out: Path,
        total: Callable[[int], None],
        more: Callable[[int], None],
    ) -> list[str]:
        film = self.model.talk(face, sound, options, progress=more)
        total(len(film))
        return film.save(out)
