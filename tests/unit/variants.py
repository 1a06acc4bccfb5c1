"""A clip of the rendered corpus, and a writer of what other people's cameras and programs make of its pictures and sound."""

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.filter import Graph
from av.stream import Disposition

from stages.base import params
from stages.corpora.rendered import face, identity, portrait, speaker

FPS, RATE, FRAMES = 25, 48000, 24
SIZE = {"width": 240, "height": 180}


@functools.cache
def rendered() -> tuple[np.ndarray, np.ndarray]:
    """Pictures from a sentence's first second, (24, 180, 240, 3) uint8, and the whole sentence at 48 kHz, (N,) in [-1, 1]."""
    settings = params.load("presets/demo.yaml").corpus.rendered.model_copy(update={**SIZE, "fps": FPS})
    who = identity.draw(settings.seed, "gaia")
    moves, _, sound = speaker.perform(settings, who, 0)
    renderer = face.Renderer(portrait.paint(who, settings.width, settings.height), settings.width, settings.height)
    return np.stack(list(itertools.islice(renderer.frames(moves), FRAMES))), sound


def psnr(found: np.ndarray, true: np.ndarray) -> float:
    """dB; both uint8, of one shape."""
    assert found.shape == true.shape
    return float(10 * np.log10(255**2 / max(np.square(found.astype(float) - true).mean(), 1e-9)))


def correlation(found: np.ndarray, true: np.ndarray) -> float:
    """Of two sounds over the samples that both have."""
    count = min(len(found), len(true))
    return float(np.corrcoef(found[:count], true[:count])[0, 1])


def level(sound: np.ndarray) -> float:
    """dB of full scale."""
    return float(10 * np.log10(np.square(sound.astype(np.float64)).mean()))


def film(
    path: Any,
    frames: Iterable[np.ndarray | av.VideoFrame] = (),
    tracks: Sequence[np.ndarray] = (),
    *,
    container: str,
    codec: str = "libx264",
    sound_codec: str = "pcm_s16le",
    layout: str = "mono",
    rate: int = RATE,
    fps: int = FPS,
    first: float = 0.0,
    video: Callable[[Any], None] = lambda stream: None,
    said: Sequence[tuple[Disposition, str]] = (),
    held: float = 0.0,
) -> None:
    """Write pictures and tracks of sound, each (C, N) in [-1, 1].

    ``first``: seconds that all timestamps start at; ``video`` sets up the video stream; ``said``: each track's disposition and
    title; ``held``: seconds that the last picture lasts longer.
    """
    frames = [x if isinstance(x, av.VideoFrame) else av.VideoFrame.from_ndarray(x, format="rgb24") for x in frames]
    same = {"fflags": "bitexact"}  # bytes each time; Matroska's identifiers are random
    with av.open(path if hasattr(path, "write") else str(path), "w", format=container, options=same) as out:
        pictures = out.add_stream(codec, rate=fps) if frames else None
        if pictures is not None:
            pictures.width, pictures.height, pictures.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
            pictures.codec_context.thread_count = 1
            pictures.options = {"crf": "4", "preset": "veryfast"} if codec == "libx264" else {}
            pictures.time_base = pictures.codec_context.time_base = Fraction(1, fps)
            video(pictures)
        sounds = [out.add_stream(sound_codec, rate=rate, layout=layout) for _ in tracks]
        for stream, (disposition, title) in zip(sounds, said, strict=False):
            stream.disposition, stream.metadata["title"] = disposition, title
        for stream in sounds:
            stream.codec_context.time_base = Fraction(1, rate)
        packets = []
        if pictures is not None:
            for number, frame in enumerate(frames):
                frame.pts, frame.time_base = number + round(first * fps), Fraction(1, fps)
                packets += pictures.encode(frame)
            packets += pictures.encode(None)
            if held:
                last = max(packets, key=lambda packet: packet.pts)
                last.duration = round((1 / fps + held) / last.time_base)
        for stream, track in zip(sounds, tracks, strict=True):
            to_format = av.AudioResampler(format=stream.codec_context.format.name, layout=layout, rate=rate)
            for start in range(0, track.shape[1], 1024):
                part = np.ascontiguousarray(track[:, start : start + 1024], dtype=np.float32)
                frame = av.AudioFrame.from_ndarray(part.T.reshape(1, -1), format="flt", layout=layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = start + round(first * rate)
                packets += [packet for made in to_format.resample(frame) for packet in stream.encode(made)]
            packets += stream.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)


def with_matrix(content: bytes, a: float, b: float, c: float, d: float) -> bytes:
    """An MP4 whose first track's header has this display matrix."""

    def fixed(*values: float) -> bytes:
        return b"".join(round(value * 65536).to_bytes(4, "big", signed=True) for value in values)

    header = content.index(b"tkhd")
    plain = fixed(1, 0, 0, 0, 1)
    assert plain in content[header : header + 92]
    return content[:header] + content[header:].replace(plain, fixed(a, b, 0, c, d), 1)


def woven(one: np.ndarray, other: np.ndarray, upper: bool) -> av.VideoFrame:
    """A frame with a field of each of two pictures, and the flag of which of them comes first, as a camera writes it."""
    fields = [av.VideoFrame.from_ndarray(x, format="rgb24").reformat(format="yuv420p") for x in (one, other)]
    height, width = one.shape[:2]
    ends = np.cumsum([height * width, height * width // 4])  # of luma and of blue
    planes = []
    for first, second in zip(*(np.split(x.to_ndarray().ravel(), ends) for x in fields), strict=True):
        rows = first.reshape(-1, width // 2 if planes else width).copy()
        rows[int(upper) :: 2] = second.reshape(rows.shape)[int(upper) :: 2]
        planes.append(rows.ravel())
    frame = av.VideoFrame.from_ndarray(np.concatenate(planes).reshape(-1, width), format="yuv420p")
    frame.pts, frame.time_base = 0, Fraction(1, FPS)
    graph = Graph()
    source = graph.add_buffer(width=width, height=height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(source, graph.add("setfield", "tff" if upper else "bff"), graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()


def mirrored(path: Any, frames: np.ndarray) -> None:
    """Write an MP4 of pictures left for right, whose display matrix turns them back."""
    film(path, frames[:, :, ::-1], container="mp4")
    path.write_bytes(with_matrix(path.read_bytes(), -1, 0, 0, 1))


def squeezed(path: Any, frames: np.ndarray, aspect: Fraction = Fraction(3, 2)) -> None:
    """Write an MP4 of pictures whose pixels are so many times as wide as high."""
    height, width = frames.shape[1:3]
    how = cv2.INTER_AREA if aspect > 1 else cv2.INTER_CUBIC
    stored = [cv2.resize(x, (round(width / aspect), height), interpolation=how) for x in frames]
    film(path, stored, container="mp4", video=lambda s: setattr(s.codec_context, "sample_aspect_ratio", aspect))


SHOWN_AS_PLAIN = {"mirrored": mirrored, "of pixels 3:2": squeezed}  # by a player, not by a decoder alone
