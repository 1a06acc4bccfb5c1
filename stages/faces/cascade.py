"""dlib's landmark model, evaluated for many looks at once: Kazemi and Sullivan 2014, "One Millisecond Face Alignment".

A look is a picture and a box in it. The model starts from the mean face in the box, and fifteen times a forest of 500 trees
looks at differences of two pixels around the face as it is believed to be, and corrects it. dlib takes one look at a time, and so
reads leaves scattered over 65 MB for each. Here a forest serves all looks before the next one begins, so that its leaves, 4 MB,
are read from the cache. Positions come as real numbers, where dlib rounds them to pixels.

K cascades (15), F pixels that a forest compares (500), R trees of a forest (500), S splits of a tree (15), V leaves (16), P
points (68), N looks, B pictures, H height, W width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from stages.base.errors import InputError

LEVELS = 4  # of a tree; dlib's files don't say it but by the number of splits
SPLITS, LEAVES = 2**LEVELS - 1, 2**LEVELS
SHORTEST, USUAL = 4, 6  # bytes of a real: a mantissa and an exponent, each with a byte that gives its length
BLOCK = 500  # rows of reals that are read at once: half a megabyte

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Cascade:
    """The model; call it with looks.

    ``first_KX`` and ``second_KX`` are the pixels that are compared, X = S·R, split by split; a tree goes to its right child where
    first − second ≤ ``threshold_KX``.
    """

    mean_P2: Float  # of a face in a box of side 1, the first pixel's corner at (0, 0)
    anchor_KF: NDArray[np.intp]  # the point of the face that a pixel moves with
    offset_KF2: Float  # and where it lies from there, in the mean face
    first_KX: NDArray[np.intp]
    second_KX: NDArray[np.intp]
    threshold_KX: NDArray[np.int16]
    leaves_YQ: tuple[Float, ...]  # corrections of each forest, Y = R·V tree by tree, Q = 2·P

    def __call__(
        self, pictures_BHW: NDArray[np.uint8], picture_N: NDArray[np.intp], boxes_N4: NDArray[np.floating]
    ) -> Float:
        """The points of the face in each look, (N, P, 2): (x, y) in pixels, pixel centres at whole numbers.

        Args:
            pictures_BHW: luma, uint8; beyond a picture's edge the edge is seen (dlib: black).
            picture_N: which picture each look is at.
            boxes_N4: (left, top, right, bottom) in its pixels.
        """
        height, width = pictures_BHW.shape[1:]
        pixels = pictures_BHW.reshape(-1)
        count, forests = len(picture_N), len(self.anchor_KF)
        trees = self.first_KX.shape[1] // SPLITS
        begins_N = (picture_N * (height * width)).astype(np.int32)
        corner_2N = np.ascontiguousarray(boxes_N4[:, :2].T, np.float32)
        side_2N = np.ascontiguousarray((boxes_N4[:, 2:] - boxes_N4[:, :2]).T, np.float32)
        centred_P2 = self.mean_P2 - self.mean_P2.mean(0)
        spread = np.square(centred_P2).sum()
        shape_NQ = np.tile(self.mean_P2.reshape(-1), (count, 1))
        for k in range(forests):
            x_PN, y_PN = shape_2PN = np.ascontiguousarray(shape_NQ.reshape(count, -1, 2).transpose(2, 1, 0))
            # The similarity that best turns the mean face into this one, least squares: a + bi.
            a_N = (centred_P2[:, 0] @ x_PN + centred_P2[:, 1] @ y_PN) / spread
            b_N = (centred_P2[:, 0] @ y_PN - centred_P2[:, 1] @ x_PN) / spread
            points_2PN = shape_2PN * side_2N[:, None] + (corner_2N + np.float32(0.5))[:, None]
            x_FN, y_FN = points_2PN.take(self.anchor_KF[k], 1)
            column_FN = _pixel(x_FN, self.offset_KF2[k], (a_N * side_2N[0], -b_N * side_2N[0]), width)
            row_FN = _pixel(y_FN, self.offset_KF2[k], (b_N * side_2N[1], a_N * side_2N[1]), height)
            value_FN = pixels.take(begins_N + width * row_FN + column_FN).astype(np.int16)
            difference_XN = value_FN.take(self.first_KX[k], 0)
            difference_XN -= value_FN.take(self.second_KX[k], 0)
            right_SRN = (difference_XN <= self.threshold_KX[k, :, None]).view(np.uint8).reshape(SPLITS, trees, count)
            shape_NQ += _sums(np.ascontiguousarray(_leaf(right_SRN).T), self.leaves_YQ[k])
        points_NP2 = shape_NQ.reshape(count, -1, 2)
        return points_NP2 * side_2N.T[:, None] + corner_2N.T[:, None]


def _pixel(anchor_FN: Float, offset_F2: Float, turn: tuple[Float, Float], size: int) -> NDArray[np.int32]:
    """Along a side of the picture, the number of the pixel that lies at an offset from its anchor; overwrites the anchors.

    Args:
        anchor_FN: pixels, the first one's edge at 0.
        offset_F2: to the right and down, in the mean face.
        turn: what a step to the right and a step down there are in pixels along this side, each (N,).
        size: of the side; beyond it the last pixel is taken.
    """
    for offset_F, turn_N in zip(offset_F2.T, turn, strict=True):
        anchor_FN += turn_N * offset_F[:, None]
    np.clip(anchor_FN, 0, size - 1, out=anchor_FN)
    return anchor_FN.astype(np.int32)


def _leaf(right_SRN: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The leaf of each look in each tree, (R, N): all splits are known, and a tree's path selects among them.

    Split 0 is the root; the children of split i are 2·i + 1, where ``right`` is 0, and 2·i + 2.
    """
    path: list[NDArray[np.uint8]] = []
    leaf_RN = np.zeros(right_SRN.shape[1:], np.uint8)
    for level in range(LEVELS):
        candidates = right_SRN[2**level - 1 : 2 ** (level + 1) - 1]
        for taken in path:
            low, high = candidates[: len(candidates) // 2], candidates[len(candidates) // 2 :]
            candidates = low ^ (taken & (low ^ high))
        path.append(candidates[0])
        leaf_RN = leaf_RN << 1 | candidates[0]
    return leaf_RN


def _sums(leaf_NR: NDArray[np.uint8], leaves_YQ: Float) -> Float:
    """The sum of the leaves that each look has come to, (N, Q).

    From one look to the next most trees come to the same leaf, where the looks follow a face. So only what changes is summed, a
    sparse product that adds the new leaf and takes away the old one, and then over the looks.
    """
    count, trees = leaf_NR.shape
    changed = leaf_NR[1:] != leaf_NR[:-1]
    where, flat = np.flatnonzero(changed), leaf_NR.ravel()
    begin = (where % trees).astype(np.int32) * LEAVES  # of the tree's leaves
    columns = np.empty((len(where), 2), np.int32)
    np.add(begin, flat[where + trees], out=columns[:, 0])
    np.add(begin, flat[where], out=columns[:, 1])
    ends = np.zeros(count, np.int32)
    np.cumsum(2 * np.count_nonzero(changed, 1), out=ends[1:])
    signs = np.tile(np.array([1, -1], np.float32), len(where))
    steps = csr_array((signs, columns.ravel(), ends), shape=(count - 1, len(leaves_YQ)))
    sums = np.empty((count, leaves_YQ.shape[1]), np.float32)
    sums[0] = leaves_YQ[np.arange(0, trees * LEAVES, LEAVES) + leaf_NR[0]].sum(0)
    sums[1:] = steps @ leaves_YQ
    return np.cumsum(sums, 0, out=sums)


# --- dlib's file -----------------------------------------------------------------------------------------------------


def read(path: Path) -> Cascade:
    """The model in a file as ``dlib.shape_predictor`` reads it; its trees must have four levels.

    dlib writes an integer as a byte that holds its length and sign and then its bytes, lowest first, and a real number as two
    integers, mantissa and exponent of 2. Where a number begins is known only when all before it are read; but each leaf
    starts with the same four bytes, the size of its vector, so that the leaves of a forest are read side by side, and each has
    to end where the next thing begins.

    Raises:
        InputError: the file is another kind of file, is cut off, or its trees are of another kind.
    """
    try:
        return _parse(path.read_bytes())
    except (_Unreadable, IndexError) as error:  # an index beyond the end of the file
        raise InputError(
            path, f"no landmark model of dlib that can be read here ({error})", "give another file"
        ) from None


class _Unreadable(Exception):
    pass


class _Reader:
    """Numbers one after another, and many side by side."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        # Eight bytes from any byte on, as one number; the last numbers of a file are read one after another.
        self._words = np.ndarray((max(len(data) - 7, 0),), np.dtype("<u8"), buffer=data, strides=(1,))

    def integer(self) -> int:
        """The integer that comes next."""
        head = self.data[self.at]
        start, self.at = self.at + 1, self.at + 1 + (head & 0x0F)
        if head & 0x70 or not 1 <= head & 0x0F <= 8 or self.at > len(self.data):
            raise _Unreadable("a number has no length that it can have")
        value = int.from_bytes(self.data[start : self.at], "little")
        return -value if head & 0x80 else value

    def expect(self, value: int, what: str) -> None:
        found = self.integer()
        if found != value:
            raise _Unreadable(f"{what}: {found}, expected {value}")

    def reals(self, count: int) -> Float:
        """The reals that come next."""
        return np.array([math.ldexp(self.integer(), self.integer()) for _ in range(count)], np.float32)

    def integers(self, at_N: NDArray[np.intp]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """The integers that begin at these bytes, and where they end."""
        value_N, taken_N = _integers(self._words[at_N])
        return value_N, at_N + taken_N

    def rows(self, at_N: NDArray[np.intp], count: int) -> tuple[Float, NDArray[np.intp]]:
        """``count`` reals from each of these bytes on, (N, C), and where they end.

        All but one in some 250 take six bytes. So a row is read as if all did; the first one that does not is read by itself, and
        what comes behind it again, from where it ends.
        """
        windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(self.data, np.uint8), USUAL * count)
        found_NC, begin_N = np.empty((len(at_N), count), np.float32), at_N.copy()
        odd_N = np.empty(len(at_N), np.intp)  # the first column with an odd one, C where there is none
        for start in range(0, len(at_N), BLOCK):
            block = slice(start, start + BLOCK)
            odd_N[block] = _usual(windows[begin_N[block]], found_NC[block])
        rows = np.flatnonzero(odd_N < count)
        while len(rows):
            column = odd_N[rows]
            found_NC[rows, column], taken = _reals(self._words[begin_N[rows] + USUAL * column])
            begin_N[rows] += taken - USUAL  # where the row would begin if all before had been usual
            again = np.empty((len(rows), count), np.float32)
            odd_N[rows] = _usual(windows[begin_N[rows]], again, column + 1)
            found_NC[rows] = np.where(np.arange(count) > column[:, None], again, found_NC[rows])
            rows = rows[odd_N[rows] < count]
        return found_NC, begin_N + USUAL * count


def _usual(raw_NB: NDArray[np.uint8], found_NC: Float, first_N: NDArray[np.intp] | None = None) -> NDArray[np.intp]:
    """Read rows of reals with a mantissa of three bytes and an exponent of one, in place.

    Returns:
        In each row the first column, of those from ``first_N`` on, that is no such real, (N,); C where there is none.
    """
    sides, strides = found_NC.shape, (raw_NB.strides[0], USUAL)
    word = np.ndarray(sides, "<u4", raw_NB, 0, strides).copy()
    power = POWERS.take(np.ndarray(sides, "<u2", raw_NB, 4, strides).copy())
    odd = (word & np.uint32(0x7F)) != 3
    odd |= power == 0
    if first_N is not None:
        odd &= np.arange(sides[1]) >= first_N[:, None]
    np.multiply(word >> np.uint32(8), power, out=found_NC, casting="unsafe", dtype=np.float32)
    word &= np.uint32(0x80)
    word <<= np.uint32(24)  # the sign
    found_NC.view(np.uint32)[...] |= word
    return np.where(odd.any(1), odd.argmax(1), sides[1])


def _powers() -> Float:
    """The power of 2 that the last two bytes of a usual real tell, taken as a number; 0 where they tell none, or one too far."""
    powers, exponents = np.zeros(2**16, np.float32), np.arange(100)
    for sign, head in ((1, 0x01), (-1, 0x81)):
        powers[exponents << 8 | head] = np.ldexp(np.float32(1), sign * exponents)
    return powers


def _reals(word_N: NDArray[np.uint64]) -> tuple[Float, NDArray[np.intp]]:
    """The reals that begin with these bytes, and how many they take."""
    mantissa_N, taken_N = _integers(word_N)
    if taken_N.max(initial=0) > USUAL - 2:
        raise _Unreadable("a real number with a mantissa of more than three bytes")
    exponent_N, more_N = _integers(word_N >> (8 * taken_N).astype(np.uint64))
    return np.ldexp(mantissa_N.astype(np.float32), exponent_N.astype(np.int32)), taken_N + more_N


def _integers(word_N: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """The integers that begin with these bytes, and how many they take."""
    length_N = (word_N & np.uint64(0x0F)).astype(np.intp)
    if (word_N & np.uint64(0x70)).any() or length_N.min(initial=1) < 1 or length_N.max(initial=1) > 7:
        raise _Unreadable("a number has no length that it can have")
    value_N = ((word_N >> np.uint64(8)) & MASKS[length_N]).astype(np.int64)
    return np.where(word_N & np.uint64(0x80), -value_N, value_N), 1 + length_N


MASKS = np.array([256**n - 1 for n in range(8)], np.uint64)
POWERS = _powers()


def _parse(data: bytes) -> Cascade:
    reader = _Reader(data)
    reader.expect(1, "version")
    mean = reader.reals(_vector(reader))
    forests = reader.integer()
    trees = [_forest(reader, len(mean)) for _ in range(forests)]
    reader.expect(forests, "lists of anchors")
    anchors = [[reader.integer() for _ in range(reader.integer())] for _ in range(forests)]
    reader.expect(forests, "lists of offsets")
    offsets = [reader.reals(2 * reader.integer()) for _ in range(forests)]
    if reader.at != len(data):
        raise _Unreadable(f"{len(data) - reader.at} bytes are left over")
    first, second, threshold, leaves = zip(*trees, strict=True)
    return Cascade(
        mean_P2=mean.reshape(-1, 2),
        anchor_KF=np.array(anchors, np.intp),
        offset_KF2=np.stack(offsets).reshape(forests, -1, 2),
        first_KX=np.stack(first),
        second_KX=np.stack(second),
        threshold_KX=np.stack(threshold),
        leaves_YQ=leaves,
    )


def _vector(reader: _Reader) -> int:
    """The length of the column vector that begins here; dlib writes its numbers of rows and columns as negative ones."""
    rows = -reader.integer()
    reader.expect(-1, "columns of a vector")
    return rows


def _forest(reader: _Reader, values: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int16], Float]:
    """First and second pixel and threshold of all splits, split by split, and the leaves tree by tree."""
    trees = reader.integer()
    head = _vector_head(values)
    begins = np.empty(trees * LEAVES, np.intp)
    at = reader.at
    for number in range(len(begins)):
        at = reader.data.find(head, at)
        if at < 0:
            raise _Unreadable("leaves are missing")
        begins[number] = at
        at += len(head) + SHORTEST * values
    leaves, ends = reader.rows(begins + len(head), values)
    last = ends[LEAVES - 1 :: LEAVES]  # of each tree's leaves
    count, at_R = reader.integers(np.concatenate([[reader.at], last[:-1]]))
    if (count != SPLITS).any():
        raise _Unreadable(f"a tree with other than {SPLITS} splits")
    pixels, thresholds = np.empty((2, SPLITS, trees), np.intp), np.empty((SPLITS, trees), np.float32)
    for split in range(SPLITS):
        for which in range(2):
            pixels[which, split], at_R = reader.integers(at_R)
        own_R1, at_R = reader.rows(at_R, 1)
        thresholds[split] = own_R1[:, 0]
    count, at_R = reader.integers(at_R)
    between = np.arange(len(begins)) % LEAVES != LEAVES - 1
    if (count != LEAVES).any() or (at_R != begins[::LEAVES]).any() or (ends[between] != begins[1:][between[:-1]]).any():
        raise _Unreadable(f"a tree with other than {LEAVES} leaves")
    reader.at = int(last[-1])
    # Pixels are whole numbers: their difference exceeds the threshold where it exceeds the whole number below it.
    whole = np.clip(np.floor(thresholds), -256, 255).astype(np.int16)
    return pixels[0].ravel(), pixels[1].ravel(), whole.ravel(), leaves


def _vector_head(rows: int) -> bytes:
    """The bytes before a vector's values."""
    return _negative(rows) + _negative(1)


def _negative(value: int) -> bytes:
    length = max((value.bit_length() + 7) // 8, 1)
    return bytes([0x80 | length]) + value.to_bytes(length, "little")
