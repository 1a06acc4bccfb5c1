"""Faces and their 68 landmarks (iBUG numbering) with dlib: in one picture, or followed through a clip.

dlib's HOG detector costs about 12 ms on a 480x360 picture, so a clip's face is detected on every n-th frame and the last, near
where it was, and the box is interpolated in between. The landmarks (Kazemi and Sullivan 2014) are measured on every frame, for
all frames between some detections at once (:mod:`stages.faces.cascade`). Where they don't sit in the box as they did in the two
detections (by the points that neither speech nor blinks move, :data:`stages.faces.geometry.RIGID`), the face is detected on that
frame too. Carrying a box from frame to frame was tried: errors add up, 22 pixels within ten frames.

The detector sees the picture at sizes 5/6 apart, and its boxes, and with them the landmarks, depend on which these are. So a part
of a picture is scaled by a power of 5/6 for it, as the whole picture is: scaled to a face of 120 pixels instead, the landmarks'
95th percentile lay 1.2 to 1.4 times as far from those on whole pictures.

Pictures are uint8, (H, W) luma or (H, W, 3) RGB; boxes are (left, top, right, bottom); landmarks are float32 (68, 2) of
(x, y), both in pixels of the picture, the centre of the first pixel at (0, 0).
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import dlib
import numpy as np
from numpy.typing import NDArray

from stages import media
from stages.base.errors import InputError
from stages.faces import cascade
from stages.faces.geometry import RIGID, similarity, transform

PACKAGE, FILE = "face_recognition_models", "shape_predictor_68_face_landmarks.dat"
SHA256 = "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"
WINDOW = 80  # side of the HOG detector's window: no smaller face is found
PYRAMID = 5 / 6  # the detector's step from a size to the next
FACE_SIDE = 90  # a face whose size is known is scaled down for the detector, but not below this side
FIRST_STEPS = 2  # down the pyramid, at which a clip's face is searched at first
FIRST_SIDE = round(WINDOW / PYRAMID**FIRST_STEPS)  # of the smallest face found so, in a picture of 640 pixels
AROUND = 0.4  # of the box's side: how far around the box a face is searched that was there before
BATCH = 64  # pictures whose landmarks are measured at once
HELD = 32 * 2**20  # bytes that they take at most
WEAK = -0.5  # detector score that keeps a face which is already followed; a new face needs 0
SLIP = 0.1  # of the box's side: landmarks further off than this are not believed without a detection
LOOSE = 0.5  # landmarks that go with the box by more than this share of its shift are not believed either
PATCH, BOX = 240, 150  # side of the small picture that the landmarks are measured on, and of the face's box in it
# One look at a closing eye may take it for open. The mean over three boxes, shifted and scaled by 3 %, correlates better with
# the rendered eyelid (0.84 and 0.91 on two clips, against 0.68 and 0.82 for one box).
LOOKS = [(0.029, 0.009, 1.016), (-0.022, 0.021, 0.970), (-0.007, -0.030, 1.014)]  # right, down (of the side), scale
SETS_OF_LOOKS = ([(0.0, 0.0, 1.0)], [(0.015, 0.015, 1.015), (-0.015, -0.015, 0.985)], LOOKS)  # one, two, three

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
def _cascade() -> cascade.Cascade:
    return cascade.read(model_file())


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


def detect_first(image: Image) -> list[tuple[float, Box]]:
    """Faces in the whole picture like :func:`detect`, but smaller ones only where there is none of :data:`FIRST_SIDE` pixels.

    Two steps down the detector's pyramid half of its time is saved, and larger faces are seen at the same sizes as without.
    """
    gray = luma(image)
    found = _hog(gray, min(640 / max(gray.shape), 1.0) * PYRAMID**FIRST_STEPS, 0.0)
    return sorted(found, key=lambda face: (-_side(face[1]), *face[1])) if found else detect(gray)


def detect_landmarks(image: Image) -> Landmarks | None:
    """The landmarks of the largest face, or None where no face is found."""
    faces = detect(image)
    return landmarks(image, faces[0][1]) if faces else None


def landmarks(image: Image, box: Box) -> Landmarks:
    """The landmarks of the face in a box, to a fraction of a pixel: the mean over :data:`LOOKS`."""
    return look([image], [box], LOOKS).mean()[0]


@dataclass(frozen=True)
class Seen:
    """The landmarks of a face in each of N pictures by K looks, in pixels of a small picture around each face."""

    points_KNL2: Landmarks
    centre_KN2: Box  # of the boxes that were looked at, and half their sides
    half_KN2: Box
    corner_N12: Box  # where the small picture lies in its own, and its pixels over that one's
    scale_N11: Box

    def mean(self) -> Landmarks:
        """Over the looks, in pixels of the pictures: (N, 68, 2)."""
        mean = self.points_KNL2.mean(0)
        return ((mean + 0.5) / self.scale_N11 - 0.5 + self.corner_N12).astype(np.float32)


def look(images: Sequence[Image], boxes: Sequence[Box], looks: Sequence[tuple[float, float, float]]) -> Seen:
    """Look at a face in each picture, all at once; at most some :data:`BATCH`, whose small pictures are held.

    Args:
        images: luma or RGB.
        boxes: of the faces.
        looks: of each, how far right and down of its box, in sides, and how many times as large.
    """
    patches = np.empty((len(images), PATCH, PATCH), np.uint8)
    squares = [_around(box) for box in boxes]
    for number, image in enumerate(images):
        patches[number] = media.cut(luma(image), squares[number], PATCH)
    squares_N13 = np.array(squares)[:, None]
    corner_N12, scale_N11 = squares_N13[..., :2], PATCH / squares_N13[..., 2:]
    corners_N22 = np.stack(boxes).reshape(-1, 2, 2)
    corners_N22 = (corners_N22 - corner_N12 + 0.5) * scale_N11 - 0.5
    centre, half = corners_N22.mean(1), np.diff(corners_N22, axis=1)[:, 0] / 2
    shift, size = np.array(looks)[:, None, :2], np.array(looks)[:, None, 2:]
    centre, half = centre + 2 * half * shift, half * size  # by look, then picture: neighbours resemble each other
    seen = np.concatenate([centre - half, centre + half], -1)
    points = _cascade()(patches, np.tile(np.arange(len(images)), len(looks)), seen.reshape(-1, 4))
    return Seen(points.reshape(*seen.shape[:2], 68, 2), centre, half, corner_N12, scale_N11)


@dataclass
class _Found:
    """A detected face; its landmarks are measured later, with those of the pictures around."""

    box: Box
    points: Landmarks | None = None


@dataclass(frozen=True)
class _Picture:
    """A picture whose landmarks are to be measured: between two detections, or at one, which is both then."""

    image: Image
    before: _Found
    now: _Found
    share: float = 0.0  # of the way from the one to the other

    @property
    def box(self) -> Box:
        """Interpolated between the detections."""
        return (1 - self.share) * self.before.box + self.share * self.now.box


class FaceTracker:
    """Follows the largest face of a clip; one instance a clip.

    Attributes:
        faces_seen: the largest number of faces that :func:`detect_first` found in one whole picture.
    """

    def __init__(self, detect_every: int, looks: int) -> None:
        self.detect_every, self.looks, self.faces_seen = detect_every, SETS_OF_LOOKS[looks - 1], 0
        self._known: Box | None = None  # of the last detection, kept while the face is lost
        self._before: _Found | None = None  # the last detection, None while the face is lost

    def follow(self, images: Iterable[Image]) -> Iterator[Landmarks | None]:
        """The landmarks in each of a clip's pictures, in order; None where there is no face.

        At most two and a half times :data:`BATCH` pictures are held, or as large ones as :data:`HELD` bytes hold, at least one;
        the face is detected once in so many at least.
        """
        pending: list[Image] = []  # since the last detection
        batch: list[_Picture | None] = []
        for image in images:
            limit = max(min(BATCH, HELD // image.nbytes), 1)
            stretch = min(self.detect_every, limit)
            pending.append(image)
            # A stretch begins when half of the next is there, so that the last one need not be a short one.
            if self._before is None or len(pending) >= stretch + stretch // 2:
                first = min(stretch, len(pending))
                if len(batch) + first > limit:
                    yield from self._measure(batch)
                    batch = []
                batch += self._stretch(pending[:first])
                pending = pending[first:]
        if pending:
            batch += self._stretch(pending)
        yield from self._measure(batch)

    def _stretch(self, images: list[Image]) -> list[_Picture | None]:
        """Detect in the last of these pictures, which follow the last detection; None where there is no face."""
        before, now = self._before, self._detect(images[-1], self._known)
        self._before = now
        stretch: list[_Picture | None] = []
        for number, image in enumerate(images[:-1], 1):
            if before is not None and now is not None:
                stretch.append(_Picture(image, before, now, number / len(images)))
            else:
                seen = self._detect(image, self._known)
                stretch.append(None if seen is None else _Picture(image, seen, seen))
        return [*stretch, None if now is None else _Picture(images[-1], now, now)]

    def _measure(self, batch: list[_Picture | None]) -> list[Landmarks | None]:
        """The landmarks of all pictures at once; by a detection of its own where they slipped or came loose."""
        pictures = [picture for picture in batch if picture is not None]
        points_N, loose_N = self._look(pictures)
        for picture, points in zip(pictures, points_N, strict=True):
            if picture.before is picture.now:
                picture.now.points = points
        doubtful = [
            number
            for number, doubt in enumerate(_slipped(pictures, points_N) | loose_N)
            if doubt and pictures[number].before is not pictures[number].now
        ]
        again = {number: self._detect(pictures[number].image, pictures[number].box) for number in doubtful}
        seen = {number: _Picture(pictures[number].image, face, face) for number, face in again.items() if face}
        found = [None if number in again else points for number, points in enumerate(points_N)]
        for number, points in zip(seen, self._look(list(seen.values()))[0], strict=True):
            found[number] = points
        rest = iter(found)
        return [None if picture is None else next(rest) for picture in batch]

    def _look(self, pictures: list[_Picture]) -> tuple[Landmarks, NDArray[np.bool_]]:
        """The landmarks in each picture, (N, 68, 2), the mean over the looks at its box; and whether they came loose, (N,).

        The looks at a face agree, though their boxes differ: their rigid points lie apart by 0.05 to 0.3 of what the boxes do.
        Where no face is, in a flat or a noisy picture or beside the face, the points go with the box: 0.5 and more. A single
        look can't tell.
        """
        if not pictures:
            return np.empty((0, 68, 2), np.float32), np.empty(0, np.bool_)
        seen = look([picture.image for picture in pictures], [picture.box for picture in pictures], self.looks)
        centre, half = seen.centre_KN2, seen.half_KN2
        one, other = seen.points_KNL2[0][:, RIGID], seen.points_KNL2[-1][:, RIGID]
        with_box = (one - centre[0][:, None]) * (half[-1] / half[0])[:, None] + centre[-1][:, None]
        apart, boxes_apart = (np.square(there - one).sum((1, 2)) for there in (other, with_box))
        return seen.mean(), apart > LOOSE**2 * boxes_apart

    def _detect(self, image: Image, near: Box | None) -> _Found | None:
        """The followed face near where it was, else the largest in the picture that may be the same."""
        box = None
        if near is not None:
            around = [face for face in _detect_near(image, near) if _overlap(face[1], near) > 0.3]
            box = max(around, key=lambda face: face[0])[1] if around else None
        if box is None:
            faces = detect_first(image)
            self.faces_seen = max(self.faces_seen, len(faces))
            box = next((face for _, face in faces if self._may_be(face)), None)
        if box is None:
            return None
        self._known = box
        return _Found(box)

    def _may_be(self, box: Box) -> bool:
        """True if a box is near enough to the lost face; another person's is not."""
        if self._known is None:
            return True
        shift = np.linalg.norm((box[:2] + box[2:] - self._known[:2] - self._known[2:]) / 2)
        return bool(shift < 1.5 * _side(self._known) and 0.5 < _side(box) / _side(self._known) < 2)


def _around(box: Box) -> tuple[int, int, int]:
    """The square, (x, y, side), that becomes the small picture around a box; whole pixels, so that it need not be warped."""
    side = max(round(PATCH / BOX * _side(box)), 2)
    x, y = np.round((box[:2] + box[2:] + 1 - side) / 2).astype(int)
    return int(x), int(y), side


def _slipped(pictures: Sequence[_Picture], points_N: Landmarks) -> NDArray[np.bool_]:
    """True for landmarks that don't sit in the box as they did in the detections, (N,)."""
    if not pictures:
        return np.empty(0, np.bool_)
    rigid = points_N[:, RIGID]
    shares = np.array([picture.share for picture in pictures])[:, None]
    before = _carried([picture.before for picture in pictures], rigid)
    now = _carried([picture.now for picture in pictures], rigid)
    boxes = np.stack([picture.box for picture in pictures])
    off = np.abs((1 - shares) * before + shares * now - boxes).max(-1)
    return off > SLIP * (boxes[:, 2:] - boxes[:, :2]).max(-1)


def _carried(faces: Sequence[_Found], rigid: NDArray[np.float32]) -> Box:
    """The faces' boxes once their rigid points, (N, 13, 2), have moved to these: (N, 4)."""
    boxes = np.stack([face.box for face in faces])
    points = np.stack([face.points for face in faces if face.points is not None])
    motion = similarity(points[:, RIGID], rigid)
    centre = transform((boxes[:, None, :2] + boxes[:, None, 2:]) / 2, motion)[:, 0]
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * np.hypot(motion[:, 0, 0], motion[:, 1, 0])[:, None]
    return np.concatenate([centre - half, centre + half], -1)


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
    left, top = np.maximum(np.floor(box[:2] - AROUND * side), 0).astype(int)
    right, bottom = np.ceil(box[2:] + AROUND * side).astype(int)
    part = np.ascontiguousarray(gray[top:bottom, left:right])
    if min(part.shape) < WINDOW // 2:
        return []
    steps = max(int(np.log(FACE_SIDE / side) / np.log(PYRAMID)), 0)
    found = _hog(part, PYRAMID**steps if side > WINDOW else 2.0, WEAK)
    return [(score, face + np.array([left, top, left, top])) for score, face in found]


def _side(box: Box) -> float:
    return float(max(box[2] - box[0], box[3] - box[1]))


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = max(width, 0.0) * max(height, 0.0)
    return float(both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both))
