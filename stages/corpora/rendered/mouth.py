"""The mouth of a rendered speaker: lips, teeth and tongue for any viseme, painted into the head's sheet.

Curves are functions of the column: t in [-1, 1] runs from one corner of the mouth to the other. Units as in identity.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.corpora.rendered.identity import Identity
from stages.corpora.rendered.paint import Array, smoothstep


@dataclass(frozen=True)
class Viseme:
    """Mouth parameters of one frame; see motion.Motion."""

    gap: float
    jaw: float
    spread: float
    round: float
    tongue: float
    tuck: float
    press: float


@dataclass(frozen=True)
class Lips:
    """The four curves of the lips at the columns, and the columns' places between the corners."""

    t: Array
    outer_upper: Array
    inner_upper: Array
    inner_lower: Array
    outer_lower: Array


def lips(who: Identity, mouth: Viseme, x: Array) -> Lips:
    """The place of the lips at columns x."""
    half = who.mouth_width * (1 + 0.12 * max(mouth.spread, 0) + 0.27 * min(mouth.spread, 0) - 0.05 * mouth.jaw)
    t = np.clip(x / half, -1, 1)
    a = np.abs(t)
    arch = (1 - a ** (2.3 - 0.3 * mouth.round)) ** (0.8 - 0.3 * mouth.round)
    gap = who.gap * mouth.gap
    fold = mouth.press * (1 - 0.5 * mouth.round)
    line = (
        who.mouth_y
        + 0.30 * who.jaw_drop * mouth.jaw * a**2
        - 0.8 * max(mouth.spread, 0) * a**2
        + 0.9 * np.exp(-((t / 0.22) ** 2)) * (1 - mouth.gap)
    )
    inner_upper = line - (0.2 * gap + 1.6 * mouth.tuck) * arch
    inner_lower = line + (0.8 * gap - 0.4 * mouth.tuck) * arch
    stretch = 1 - 0.1 * max(mouth.spread, 0) - 0.12 * mouth.gap
    upper = who.lip_upper * (1 - 0.22 * fold + 0.18 * mouth.round) * stretch
    lower = who.lip_lower * (1 - 0.2 * fold + 0.18 * mouth.round) * (1 - 0.4 * mouth.tuck) * stretch
    bow = (1 - a**1.75) * (1 - 0.24 * np.exp(-((t / 0.12) ** 2)))
    return Lips(t, inner_upper - upper * bow, inner_upper, inner_lower, inner_lower + lower * (1 - t * t) ** 0.85)


class MouthPainter:
    """Paints visemes of one speaker on a fixed window of columns x (W,) and rows y (H,), ``scale`` pixels a unit."""

    def __init__(self, who: Identity, x: Array, y: Array, scale: float, light: Array) -> None:
        self.who, self.x, self.y, self.scale = who, x[None], y[:, None], scale
        self.colour = np.asarray(who.lips, np.float32) * light
        self.light = light
        rng = np.random.default_rng(who.texture + 13)
        self.creases = (0.05 * np.sin(x * 2.1 + 0.4 * np.cumsum(rng.normal(size=len(x))))).astype(np.float32)[None]

    def _edge(self, distance: Array) -> Array:
        """1 inside, 0 outside, one pixel of slope."""
        return np.clip(distance * self.scale + 0.5, 0, 1)

    def paint(self, skin_HW3: Array, mouth: Viseme) -> Array:
        """Lay the mouth over skin, (H, W, 3) in [0, 1]."""
        x, y = self.x, self.y
        curve = lips(self.who, mouth, x)
        out = self._shadows(skin_HW3, curve)
        inside = self._edge(y - curve.inner_upper) * self._edge(curve.inner_lower - y)
        whole = self._edge(y - curve.outer_upper) * self._edge(curve.outer_lower - y) * (np.abs(curve.t) < 0.999)
        soft = np.clip((y - curve.outer_upper) * self.scale * 0.6 + 0.5, 0, 1) * np.clip(
            (curve.outer_lower - y) * self.scale * 0.4 + 0.5, 0, 1
        )
        out += (self._flesh(curve) - out) * (whole * soft)[..., None]
        opening = inside * np.clip((curve.inner_lower - curve.inner_upper) * self.scale * 0.7, 0, 1)
        out += (self._cavity(curve, mouth) - out) * opening[..., None]
        crease = np.exp(-(((y - (curve.inner_upper + curve.inner_lower) / 2) * 1.3) ** 2)) * (1 - curve.t**4)
        crease = crease * np.clip(1 - (curve.inner_lower - curve.inner_upper) / 1.6, 0, 1)
        out *= 1 - crease[..., None] * np.array([0.42, 0.58, 0.55], np.float32)
        return out

    def _shadows(self, skin: Array, curve: Lips) -> Array:
        """Soft dark below the lower lip and at the corners."""
        below = (
            np.exp(-(((self.y - curve.outer_lower - 3.5) / 3.0) ** 2))
            * (1 - curve.t**2)
            * (self.y > curve.outer_lower - 3)
        )
        return skin * (1 - 0.2 * below[..., None] * np.array([0.8, 1.0, 1.0], np.float32))

    def _flesh(self, curve: Lips) -> Array:
        """Colour of the lips: the upper one in shade, the lower one with a highlight."""
        y = self.y
        height = np.maximum(curve.outer_lower - curve.inner_lower, 0.3)
        v = (y - curve.inner_lower) / height
        up = np.clip((curve.inner_upper - y) / np.maximum(curve.inner_upper - curve.outer_upper, 0.3), 0, 1)
        lower = y > (curve.inner_upper + curve.inner_lower) / 2
        tone = np.where(
            lower, 1.08 - 0.20 * np.clip(v, 0, 1) ** 2 - 0.25 * np.exp(-np.clip(v, 0, 1) * 7), 0.78 + 0.18 * up
        )
        tone = (tone + self.creases) * (1 - 0.14 * curve.t**2)
        shine = (
            0.20 * np.exp(-(((v - 0.38) / 0.2) ** 2) - ((curve.t + 0.25 * self.who.key[0] * -1) / 0.42) ** 2) * lower
        )
        shine = shine * (1.0 if self.who.cast.woman else 0.6)
        return self.colour * tone[..., None] + shine[..., None] * self.light

    def _cavity(self, curve: Lips, mouth: Viseme) -> Array:
        """Dark, teeth above and below, tongue."""
        who, y, t = self.who, self.y, curve.t
        depth = smoothstep((y - curve.inner_upper) / 10)
        out = (0.13 + 0.06 * depth)[..., None] * np.array([1.25, 0.45, 0.45], np.float32) * self.light
        lower_edge = who.mouth_y + 5.0 + 0.8 * who.jaw_drop * mouth.jaw + 1.5 * t**2
        lower_teeth = self._edge(y - lower_edge) * smoothstep((0.72 - np.abs(t)) * 5)
        out += (np.array([0.66, 0.60, 0.54], np.float32) * self.light - out) * (0.85 * lower_teeth)[..., None]
        rise = who.mouth_y + 0.8 * who.gap * mouth.gap + 3.0
        top = rise + (who.mouth_y + 2.0 - rise) * mouth.tongue
        tongue = self._edge(y - top - 9 * t**2) * smoothstep((0.62 - np.abs(t)) * 4)
        flesh = (0.95 + 0.05 * np.clip((y - top) / 4, 0, 1) - 0.12 * np.exp(-((t / 0.06) ** 2)))[..., None] * np.array(
            [0.66, 0.30, 0.30], np.float32
        )
        out += (flesh * self.light - out) * (0.9 * tongue)[..., None]
        edge = who.mouth_y + 2.8 - 3.2 * mouth.round - 1.8 * t**2 + 0.12 * np.cos(self.x * 1.9)
        teeth = self._edge(edge - y) * smoothstep((0.86 - np.abs(t)) * 5)
        tooth = (
            0.62
            + 0.28 * smoothstep((y - curve.inner_upper) / 3.5)
            - 0.30 * t**2
            - 0.10 * np.exp(-((np.mod(self.x * 0.302 + 0.5, 1) - 0.5) ** 2) * 160)
        )
        out += (tooth[..., None] * np.array([0.97, 0.93, 0.87], np.float32) * self.light - out) * teeth[..., None]
        if mouth.tongue > 0.8:  # the tip comes out below the upper teeth
            tip = (mouth.tongue - 0.8) * 5 * np.exp(-((t / 0.33) ** 4)) * self._edge(y - edge + 1.8)
            out += (np.array([0.74, 0.38, 0.37], np.float32) * self.light - out) * tip[..., None]
        return out
