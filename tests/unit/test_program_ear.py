"""DinoMan's eye aspect ratio: one box a frame, whole pixels, the last box where there is no face, and 0 before the first."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.faces import observed

BOX = np.array([20.0, 22.0, 90.0, 92.0])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """The questions to dlib's model; it answers with eyes 8 pixels wide and 2 high, the left one 4 high."""
    given: list[tuple[NDArray[np.uint8], NDArray[np.float64]]] = []
    points = np.zeros((68, 2), np.int64)
    for first, height in ((36, 2), (42, 4)):
        points[first : first + 6] = [(0, 2), (3, 0), (5, 0), (8, 2), (5, height), (3, height)]

    def answer(gray: NDArray[np.uint8], box: NDArray[np.float64]) -> NDArray[np.int64]:
        given.append((gray, box))
        return points

    monkeypatch.setattr(observed, "whole_pixels", answer)
    return given


def test_the_last_box_stands_in_and_before_the_first_the_ratio_is_zero(asked: list) -> None:
    frames = np.zeros((4, 128, 130, 3), np.uint8)
    found = observed.program_ear(frames, [None, BOX, None, BOX + 1])
    assert found.tolist() == [0.0, *[(2 / 8 + 4 / 8) / 2] * 3]
    assert [box.tolist() for _, box in asked] == [BOX.tolist(), BOX.tolist(), (BOX + 1).tolist()]


def test_the_picture_is_grey_by_its_weights_and_small_ones_are_enlarged(asked: list) -> None:
    frames = np.full((1, 64, 70, 3), (200, 100, 50), np.uint8)
    observed.program_ear(frames, [BOX / 2])
    gray, box = asked[0]
    assert gray.shape == (128, 140)
    assert set(np.unique(gray)) == {round(0.2125 * 200 + 0.7154 * 100 + 0.0721 * 50)}
    assert box.tolist() == BOX.tolist()
    observed.program_ear(np.zeros((1, 300, 200, 3), np.uint8), [BOX])
    assert asked[1][0].shape == (300, 200)


def test_no_face_at_all_is_no_blink(asked: list) -> None:
    assert observed.program_ear(np.zeros((3, 128, 128, 3), np.uint8), [None] * 3).tolist() == [0.0] * 3
    assert not asked


def test_the_model_gives_whole_pixels() -> None:
    points = observed.whole_pixels(np.zeros((128, 128), np.uint8), BOX)
    assert points.shape == (68, 2)
    assert points.dtype == np.int64
    assert (np.abs(points - 57) < 80).all()
