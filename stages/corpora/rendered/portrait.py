"""The parts of a rendered speaker that are painted once: head, depth, brows, glasses, body and room. Units as in identity.py.

The head is painted on a sheet at twice the frame's resolution, seen from the front; :mod:`face` moves and turns it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.corpora.rendered import hair
from stages.corpora.rendered.identity import Identity
from stages.corpora.rendered.paint import Array, Sheet, mirrored, noise, smoothstep, spline

HEAD_BOX = (-136.0, -146.0, 136.0, 196.0)  # left, top, right, bottom of the head's sheet
CENTRE_Y = 0.385  # of the eyes' middle, share of the frame's height
OVERSAMPLING = 2


@dataclass(frozen=True)
class Portrait:
    """Painted layers. ``scale`` head-sheet pixels make one unit; ``unit`` frame pixels do."""

    who: Identity
    unit: float
    scale: float
    head_HW4: NDArray[np.uint8]  # premultiplied
    depth_HW: Array  # units, a quarter of the sheet's resolution
    brows: tuple[tuple[Array, tuple[int, int]], ...]  # alpha and upper left pixel, of each brow
    glasses: tuple[NDArray[np.uint8], tuple[int, int]] | None  # premultiplied, upper left pixel
    body_HW4: NDArray[np.uint8]  # premultiplied, frame resolution with a margin
    room_HW3: NDArray[np.uint8]


def light_tint(who: Identity) -> Array:
    """Colour of the key light, about white."""
    return np.array([1 + 0.05 * who.warmth, 1.0, 1 - 0.09 * who.warmth], np.float32)


def face_outline(who: Identity) -> NDArray[np.float64]:
    """The head without hair, from the front."""
    return mirrored(
        [
            (0, hair.CROWN_Y), (34, -94), (who.forehead - 8, -74), (who.forehead, -46), (who.forehead + 3, -20), (who.cheek, 8),
            (who.cheek - 1, 28), (who.jaw + (who.cheek - who.jaw) * 0.62, 54), (who.jaw, 78), (who.jaw * 0.8, 100),
            (who.chin + 6, who.chin_y - 8), (who.chin * 0.55, who.chin_y - 0.5), (0, who.chin_y + 0.5),
        ]
    )  # fmt: skip


def _radius(sheet: Sheet, outline: NDArray[np.float64]) -> Array:
    """0 in the face's middle, 1 on its outline."""
    cx, cy = 0.0, 15.0
    edge = spline(outline)
    angle, radius = np.arctan2(edge[:, 1] - cy, edge[:, 0] - cx), np.hypot(edge[:, 0] - cx, edge[:, 1] - cy)
    order = np.argsort(angle)
    dx, dy = sheet.x_HW - cx, sheet.y_HW - cy
    limit = np.interp(np.arctan2(dy, dx), angle[order], radius[order], period=2 * np.pi)
    return (np.hypot(dx, dy) / limit).astype(np.float32)


def _relief(sheet: Sheet, who: Identity, radius: Array) -> Array:
    """Height of the face's surface, units."""
    z = 66 * np.sqrt(np.clip(1 - radius**2.5, 0.004, 1))
    y, x = sheet.y_HW, np.abs(sheet.x_HW)
    ridge = np.clip((y + 12) / (who.nose_y + 12), 0, 1)
    fade = smoothstep((who.nose_y + 11 - y) / 12)
    z += (
        (5 + (who.nose_high - 8) * ridge**1.6)
        * np.exp(-((x / (9.5 + 3 * ridge)) ** 2))
        * fade
        * smoothstep((y + 24) / 20)
    )
    z += 7 * sheet.blob(0, who.nose_y, 8, 6.5)
    for side in (-1, 1):
        z += 6 * sheet.blob(side * who.nose_width * 0.72, who.nose_y + 3, 4.2, 4.5)
        z -= 7 * sheet.blob(side * who.eye_x * 0.96, -1, 14, 9)
        z += 5 * sheet.blob(side * who.eye_x, -1, 10, 6)
        z += 3.5 * sheet.blob(side * who.eye_x * 0.95, who.brow_y + 3, 17, 5)
        z += 5.5 * sheet.blob(side * 42, 38, 15, 13)
        z -= 2.6 * sheet.blob(side * (who.mouth_width + 10), who.mouth_y - 8, 5, 12, side * 0.5)
    z += 6.5 * sheet.blob(0, who.mouth_y, 22, 13)
    z -= 2.8 * sheet.blob(0, who.mouth_y + 18, 13, 4)
    z += 5.5 * sheet.blob(0, who.chin_y - 14, 12, 10)
    z -= 1.0 * sheet.blob(0, (who.nose_y + who.mouth_y) / 2 + 3, 2.2, 6)
    return cv2.GaussianBlur(z, (0, 0), 1.6 * sheet.scale)


def _shade(relief: Array, who: Identity, scale: float) -> tuple[Array, Array]:
    """Diffuse light in about [0, 1.1] and a soft gloss in [0, 1]."""
    gy, gx = np.gradient(relief * scale)
    normal = np.stack([-gx, -gy, np.ones_like(gx)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    key = np.asarray(who.key, np.float32)
    fill = key * [-1, 1, 1]
    diffuse = 0.30 + 0.62 * np.clip((normal @ key + 0.35) / 1.35, 0, 1) + 0.16 * np.clip(normal @ fill, 0, 1)
    half = key + [0, 0, 1]
    gloss = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1) ** 22
    return diffuse.astype(np.float32), gloss.astype(np.float32)


def skin_colour(who: Identity, light: Array) -> Array:
    """Skin under light, (..., 3): shadows are redder and deeper than a plain product."""
    skin = np.asarray(who.skin, np.float32)
    light = np.clip(light, 0.1, 1.3)
    depth = 1 - np.clip(light, 0, 1.15)
    tone = skin * (0.42 + 0.58 * light)[..., None] ** np.array([0.85, 1.05, 1.12], np.float32)
    return tone * (1 - depth[..., None] * np.array([0.10, 0.20, 0.20], np.float32)) * light_tint(who)


def _ears(sheet: Sheet, who: Identity) -> None:
    for side in (-1, 1):
        x = side * (who.cheek - 0.5)
        points = np.array([(0, -14), (7, -15), (10.5, -6), (8.5, 6), (5, 15), (1, 18), (-3, 10)]) * [side, 1] + [x, 12]
        ear = sheet.fill(points)
        lit = np.full(ear.shape, 0.72 + 0.25 * side * who.key[0], np.float32)
        sheet.over(skin_colour(who, lit) * [1.0, 0.94, 0.92], ear)
        sheet.tint([0.74, 0.62, 0.58], sheet.stroke(points[1:5] * [0.55, 0.8] + [x * 0.45, 3], 2.2, 1.0) * ear)
        sheet.tint([0.8, 0.7, 0.66], sheet.blob(x + side * 1.5, 13, 2.2, 6) * ear)


def _skin_details(sheet: Sheet, who: Identity, face: Array) -> None:
    """Blush, nostrils, folds and freckles on the painted face."""
    rng = np.random.default_rng(who.texture)
    blush = np.array([1.0, 0.80, 0.80] if who.cast.woman else [1.0, 0.87, 0.86])
    for side in (-1, 1):
        sheet.tint(blush, 0.55 * sheet.blob(side * 43, 40, 15, 11))
        sheet.tint([0.88, 0.80, 0.80], 0.4 * sheet.blob(side * who.eye_x, 12, 12, 4))
        sheet.tint([0.86, 0.77, 0.74], 0.55 * sheet.blob(side * (who.eye_x - 13), -6, 6, 7))
        x, y, w = side * who.nose_width, who.nose_y, who.nose_width
        sheet.tint(
            [0.70, 0.56, 0.52], 0.75 * sheet.stroke([(x * 0.9, y - 5), (x * 1.06, y + 1), (x * 0.95, y + 7)], 1.6, 1.2)
        )
        sheet.blend(
            np.array(who.skin) * [0.30, 0.18, 0.16], 0.8 * sheet.blob(side * w * 0.46, y + 8.6, 2.9, 1.5, side * -0.25)
        )
        fold = [
            (x * 1.18, y + 4),
            (side * (who.mouth_width + 2), who.mouth_y - 14),
            (side * (who.mouth_width + 6), who.mouth_y - 2),
        ]
        sheet.tint([0.88, 0.80, 0.78], 0.5 * sheet.stroke(fold, 2.0, 1.8))
    sheet.tint([0.80, 0.68, 0.64], 0.6 * sheet.blob(-8 * who.key[0], who.nose_y + 12, who.nose_width * 0.75, 3.2))
    sheet.tint([1.0, 0.90, 0.89], 0.6 * sheet.blob(0, who.nose_y, 8, 7))
    grain = noise(face.shape, 1.3, rng) * 0.008 + noise(face.shape, 9, rng) * 0.010
    sheet.colour_HW3 *= 1 + (grain * face)[..., None]
    if who.freckles > 0.05:
        spots = np.zeros_like(face)
        for _ in range(int(110 * who.freckles)):
            x, y = rng.normal(0, 30), rng.normal(26, 9)
            spots = np.maximum(spots, rng.uniform(0.2, 0.6) * sheet.blob(x, y, *rng.uniform(0.5, 0.95, 2)))
        sheet.tint([0.78, 0.62, 0.50], spots * face)


def paint_head(who: Identity, scale: float) -> tuple[Sheet, Array]:
    """The head's sheet without eyes, brows and mouth, and its depth."""
    left, top, right, bottom = HEAD_BOX
    size = round((right - left) * scale), round((bottom - top) * scale)
    sheet = Sheet(*size, scale, (-left * scale, -top * scale))
    style = hair.STYLES[who.cast.hair]
    colour = hair.strands(sheet, who, style)
    outline = face_outline(who)
    radius, face = _radius(sheet, outline), sheet.fill(outline)
    behind = hair.back(sheet, who, style)
    if behind is not None:
        sheet.over(colour * 0.62, behind)
        sheet.alpha_HW *= 1 - _neck(sheet, who) * smoothstep((sheet.y_HW - who.chin_y + 34) / 6)
    if style.side_end < 40:
        _ears(sheet, who)
    relief = _relief(sheet, who, radius)
    diffuse, gloss = _shade(relief, who, scale)
    if behind is not None:
        sheet.tint([0.55, 0.5, 0.5], sheet.soft(face, 5) * (1 - face))
    sheet.over(skin_colour(who, diffuse), face)
    sheet.colour_HW3 += (0.085 * gloss * face)[..., None] * light_tint(who)
    _skin_details(sheet, who, face)
    beard = hair.beard(sheet, who, face)
    if beard is not None:
        mask, opacity = beard
        base = 0.35 * hair.strands(sheet, who, hair.STYLES["long"]) + 0.5 * np.asarray(who.hair, np.float32)
        sheet.blend(base * (0.4 + 0.6 * diffuse[..., None]), mask * opacity)
    cap = hair.front(sheet, who, style)
    shadow = np.roll(sheet.soft(cap, 3.5), int(4 * scale), 0) * face
    sheet.tint([0.66, 0.56, 0.54], 0.75 * shadow)
    if who.cast.hair == "shaved":
        cap = cap * 0.82
    sheet.over(colour, cap)
    depth = 58 * (1 - radius**2) + 10 * sheet.blob(0, who.nose_y - 2, 9, 16) + 3 * sheet.blob(0, who.mouth_y, 22, 14)
    depth = np.clip(depth, -26, None)
    return sheet, cv2.GaussianBlur(cv2.resize(depth, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA), (0, 0), 2)


def _neck(sheet: Sheet, who: Identity) -> Array:
    half = 35.0 if who.cast.woman else 43.0
    return sheet.fill(
        mirrored([(0, 60), (half, 62), (half - 1, 110), (half, 140), (half + 7, 160), (half + 40, 180), (0, 230)]), 0.6
    )


def _brow(sheet: Sheet, who: Identity, side: int) -> tuple[Array, tuple[int, int]]:
    """Alpha of one brow, cut out."""
    x, y, arch, thick = who.eye_x, who.brow_y, who.brow_arch, who.brow_thick
    upper = [
        (x - 19, y + 1.5 - thick / 2),
        (x - 6, y - arch * 0.55 - thick / 2),
        (x + 7, y - arch - thick * 0.42),
        (x + 21, y + 2.5),
    ]
    lower = [(x + 8, y - arch + thick * 0.5), (x - 6, y - arch * 0.5 + thick / 2), (x - 19, y + 1.5 + thick / 2)]
    points = np.array(upper + lower) * [side, 1]
    rng = np.random.default_rng(who.texture + 5 + side)
    mask = sheet.fill(points, 0.7) * np.clip(0.92 + 0.12 * noise(sheet.alpha_HW.shape, 1.2, rng), 0, 1)
    rows, columns = np.nonzero(mask > 0.004)
    top, left = rows.min() - 1, columns.min()
    return 0.88 * mask[top : rows.max() + 2, left : columns.max() + 1], (int(left), int(top))


def _glasses(sheet: Sheet, who: Identity) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Thin frames, and a little reflection on the lenses."""
    layer = Sheet(sheet.alpha_HW.shape[1], sheet.alpha_HW.shape[0], sheet.scale, tuple(sheet.origin))
    frame = np.array(
        [0.36, 0.33, 0.34] if max(who.hair) < 0.5 else [0.52, 0.39, 0.25]
    )  # wire: dark rims hide the eyes from dlib
    half_w, half_h, x = 26.0, 20.5, who.eye_x + 1.5
    for side in (-1, 1):
        corner = np.array(
            [
                (-1, -0.35),
                (-0.75, -0.95),
                (0, -1),
                (0.8, -0.95),
                (1, -0.3),
                (0.85, 0.55),
                (0.3, 1),
                (-0.4, 1),
                (-0.9, 0.5),
            ]
        )
        rim = corner * [half_w * side, half_h] + [side * x, 6]
        lens = layer.fill(rim)
        layer.over([1, 1, 1], 0.05 * lens)
        shine = layer.fill(np.array([(-12, -14), (-5, -15), (-16, 14), (-20, 8)]) + [side * x, 4], 1.5)
        layer.over([1, 1, 1], 0.06 * shine * lens)
        layer.over(frame, 0.85 * layer.stroke(rim, 0.9, 0.25, closed=True))
        arm = [(side * (x + half_w - 1), -3), (side * (who.cheek + 1), -6), (side * (who.cheek + 8), -5)]
        layer.over(frame, layer.stroke(arm, 1.4, 0.25))
    layer.over(frame, layer.stroke([(-(x - half_w) - 1, 0), (0, -3), (x - half_w + 1, 0)], 1.2, 0.25))
    rows, columns = np.nonzero(layer.alpha_HW > 0.004)
    top, left = int(rows.min()), int(columns.min())
    return np.ascontiguousarray(layer.premultiplied()[top : rows.max() + 1, left : columns.max() + 1]), (left, top)


def paint_body(who: Identity, width: int, height: int, unit: float) -> NDArray[np.uint8]:
    """Neck, shoulders and clothes at frame resolution, (height, width, 4) premultiplied; painted at twice the size."""
    k = OVERSAMPLING
    sheet = Sheet(width * k, height * k, unit * k, (width * k / 2, CENTRE_Y * height * k))
    rng = np.random.default_rng(who.texture + 7)
    style = hair.STYLES[who.cast.hair]
    if style.length > 60:
        behind = hair.back(sheet, who, style, inset=9)
        if behind is not None:
            sheet.over(np.array(who.hair) * 0.42, behind)
    neck = _neck(sheet, who)
    y, x = sheet.y_HW, sheet.x_HW
    light = 0.78 + 0.30 * who.key[0] * x / 45 - 0.16 * (x / 45) ** 2
    light = light - 0.34 * (1 - smoothstep((y - 108) / 52))
    sheet.over(skin_colour(who, light), neck)
    for side in (-1, 1):
        sheet.tint([0.84, 0.76, 0.73], 0.5 * sheet.stroke([(side * 26, 128), (side * 15, 160), (side * 6, 180)], 4, 3))
    wide = 1.0 if who.cast.woman else 1.12
    half = 35.0 if who.cast.woman else 43.0
    shoulders = mirrored(
        [
            (0, 182),
            (half * 0.75, 172),
            (half + 8, 158),
            (78 * wide, 170),
            (122 * wide, 184),
            (152 * wide, 214),
            (160 * wide, 300),
            (0, 300),
        ]
    )
    cloth = sheet.fill(shoulders)
    drop = rng.choice([22.0, 34.0, 14.0])
    neckline = sheet.fill(
        mirrored([(0, 166 + drop), (half * 0.5, 162 + drop * 0.75), (half + 2, 158), (half, 130), (0, 120)])
    )
    cloth = cloth * (1 - neckline)
    folds = 0.045 * noise(y.shape, 26, rng) + 0.02 * noise(y.shape, 7, rng)
    tone = (0.92 + 0.22 * who.key[0] * x / 140 - 0.0022 * np.clip(y - 190, 0, 100) + folds)[..., None]
    sheet.tint([0.72, 0.64, 0.62], sheet.soft(cloth, 3) * neck)
    sheet.over(np.array(who.clothes) * tone * light_tint(who), cloth)
    collar = (
        sheet.stroke(mirrored([(0, 168 + drop), (half * 0.52, 164 + drop * 0.75), (half + 4, 157)])[:3], 4.5, 0.5)
        * cloth
    )
    collar = np.maximum(collar, collar[:, ::-1])
    sheet.tint([0.8, 0.8, 0.8], collar)
    layer = cv2.resize(
        np.concatenate([np.clip(sheet.colour_HW3, 0, 1) * sheet.alpha_HW[..., None], sheet.alpha_HW[..., None]], -1),
        (width, height),
        interpolation=cv2.INTER_AREA,
    )
    return np.round(layer * 255).astype(np.uint8)


def paint_room(who: Identity, width: int, height: int) -> NDArray[np.uint8]:
    """A wall out of focus: a gradient of light and a few blurred shapes, (height, width, 3)."""
    rng = np.random.default_rng(who.texture + 11)
    sheet = Sheet(width, height, height / 360, (width / 2, height / 2))
    wall = np.asarray(who.wall, np.float32)
    glow = sheet.blob(200 * who.key[0], -90, 190, 150)
    light = 0.72 + 0.34 * glow - 0.0007 * (sheet.y_HW + 60)
    sheet.over(wall * light[..., None] * light_tint(who), np.ones_like(light))
    for _ in range(int(rng.integers(3, 6))):
        side = rng.choice([-1, 1])
        x, y = side * rng.uniform(95, 230), rng.uniform(-150, 130)
        w, h = rng.uniform(18, 60), rng.uniform(25, 90)
        shape = sheet.fill(
            [
                (x - w, y - h),
                (x, y - h),
                (x + w, y - h),
                (x + w, y),
                (x + w, y + h),
                (x, y + h),
                (x - w, y + h),
                (x - w, y),
            ],
            rng.uniform(7, 12),
        )
        shade = np.clip(wall * rng.uniform(0.62, 1.3) + rng.normal(0, 0.05, 3), 0, 1)
        sheet.blend(shade, 0.65 * shape)
    for _ in range(int(rng.integers(0, 6))):
        x, y, r = rng.uniform(-230, 230), rng.uniform(-170, 40), rng.uniform(7, 16)
        disc = smoothstep((r - np.hypot(sheet.x_HW - x, sheet.y_HW - y)) / 3)
        sheet.blend(np.clip(wall * 1.25 + [0.14, 0.10, 0.02], 0, 1), 0.28 * disc)
    colour = sheet.colour_HW3 * (1 - 0.14 * (sheet.x_HW / 240) ** 2)[..., None]
    dither = rng.uniform(-0.5, 0.5, colour.shape)
    return np.round(np.clip(colour * 255 + dither, 0, 255)).astype(np.uint8)


def paint(who: Identity, width: int, height: int) -> Portrait:
    """Paint a speaker for frames of this size."""
    unit = height / 360
    scale = OVERSAMPLING * unit
    sheet, depth = paint_head(who, scale)
    return Portrait(
        who=who,
        unit=unit,
        scale=scale,
        head_HW4=sheet.premultiplied(),
        depth_HW=depth,
        brows=tuple(_brow(sheet, who, side) for side in (-1, 1)),
        glasses=_glasses(sheet, who) if who.cast.glasses else None,
        body_HW4=paint_body(who, width, height, unit),
        room_HW3=paint_room(who, width, height),
    )
