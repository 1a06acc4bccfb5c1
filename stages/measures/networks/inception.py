"""Inception v3 as the FID uses it (Szegedy et al. 2016; Heusel et al. 2017): the TensorFlow graph of 2015-12-05, ported.

Shapes: N frames, H, W, 3; D = 2048. torchvision's network has the layout of the published file; the graph pools otherwise in
the blocks with a pool branch: the mean leaves the border's zeros out, and the last block takes the maximum.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models import inception as tv

from stages.networks import exact

SIDE = 299  # pixels
FEATURES = 2048
CLASSES = 1008  # of the graph's logits; 1000 of them are used classes


def _mean(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class _BlockA(tv.InceptionA):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [
            self.branch1x1(x),
            self.branch5x5_2(self.branch5x5_1(x)),
            self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
            self.branch_pool(_mean(x)),
        ]


class _BlockC(tv.InceptionC):
    def _forward(self, x: Tensor) -> list[Tensor]:
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        return [
            self.branch1x1(x),
            self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x))),
            self.branch7x7dbl_5(self.branch7x7dbl_4(double)),
            self.branch_pool(_mean(x)),
        ]


class _BlockE(tv.InceptionE):
    def _pool(self, x: Tensor) -> Tensor:
        return _mean(x)

    def _forward(self, x: Tensor) -> list[Tensor]:
        single, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return [
            self.branch1x1(x),
            self.branch3x3_2a(single),
            self.branch3x3_2b(single),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(self._pool(x)),
        ]


class _LastBlock(_BlockE):
    def _pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, stride=1, padding=1)


class Inception(tv.Inception3):
    """Frames as :func:`pytorch_fid` or :func:`torch_fidelity` gives them, (N, 3, 299, 299), → pool3 features (N, D).

    Its state dict has the names of the public file, the 1008 logits included, which are not computed.
    """

    def __init__(self) -> None:
        blocks = [tv.BasicConv2d, _BlockA, tv.InceptionB, _BlockC, tv.InceptionD, _BlockE, tv.InceptionAux]
        super().__init__(num_classes=CLASSES, aux_logits=False, init_weights=False, inception_blocks=blocks)
        self.Mixed_7c = _LastBlock(FEATURES)

    def forward(self, x_N3HW: Tensor) -> Tensor:  # type: ignore[override]
        for layer in self.children():  # in the order in which they follow each other
            if layer is self.avgpool:
                break
            x_N3HW = layer(x_N3HW)
        return self.avgpool(x_N3HW).flatten(1)


def pytorch_fid(frames_NHWC: Tensor) -> Tensor:
    """uint8 frames as pytorch-fid 0.3 feeds them: to [0, 1], bilinear at pixels' centres without antialiasing, to [-1, 1]."""
    x = _channels_first(frames_NHWC) / 255
    return 2 * F.interpolate(x, size=(SIDE, SIDE), mode="bilinear", align_corners=False) - 1


def torch_fidelity(frames_NHWC: Tensor) -> Tensor:
    """uint8 frames as torch-fidelity 0.3 and 0.4 feed them: TensorFlow 1's bilinear, of pixels' corners, then (x − 128) / 128.

    Output pixel i is read at i · in / out, so that the picture moves by up to half a pixel.
    """
    x = _channels_first(frames_NHWC)
    top, bottom, y_share = _neighbours(x.shape[2], x.device)
    left, right, x_share = _neighbours(x.shape[3], x.device)
    above, below = (x[:, :, row][..., left] + (x[:, :, row][..., right] - x[:, :, row][..., left]) * x_share
                    for row in (top, bottom))  # fmt: skip
    return (above + (below - above) * y_share[:, None] - 128) / 128


def _channels_first(frames_NHWC: Tensor) -> Tensor:
    if frames_NHWC.dtype != torch.uint8 or frames_NHWC.ndim != 4 or frames_NHWC.shape[-1] != 3:
        raise ValueError(f"frames are {frames_NHWC.dtype} {tuple(frames_NHWC.shape)}; wanted: uint8 (N, H, W, 3)")
    return frames_NHWC.movedim(-1, 1).float()


def _neighbours(length: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each output pixel the input pixel before and after it, and how far it is on the way from one to the other."""
    place = torch.arange(SIDE, dtype=torch.float32, device=device) * torch.tensor(length / SIDE, dtype=torch.float32)
    before = place.long()
    return before, (before + 1).clamp_max(length - 1), place - before


# What a FID is computed on. torch-fidelity's is nearest to the paper's: Diffused Heads names Laughing-Matters for its FID, whose
# requirements pin torch-fidelity 0.3.0 and no pytorch-fid. The field reports pytorch-fid's, which stands beside it.
INPUTS: dict[str, Callable[[Tensor], Tensor]] = {"pytorch_fid": pytorch_fid, "torch_fidelity": torch_fidelity}
# To stand beside the number.
SAYS = {
    "pytorch_fid": "pytorch-fid: frames in [0, 1], bilinear to 299×299 at pixels' centres, no antialiasing, 2x − 1",
    "torch_fidelity": "torch-fidelity: frames in [0, 255], TensorFlow 1's bilinear to 299×299, (x − 128) / 128",
}


@torch.inference_mode()
def features(
    network: Inception, frames_NHWC: NDArray[np.uint8], *, convention: str = "pytorch_fid", batch: int = 32
) -> NDArray[np.float32]:
    """pool3 features (N, D) of uint8 RGB frames, ``batch`` at a time, in float32 on the network's device.

    The same frames in the same batches give the same bits. The network has to be in evaluation mode.
    """
    device = next(network.parameters()).device
    parts = [np.zeros((0, FEATURES), np.float32)]
    with exact():
        for start in range(0, len(frames_NHWC), batch):
            frames = torch.from_numpy(np.ascontiguousarray(frames_NHWC[start : start + batch])).to(device)
            parts.append(network(INPUTS[convention](frames)).float().cpu().numpy())
    return np.concatenate(parts)
