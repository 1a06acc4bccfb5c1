"""Decoding sound on the pictures' time base. N audio samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain, pairwise
from typing import Any, Protocol

import av
import numpy as np
import soxr
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from stages.base.errors import ClipError
from stages.media.container import (
    BACK_S,
    MAX_GAP_S,
    MAX_S,
    Source,
    chosen_stream,
    describe,
    explain,
    length_of,
    name_of,
    opened,
    starts_again,
    step_of,
)

MAX_LATE_S = 60.0  # a sound that starts so long after the first picture, likewise
SAMPLE_RATES = (4000, 384000)  # Hz
RESAMPLED_AT_ONCE = 1 << 20  # samples
SOUND_GAP_S = 0.1  # a longer step between two audio frames' timestamps is a gap; shorter ones are rounded stamps
CANCELLED = 0.1  # channels whose mix has less than this share of the power of unrelated ones are in opposite phase


@dataclass(frozen=True)
class Sound:
    """The sound of a file."""

    samples: NDArray[np.float32]  # (N,) in [-1, 1], mono, sample 0 at the first picture's timestamp
    remarks: tuple[str, ...]  # what a listener might have chosen otherwise, a sentence each; most files have none

    @property
    def silent(self) -> bool:
        """True if there is nothing to hear."""
        return not self.samples.any()


def decode_audio(source: Source, sample_rate: int, *, clip: str = "") -> NDArray[np.float32]:
    """The samples of :func:`hear` alone, (N,); raises like it."""
    return hear(source, sample_rate, clip=clip).samples


def hear(source: Source, sample_rate: int, *, clip: str = "") -> Sound:
    """The audio track that a player takes (:func:`chosen_stream`), mono, on the pictures' time base.

    Channels are mixed with the weights that FFmpeg gives them (``ffmpeg -ac 1`` into 16 bits: of two their mean, of 5.1 ITU-R
    BS.775 scaled so that nothing is clipped), then resampled with soxr VHQ. Channels in opposite phase, which would cancel, are
    turned. What changes its rate, layout or format on the way is converted. A file without video starts with its first sample.

    Raises:
        ClipError: not a media file, no audio stream, no sample, damaged, or longer than :data:`MAX_S`.
    """
    found = heard(source, clip or name_of(source), list)
    return Sound(np.concatenate(list(found.pieces(sample_rate, RESAMPLED_AT_ONCE))), found.remarks)


@dataclass(frozen=True)
class Heard:
    """The decoded parts of a file, each of one rate, layout and run of timestamps, with the time zero of each run, seconds."""

    clip: str
    parts: list[_Track]
    zeros: list[float]
    remarks: tuple[str, ...]

    def pieces(self, sample_rate: int, at_once: int) -> Iterator[NDArray[np.float32]]:
        """All parts at one sample rate, each at its time, (N,) of ``at_once`` own samples.

        Without pictures (no ``zeros``) runs of timestamps follow each other.
        """
        parts = [part for part in self.parts if part.count]
        if not parts:
            raise ClipError(self.clip, "no audio sample could be decoded")
        count, before = 0, None
        shift = self.zeros[0] if self.zeros else parts[0].first or 0.0  # the timestamp of sample 0
        for part in parts:
            missing = 0  # samples between the two; negative where they overlap
            if before is not None and part.first is not None:
                if part.run != before.run:
                    if self.zeros and part.run >= len(self.zeros):
                        raise ClipError(
                            self.clip, "damaged: the sound's timestamps start again and the pictures' do not"
                        )
                    shift = self.zeros[part.run] if self.zeros else part.first - count / sample_rate
                missing = round((part.first - shift) * sample_rate) - count
            if abs(missing) > MAX_GAP_S * sample_rate:
                raise ClipError(self.clip, f"damaged audio (timestamps jump by {missing / sample_rate:.0f} s)")
            own = part.pieces(self.zeros[0] if before is None and self.zeros else None, at_once)
            left_out = max(-missing, 0)
            silence = np.zeros(max(missing, 0))
            for samples in chain([silence] if len(silence) else [], resampled(own, part.rate, sample_rate)):
                kept = samples[left_out:].astype(np.float32)
                left_out -= len(samples) - len(kept)
                count += len(kept)
                if count > MAX_S * sample_rate:
                    raise ClipError(self.clip, f"the sound is longer than {MAX_S / 3600:.0f} hours; cut it into parts")
                yield kept
            before = part


def heard(source: Source, clip: str, keep: Callable[[], Chunks], until: float = math.inf) -> Heard:
    """Decode a file's sound, ``until`` seconds or a little more; ``keep`` makes what a part's samples are kept in."""
    with opened(source, clip) as container:
        stream = chosen_stream(container.streams.audio, clip, "no audio stream")
        others = [describe(other) for other in container.streams.audio if other is not stream]
        remarks = [f"of several audio tracks, {describe(stream)} is taken, not {', '.join(others)}"] if others else []
        parts, zeros = _decoded(container, stream, clip, {}, keep, until)
    turned = {number: signs for number, part in enumerate(parts) if (signs := part.opposite()) is not None}
    if turned:
        layouts = sorted({parts[number].layout for number in turned})
        remarks.append(f"channels in opposite phase ({', '.join(layouts)}) are turned")
        with opened(source, clip) as container:
            stream = chosen_stream(container.streams.audio, clip, "no audio stream")
            parts, zeros = _decoded(container, stream, clip, turned, keep, until)
    return Heard(clip, parts, zeros, tuple(remarks))


def _decoded(
    container: Any,
    stream: Any,
    clip: str,
    turned: dict[int, NDArray[np.float32]],
    keep: Callable[[], Chunks],
    until: float,
) -> tuple[list[_Track], list[float]]:
    """The track in parts of one rate, one layout and one run of timestamps, and where time zero is in each run, seconds.

    ``turned``: signs of the channels of some parts, by their number.
    """
    video = chosen_stream(container.streams.video, clip, "") if container.streams.video else None
    again = starts_again(container)
    runs = _Runs(video, clip) if video is not None and again else None
    parts = [_Track(clip, turned.get(0), chunks=keep())]
    zero, run = None, 0  # of the pictures; of the timestamps
    first, last = math.inf, -math.inf  # of the sound's timestamps in this run: where they began, and the latest
    try:
        for packet in container.demux([stream] if video is None else [stream, video]):
            if packet.stream is video:
                if zero is None:
                    zero = next((frame.time for frame in packet.decode() if frame.time is not None), None)
                if runs is not None:
                    runs.add(packet)
                continue
            for frame in packet.decode():
                back = frame.time is not None and frame.time < last - SOUND_GAP_S
                # Files of other kinds may overlap; but where all begins anew, two were joined.
                restarted = back and (again or frame.time < first + SOUND_GAP_S)
                run += int(restarted)
                if restarted or not parts[-1].takes(frame):
                    parts.append(_Track(clip, turned.get(len(parts)), run, keep()))
                if frame.time is not None:
                    first = frame.time if restarted else min(first, frame.time)
                    last = frame.time if restarted else max(last, frame.time)
                parts[-1].add(frame)
            early = 0.0 if zero is None or parts[0].first is None else max(zero - parts[0].first, 0.0)
            if sum(part.seconds for part in parts) - early > until and (video is None or zero is not None):
                break
    except (av.error.FFmpegError, ValueError) as error:
        raise ClipError(clip, f"damaged audio ({explain(error)})") from None
    return parts, [] if zero is None else [zero] if runs is None else runs.zeros(zero)


class Chunks(Protocol):
    """The destination of a track's samples: a list of arrays, or a store elsewhere."""

    def append(self, samples: NDArray[np.float32], /) -> None: ...

    def __iter__(self) -> Iterator[NDArray[np.float32]]: ...


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


class _Runs:
    """The runs of the pictures' timestamps, from their packets, as :func:`stages.media.video.pictures` joins the frames."""

    def __init__(self, video: Any, clip: str) -> None:
        self._step, self._clip = step_of(video), clip
        self._spans: list[
            tuple[float, float, float]
        ] = []  # of each run: first and last timestamp, the last one's duration
        self._decoded = -math.inf  # the latest decoding timestamp in this run

    def add(self, packet: Any) -> None:
        """Take a packet, in order of decoding."""
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None:
            return
        base = float(packet.time_base)
        time, order = stamp * base, (packet.dts if packet.dts is not None else stamp) * base
        own = (packet.duration or 0) * base
        if not self._spans or order < self._decoded - max(BACK_S, 2 * self._step):
            self._spans.append((time, time, own))
            self._decoded = order
            return
        first, last, its = self._spans[-1]
        self._spans[-1] = (min(first, time), max(last, time), own if time > last else its)
        self._decoded = max(self._decoded, order)

    def zeros(self, zero: float) -> list[float]:
        """The timestamp of time zero in each run, in seconds; ``zero`` is the first run's."""
        found = [zero]
        for (_, last, own), (first, _, _) in pairwise(self._spans):
            found.append(first - (last - found[-1] + length_of(own, self._step, self._clip)))
        return found


@cache
def weights(layout: str) -> NDArray[np.float32]:
    """FFmpeg's share of each channel of a layout in mono, (C,), such as (0.5, 0.5); raises FFmpeg's error where it knows none."""
    count = av.AudioLayout(layout).nb_channels
    frame = av.AudioFrame.from_ndarray(np.eye(count, dtype=np.float32).reshape(1, -1), format="flt", layout=layout)
    frame.sample_rate = 48000
    mixer = AudioResampler(format="flt", layout="mono", options={"rematrix_maxval": "1"})
    return np.asarray(mixer.resample(frame)[0].to_ndarray()[0], np.float32)


class _Track:
    """Audio frames of one sample rate and layout put one behind the other, each where its timestamp says.

    Containers round stamps to a millisecond, so that the frames' offsets from the samples counted so far scatter: the track
    starts at their median. An offset by more than :data:`SOUND_GAP_S` is a gap, which becomes silence, or an overlap, which
    is cut.
    """

    def __init__(
        self, clip: str, turned: NDArray[np.float32] | None = None, run: int = 0, chunks: Chunks | None = None
    ) -> None:
        self.clip, self.rate, self.layout, self.run = clip, 0, "", run
        self.count = 0  # samples
        self._weights = np.ones(1, np.float32)  # of the channels, (C,)
        self._turned = np.float32(1) if turned is None else turned  # the channels' signs, (C,)
        self._to_real, self._format = AudioResampler(format="flt"), ""
        self._chunks: Chunks = [] if chunks is None else chunks
        self._starts: list[float] = []  # each frame's stamp less the samples before it, seconds
        self._drop = 0  # samples of an overlap still to be left out
        self._power, self._products = 0.0, np.zeros((1, 1))  # of the mix, and of all pairs of channels

    def takes(self, frame: av.AudioFrame) -> bool:
        """True if the frame is of this track's rate and layout."""
        return not self.rate or (self.rate, self.layout) == (frame.sample_rate, frame.layout.name)

    @property
    def first(self) -> float | None:
        """The timestamp of the first sample as the first frame has it, seconds.

        What counts where another rate begins: a transport stream stamps few frames, and the others are reckoned at the old rate.
        """
        return self._starts[0] if self._starts else None

    def add(self, frame: av.AudioFrame) -> None:
        """Put a decoded frame of this track's rate into its place; raises ClipError where that can't be."""
        if not self.rate:
            low, high = SAMPLE_RATES
            if not low <= frame.sample_rate <= high:
                raise ClipError(self.clip, f"damaged audio ({frame.sample_rate} samples a second)")
            self.rate, self.layout = frame.sample_rate, frame.layout.name
            try:
                self._weights = weights(self.layout)
            except (av.error.FFmpegError, ValueError):
                raise ClipError(self.clip, f"sound of {self.layout}, which FFmpeg can't mix to one channel") from None
            self._products = np.zeros((len(self._weights), len(self._weights)))
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
        if frame.format.name != self._format:
            self._to_real, self._format = AudioResampler(format="flt"), frame.format.name
        for part in self._to_real.resample(frame):
            self._put(to_float(self._mixed(np.asarray(part.to_ndarray(), np.float32))))

    def _mixed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mono of samples in which the channels take turns."""
        if len(self._weights) == 1:
            return samples.ravel()
        channels_CN = samples.reshape(-1, len(self._weights)).T
        mixed = np.asarray((self._weights * self._turned) @ channels_CN, np.float32)
        self._power += float(mixed @ mixed)
        self._products += channels_CN @ channels_CN.T
        return mixed

    def opposite(self) -> NDArray[np.float32] | None:
        """The signs that the channels need, (C,), where they cancel in the mix; None where they don't."""
        own = self._weights**2 * np.diag(self._products)  # each channel's power in the mix
        if not self._power < CANCELLED * own.sum():
            return None
        kept = int(np.argmax(own >= own.max() / 2))  # the first of the loud ones
        return np.where(self._products[kept] < 0, -1, 1).astype(np.float32)

    def _put(self, samples: NDArray[np.float32]) -> None:
        left_out = min(self._drop, len(samples))
        self._drop -= left_out
        self.count += len(samples) - left_out
        self._chunks.append(samples[left_out:])
        if self.count > MAX_S * self.rate:
            raise ClipError(self.clip, f"the sound is longer than {MAX_S / 3600:.0f} hours; cut it into parts")

    @property
    def seconds(self) -> float:
        """Of the samples so far."""
        return self.count / max(self.rate, 1)

    def pieces(self, zero: float | None, at_once: int) -> Iterator[NDArray[np.float32]]:
        """All samples (N,) from the time ``zero`` on, in seconds, so many at once; None: from the first."""
        late = float(np.median(self._starts)) - zero if self._starts and zero is not None else 0.0
        if late > MAX_LATE_S:
            raise ClipError(self.clip, f"the sound starts {late:.0f} s after the first picture")
        offset = round(late * self.rate)
        if -offset >= self.count:
            raise ClipError(self.clip, "the sound ends before the first picture")
        held, count, left_out = [np.zeros(max(offset, 0), np.float32)], max(offset, 0), max(-offset, 0)
        for chunk in self._chunks:
            if not np.isfinite(chunk).all():
                raise ClipError(self.clip, "damaged audio (samples that are no numbers)")
            kept = chunk[left_out:]
            left_out -= len(chunk) - len(kept)
            held.append(kept)
            count += len(kept)
            if count >= at_once:
                joined = np.concatenate(held)
                whole = count // at_once * at_once
                yield from (joined[start : start + at_once] for start in range(0, whole, at_once))
                held, count = [joined[whole:]], count - whole
        if count:
            yield np.concatenate(held)


def to_int16(audio_N: NDArray[np.floating]) -> NDArray[np.int16]:
    """Samples in [-1, 1] as 16-bit ones, rounded and clipped."""
    return np.clip(np.round(audio_N * 32768), -32768, 32767).astype("<i2")


def to_float(audio: NDArray[Any]) -> NDArray[np.float32]:
    """Samples of 16 bits, or real ones, which are clipped, as float32 in [-1, 1]."""
    if audio.dtype == np.int16:
        return audio.astype(np.float32) / np.float32(32768)
    return np.clip(audio, -1, 1).astype(np.float32, copy=False)
