"""Damaged media and tables, a case a number: the same number is the same bytes on every machine.

A case takes one of a few small sound files, truncates it, flips, zeroes, removes, repeats or inserts bytes, or joins it with
another; headers are hit more often than the rest.
"""

from __future__ import annotations

import functools
import io
import json
import tarfile
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np

from tests.unit.variants import film, with_matrix, woven


class Kind(NamedTuple):
    container: str
    picture: str
    sound: str
    rate: int  # Hz
    layout: str = "mono"
    tracks: int = 1
    aspect: Fraction | None = None  # of a pixel
    interlaced: bool = False
    matrix: tuple[int, int, int, int] | None = None  # as variants.with_matrix takes it; of MP4 alone


KINDS = {
    "mp4": Kind("mp4", "libx264", "aac", 16000),
    "mov": Kind("mov", "mpeg4", "pcm_s16le", 44100),
    "flv": Kind("flv", "flv", "libmp3lame", 44100),
    "mkv": Kind("matroska", "libx264", "libopus", 48000),
    "webm": Kind("webm", "libvpx", "libopus", 48000),
    "avi": Kind("avi", "mpeg4", "libmp3lame", 44100),
    "ts": Kind("mpegts", "libx264", "aac", 48000),
    "wide": Kind("mov", "libx264", "aac", 16000, aspect=Fraction(3, 2)),
    "fields": Kind("mpegts", "libx264", "aac", 48000, interlaced=True),
    "surround": Kind("matroska", "libx264", "ac3", 48000, layout="5.1"),
    "tracks": Kind("matroska", "mpeg4", "aac", 48000, tracks=2),
    "turned": Kind("mp4", "libx264", "aac", 16000, matrix=(0, 1, -1, 0)),
}
FRAMES = 15
EXTREMES = (0, 1, 0x7F, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@functools.cache
def whole(kind: str) -> bytes:
    """An undamaged clip of 0.6 s, 64x48 pixels, with a tone."""
    made = KINDS[kind]
    texture = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    frames = [np.roll(texture, number, 1) for number in range(FRAMES)]
    tone = np.sin(np.arange(made.rate * FRAMES // 25) / 9) / 2

    def set_up(stream: Any) -> None:
        if made.aspect:
            stream.codec_context.sample_aspect_ratio = made.aspect
        if made.interlaced:
            stream.options |= {"flags": "+ildct", "x264-params": "tff=1"}

    film(
        file := io.BytesIO(),
        [woven(x, np.roll(x, 1, 1), upper=True) for x in frames] if made.interlaced else frames,
        [np.repeat(tone[None], av.AudioLayout(made.layout).nb_channels, 0)] * made.tracks,
        container=made.container, codec=made.picture, sound_codec=made.sound, layout=made.layout, rate=made.rate,
        video=set_up,
    )  # fmt: skip
    return with_matrix(file.getvalue(), *made.matrix) if made.matrix else file.getvalue()


@functools.cache
def tar() -> bytes:
    """A small tar as the download stage writes it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as out:
        clips = [{"clip": f"ada_{n}", "file": f"ada_{n}.mp4", "speaker": "ada"} for n in range(3)]
        for name, content in {"clips.json": json.dumps(clips).encode(), "ada_0.mp4": b"x" * 700}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return file.getvalue()


TABLE = 'file,speaker,split\na.mp4,Zoë,train\nb/c.mp4,"Lee, Ann",\n'.encode()


def damaged(content: bytes, other: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """The kind of damage, and the outcome."""
    data, size = bytearray(content), len(content)

    def place() -> int:
        return int(rng.integers(size) if rng.random() < 0.5 else rng.integers(min(size, 600)))

    how = str(
        rng.choice(["cut", "head", "flip", "bytes", "number", "zero", "remove", "repeat", "insert", "join", "splice"])
    )
    at, length = place(), int(rng.integers(1, 2 + size // 8))
    if how == "cut":
        data = data[:at]
    elif how == "head":
        data = data[at:]
    elif how in ("flip", "bytes"):
        for _ in range(int(2 ** rng.uniform(0, 7))):
            where = place()
            data[where] = data[where] ^ (1 << int(rng.integers(8))) if how == "flip" else int(rng.integers(256))
    elif how == "number":
        for _ in range(int(rng.integers(1, 9))):
            where, width = place(), int(rng.choice([2, 4, 8]))
            value = int(rng.choice(EXTREMES)) if rng.random() < 0.7 else int(rng.integers(2**32))
            data[where : where + width] = (value % 256**width).to_bytes(width, str(rng.choice(["big", "little"])))
    elif how == "zero":
        data[at : at + length] = bytes(len(data[at : at + length]))
    elif how == "remove":
        del data[at : at + length]
    elif how == "repeat":
        data[at:at] = data[at : at + length] * int(rng.integers(1, 6))
    elif how == "insert":
        data[at:at] = rng.bytes(length)
    elif how == "join":
        data += other
    else:
        data = data[:at] + other[int(rng.integers(len(other))) :]
    return how, bytes(data)


def case(number: int) -> tuple[str, str, bytes]:
    """(kind, what was done to it, content) of a case; kinds are those of :data:`KINDS`, ``tar`` and ``csv``."""
    rng = np.random.default_rng([40, number])
    kinds = list(KINDS)
    kind = ("tar", "csv", *kinds)[number % (2 + len(kinds))]
    sound = {"tar": tar, "csv": lambda: TABLE}.get(kind, lambda: whole(kind))()
    how, content = damaged(sound, whole(kinds[int(rng.integers(len(kinds)))]), rng)
    if rng.random() < 0.2:
        more, content = damaged(content or sound, sound, rng)
        how = f"{how}, {more}"
    return kind, how, content
