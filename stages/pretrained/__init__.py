"""Trained networks, read from files: ``from stages.pretrained import HifiDiff``.

Modules of this project import ``stages.pretrained.hifidiff`` itself, so that the judges of this folder don't depend on the
networks that they judge.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.pretrained.hifidiff import HifiDiff

__all__ = ["HifiDiff"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("stages.pretrained.hifidiff"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
