"""The emotion's displacement: what a face's expression, its mouth covered, adds to four key points that the sound has told.

N images, C = 3 channels, H = W = size, K key points. Pictures are in [0, 1].
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from stages.faces.crops import mouth_matrix
from stages.methods.kinds.eamm.first_order import Hourglass, Motion, sampled

MOVED = 4  # key points that an expression moves
OCTAVES = 10  # of the sines and cosines that a number is told by
TURN, STRETCH = 30.0, 0.15  # of a sequence in training: degrees at most, and the most of either side's change


def residual_layers(width: int) -> nn.Sequential:
    """ResNet-18's four pairs of blocks, from ``width`` to 8·``width`` channels; He et al. 2016."""
    blocks: list[nn.Module] = []
    widths = [width, width, 2 * width, 4 * width, 8 * width]
    for number, (a, b) in enumerate(itertools.pairwise(widths)):
        shorter = nn.Sequential(nn.Conv2d(a, b, 1, 2, bias=False), nn.BatchNorm2d(b)) if number else None
        blocks += [BasicBlock(a, b, 2 if number else 1, shorter), BasicBlock(b, b)]
    return nn.Sequential(*blocks)


class Displacement(nn.Module):
    """A covered picture and the key points that the sound told → what is added to four of them."""

    moved_4: Tensor  # which four; those that the sound tells worst, chosen as its training begins

    def __init__(self, *, points: int, hourglass: int, levels: int, widest: int, shrunk: int, width: int) -> None:
        super().__init__()
        self.shrunk = shrunk
        self.hourglass = Hourglass(3, width=hourglass, levels=levels, widest=widest)
        self.picture = nn.Sequential(
            nn.Conv2d(self.hourglass.channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            residual_layers(width),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        told = points * 6 * (1 + 2 * OCTAVES)
        self.told = nn.Sequential(nn.Linear(told, 16 * width), nn.ReLU(), nn.Linear(16 * width, 8 * width), nn.ReLU())
        self.both = nn.Sequential(
            *(nn.Linear(16 * width, 8 * width), nn.ReLU(), nn.Linear(8 * width, 4 * width), nn.ReLU()),
            *(nn.Linear(4 * width, 64), nn.ReLU()),
        )
        self.added = nn.Sequential(  # 64 values → 6 of each key point
            *(nn.Conv1d(1, 2, 4, 2, 1), nn.MaxPool1d(2), nn.ReLU()),
            *(nn.Conv1d(2, MOVED, 4, 2, 1), nn.ReLU(), nn.Conv1d(MOVED, MOVED, 3)),
        )
        self.register_buffer("moved_4", torch.arange(MOVED))

    def forward(self, covered_NCHW: Tensor, told: Motion) -> Motion:
        """Key points displaced by an expression; the others as they were told."""
        seen = self.picture(self.hourglass(F.avg_pool2d(covered_NCHW, self.shrunk)))
        heard = self.told(octaves(torch.cat([told.places_NK2, told.jacobians_NK22.flatten(2)], -1)).flatten(1))
        added_N46 = self.added(self.both(torch.cat([seen, heard], 1))[:, None])
        places_NK2 = told.places_NK2.index_add(1, self.moved_4, added_N46[..., :2])
        return Motion(
            places_NK2, told.jacobians_NK22.index_add(1, self.moved_4, added_N46[..., 2:].unflatten(2, (2, 2)))
        )


def octaves(values: Tensor) -> Tensor:
    """Each number, and its sines and cosines at ten frequencies, an octave apart, in the last dimension."""
    at = values[..., None] * 2.0 ** torch.arange(OCTAVES, device=values.device)
    return torch.cat([values[..., None], at.sin(), at.cos()], -1).flatten(-2)


def covered(frames_NHWC: NDArray[np.uint8], landmarks_NL2: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Frames with a black square on the mouth, as wide as the outer eye corners are apart.

    It lies where the eyes and the nose say, so that neither its place nor its size tells how far the mouth is open.
    """
    size = frames_NHWC.shape[1]
    y, x = np.mgrid[:size, :size]
    everywhere = np.stack([x, y, np.ones_like(x)], -1).astype(np.float64)
    hidden = np.array(frames_NHWC)
    for frame, points in zip(hidden, landmarks_NL2, strict=True):
        frame[(np.abs(everywhere @ mouth_matrix(points, 1).T) <= 0.5).all(-1)] = 0
    return hidden


def moved(x_BTCHW: Tensor) -> Tensor:
    """Sequences each mirrored or not, turned and stretched at random, all frames of one alike."""
    batch, count = x_BTCHW.shape[:2]
    angle = torch.deg2rad(TURN * (2 * torch.rand(batch, device=x_BTCHW.device) - 1))
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).unflatten(-1, (2, 2))
    side = 1 + STRETCH * (2 * torch.rand(batch, 2, device=x_BTCHW.device) - 1)
    side[:, 0] *= torch.where(torch.rand(batch, device=x_BTCHW.device) < 0.5, -1.0, 1.0)
    map_N23 = F.pad(turn * side[:, None], (0, 1)).repeat_interleave(count, 0)
    x_NCHW = x_BTCHW.flatten(0, 1)
    from_NHW2 = F.affine_grid(map_N23, list(x_NCHW.shape), align_corners=True)
    return sampled(x_NCHW, from_NHW2, "border").unflatten(0, (batch, count))
