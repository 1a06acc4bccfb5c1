"""Convert a public file of weights, once, to safetensors; nothing else in this project reads a pickle that others made.

    python -m stages.convert wav2lip-expert --out weights/wav2lip_expert.safetensors
    python -m stages.convert wav2lip wav2lip_gan.pth --out data/paper/models/wav2lip_official

The file is a pickle, which can run code where it is loaded. So its sha256 is compared first, any other file is refused, and then
only tensors and plain containers are unpickled (``torch.load(weights_only=True)``).
"""

from __future__ import annotations

import argparse
import hashlib
import io
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.base import params
from stages.base.errors import InputError, run
from stages.fetching import public_files
from stages.methods import systems
from stages.methods.kinds import wav2lip as baseline
from stages.methods.systems import Facts
from stages.networks.wav2lip_expert import Wav2LipExpert
from stages.store import weights_file

WAV2LIP = public_files.FILES["wav2lip_expert"]
FETCH = f"fetch the public file: python -m stages.weights {WAV2LIP.name}"
# sha256 of Wav2Lip's two generators, as several projects that fetch them hold them; the authors state none.
GENERATORS = {
    "b78b681b68ad9fe6c6fb1debc6ff43ad05834a8af8a62ffc4167b7b34ef63c37": "wav2lip.pth",
    "ca9ab7b7b812c0e80a6e70a5977c545a1e8a365a6c49d5e533023c034d7ac3d8": "wav2lip_gan.pth",
}
TAKE = f"take {' or '.join(sorted(GENERATORS.values()))} from where Wav2Lip's README says"


def wav2lip_expert(source: Path, out: Path, *, sha256: str = WAV2LIP.sha256) -> None:
    """Convert Wav2Lip's ``{"state_dict": {"module.…": tensor}, …}``; ``sha256`` is another for tests alone.

    Raises:
        InputError: the file is missing, has another hash, or doesn't fit :class:`Wav2LipExpert` name by name and shape by shape.
    """
    network = Wav2LipExpert()
    digest = _fill(network, source, {sha256}, "Wav2Lip's expert", FETCH)
    weights_file.write(out, network.state_dict(), {"architecture": "wav2lip", "source_sha256": digest})


def wav2lip(source: Path, out: Path, *, sha256: Collection[str] = GENERATORS.keys()) -> None:
    """Convert Wav2Lip's generator to a folder that a row of kind wav2lip is made from; ``sha256`` are others for tests alone.

    The settings that say how it was trained are the published ones; they change nothing in what it makes.

    Raises:
        InputError: the file is missing, is none of the two, or doesn't fit the published layout name by name and shape by shape.
    """
    settings = baseline.Settings.model_validate({**baseline.PUBLISHED, "steps": 1})
    system = baseline.System(settings, Facts(size=96, fps=25.0, sample_rate=16000, mel_bins=80))
    digest = _fill(system.generator, source, sha256, "Wav2Lip's generator", TAKE)
    facts = {"trained_on": "LRS2, by its authors", "source_sha256": digest}
    systems.save(system.eval(), out, kind="wav2lip", facts=facts)


def _fill(network: nn.Module, source: Path, sha256: Collection[str], what: str, fix: str) -> str:
    """Load a file's weights into a network, strictly; gives the file's sha256, which must be one of ``sha256``."""
    try:
        content = source.read_bytes()
    except OSError as error:
        raise InputError(source, f"can't be read ({error.strerror})", fix) from None
    digest = hashlib.sha256(content).hexdigest()
    if digest not in sha256:
        raise InputError(
            source,
            f"sha256 is {digest}, expected {' or '.join(sorted(sha256))}; a .pth is a pickle, which can run code when it is "
            "loaded, so that no other file is read",
            fix,
        )
    found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    state = {name.removeprefix("module."): value for name, value in _state(found, source, fix).items()}
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise InputError(source, f"not the layout of {what} ({error})", fix) from None
    return digest


def _state(found: Any, path: Path, fix: str) -> dict[str, Tensor]:
    state = found.get("state_dict") if isinstance(found, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(path, "has no 'state_dict' of tensors", fix)
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
    generator = commands.add_parser("wav2lip", help="Wav2Lip's generator, for a row of kind wav2lip")
    names = "; ".join(f"{name}, sha256 {digest}" for digest, name in GENERATORS.items())
    generator.add_argument("file", type=Path, help=names)
    generator.add_argument("--out", type=Path, required=True, help="folder to write; the row's made_from names it")
    args = parser.parse_args()
    if args.what == "wav2lip":
        print(f"{args.file}: a pickle from elsewhere; read only if it is one of the files known: {names}")
        wav2lip(args.file, args.out)
        print(f"{args.out}: written; add a row with kind: wav2lip and made_from: models/{args.out.name} to params.yaml")
        return
    file = args.file or public_files.ensure(WAV2LIP, Path(params.load(params.PARAMS_FILE).weights.folder))
    print(f"{file}: a pickle from elsewhere; read only if its sha256 is {WAV2LIP.sha256}")
    wav2lip_expert(file, args.out)
    print(f"{args.out}: written; set expert.source to wav2lip and expert.path to this file in params.yaml")


if __name__ == "__main__":
    run(main)
