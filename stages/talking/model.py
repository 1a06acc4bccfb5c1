"""The trained model, which talks::

from stages.talking import HifiDiff

model = HifiDiff.from_pretrained("data/demo/models/full")
film = model.talk("portrait.jpg", "speech.mp3", blink=0.4, seed=5)  # nothing is made yet
film.save("talk.mp4")
for frame_HWC in film: ...  # frames as they are made; film.fps, film.seconds, film.ear_T2, film.facts
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from stages.pretrained import hifidiff
from stages.pretrained.hifidiff import WEIGHTS
from stages.talking.film import Film, talk
from stages.talking.options import Options


@dataclass(frozen=True)
class HifiDiff(hifidiff.HifiDiff):
    """A trained model that makes faces talk; ``named`` is what films say of it."""

    named: str = ""

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "cpu") -> HifiDiff:
        """Like :meth:`stages.pretrained.hifidiff.HifiDiff.from_pretrained`; the weights' digest is read, too."""
        folder = Path(folder)
        found = hifidiff.HifiDiff.from_pretrained(folder, device)
        with (folder / WEIGHTS).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(
            found.net, found.diffusion, found.drop, found.config, f"Model {folder.resolve().name}, sha256 {digest}"
        )

    def talk(
        self,
        face: str | Path,
        sound: str | Path,
        options: Options | None = None,
        *,
        progress: Callable[[int], None] = lambda frames: None,
        **more: Any,
    ) -> Film:
        """A film of a face (a picture or a video) that says a sound: lazy, can be walked through, saves.

        ``more``: fields of :class:`stages.talking.options.Options`, on top of ``options``. Raises like
        :func:`stages.talking.film.talk`.
        """
        chosen = replace(options or Options(), **more)
        return talk(self, Path(face), Path(sound), chosen, named=self.named, progress=progress)
