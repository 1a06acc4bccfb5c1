"""A still picture: read, its face chosen and measured, its head moved. H, W pixels, T frames, L = 68 landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from stages import media
from stages.base import places
from stages.base.errors import ClipError, InputError
from stages.corpora.rendered.paths import smoothstep
from stages.faces import landmarks
from stages.faces.geometry import NOSE_TIP, ear, head_axes, inter_ocular

Picture = NDArray[np.uint8]
Points = NDArray[np.float64]
Box = NDArray[np.float64]

MAX_PIXELS = 8192 * 8192
LEAST_SIDE = 60  # pixels of a face; the detector finds none of less than some 40
SHUT_EAR = 0.18  # of a portrait whose eyes are shut: rendered ones have 0.16, a blink of the training 0.15
LENT_SIDE = 640  # pixels; a video that lends motion or blinks is scaled down to it
WHICH = ("one", "largest", "left", "right")
# Half-axes of what moves with the head, and how far beyond it fades, in distances of the eye corners.
HEAD, FADE = np.array([1.35, 1.75]), 0.8
TURNED = 0.3  # of half the eye corners' distance: how far the nose's tip stands aside of a face that is turned away


def is_video(path: Path) -> bool:
    """True if a file is read as a video: by its ending, or because it is no picture; a moving picture is a video."""
    if not path.is_file():
        return path.suffix.lower() in places.VIDEO_SUFFIXES
    try:
        with Image.open(path) as found:
            return getattr(found, "n_frames", 1) > 1 and found.format in ("GIF",)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        pass
    try:
        media.frame_rate(path)
    except ClipError:
        return path.suffix.lower() in places.VIDEO_SUFFIXES
    return True


def read_picture(path: Path, max_side: int) -> Picture:
    """An upright RGB picture (H, W, 3), transparency over white, scaled down to ``max_side``, sides even.

    Raises:
        InputError: it is missing, no picture, or too large to be decoded.
    """
    try:
        with Image.open(path) as found:
            if found.width * found.height > MAX_PIXELS:
                raise InputError(path, f"{found.width}x{found.height} pixels", f"scale it below {MAX_PIXELS:,} pixels")
            upright = ImageOps.exif_transpose(found)
            if upright.has_transparency_data:
                upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright.convert("RGBA"))
            image = upright.convert("RGB")
    except FileNotFoundError:
        raise InputError(path, "no such file", "name a picture of a face") from None
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(path, f"not a picture that can be read ({error})", "save it as PNG or JPEG") from None
    if max(image.size) > max_side:
        share = max_side / max(image.size)
        image = image.resize(
            (max(round(image.width * share), 2), max(round(image.height * share), 2)), Image.Resampling.LANCZOS
        )
    return scaled(np.asarray(image), max_side)


def scaled(pixels: Picture, max_side: int) -> Picture:
    """A picture scaled down to ``max_side``, its sides even."""
    height, width = pixels.shape[:2]
    if max(height, width) > max_side:
        share = max_side / max(height, width)
        size = (max(round(width * share), 2), max(round(height * share), 2))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return np.ascontiguousarray(pixels[: len(pixels) // 2 * 2, : pixels.shape[1] // 2 * 2])


def choose(path: Path, picture: Picture, which: str, *, blinks: bool = True) -> Points:
    """The landmarks of a picture's face, (68, 2); ``which``: of :data:`WHICH`, a number from the left, or "x,y".

    Raises:
        InputError: there is no face; like :func:`pick`; it is turned away, or its eyes are shut and it is to blink.
    """
    boxes = faces(picture)
    if not boxes:
        raise InputError(
            path, f"no face found{_turned(picture)}", "take a picture in which it looks at the camera, larger"
        )
    points = landmarks.landmarks(picture, pick(path, boxes, which)).astype(np.float64)
    aside = turn(points)
    if abs(aside) > TURNED:
        raise InputError(path, f"the face is turned away (its nose stands {aside:+.2f} aside, of {TURNED:g})",
                         "take a picture in which it looks at the camera")  # fmt: skip
    if blinks and ear(points).mean() < SHUT_EAR:
        raise InputError(path, f"the eyes are shut (eye aspect ratio {ear(points).mean():.2f})",
                         "blinks need open ones: give another picture, or --blink off")  # fmt: skip
    return points


def turn(points_L2: Points) -> float:
    """The turn of a face to the side: the place of the nose's tip across the face, from the middle of the outer eye corners, in
    halves of their distance.
    """
    eyes, axes, distance, _ = head_axes(points_L2)
    return float((points_L2[NOSE_TIP[-1]] - eyes) @ axes[0] / (distance / 2))


def faces(picture: Picture) -> list[Box]:
    """The boxes of a picture's faces, from the left."""
    return sorted((box for _, box in landmarks.detect(picture)), key=lambda box: box[0])


def pick(path: Path, boxes: list[Box], which: str) -> Box:
    """The box of the face that is asked for, of those there are.

    Raises:
        InputError: there are several where one was asked for, none at that place, or it is too small.
    """
    centres = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in boxes]
    listed = "; ".join(f"{n}: {x:.0f},{y:.0f}" for n, (x, y) in enumerate(centres, 1))
    fix = f"say which by --which {', '.join(WHICH[1:])}, a number, or x,y"
    box = None
    if which == "one" and len(boxes) == 1:
        box = boxes[0]
    elif which == "one":
        raise InputError(path, f"{len(boxes)} faces ({listed})", fix)
    elif which in WHICH:
        box = {"largest": max(boxes, key=lambda b: b[2] - b[0]), "left": boxes[0], "right": boxes[-1]}[which]
    elif which.isdecimal() and 1 <= int(which) <= len(boxes):
        box = boxes[int(which) - 1]
    else:
        try:
            x, y = map(float, which.split(","))
        except ValueError:
            raise InputError(path, f"--which is {which!r}, and the faces are {listed}", fix) from None
        box = next((b for b in boxes if b[0] <= x <= b[2] and b[1] <= y <= b[3]), None)
    if box is None:
        raise InputError(path, f"no face at --which {which}; the faces are {listed}", fix)
    side = float(box[2] - box[0])
    if side < LEAST_SIDE:
        raise InputError(path, f"the face is {side:.0f} pixels wide", f"give one of {LEAST_SIDE} pixels or more")
    return box


def _turned(picture: Picture) -> str:
    """The message for a picture in which a face is found once it is turned."""
    found = {}
    for turns, words in ((1, "left"), (3, "right"), (2, "round")):
        faces = landmarks.detect(np.ascontiguousarray(np.rot90(picture, turns)))
        found[words] = max((score for score, _ in faces), default=-np.inf)
    best = max(found, key=lambda words: found[words])
    return f"; it lies on its side: turn it {best}" if np.isfinite(found[best]) else ""


@dataclass(frozen=True)
class Mover:
    """Moves a picture's head by a similarity; the background stands still, what lies between fades."""

    picture: Picture
    weight_HW: NDArray[np.float32]  # of the part that moves
    left: int  # where that part lies
    top: int

    @classmethod
    def of(cls, picture: Picture, points_L2: Points) -> Mover:
        height, width = picture.shape[:2]
        eyes, axes, distance, _ = head_axes(points_L2)
        middle = eyes + 0.35 * distance * axes[1]
        reach_2 = distance * (1 + FADE) * np.hypot(*(HEAD[:, None] * axes))  # of the ellipse, along the picture's sides
        left, top = np.maximum((middle - reach_2).astype(int), 0).tolist()
        right, bottom = np.minimum((middle + reach_2).astype(int) + 2, (width, height)).tolist()
        y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
        radius = np.sqrt((((np.stack([x, y], -1) - middle) @ axes.T / (distance * HEAD)) ** 2).sum(-1))
        weight = 1 - smoothstep((radius - 1) / FADE)
        border = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y))
        weight = weight * smoothstep(border / max(0.15 * distance, 1.0))
        return cls(picture, weight.astype(np.float32), left, top)

    def __call__(self, move_23: Points) -> Picture:
        """The picture with the head moved; itself where the move is none."""
        if np.array_equal(move_23, np.eye(2, 3)):
            return self.picture
        away = np.asarray(cv2.invertAffineTransform(move_23), np.float32) - np.eye(2, 3, dtype=np.float32)
        height, width = self.weight_HW.shape
        x = np.arange(self.left, self.left + width, dtype=np.float32)
        y = np.arange(self.top, self.top + height, dtype=np.float32)[:, None]
        at_x, at_y = (of + self.weight_HW * (row[0] * x + (row[1] * y + row[2])) for of, row in zip((x, y), away))
        moved = self.picture.copy()
        moved[self.top : self.top + height, self.left : self.left + width] = cv2.remap(
            self.picture, at_x, at_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )
        return moved


def lowered(points_L2: Points, jaw: float) -> Points:
    """The landmarks with the jaw dropped by ``jaw`` distances of the eye corners: the chin most, the ears not."""
    _, axes, _, _ = head_axes(points_L2)
    share = np.zeros(68)
    share[:17] = np.sin(np.pi * np.arange(17) / 16)
    return points_L2 + jaw * float(inter_ocular(points_L2)) * share[:, None] * axes[1]
