"""LPIPS of a video's frames (Zhang et al. 2018), whole and inside a mask. T frames, H, W."""

from __future__ import annotations

import lpips
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from stages.clips.conditions import to_tensor

Array = NDArray[np.float64]
Frames = NDArray[np.uint8]


@torch.inference_mode()
def distances(
    network: lpips.LPIPS, made_THWC: Frames, true_THWC: Frames, masks_THW: NDArray[np.bool_], *, batch: int = 32
) -> tuple[Array, Array]:
    """LPIPS of whole frames, as it is published, and of what lies in the mask; (T,) each, NaN for an empty mask.

    Each layer's map of distances is averaged for the first, and for the second enlarged to the frame (bilinear, as the package
    does with ``spatial``) and averaged over the mask. ``network`` is LPIPS in evaluation mode.
    """
    device = next(network.parameters()).device
    whole, inside = [np.zeros(0)], [np.zeros(0)]
    for start in range(0, len(made_THWC), batch):
        x, y = (to_tensor(frames[start : start + batch]).to(device) for frames in (made_THWC, true_THWC))
        mask_B1HW = torch.from_numpy(masks_THW[start : start + batch])[:, None].double()
        maps = _maps(network, x, y)
        whole.append(sum(m.double().mean((1, 2, 3)) for m in maps).numpy())  # type: ignore[union-attr]
        large = [F.interpolate(m, x.shape[2:], mode="bilinear", align_corners=False).double() for m in maps]
        area = mask_B1HW.sum((1, 2, 3))
        inside.append((sum(m * mask_B1HW for m in large).sum((1, 2, 3)) / area).numpy())  # type: ignore[union-attr]
    return np.concatenate(whole), np.concatenate(inside)


def _maps(network: lpips.LPIPS, x: Tensor, y: Tensor) -> list[Tensor]:
    """Each layer's weighted squared differences of unit features, (B, 1, h, w), on the CPU: not every device has float64."""
    seen = [network.net(network.scaling_layer(picture)) for picture in (x, y)]
    differences = [(lpips.normalize_tensor(a) - lpips.normalize_tensor(b)) ** 2 for a, b in zip(*seen, strict=True)]
    return [layer(difference).cpu() for layer, difference in zip(network.lins, differences, strict=True)]
