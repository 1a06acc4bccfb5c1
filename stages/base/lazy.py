"""Sequences made on demand, too large for memory as a whole: a clip's frames and masks, a corpus's clips."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)
Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class LazyArray(Generic[Scalar]):
    """An array (N, ...) that can be read by its first axis, as NumPy's: by a number, a slice, or a list of numbers.

    Nothing is kept: an item is made anew each time, at its place in the array that is given out. ``np.asarray`` gives the
    whole array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Scalar]
    fill: Callable[
        [int, NDArray[Scalar]], None
    ]  # writes an item by its number; can be pickled, for processes that are spawned

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: int | np.integer | slice | Sequence[int] | NDArray[np.integer]) -> NDArray[Scalar]:
        if isinstance(key, slice):
            return self._items(range(*key.indices(len(self))))
        if isinstance(key, (int, np.integer)):
            return self._items([self._number(key)])[0]
        return self._items([self._number(number) for number in key])

    def __iter__(self) -> Iterator[NDArray[Scalar]]:
        return (self[number] for number in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a lazy array is made anew, which copy=False forbids")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def head(self, count: int) -> LazyArray[Scalar]:
        """The first ``count`` items, lazy as well."""
        return replace(self, shape=(min(count, len(self)), *self.shape[1:]))

    def holding(self, numbers: Iterable[int]) -> LazyArray[Scalar]:
        """The same array, with these items made now and kept: for those who read them several times."""
        return replace(self, fill=_Held(self.fill, {number: self[number] for number in numbers}))

    def _number(self, key: int | np.integer) -> int:
        number = operator.index(key)
        if not -len(self) <= number < len(self):
            raise IndexError(f"item {number} of {len(self)}")
        return number % len(self)

    def _items(self, numbers: Sequence[int]) -> NDArray[Scalar]:
        items = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for place, number in enumerate(numbers):
            self.fill(number, items[place])
        return items


@dataclass(frozen=True)
class _Held(Generic[Scalar]):
    """Some items, and how the others are made."""

    fill: Callable[[int, NDArray[Scalar]], None]
    items: dict[int, NDArray[Scalar]]

    def __call__(self, number: int, item: NDArray[Scalar]) -> None:
        if number in self.items:
            item[...] = self.items[number]
        else:
            self.fill(number, item)


@dataclass(frozen=True)
class Mapped(Generic[Item, Made]):
    """The results of a function for each item, made anew on each walk, so that memory holds one at a time."""

    function: Callable[[Item], Made]
    items: Iterable[Item]

    def __iter__(self) -> Iterator[Made]:
        return map(self.function, self.items)
