"""Sound to motion: key points from a still picture, the sound around each frame and the head's pose.

N images, B sequences, T frames of each, K key points, S mel steps, M mel bands.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.faces.geometry import head_axes, nose_tip
from stages.methods.kinds.eamm.first_order import Heads, Motion, conv
from stages.methods.kinds.eamm.settings import Settings

POSE = 6  # values of a frame: place, size, roll, and two of the turn
CODES = {"picture": 512, "sound": 256, "pose": 256}  # published lengths


class SoundEncoder(nn.Module):
    """A window of the sound, (N, S, M), → its code, (N, 256)."""

    def __init__(self, *, steps: int, bands: int, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(1, width),
            conv(width, 2 * width),
            nn.MaxPool2d(3, (1, 2)),
            conv(2 * width, 4 * width),
            conv(4 * width, 4 * width),
            conv(4 * width, 8 * width),
            nn.MaxPool2d(3, (2, 2)),
            nn.Flatten(),
        )
        left = [((side - 3) // first + 1 - 3) // 2 + 1 for side, first in ((steps, 1), (bands, 2))]
        self.code = nn.Sequential(
            nn.Linear(8 * width * left[0] * left[1], hidden), nn.ReLU(), nn.Linear(hidden, CODES["sound"]), nn.ReLU()
        )

    def forward(self, sound_NSM: Tensor) -> Tensor:
        return self.code(self.layers(sound_NSM[:, None]))


class PictureEncoder(nn.Module):
    """A still picture → its code, (N, 512): convolutions that halve it to one pixel, each twice as wide as the one
    before but for the last, which is as wide as the code is long.
    """

    def __init__(self, *, size: int, width: int) -> None:
        super().__init__()
        halvings = size.bit_length() - 1
        widths = [min(width * 2**level, CODES["picture"]) for level in range(halvings)]
        widths[-1] = CODES["picture"]
        layers = [nn.Sequential(conv(a, b), nn.MaxPool2d(2)) for a, b in zip([3, *widths], widths)]
        self.layers = nn.Sequential(*layers, nn.Flatten())

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.layers(x_NCHW)


class SoundToMotion(nn.Module):
    """A still picture with its key points, and for each frame the sound around it and the head's pose → key points of each."""

    def __init__(self, settings: Settings, *, size: int, mel_bins: int) -> None:
        super().__init__()
        s = settings
        steps, bands = s.audio_steps // s.pooled[0], mel_bins // s.pooled[1]
        self.sound = SoundEncoder(steps=steps, bands=bands, width=s.sound_width, hidden=s.sound_hidden)
        self.picture = PictureEncoder(size=size, width=s.picture_width)
        self.pose = nn.Sequential(nn.Linear(POSE, 128), nn.ReLU(), nn.Linear(128, CODES["pose"]), nn.ReLU())
        self.follow = nn.LSTM(sum(CODES.values()), s.lstm, s.lstm_layers, batch_first=True)
        self.direct, self.points = s.motion == "direct", s.points
        if self.direct:
            self.told = nn.Linear(s.lstm, 6 * s.points)
            nn.init.zeros_(self.told.weight)  # it starts as the still frame's key points
            nn.init.zeros_(self.told.bias)
        else:
            self.map = feature_map(s.lstm, s.width + 3)
            self.heads = Heads(s.width + 3, s.points)

    def forward(
        self,
        still_BCHW: Tensor,
        known: Motion,
        sound_BTSM: Tensor,
        pose_BT6: Tensor,
        state: Any = None,
        amplify: float = 1.0,
    ) -> tuple[Motion, Tensor | None, Any]:
        """The key points of B·T frames, their heat where there is a map of them, and the LSTM's state after them."""
        batch, count = sound_BTSM.shape[:2]
        heard = amplify * self.sound(sound_BTSM.flatten(0, 1)).unflatten(0, (batch, count))
        seen = self.picture(still_BCHW)[:, None].expand(-1, count, -1)
        followed, state = self.follow(torch.cat([seen, heard, self.pose(pose_BT6)], -1), state)
        codes = followed.flatten(0, 1)
        if not self.direct:
            motion, heat = self.heads(self.map(codes[:, :, None, None]))
            return motion, heat, state
        told = self.told(codes).unflatten(1, (self.points, 6))
        start = known.repeated(count)
        moved = Motion(start.places_NK2 + told[..., :2], start.jacobians_NK22 + told[..., 2:].unflatten(2, (2, 2)))
        return moved, None, state


def feature_map(c_in: int, c_out: int) -> nn.Sequential:
    """A code as a map of one pixel → (N, c_out, 64, 64), by transposed convolutions."""
    widths = [c_in, 256, 128, 128, 128, c_out]
    layers: list[nn.Module] = []
    for number, (a, b) in enumerate(itertools.pairwise(widths)):
        layers.append(nn.ConvTranspose2d(a, b, 6 if number == 0 else 4, 2, 1))
        if number < len(widths) - 2:
            layers += [nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers)


def poses(landmarks_NL2: NDArray[np.floating], size: int) -> Tensor:
    """The head's pose by its landmarks, (N, 6): place between the eyes, size and roll, and its turn by the nose's tip."""
    points = np.asarray(landmarks_NL2, np.float64)
    eyes, axes, distance, _ = head_axes(points)
    place, side = 2 * eyes / (size - 1) - 1, (2 * distance / size)[:, None]
    found = np.concatenate([place, side, axes[:, 0, 1:], nose_tip(points)], 1)
    return torch.from_numpy(found.astype(np.float32))
