"""Convert a public file of weights, once, to safetensors; nothing else in this project reads a pickle that others made.

    python -m stages.convert wav2lip-expert --out weights/wav2lip_expert.safetensors

The file is a pickle, which can run code where it is loaded. So its sha256 is compared first, any other file is refused, and then
only tensors and plain containers are unpickled (``torch.load(weights_only=True)``).
"""

from __future__ import annotations

import argparse
import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages import checkpoint, params, weights
from stages.errors import InputError, run
from stages.networks.wav2lip_expert import Wav2LipExpert

WAV2LIP = weights.FILES["wav2lip_expert"]
FETCH = f"fetch the public file: python -m stages.weights {WAV2LIP.name}"


def wav2lip_expert(source: Path, out: Path, *, sha256: str = WAV2LIP.sha256) -> None:
    """Convert Wav2Lip's ``{"state_dict": {"module.…": tensor}, …}``; ``sha256`` is another for tests alone.

    Raises:
        InputError: the file is missing, has another hash, or doesn't fit :class:`Wav2LipExpert` name by name and shape by shape.
    """
    content = _read(source)
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise InputError(
            source,
            f"sha256 is {digest}, expected {sha256}; a .pth is a pickle, which can run code when it is loaded, so that no "
            "other file is read",
            FETCH,
        )
    found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    state = {name.removeprefix("module."): value for name, value in _state(found, source).items()}
    network = Wav2LipExpert()
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise InputError(source, f"not the layout of Wav2Lip's expert ({error})", FETCH) from None
    checkpoint.write_weights(out, network.state_dict(), {"architecture": "wav2lip", "source_sha256": digest})


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(path, f"can't be read ({error.strerror})", FETCH) from None


def _state(found: Any, path: Path) -> dict[str, Tensor]:
    state = found.get("state_dict") if isinstance(found, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(path, "has no 'state_dict' of tensors", FETCH)
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    expert = commands.add_parser("wav2lip-expert", help="Wav2Lip's lip-sync expert, for expert.source: wav2lip")
    expert.add_argument(
        "file",
        type=Path,
        nargs="?",
        help=f"{WAV2LIP.file}, sha256 {WAV2LIP.sha256} (default: that of weights.folder, fetched where it is missing)",
    )
    expert.add_argument("--out", type=Path, required=True, help="safetensors file to write; expert.path names it")
    args = parser.parse_args()
    file = args.file or weights.ensure(WAV2LIP, Path(params.load(params.PARAMS_FILE).weights.folder))
    print(f"{file}: a pickle from elsewhere; read only if its sha256 is {WAV2LIP.sha256}")
    wav2lip_expert(file, args.out)
    print(f"{args.out}: written; set expert.source to wav2lip and expert.path to this file in params.yaml")


if __name__ == "__main__":
    run(main)
