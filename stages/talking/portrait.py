"""A still picture: read, its face chosen and measured, its head moved. H, W pixels, T frames, L = 68 landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from stages.base.errors import InputError
from stages.corpora.rendered.motion import smoothstep, wander
from stages.faces import landmarks
from stages.faces.geometry import ear, head_axes, inter_ocular, transform

Picture = NDArray[np.uint8]
Points = NDArray[np.float64]

MAX_PIXELS = 8192 * 8192
LEAST_SIDE = 60  # pixels of a face; the detector finds none of less than some 40
SHUT_EAR = 0.15  # of a portrait whose eyes are shut
WHICH = ("one", "largest", "left", "right")
# The largest motion at amount 1, in the picture's plane, as the demo's: degrees; distances of the eye corners; share.
ROLL, ASIDE, DOWN, SCALE = 3.0, 0.10, 0.06, 0.025
NECK = 1.9  # below the eyes, in distances of the eye corners: what the head turns about
RISE_S = 0.6  # seconds in which motion begins
HEAD, FADE = (
    np.array([1.35, 1.75]),
    0.8,
)  # half-axes of what moves with the head, and how far beyond it fades, same distances


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
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[: len(pixels) // 2 * 2, : pixels.shape[1] // 2 * 2])


def choose(path: Path, picture: Picture, which: str) -> Points:
    """The landmarks of a picture's face, (68, 2); ``which``: of :data:`WHICH`, a number from the left, or "x,y".

    Raises:
        InputError: there is no face, several where one was asked for, none at that place, or one too small or with shut eyes.
    """
    boxes = sorted((box for _, box in landmarks.detect(picture)), key=lambda box: box[0])
    if not boxes:
        raise InputError(
            path, f"no face found{_turned(picture)}", "take a picture in which it looks at the camera, larger"
        )
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
    points = landmarks.landmarks(picture, box).astype(np.float64)
    if ear(points).mean() < SHUT_EAR:
        raise InputError(path, "the eyes are shut", "blinks need open ones: give another picture")
    return points


def _turned(picture: Picture) -> str:
    """What to say of a picture in which a face is found once it is turned."""
    found = {}
    for turns, words in ((1, "left"), (3, "right"), (2, "round")):
        faces = landmarks.detect(np.ascontiguousarray(np.rot90(picture, turns)))
        found[words] = max((score for score, _ in faces), default=-np.inf)
    best = max(found, key=lambda words: found[words])
    return f"; it lies on its side: turn it {best}" if np.isfinite(found[best]) else ""


def motion(points_L2: Points, frames: int, fps: float, amount: float, rng: np.random.Generator) -> Points:
    """Similarities of the head in each frame, (T, 2, 3), about the neck: at rest at first; none at all where ``amount`` is 0."""
    moves = np.tile(np.eye(2, 3), (frames, 1, 1))
    if amount == 0:
        return moves
    eyes, axes, distance, _ = head_axes(points_L2)
    neck = eyes + NECK * distance * axes[1]
    times = np.arange(frames) / fps
    roll, aside, down, scale = (
        amount * smoothstep(times / RISE_S) * (w - w[0]) for w in (wander(times, rng) for _ in range(4))
    )
    angle, size = np.deg2rad(ROLL) * roll, 1 + SCALE * scale
    linear = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], -2)
    linear *= size[:, None, None]
    shift = distance * (ASIDE * aside[:, None] * axes[0] + DOWN * down[:, None] * axes[1])
    return np.concatenate([linear, (neck + shift - linear @ neck)[..., None]], -1)


@dataclass(frozen=True)
class Mover:
    """Moves a picture's head by a similarity; the background stands still, what lies between fades."""

    picture: Picture
    weight_HW: NDArray[np.float32]
    grid_HW2: NDArray[np.float32]

    @classmethod
    def of(cls, picture: Picture, points_L2: Points) -> Mover:
        height, width = picture.shape[:2]
        y, x = np.mgrid[:height, :width].astype(np.float32)
        grid = np.stack([x, y], -1)
        eyes, axes, distance, _ = head_axes(points_L2)
        middle = eyes + 0.35 * distance * axes[1]
        radius = np.sqrt(((((grid - middle) @ axes.T) / (distance * HEAD)) ** 2).sum(-1))
        weight = 1 - smoothstep((radius - 1) / FADE)
        border = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y))
        weight = weight * smoothstep(border / max(0.15 * distance, 1.0))
        return cls(picture, weight.astype(np.float32), grid)

    def __call__(self, move_23: Points) -> Picture:
        """The picture with the head moved; itself where the move is none."""
        if np.array_equal(move_23, np.eye(2, 3)):
            return self.picture
        back = cv2.invertAffineTransform(move_23)
        source = transform(self.grid_HW2, np.asarray(back, np.float64)).astype(np.float32)
        source = self.grid_HW2 + self.weight_HW[..., None] * (source - self.grid_HW2)
        moved = cv2.remap(
            self.picture, source[..., 0], source[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )
        return moved.astype(np.uint8, copy=False)


def lowered(points_L2: Points, jaw: float) -> Points:
    """The landmarks with the jaw dropped by ``jaw`` distances of the eye corners: the chin most, the ears not."""
    _, axes, _, _ = head_axes(points_L2)
    share = np.zeros(68)
    share[:17] = np.sin(np.pi * np.arange(17) / 16)
    return points_L2 + jaw * float(inter_ocular(points_L2)) * share[:, None] * axes[1]
