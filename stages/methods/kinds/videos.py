"""Videos from elsewhere as a row: what any program made of the test clips, brought onto their frames.

The row's ``made_from`` is ``videos/<name>``: put the files below ``data/<run>/videos/<name>/``, each of the name of its test
clip, in any sub-folders. They are put on the time base of the pipeline (62.5 frames a second become 25), but programs lose
frames, and start late. For 62 frames at 25 a second, 39,680 samples of sound, the published ones give by their sources:

- SDA and Diffused Heads 62;
- Wav2Lip 60, the end is lost;
- PC-AVS 59, frames 2 to 60: two are lost at the start and one at the end, so that its pictures come 80 ms early;
- EAMM 61, one is lost at the end;
- MakeItTalk 138 at 62.5 a second, which are 55: the last 0.27 s are lost. Its pictures are three wide, portrait, result and
  drawing, of which the middle one counts.

So:

- of pictures side by side one is taken (``panel``);
- ``lost_at_start`` frames are put back by repeating the first picture;
- what is then missing at the end, at most ``lost_at_end`` frames, is put back by repeating the last one; frames too many at the
  end, at most as many, are cut.

The listing of the row's videos says for each clip what was repeated and cut, and so does the report.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from stages import media
from stages.base import params, places
from stages.base.errors import ClipError, InputError
from stages.clips import corpus
from stages.clips import raw as own_files
from stages.clips.clip import Clip
from stages.faces.crops import resized
from stages.methods.systems import Render, Row


class Settings(params.Section):
    """``methods.<row>.settings`` of kind videos."""

    shows: Literal["face", "frame"] = Field(
        description="face: the pictures are face crops as this pipeline's; frame: whole frames as the source's, cut here; of "
        "another size they are scaled to the source's first"
    )
    panel: tuple[params.Natural, params.Natural] = Field(
        default=(1, 1),
        description="of pictures side by side in a frame, which one counts, from the left, and of how many; MakeItTalk: [2, 3]",
    )
    lost_at_start: params.Count = Field(description="frames that the program loses at the start: PC-AVS 2, others 0")
    lost_at_end: params.Count = Field(
        description="frames that may be missing, or too many, at the end: Wav2Lip 2, PC-AVS and EAMM 1, MakeItTalk 7 of 62"
    )
    sees: str = Field(min_length=1, description="what the program was given of a test clip, for the report")

    @field_validator("panel")
    @classmethod
    def _there(cls, panel: tuple[int, int]) -> tuple[int, int]:
        if panel[0] > panel[1]:
            raise ValueError(f"is {list(panel)}: there is no picture {panel[0]} of {panel[1]}")
        return panel


def files(folder: Path) -> dict[str, Path]:
    """The videos of a folder by name, without suffix; raises ``InputError`` where there is none, or two of one name."""
    listed = places.below(folder)
    if listed.again:
        raise InputError(listed.again[0], "a link to a folder that is there already", "take it out")
    found: dict[str, Path] = {}
    for path in listed.videos:
        if path.stem in found:
            raise InputError(path, f"another video of this name, {found[path.stem]}", "keep one of the two")
        found[path.stem] = path
    if not found:
        raise InputError(folder, "no video in it", "put the videos there, each of the name of its test clip")
    return found


def renderer(row: Row) -> Render:
    """The videos' frames, restored to the clip's number, cut and resized as the clip's own."""
    settings, found = Settings.model_validate(row.entry.settings), files(row.made_from)

    def render(clip: Clip, sound: Clip) -> Iterator[NDArray[np.uint8]]:
        path = found.get(clip.name)
        if path is None:
            raise InputError(row.made_from, f"no video {clip.name}.*", "add it: scores of other clips do not compare")
        size, count = clip.frames_THWC.shape[1], len(clip.frames_THWC)
        cut = corpus.crop(row.data, clip.speaker, clip.name) if settings.shows == "frame" else None
        try:
            pictures = media.decode(path, fps=row.settings.mask.fps, clip=clip.name)
        except ClipError as error:
            raise InputError(path, error.reason, "give another file") from None
        which, of = settings.panel
        if pictures.shape[2] % of:
            problem = f"pictures of {pictures.shape[2]} pixels, which are not {of} of one width side by side"
            raise InputError(path, problem, f"give another file, or correct methods.{row.method}.settings.panel")
        pictures = np.split(pictures, of, 2)[which - 1]
        height, width = pictures.shape[1:3]
        source = source_size(row.data, clip.speaker, clip.name) if cut else (width, height)
        if not same_shape((width, height), source):
            raise InputError(
                path,
                f"pictures of {width}x{height}, the clip's are {source[0]}x{source[1]}, which is another shape",
                "give its whole frames, scaled alone; or crops of the face, and set "
                f"methods.{row.method}.settings.shows to face",
            )
        if cut is None and height != width:
            fix = f"give square crops of the face, or set methods.{row.method}.settings.shows to frame"
            raise InputError(path, f"pictures of {width}x{height}, which are no face crops", fix)
        missing = count - settings.lost_at_start - len(pictures)
        if abs(missing) > settings.lost_at_end:
            raise InputError(
                path,
                f"{len(pictures)} frames at {row.settings.mask.fps:g} a second, the clip has {count}: "
                f"{abs(missing)} too {'few' if missing > 0 else 'many'} after {settings.lost_at_start} lost at the start",
                f"correct the file, or raise methods.{row.method}.settings.lost_at_end",
            )
        order = np.concatenate([np.zeros(settings.lost_at_start, int), np.arange(len(pictures))])
        order = np.concatenate([order, np.full(max(missing, 0), len(pictures) - 1)])[:count]
        row.notes[clip.name] = {
            "repeated_at_start": settings.lost_at_start,
            "repeated_at_end": max(missing, 0),
            "cut_at_end": max(-missing, 0),
        }
        if (width, height) != source:
            row.notes[clip.name]["scaled_from"] = f"{width}x{height}"
        if cut:
            yield np.stack([media.cut(scaled(picture, source), cut, size) for picture in pictures])[order]
        else:
            yield resized(pictures, size)[order]
        row.progress(count)

    return render


def source_size(data: Path, shard: str, clip: str) -> tuple[int, int]:
    """Width and height of a clip's own pictures, upright, in which its crop is told."""
    found = replace(own_files.place(data, shard, clip), first=0)  # all pictures of a file are of one size
    height, width = own_files.still(found, fps=1).shape[:2]
    return width, height


def same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """True if one (width, height) is the other scaled, both in whole, even pixels."""
    return abs(size[0] * other[1] - size[1] * other[0]) < 2 * max(other)


def scaled(image_HWC: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture of another width and height: by area where it shrinks."""
    if image_HWC.shape[1::-1] == size:
        return image_HWC
    how = cv2.INTER_AREA if image_HWC.shape[1] > size[0] else cv2.INTER_LINEAR
    return cv2.resize(image_HWC, size, interpolation=how).astype(np.uint8, copy=False)


def sees(entry: params.Method) -> str:
    """The parts of a test clip given to the row."""
    return str(entry.settings["sees"])
