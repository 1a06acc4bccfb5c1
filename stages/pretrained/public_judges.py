"""Networks with public weights: each file is looked for or fetched, checked by its hash, and read strictly.

The I3D's file is a program (TorchScript): nothing but its hash says that it is the published one. :class:`Public` is what the
networks that ``metrics.public`` names see of a video, a family apart from the corpus's own. T frames, N windows or clips.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import lpips
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from stages.base.errors import InputError
from stages.fetching import public_files
from stages.fetching.public_files import PublicFile
from stages.measures import lse
from stages.measures import perceptual as lpips_measure
from stages.measures.networks import i3d as i3d_network
from stages.measures.networks import inception as inception_network
from stages.measures.networks.i3d import I3D
from stages.measures.networks.inception import Inception
from stages.measures.networks.syncnet import SyncNet
from stages.measures.sync import Sync
from stages.networks import perceptual

N = TypeVar("N", bound=nn.Module)
Name = str | PublicFile  # another file than the registry's is for tests alone


def inception(folder: Path, device: str | torch.device = "cpu", *, file: Name = "inception") -> Inception:
    """Inception v3 for FID and KID, frozen. Raises as :func:`stages.fetching.public_files.tensors` does."""
    return _filled(Inception(), file, folder, device)


def syncnet(folder: Path, device: str | torch.device = "cpu", *, file: Name = "syncnet") -> SyncNet:
    """SyncNet v2 for LSE-C and LSE-D, frozen. Raises as :func:`stages.fetching.public_files.tensors` does."""
    return _filled(SyncNet(), file, folder, device)


def i3d(folder: Path, device: str | torch.device = "cpu", *, file: Name = "i3d") -> I3D:
    """I3D for the FVD, frozen.

    Raises:
        InputError: it isn't there and can't be fetched, or it is another network.
    """
    path = public_files.ensure(file, folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # TorchScript is deprecated; the file exists in no other form
            return I3D(torch.jit.load(path, map_location=device)).requires_grad_(False)
    except (RuntimeError, ValueError) as error:
        problem = f"not the I3D of the FVD ({str(error).splitlines()[0]})"
        raise InputError(
            path, problem, f"delete it and run 'python -m stages.weights {public_files.FILES['i3d'].name}'"
        ) from None


def lpips_vgg(folder: Path, device: str | torch.device = "cpu", *, file: Name = "vgg16") -> lpips.LPIPS:
    """LPIPS v0.1 on VGG-16, frozen. Raises as :func:`stages.fetching.public_files.tensors` does, and for another layout."""
    found = public_files.tensors(file, folder)
    try:
        return perceptual.lpips_from_trunk(found).to(device)
    except (KeyError, RuntimeError) as error:
        path = file if isinstance(file, str) else file.file
        raise InputError(path, f"not the layout of VGG-16 ({error})", "report it") from None


LOADERS = {"inception": inception, "i3d": i3d, "syncnet": syncnet, "vgg16": lpips_vgg}


class Public:
    """The networks named, and what each sees: columns of the tables ``reference`` and ``features``, by their names there.

    Raises:
        InputError: a file isn't there and can't be fetched, or holds something else.
    """

    def __init__(self, names: Sequence[str], folder: Path, device: torch.device) -> None:
        self.device = device
        self.networks: dict[str, Any] = {name: LOADERS[name](folder, device) for name in names}

    def alone(self, frames_THWC: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Features of frames, (T, 2048) by both conventions of the FID, and of clips of sixteen, (N, 400)."""
        found = {}
        if network := self.networks.get("inception"):
            found["inception_features"] = inception_network.features(network, frames_THWC)
            found["fidelity_features"] = inception_network.features(network, frames_THWC, convention="torch_fidelity")
        if network := self.networks.get("i3d"):
            how = i3d_network.CONVENTIONS["laughing_matters"]  # its first clip is StyleGAN-V's only one
            found["i3d_features"] = i3d_network.features(network, frames_THWC, how, device=str(self.device))
        return found

    def beside(
        self, frames_THWC: NDArray[np.uint8], true_THWC: NDArray[np.uint8], masks_THW: NDArray[np.bool_]
    ) -> dict[str, NDArray[Any]]:
        """LPIPS of a made video to the true frames, (T,)."""
        if "vgg16" not in self.networks:
            return {}
        whole, inside = self.lpips(frames_THWC, true_THWC, masks_THW)
        return {"lpips": whole, "lpips_mask": inside}

    def speaking(self, frames_THWC: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """SyncNet's embeddings of a made video, (T − 5, 1024)."""
        network = self.networks.get("syncnet")
        return {"syncnet_pictures": lse.pictures(network, frames_THWC)} if network else {}

    def sound(self, samples: NDArray[np.int16]) -> dict[str, NDArray[np.float32]]:
        """SyncNet's embeddings of sound at 16 kHz, (N, 1024)."""
        network = self.networks.get("syncnet")
        return {"syncnet_sound": lse.sound(network, samples)} if network else {}

    def lpips(
        self, frames_THWC: NDArray[np.uint8], true_THWC: NDArray[np.uint8], masks_THW: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """LPIPS of whole frames and inside the mask, (T,) each; needs ``vgg16``."""
        return lpips_measure.distances(self.networks["vgg16"], frames_THWC, true_THWC, masks_THW)

    def lse(self, frames_THWC: NDArray[np.uint8], samples: NDArray[np.int16]) -> Sync | None:
        """LSE-C and LSE-D of a clip at 25 frames a second; needs ``syncnet``."""
        return lse.lse(self.networks["syncnet"], frames_THWC, samples)


def _filled(network: N, name: Name, folder: Path, device: str | torch.device) -> N:
    found = public_files.tensors(name, folder)
    try:
        network.load_state_dict(found, strict=True)
    except RuntimeError as error:
        path = name if isinstance(name, str) else name.file
        raise InputError(path, f"not the layout of {type(network).__name__} ({error})", "report it") from None
    return network.to(device).eval().requires_grad_(False)
