"""Media files and the tars that hold them: deterministic writing, decoding on one time base for sound and picture.

**Time base.** Zero is the first picture's timestamp. Output frame k stands at k / fps and is the source frame nearest
in time; the audio is placed by its own timestamps on the same zero, trimmed or padded with silence, and so are its gaps.
Counting frames instead, as ``ffmpeg -r 25`` does, puts sound and picture 50 to 80 ms apart on 29.97 fps material.

**Foreign files.** Only the containers of :data:`FORMATS` are opened: a playlist, a list of images or an SDP would make FFmpeg
open other files and addresses. What a damaged header may ask for is bounded: pixels, sample rate, length, gaps.

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
from functools import cache
from pathlib import Path
from typing import IO, Any

import av
import cv2
import numpy as np
import soxr
from av.audio.resampler import AudioResampler
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from stages.base.errors import ClipError, InputError
from stages.store.tables import whole_file

Source = str | Path | bytes | IO[bytes]

MAX_GAP_S = 10.0  # a longer step between two pictures' timestamps is damage, not a variable frame rate
MAX_S = 4 * 3600.0  # a longer clip is refused: its sound would fill the memory
MAX_LATE_S = 60.0  # a sound that starts so long after the first picture, likewise
MAX_PIXELS = 8192 * 4352  # of a picture; 4K has a quarter
SAMPLE_RATES = (4000, 384000)  # Hz
SOUND_GAP_S = 0.1  # a longer step between two audio frames' timestamps is a gap; shorter ones are rounded stamps
FORMATS = (
    "mov", "mp4", "matroska", "webm", "flv", "avi", "mpegts", "mpeg", "mpegvideo", "h264", "hevc", "asf", "ogg", "mxf", "nut",
    "dv", "rm", "gif", "wav", "w64", "aiff", "au", "mp3", "aac", "flac",
)  # fmt: skip
# Shares of red and blue in luma, by FFmpeg's number of the colour space; without one the scaler takes BT.601, whatever the size.
LUMA_OF = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593)} | dict.fromkeys((2, 5, 6), (0.299, 0.114))
# Pixel formats of three planes of 8 bits, and how many halvings the chroma has along both sides.
PLANAR = {"yuv420p": 1, "yuvj420p": 1, "yuv444p": 0, "yuvj444p": 0}
CHROMA = {"yuv420": "yuv420p", "yuv444": "yuv444p"}  # a bare 4:4:4 is a number of base 60 to some readers of YAML
FULL_RANGE = 2  # FFmpeg's number
VIDEO_SUFFIXES = {
    ".mp4",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".flv",
    ".m4v",
    ".mpg",
    ".mpeg",
}  # of videos that programs make
MISSING_S = 0.2  # a stream that ends this much before its header says was cut off
LARGE = 8 << 30  # bytes: the size of such a file can't be written in a plain header of a tar
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
    chroma: str = "yuv420",
) -> None:
    """Write an MP4, H.264 and AAC mono; the same input gives the same bytes.

    Args:
        path: replaced only when the file is whole.
        frames_THWC: uint8 RGB pictures of one size, both sides even; an array or any iterable of (H, W, 3).
        fps: see :func:`rate`.
        audio: float in [-1, 1] or int16, (N,), starting with the first picture; None for a silent file.
        sample_rate: Hz, of the audio.
        crf: H.264 constant rate factor; 0 is lossless, but for the conversion to luma and chroma.
        preset: x264's trade of speed against size.
        chroma: a key of :data:`CHROMA`; yuv420 (4:2:0) plays everywhere and has a quarter of the colours' pixels, yuv444 has all.
    """
    fraction = rate(fps)
    samples = None if audio is None else _as_float(audio)
    with whole_file(path) as part, av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as out:
        sound = None
        video = out.add_stream("libx264", rate=fraction, options={"crf": str(crf), "preset": preset, **_same_bytes()})
        video.pix_fmt = CHROMA[chroma]
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
                frame, format=CHROMA[chroma], dst_colorspace=Colorspace.SMPTE170M, dst_color_range=ColorRange.MPEG
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

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the source frame takes."""
        return sum(plane.buffer_size for plane in self.frame.planes)


@dataclass(frozen=True)
class Planes:
    """A picture's own planes, upright, so that no more of it need be converted to RGB than is wanted."""

    luma: NDArray[np.uint8]  # (H, W)
    blue: NDArray[np.uint8]  # (H >> halvings, W >> halvings)
    red: NDArray[np.uint8]
    halvings: int
    to_rgb_34: NDArray[np.float32]  # from (luma, blue, red, 1), each in [0, 255]


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
        return np.ascontiguousarray(_upright(_plane(frame, 0), picture.rotation))

    def planes(self, picture: Picture) -> Planes | None:
        """The planes as they were decoded, or None where :meth:`rgb` has to convert them: another format, or odd sides."""
        frame = picture.frame
        halvings, space = PLANAR.get(frame.format.name), LUMA_OF.get(int(frame.colorspace))
        if halvings is None or space is None or frame.width % 2 or frame.height % 2:
            return None
        luma, blue, red = (_upright(_plane(frame, number), picture.rotation) for number in range(3))
        full = int(frame.color_range) == FULL_RANGE or frame.format.name.startswith("yuvj")
        return Planes(luma, blue, red, halvings, _to_rgb(*space, full))


@cache
def _to_rgb(of_red: float, of_blue: float, full: bool) -> NDArray[np.float32]:
    """The 3×4 matrix from luma and chroma to RGB, ITU-R BT.601 section 2.5 and BT.709 section 3, which differ by the shares."""
    of_green = 1 - of_red - of_blue
    to_red, to_blue = 2 * (1 - of_red), 2 * (1 - of_blue)
    matrix = np.array(
        [[1, 0, to_red], [1, -to_blue * of_blue / of_green, -to_red * of_red / of_green], [1, to_blue, 0]], np.float64
    )
    if not full:
        matrix *= [255 / 219, 255 / 224, 255 / 224]
    zero = np.array([0 if full else 16, 128, 128])
    return np.column_stack([matrix, -matrix @ zero]).astype(np.float32)


def _plane(frame: av.VideoFrame, number: int) -> NDArray[np.uint8]:
    """A plane of 8 bits as it lies in the frame's memory, which it keeps alive, (H, W)."""
    plane = frame.planes[number]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]


def _upright(image: NDArray[np.uint8], rotation: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.rot90(image, rotation // 90)) if rotation else image


def cut(image_HWC: NDArray[np.uint8], square: tuple[int, int, int], size: int) -> NDArray[np.uint8]:
    """A square part (x, y, side) of a picture, in whole pixels, resized to ``size``: by area where it shrinks.

    Outside the picture its edge is repeated. (H, W, 3) → (size, size, 3), or (H, W) → (size, size).
    """
    x, y, side = square
    height, width = image_HWC.shape[:2]
    inside = image_HWC[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)]
    if x < 0 or y < 0 or x + side > width or y + side > height:
        beyond = (max(-y, 0), max(y + side - height, 0), max(-x, 0), max(x + side - width, 0))
        inside = cv2.copyMakeBorder(inside, *beyond, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
    # OpenCV averages blocks of whole pixels far faster than parts of pixels, so the part is brought to a multiple first.
    whole = size * math.ceil(side / size)
    if whole != side:
        inside = cv2.resize(inside, (whole, whole), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    if whole != size:
        inside = cv2.resize(inside, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return inside


def pictures(source: Source, *, fps: float, clip: str = "") -> Iterator[Picture]:
    """The video's frames on the time base k / fps, one at a time; at most one source frame is held.

    Raises:
        ClipError: not a video, no video stream, no frame, damaged, cut off before its end, or longer than :data:`MAX_S`.
    """
    clip = clip or _name(source)
    with _opened(source, clip) as container:
        stream = _first(container.streams.video, clip, "no video stream")
        if stream.codec_context is None:
            raise ClipError(clip, "damaged, or its video codec is unknown")
        stream.thread_type = "NONE"
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        step = _step(stream)
        zero = before = None  # the first picture's timestamp; the picture not yet given out and its time since zero
        number, now = 0, 0.0
        for frame in _frames(container, stream, clip):
            stamp = frame.time if frame.time is not None else (0.0 if zero is None else zero + now + step)
            zero = stamp if zero is None else zero
            then, now = now, max(stamp - zero, now)
            if now - then > MAX_GAP_S:
                raise ClipError(clip, f"damaged: timestamps jump by {now - then:.0f} s at {then:.2f} s")
            if now > MAX_S:
                raise ClipError(clip, f"longer than {MAX_S / 3600:.0f} hours; cut it into parts")
            if before is not None and (frame.width, frame.height) != (before.width, before.height):
                sizes = f"from {before.width}x{before.height} to {frame.width}x{frame.height}"
                raise ClipError(clip, f"the picture's size changes {sizes} at {now:.2f} s")
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
        return 1 / _step(stream)


def _step(stream: Any) -> float:
    """Seconds from a frame to the next, as the file says on average; 1/25 where it says nothing that can be."""
    rate = stream.average_rate or stream.guessed_rate or 25
    return float(1 / rate) if 1 / MAX_GAP_S <= rate <= 1000 else 1 / 25


def decode(source: Source, *, fps: float, clip: str = "") -> NDArray[np.uint8]:
    """All frames on the time base k / fps, (T, H, W, 3) uint8 RGB; raises like :func:`pictures`."""
    converter = Converter()
    return np.stack([converter.rgb(picture) for picture in pictures(source, fps=fps, clip=clip)])


def decode_audio(source: Source, sample_rate: int, *, clip: str = "") -> NDArray[np.float32]:
    """The first audio stream as mono float32 in [-1, 1], (N,), sample 0 at the first picture's timestamp.

    Channels are averaged, then resampled with soxr HQ. A file without video starts with its own first sample.

    Raises:
        ClipError: not a media file, no audio stream, no sample, damaged, or longer than :data:`MAX_S`.
    """
    clip = clip or _name(source)
    with _opened(source, clip) as container:
        stream = _first(container.streams.audio, clip, "no audio stream")
        video = container.streams.video[0] if container.streams.video else None
        track = _Track(clip)
        zero = None
        try:
            for packet in container.demux([stream] if video is None else [stream, video]):
                if packet.stream is video:
                    if zero is None:
                        zero = next((frame.time for frame in packet.decode() if frame.time is not None), None)
                    continue
                for frame in packet.decode():
                    track.add(frame)
        except (av.error.FFmpegError, ValueError) as error:
            raise ClipError(clip, f"damaged audio ({_explain(error)})") from None
    samples = track.samples(zero)
    if track.rate != sample_rate:
        samples = soxr.resample(samples, track.rate, sample_rate, quality="HQ")
    return samples.astype(np.float32, copy=False)


class _Track:
    """Audio frames put one behind the other, each where its timestamp says.

    Containers round stamps to a millisecond, so that the frames' offsets from the samples counted so far scatter: the track
    starts at their median. An offset by more than :data:`SOUND_GAP_S` is a gap, which becomes silence, or an overlap, which
    is cut.
    """

    def __init__(self, clip: str) -> None:
        self.clip, self.rate = clip, 0
        self._to_planar = AudioResampler(format="fltp")
        self._chunks: list[NDArray[np.float32]] = []
        self._count = 0
        self._starts: list[float] = []  # each frame's stamp less the samples before it, seconds
        self._drop = 0  # samples of an overlap still to be left out

    def add(self, frame: av.AudioFrame) -> None:
        """Put a decoded frame into its place; raises ClipError where that can't be."""
        if not self.rate:
            low, high = SAMPLE_RATES
            if not low <= frame.sample_rate <= high:
                raise ClipError(self.clip, f"damaged audio ({frame.sample_rate} samples a second)")
            self.rate = frame.sample_rate
        if frame.time is not None:
            start = frame.time - (self._count - self._drop) / self.rate
            gap = start - self._starts[0] if self._starts else 0.0
            if abs(gap) > MAX_GAP_S:
                raise ClipError(self.clip, f"damaged audio (timestamps jump by {gap:.0f} s)")
            if abs(gap) <= SOUND_GAP_S:
                self._starts.append(start)
            else:
                missing = round(gap * self.rate) - self._drop
                self._drop = max(-missing, 0)
                self._put(np.zeros(max(missing, 0), np.float32))
        for part in self._to_planar.resample(frame):
            self._put(_as_float(part.to_ndarray().mean(0)))

    def _put(self, samples: NDArray[np.float32]) -> None:
        left_out = min(self._drop, len(samples))
        self._drop -= left_out
        self._count += len(samples) - left_out
        self._chunks.append(samples[left_out:])
        if self._count > MAX_S * self.rate:
            raise ClipError(self.clip, f"the sound is longer than {MAX_S / 3600:.0f} hours; cut it into parts")

    def samples(self, zero: float | None) -> NDArray[np.float32]:
        """All samples (N,) from the time ``zero`` on, in seconds; None: from the first."""
        if not self._count:
            raise ClipError(self.clip, "no audio sample could be decoded")
        late = float(np.median(self._starts)) - zero if self._starts and zero is not None else 0.0
        if late > MAX_LATE_S:
            raise ClipError(self.clip, f"the sound starts {late:.0f} s after the first picture")
        samples, offset = np.concatenate(self._chunks), round(late * self.rate)
        if -offset >= len(samples):
            raise ClipError(self.clip, "the sound ends before the first picture")
        if not np.isfinite(samples).all():
            raise ClipError(self.clip, "damaged audio (samples that are no numbers)")
        return np.pad(samples, (offset, 0)) if offset > 0 else samples[-offset:]


def to_int16(audio_N: NDArray[np.floating]) -> NDArray[np.int16]:
    """Samples in [-1, 1] as 16-bit ones, rounded and clipped."""
    return np.clip(np.round(audio_N * 32768), -32768, 32767).astype("<i2")


_CONTAINER_OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}


@contextmanager
def _opened(source: Source, clip: str) -> Iterator[Any]:
    file = (
        io.BytesIO(source) if isinstance(source, bytes) else str(source) if isinstance(source, (str, Path)) else source
    )
    if not isinstance(file, str) and not _size(file):
        raise ClipError(clip, "the file is empty")
    try:
        container = av.open(file, "r", metadata_errors="replace", container_options=_CONTAINER_OPTIONS)
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
    degrees = frame.rotation
    return round(degrees / 90) * 90 % 360 if math.isfinite(degrees) else 0


def _name(source: Source) -> str:
    return Path(source).stem if isinstance(source, (str, Path)) else "(unnamed)"


def _explain(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


# --- tars ------------------------------------------------------------------------------------------------------------


def write_tar(path: str | Path, members: Iterable[tuple[str, bytes | Path]]) -> None:
    """Write a tar in the order given, with no time, owner or mode of its own: the same members give the same bytes."""
    with whole_file(path) as part, tarfile.open(part, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content) if isinstance(content, bytes) else content.stat().st_size
            tar.format = tarfile.USTAR_FORMAT if info.size < LARGE else tarfile.GNU_FORMAT
            with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
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


def tar_json(path: str | Path, name: str = CLIPS, *, keys: tuple[str, ...] = ("clip", "file")) -> list[dict[str, Any]]:
    """The list of clips at the head of a tar; each has these keys, whose values are plain names.

    Raises:
        InputError: it is not there, is no such list, or a name could lead out of the folder that it is joined to.
    """
    fix = "delete it and run 'snakemake --cores all'"
    try:
        clips = json.loads(read_tar_member(path, name))
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, or nested without end
        raise InputError(path, f"{name} is not JSON ({error})", fix) from None
    if not isinstance(clips, list) or not all(isinstance(clip, dict) and clip.keys() >= {*keys} for clip in clips):
        raise InputError(path, f"{name} is no list of clips, each with {' and '.join(keys)}", fix)
    for clip in clips:
        for key in keys:
            if not isinstance(clip[key], str) or not _plain(clip[key]):
                raise InputError(path, f"{name} has {key} {clip[key]!r}, which is no plain name", fix)
    return clips


def _plain(name: str) -> bool:
    """Whether a name stays in the folder that it is joined to."""
    return name not in ("", ".", "..") and not set(name) & {"/", "\\", "\0"}


def json_bytes(value: Any) -> bytes:
    """JSON as it stands in tars: sorted, indented, UTF-8, no NaN."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
