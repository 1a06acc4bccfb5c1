"""Writing videos: the same input gives the same bytes. T frames, H height, W width, C = 3 channels (RGB), N audio samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from stages.media.sound import to_float, to_int16
from stages.store.atomic import whole_file

CHROMA = {"yuv420": "yuv420p", "yuv444": "yuv444p"}  # a bare 4:4:4 is a number of base 60 to some readers of YAML


class Samples(Protocol):
    """A sound that is read as an array is, but need not lie in memory: (N,), float in [-1, 1] or int16."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> NDArray[Any]: ...


def rate(fps: float) -> Fraction:
    """The exact frame rate meant: 23.976, 29.97 and 59.94 are n·1000/1001, others are taken as they stand."""
    ntsc = Fraction(round(fps * 1.001) * 1000, 1001)
    if abs(fps - round(fps)) > 1e-3 and abs(fps - ntsc) < 5e-3:
        return ntsc
    return Fraction(fps).limit_denominator(1001)


def write_video(
    path: str | Path,
    frames_THWC: Iterable[NDArray[np.uint8]],
    *,
    fps: float,
    audio: Samples | None,
    sample_rate: int,
    crf: int,
    preset: str = "medium",
    chroma: str = "yuv420",
    lossless_sound: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write an MP4, H.264 and mono sound; the same input gives the same bytes.

    Args:
        path: replaced only when the file is whole.
        frames_THWC: uint8 RGB pictures of one size, both sides even; an array or any iterable of (H, W, 3).
        fps: see :func:`rate`.
        audio: float in [-1, 1] or int16, (N,), starting with the first picture; None for a silent file.
        sample_rate: Hz, of the audio.
        crf: H.264 constant rate factor; 0 is lossless, but for the conversion to luma and chroma.
        preset: x264's trade of speed against size.
        chroma: a key of :data:`CHROMA`; yuv420 (4:2:0) plays everywhere and has a quarter of the colours' pixels, yuv444 has all.
        lossless_sound: FLAC of 16 bits, which every processor decodes alike, in place of AAC, which every player plays.
        metadata: of the file: ``comment``, ``description``, and whatever else FFmpeg knows for an MP4.
    """
    fraction = rate(fps)
    with whole_file(path) as part, av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as out:
        sound: Any = None
        out.metadata.update(metadata or {})
        video = out.add_stream("libx264", rate=fraction, options={"crf": str(crf), "preset": preset, **_same_bytes()})
        video.pix_fmt = CHROMA[chroma]
        video.time_base = 1 / fraction
        video.codec_context.thread_count = 1
        video.codec_context.colorspace = 6  # BT.601, what the conversion below uses; players need not guess
        video.codec_context.color_range = 1
        if audio is not None:
            codec, options = ("flac", {}) if lossless_sound else ("aac", {"b": "96k"})
            sound = out.add_stream(codec, rate=sample_rate, layout="mono", options=options)
            sound.codec_context.time_base = Fraction(1, sample_rate)
        reformatter, written, count = VideoReformatter(), 0, 0
        for count, picture in enumerate(frames_THWC, 1):
            if count == 1:
                video.height, video.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = reformatter.reformat(
                frame, format=CHROMA[chroma], dst_colorspace=Colorspace.SMPTE170M, dst_color_range=ColorRange.MPEG
            )
            frame.pts, frame.time_base = count - 1, 1 / fraction
            out.mux(video.encode(frame))
            if sound is not None and audio is not None:  # sound follows the picture, so that nothing is held back
                written = _encode_audio(out, sound, audio, written, math.ceil(count / fraction * sample_rate))
        if count == 0:
            raise ValueError("no frames to write")
        out.mux(video.encode(None))
        if sound is not None and audio is not None:
            _encode_audio(out, sound, audio, written, len(audio))
            out.mux(sound.encode(None))


def _same_bytes() -> dict[str, str]:
    """Options that keep x264 from its AVX-512 code, which gave other bytes for the same frames in one of some eight runs."""
    return {"x264-params": "asm=AVX2"} if "AVX512" in cv2.getCPUFeaturesLine() else {}


def _encode_audio(out: Any, stream: Any, samples: Samples, start: int, stop: int) -> int:
    """Encode samples [start, stop) and return where to go on."""
    stop = min(stop, len(samples))
    if stop <= start:
        return start
    part = to_float(samples[start:stop])[None]
    if stream.codec_context.format.name == "s16":
        frame = av.AudioFrame.from_ndarray(to_int16(part), format="s16", layout="mono")
    else:
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = stream.rate, start, Fraction(1, stream.rate)
    out.mux(stream.encode(frame))
    return stop
