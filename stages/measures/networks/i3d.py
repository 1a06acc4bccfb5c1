"""I3D (Carreira and Zisserman 2017) as the public TorchScript file has it, and the two conventions of the FVD that use it so.

Shapes: B clips, T frames of H×W pixels, 3 channels; N clips of a video, D = 400 logits. The file resizes and rescales by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.networks import exact

FEATURES = 400
FEWEST_FRAMES = 9  # fewer leave nothing after the network's pooling over time
SIGNATURE = ["self", "x", "rescale", "resize", "return_features"]


@dataclass(frozen=True)
class Convention:
    """The settings of an FVD beside the videos; ``stride`` None: one clip a video, its first."""

    name: str
    frames: int
    stride: int | None
    ddof: int  # covariances are divided by N − ddof

    def __post_init__(self) -> None:
        if self.frames < FEWEST_FRAMES:
            raise ValueError(f"clips of {self.frames} frames; I3D needs {FEWEST_FRAMES} or more")

    def starts(self, frames: int) -> range:
        """The first frame of each clip of a video of so many frames; none where it is too short, and left out."""
        last = frames - self.frames
        return range(0, last + 1, self.stride) if self.stride else range(min(max(last + 1, 0), 1))

    def __str__(self) -> str:
        """To stand beside the number."""
        clips = f"a clip every {self.stride} frames" if self.stride else "one clip a video, its first"
        return (
            f"{self.name}: {self.frames} frames, {clips}; whole frames in [0, 255], resized to 224×224 and taken to [−1, 1] by "
            f"the detector; covariance ÷ {'(N − 1)' if self.ddof else 'N'}"
        )


CONVENTIONS = {
    # Diffused Heads' choice, and so the paper's. Its README evaluates by `datamodule.num_frames=16 datamodule.step=16`. There a
    # window has a frame more, the condition, which is not measured: its clips begin at frames 1, 17, …, ours at 0, 16, ….
    "laughing_matters": Convention("laughing_matters", frames=16, stride=16, ddof=1),
    # 16 frames, one clip a video, videos that are shorter discarded; there it is drawn at random from 2,048 videos.
    "stylegan_v": Convention("stylegan_v", frames=16, stride=None, ddof=0),
}


class I3D(nn.Module):
    """The public TorchScript network, frozen.

    Raises:
        ValueError: the script has another call than ``forward(x, rescale, resize, return_features)``.
    """

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        found = [argument.name for argument in script.forward.schema.arguments]  # type: ignore[attr-defined]
        if found != SIGNATURE:
            raise ValueError(f"the script is called by {found}, not {SIGNATURE}: another network")
        self.script = script.eval()

    def forward(self, frames_BTHWC: Tensor) -> Tensor:
        """RGB in [0, 255], of any size → logits before the softmax (B, D)."""
        x_BCTHW = frames_BTHWC.movedim(-1, 1).float()
        return self.script(x_BCTHW, rescale=True, resize=True, return_features=True)


@torch.inference_mode()
def features(
    network: I3D, frames_THWC: NDArray[np.uint8], convention: Convention, *, batch: int = 8, device: str = "cpu"
) -> NDArray[np.float32]:
    """Features (N, D) of a video's clips, ``batch`` at a time; N = 0 where the video is shorter than a clip.

    ``device`` is the network's: a script need not hold a parameter that says it.

    Raises:
        ValueError: frames of another type or shape.
    """
    if frames_THWC.dtype != np.uint8 or frames_THWC.ndim != 4 or frames_THWC.shape[-1] != 3:
        raise ValueError(f"frames are {frames_THWC.dtype} {frames_THWC.shape}; wanted: uint8 (T, H, W, 3)")
    starts = convention.starts(len(frames_THWC))
    parts = [np.zeros((0, FEATURES), np.float32)]
    with exact():
        for first in range(0, len(starts), batch):
            clips = np.stack([frames_THWC[i : i + convention.frames] for i in starts[first : first + batch]])
            parts.append(network(torch.from_numpy(clips).to(device)).float().cpu().numpy())
    return np.concatenate(parts)
