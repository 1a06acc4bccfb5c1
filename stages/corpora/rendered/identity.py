"""The identity of a rendered speaker: face, colours, hair, clothes, light, room and voice, drawn from (seed, name).

Lengths are in pixels of a frame 360 high with the origin between the eyes, x to the picture's right and y down.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from stages.corpora.rendered.speech import Voice

Colour = tuple[float, float, float]  # RGB in [0, 1]


@dataclass(frozen=True)
class Cast:
    """The broad strokes of a speaker."""

    woman: bool
    skin: int  # index into SKINS
    hair: str  # one of HAIR_STYLES
    hair_colour: int  # index into HAIRS
    glasses: bool = False
    beard: str = "none"  # none, stubble, short


SKINS: tuple[Colour, ...] = (
    (0.97, 0.83, 0.74), (0.93, 0.76, 0.64), (0.87, 0.68, 0.54), (0.76, 0.56, 0.42), (0.60, 0.42, 0.30), (0.45, 0.30, 0.22),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (0.10, 0.08, 0.08), (0.22, 0.14, 0.10), (0.38, 0.24, 0.15), (0.55, 0.28, 0.14), (0.80, 0.63, 0.38), (0.62, 0.60, 0.58),
)  # fmt: skip
IRISES: tuple[Colour, ...] = (
    (0.28, 0.17, 0.09), (0.42, 0.28, 0.12), (0.36, 0.42, 0.22), (0.28, 0.47, 0.62), (0.42, 0.50, 0.54),
)  # fmt: skip
CLOTHES: tuple[Colour, ...] = (
    (0.20, 0.28, 0.42), (0.52, 0.20, 0.22), (0.24, 0.40, 0.34), (0.75, 0.72, 0.66), (0.30, 0.28, 0.32), (0.72, 0.52, 0.24),
    (0.42, 0.32, 0.50), (0.86, 0.60, 0.56),
)  # fmt: skip
WALLS: tuple[Colour, ...] = (
    (0.62, 0.70, 0.74), (0.74, 0.68, 0.60), (0.48, 0.54, 0.62), (0.60, 0.66, 0.58), (0.70, 0.60, 0.60), (0.36, 0.40, 0.46),
)  # fmt: skip
HAIR_STYLES = ("crop", "parted", "curls", "bob", "long", "waves", "bun", "fringe", "shaved")
FOR_WOMEN, FOR_MEN = ("bob", "long", "waves", "bun", "fringe", "curls"), ("crop", "parted", "curls", "shaved")

# The demo's speakers, cast by hand for variety; any other name is cast by (seed, name). All else is drawn for everyone.
CAST = {
    "ada": Cast(True, 1, "bob", 2),
    "bela": Cast(False, 2, "parted", 1, beard="short"),
    "cleo": Cast(True, 4, "curls", 0),
    "dara": Cast(True, 0, "long", 3),
    "emil": Cast(False, 1, "crop", 4, glasses=True),
    "finn": Cast(False, 0, "parted", 3, beard="short"),
    "gaia": Cast(True, 3, "bun", 1, glasses=True),
    "hugo": Cast(False, 5, "crop", 0, beard="stubble"),
    "iris": Cast(True, 1, "fringe", 0),
    "jona": Cast(True, 5, "waves", 0),
    "kira": Cast(True, 2, "waves", 4),
    "levi": Cast(False, 3, "shaved", 0, beard="short"),
    "mara": Cast(True, 3, "waves", 0),
    "nils": Cast(False, 0, "crop", 4, beard="stubble"),
    "olga": Cast(True, 0, "bun", 4),
    "paul": Cast(False, 1, "curls", 1, beard="short"),
    "rosa": Cast(True, 2, "curls", 0),
    "sven": Cast(False, 0, "shaved", 3, glasses=True),
    "tara": Cast(True, 4, "long", 0),
    "ugur": Cast(False, 3, "crop", 0, beard="short"),
    "vera": Cast(True, 1, "bob", 1, glasses=True),
    "walt": Cast(False, 4, "parted", 0, beard="short"),
}


@dataclass(frozen=True)
class Identity:
    """A speaker. Colours are RGB in [0, 1]; lengths as the module says."""

    name: str
    cast: Cast
    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    clothes: Colour
    wall: Colour
    warmth: float  # colour of the key light: -1 cool .. 1 warm
    key: tuple[float, float, float]  # direction of the key light, unit vector; x right, y down, z to the camera
    forehead: float  # half widths of the face
    cheek: float
    jaw: float
    chin: float  # half width just above the chin
    chin_y: float
    eye_x: float  # of the eyes' centres
    eye_width: float  # half width
    eye_open: float  # aperture of the open eye
    eye_tilt: float  # outer corner above the inner one
    brow_y: float
    brow_thick: float
    brow_arch: float
    nose_y: float  # of the tip
    nose_width: float  # half width of the wings
    nose_high: float  # how far the tip stands out
    mouth_y: float
    mouth_width: float  # half width at rest
    lip_upper: float  # thickness
    lip_lower: float
    jaw_drop: float  # of the chin at the widest opening
    gap: float  # between the inner lips at the widest opening
    effort: float  # how widely the speaker opens the mouth
    freckles: float
    voice: Voice
    texture: int  # seed of hair, skin and room


def rng_of(seed: int, *names: str) -> np.random.Generator:
    """The random numbers of one purpose: the same for the same (seed, names), unrelated for others."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def _cast(rng: np.random.Generator) -> Cast:
    woman = bool(rng.random() < 0.5)
    hair = str(rng.choice(FOR_WOMEN if woman else FOR_MEN))
    beard = "none" if woman else str(rng.choice(["none", "stubble", "short"]))
    glasses = bool(rng.random() < 0.2)
    return Cast(woman, int(rng.integers(len(SKINS))), hair, int(rng.integers(len(HAIRS))), glasses, beard)


def _near(colour: Colour, rng: np.random.Generator, size: float) -> Colour:
    red, green, blue = np.clip(np.array(colour) * (1 + rng.normal(0, size)) + rng.normal(0, size / 3, 3), 0, 1)
    return float(red), float(green), float(blue)


def _lips(skin: Colour, woman: bool, rng: np.random.Generator) -> Colour:
    """Redder than the skin; on dark skin also lighter, as the lower lip is, so that the mouth stands out."""
    tint = np.array([0.74, 0.24, 0.27] if woman else [0.70, 0.34, 0.32])
    share = rng.uniform(0.5, 0.68) if woman else rng.uniform(0.42, 0.55)
    level = max(0.62, 0.3 + 0.7 * max(skin))
    red, green, blue = (1 - share) * np.array(skin) * [0.95, 0.72, 0.72] + share * tint * level
    return float(red), float(green), float(blue)


def draw(seed: int, name: str) -> Identity:
    """The speaker of that name."""
    rng = rng_of(seed, "identity", name)
    drawn = _cast(rng)
    cast = CAST.get(name, drawn)
    woman = cast.woman

    def u(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def pick(colours: tuple[Colour, ...], size: float) -> Colour:
        return _near(colours[int(rng.integers(len(colours)))], rng, size)

    skin = _near(SKINS[cast.skin], rng, 0.02)
    angle, height = u(-0.9, 0.9), u(0.35, 0.6)
    key = np.array([np.sin(angle), -height, np.cos(angle) * 0.9])
    key /= np.linalg.norm(key)
    dark = cast.skin >= 3
    voice = Voice(
        pitch=u(180, 225) if woman else u(95, 135),
        formants=u(1.1, 1.18) if woman else u(0.96, 1.04),
        breath=u(0.3, 0.8) if woman else u(0.1, 0.4),
        rate=u(0.98, 1.12),
        melody=u(2.0, 4.0),
    )
    return Identity(
        name=name,
        cast=cast,
        skin=skin,
        hair=_near(HAIRS[cast.hair_colour], rng, 0.04),
        iris=_near(IRISES[int(rng.integers(2 if dark else len(IRISES)))], rng, 0.03),
        lips=_lips(skin, woman, rng),
        clothes=pick(CLOTHES, 0.05),
        wall=pick(WALLS, 0.06),
        warmth=u(-0.8, 1.0),
        key=(float(key[0]), float(key[1]), float(key[2])),
        forehead=u(64, 69),
        cheek=u(69, 73) if woman else u(70, 75),
        jaw=u(53, 58) if woman else u(59, 64),
        chin=u(19, 25) if woman else u(25, 31),
        chin_y=u(121, 127) if woman else u(125, 131),
        eye_x=u(31, 33.5),
        eye_width=u(14, 15.5),
        eye_open=u(12.0, 13.8) if woman else u(11.4, 13.0),
        eye_tilt=u(-0.5, 2.0),
        brow_y=u(-24, -21),
        brow_thick=u(3.0, 4.2) if woman else u(4.4, 6.4),
        brow_arch=u(3.0, 5.0) if woman else u(1.5, 3.5),
        nose_y=u(43, 48),
        nose_width=u(12, 14.5) if woman else u(13.5, 17),
        nose_high=u(17, 21) if woman else u(19, 24),
        mouth_y=u(73, 76),
        mouth_width=u(23, 26) if woman else u(24, 28),
        lip_upper=u(6.0, 8.0) if woman else u(4.8, 6.5),
        lip_lower=u(8.0, 10.5) if woman else u(6.8, 9.0),
        jaw_drop=u(10.5, 13.0),
        gap=u(19.0, 22.0),
        effort=u(0.92, 1.08),
        freckles=max(0.0, u(-1.0, 0.6)) if cast.skin < 2 else 0.0,
        voice=voice,
        texture=int(rng.integers(2**31)),
    )
