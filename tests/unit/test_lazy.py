"""stages/base/lazy.py: an array that makes its items when asked reads as NumPy's does."""

import pickle
from functools import partial

import numpy as np
import pytest

from stages.base.lazy import LazyArray

WHOLE = np.arange(7 * 2 * 3, dtype=np.uint8).reshape(7, 2, 3)


def copy(whole: np.ndarray, number: int, item: np.ndarray) -> None:
    item[...] = whole[number]


LAZY = LazyArray(WHOLE.shape, WHOLE.dtype, partial(copy, WHOLE))
KEYS = [0, -1, np.int64(3), slice(None), slice(2, 5), slice(None, None, 2), slice(9, 12), slice(4, 1, -1), [1, 1, 6], [-1, 0],
        [], np.array([4, 2]), range(2, 6)]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_it_is_indexed_as_an_array_is(key):
    expected = (
        WHOLE[list(key)] if isinstance(key, range) else WHOLE[key] if len(np.shape(key)) == 0 or len(key) else WHOLE[:0]
    )
    assert np.array_equal(LAZY[key], expected)
    assert LAZY[key].dtype == WHOLE.dtype


def test_it_has_an_arrays_shape_and_becomes_one():
    assert (len(LAZY), LAZY.shape, LAZY.ndim, LAZY.dtype) == (7, (7, 2, 3), 3, np.uint8)
    assert np.array_equal(np.asarray(LAZY), WHOLE)
    assert np.asarray(LAZY, np.float32).dtype == np.float32
    assert np.array_equal(np.stack(list(LAZY)), WHOLE)
    with pytest.raises(ValueError, match="copy"):
        np.array(LAZY, copy=False)


@pytest.mark.parametrize("number", [7, -8])
def test_what_is_not_there_is_an_error(number):
    with pytest.raises(IndexError, match=f"item {number} of 7"):
        LAZY[number]
    with pytest.raises(IndexError):
        LAZY[[0, number]]


def test_only_what_is_asked_for_is_made():
    made = []

    def fill(number: int, item: np.ndarray) -> None:
        made.append(number)
        item[...] = WHOLE[number]

    lazy = LazyArray(WHOLE.shape, WHOLE.dtype, fill)
    head = lazy.head(4)
    assert head.shape == (4, 2, 3)
    assert made == []
    assert np.array_equal(head[-1], WHOLE[3])
    assert np.array_equal(lazy[2:4], WHOLE[2:4])
    assert made == [3, 2, 3]
    assert lazy.head(99).shape == WHOLE.shape


def test_it_can_be_sent_to_another_process():
    assert np.array_equal(pickle.loads(pickle.dumps(LAZY))[[5, 0]], WHOLE[[5, 0]])
