"""Networks with public weights: the file is looked for or fetched (:mod:`stages.weights`), checked by its hash, read strictly.

The I3D's file is a program (TorchScript): nothing but its hash says that it is the published one.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from stages import weights
from stages.errors import InputError
from stages.networks.i3d import I3D
from stages.networks.inception import Inception
from stages.networks.syncnet import SyncNet
from stages.weights import PublicFile

N = TypeVar("N", bound=nn.Module)
Name = str | PublicFile  # another file than the registry's is for tests alone


def inception(folder: Path, device: str | torch.device = "cpu", *, file: Name = "inception") -> Inception:
    """Inception v3 for FID and KID, frozen. Raises as :func:`stages.weights.tensors` does."""
    return _filled(Inception(), file, folder, device)


def syncnet(folder: Path, device: str | torch.device = "cpu", *, file: Name = "syncnet") -> SyncNet:
    """SyncNet v2 for LSE-C and LSE-D, frozen. Raises as :func:`stages.weights.tensors` does."""
    return _filled(SyncNet(), file, folder, device)


def i3d(folder: Path, device: str | torch.device = "cpu", *, file: Name = "i3d") -> I3D:
    """I3D for the FVD, frozen.

    Raises:
        InputError: it isn't there and can't be fetched, or it is another network.
    """
    path = weights.ensure(file, folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # TorchScript is deprecated; the file exists in no other form
            return I3D(torch.jit.load(path, map_location=device)).requires_grad_(False)
    except (RuntimeError, ValueError) as error:
        problem = f"not the I3D of the FVD ({str(error).splitlines()[0]})"
        raise InputError(
            path, problem, f"delete it and run 'python -m stages.weights {weights.FILES['i3d'].name}'"
        ) from None


def _filled(network: N, name: Name, folder: Path, device: str | torch.device) -> N:
    found = weights.tensors(name, folder)
    try:
        network.load_state_dict(found, strict=True)
    except RuntimeError as error:
        path = name if isinstance(name, str) else name.file
        raise InputError(path, f"not the layout of {type(network).__name__} ({error})", "report it") from None
    return network.to(device).eval().requires_grad_(False)
