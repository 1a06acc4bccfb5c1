"""The choice of a network's device, and everything in which accelerators differ; no other module names one.

``torch.accelerator`` knows one kind a machine: ``cuda`` (NVIDIA's, and AMD's by ROCm), ``mps`` (Apple's), ``xpu`` (Intel's), or
one that an extension brings. Nothing here needs more of it than its name, but Apple's, which has no float64 and pins no memory.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from stages.base.errors import ParameterError


def accelerator() -> torch.device | None:
    """The machine's accelerator, where there is one that works."""
    return torch.accelerator.current_accelerator(check_available=True)


def choose(wanted: str, setting: str) -> torch.device:
    """``auto`` is the accelerator where there is one; ``setting`` names the parameter in messages.

    Raises:
        ParameterError: it is an accelerator's name, and torch finds none of that name.
    """
    found = accelerator()
    if wanted == "cpu" or (wanted == "auto" and found is None):
        return torch.device("cpu")
    if found is None or wanted not in ("auto", found.type):
        there = "no accelerator" if found is None else found.type
        others = ["auto", "cpu"] if found is None else ["auto", "cpu", found.type]
        raise ParameterError(
            f"{setting} is {wanted!r}, but torch finds {there} here; choose {', '.join(others[:-1])} or {others[-1]}"
        )
    return torch.device(found.type)


def numbered(device: torch.device, number: int, setting: str) -> torch.device:
    """The device of process ``number`` of this machine, from 0: an accelerator each, or the CPU for all.

    Raises:
        ParameterError: the machine has fewer; ``setting`` names the parameter that asks for them.
    """
    if device.type == "cpu":
        return device
    if number >= (count := torch.accelerator.device_count()):
        raise ParameterError(
            f"{setting} asks for an accelerator a process, and process {number + 1} of this machine has none: torch finds "
            f"{count} of type {device.type}; set {setting} to {count}"
        )
    return torch.device(device.type, number)


def current(device: torch.device) -> None:
    """Make a numbered device the one that this process uses where none is named."""
    if device.index is not None:
        torch.accelerator.set_device_index(device.index)


def pins(device: torch.device) -> bool:
    """True where a copy from pinned memory of the CPU is not waited for."""
    return device.type not in ("cpu", "mps")


def moved(x: Tensor, device: torch.device) -> Tensor:
    """``x`` on a device; a copy from pinned memory is not waited for."""
    return x.to(device, non_blocking=pins(device))


def bf16(device: torch.device, wanted: bool, *, cache: bool = True) -> AbstractContextManager[object]:
    """Inside this, networks compute in bfloat16 where ``wanted``: autocast. ``cache``: a weight is cast once for all its uses."""
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=cache) if wanted else nullcontext()


def widest(device: torch.device | None) -> torch.dtype:
    """The widest type of numbers that a device has; None stands for the CPU."""
    return torch.float32 if device is not None and device.type == "mps" else torch.float64


def memory_used() -> int:
    """Bytes that tensors take on the accelerator; 0 where there is none."""
    found = accelerator()
    if found is None:
        return 0
    if found.type == "mps":  # whose allocator torch.accelerator does not ask
        return torch.mps.current_allocated_memory()
    return torch.accelerator.memory_allocated()
