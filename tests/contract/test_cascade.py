"""stages/faces/cascade.py against dlib's own predictor, and what it refuses."""

import dlib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from stages.base.errors import InputError
from stages.faces import cascade, landmarks


@pytest.fixture(scope="module")
def model():
    return cascade.read(landmarks.model_file())


@pytest.fixture(scope="module")
def looks():
    """Clouded pictures, and boxes in them of several sizes and shapes: (pictures, picture of each box, boxes)."""
    rng = np.random.default_rng(0)
    clouds = gaussian_filter(rng.normal(size=(3, 240, 320)), (0, 9, 9))
    pictures = np.clip(128 + 60 * clouds / clouds.std(), 0, 255).astype(np.uint8)
    corner = rng.integers([90, 70], [110, 80], (12, 2))
    boxes = np.concatenate([corner, corner + rng.integers(60, 90, (12, 2))], 1)
    return pictures, np.arange(12) % 3, boxes


def test_points_are_dlibs(model, looks):
    """dlib rounds to whole pixels; ours are real numbers.

    Where a position falls between two pixels, the last bit decides which one is seen, and now and then a tree then takes another
    way: 10 of 60 looks at rendered faces, by 2 pixels at most. Followed with dlib's own order of operations none did.
    """
    pictures, numbers, boxes = looks
    predictor = dlib.shape_predictor(str(landmarks.model_file()))
    shapes = [predictor(pictures[n], dlib.rectangle(*map(int, box))) for n, box in zip(numbers, boxes, strict=True)]
    expected = np.array([[(p.x, p.y) for p in shape.parts()] for shape in shapes])
    found = model(pictures, numbers, boxes.astype(np.float64))
    assert found.shape == (12, 68, 2)
    off = np.abs(found - expected).max((1, 2))
    assert (off < 0.505).sum() >= 9
    assert off.max() < 3


def test_a_look_does_not_depend_on_the_others(model, looks):
    pictures, numbers, boxes = looks
    together = model(pictures, numbers, boxes.astype(np.float64))
    for n in (0, 7):
        alone = model(pictures[numbers[n] :][:1], np.zeros(1, np.intp), boxes[n : n + 1].astype(np.float64))
        np.testing.assert_allclose(alone[0], together[n], atol=1e-3)


def test_a_file_that_is_cut_off_or_another_one_is_refused(tmp_path):
    content = landmarks.model_file().read_bytes()
    wrong = {
        "empty": b"",
        "text": b"this is no model\n" * 1000,
        "cut_off": content[:3_000_000],
        "without_its_end": content[:-3],
        "too_long": content + b"\1\1",
    }
    for name in ("empty", "text", "cut_off", "without_its_end", "too_long"):
        path = tmp_path / name
        path.write_bytes(wrong[name])
        with pytest.raises(InputError, match=rf"{name}: no landmark model of dlib that can be read here \(.+\); give "):
            cascade.read(path)


def written(value: int) -> bytes:
    """An integer as dlib writes it."""
    length = max((abs(value).bit_length() + 7) // 8, 1)
    return bytes([length | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(length, "little")


def test_reals_of_any_length_are_read_side_by_side():
    """Most mantissas take three bytes, some fewer, one row has zeros alone; exponents of either sign, one beyond a table."""
    rng = np.random.default_rng(1)
    mantissa = rng.integers(2**16, 2**24, (700, 9)) * rng.choice([-1, 1], (700, 9))
    short = rng.random(mantissa.shape) < 0.1
    mantissa[short] = rng.integers(-300, 300, short.sum())
    mantissa[5] = 0
    exponent = np.where(mantissa == 0, 0, rng.integers(-40, 10, mantissa.shape))
    exponent[3, 4], mantissa[3, 4] = -120, 2**23 + 1
    rows = [
        b"".join(written(int(m)) + written(int(e)) for m, e in zip(*row, strict=True))
        for row in zip(mantissa, exponent, strict=True)
    ]
    begins = 2 + np.cumsum([0, *map(len, rows)])
    reader = cascade._Reader(b"ab" + b"".join(rows) + bytes(100))
    values, ends = reader.rows(begins[:-1], 9)
    assert np.array_equal(values, np.ldexp(mantissa.astype(np.float32), exponent.astype(np.int32)))
    assert np.array_equal(ends, begins[1:])


def test_damage_does_not_go_unnoticed(tmp_path):
    """A byte that gives a number's length: all that follows would be read from the wrong place."""
    content = bytearray(landmarks.model_file().read_bytes()[:9_000_000])
    content[content.index(b"\x81\x88\x81\x01", 2000) + 4] ^= 1
    (tmp_path / "damaged").write_bytes(content)
    with pytest.raises(InputError, match="damaged: no landmark model"):
        cascade.read(tmp_path / "damaged")
