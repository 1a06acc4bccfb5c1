"""The motion of a rendered speaker: visemes with coarticulation, blinks, gaze, brows and head pose, at any given times.

T times (of source frames), seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.corpora.rendered.paths import blink_times, during, eyelid, smoothstep, wander
from stages.corpora.rendered.phones import PHONES
from stages.corpora.rendered.sentences import Segment
from stages.corpora.rendered.speech import blend

Array = NDArray[np.float64]

STEP_S = 0.002  # grid of the mouth's tracks
COARTICULATION_S = 0.11  # width of the window that blends neighbouring visemes
CLOSURE_MARGIN_S = 0.045  # the lips leave and reach a closure within this time
# The largest head motion: within what dlib's frontal detector follows, and mostly in the picture's plane.
YAW, PITCH, ROLL = 5.0, 3.0, 7.0  # degrees
SHIFT = 18.0  # pixels of a frame 360 high
SCALE = 0.06  # share of the head's size
MOUTH_FIELDS = ("gap", "jaw", "spread", "round", "tongue", "tuck")


@dataclass(frozen=True)
class Motion:
    """Everything that moves in a clip, each (T,) unless said."""

    mouth_open: Array  # gap between the inner lips, 0 closed .. 1 widest
    jaw_open: Array  # 0 closed .. 1 widest
    spread: Array  # lip corners, -1 pursed .. 1 spread
    round: Array  # lips protruded, 0 .. 1
    tongue: Array  # 0 low .. 1 between the teeth
    tuck: Array  # lower lip under the upper teeth, 0 .. 1
    press: Array  # lips pressed together, 0 .. 1
    eyelid_T2: Array  # left, right eye of the subject, 0 closed .. 1 open
    gaze_T2: Array  # right and down in the picture, -1 .. 1
    brow: Array  # 0 at rest .. 1 raised
    yaw: Array  # degrees, positive to the picture's right
    pitch: Array  # degrees, positive down
    roll: Array  # degrees, positive clockwise
    shift_T2: Array  # pixels of a frame 360 high, right and down
    scale: Array  # about 1


def mouth(segments: list[Segment], times_T: Array, effort: float) -> dict[str, Array]:
    """Mouth parameters at the times. Neighbours blend by their own weights; closures are complete; ``effort`` scales openings."""
    grid = np.arange(0, segments[-1].end + STEP_S, STEP_S)
    starts = np.array([segment.start for segment in segments])
    phones = [PHONES[segment.phone] for segment in segments]
    place = np.clip(np.searchsorted(starts, grid, side="right") - 1, 0, len(phones) - 1)
    weight = np.array([phone.lips for phone in phones])[place]
    width = COARTICULATION_S / STEP_S
    total = blend(weight, width)
    stress = np.array(
        [1.0 if segment.stressed or not phone.vowel else 0.85 for segment, phone in zip(segments, phones, strict=True)]
    )
    tracks = {}
    for name in MOUTH_FIELDS:
        target = np.array([float(getattr(phone, name)) for phone in phones])
        if name in ("gap", "jaw"):
            target = target * stress * effort
        tracks[name] = blend(weight * target[place], width) / total
    tracks["press"] = closure(segments, grid)
    tracks["gap"] = np.clip(tracks["gap"], 0, 1) * (1 - tracks["press"])
    tracks["jaw"] = np.clip(tracks["jaw"], 0, 1)
    return {name: np.interp(times_T, grid, track) for name, track in tracks.items()}


def closure(segments: list[Segment], times: Array) -> Array:
    """1 while the lips touch (bilabials, and the silence at both ends), 0 when apart, smooth between."""
    closed = np.zeros_like(times)
    for segment in segments:
        if PHONES[segment.phone].closed or segment.phone == "SIL":
            first = -1.0 if segment is segments[0] else segment.start + 0.008
            last = np.inf if segment is segments[-1] else segment.end - 0.008
            if segment is segments[-1]:
                first += 0.06  # the mouth closes after the last sound
            if segment is segments[0]:
                last -= 0.03
            near = during(times, first - CLOSURE_MARGIN_S, last + CLOSURE_MARGIN_S)
            outside = np.maximum(np.maximum(first - times[near], times[near] - last), 0)
            closed[near] = np.maximum(closed[near], 1 - smoothstep(outside / CLOSURE_MARGIN_S))
    return closed


def accents(segments: list[Segment], times_T: Array, rng: np.random.Generator) -> Array:
    """Bumps in [0, 1] on about half of the stressed vowels: what brows and head do with the voice."""
    bumps = np.zeros_like(times_T)
    for segment in segments:
        if segment.stressed and PHONES[segment.phone].vowel and rng.random() < 0.5:
            near = during(times_T, segment.centre - 1.6, segment.centre + 1.6)
            bump = rng.uniform(0.4, 1) * np.exp(-(((times_T[near] - segment.centre) / 0.16) ** 2))
            bumps[near] = np.maximum(bumps[near], bump)
    return bumps


def saccades(times_T: Array, rng: np.random.Generator) -> Array:
    """(T, 2) gaze that rests and jumps every half second or so, each jump within 40 ms; mostly near the camera."""
    gaze = np.empty((len(times_T), 2))
    at = rng.uniform(0.2, 0.7)
    place = reached = rng.normal(0, 0.12, 2)
    drawn = 0
    while at < times_T[-1]:
        target = np.clip(rng.normal(0, [0.22, 0.12]), -0.6, 0.5)
        jump = during(times_T, at, at + 0.04)
        gaze[drawn : jump.start] = reached
        gaze[jump] = reached + smoothstep((times_T[jump] - at) / 0.04)[:, None] * (target - place)
        reached, drawn = reached + (target - place), jump.stop
        place, at = target, at + rng.uniform(0.4, 1.1)
    gaze[drawn:] = reached
    return gaze


def move(
    segments: list[Segment],
    times_T: Array,
    *,
    blink_rate: float,
    blink_variety: float,
    effort: float,
    amount: float,
    rng: np.random.Generator,
) -> Motion:
    """Draw a clip's motion.

    ``blink_variety`` is :func:`eyelid`'s, ``effort`` how widely the mouth opens, about 1, ``amount`` the share of head motion.
    """
    lips = mouth(segments, times_T, effort)
    beat = accents(segments, times_T, rng)
    gaze = saccades(times_T, rng)
    lid = eyelid(blink_times(times_T[-1], blink_rate, rng), times_T, rng, variety=blink_variety)
    rest = 0.96 - 0.1 * np.clip(gaze[:, 1], 0, 1) + 0.04 * beat + 0.015 * wander(times_T, rng)
    yaw, pitch, roll = (wander(times_T, rng) for _ in range(3))
    return Motion(
        mouth_open=lips["gap"],
        jaw_open=lips["jaw"],
        spread=lips["spread"],
        round=lips["round"],
        tongue=lips["tongue"],
        tuck=lips["tuck"],
        press=lips["press"],
        eyelid_T2=np.clip(lid * rest[:, None], 0, 1),
        gaze_T2=gaze,
        brow=np.clip(0.8 * beat + 0.15 * wander(times_T, rng), -0.2, 1),
        yaw=amount * YAW * np.clip(1.3 * yaw, -1, 1),
        pitch=amount * PITCH * np.clip(pitch + 0.35 * beat, -1, 1),
        roll=amount * ROLL * roll,
        shift_T2=amount * SHIFT * np.stack([wander(times_T, rng) + 0.3 * yaw, wander(times_T, rng) + 0.25 * beat], -1),
        scale=1 + amount * SCALE * wander(times_T, rng),
    )
