"""Decoding a sound whose samples need not fit into memory. N audio samples."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from stages.media.container import Source, name_of
from stages.media.sound import Heard, heard

AT_ONCE = 1 << 17  # samples; at another rate they may be ten times as many


@dataclass(frozen=True)
class StoredSound:
    """A sound, decoded into temporary files that have no name."""

    found: Heard

    @property
    def remarks(self) -> tuple[str, ...]:
        """The choices that a listener might have made otherwise."""
        return self.found.remarks

    def pieces(self, sample_rate: int) -> Iterator[NDArray[np.float32]]:
        """The sound of :func:`stages.media.decode_audio`, piece by piece, (N,) each, so that memory holds one of them."""
        return self.found.pieces(sample_rate, AT_ONCE)


class _Kept:
    """Chunks in a file."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as what reads it

    def append(self, samples: NDArray[np.float32]) -> None:
        self._file.write(samples.tobytes())

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        self._file.seek(0)
        while part := self._file.read(4 * AT_ONCE):
            yield np.frombuffer(part, np.float32)


def store_audio(source: Source, *, until: float = np.inf, clip: str = "") -> StoredSound:
    """Decode a sound as :func:`stages.media.decode_audio` does, ``until`` seconds or a little more; raises like it, what its
    timestamps make impossible once its pieces are read.
    """
    return StoredSound(heard(source, clip or name_of(source), _Kept, until))
