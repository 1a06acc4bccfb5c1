"""The lip-sync expert of the loss on disk: trained by this project, or the public one, converted. Either answers alike.

``embed_video`` and ``embed_audio`` of both give embeddings without negative components, whose cosine says how well they fit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.base.errors import InputError
from stages.networks.lipsync_expert import LipSyncExpert
from stages.networks.wav2lip_expert import Wav2LipExpert
from stages.store import weights_file

Expert = LipSyncExpert | Wav2LipExpert


def build(config: dict[str, Any]) -> Expert:
    """An untrained expert: ``architecture`` is ``wav2lip``, or ``lipsync`` with ``width``, ``embedding``, ``size`` and ``sees``.

    Raises ``KeyError`` or ``TypeError`` for another configuration.
    """
    layout = dict(config)
    architecture = layout.pop("architecture")
    if architecture == "wav2lip":
        return Wav2LipExpert()  # the configuration also says which public file it came from
    if architecture == "lipsync":
        return LipSyncExpert(**layout)
    raise KeyError(f"architecture {architecture!r}; allowed: lipsync, wav2lip")


def embed_video(expert: Expert, frames_BFCHW: Tensor, mouth_maps_BF23: Tensor) -> Tensor:
    """Five whole frames in [0, 1] → (B, E), whatever part of them the expert looks at."""
    if isinstance(expert, LipSyncExpert):
        return expert.embed_video(frames_BFCHW, mouth_maps_BF23)
    return expert.embed_video(frames_BFCHW)


def load(path: Path, device: str | torch.device = "cpu") -> Expert:
    """A frozen expert in evaluation mode, from a file of :func:`stages.store.weights_file.write`.

    Raises:
        InputError: the file is missing or damaged, or its weights don't fit the network that its configuration names.
    """
    weights, config = weights_file.read(path)
    try:
        expert = build(config)
        expert.load_state_dict(weights, strict=True)
    except (KeyError, TypeError, RuntimeError) as error:
        problem = f"not an expert of this version of the code ({type(error).__name__}: {error})"
        raise InputError(path, problem, "delete it and run the command that made it") from None
    return expert.to(device).eval().requires_grad_(False)
