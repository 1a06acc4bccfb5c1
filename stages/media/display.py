"""Decoded frames as a player shows them: upright, progressive, of square pixels, in the colours of a plain screen.

- **Orientation.** A display matrix turns and mirrors: there are eight upright ways (ISO/IEC 14496-12, 6.2.2), and what lies
  between two of them is read as the nearer.
- **Interlaced frames** are deinterlaced by FFmpeg's ``bwdif``, one picture a frame; progressive ones between them stay.
- **Pixels that are not square** make the picture wider or narrower; its height stays.
- **HDR** (PQ and HLG of ITU-R BT.2100) and wide colours (BT.2020, DCI-P3) become BT.709 by FFmpeg's ``scale``, colorimetrically
  relative to white: HDR's reference white, 203 cd/m² (BT.2408), is SDR's white, and what is brighter is clipped.

Dolby Vision's pictures of profile 5 are of a colour space of their own, which FFmpeg does not know: they are refused. Those of
other profiles are HDR's or SDR's.

A frame that needs none of these is passed on as it was decoded.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.filter import Graph
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorPrimaries, ColorTrc

from stages.base.errors import ClipError
from stages.media.container import MAX_PIXELS, explain

HDR: dict[int, str] = {ColorTrc.SMPTE2084: "PQ", ColorTrc.ARIB_STD_B67: "HLG"}
WIDE: dict[int, str] = {
    ColorPrimaries.BT2020: "BT.2020",
    ColorPrimaries.SMPTE431: "DCI-P3",
    ColorPrimaries.SMPTE432: "Display P3",
}
DOLBY = ("dvh1", "dvhe", "dva1", "dvav", "dav1")  # sample entries of Dolby Vision alone ("Dolby Vision Streams", 3.2)
UNKNOWN = 2  # FFmpeg's number of primaries and colour space where the file says none
WIDEST = 4  # a pixel is at most so many times as wide as high, or as high as wide; more is damage


def orientation(frame: av.VideoFrame) -> tuple[int, bool]:
    """The turn of a stored picture to upright: degrees counter-clockwise (0, 90, 180, 270); True if mirrored after that."""
    data: Any = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]  # PyAV's stub knows plain keys alone
    if data is None or data.buffer_size < 36:
        return 0, False
    # The pixel (x, y) is shown at (a·x + c·y, b·x + d·y), y down.
    a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
    mirrored = a * d - b * c < 0
    if mirrored:  # what is left is the turn before the mirror
        a, c = -a, -c
    return round(math.degrees(math.atan2(c - b, a + d)) / 90) * 90 % 360, mirrored


def square_width(width: int, pixel_aspect: Fraction | None, clip: str) -> int:
    """The width of a picture whose pixels were ``pixel_aspect`` wide for 1 high, once they are square; even where it was.

    Raises:
        ClipError: pixels more than :data:`WIDEST` times as wide as high, or as high as wide.
    """
    if not pixel_aspect:
        return width
    if not Fraction(1, WIDEST) <= pixel_aspect <= WIDEST:
        raise ClipError(clip, f"damaged: its pixels are {pixel_aspect} times as wide as high")
    step = 2 - width % 2
    return max(round(width * pixel_aspect / step) * step, step)


def shown(
    frames: Iterator[av.VideoFrame], pixel_aspect: Fraction | None, clip: str, tag: str = ""
) -> Iterator[tuple[av.VideoFrame, av.VideoFrame]]:
    """Each decoded frame, for its stamps and orientation, and its picture, which still has to be turned upright.

    ``tag``: the sample entry that the stream has in its file, such as hvc1.

    Raises:
        ClipError: FFmpeg can't convert the pictures, or the pixels' aspect is damage.
    """
    filters: _Filters | None = None
    for frame in frames:
        if tag in DOLBY and frame.color_trc == UNKNOWN:
            raise ClipError(
                clip, "Dolby Vision (profile 5), whose colours FFmpeg doesn't know; convert it to HDR10 or SDR"
            )
        if filters is not None and filters.format != frame.format.name:
            yield from filters.rest()
            filters = None
        if filters is None:
            chain = _chain(frame, pixel_aspect, clip)
            filters = _Filters(frame, chain, clip) if chain else None
        if filters is None:
            yield frame, frame
        else:
            yield from filters.put(frame)
    if filters is not None:
        yield from filters.rest()


def _chain(frame: av.VideoFrame, pixel_aspect: Fraction | None, clip: str) -> list[tuple[str, str]]:
    """FFmpeg's filters that the pictures need from this frame on, with their arguments; most need none."""
    chain = []
    width = square_width(frame.width, pixel_aspect, clip)
    if width * frame.height > MAX_PIXELS:
        raise ClipError(clip, f"its pictures are {width}x{frame.height} once their pixels are square; scale them down")
    if width != frame.width:
        chain.append(("scale", f"{width}:{frame.height}:flags=bicubic+accurate_rnd+full_chroma_int"))
    if frame.color_trc in HDR or frame.color_primaries in WIDE:
        given = ":in_primaries=bt2020" if frame.color_primaries == UNKNOWN else ""
        given += ":in_color_matrix=bt2020" if frame.colorspace == UNKNOWN else ""
        wanted = "out_transfer=bt709:out_primaries=bt709:out_color_matrix=bt709:out_range=tv"
        chain += [("scale", f"{wanted}:intent=relative_colorimetric:threads=1{given}"), ("format", "yuv420p")]
    if chain or frame.interlaced_frame:
        chain.insert(0, ("bwdif", "mode=send_frame:deint=interlaced"))
    return chain


class _Filters:
    """A chain of FFmpeg's filters, which gives a picture for each frame, some later than the frame."""

    def __init__(self, frame: av.VideoFrame, chain: list[tuple[str, str]], clip: str) -> None:
        self.format, self._clip = frame.format.name, clip
        self._waiting: deque[av.VideoFrame] = deque()
        self._graph = Graph()
        self._graph.threads = 1
        try:
            source = self._graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=frame.time_base or Fraction(1, 1000),
            )
            nodes = [self._graph.add(name, arguments) for name, arguments in [*chain, ("buffersink", None)]]
            self._graph.link_nodes(source, *nodes).configure()
        except (av.error.FFmpegError, ValueError) as error:
            raise self._refused(frame, error) from None

    def put(self, frame: av.VideoFrame) -> Iterator[tuple[av.VideoFrame, av.VideoFrame]]:
        """Take a frame; give those whose pictures are ready."""
        self._waiting.append(frame)
        try:
            self._graph.vpush(frame)
        except (av.error.FFmpegError, ValueError) as error:
            raise self._refused(frame, error) from None
        yield from self._ready()

    def rest(self) -> Iterator[tuple[av.VideoFrame, av.VideoFrame]]:
        """The frames that were still waiting for their pictures."""
        self._graph.vpush(None)
        yield from self._ready()
        if self._waiting:
            raise self._refused(self._waiting[0], ValueError("no picture came"))

    def _ready(self) -> Iterator[tuple[av.VideoFrame, av.VideoFrame]]:
        while self._waiting:
            try:
                picture = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            except (av.error.FFmpegError, ValueError) as error:
                raise self._refused(self._waiting[0], error) from None
            yield self._waiting.popleft(), picture

    def _refused(self, frame: av.VideoFrame, error: Exception) -> ClipError:
        colours = [HDR.get(frame.color_trc), WIDE.get(frame.color_primaries), frame.format.name]
        what = ", ".join(filter(None, colours))
        return ClipError(self._clip, f"its pictures ({what}) can't be converted to a plain screen's ({explain(error)})")
