"""Opening media files that others made, and what is refused of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import av

from stages.base.errors import ClipError

Source = str | Path | bytes | IO[bytes]

MAX_GAP_S = 10.0  # a longer step between two pictures' timestamps is damage, not a variable frame rate
MAX_S = 4 * 3600.0  # a longer clip is refused: its sound would fill the memory
FORMATS = (
    "mov", "mp4", "matroska", "webm", "flv", "avi", "mpegts", "mpeg", "mpegvideo", "h264", "hevc", "asf", "ogg", "mxf", "nut",
    "dv", "rm", "gif", "wav", "w64", "aiff", "au", "mp3", "aac", "flac",
)  # fmt: skip
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


def first_stream(streams: Any, clip: str, otherwise: str) -> Any:
    """The first of a container's streams of one kind; raises ClipError with the reason ``otherwise`` where there is none."""
    if not len(streams):
        raise ClipError(clip, otherwise)
    return streams[0]


def name_of(source: Source) -> str:
    """What to call a source in a message: its file's name without the ending."""
    return Path(source).stem if isinstance(source, (str, Path)) else "(unnamed)"


def explain(error: Exception) -> str:
    """FFmpeg's own words for an error."""
    return getattr(error, "strerror", None) or str(error)
