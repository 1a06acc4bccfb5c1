"""Measurements frame by frame on a video: columns of the tables that scores are made from.

Those of :data:`TRACES` are measured on the true video as well, so that a score can be the video's over the truth's. T frames, H,
W, L = 68 landmarks; uint8 RGB frames and boolean masks, true where the video was generated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.measures import artefacts, image, smoothness

Array = NDArray[np.float64]
Frames = NDArray[np.uint8]
Masks = NDArray[np.bool_]


class Face(NamedTuple):
    """The places and moments to search for artefacts of parts of the face."""

    landmarks_TL2: NDArray[np.floating]
    ear_T: NDArray[np.floating]  # eye aspect ratio, mean of both eyes


@dataclass(frozen=True)
class Seen:
    """A video beside its truth; the truth beside itself, where it is the truth that is measured."""

    frames_THWC: Frames
    true_THWC: Frames
    masks_THW: Masks
    face: Face | None = None  # the true one's, where there is a corpus that has it

    @cached_property
    def flows(self) -> NDArray[np.float32]:
        """The true video's motion, by which the warp error carries frames."""
        return smoothness.flows(self.true_THWC, backward=True)


@dataclass(frozen=True)
class Trace:
    """An array of a video, measured on its truth as well."""

    name: str  # of the column
    meaning: str
    measure: Callable[[Seen], Array]
    fewer: int = 0  # values than frames: 1 of what is measured between neighbours


def _of_face(seen: Seen, measured: Callable[[Face], Array]) -> Array:
    return measured(seen.face) if seen.face else np.full(len(seen.frames_THWC), np.nan)


TRACES = (
    Trace("grid", "energy of the 2-pixel grid in the mask, squared grey levels",
          lambda s: artefacts.grid_energy(s.frames_THWC, s.masks_THW)),
    Trace("border", "gradient on the mask's border, grey levels a pixel",
          lambda s: artefacts.border_gradient(s.frames_THWC, s.masks_THW)),
    Trace("mouth_ring", "energy of luma's gradient in a ring about the mouth, squared",
          lambda s: _of_face(s, lambda face: artefacts.mouth_streaks(s.frames_THWC, face.landmarks_TL2, s.masks_THW))),
    Trace("brow_ring", "the same about the brows",
          lambda s: _of_face(s, lambda face: artefacts.brow_ghosts(s.frames_THWC, face.landmarks_TL2, s.masks_THW))),
    Trace("lid_light", "luma of the brightest twentieth of shut lids; NaN where they are open",
          lambda s: _of_face(s, lambda face: artefacts.lid_light(s.frames_THWC, *face))),
    Trace("f_mse", "mean squared difference of neighbouring frames in the mask",
          lambda s: smoothness.f_mse(s.frames_THWC, s.masks_THW), fewer=1),
    Trace("ofm", "mean optical flow in the mask, pixels a frame",
          lambda s: smoothness.ofm(s.frames_THWC, s.masks_THW), fewer=1),
    Trace("warp_error", "mean squared change that the true video's flow leaves",
          lambda s: smoothness.warp_error(s.frames_THWC, s.flows, s.masks_THW), fewer=1),
)  # fmt: skip


def measure(seen: Seen) -> dict[str, Array]:
    """All traces of a video by name, (T − fewer,) each; NaN those of a part of the face where nothing says where it is."""
    return {trace.name: trace.measure(seen) for trace in TRACES}


def beside(seen: Seen) -> dict[str, Array]:
    """PSNR and SSIM to the true frames, (T,)."""
    pair = (seen.frames_THWC, seen.true_THWC, seen.masks_THW)
    return {"psnr": image.psnr(*pair), "ssim": image.ssim(*pair)}
