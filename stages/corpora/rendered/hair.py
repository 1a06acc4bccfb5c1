"""Hair of a rendered speaker: the mass behind the face, the part in front of it, and beards. Units as in identity.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.corpora.rendered.identity import Identity
from stages.corpora.rendered.paint import Array, Sheet, mirrored, noise, smoothstep

CROWN_Y = -100.0  # top of the skull


@dataclass(frozen=True)
class Style:
    """A hair style's measures."""

    top: float  # above the skull
    side: float  # beside the temples
    side_end: float  # y where the hair beside the face ends
    line: float  # y of the hairline in the middle
    length: float  # y where the hair behind the face ends; 0 for none
    part: float = 0.0  # x of the parting
    sweep: float = 0.0  # the hairline drops by this on one side
    wave: float = 0.0  # of the outline
    opening: float = 0.0  # the hair leaves this much more of the temples free


STYLES = {
    "shaved": Style(1.5, 0.5, -8, -66, 0, opening=1),
    "crop": Style(7, 3, 2, -64, 0),
    "parted": Style(15, 5, 4, -62, 0, part=24, sweep=10),
    "curls": Style(20, 16, 26, -60, 30, wave=3.2),
    "bob": Style(13, 13, 86, -60, 96, part=-18, sweep=12, opening=-3),
    "long": Style(12, 11, 110, -64, 190, part=3, sweep=2, opening=-1),
    "waves": Style(15, 15, 104, -62, 176, part=20, sweep=9, wave=2.4, opening=-1),
    "bun": Style(8, 2, -2, -68, 0, part=0),
    "fringe": Style(13, 12, 100, -30, 118, opening=-4),
}


def strands(sheet: Sheet, who: Identity, style: Style) -> Array:
    """Colour of hair everywhere, (H, W, 3): strands that fall from the parting, with a soft band of gloss."""
    rng = np.random.default_rng(who.texture)
    x, y = sheet.x_HW - style.part, sheet.y_HW - (CROWN_Y - style.top - 25)
    radius, angle = np.hypot(x, y), np.arctan2(x, y)
    if style.wave:
        angle = angle + 0.035 * np.sin(radius / 9.0 + 0.9 * noise(x.shape, 40, rng))
    count = 4096
    wide, fine = (noise((1, count), size, rng)[0] for size in (14, 4))
    place = (angle / np.pi * 0.5 + 0.5) * (count - 1)
    texture = 0.6 * np.interp(place, np.arange(count), wide) + 0.4 * np.interp(place, np.arange(count), fine)
    if who.cast.hair in ("curls", "crop", "shaved"):
        curly = who.cast.hair == "curls"
        texture = (0.75 if curly else 0.35) * noise(x.shape, 5 if curly else 1.6, rng) + 0.25 * texture
    gloss = np.exp(-(((radius - 62 - 4 * texture) / 15) ** 2)) * (0.5 + 0.35 * np.clip(texture, -1.4, 2))
    light = 1.0 - 0.0016 * np.clip(sheet.y_HW + 60, 0, 200) + 0.0035 * who.key[0] * sheet.x_HW
    base = np.asarray(who.hair, np.float32)
    shade = (light * (1 + 0.2 * texture))[..., None]
    return (base * shade + (base * 0.8 + 0.06) * 0.55 * gloss[..., None]).astype(np.float32)


def _outline(who: Identity, style: Style) -> NDArray[np.float64]:
    top, side, end = CROWN_Y - style.top, style.side, style.side_end
    temple = (who.forehead * 0.9 + side * 0.6, -74 - style.top * 0.55)
    beside = [(who.forehead + side + 3, -46), (who.cheek + side + 2, -12), (who.cheek + side + 1, min(20, end))]
    return mirrored([(0, top), (34, top + 4), temple, *beside, (who.cheek + side - 1, end), (0, end)])


def _wavy(sheet: Sheet, points: NDArray[np.float64], size: float, who: Identity) -> Array:
    """Fill an outline, its edge made uneven by ``size`` units."""
    mask = sheet.fill(points)
    if not size:
        return mask
    rng = np.random.default_rng(who.texture + 1)
    soft = sheet.soft(mask, size * 1.1)
    return smoothstep((soft - 0.5 + 0.13 * noise(mask.shape, size * sheet.scale * 0.9, rng)) * 5 + 0.5) * (soft > 0.02)


def back(sheet: Sheet, who: Identity, style: Style, inset: float = 0.0) -> Array | None:
    """Mask of the hair behind the face, or None; ``inset`` makes it smaller."""
    if who.cast.hair == "bun":
        return sheet.fill(mirrored([(0, -134), (17, -128), (22, -112), (14, -96), (0, -92)]))
    if not style.length:
        return None
    side = who.cheek + style.side - inset
    end = style.length - inset
    tuck = 0.9 if style.length < 130 else 1.0
    points = mirrored(
        [
            (0, CROWN_Y - style.top + inset), (48, -86 - style.top * 0.7 + inset), (side - 1, -46), (side + 4, 0),
            (side + 5, end * 0.45), (side + 3, end * 0.8), (side * tuck, end), (side * 0.62, end + 4), (0, end),
        ]
    )  # fmt: skip
    return _wavy(sheet, points, style.wave, who)


def front(sheet: Sheet, who: Identity, style: Style) -> Array:
    """Mask of the hair in front of the face: a cap less the opening for the face."""
    cap = _wavy(sheet, _outline(who, style), style.wave, who)
    line, free, sweep, end = style.line, style.opening, style.sweep, style.side_end
    short, low = end < 30, end + 60
    edge, brow = who.cheek - 3 + free, who.forehead - 2 + free
    beside = [(edge, 4), (edge - (0 if short else 3), end * 0.6), (edge + (1 if short else -8), end), (edge * 0.9, low)]
    opening = [
        (style.part * 0.9, line - (4 if sweep else 0)), (who.forehead * 0.45, line + 1 + sweep * 0.15),
        (who.forehead * 0.8, line + 9 + sweep), (brow, -26), *beside, (0, low + 10), *[(-x, y) for x, y in beside[::-1]],
        (-brow, -26), (-who.forehead * 0.8, line + 9 + sweep), (-who.forehead * 0.45, line + 1 + sweep * 0.6),
    ]  # fmt: skip
    hole = sheet.soft(sheet.fill(opening), 1.4 if short else 0.7)
    if who.cast.hair in ("crop", "shaved", "curls"):
        rng = np.random.default_rng(who.texture + 2)
        hole = smoothstep((sheet.soft(hole, 1.6) - 0.5 + 0.12 * noise(hole.shape, 2.0, rng)) * 2.2 + 0.5)
    fade = 9.0 if style.side_end < 40 else 34.0  # into the skin, or into the hair behind
    return cap * (1 - hole) * smoothstep((style.side_end + 1 - sheet.y_HW) / fade)


def beard(sheet: Sheet, who: Identity, face: Array) -> tuple[Array, float] | None:
    """Mask of the beard with its opacity. Short ones only: dlib takes the edge of a dense beard for the chin or the lip."""
    kind = who.cast.beard
    if kind == "none":
        return None
    rng = np.random.default_rng(who.texture + 3)
    grain = np.clip(0.9 + 0.10 * noise(face.shape, 0.9, rng) + 0.06 * noise(face.shape, 5, rng), 0, 1)
    m, w, chin = who.mouth_y, who.mouth_width, who.chin_y
    cheeks = [(w * 0.7, who.nose_y + 14), (w + 7, m - 3), (w + 14, m + 2), (who.cheek - 13, 48), (who.cheek - 1, 18)]
    around = sheet.fill(
        mirrored([(0, who.nose_y + 12), *cheeks, (who.cheek + 20, 60), (40, chin + 30), (0, chin + 30)]), 3.0
    )
    bare = sheet.blob(0, m + 2, w * 0.68, 7.0)
    mask = np.clip(around * face * (1 - smoothstep(bare * 1.6 - 0.25)), 0, 1)
    return mask * grain, 0.3 if kind == "stubble" else 0.55
