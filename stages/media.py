"""Media files and the tars that hold them: deterministic writing, decoding on one time base for sound and picture.

**Time base.** Zero is the first picture's timestamp. Output frame k stands at k / fps and is the source frame nearest
in time; the audio is placed by its own first timestamp on the same zero, trimmed or padded with silence. Counting frames
instead, as ``ffmpeg -r 25`` does, puts sound and picture 50 to 80 ms apart on 29.97 fps material.

T frames, H height, W width, C = 3 channels (RGB), N audio samples.
"""

from __future__ import annotations

import io
import json
import math
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import cv2
import numpy as np
import soxr
from av.audio.resampler import AudioResampler
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from stages.errors import ClipError, InputError
from stages.tables import whole_file

Source = str | Path | bytes | IO[bytes]

MAX_GAP_S = 10.0  # a longer step between two pictures' timestamps is damage, not a variable frame rate
MISSING_S = 0.2  # a stream that ends this much before its header says was cut off
CLIPS = "clips.json"


def rate(fps: float) -> Fraction:
    """The exact frame rate meant: 23.976, 29.97 and 59.94 are n·1000/1001, others are taken as they stand."""
    ntsc = Fraction(round(fps * 1.001) * 1000, 1001)
    if abs(fps - round(fps)) > 1e-3 and abs(fps - ntsc) < 5e-3:
        return ntsc
    return Fraction(fps).limit_denominator(1001)


# --- writing ---------------------------------------------------------------------------------------------------------


def write_video(
    path: str | Path,
    frames_THWC: Iterable[NDArray[np.uint8]],
    *,
    fps: float,
    audio: NDArray[Any] | None,
    sample_rate: int,
    crf: int,
    preset: str = "medium",
) -> None:
    """Write an MP4, H.264 yuv420p and AAC mono; the same input gives the same bytes.

    Args:
        path: replaced only when the file is whole.
        frames_THWC: uint8 RGB pictures of one size, both sides even; an array or any iterable of (H, W, 3).
        fps: see :func:`rate`.
        audio: float in [-1, 1] or int16, (N,), starting with the first picture; None for a silent file.
        sample_rate: Hz, of the audio.
        crf: H.264 constant rate factor; 0 is lossless in yuv420p.
        preset: x264's trade of speed against size.
    """
    fraction = rate(fps)
    samples = None if audio is None else _as_float(audio)
    with whole_file(path) as part, av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as out:
        sound = None
        video = out.add_stream("libx264", rate=fraction, options={"crf": str(crf), "preset": preset, **_same_bytes()})
        video.pix_fmt = "yuv420p"
        video.time_base = 1 / fraction
        video.codec_context.thread_count = 1
        video.codec_context.colorspace = 6  # BT.601, what the conversion below uses; players need not guess
        video.codec_context.color_range = 1
        if samples is not None:
            sound = out.add_stream("aac", rate=sample_rate, layout="mono", options={"b": "96k"})
            sound.codec_context.time_base = Fraction(1, sample_rate)
        reformatter, written, count = VideoReformatter(), 0, 0
        for count, picture in enumerate(frames_THWC, 1):
            if count == 1:
                video.height, video.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = reformatter.reformat(
                frame, format="yuv420p", dst_colorspace=Colorspace.SMPTE170M, dst_color_range=ColorRange.MPEG
            )
            frame.pts, frame.time_base = count - 1, 1 / fraction
            out.mux(video.encode(frame))
            if sound is not None and samples is not None:  # sound follows the picture, so that nothing is held back
                written = _encode_audio(out, sound, samples, written, math.ceil(count / fraction * sample_rate))
        if count == 0:
            raise ValueError("no frames to write")
        out.mux(video.encode(None))
        if sound is not None and samples is not None:
            _encode_audio(out, sound, samples, written, len(samples))
            out.mux(sound.encode(None))


def _same_bytes() -> dict[str, str]:
    """Options that keep x264 from its AVX-512 code, which gave other bytes for the same frames in one of some eight runs."""
    return {"x264-params": "asm=AVX2"} if "AVX512" in cv2.getCPUFeaturesLine() else {}


def _as_float(audio: NDArray[Any]) -> NDArray[np.float32]:
    if audio.dtype == np.int16:
        return audio.astype(np.float32) / np.float32(32768)
    return np.clip(audio, -1, 1).astype(np.float32, copy=False)


def _encode_audio(out: Any, stream: Any, samples: NDArray[np.float32], start: int, stop: int) -> int:
    """Encode samples [start, stop) and return where to go on."""
    stop = min(stop, len(samples))
    if stop <= start:
        return start
    frame = av.AudioFrame.from_ndarray(samples[None, start:stop], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = stream.rate, start, Fraction(1, stream.rate)
    out.mux(stream.encode(frame))
    return stop


# --- decoding --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """A frame on the time base."""

    number: int  # k, at k / fps seconds
    frame: av.VideoFrame  # the source frame nearest in time, as decoded
    repeated: bool  # the same source frame as the one before
    rotation: int  # degrees counter-clockwise that turn the picture upright: 0, 90, 180 or 270


class Converter:
    """Turn decoded frames into upright arrays; holds the scaler's state, so use one for a clip."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def rgb(self, picture: Picture) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""
        image = self._reformatter.reformat(picture.frame, format="rgb24").to_ndarray()
        return _upright(image.astype(np.uint8, copy=False), picture.rotation)

    def luma(self, picture: Picture) -> NDArray[np.uint8]:
        """(H, W) uint8: the frame's own Y plane where it has one (no conversion), else converted."""
        frame = picture.frame
        if not frame.format.name.startswith(("yuv", "nv12", "nv21", "gray")) or frame.format.components[0].bits != 8:
            frame = self._reformatter.reformat(frame, format="gray")
        plane = frame.planes[0]
        luma = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
        return np.ascontiguousarray(_upright(luma, picture.rotation))


def _upright(image: NDArray[np.uint8], rotation: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.rot90(image, rotation // 90)) if rotation else image


def pictures(source: Source, *, fps: float, clip: str = "") -> Iterator[Picture]:
    """The video's frames on the time base k / fps, one at a time; at most one source frame is held.

    Raises:
        ClipError: not a video, no video stream, no frame, damaged, or cut off before its end.
    """
    clip = clip or _name(source)
    with _opened(source, clip) as container:
        stream = _first(container.streams.video, clip, "no video stream")
        stream.thread_type = "NONE"
        step = float(1 / (stream.average_rate or stream.guessed_rate or 25))
        zero = before = None  # the first picture's timestamp; the picture not yet given out and its time since zero
        number, now = 0, 0.0
        for frame in _frames(container, stream, clip):
            stamp = frame.time if frame.time is not None else (0.0 if zero is None else zero + now + step)
            zero = stamp if zero is None else zero
            then, now = now, max(stamp - zero, now)
            if now - then > MAX_GAP_S:
                raise ClipError(clip, f"damaged: timestamps jump by {now - then:.0f} s at {then:.2f} s")
            if before is not None:  # `before` is nearest to every k / fps up to half way to this frame
                first = number
                while number / fps < (then + now) / 2:
                    yield Picture(number, before, number > first, _rotation(before))
                    number += 1
            before = frame
        if before is None:
            raise ClipError(clip, "no video frame could be decoded")
        first, end = number, now + step
        while number / fps < end - 0.5 * min(step, 1 / fps) - 1e-9 or number == 0:
            yield Picture(number, before, number > first, _rotation(before))
            number += 1
        _check_whole(container, stream, end, clip)


def frame_rate(source: Source, *, clip: str = "") -> float:
    """Frames a second as the file says, on average; raises ClipError where it can't be opened or has no video."""
    clip = clip or _name(source)
    with _opened(source, clip) as container:
        stream = _first(container.streams.video, clip, "no video stream")
        return float(stream.average_rate or stream.guessed_rate or 25)


def decode(source: Source, *, fps: float, clip: str = "") -> NDArray[np.uint8]:
    """All frames on the time base k / fps, (T, H, W, 3) uint8 RGB; raises like :func:`pictures`."""
    converter = Converter()
    return np.stack([converter.rgb(picture) for picture in pictures(source, fps=fps, clip=clip)])


def decode_audio(source: Source, sample_rate: int, *, clip: str = "") -> NDArray[np.float32]:
    """The first audio stream as mono float32 in [-1, 1], (N,), sample 0 at the first picture's timestamp.

    Channels are averaged, then resampled with soxr HQ. A file without video starts with its own first sample.

    Raises:
        ClipError: not a media file, no audio stream, no sample, or damaged.
    """
    clip = clip or _name(source)
    with _opened(source, clip) as container:
        stream = _first(container.streams.audio, clip, "no audio stream")
        video = container.streams.video[0] if container.streams.video else None
        to_planar = AudioResampler(format="fltp")
        zero = start = None
        chunks: list[NDArray[np.float32]] = []
        try:
            for packet in container.demux([stream] if video is None else [stream, video]):
                if packet.stream is video:
                    if zero is None:
                        zero = next((frame.time for frame in packet.decode() if frame.time is not None), None)
                    continue
                for frame in packet.decode():
                    if start is None:
                        start = frame.time or 0.0
                    chunks.extend(_as_float(part.to_ndarray().mean(0)) for part in to_planar.resample(frame))
        except (av.error.FFmpegError, ValueError) as error:
            raise ClipError(clip, f"damaged audio ({_explain(error)})") from None
        if start is None or not chunks:
            raise ClipError(clip, "no audio sample could be decoded")
        samples, source_rate = np.concatenate(chunks), stream.codec_context.sample_rate
    offset = 0 if zero is None else round((start - zero) * source_rate)
    samples = np.pad(samples, (offset, 0)) if offset > 0 else samples[-offset:]
    if source_rate != sample_rate:
        samples = soxr.resample(samples, source_rate, sample_rate, quality="HQ")
    return samples.astype(np.float32, copy=False)


def to_int16(audio_N: NDArray[np.floating]) -> NDArray[np.int16]:
    """Samples in [-1, 1] as 16-bit ones, rounded and clipped."""
    return np.clip(np.round(audio_N * 32768), -32768, 32767).astype("<i2")


@contextmanager
def _opened(source: Source, clip: str) -> Iterator[Any]:
    file = (
        io.BytesIO(source) if isinstance(source, bytes) else str(source) if isinstance(source, (str, Path)) else source
    )
    if not isinstance(file, str) and not _size(file):
        raise ClipError(clip, "the file is empty")
    try:
        container = av.open(file, "r", metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise ClipError(
            clip, f"not a readable video: truncated, damaged or another kind of file ({_explain(error)})"
        ) from None
    with container:
        yield container


def _size(file: IO[bytes]) -> int:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size


def _first(streams: Any, clip: str, otherwise: str) -> Any:
    if not len(streams):
        raise ClipError(clip, otherwise)
    return streams[0]


def _frames(container: Any, stream: Any, clip: str) -> Iterator[av.VideoFrame]:
    """Decoded frames in order of presentation; a frame that the decoder had to make up counts as damage."""
    decoded = container.decode(stream)
    count = 0
    while True:
        try:
            frame = next(decoded)
        except StopIteration:
            return
        except (av.error.FFmpegError, ValueError) as error:
            raise ClipError(clip, f"damaged after {count} frames ({_explain(error)})") from None
        if frame.is_corrupt:
            raise ClipError(clip, f"damaged after {count} frames")
        count += 1
        yield frame


def _check_whole(container: Any, stream: Any, end_s: float, clip: str) -> None:
    if stream.duration is not None:
        promised = float(stream.duration * stream.time_base)
    elif container.duration is not None and not container.streams.audio:
        promised = container.duration / av.time_base
    else:
        return
    if end_s < promised - MISSING_S:
        raise ClipError(clip, f"truncated: {end_s:.2f} of {promised:.2f} s are there")


def _rotation(frame: av.VideoFrame) -> int:
    return round(frame.rotation / 90) * 90 % 360


def _name(source: Source) -> str:
    return Path(source).stem if isinstance(source, (str, Path)) else "(unnamed)"


def _explain(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


# --- tars ------------------------------------------------------------------------------------------------------------


def write_tar(path: str | Path, members: Iterable[tuple[str, bytes | Path]]) -> None:
    """Write a tar in the order given, with no time, owner or mode of its own: the same members give the same bytes."""
    with whole_file(path) as part, tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.size = content.stat().st_size
                with content.open("rb") as file:
                    tar.addfile(info, file)


@contextmanager
def _tar(path: str | Path) -> Iterator[tarfile.TarFile]:
    try:
        tar = tarfile.open(path, "r:")  # noqa: SIM115 - closed below; only its opening is guarded
    except FileNotFoundError:
        raise InputError(path, "no such file", "run 'snakemake --cores all' to make it") from None
    except tarfile.TarError as error:
        raise InputError(path, f"not a tar ({error})", "delete it and run 'snakemake --cores all'") from None
    with tar:
        yield tar


@contextmanager
def tar_member(path: str | Path, name: str) -> Iterator[IO[bytes]]:
    """A member as a seekable file, not read into memory; raises InputError where the tar lacks it."""
    with _tar(path) as tar:
        try:
            file = tar.extractfile(name)
        except (KeyError, tarfile.TarError):
            file = None
        if file is None:
            raise InputError(path, f"has no member {name!r}", "delete it and run 'snakemake --cores all'")
        yield file


def read_tar_member(path: str | Path, name: str) -> bytes:
    """A member's bytes; raises InputError where the tar lacks it."""
    with tar_member(path, name) as file:
        return file.read()


def tar_names(path: str | Path) -> list[str]:
    """The members' names, in order."""
    with _tar(path) as tar:
        return tar.getnames()


def tar_json(path: str | Path, name: str = CLIPS) -> list[dict[str, Any]]:
    """The list of clips at the head of a tar."""
    try:
        return json.loads(read_tar_member(path, name))
    except json.JSONDecodeError as error:
        raise InputError(path, f"{name} is not JSON ({error})", "delete it and run 'snakemake --cores all'") from None


def json_bytes(value: Any) -> bytes:
    """JSON as it stands in tars: sorted, indented, UTF-8, no NaN."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
