"""Motion of a head in the picture's plane: synthesised, another's, or by a table. T frames, L = 68 landmarks.

A pose is (roll, x, y, scale): degrees clockwise, across and down the face in distances of the outer eye corners, and a factor,
all against the face at rest.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.base.errors import InputError
from stages.corpora.rendered.paths import smoothstep, wander
from stages.faces.geometry import RIGID, head_axes, similarity

Array = NDArray[np.float64]

COLUMNS = ("roll", "x", "y", "scale")
# The largest motion at amount 1, as the demo's: degrees; distances of the eye corners; share.
ROLL, ASIDE, DOWN, SCALE = 3.0, 0.10, 0.06, 0.025
NECK = 1.9  # below the eyes, in distances of the eye corners: what the head turns about
RISE_S = 0.6  # seconds in which motion begins


def wandering(frames: int, fps: float, amount: float, rng: np.random.Generator) -> Array:
    """Synthesised poses, (T, 4): at rest at first; none at all where ``amount`` is 0."""
    times = np.arange(frames) / fps
    rise = amount * smoothstep(times / RISE_S)
    roll, aside, down, scale = (rise * (w - w[0]) for w in (wander(times, rng) for _ in range(4)))
    return np.stack([ROLL * roll, ASIDE * aside, DOWN * down, 1 + SCALE * scale], -1)


def of_landmarks(landmarks_TL2: Array) -> Array:
    """The poses of a head against its first frame, (T, 4); a turn out of the plane is what a similarity makes of it."""
    first = landmarks_TL2[0]
    _, axes, distance, _ = head_axes(first)
    neck = _neck(first)
    moves = similarity(first[RIGID], landmarks_TL2[:, RIGID])
    linear, shift = moves[:, :, :2], moves[:, :, 2]
    scale = np.hypot(linear[:, 0, 0], linear[:, 1, 0])
    roll = np.rad2deg(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    moved = (linear @ neck + shift - neck) @ axes.T / distance
    poses = np.column_stack([roll, moved, scale])
    poses[0] = [0, 0, 0, 1]
    return poses


def moves(points_L2: Array, poses_T4: Array) -> Array:
    """The similarities that bring a face at rest into its poses, (T, 2, 3), about the neck."""
    _, axes, distance, _ = head_axes(points_L2)
    neck = _neck(points_L2)
    roll, aside, down, scale = np.asarray(poses_T4, np.float64).T
    angle = np.deg2rad(roll)
    linear = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], -2)
    linear *= scale[:, None, None]
    shift = distance * (aside[:, None] * axes[0] + down[:, None] * axes[1])
    found = np.concatenate([linear, (neck + shift - linear @ neck)[..., None]], -1)
    found[(np.asarray(poses_T4) == [0, 0, 0, 1]).all(1)] = np.eye(2, 3)  # none is none, to the bit
    return found


def _neck(points_L2: Array) -> Array:
    eyes, axes, distance, _ = head_axes(points_L2)
    return np.asarray(eyes + NECK * distance * axes[1], np.float64)


def order(available: int, frames: int, when_short: str) -> NDArray[np.intp]:
    """The video's frame to show at each of so many, (T,); ``stop``: no more than there are."""
    wanted = np.arange(min(frames, available) if when_short == "stop" else frames)
    if when_short == "loop":
        return wanted % available
    if when_short == "pingpong" and available > 1:
        period = 2 * available - 2
        return np.minimum(wanted % period, period - wanted % period)
    return np.minimum(wanted, available - 1)


def lent(available: int, frames: int, when_short: str) -> NDArray[np.intp]:
    """The same of what another's video or a table lends, which ends no film: ``stop`` holds its last."""
    return order(available, frames, "hold" if when_short == "stop" else when_short)


def table(path: Path, *kinds: Sequence[str]) -> tuple[int, Array]:
    """A CSV's numbers, (rows, columns), and which of the kinds it is, by its heading.

    Raises:
        InputError: it is missing, has another heading, no row, or what is no number.
    """
    headings = " or ".join(",".join(kind) for kind in kinds)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            path, f"not a CSV that can be read ({error})", f"give one with the columns {headings}"
        ) from None
    heading = [name.strip() for name in rows[0]] if rows else []
    kind = next((number for number, kind in enumerate(kinds) if set(kind) <= set(heading)), None)
    if kind is None:
        raise InputError(path, f"its columns are {','.join(heading) or 'none'}", f"give {headings}")
    places = [heading.index(name) for name in kinds[kind]]
    values = []
    for line, row in enumerate(rows[1:], 2):
        try:
            if row:
                values.append([float(row[place]) for place in places])
        except (ValueError, IndexError):
            raise InputError(
                path, f"line {line} is {','.join(row)!r}", f"give numbers for {','.join(kinds[kind])}"
            ) from None
    found = np.array(values, np.float64).reshape(-1, len(places))
    if not len(found) and kinds[kind] != ("time_s",):
        raise InputError(path, "has no rows", "give one a frame")
    if not np.isfinite(found).all():
        raise InputError(path, "has values that are no finite numbers", f"give numbers for {','.join(kinds[kind])}")
    return kind, found
