"""The choice of a network's device."""

from __future__ import annotations

import torch

from stages.base.errors import ParameterError


def choose(wanted: str, setting: str) -> torch.device:
    """``auto`` is cuda where there is one; ``setting`` names the parameter in messages.

    Raises:
        ParameterError: it is ``cuda``, and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ParameterError(f"{setting} is 'cuda', but no CUDA device is visible; choose 'auto' or 'cpu'")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
