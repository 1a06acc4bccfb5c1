"""A film as a folder: numbered PNGs, each with the mark that it is synthetic, and its sound beside them."""

from __future__ import annotations

import os
import shutil
import wave
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from stages.base.errors import InputError
from stages.talking import mark
from stages.talking.voice import AT_ONCE, Stored

SOUND = "sound.wav"
XMP = "XML:com.adobe.xmp"  # the key of an XMP packet in a PNG: XMP specification, part 3


def write(out: Path, frames: Iterable[NDArray[np.uint8]], sound: Stored, words: str) -> None:
    """Write ``000000.png`` … and ``sound.wav`` into a new folder, which is there whole or not at all.

    Raises:
        InputError: something of that name is there.
    """
    if out.exists():
        raise InputError(out, "is there already", "name another folder by --out, or an .mp4")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    said = PngImagePlugin.PngInfo()
    said.add_itxt(XMP, mark.packet(words).decode())
    try:
        part.mkdir()
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(part / f"{number:06d}.png", pnginfo=said)
        with wave.open(str(part / SOUND), "wb") as file:
            file.setparams((1, 2, sound.rate, 0, "NONE", ""))
            for samples in sound.pieces(AT_ONCE):
                file.writeframes(samples.tobytes())
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
