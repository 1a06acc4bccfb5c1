"""Decoding sound on the pictures' time base. N audio samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import av
import numpy as np
import soxr
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from stages.base.errors import ClipError
from stages.media.container import MAX_GAP_S, MAX_S, Source, explain, first_stream, name_of, opened

MAX_LATE_S = 60.0  # a sound that starts so long after the first picture, likewise
SAMPLE_RATES = (4000, 384000)  # Hz
RESAMPLED_AT_ONCE = 1 << 20  # samples
SOUND_GAP_S = 0.1  # a longer step between two audio frames' timestamps is a gap; shorter ones are rounded stamps


def decode_audio(source: Source, sample_rate: int, *, clip: str = "") -> NDArray[np.float32]:
    """The first audio stream as mono float32 in [-1, 1], (N,), sample 0 at the first picture's timestamp.

    Channels are averaged, then resampled with soxr VHQ. A file without video starts with its own first sample.

    Raises:
        ClipError: not a media file, no audio stream, no sample, damaged, or longer than :data:`MAX_S`.
    """
    track = _Track(clip or name_of(source))
    samples = track.samples(read_track(source, track))
    if track.rate != sample_rate:
        samples = _resampled(samples, track.rate, sample_rate)
    return samples


def read_track(source: Source, track: _Track, until: float = math.inf) -> float | None:
    """Decode into a track, ``until`` seconds or a little more; gives the first picture's time, None without pictures."""
    clip, zero = track.clip, None
    with opened(source, clip) as container:
        stream = first_stream(container.streams.audio, clip, "no audio stream")
        video = container.streams.video[0] if container.streams.video else None
        try:
            for packet in container.demux([stream] if video is None else [stream, video]):
                if packet.stream is video:
                    if zero is None:
                        zero = next((frame.time for frame in packet.decode() if frame.time is not None), None)
                    continue
                for frame in packet.decode():
                    track.add(frame)
                if track.count > until * max(track.rate, 1) and (video is None or zero is not None):
                    break
        except (av.error.FFmpegError, ValueError) as error:
            raise ClipError(clip, f"damaged audio ({explain(error)})") from None
    return zero


def _resampled(samples: NDArray[np.float32], rate: int, to: int) -> NDArray[np.float32]:
    starts = range(0, len(samples), RESAMPLED_AT_ONCE)
    parts = (samples[start : start + RESAMPLED_AT_ONCE] for start in starts)
    return np.concatenate(list(resampled(parts, rate, to))).astype(np.float32)


def resampled(parts: Iterable[NDArray[np.floating]], rate: int, to: int) -> Iterator[NDArray[np.float64]]:
    """Pieces of a sound at another rate, (N,) each; by soxr at 28 bits, which it computes in float64: at fewer, two processors'
    results differ in 16-bit samples.
    """
    if rate == to:
        yield from (part.astype(np.float64) for part in parts)
        return
    stream, held = soxr.ResampleStream(rate, to, 1, dtype="float64", quality="VHQ"), None
    for part in parts:
        if held is not None:
            yield stream.resample_chunk(held)
        held = part.astype(np.float64)
    if held is not None:
        yield stream.resample_chunk(held, last=True)


class Chunks(Protocol):
    """Where a track's samples go: a list of arrays, or what keeps them elsewhere."""

    def append(self, samples: NDArray[np.float32], /) -> None: ...

    def __iter__(self) -> Iterator[NDArray[np.float32]]: ...


class _Track:
    """Audio frames put one behind the other, each where its timestamp says.

    Containers round stamps to a millisecond, so that the frames' offsets from the samples counted so far scatter: the track
    starts at their median. An offset by more than :data:`SOUND_GAP_S` is a gap, which becomes silence, or an overlap, which
    is cut.
    """

    def __init__(self, clip: str, chunks: Chunks | None = None) -> None:
        self.clip, self.rate = clip, 0
        self.count = 0  # samples
        self._to_planar = AudioResampler(format="fltp")
        self._chunks: Chunks = [] if chunks is None else chunks
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
            start = frame.time - (self.count - self._drop) / self.rate
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
            self._put(to_float(part.to_ndarray().mean(0)))

    def _put(self, samples: NDArray[np.float32]) -> None:
        left_out = min(self._drop, len(samples))
        self._drop -= left_out
        self.count += len(samples) - left_out
        self._chunks.append(samples[left_out:])
        if self.count > MAX_S * self.rate:
            raise ClipError(self.clip, f"the sound is longer than {MAX_S / 3600:.0f} hours; cut it into parts")

    def late(self, zero: float | None) -> int:
        """How many samples after the time ``zero``, in seconds, the first one stands; None: it stands there."""
        if not self.count:
            raise ClipError(self.clip, "no audio sample could be decoded")
        late = float(np.median(self._starts)) - zero if self._starts and zero is not None else 0.0
        if late > MAX_LATE_S:
            raise ClipError(self.clip, f"the sound starts {late:.0f} s after the first picture")
        offset = round(late * self.rate)
        if -offset >= self.count:
            raise ClipError(self.clip, "the sound ends before the first picture")
        return offset

    def samples(self, zero: float | None) -> NDArray[np.float32]:
        """All samples (N,) from the time ``zero`` on, in seconds; None: from the first."""
        offset = self.late(zero)
        samples = np.concatenate(list(self._chunks))
        if not np.isfinite(samples).all():
            raise ClipError(self.clip, "damaged audio (samples that are no numbers)")
        return np.pad(samples, (offset, 0)) if offset > 0 else samples[-offset:]


def to_int16(audio_N: NDArray[np.floating]) -> NDArray[np.int16]:
    """Samples in [-1, 1] as 16-bit ones, rounded and clipped."""
    return np.clip(np.round(audio_N * 32768), -32768, 32767).astype("<i2")


def to_float(audio: NDArray[Any]) -> NDArray[np.float32]:
    """Samples of 16 bits, or real ones, which are clipped, as float32 in [-1, 1]."""
    if audio.dtype == np.int16:
        return audio.astype(np.float32) / np.float32(32768)
    return np.clip(audio, -1, 1).astype(np.float32, copy=False)
