"""The phones: for each its duration, formants and sources (after Klatt 1980 and Peterson and Barney 1952), and its viseme.

Diphthongs, plosives and affricates are made of parts: ``AY`` is ``AA`` gliding to ``IY``, ``P`` a closure and a release.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Phone:
    """Targets of one phone. Formants in Hz for a voice of scale 1; amplitudes and mouth parameters in [0, 1]."""

    duration_ms: float
    f1: float
    f2: float
    f3: float
    voice: float = 0.0  # amplitude of the glottal source
    breath: float = 0.0  # aspiration, through the vocal tract
    hiss: float = 0.0  # frication, past the constriction only
    hiss_hz: float = 4000.0
    hiss_width: float = 2000.0
    nasal: float = 0.0
    gap: float = 0.1  # between the inner lips
    jaw: float = 0.1
    spread: float = 0.0  # lip corners: 1 spread, -1 pursed
    round: float = 0.0  # lips protruded
    tongue: float = 0.2  # raised behind the upper teeth; above 0.9 between the teeth
    tuck: float = 0.0  # lower lip under the upper teeth
    lips: float = 1.0  # how much the phone insists on its own lips against its neighbours
    closed: bool = False  # the lips must touch
    vowel: bool = False


def _vowel(
    ms: float, f1: float, f2: float, f3: float, gap: float, jaw: float, spread: float = 0.0, rounded: float = 0.0
) -> Phone:
    lips = 1.3 if rounded else 1.1
    return Phone(
        ms, f1, f2, f3, voice=1.0, gap=gap, jaw=jaw, spread=spread, round=rounded, tongue=0.25, lips=lips, vowel=True
    )


def _closure(ms: float, f2: float, f3: float, voice: float, **mouth: Any) -> Phone:
    return Phone(ms, 220, f2, f3, voice=voice, **mouth)


_LABIAL: dict[str, Any] = {"gap": 0.0, "jaw": 0.06, "lips": 2.5, "closed": True}
_ALVEOLAR: dict[str, Any] = {"gap": 0.2, "jaw": 0.1, "spread": 0.15, "tongue": 0.8, "lips": 0.8}
_SIBILANT: dict[str, Any] = {"gap": 0.22, "jaw": 0.03, "spread": 0.4, "tongue": 0.55}
_VELAR: dict[str, Any] = {"gap": 0.25, "jaw": 0.2, "lips": 0.35}
_PALATAL: dict[str, Any] = {"gap": 0.28, "jaw": 0.05, "spread": -0.45, "round": 0.6, "tongue": 0.55, "lips": 1.4}

PHONES = {
    "SIL": Phone(150, 480, 1500, 2500, gap=0.0, jaw=0.0, lips=0.9),
    # vowels
    "AA": _vowel(145, 750, 1150, 2440, 1.0, 1.0),
    "AE": _vowel(140, 690, 1680, 2430, 0.85, 0.8, 0.5),
    "AH": _vowel(95, 620, 1230, 2450, 0.58, 0.52),
    "AO": _vowel(140, 600, 880, 2420, 0.8, 0.8, -0.4, 0.6),
    "EH": _vowel(115, 550, 1790, 2480, 0.62, 0.55, 0.35),
    "ER": _vowel(125, 480, 1330, 1700, 0.42, 0.35, -0.3, 0.45),
    "IH": _vowel(90, 410, 1960, 2550, 0.4, 0.3, 0.4),
    "IY": _vowel(120, 285, 2250, 3000, 0.28, 0.14, 0.85),
    "UH": _vowel(90, 440, 1050, 2250, 0.36, 0.3, -0.5, 0.7),
    "UW": _vowel(125, 310, 900, 2250, 0.22, 0.12, -1.0, 1.0),
    "OH": _vowel(85, 520, 900, 2350, 0.55, 0.5, -0.6, 0.8),
    # approximants and nasals
    "L": Phone(65, 350, 1080, 2700, voice=0.75, gap=0.35, jaw=0.25, tongue=0.85, lips=0.5),
    "R": Phone(65, 340, 1150, 1550, voice=0.75, gap=0.25, jaw=0.18, spread=-0.4, round=0.5, tongue=0.4),
    "W": Phone(70, 300, 680, 2200, voice=0.75, gap=0.12, jaw=0.1, spread=-1.0, round=1.0, lips=2.0),
    "Y": Phone(60, 280, 2250, 3000, voice=0.7, gap=0.25, jaw=0.12, spread=0.7, tongue=0.4),
    "M": Phone(80, 270, 1050, 2200, voice=0.6, nasal=1.0, gap=0.0, jaw=0.06, lips=2.5, closed=True),
    "N": Phone(70, 270, 1600, 2600, voice=0.6, nasal=1.0, gap=0.22, jaw=0.14, spread=0.1, tongue=0.85, lips=0.6),
    "NG": Phone(80, 270, 2100, 2750, voice=0.6, nasal=1.0, gap=0.28, jaw=0.22, lips=0.4),
    # fricatives
    "HH": Phone(60, 550, 1500, 2500, breath=0.6, gap=0.4, jaw=0.35, lips=0.15),
    "F": Phone(95, 320, 1150, 2200, hiss=0.22, hiss_hz=6500, hiss_width=6000, gap=0.1, jaw=0.06, tuck=1.0, lips=2.2),
    "V": Phone(65, 260, 1150, 2200, voice=0.5, hiss=0.1, hiss_hz=6500, hiss_width=6000, gap=0.1, jaw=0.06, tuck=1.0, lips=2.2),
    "TH": Phone(90, 320, 1400, 2550, hiss=0.16, hiss_hz=6000, hiss_width=5000, gap=0.25, jaw=0.15, tongue=1.0, lips=1.0),
    "DH": Phone(55, 270, 1400, 2550, voice=0.6, hiss=0.06, hiss_hz=6000, hiss_width=5000, gap=0.25, jaw=0.15, tongue=1.0),
    "S": Phone(100, 320, 1600, 2600, hiss=0.6, hiss_hz=6800, hiss_width=2600, **_SIBILANT),
    "Z": Phone(80, 260, 1600, 2600, voice=0.45, hiss=0.35, hiss_hz=6800, hiss_width=2600, **_SIBILANT),
    "SH": Phone(105, 320, 1800, 2500, hiss=0.6, hiss_hz=3300, hiss_width=1800, **_PALATAL),
    "ZH": Phone(75, 270, 1800, 2500, voice=0.45, hiss=0.35, hiss_hz=3300, hiss_width=1800, **_PALATAL),
    # closures and releases of plosives
    "P-": _closure(70, 950, 2200, 0.0, **_LABIAL),
    "P+": Phone(30, 400, 1000, 2250, breath=0.35, hiss=0.45, hiss_hz=1300, hiss_width=2500, gap=0.25, jaw=0.2, lips=0.4),
    "B-": _closure(65, 950, 2200, 0.22, **_LABIAL),
    "B+": Phone(12, 350, 1000, 2250, voice=0.5, hiss=0.35, hiss_hz=1000, hiss_width=2000, gap=0.22, jaw=0.2, lips=0.4),
    "T-": _closure(55, 1750, 2650, 0.0, **_ALVEOLAR),
    "T+": Phone(35, 400, 1750, 2650, breath=0.25, hiss=0.55, hiss_hz=4800, hiss_width=3000, **_ALVEOLAR),
    "D-": _closure(45, 1750, 2650, 0.22, **_ALVEOLAR),
    "D+": Phone(14, 350, 1750, 2650, voice=0.5, hiss=0.35, hiss_hz=4300, hiss_width=3000, **_ALVEOLAR),
    "K-": _closure(60, 1900, 2300, 0.0, **_VELAR),
    "K+": Phone(38, 400, 1900, 2300, breath=0.3, hiss=0.5, hiss_hz=2100, hiss_width=1200, **_VELAR),
    "G-": _closure(50, 1900, 2300, 0.22, **_VELAR),
    "G+": Phone(18, 350, 1900, 2300, voice=0.5, hiss=0.35, hiss_hz=2000, hiss_width=1200, **_VELAR),
}  # fmt: skip

PARTS = {
    "AY": ("AA", "IY"), "AW": ("AA", "UH"), "OY": ("AO", "IY"), "EY": ("EH", "IY"), "OW": ("OH", "UH"),
    "P": ("P-", "P+"), "B": ("B-", "B+"), "T": ("T-", "T+"), "D": ("D-", "D+"), "K": ("K-", "K+"), "G": ("G-", "G+"),
    "CH": ("T-", "SH"), "JH": ("D-", "ZH"),
}  # fmt: skip
