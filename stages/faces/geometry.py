"""Geometry of the 68 landmarks (iBUG numbering, from 0): eye aspect ratio, mouth opening, rigid motion and the face mask.

Landmarks are (..., 68, 2) float arrays of (x, y) in pixels. T frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.base.series import moving_mean

Array = NDArray[np.floating]

RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)  # the subject's own right and left
RIGHT_BROW, LEFT_BROW = slice(17, 22), slice(22, 27)
MOUTH, INNER_LIPS = slice(48, 68), slice(60, 68)
# Points that neither speech nor blinks move: nose bridge, nostrils, eye corners.
NOSE_TIP, EYE_CORNERS = [29, 30], [36, 39, 42, 45]
RIGID = np.array([27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 39, 42, 45])
STEADY_S = 0.28  # over which their places are averaged
CORNERS_COUNT = 0.05  # of an eye corner, for a point of the nose, where the nose is to tell the head's place
OPEN_LIDS = 80  # percentile of a clip's eye aspect ratio that is taken as open
SIDES, BLOCK = 64, 250  # of the mask's outline; frames
TURN_PRIOR = 0.01  # of a turn, distances of the eye corners: a clip whose head turns less says little of how landmarks go with it
LIDS_PRIOR = 5e-4  # variance of the closing below which a clip says little of how corners go with it


def eye_aspect_ratio(eye_62: Array) -> Array:
    """EAR of one eye, (..., 6, 2) → (...): (|p2-p6| + |p3-p5|) / (2 |p1-p4|), Soukupová and Čech 2016, eq. (1)."""
    p = np.moveaxis(np.asarray(eye_62, np.float64), -2, 0)
    height = np.linalg.norm(p[1] - p[5], axis=-1) + np.linalg.norm(p[2] - p[4], axis=-1)
    return height / (2 * np.maximum(np.linalg.norm(p[0] - p[3], axis=-1), 1e-6))


def ear(landmarks: Array) -> Array:
    """(..., 68, 2) → (..., 2): EAR of the subject's left and right eye."""
    return np.stack([eye_aspect_ratio(landmarks[..., LEFT_EYE, :]), eye_aspect_ratio(landmarks[..., RIGHT_EYE, :])], -1)


def inter_ocular(landmarks: Array) -> Array:
    """(..., 68, 2) → (...): distance of the outer eye corners, pixels."""
    return np.linalg.norm(landmarks[..., 36, :] - landmarks[..., 45, :], axis=-1)


def mouth_opening(landmarks: Array) -> Array:
    """(..., 68, 2) → (...): mean inner-lip gap (61-67, 62-66, 63-65) over the inter-ocular distance."""
    gap = np.linalg.norm(landmarks[..., 61:64, :] - landmarks[..., [67, 66, 65], :], axis=-1).mean(-1)
    return gap / np.maximum(inter_ocular(landmarks), 1e-6)


def head_axes(landmarks: Array) -> tuple[Array, Array, Array, Array]:
    """The head's place by three points, the outer eye corners and the nose's base: the point between the eyes, (..., 2); unit
    vectors across and down the face, (..., 2, 2); the distance of the eye corners, and the one from the eyes down to the nose's
    base, (...), pixels.
    """
    points = np.asarray(landmarks, np.float64)
    right_eye, left_eye, nose = (points[..., i, :] for i in (36, 45, 33))
    eyes, across = (right_eye + left_eye) / 2, left_eye - right_eye
    distance = np.maximum(np.hypot(across[..., 0], across[..., 1]), 1e-6)
    right = across / distance[..., None]
    down = np.stack([-right[..., 1], right[..., 0]], -1)
    return eyes, np.stack([right, down], -2), distance, ((nose - eyes) * down).sum(-1)


def nose_tip(landmarks: Array) -> Array:
    """The place of the nose's tip across and down from the middle of the eye corners, in distances of the outer ones.

    (..., 68, 2) → (..., 2). The tip lies before the face, so that it tells of the head's turn out of the picture's plane.
    """
    points = np.asarray(landmarks, np.float64)
    _, axes, distance, _ = head_axes(points)
    tip = points[..., NOSE_TIP, :].mean(-2) - points[..., EYE_CORNERS, :].mean(-2)
    return (axes @ tip[..., None])[..., 0] / distance[..., None]


def head_turns(landmarks_TL2: Array, frames: Sequence[int]) -> Array:
    """The head's turn out of the picture's plane, aside and down, in some of a clip's frames: (T, 68, 2) → (N, 2).

    Measured by :func:`nose_tip`, a mean over five frames. Only differences between frames of one clip mean something.
    """
    around = np.clip(np.asarray(frames)[:, None] + np.arange(-2, 3), 0, len(landmarks_TL2) - 1)
    points = np.asarray(landmarks_TL2[around], np.float64)
    return nose_tip(points).mean(-2)


def similarity(source_L2: Array, target_L2: Array, weights_L: Array | None = None) -> Array:
    """The 2×3 similarity (rotation, scale, shift) that best maps source onto target in least squares; Umeyama 1991.

    (..., L, 2) and (..., L, 2) → (..., 2, 3); with weights, points count so much.
    """
    source, target = (np.ascontiguousarray(points, np.float64) for points in (source_L2, target_L2))
    if weights_L is None:
        mean_s, mean_t = source.mean(-2), target.mean(-2)
        s, t = source - mean_s[..., None, :], target - mean_t[..., None, :]
    else:
        share_L1 = (np.asarray(weights_L, np.float64) / np.sum(weights_L))[:, None]
        mean_s, mean_t = (source * share_L1).sum(-2), (target * share_L1).sum(-2)
        root = np.sqrt(share_L1)
        s, t = root * (source - mean_s[..., None, :]), root * (target - mean_t[..., None, :])
    scale = _total(s**2)
    a = _total(s * t) / scale
    b = (s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0]).sum(-1) / scale
    linear = np.stack([np.stack([a, -b], -1), np.stack([b, a], -1)], -2)
    return np.concatenate([linear, (mean_t - (linear @ mean_s[..., None])[..., 0])[..., None]], -1)


def _total(values_L2: Array) -> Array:
    """(..., L, 2) → (...)."""
    return values_L2.reshape(*values_L2.shape[:-2], -1).sum(-1)


def transform(points_L2: Array, matrix_23: Array) -> Array:
    """Apply a 2×3 affine matrix to points (..., 2), or each of many matrices (T, 2, 3) to its own points (T, L, 2)."""
    shift = matrix_23[..., 2] if matrix_23.ndim == 2 else matrix_23[..., None, :, 2]
    return points_L2 @ np.swapaxes(matrix_23[..., :2], -1, -2) + shift


def transform_back(points_TL2: Array, matrix_T23: Array) -> Array:
    """The points that :func:`transform` would carry to these, each of many matrices (T, 2, 3) for its own points (T, L, 2)."""
    return (points_TL2 - matrix_T23[:, None, :, 2]) @ np.linalg.inv(matrix_T23[..., :2]).swapaxes(-1, -2)


def steady(landmarks_TL2: Array, fps: float = 25.0) -> NDArray[np.float64]:
    """Landmarks whose rigid points move with the head alone, (T, 68, 2) → (T, 68, 2): the others stay as they are.

    Where lids shut, dlib's eye corners move: by 0.06 of the inter-ocular distance in people, as much as an eye is high. With
    them a picture that is carried from one frame onto another would jump in each blink. So how far each corner goes with the
    lids' closing is fitted in the clip, in the head's own frame, which the nose tells, and taken off. What is left of the
    points' noise is averaged over some frames.

    Measured by the reference frame carried onto others (``benchmarks/steady.py``): 11.9 for 21.7 grey levels in blinks of people,
    8.2 for 9.0 in other frames; 9.7 for 14.4 and 7.9 for 9.1 in rendered people.
    """
    points = np.array(landmarks_TL2, np.float64)
    if len(points) < 2:
        return points
    rigid, lids = points[:, RIGID], ear(points).mean(-1)
    is_corner = np.isin(RIGID, EYE_CORNERS)
    shape_L2 = np.median(transform(rigid, similarity(rigid, rigid[len(rigid) // 2])), 0)
    heads_T23 = similarity(shape_L2[None], rigid, np.where(is_corner, CORNERS_COUNT, 1.0))
    corners = rigid[:, is_corner]
    away = transform_back(corners, heads_T23) - shape_L2[is_corner]
    wide = max(float(np.percentile(lids, OPEN_LIDS)), 1e-6)
    shut = np.clip(1 - lids / wide, 0, None)
    course = shut - shut.mean()
    drift = np.tensordot(course, away - away.mean(0), 1) / (course @ course + LIDS_PRIOR * len(points))
    corners = corners - shut[:, None, None] * drift @ heads_T23[:, :, :2].swapaxes(-1, -2)
    rigid = rigid.copy()
    rigid[:, is_corner] = corners
    points[:, RIGID] = moving_mean(rigid, round(STEADY_S * fps) // 2)
    return points


def grown_hull(landmarks_L2: Array, size: int, growth: float) -> NDArray[np.bool_]:
    """The convex hull of some landmarks, grown by ``growth`` times its width and one pixel at least: (size, size)."""
    canvas = np.zeros((size, size), np.uint8)
    points = np.asarray(landmarks_L2, np.float64)
    hull = cv2.convexHull(np.round(points * 16).astype(np.int32))
    cv2.fillConvexPoly(canvas, hull, 1, shift=4)
    radius = max(1, round(growth * float(np.ptp(points[:, 0]))))
    return cv2.dilate(canvas, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)).astype(bool)


@dataclass(frozen=True)
class MaskShape:
    """The face mask of a clip: a convex outline on the middle frame, which changes with the head's turn and with nothing else.

    It is told by how far it reaches in K directions, the 2πk/K.
    """

    on_R2: Array  # the middle frame's rigid points, pixels
    reach_LK: Array  # of the places of each landmark in all frames, what the turn explains taken off, pixels
    slope_2LK: Array  # what the turn adds, by how far the head is turned aside and down
    turn_2: Array  # the mean turn
    radius: float  # that it is grown by, pixels

    def outlines(self, landmarks_NL2: Array, turns_N2: Array) -> NDArray[np.float64]:
        """Polygons in frames with these landmarks and turns (:func:`head_turns`): (N, K, 2)."""
        turned_NLK = np.tensordot(np.asarray(turns_N2) - self.turn_2, self.slope_2LK, 1)
        reach_NK = (self.reach_LK + turned_NLK).max(1) + self.radius
        # The corners of the polygon whose sides lie at these distances, each where two neighbours meet.
        next_NK, (along_K2, after_K2) = np.roll(reach_NK, -1, -1), (_directions(0), _directions(1))
        across = reach_NK * after_K2[:, 1] - next_NK * along_K2[:, 1]
        down = next_NK * along_K2[:, 0] - reach_NK * after_K2[:, 0]
        corners_NK2 = np.stack([across, down], -1) / np.sin(2 * np.pi / SIDES)
        # From the frame onto the middle one, as in mask_shape, and back: so no landmark is left out.
        onto = similarity(np.asarray(landmarks_NL2)[:, RIGID], self.on_R2)
        return np.asarray(transform_back(corners_NK2, onto), np.float64)


@dataclass(frozen=True)
class ClipMask:
    """The face mask in each frame of a clip."""

    shape: MaskShape
    landmarks_TL2: Array
    turns_T2: Array

    def __call__(self, frame: int, mask_HW: NDArray[np.bool_]) -> None:
        """Draw the mask of a frame into an array, contiguous; true where the face is generated."""
        some = slice(frame, frame + 1)
        draw_mask(self.shape.outlines(self.landmarks_TL2[some], self.turns_T2[some])[0], mask_HW)


def _directions(first: int) -> NDArray[np.float64]:
    angles = 2 * np.pi * (np.arange(SIDES) + first) / SIDES
    return np.stack([np.cos(angles), np.sin(angles)], -1)


def draw_mask(outline_P2: Array, mask_HW: NDArray[np.bool_]) -> None:
    """Fill a mask, contiguous, with a convex polygon."""
    mask_HW[...] = False
    cv2.fillConvexPoly(mask_HW.view(np.uint8), np.round(outline_P2 * 16).astype(np.int32), 1, shift=4)


def mask_shape(landmarks_TL2: Array, dilation: float, *, turn_prior: float = TURN_PRIOR) -> MaskShape:
    """The face mask of a clip with these landmarks, (T, 68, 2).

    All frames' landmarks are brought onto the middle frame by the similarity of their rigid points. Where the head turns out of
    the picture's plane they move there; how far each goes with the turn is fitted in the clip, and taken off. The hull of their
    union, which reaches to the clip's largest jaw opening, is grown by ``dilation`` inter-ocular distances. So the mask follows
    the head only, its place and its turn: it can't tell how far the mouth is open.
    """
    landmarks = np.asarray(landmarks_TL2, np.float64)
    middle = landmarks[len(landmarks) // 2]
    places = transform(landmarks, similarity(landmarks[:, RIGID], middle[RIGID]))
    turns = head_turns(landmarks, range(len(landmarks)))
    turn, mean = turns.mean(0), places.mean(0)
    course = turns - turn
    slope_2L2 = np.linalg.solve(
        course.T @ course + len(course) * turn_prior**2 * np.eye(2),
        np.tensordot(course.T, places - mean, 1).reshape(2, -1),
    ).reshape(2, *mean.shape)
    left = places - np.tensordot(course, slope_2L2, 1)
    directions = _directions(0).T
    # Some frames at a time: the reach of each would take more memory than all else of a long clip.
    reach_LK = np.max([(left[first : first + BLOCK] @ directions).max(0) for first in range(0, len(left), BLOCK)], 0)
    return MaskShape(middle[RIGID], reach_LK, slope_2L2 @ directions, turn, dilation * float(inter_ocular(middle)))


def clip_mask(landmarks_TL2: Array, dilation: float) -> ClipMask:
    """The masks of a clip with these landmarks, (T, 68, 2), drawn when they are asked for; see :func:`mask_shape`."""
    landmarks = np.asarray(landmarks_TL2, np.float64)
    return ClipMask(mask_shape(landmarks, dilation), landmarks, head_turns(landmarks, range(len(landmarks))))


def clip_masks(landmarks_TL2: Array, size: int, dilation: float) -> NDArray[np.bool_]:
    """All masks of a clip at once, (T, 68, 2) → (T, size, size); see :func:`mask_shape`."""
    draw, masks = clip_mask(landmarks_TL2, dilation), np.empty((len(landmarks_TL2), size, size), np.bool_)
    for frame, mask in enumerate(masks):
        draw(frame, mask)
    return masks
