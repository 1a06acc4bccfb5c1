"""Faces and their 68 landmarks (iBUG numbering) with dlib: in one picture, or followed through a clip.

dlib's HOG detector costs about 20 ms on a 480x360 picture, its landmarks (Kazemi and Sullivan 2014) 1 ms a look. So a clip's
face is detected on every n-th frame and the last, and the box is interpolated in between; the landmarks are measured on every
frame. Where they don't sit in the box as they did in the two detections (by the points that neither speech nor blinks move,
:data:`stages.geometry.RIGID`), the face is detected on that frame too. Carrying a box from frame to frame was tried: errors
add up, 22 pixels within ten frames.

Pictures are uint8, (H, W) luma or (H, W, 3) RGB; boxes are (left, top, right, bottom); landmarks are float32 (68, 2) of
(x, y), both in pixels of the picture, the centre of the first pixel at (0, 0).
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import dlib
import numpy as np
from numpy.typing import NDArray

from stages import memory
from stages.errors import InputError
from stages.geometry import RIGID, similarity, transform

PACKAGE, FILE = "face_recognition_models", "shape_predictor_68_face_landmarks.dat"
SHA256 = "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"
WINDOW = 80  # side of the HOG detector's window: no smaller face is found
FACE_SIDE = 120  # a face is scaled down to this side for the detector where its size is known
WEAK = -0.5  # detector score that keeps a face which is already followed; a new face needs 0
SLIP = 0.1  # of the box's side: landmarks further off than this are not believed without a detection
PATCH = 400  # side of the picture that the landmarks are measured on, and of the face in it: dlib gives whole pixels,
BOX = 250  # so the face is brought to one side first, which also makes the landmarks independent of its size
# One look at a closing eye may take it for open. The mean over three boxes, shifted and scaled by 3 %, correlates better with
# the rendered eyelid (0.84 and 0.91 on two clips, against 0.68 and 0.82 for one box) and adds 2 ms a frame.
LOOKS = [(0.029, 0.009, 1.016), (-0.022, 0.021, 0.970), (-0.007, -0.030, 1.014)]  # right, down (of the side), scale

Image = NDArray[np.uint8]
Box = NDArray[np.float64]
Landmarks = NDArray[np.float32]


def model_file() -> Path:
    """The landmark model inside its package, verified by hash; the package itself is not imported.

    Raises:
        InputError: the package or its file is missing, or the file is another one.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        raise InputError(PACKAGE, "the package with dlib's landmark model is not installed", "run 'make env'")
    path = Path(folders[0]) / "models" / FILE
    if not path.is_file():
        raise InputError(path, "no such file", f"install {PACKAGE}==0.3.0 again")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise InputError(path, f"sha256 is {found}, expected {SHA256}", f"install {PACKAGE}==0.3.0 again")
    return path


@cache
def _detector() -> Any:
    return dlib.get_frontal_face_detector()


@cache
def _predictor() -> Any:
    predictor = dlib.shape_predictor(str(model_file()))
    memory.huge_pages()  # each look reads 7,500 leaves of the model's trees, scattered over 65 MB
    return predictor


def luma(image: Image) -> Image:
    """(H, W, 3) RGB or (H, W) → (H, W), contiguous."""
    gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.ascontiguousarray(gray, np.uint8)


def detect(image: Image, *, threshold: float = 0.0) -> list[tuple[float, Box]]:
    """Faces in the whole picture as (score, box), the largest first.

    The picture is scaled down to 640 pixels for the detector; where that finds nothing it is searched at full size, and a
    small picture at double size.
    """
    gray = luma(image)
    longest = max(gray.shape)
    scales = [640 / longest, 1.0] if longest > 640 else [1.0, 2.0]
    for scale in scales:
        found = _hog(gray, scale, threshold)
        if found:
            return sorted(found, key=lambda face: (-_side(face[1]), *face[1]))
    return []


def detect_landmarks(image: Image) -> Landmarks | None:
    """The landmarks of the largest face, or None where no face is found."""
    faces = detect(image)
    return landmarks(image, faces[0][1]) if faces else None


def landmarks(image: Image, box: Box, looks: int = len(LOOKS)) -> Landmarks:
    """The landmarks of the face in a box, to a fraction of a pixel: the mean over the first ``looks`` of :data:`LOOKS`.

    A single look is at the box itself.
    """
    scale = BOX / max(_side(box), 1.0)
    offset = (PATCH - 1) / 2 - scale * (box[:2] + box[2:]) / 2
    to_patch = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
    patch = cv2.warpAffine(
        luma(image), to_patch, (PATCH, PATCH), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    seen = []
    for right, down, size in LOOKS[:looks] if looks > 1 else [(0.0, 0.0, 1.0)]:
        x, y, half = PATCH / 2 + right * BOX, PATCH / 2 + down * BOX, BOX / 2 * size
        rectangle = dlib.rectangle(round(x - half), round(y - half), round(x + half), round(y + half))
        seen.append([(p.x, p.y) for p in _predictor()(patch, rectangle).parts()])
    return ((np.mean(seen, 0) - offset) / scale).astype(np.float32)


@dataclass(frozen=True)
class _Found:
    """A detected face."""

    box: Box
    points: Landmarks

    def box_at(self, points: Landmarks) -> Box:
        """Where the box is when the face has moved to these landmarks, by its rigid points."""
        motion = similarity(self.points[RIGID], points[RIGID])
        centre = transform((self.box[:2] + self.box[2:]) / 2, motion)
        half = (self.box[2:] - self.box[:2]) / 2 * np.hypot(motion[0, 0], motion[1, 0])
        return np.concatenate([centre - half, centre + half])


class FaceTracker:
    """Follows the largest face of a clip; one instance a clip.

    Attributes:
        faces_seen: the largest number of faces found in one whole picture.
    """

    def __init__(self, detect_every: int, looks: int = len(LOOKS)) -> None:
        self.detect_every, self.looks, self.faces_seen = detect_every, looks, 0
        self._known: _Found | None = None  # the last detection, kept while the face is lost

    def follow(self, images: Iterable[Image]) -> Iterator[Landmarks | None]:
        """The landmarks in each of a clip's pictures, in order; None where there is no face.

        At most ``detect_every`` pictures are held: those since the last detection. Where the next one fails they are searched
        one by one.
        """
        before: _Found | None = None
        pending: list[Image] = []
        for image in images:
            pending.append(image)
            if before is None or len(pending) == self.detect_every:
                before, found = self._stretch(pending, before)
                pending = []
                yield from found
        if pending:
            yield from self._stretch(pending, before)[1]

    def _stretch(self, images: list[Image], before: _Found | None) -> tuple[_Found | None, list[Landmarks | None]]:
        """Detect in the last of these pictures, which follow the detection ``before``, and measure those in between."""
        now = self._detect(images[-1])
        found: list[Landmarks | None] = []
        for number, image in enumerate(images[:-1], 1):
            if before is not None and now is not None:
                found.append(self._between(image, before, now, number / len(images)))
            else:
                seen = self._detect(image)
                found.append(None if seen is None else seen.points)
        return now, [*found, None if now is None else now.points]

    def _between(self, image: Image, before: _Found, now: _Found, share: float) -> Landmarks | None:
        """Landmarks at ``share`` of the way between two detections; by a detection of its own where they don't fit.

        A face that is covered and seen again between two detections is not noticed.
        """
        box = (1 - share) * before.box + share * now.box
        points = landmarks(image, box, self.looks)
        implied = (1 - share) * before.box_at(points) + share * now.box_at(points)
        if np.abs(implied - box).max() <= SLIP * _side(box):
            return points
        seen = self._detect(image)
        return None if seen is None else seen.points

    def _detect(self, image: Image) -> _Found | None:
        """The followed face near where it was, else the largest in the picture that may be the same."""
        box = None
        if self._known is not None:
            near = [face for face in _detect_near(image, self._known.box) if _overlap(face[1], self._known.box) > 0.3]
            box = max(near, key=lambda face: face[0])[1] if near else None
        if box is None:
            faces = detect(image)
            self.faces_seen = max(self.faces_seen, len(faces))
            box = next((face for _, face in faces if self._may_be(face)), None)
        if box is None:
            return None
        self._known = _Found(box, landmarks(image, box, self.looks))
        return self._known

    def _may_be(self, box: Box) -> bool:
        """Whether a box is near enough to the face that was lost; another person's is not."""
        if self._known is None:
            return True
        shift = np.linalg.norm((box[:2] + box[2:] - self._known.box[:2] - self._known.box[2:]) / 2)
        return bool(shift < 1.5 * _side(self._known.box) and 0.5 < _side(box) / _side(self._known.box) < 2)


def _hog(gray: Image, scale: float, threshold: float) -> list[tuple[float, Box]]:
    if scale != 1:
        size = (max(round(gray.shape[1] * scale), 1), max(round(gray.shape[0] * scale), 1))
        resized = cv2.resize(gray, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        gray = resized.astype(np.uint8, copy=False)
    rectangles, scores, _ = _detector().run(gray, 0, threshold)
    corners = ((r.left(), r.top(), r.right(), r.bottom()) for r in rectangles)
    return [(float(s), np.array(c, np.float64) / scale) for s, c in zip(scores, corners, strict=True)]


def _detect_near(image: Image, box: Box) -> list[tuple[float, Box]]:
    """Faces around a box, also weak ones: a part of the picture, scaled so that the face just exceeds the window."""
    gray, side = luma(image), _side(box)
    left, top = np.maximum(np.floor(box[:2] - 0.6 * side), 0).astype(int)
    right, bottom = np.ceil(box[2:] + 0.6 * side).astype(int)
    part = np.ascontiguousarray(gray[top:bottom, left:right])
    if min(part.shape) < WINDOW // 2:
        return []
    found = _hog(part, min(FACE_SIDE / side, 1.0) if side > WINDOW else 2.0, WEAK)
    return [(score, face + np.array([left, top, left, top])) for score, face in found]


def _side(box: Box) -> float:
    return float(max(box[2] - box[0], box[3] - box[1]))


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = max(width, 0.0) * max(height, 0.0)
    return float(both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both))
