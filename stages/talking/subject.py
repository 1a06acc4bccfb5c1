"""The face that talks, frame by frame: a still picture whose head is moved, or a video's own frames.

T frames of the result, L = 68 landmarks, P points of the mask's outline, K side of the network's pictures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stages.faces.geometry import MaskShape, head_turns, mask_shape, transform
from stages.faces.square import crop_square, to_crop
from stages.talking import heads, portrait
from stages.talking.footage import Footage
from stages.talking.portrait import Picture

Array = NDArray[np.float64]

BLOCK = 1000  # frames whose landmarks are made at once


@dataclass(frozen=True)
class Frame:
    """The settings of a model that cut out faces."""

    size: int  # K
    margin: float
    dilation: float
    jaw: float  # how far below the chin the mask reaches, distances of the eye corners


class Subject(ABC):
    """A face in so many frames. Pixels are those of its pictures, but where the network's are named."""

    frame: Frame

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def picture(self, number: int) -> Picture:
        """A frame's picture, (H, W, 3); the same array may be given twice."""

    @abstractmethod
    def landmarks(self, numbers: NDArray[np.intp]) -> Array:
        """Of some frames, (N, 68, 2)."""

    @abstractmethod
    def reference(self) -> tuple[Picture, Array]:
        """The picture that the network is shown, and the landmarks in it and in the two frames before and after, (5, 68, 2)."""

    @abstractmethod
    def shown(self, number: int) -> float:
        """Share of the made face in a frame."""

    @cached_property
    @abstractmethod
    def crop(self) -> tuple[int, int, int]:
        """The square that faces are cut from, (x, y, side)."""

    @cached_property
    @abstractmethod
    def _mask(self) -> MaskShape:
        """The mask in the network's pixels."""

    def small(self, landmarks: Array) -> Array:
        """Landmarks in the network's pixels."""
        return to_crop(landmarks, self.crop, self.frame.size)

    def hulls(self, landmarks_NL2: Array) -> Array:
        """The mask's outline for consecutive frames with these landmarks, all of the network's pixels: (N, P, 2)."""
        return self._mask.outlines(landmarks_NL2, head_turns(landmarks_NL2, range(len(landmarks_NL2))))


class Still(Subject):
    """A picture whose head is moved by similarities."""

    def __init__(self, picture: Picture, points_L2: Array, poses_T4: Array, frame: Frame) -> None:
        self.still, self.points, self.frame = picture, points_L2, frame
        self.moves = heads.moves(points_L2, poses_T4)
        self._mover = portrait.Mover.of(picture, points_L2)

    def __len__(self) -> int:
        return len(self.moves)

    def picture(self, number: int) -> Picture:
        return self._mover(self.moves[number])

    def landmarks(self, numbers: NDArray[np.intp]) -> Array:
        return np.asarray(transform(np.repeat(self.points[None], len(numbers), 0), self.moves[numbers]), np.float64)

    def reference(self) -> tuple[Picture, Array]:
        return self.still, np.repeat(self.points[None], 5, 0)

    def shown(self, number: int) -> float:
        return 1.0

    @cached_property
    def crop(self) -> tuple[int, int, int]:
        """By the corners of the landmarks' boxes, which need less room than all landmarks of a long film."""
        corners = []
        for first in range(0, len(self), BLOCK):
            found = self.landmarks(np.arange(first, min(first + BLOCK, len(self))))
            corners.append(np.stack([found.min(1), found.max(1)], 1))
        return crop_square(np.concatenate(corners), self.frame.margin)

    @cached_property
    def _mask(self) -> MaskShape:
        at_rest = self.small(self.points)
        return mask_shape(np.stack([portrait.lowered(at_rest, self.frame.jaw), at_rest]), self.frame.dilation)


class Moving(Subject):
    """A video's frames, in the order in which they are shown."""

    def __init__(self, footage: Footage, order_T: NDArray[np.intp], reference: int, frame: Frame) -> None:
        self.footage, self.order, self.frame = footage, order_T, frame
        self._reference = reference  # number of a frame of the footage

    def __len__(self) -> int:
        return len(self.order)

    def picture(self, number: int) -> Picture:
        return self.footage.picture(int(self.order[number]))

    def landmarks(self, numbers: NDArray[np.intp]) -> Array:
        return self.footage.landmarks_TL2[self.order[numbers]]

    def reference(self) -> tuple[Picture, Array]:
        around = np.clip(self._reference + np.arange(-2, 3), 0, len(self.footage) - 1)
        return self.footage.picture(self._reference), self.footage.landmarks_TL2[around]

    def shown(self, number: int) -> float:
        return float(self.footage.shown_T[self.order[number]])

    @cached_property
    def crop(self) -> tuple[int, int, int]:
        return crop_square(self.footage.landmarks_TL2[self.footage.found_T], self.frame.margin)

    @cached_property
    def _mask(self) -> MaskShape:
        """As in training one shape a clip, of all frames; and below the chin of the frame that is shown to the network."""
        found = self.small(self.footage.landmarks_TL2[self.footage.found_T])
        lowered = portrait.lowered(self.small(self.footage.landmarks_TL2[self._reference]), self.frame.jaw)
        return mask_shape(np.concatenate([found, lowered[None]]), self.frame.dilation)
