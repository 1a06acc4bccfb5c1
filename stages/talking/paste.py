"""Put a made face back into its picture. H, W of the picture, S side of the crop in it, K side of the network's pictures."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stages import media
from stages.corpora.rendered.paths import smoothstep

Picture = NDArray[np.uint8]
KEPT = (
    14.0  # levels: where the made picture differs from the source by less, the source's fine detail is kept (deviation)
)


@dataclass(frozen=True)
class Paste:
    """The settings that put faces back: the crop of the cut, (x, y, S), and the width of the blend's border, a share of S."""

    crop: tuple[int, int, int]
    feather: float
    detail: bool

    def __call__(
        self, picture: Picture, made_KKC: Picture, hull_P2: NDArray[np.floating], share: float = 1.0
    ) -> Picture:
        """The picture with the face in it; ``hull_P2`` is the face mask's outline, in the network's pixels.

        ``share`` of the face is shown, the rest is the picture's own.
        """
        x, y, side = self.crop
        size = len(made_KKC)
        source = media.cut(picture, self.crop, side).astype(np.float32)
        large = _enlarged(made_KKC, side)
        if self.detail:
            small = media.cut(picture, self.crop, size)
            change = np.abs(made_KKC.astype(np.float32) - small).mean(-1)
            kept = cv2.resize(np.exp(-((change / KEPT) ** 2)), (side, side), interpolation=cv2.INTER_LINEAR)
            large = large + kept[..., None] * (source - _enlarged(small, side))
        weight = share * self._weight(hull_P2, size)[..., None]
        blended = np.clip(source + weight * (large - source), 0, 255).round().astype(np.uint8)
        result = picture.copy()
        top, left = max(y, 0), max(x, 0)
        bottom, right = min(y + side, len(picture)), min(x + side, picture.shape[1])
        result[top:bottom, left:right] = blended[top - y : bottom - y, left - x : right - x]
        return result

    def _weight(self, hull_P2: NDArray[np.floating], size: int) -> NDArray[np.float32]:
        """(S, S) in [0, 1]: 0 on the hull's border and beyond, 1 inside; hard where there is no feather."""
        side = self.crop[2]
        outline = (np.asarray(hull_P2, np.float64) + 0.5) * (side / size) - 0.5
        inside = np.zeros((side, side), np.uint8)
        cv2.fillConvexPoly(inside, np.round(outline * 16).astype(np.int32), 1, shift=4)
        width = self.feather * side
        if width < 0.5:
            return inside.astype(np.float32)
        padded = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        return smoothstep(np.asarray(depth / width, np.float64)).astype(np.float32)


def _enlarged(picture: Picture, side: int) -> NDArray[np.float32]:
    large = cv2.resize(picture.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return large.astype(np.float32, copy=False)
