"""Decoding pictures on the time base k / fps. T frames, H height, W width, C = 3 channels (RGB)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from stages.base.errors import ClipError
from stages.media import display
from stages.media.container import (
    BACK_S,
    MAX_GAP_S,
    MAX_PIXELS,
    MAX_S,
    Source,
    chosen_stream,
    explain,
    length_of,
    name_of,
    opened,
    starts_again,
    step_of,
)

# Shares of red and blue in luma, by FFmpeg's number of the colour space; without one the scaler takes BT.601, whatever the size.
LUMA_OF = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593)} | dict.fromkeys((2, 5, 6), (0.299, 0.114))
# Pixel formats of three planes of 8 bits, and how many halvings the chroma has along both sides.
PLANAR = {"yuv420p": 1, "yuvj420p": 1, "yuv444p": 0, "yuvj444p": 0}
FULL_RANGE = 2  # FFmpeg's number
MISSING_S = 0.2  # a stream that ends this much before its header says was cut off


@dataclass(frozen=True)
class Picture:
    """A frame on the time base."""

    number: int  # k, at k / fps seconds
    frame: (
        av.VideoFrame
    )  # the source frame nearest in time, as it was decoded or as :mod:`stages.media.display` made it
    repeated: bool  # the same source frame as the one before
    rotation: int  # degrees counter-clockwise that turn the picture upright: 0, 90, 180 or 270
    mirrored: bool = False  # left and right change places after that

    def upright(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """An array of the frame's pixels, (H, W) or (H, W, C), turned upright."""
        if not (self.rotation or self.mirrored):
            return image
        turned = np.rot90(image, self.rotation // 90)
        return np.ascontiguousarray(turned[:, ::-1] if self.mirrored else turned)

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
        return picture.upright(image.astype(np.uint8, copy=False))

    def luma(self, picture: Picture) -> NDArray[np.uint8]:
        """(H, W) uint8: the frame's own Y plane where it has one (no conversion), else converted."""
        frame = picture.frame
        if not frame.format.name.startswith(("yuv", "nv12", "nv21", "gray")) or frame.format.components[0].bits != 8:
            frame = self._reformatter.reformat(frame, format="gray")
        return np.ascontiguousarray(picture.upright(_plane(frame, 0)))

    def planes(self, picture: Picture) -> Planes | None:
        """The planes as they were decoded, or None where :meth:`rgb` has to convert them: another format, or odd sides."""
        frame = picture.frame
        halvings, space = PLANAR.get(frame.format.name), LUMA_OF.get(int(frame.colorspace))
        if halvings is None or space is None or frame.width % 2 or frame.height % 2:
            return None
        luma, blue, red = (picture.upright(_plane(frame, number)) for number in range(3))
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
    clip = clip or name_of(source)
    with opened(source, clip) as container:
        stream = chosen_stream(container.streams.video, clip, "no video stream")
        if stream.codec_context is None:
            raise ClipError(clip, "damaged, or its video codec is unknown")
        stream.thread_type = "NONE"
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        step, again = step_of(stream), starts_again(container)
        tag = stream.codec_context.codec_tag
        frames = display.shown(_frames(container, stream, clip), stream.sample_aspect_ratio, clip, tag)
        zero = before = None  # the first picture's timestamp; the picture not yet given out
        upright = (0, False)
        number, now, own = 0, 0.0, 0.0  # the number to give out next; `before`'s time since zero, and its own duration
        for frame, image in frames:
            stamp = frame.time if frame.time is not None else (0.0 if zero is None else zero + now + step)
            if zero is None:
                zero, upright = stamp, display.orientation(frame)
            if stamp - zero < now - max(BACK_S, 2 * step):
                if not again:
                    raise ClipError(clip, f"damaged: timestamps go back by {now - (stamp - zero):.1f} s at {now:.2f} s")
                zero = stamp - (now + length_of(own, step, clip))  # another stream begins, where the one before ends
            then, now = now, max(stamp - zero, now)
            if now - then > MAX_GAP_S:
                raise ClipError(clip, f"damaged: timestamps jump by {now - then:.0f} s at {then:.2f} s")
            if now > MAX_S:
                raise ClipError(clip, f"longer than {MAX_S / 3600:.0f} hours; cut it into parts")
            if before is not None:  # `before` is nearest to every k / fps up to half way to this frame
                first = number
                while number / fps < (then + now) / 2:
                    yield Picture(number, before, number > first, *upright)
                    number += 1
            before, own = image, float((frame.duration or 0) * (frame.time_base or 0))
        if before is None:
            raise ClipError(clip, "no video frame could be decoded")
        first, end = number, now + length_of(own, step, clip)
        while number / fps < end - 0.5 * min(step, 1 / fps) - 1e-9 or number == 0:
            yield Picture(number, before, number > first, *upright)
            number += 1
        _check_whole(container, stream, end, clip)


def frame_rate(source: Source, *, clip: str = "") -> float:
    """Frames a second as the file says, on average; raises ClipError where it can't be opened or has no video."""
    clip = clip or name_of(source)
    with opened(source, clip) as container:
        stream = chosen_stream(container.streams.video, clip, "no video stream")
        return 1 / step_of(stream)


def decode(source: Source, *, fps: float, clip: str = "") -> NDArray[np.uint8]:
    """All frames on the time base k / fps, (T, H, W, 3) uint8 RGB; raises like :func:`pictures`."""
    converter = Converter()
    return np.stack([converter.rgb(picture) for picture in pictures(source, fps=fps, clip=clip)])


def _frames(container: Any, stream: Any, clip: str) -> Iterator[av.VideoFrame]:
    """Decoded frames in order of presentation, of one size, and all upright in one way.

    A frame that the decoder had to make up counts as damage.
    """
    decoded = container.decode(stream)
    count, first = 0, None
    while True:
        try:
            frame = next(decoded)
        except StopIteration:
            return
        except (av.error.FFmpegError, ValueError) as error:
            raise ClipError(clip, f"damaged after {count} frames ({explain(error)})") from None
        if frame.is_corrupt:
            raise ClipError(clip, f"damaged after {count} frames")
        form = frame.width, frame.height, display.orientation(frame)
        first = first or form
        if form[:2] != first[:2]:
            sizes = f"from {first[0]}x{first[1]} to {form[0]}x{form[1]}"
            raise ClipError(clip, f"the picture's size changes {sizes} after {count} frames")
        if form != first:
            raise ClipError(clip, f"the picture is turned after {count} frames, by another display matrix")
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
