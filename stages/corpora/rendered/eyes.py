"""The eyes of a rendered speaker: lids, iris and lashes for any opening and gaze, painted into the head's sheet.

Curves are functions of the column: t runs from -1 at the inner corner to 1 at the outer one. Units as in identity.py.
"""

from __future__ import annotations

import numpy as np

from stages.corpora.rendered.identity import Identity
from stages.corpora.rendered.paint import Array, smoothstep

IRIS, PUPIL = 6.5, 2.7  # radii
UPPER, LOWER = 0.64, 0.36  # shares of the aperture above and below the line between the corners
CLOSED = 0.02  # where the lids meet, share of the aperture below that line


class EyePainter:
    """Paints one eye on a fixed window of columns x (W,) and rows y (H,); ``side`` is 1 for the eye on the picture's right."""

    def __init__(self, who: Identity, side: int, x: Array, y: Array, scale: float, light: Array) -> None:
        self.who, self.side, self.scale, self.light = who, side, scale, light
        self.x, self.y = x[None] - side * who.eye_x, y[:, None]
        self.t = np.clip(self.x * side / who.eye_width, -1, 1)
        self.far = np.clip((np.abs(self.x) - who.eye_width) / 3, 0, 1)  # beyond the corners
        self.base = -who.eye_tilt * self.t + 0.8 * smoothstep((-self.t - 0.72) * 4)
        a = np.abs(self.t + 0.06 * (1 - self.t**2))
        self.upper_open = self.base - UPPER * who.eye_open * (1 - a**2.3) ** 0.8
        self.lower_open = self.base + LOWER * who.eye_open * (1 - np.abs(self.t - 0.1 * (1 - self.t**2)) ** 2.2)
        self.meeting = self.base + CLOSED * who.eye_open * (1 - self.t**2)
        self.lash = np.asarray(who.hair, np.float32) * 0.15 + np.array([0.03, 0.02, 0.02], np.float32)
        self.deep = np.asarray(who.skin, np.float32) * np.array([0.55, 0.40, 0.36], np.float32) * light

    def _edge(self, distance: Array) -> Array:
        return np.clip(distance * self.scale + 0.5, 0, 1)

    def paint(self, skin_HW3: Array, opening: float, gaze: tuple[float, float]) -> Array:
        """Lay the eye over skin, (H, W, 3) in [0, 1]; ``opening`` 0 closed .. 1 open, gaze right and down in -1 .. 1."""
        y, who = self.y, self.who
        upper = self.meeting + (self.upper_open - self.meeting) * opening
        lower = self.meeting + (self.lower_open - self.meeting) * (0.35 + 0.65 * opening)
        lower = np.maximum(lower, upper)
        out = self._lid(skin_HW3, upper, opening)
        ball = self._edge(y - upper) * self._edge(lower - y) * np.clip((lower - upper) * self.scale * 0.5, 0, 1)
        out += (self._ball(upper, lower, gaze) - out) * ball[..., None]
        thick = (
            ((1.15 if who.cast.woman else 0.85) + 0.9 * (1 - opening))
            * (1 + 0.35 * self.t)
            * (0.55 + 0.45 * (1 - self.t**2))
        )
        line = np.exp(-(((y - upper + 0.3) / np.maximum(thick, 0.3)) ** 2)) * (1 - self.far)
        out += (self.lash - out) * (0.92 * line)[..., None]
        if who.cast.woman:  # a small wing of lashes past the outer corner
            wing = (
                np.exp(-(((y - upper + 1.2 + 2.2 * np.clip(self.t - 0.7, 0, 1)) / 0.9) ** 2))
                * smoothstep((self.t - 0.45) * 3)
                * (1 - self.far)
            )
            out += (self.lash - out) * (0.55 * wing)[..., None]
        rim = np.exp(-(((y - lower - 0.3) / 0.7) ** 2)) * (1 - self.t**4) * (1 - self.far)
        out += (self.deep - out) * (0.5 * rim)[..., None]
        return out

    def _lid(self, skin: Array, upper: Array, opening: float) -> Array:
        """The upper lid and its crease, which deepens as the eye opens."""
        y = self.y
        crease = self.upper_open - 3.6 * (1 - 0.55 * self.t**2) + 2.2 * (1 - opening) * (1 - self.t**2)
        lid = self._edge(y - crease) * self._edge(upper - y) * (1 - self.far)
        place = np.clip((y - crease) / np.maximum(upper - crease, 0.5), 0, 1)
        bulge = 1 + opening * (-0.08 + 0.16 * np.sin(np.pi * place) - 0.05 * place)
        out = skin * (1 + ((bulge - 1) * lid)[..., None])
        fold = np.exp(-(((y - crease) / 1.1) ** 2)) * (1 - np.abs(self.t) ** 3) * (1 - self.far)
        return out + (self.deep - out) * (0.58 * opening * fold)[..., None]

    def _ball(self, upper: Array, lower: Array, gaze: tuple[float, float]) -> Array:
        """White, iris with its ring, pupil, and the light's reflection; shaded by the lid and the lashes."""
        x, y, who = self.x, self.y, self.who
        cx, cy = 4.6 * gaze[0] - 0.5 * self.side, -0.09 * who.eye_open + 2.6 * gaze[1]
        radius = np.hypot(x - cx, y - cy)
        white = (0.94 - 0.16 * self.t**2)[..., None] * np.array([0.97, 0.95, 0.94], np.float32)
        pink = smoothstep((-self.t - 0.76) * 6)[..., None]
        white = white + (np.array([0.80, 0.52, 0.50], np.float32) - white) * 0.8 * pink
        out = np.broadcast_to(white, (*radius.shape, 3)).copy()
        iris = np.asarray(who.iris, np.float32)
        rays = 1 + 0.12 * np.cos(np.arctan2(y - cy, x - cx) * 13)
        glow = (0.72 + 0.5 * np.clip((y - cy) / IRIS * 0.7 + radius / IRIS * 0.35, -0.4, 1)) * rays
        ring = 1 - 0.62 * smoothstep((radius - IRIS * 0.74) / (IRIS * 0.26))
        out += (iris * 1.25 * (glow * ring)[..., None] - out) * self._edge((IRIS - radius) * 0.8)[..., None]
        out += (np.array([0.03, 0.025, 0.025], np.float32) - out) * self._edge((PUPIL - radius) * 0.8)[..., None]
        shade = 1 - 0.5 * np.exp(-np.clip(y - upper, 0, None) / 2.2) - 0.12 * np.exp(-np.clip(lower - y, 0, None) / 1.2)
        out *= shade[..., None] * self.light
        sx, sy = cx + 2.3 * np.sign(who.key[0]), cy - 2.4
        spark = self._edge(1.35 - np.hypot(x - sx, y - sy)) + 0.35 * self._edge(
            0.9 - np.hypot(x - 2 * cx + sx, y - cy - 2.4)
        )
        return out + (1 - out) * (0.9 * np.clip(spark, 0, 1))[..., None]
