"""Training windows of a corpus that is too large for memory: they are drawn from a part of its clips, which changes slowly.

The part, the pool, is :data:`PARTS` sets of clips of one length. After some steps the oldest set makes way for the next one of
a shuffled walk over the corpus. The pool at a step depends on (seed, step) alone, so that resuming, and any number of processes,
see what one uninterrupted process would.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stages.clips.clip import Clip
from stages.clips.windows import Windows

PARTS = 8
USES = 64  # windows drawn of a clip while it is in the pool, on average: reading a clip takes six times as long as making one


class Pool:
    """The clips that windows are drawn from at a step, read when the first of their steps comes."""

    def __init__(self, load: Callable[[int], Clip], count: int, *, size: int, windows: int, seed: int) -> None:
        """``load`` reads a clip by its number, of ``count``; a pool has about ``size``, a step draws ``windows`` windows."""
        self._load, self._count, self._seed = load, count, seed
        self._part = max(size // PARTS, 1)
        self.steps = math.ceil(USES * self._part / windows)
        self._held: dict[int, list[Clip]] = {}
        self._shuffled = lru_cache(maxsize=2)(self._shuffle)

    def block(self, step: int) -> int:
        """The number of a run of steps that have the same clips."""
        return step // self.steps

    def clips(self, block: int) -> list[Clip]:
        """The clips of a block; those that it shares with the last one asked for are not read again."""
        wanted = range(block, block + PARTS)
        self._held = {part: self._held.get(part) or self._read(part) for part in wanted}
        return [clip for part in wanted for clip in self._held[part]]

    def numbers(self, part: int) -> list[int]:
        """The clips of a part, by their numbers."""
        places = range(part * self._part, (part + 1) * self._part)
        return [int(self._shuffled(place // self._count)[place % self._count]) for place in places]

    def _read(self, part: int) -> list[Clip]:
        return [self._load(number) for number in self.numbers(part)]

    def _shuffle(self, walk: int) -> NDArray[np.int64]:
        return np.random.default_rng([self._seed, walk]).permutation(self._count)


class PooledWindows:
    """:class:`stages.clips.windows.Windows` of a pool's clips."""

    def __init__(self, pool: Pool, frames: int) -> None:
        self.pool, self.frames = pool, frames
        self._made: tuple[int, Windows] | None = None

    def at(self, step: int) -> Windows:
        """The windows that a step draws from."""
        block = self.pool.block(step)
        if self._made is None or self._made[0] != block:
            self._made = block, Windows(self.pool.clips(block), self.frames)
        return self._made[1]
