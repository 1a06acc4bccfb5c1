"""The first picture and the sound of a test clip's own file: the input of ``python -m stages.talk``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages import media
from stages.base.errors import InputError
from stages.store import tars


def still(raw: Path, clip: str, fps: float) -> NDArray[np.uint8]:
    """The first picture of a clip of a shard, (H, W, 3) RGB; raises :class:`InputError` where the shard lacks it."""
    first = next(iter(media.pictures(video(raw, clip)[0], fps=fps)))
    return media.Converter().rgb(first)


def video(raw: Path, clip: str) -> tuple[bytes, str]:
    """The file that a clip's picture is in, and its ending, such as ``.mp4``; raises like :func:`still`."""
    return _file(raw, clip, "file")


def sound(raw: Path, clip: str) -> tuple[bytes, str]:
    """The file that a clip's sound is in, and its ending; raises like :func:`still`."""
    return _file(raw, clip, "sound")


def _file(raw: Path, clip: str, what: str) -> tuple[bytes, str]:
    """The file of a clip's picture or sound, and its suffix; one file serves as both if the corpus has them together."""
    entry = next((entry for entry in tars.listing(raw) if entry["clip"] == clip), None)
    if entry is None:
        raise InputError(raw, f"no clip {clip}", "run 'snakemake --cores all'")
    name = str(entry.get(what, entry["file"]))
    return tars.read(raw, name), Path(name).suffix
