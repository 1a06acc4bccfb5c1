"""Decoding a sound whose samples need not fit into memory. N audio samples."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from stages.base.errors import ClipError
from stages.media.container import Source, name_of
from stages.media.sound import _Track, read_track, resampled

AT_ONCE = 1 << 17  # samples; at another rate they may be ten times as many


@dataclass(frozen=True)
class StoredSound:
    """A sound, decoded into a temporary file that has no name."""

    file: IO[bytes]  # float32, mono, at its own rate
    rate: int
    count: int  # samples in the file
    late: int  # samples by which the first one stands after the first picture; negative: so many are left out
    remarks: tuple[str, ...] = ()  # what a listener might have chosen otherwise

    @property
    def seconds(self) -> float:
        """From the first picture on."""
        return (self.count + self.late) / self.rate

    def pieces(self, sample_rate: int) -> Iterator[NDArray[np.float32]]:
        """What :func:`stages.media.decode_audio` gives, piece by piece, (N,) each, so that memory holds one of them."""
        return (part.astype(np.float32) for part in resampled(self._own(), self.rate, sample_rate))

    def _own(self) -> Iterator[NDArray[np.float32]]:
        start = -self.late
        while start < self.count:
            stop = min(start + AT_ONCE, self.count)
            self.file.seek(4 * max(start, 0))
            part = np.frombuffer(self.file.read(4 * (stop - max(start, 0))) if stop > 0 else b"", np.float32)
            yield np.pad(part, (stop - start - len(part), 0))
            start = stop


class _Kept:
    """Chunks in a file."""

    def __init__(self, clip: str) -> None:
        self.clip = clip
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as what reads it

    def append(self, samples: NDArray[np.float32]) -> None:
        if not np.isfinite(samples).all():
            raise ClipError(self.clip, "damaged audio (samples that are no numbers)")
        self.file.write(samples.tobytes())

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        raise NotImplementedError("they are read from the file")


def store_audio(source: Source, *, until: float = np.inf, clip: str = "") -> StoredSound:
    """Decode a sound as :func:`stages.media.decode_audio` does, ``until`` seconds or a little more; raises like it."""
    kept = _Kept(clip or name_of(source))
    track = _Track(kept.clip, kept)
    late = track.late(read_track(source, track, until))
    return StoredSound(kept.file, track.rate, track.count, late)
