"""The networks of the perceptual term, eq. (4): LPIPS on VGG-16, or a plain feature distance on VGG-19. N images, in [-1, 1].

The paper names VGG-19 and cites LPIPS, whose network is VGG-16 with learned weights: ``loss.perceptual`` chooses. Neither
trunk is shipped: :mod:`stages.fetching.public_files` finds or fetches torchvision's files, ``vgg16`` and ``vgg19``.
"""

from __future__ import annotations

from collections.abc import Mapping

import lpips
import torch
import torchvision
from torch import Tensor, nn

# The slices of lpips' VGG-16 and the first and last layer of torchvision's `features` that each holds.
SLICES = {"slice1": (0, 3), "slice2": (4, 8), "slice3": (9, 15), "slice4": (16, 22), "slice5": (23, 29)}

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of pictures in [0, 1]
RELUS = (3, 8, 17, 26, 35)  # in VGG-19's `features`: relu1_2, relu2_2, relu3_4, relu4_4, relu5_4


def lpips_from_trunk(trunk: Mapping[str, Tensor]) -> lpips.LPIPS:
    """LPIPS v0.1 with the state dict of torchvision's VGG-16 as its trunk; frozen, in evaluation mode.

    The learned linear weights come with the package ``lpips``. Raises ``KeyError`` or ``RuntimeError`` for another layout.
    """
    network = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    state = {}
    for name in network.net.state_dict():
        slice_name, layer, kind = name.split(".")
        if not SLICES[slice_name][0] <= int(layer) <= SLICES[slice_name][1]:
            raise KeyError(f"lpips' {name} lies outside VGG-16's slice {SLICES[slice_name]}")
        state[name] = trunk[f"features.{layer}.{kind}"]
    network.net.load_state_dict(state, strict=True)
    return network.eval().requires_grad_(False)


class VggDistance(nn.Module):
    """Eq. (4) as it is written: E_l ‖φ_l(x) − φ_l(y)‖², φ_l being VGG-19's last ReLU before each pooling; frozen.

    ``forward`` maps two batches (N, 3, H, W) in [-1, 1] to (N,): the mean over layers of the mean squared difference.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.features = torchvision.models.vgg19(weights=None).features[: RELUS[-1] + 1]
        names = self.features.state_dict()
        self.features.load_state_dict({name: trunk[f"features.{name}"] for name in names}, strict=True)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None])
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x, y = (((picture + 1) / 2 - self.mean) / self.std for picture in (x, y))
        distance_N = x.new_zeros(len(x))
        for number, layer in enumerate(self.features):
            x, y = layer(x), layer(y)
            if number in RELUS:
                distance_N = distance_N + ((x - y) ** 2).mean((1, 2, 3), dtype=torch.float32)
        return distance_N / len(RELUS)
