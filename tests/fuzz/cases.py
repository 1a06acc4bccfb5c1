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

import av
import numpy as np

KINDS = {  # container, picture, sound, Hz
    "mp4": ("mp4", "libx264", "aac", 16000),
    "mov": ("mov", "mpeg4", "pcm_s16le", 44100),
    "flv": ("flv", "flv", "libmp3lame", 44100),
    "mkv": ("matroska", "libx264", "libopus", 48000),
    "webm": ("webm", "libvpx", "libopus", 48000),
    "avi": ("avi", "mpeg4", "libmp3lame", 44100),
    "ts": ("mpegts", "libx264", "aac", 48000),
}
FRAMES = 15
EXTREMES = (0, 1, 0x7F, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@functools.cache
def whole(kind: str) -> bytes:
    """An undamaged clip of 0.6 s, 64x48 pixels, with a tone."""
    container, picture, sound, rate = KINDS[kind]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        video = out.add_stream(picture, rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.thread_count = 1
        audio = out.add_stream(sound, rate=rate, layout="mono")
        audio.codec_context.time_base = Fraction(1, rate)
        resampler = av.AudioResampler(format=audio.codec_context.format or "fltp", layout="mono", rate=rate)
        texture = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.roll(texture, number, 1), format="rgb24")
            frame.pts = number
            out.mux(video.encode(frame))
            part = np.sin((np.arange(rate // 25) + number * rate // 25) / 9)[None].astype(np.float32) / 2
            heard = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = rate, number * rate // 25, Fraction(1, rate)
            for made in resampler.resample(heard):
                out.mux(audio.encode(made))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))
    return file.getvalue()


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
    """What was done, and the outcome."""
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
