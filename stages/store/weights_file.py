"""Weights as safetensors files, with their configuration inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor

from stages.base.errors import InputError
from stages.store.atomic import whole_file


def write(path: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write weights as safetensors with their configuration (JSON) inside; the same bytes for the same content.

    The configuration is one metadata entry: the format keeps several in no fixed order.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with whole_file(path) as part:
        part.write_bytes(serialise(plain, metadata={"config": json.dumps(config, sort_keys=True)}))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write` wrote: tensors and configuration.

    Raises:
        InputError: the file is missing, damaged, or not of this project.
    """
    try:
        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        config = json.loads(json.loads(raw[8 : 8 + size])["__metadata__"]["config"])
        return parse(raw), config
    except FileNotFoundError:
        raise InputError(path, "no such file", "run 'snakemake --cores all' to make it") from None
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        raise InputError(
            path, f"not weights of this project ({error})", "delete it and run 'snakemake --cores all'"
        ) from None
