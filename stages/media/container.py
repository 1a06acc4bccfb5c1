"""Opening media files that others made, and what is refused of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import av
from av.format import Flags
from av.stream import Disposition

from stages.base.errors import ClipError

Source = str | Path | bytes | IO[bytes]

MAX_GAP_S = 10.0  # a longer step between two pictures' timestamps is damage, not a variable frame rate
BACK_S = 0.1  # a step back by more, and by more than two pictures, is no rounding: the timestamps start again
LEAST_S, ROUNDED_S = 0.005, 0.002  # a shorter duration of a picture says nothing; one so near to the step is the step
MAX_PIXELS = 8192 * 4352  # of a picture; 4K has a quarter
MAX_S = 4 * 3600.0  # a longer clip is refused: its sound would fill the memory
FORMATS = (
    "mov", "mp4", "matroska", "webm", "flv", "avi", "mpegts", "mpeg", "mpegvideo", "h264", "hevc", "asf", "ogg", "mxf", "nut",
    "dv", "rm", "gif", "wav", "w64", "aiff", "au", "mp3", "aac", "flac",
)  # fmt: skip

_CONTAINER_OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}


@contextmanager
def opened(source: Source, clip: str) -> Iterator[Any]:
    """A PyAV container to read from; raises ClipError where the file is empty or not of :data:`FORMATS`."""
    file = (
        io.BytesIO(source) if isinstance(source, bytes) else str(source) if isinstance(source, (str, Path)) else source
    )
    if not isinstance(file, str) and not _size(file):
        raise ClipError(clip, "the file is empty")
    try:
        container = av.open(file, "r", metadata_errors="replace", container_options=_CONTAINER_OPTIONS)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise ClipError(
            clip, f"not a readable video: truncated, damaged or another kind of file ({explain(error)})"
        ) from None
    with container:
        yield container


def _size(file: IO[bytes]) -> int:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size


def chosen_stream(streams: Any, clip: str, otherwise: str) -> Any:
    """The stream that a player takes of a container's streams of one kind, the first of several that are alike.

    A cover picture comes last, and so does what FFmpeg can't decode; the default track comes before others, and so does one that
    is no commentary and not for those who hear or see badly, as FFmpeg ranks them (``av_find_best_stream``).

    Raises:
        ClipError: there is none, with the reason ``otherwise``.
    """
    if not len(streams):
        raise ClipError(clip, otherwise)
    return max(streams, key=_rank)  # the first of the best


def _rank(stream: Any) -> tuple[bool, bool, int]:
    said = stream.disposition
    cover = bool(said & (Disposition.attached_pic | Disposition.timed_thumbnails))
    special = bool(said & (Disposition.comment | Disposition.hearing_impaired | Disposition.visual_impaired))
    return not cover, stream.codec_context is not None, bool(said & Disposition.default) + (not special)


def describe(stream: Any) -> str:
    """The name of an audio track in a message: its number among the container's streams, its language and title."""
    said = [stream.metadata.get(key, "") for key in ("language", "title")]
    return " ".join([str(stream.index), *(f"({text})" for text in said if text not in ("", "und"))])


def starts_again(container: Any) -> bool:
    """True if timestamps may start again within such a file: transport and programme streams can be joined as they are."""
    return bool(container.format.flags & Flags.ts_discont.value)


def step_of(stream: Any) -> float:
    """Seconds from a frame to the next, as the file says on average; 1/25 where it says nothing that can be."""
    rate = stream.average_rate or stream.guessed_rate or 25
    return float(1 / rate) if 1 / MAX_GAP_S <= rate <= 1000 else 1 / 25


def length_of(duration_s: float, step_s: float, clip: str) -> float:
    """The time that a picture is shown: its own duration, else the stream's step; seconds.

    Raises:
        ClipError: longer than :data:`MAX_GAP_S`.
    """
    if duration_s > MAX_GAP_S:
        raise ClipError(clip, f"damaged: a picture lasts {duration_s:.0f} s")
    return duration_s if duration_s >= LEAST_S and abs(duration_s - step_s) > ROUNDED_S else step_s


def name_of(source: Source) -> str:
    """The name of a source in a message: its file's name without the ending."""
    return Path(source).stem if isinstance(source, (str, Path)) else "(unnamed)"


def explain(error: Exception) -> str:
    """FFmpeg's own words for an error."""
    return getattr(error, "strerror", None) or str(error)
