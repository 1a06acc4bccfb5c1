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


def test_masks_of_a_head_that_does_not_turn_are_the_grown_hull_of_all_frames():
    """The same, a frame after another: the head moves by similarities, and the mouth opens."""
    rng = np.random.default_rng(7)
    face = landmarks_of(rng, 1, 96)[0].astype(np.float64)
    landmarks = np.repeat(face[None], 20, 0)
    landmarks[:, 4:13, 1] += 6 * np.abs(np.sin(np.arange(20)))[:, None]
    angle = 0.1 * np.sin(np.arange(20) / 5)
    turn = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], -2)
    landmarks = (landmarks - 48) @ turn.swapaxes(-1, -2) + 48 + rng.normal(size=(20, 1, 2))
    middle, rigid = landmarks[10], geometry.RIGID
    union = [geometry.transform(frame, geometry.similarity(frame[rigid], middle[rigid])) for frame in landmarks]
    hull = cv2.convexHull(np.concatenate(union).astype(np.float32))[:, 0].astype(np.float64)
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    circle = 0.12 * geometry.inter_ocular(middle) * np.stack([np.cos(angles), np.sin(angles)], -1)
    hull = cv2.convexHull((hull[:, None] + circle).reshape(-1, 2).astype(np.float32))[:, 0].astype(np.float64)
    for frame, found in zip(landmarks, geometry.clip_masks(landmarks, 96, 0.12), strict=True):
        expected = np.zeros((96, 96), np.uint8)
        polygon = geometry.transform(hull, geometry.similarity(middle[rigid], frame[rigid]))
        cv2.fillConvexPoly(expected, np.round(polygon * 16).astype(np.int32), 1, shift=4)
        assert (found != expected.astype(bool)).sum() < 0.02 * expected.sum()


def test_masks_of_a_head_that_turns_are_as_tight_as_those_of_each_frame():
    """A head with depth turns by 30 degrees to either side: the hull of all frames would be a fifth larger than each frame's."""
    face = landmarks_of(np.random.default_rng(8), 1, 128)[0].astype(np.float64)
    middle, wide = face.mean(0), np.ptp(face[:17, 0]) / 2
    aside = (face[:, 0] - face[:17, 0].mean()) / wide
    depth = wide * (np.sqrt(np.clip(1 - aside**2, 0, None)) - 0.5)
    depth[geometry.NOSE_TIP] += 0.3 * wide
    yaw = np.radians(30) * np.sin(np.arange(60) / 6)[:, None]
    landmarks = np.repeat(face[None], 60, 0)
    landmarks[..., 0] = middle[0] + (face[:, 0] - middle[0]) * np.cos(yaw) + depth * np.sin(yaw)
    masks = geometry.clip_masks(landmarks, 128, 0.12)
    alone = np.array([geometry.clip_masks(frame[None], 128, 0.12)[0].sum() for frame in landmarks])
    rigid = landmarks[:, geometry.RIGID]
    union = geometry.transform(landmarks, geometry.similarity(rigid, rigid[30])).reshape(1, -1, 2)
    at_once = cv2.contourArea(cv2.convexHull(union.astype(np.float32)[0]))
    by_frame = np.mean([cv2.contourArea(cv2.convexHull(frame.astype(np.float32))) for frame in landmarks])
    assert at_once / by_frame > 1.2
    assert (masks.sum((1, 2)) / alone).mean() < 1.1
    for mask, points in zip(masks, np.round(landmarks).astype(int), strict=True):
        assert mask[points[:, 1], points[:, 0]].all()


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


def test_steady_points_are_not_moved_by_lids_and_little_by_noise():
    """A head that turns and drifts; its eye corners go down and apart with the lids, as dlib's do, and all points are noisy."""
    rng = np.random.default_rng(4)
    face = landmarks_of(np.random.default_rng(0), 1, 128)[0].astype(float)
    time = np.arange(100)
    angle, shift = 0.1 * np.sin(time / 15), 3 * np.sin(time / 20)
    turn = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], -2)
    shut = np.zeros(100)
    for start in (20, 50, 80):
        shut[start : start + 6] = [0.4, 0.9, 1.0, 0.9, 0.6, 0.3]
    wide = float(np.linalg.norm(face[36] - face[45]))
    closed = np.repeat(face[None], 100, 0)
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        gap = face[lower] - face[upper]
        closed[:, upper] += 0.4 * shut[:, None] * gap
        closed[:, lower] -= 0.4 * shut[:, None] * gap
    for corner, away in ((36, (0.03, 0.06)), (45, (-0.03, 0.06)), (39, (0.0, 0.02)), (42, (0.0, 0.02))):
        closed[:, corner] += shut[:, None] * wide * np.array(away)

    def placed(points):
        return points @ turn.swapaxes(-1, -2) + shift[:, None, None]

    true = placed(np.repeat(face[None], 100, 0))
    seen = placed(closed) + rng.normal(0, 0.004 * wide, (100, 68, 2))
    found = geometry.steady(seen)
    others = np.setdiff1d(np.arange(68), geometry.RIGID)
    assert np.array_equal(found[:, others], seen[:, others]), "the rest stays"
    corners, blinks = geometry.EYE_CORNERS, shut > 0.5
    before = np.abs(seen - true)[blinks][:, corners].mean() / wide
    after = np.abs(found - true)[blinks][:, corners].mean() / wide
    assert before > 0.02
    assert after < 0.4 * before
    quiet = shut == 0
    noise = [np.abs(points - true)[quiet][:, geometry.RIGID].std() for points in (seen, found)]
    assert noise[1] < 0.7 * noise[0]


def test_steady_points_of_few_frames():
    face = landmarks_of(np.random.default_rng(0), 1, 128)[0].astype(float)
    assert np.array_equal(geometry.steady(face[None]), face[None])
    np.testing.assert_allclose(geometry.steady(np.repeat(face[None], 3, 0)), np.repeat(face[None], 3, 0), atol=1e-9)
    assert geometry.steady(np.zeros((0, 68, 2))).shape == (0, 68, 2)


def test_weights_of_a_similarity():
    rng = np.random.default_rng(2)
    points = rng.normal(0, 10, (6, 2))
    move = np.array([[0.9, -0.3, 4.0], [0.3, 0.9, -2.0]])
    there = geometry.transform(points, move)
    there[5] += 8
    np.testing.assert_allclose(geometry.similarity(points, there, np.array([1.0, 1, 1, 1, 1, 0])), move, atol=1e-9)
    np.testing.assert_allclose(
        geometry.similarity(points, there, np.ones(6)), geometry.similarity(points, there), atol=1e-9
    )
