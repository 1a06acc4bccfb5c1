"""The distance of the perceptual term, eq. (4): LPIPS on VGG-16, or a Laplacian pyramid where its weights are absent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import lpips
import torch
from torch import Tensor

VGG16_FILE = "vgg16-397923af.pth"
VGG16_SHA256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
# The slices of lpips' VGG-16 and the first and last layer of torchvision's `features` that each holds.
SLICES = {"slice1": (0, 3), "slice2": (4, 8), "slice3": (9, 15), "slice4": (16, 22), "slice5": (23, 29)}

Distance = Callable[[Tensor, Tensor], Tensor]


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


def vgg16_path() -> Path:
    """Where the trunk's weights are looked for: torch's own cache of downloaded weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / VGG16_FILE


def read_vgg16(path: Path, sha256: str = VGG16_SHA256) -> dict[str, Tensor]:
    """Read torchvision's VGG-16 after checking its hash; only tensors are unpickled.

    Raises:
        FileNotFoundError: with the place to put the file, its address and its hash.
        ValueError: the file has another hash.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file; loss.perceptual 'lpips_vgg' needs it: put https://download.pytorch.org/models/{VGG16_FILE} "
            f"there (sha256 {sha256}), or choose 'pyramid'"
        )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise ValueError(f"{path}: sha256 is {found}, not {sha256}; the file is damaged or another: fetch it again")
    return torch.load(path, map_location="cpu", weights_only=True)
