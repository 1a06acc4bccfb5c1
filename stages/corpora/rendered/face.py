"""Frames of a rendered speaker: the painted head gets its mouth and eyes, its jaw drops, and it is turned by its depth.

Each pixel of a frame looks up the head's sheet at the point that a head turned by yaw, pitch and roll shows there.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from stages.corpora.rendered.eyes import EyePainter
from stages.corpora.rendered.motion import Motion
from stages.corpora.rendered.mouth import MouthPainter, Viseme
from stages.corpora.rendered.paint import Array, smoothstep
from stages.corpora.rendered.portrait import CENTRE_Y, HEAD_BOX, Portrait, light_tint

GRID = 6  # frame pixels between two points of the turning's exact solution; bilinear between
PIVOT = (0.0, 60.0)  # about which the head rolls and turns, units
EYE_WINDOW = (25.0, 20.0)  # half width, half height, units
JAW_TOP = 30.0  # units; nothing above moves with the jaw, nothing below with brows and eyes
BROW_RISE = 3.6  # units
Window = tuple[slice, slice]


class Renderer:
    """Renders frames of one portrait; keeps a working copy of its head."""

    def __init__(self, portrait: Portrait, width: int, height: int) -> None:
        self.portrait, self.width, self.height = portrait, width, height
        who = portrait.who
        self.head = portrait.head_HW4.copy()
        self.light = light_tint(who) * np.float32(0.96)
        self.jaw_window = self._window(-112, JAW_TOP, 112, who.chin_y + 46)
        self.mouth_window = self._window(-40, who.mouth_y - 20, 40, who.mouth_y + 40)
        self.upper_window = self._window(-92, who.brow_y - 18, 92, JAW_TOP)  # brows, eyes and glasses
        x, y = self._axes(self.jaw_window)
        self.jaw_x, self.jaw_y = np.meshgrid(np.arange(len(x), dtype=np.float32), np.arange(len(y), dtype=np.float32))
        self.jaw_drop = self._jaw_field(x[None], y[:, None])
        self.mouth = MouthPainter(who, *self._axes(self.mouth_window), portrait.scale, self.light)
        self.eyes = []
        for side in (1, -1):  # the subject's left eye is on the picture's right
            at = side * who.eye_x
            window = self._window(at - EYE_WINDOW[0], -EYE_WINDOW[1], at + EYE_WINDOW[0], EYE_WINDOW[1])
            self.eyes.append((window, EyePainter(who, side, *self._axes(window), portrait.scale, self.light)))
        self.brow_colour = np.asarray(who.hair, np.float32) * (0.75 if max(who.hair) < 0.5 else 0.6) * self.light

    def _window(self, left: float, top: float, right: float, bottom: float) -> Window:
        s = self.portrait.scale
        rows = slice(int((top - HEAD_BOX[1]) * s), min(int((bottom - HEAD_BOX[1]) * s), len(self.portrait.head_HW4)))
        return rows, slice(int((left - HEAD_BOX[0]) * s), int((right - HEAD_BOX[0]) * s))

    def _axes(self, window: Window) -> tuple[Array, Array]:
        """Columns' x and rows' y of a window, units."""
        rows, columns = (np.arange(part.start, part.stop) + 0.5 for part in window)
        s = self.portrait.scale
        return (columns / s + HEAD_BOX[0]).astype(np.float32), (rows / s + HEAD_BOX[1]).astype(np.float32)

    def _jaw_field(self, x: Array, y: Array) -> Array:
        """The share of the jaw's motion that each place follows, 0 .. 1."""
        who = self.portrait.who
        down = smoothstep((y - 48) / (who.chin_y - 62))
        side = 1 - 0.65 * np.clip(np.abs(x) / who.cheek, 0, 1) ** 2
        edge = smoothstep((who.cheek + 14 - np.abs(x)) / 22)
        below = smoothstep((who.chin_y + 40 - y) / 24)
        return (down * side * edge * below).astype(np.float32)

    def frame(self, motion: Motion, number: int) -> Array:
        """Frame ``number`` of a motion, (height, width, 3) RGB."""
        viseme = Viseme(
            *(
                float(getattr(motion, name)[number])
                for name in ("mouth_open", "jaw_open", "spread", "round", "tongue", "tuck", "press")
            )
        )
        self._drop_jaw(viseme.jaw)
        self._paint(self.mouth_window, self.mouth.paint(self._skin(self.mouth_window), viseme))
        self.head[self.upper_window] = self.portrait.head_HW4[self.upper_window]
        self._raise_brows(float(motion.brow[number]))
        gaze = float(motion.gaze_T2[number, 0]), float(motion.gaze_T2[number, 1])
        for (window, painter), opening in zip(self.eyes, motion.eyelid_T2[number], strict=True):
            self._paint(window, painter.paint(self._skin(window), float(opening), gaze))
        if self.portrait.glasses is not None:
            layer, (left, top) = self.portrait.glasses
            place = slice(top, top + layer.shape[0]), slice(left, left + layer.shape[1])
            self.head[place] = over(layer, self.head[place])
        return self._compose(motion, number)

    def frames(self, motion: Motion) -> Iterator[Array]:
        """All frames of a motion, each (height, width, 3) uint8 RGB."""
        return (self.frame(motion, number) for number in range(len(motion.yaw)))

    def _skin(self, window: Window) -> Array:
        return self.head[window][..., :3].astype(np.float32) * np.float32(1 / 255)

    def _paint(self, window: Window, colour: Array) -> None:
        self.head[window][..., :3] = np.clip(colour * 255 + 0.5, 0, 255).astype(np.uint8)

    def _drop_jaw(self, jaw: float) -> None:
        """Lower the chin and what is around it."""
        move = np.float32(jaw * self.portrait.who.jaw_drop * self.portrait.scale)
        still = self.portrait.head_HW4[self.jaw_window]
        self.head[self.jaw_window] = cv2.remap(still, self.jaw_x, self.jaw_y - move * self.jaw_drop, cv2.INTER_LINEAR)

    def _raise_brows(self, rise: float) -> None:
        lift = BROW_RISE * rise * self.portrait.scale
        whole = int(np.floor(lift))
        part = np.float32(lift - whole)
        for alpha, (left, top) in self.portrait.brows:
            moved = np.zeros((alpha.shape[0] + 1, alpha.shape[1]), np.float32)
            moved[1:] += (1 - part) * alpha
            moved[:-1] += part * alpha
            window = slice(top - 1 - whole, top + len(alpha) - whole), slice(left, left + alpha.shape[1])
            skin = self._skin(window)
            self._paint(window, skin + (self.brow_colour - skin) * moved[..., None])

    def _compose(self, motion: Motion, number: int) -> Array:
        """Room, body, turned head."""
        unit = self.portrait.unit
        shift = motion.shift_T2[number] * unit
        sway = np.array([[1, 0, 0.45 * shift[0]], [0, 1, 0.3 * shift[1]]], np.float32)
        top = int(0.55 * self.height)
        picture = self.portrait.room_HW3.copy()
        body = cv2.warpAffine(
            self.portrait.body_HW4[top:],
            sway,
            (self.width, self.height - top),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        picture[top:] = over(body, picture[top:])
        map_x, map_y = self._turn(motion, number)
        head = cv2.remap(self.head, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return over(head, picture)

    def _turn(self, motion: Motion, number: int) -> tuple[Array, Array]:
        """For each frame pixel, the pixel of the head's sheet that it shows."""
        yaw, pitch, roll = np.radians([motion.yaw[number], motion.pitch[number], motion.roll[number]])
        unit, s = self.portrait.unit * float(motion.scale[number]), self.portrait.scale
        shift = motion.shift_T2[number] * self.portrait.unit
        columns = np.arange(-GRID, self.width + 2 * GRID, GRID, dtype=np.float32)
        rows = np.arange(-GRID, self.height + 2 * GRID, GRID, dtype=np.float32)
        px = ((columns + 0.5 - self.width / 2 - shift[0]) / unit - PIVOT[0])[None]
        py = ((rows + 0.5 - CENTRE_Y * self.height - shift[1]) / unit - PIVOT[1])[:, None]
        ux = px * np.cos(roll) + py * np.sin(roll)
        uy = py * np.cos(roll) - px * np.sin(roll)
        x, y = ux.astype(np.float32), uy.astype(np.float32)
        for _ in range(3):  # fixed point of x' = x cos + z sin: the depth at the place that is seen
            z = self._depth(x + PIVOT[0], y + PIVOT[1]) - 20
            x = ((ux - z * np.sin(yaw)) / np.cos(yaw)).astype(np.float32)
            y = ((uy - z * np.sin(pitch)) / np.cos(pitch)).astype(np.float32)
        map_x = (x + PIVOT[0] - HEAD_BOX[0]) * s - 0.5
        map_y = (y + PIVOT[1] - HEAD_BOX[1]) * s - 0.5
        return self._refine(map_x), self._refine(map_y)

    def _depth(self, x: Array, y: Array) -> Array:
        quarter = self.portrait.scale / 4
        at_x, at_y = (x - HEAD_BOX[0]) * quarter - 0.5, (y - HEAD_BOX[1]) * quarter - 0.5
        return cv2.remap(self.portrait.depth_HW, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def _refine(self, coarse: Array) -> Array:
        """From the grid's points to every pixel."""
        matrix = np.array([[1 / GRID, 0, 1], [0, 1 / GRID, 1]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(coarse, matrix, (self.width, self.height), flags=flags)


def over(layer_HW4: Array, below: Array) -> Array:
    """A premultiplied layer over a picture (RGB) or another premultiplied layer (RGBA)."""
    channels = below.shape[-1]
    rest = cv2.merge([255 - layer_HW4[..., 3]] * channels)
    return cv2.add(
        np.ascontiguousarray(layer_HW4[..., :channels]), cv2.multiply(np.ascontiguousarray(below), rest, scale=1 / 255)
    )
