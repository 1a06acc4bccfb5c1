"""Painting on a pixel grid: smooth shapes, soft blobs, noise, and layers with alpha. H, W pixels; colours RGB in [0, 1]."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]  # float32 unless said


class Sheet:
    """A transparent sheet. Points are in face units; ``scale`` pixels make one unit and ``origin`` is the pixel of (0, 0)."""

    def __init__(self, width: int, height: int, scale: float, origin: tuple[float, float]) -> None:
        self.scale, self.origin = scale, np.asarray(origin, np.float64)
        self.colour_HW3 = np.zeros((height, width, 3), np.float32)
        self.alpha_HW: Array = np.zeros((height, width), np.float32)
        self.x_HW: Array = np.broadcast_to(
            ((np.arange(width) + 0.5 - origin[0]) / scale).astype(np.float32), (height, width)
        )
        self.y_HW: Array = np.broadcast_to(
            ((np.arange(height) + 0.5 - origin[1]) / scale).astype(np.float32)[:, None], (height, width)
        )

    def fill(self, points: ArrayLike, blur: float = 0.0) -> Array:
        """Mask of a closed smooth curve through the points; ``blur`` in units."""
        mask = np.zeros(self.alpha_HW.shape, np.uint8)
        pixels = spline(points) * self.scale + self.origin - 0.5
        cv2.fillPoly(mask, [np.round(pixels * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return self.soft(mask.astype(np.float32) / 255, blur)

    def stroke(self, points: ArrayLike, thickness: float, blur: float = 0.0, closed: bool = False) -> Array:
        """Mask of a smooth line through the points; ``thickness`` in units."""
        mask = np.zeros(self.alpha_HW.shape, np.uint8)
        curve = spline(points) if closed else open_spline(points)
        pixels = np.round((curve * self.scale + self.origin - 0.5) * 16).astype(np.int32)
        cv2.polylines(mask, [pixels], closed, 255, max(1, round(thickness * self.scale)), cv2.LINE_AA, 4)
        return self.soft(mask.astype(np.float32) / 255, blur)

    def soft(self, mask: Array, blur: float) -> Array:
        """A mask blurred by ``blur`` units."""
        return cv2.GaussianBlur(mask, (0, 0), blur * self.scale) if blur > 0 else mask

    def blob(self, x: float, y: float, width: float, height: float, turn: float = 0.0) -> Array:
        """A Gaussian spot of these standard deviations, ``turn`` radians clockwise."""
        dx: Array = self.x_HW - x
        dy: Array = self.y_HW - y
        if turn:
            dx, dy = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        return np.exp(-0.5 * ((dx / width) ** 2 + (dy / height) ** 2), dtype=np.float32)

    def over(self, colour: ArrayLike, mask: Array) -> None:
        """Lay a colour, one or one a pixel, over the sheet where the mask is."""
        alpha = self.alpha_HW + mask * (1 - self.alpha_HW)
        share = (mask / np.maximum(alpha, 1e-6))[..., None]
        self.colour_HW3 += (np.asarray(colour, np.float32) - self.colour_HW3) * share
        self.alpha_HW = alpha

    def tint(self, colour: ArrayLike, mask: Array) -> None:
        """Multiply what is painted by a colour where the mask is."""
        self.colour_HW3 *= 1 + (np.asarray(colour, np.float32) - 1) * mask[..., None]

    def blend(self, colour: ArrayLike, mask: Array) -> None:
        """Mix a colour into what is painted, leaving the alpha."""
        self.colour_HW3 += (np.asarray(colour, np.float32) - self.colour_HW3) * mask[..., None]

    def premultiplied(self) -> NDArray[np.uint8]:
        """(H, W, 4) uint8, colour times alpha."""
        colour = np.clip(self.colour_HW3, 0, 1) * self.alpha_HW[..., None]
        return np.round(np.concatenate([colour, self.alpha_HW[..., None]], -1) * 255).astype(np.uint8)


def spline(points: ArrayLike, per_segment: int = 12) -> NDArray[np.float64]:
    """A closed Catmull-Rom curve through the points (N, 2)."""
    p = np.asarray(points, np.float64)
    return _catmull_rom(np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0), per_segment)


def open_spline(points: ArrayLike, per_segment: int = 12) -> NDArray[np.float64]:
    """An open Catmull-Rom curve through the points (N, 2)."""
    p = np.asarray(points, np.float64)
    p = np.concatenate([p[:1], p, p[-1:]])
    return np.concatenate([_catmull_rom(p[:-3], p[1:-2], p[2:-1], p[3:], per_segment), p[-1:]])


def _catmull_rom(a: NDArray, b: NDArray, c: NDArray, d: NDArray, count: int) -> NDArray[np.float64]:
    t = (np.arange(count) / count)[None, :, None]
    a, b, c, d = (part[:, None] for part in (a, b, c, d))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return curve.reshape(-1, 2)


def mirrored(points: ArrayLike) -> NDArray[np.float64]:
    """A closed outline from its right half, listed from top to bottom; points with x = 0 are not repeated."""
    right = np.asarray(points, np.float64)
    left = right[::-1] * [-1, 1]
    return np.concatenate([right, left[left[:, 0] != 0]])


def noise(shape: tuple[int, int], size: float, rng: np.random.Generator) -> Array:
    """Smooth noise of mean 0 and variance 1 whose spots are about ``size`` pixels."""
    field: Array = rng.normal(size=shape).astype(np.float32)
    field = cv2.GaussianBlur(field, (0, 0), size, borderType=cv2.BORDER_REFLECT)
    return (field - field.mean()) / max(float(field.std()), 1e-9)


def smoothstep(x: Array) -> Array:
    """0 below 0, 1 above 1, with a smooth rise between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
