"""stages/faces/geometry.py against hand-made landmarks."""

import cv2
import numpy as np
import pytest
from conftest import landmarks_of

from stages.faces import geometry


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


def test_many_similarities_at_once_are_the_same_to_the_bit():
    landmarks = landmarks_of(np.random.default_rng(5), 30, 96)
    rigid = landmarks[:, geometry.RIGID]
    matrices = geometry.similarity(rigid, rigid[3])
    assert np.array_equal(matrices, np.stack([geometry.similarity(frame, rigid[3]) for frame in rigid]))
    moved = geometry.transform(landmarks, matrices)
    for frame, matrix, found in zip(landmarks, matrices, moved, strict=True):
        np.testing.assert_allclose(found, geometry.transform(frame, matrix), rtol=0, atol=1e-12)
    assert np.array_equal(
        geometry.transform(landmarks[0, 3], matrices[0]), geometry.transform(landmarks[0], matrices[0])[3]
    )


def test_a_frames_mask_by_itself_is_that_of_all_at_once():
    landmarks = landmarks_of(np.random.default_rng(6), 15, 96)
    draw, whole = geometry.clip_mask(landmarks, 0.12), geometry.clip_masks(landmarks, 96, 0.12)
    mask = np.ones((96, 96), np.bool_)
    for frame in (14, 0, 7):
        draw(frame, mask)
        assert np.array_equal(mask, whole[frame])


def test_masks_are_drawn_as_written():
    """The same, a frame after another and without a class."""
    landmarks = landmarks_of(np.random.default_rng(7), 20, 96).astype(np.float64)
    middle, rigid = landmarks[10], geometry.RIGID
    union = [geometry.transform(frame, geometry.similarity(frame[rigid], middle[rigid])) for frame in landmarks]
    hull = cv2.convexHull(np.concatenate(union).astype(np.float32))[:, 0].astype(np.float64)
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    circle = 0.12 * geometry.inter_ocular(middle) * np.stack([np.cos(angles), np.sin(angles)], -1)
    hull = cv2.convexHull((hull[:, None] + circle).reshape(-1, 2).astype(np.float32))[:, 0].astype(np.float64)
    for frame, found in zip(landmarks, geometry.clip_masks(landmarks, 96, 0.12), strict=True):
        expected = np.zeros((96, 96), np.uint8)
        polygon = geometry.transform(hull, geometry.similarity(middle[rigid], frame[rigid]))
        cv2.fillConvexPoly(expected, np.round(polygon * 16).astype(np.int32), 1, shift=4)
        assert np.array_equal(found, expected.astype(bool))


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
