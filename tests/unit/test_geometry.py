"""stages/geometry.py against hand-made landmarks."""

import numpy as np
import pytest
from conftest import landmarks_of

from stages import geometry


def test_ear_by_hand():
    # 4 wide, lids 2 and 1 apart: (2 + 1) / (2 * 4)
    eye = np.array([[0, 0], [1, -1], [3, -0.5], [4, 0], [3, 0.5], [1, 1]], float)
    assert geometry.eye_aspect_ratio(eye) == pytest.approx(3 / 8)


def test_ear_is_left_then_right_and_0_when_closed():
    landmarks = landmarks_of(np.random.default_rng(0), 1, 128)[0]
    landmarks[geometry.LEFT_EYE] = [[0, 5], [1, 5], [2, 5], [3, 5], [2, 5], [1, 5]]
    left, right = geometry.ear(landmarks)
    assert left == pytest.approx(0, abs=1e-6)
    assert right > 0.2


def test_mouth_opening_by_hand():
    landmarks = np.zeros((68, 2))
    landmarks[45, 0] = 10.0  # eyes 10 apart
    landmarks[65:68, 1] = 3.0  # lower inner lip 3 below the upper
    assert geometry.mouth_opening(landmarks) == pytest.approx(0.3)


def test_similarity_recovers_a_known_transform():
    rng = np.random.default_rng(1)
    points, angle, scale, shift = rng.normal(size=(20, 2)), 0.4, 1.7, np.array([3.0, -2.0])
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = geometry.similarity(points, points @ linear.T + shift)
    np.testing.assert_allclose(found, np.column_stack([linear, shift]), atol=1e-12)
    np.testing.assert_allclose(geometry.transform(points, found), points @ linear.T + shift, atol=1e-12)


def test_masks_contain_all_landmarks():
    landmarks = landmarks_of(np.random.default_rng(2), 12, 96)
    masks = geometry.clip_masks(landmarks, 96, 0.12)
    for mask, points in zip(masks, np.round(landmarks).astype(int), strict=True):
        assert mask[points[:, 1], points[:, 0]].all()


def test_masks_have_one_shape_along_the_clip():
    masks = geometry.clip_masks(landmarks_of(np.random.default_rng(3), 20, 96), 96, 0.12)
    areas = masks.sum((1, 2))
    assert np.ptp(areas) <= 0.03 * areas.mean()  # the head moves; rasterising changes the rim only


def test_masks_do_not_follow_the_mouth():
    still = np.repeat(landmarks_of(np.random.default_rng(4), 1, 96), 10, 0)
    speaking = still.copy()
    opening = np.linspace(0, 12, 10)[:, None]
    speaking[:, 4:13, 1] += opening  # jaw
    speaking[:, 54:60, 1] += opening[:, :1]
    masks = geometry.clip_masks(speaking, 96, 0.12)
    assert (masks == masks[0]).all()
    assert masks[0].sum() > geometry.clip_masks(still, 96, 0.12)[0].sum()  # and it reaches to the widest opening
