"""What is measured frame by frame on a video, and on a video beside its truth: for tables that scores are made from later.

T frames, H, W, L = 68 landmarks; uint8 RGB frames and boolean masks, true where the video was generated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.measures import artefacts, image, smoothness

Array = NDArray[np.float64]
Frames = NDArray[np.uint8]
Masks = NDArray[np.bool_]


def beside(made_THWC: Frames, true_THWC: Frames, masks_THW: Masks) -> dict[str, Array]:
    """PSNR and SSIM to the true frames, (T,)."""
    pair = (made_THWC, true_THWC)
    return {"psnr": image.psnr(*pair, masks_THW), "ssim": image.ssim(*pair, masks_THW)}


def in_places(
    frames_THWC: Frames, landmarks_TL2: NDArray[np.floating], masks_THW: Masks, ear_T: NDArray[np.floating]
) -> dict[str, Array]:
    """Artefacts of parts of the face, (T,); the true frames' landmarks and eye aspect ratio say where and when to look."""
    return {
        "mouth_ring": artefacts.mouth_streaks(frames_THWC, landmarks_TL2, masks_THW),
        "brow_ring": artefacts.brow_ghosts(frames_THWC, landmarks_TL2, masks_THW),
        "lid_light": artefacts.lid_light(frames_THWC, landmarks_TL2, ear_T),
    }


def alone(frames_THWC: Frames, true_THWC: Frames, masks_THW: Masks) -> dict[str, Array]:
    """Artefacts, (T,), and motion, (T − 1,), of a video; the true one's flow says how the warp error carries its frames."""
    flow = smoothness.flows(true_THWC, backward=True)
    return {
        "grid": artefacts.grid_energy(frames_THWC, masks_THW),
        "border": artefacts.border_gradient(frames_THWC, masks_THW),
        "f_mse": smoothness.f_mse(frames_THWC, masks_THW),
        "ofm": smoothness.ofm(frames_THWC, masks_THW),
        "warp_error": smoothness.warp_error(frames_THWC, flow, masks_THW),
    }
