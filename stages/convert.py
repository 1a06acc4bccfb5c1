"""Convert a public file of weights, once, to safetensors; nothing else in this project reads a pickle that others made.

    python -m stages.convert wav2lip-expert --out weights/wav2lip_expert.safetensors
    python -m stages.convert wav2lip wav2lip_gan.pth --out data/paper/models/wav2lip_official
    python -m stages.convert makeittalk ckpt_116_i2i_comb.pth --branches data/paper-baselines/models/makeittalk \
        --out data/paper-baselines/models/makeittalk_official

The file is a pickle, which can run code where it is loaded. So its sha256 is compared first, any other file is refused, and then
only tensors and plain containers are unpickled (``torch.load(weights_only=True)``).
"""

from __future__ import annotations

import argparse
import hashlib
import io
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.base import params
from stages.base.errors import InputError, run
from stages.fetching import public_files
from stages.methods import systems
from stages.methods.kinds import makeittalk as talking
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
# MakeItTalk's picture network; size and sha256 are those that one public copy's Git LFS pointer states, the authors state none.
PICTURES = "30fdfc54743d362adaedaa1b4726ee910d7e02bdce267c291bf21b622f34b531"
TAKE_PICTURES = "take ckpt_116_i2i_comb.pth (838,606,649 bytes) from where MakeItTalk's README says"


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


def makeittalk(source: Path, branches: Path, out: Path, *, sha256: str = PICTURES) -> None:
    """Convert MakeItTalk's picture network to a folder that a row of kind makeittalk is made from; ``sha256`` is for tests alone.

    Its two branches stay those of ``branches``, a folder of such a row that was trained here: the published ones are given
    AutoVC's sound and move landmarks in space.

    Raises:
        InputError: a file is missing or another one, doesn't fit the published layout, or ``branches`` has other pictures.
    """
    digest, found = _read(source, {sha256}, TAKE_PICTURES)
    system = talking.System.from_pretrained(branches, {}, torch.device("cpu"))
    s: Any = system.settings
    wanted = {name: talking.PAPER[name] for name in ("width", "levels", "res_blocks", "patch", "drawing", "residual")}
    if other := [f"{name} {getattr(s, name)}" for name, value in wanted.items() if getattr(s, name) != value]:
        raise InputError(
            branches,
            f"its picture network has {', '.join(other)}, the published one {', '.join(f'{k} {v}' for k, v in wanted.items())}",
            "take a row trained with the paper's settings, as preset paper-baselines has them",
        )
    try:
        state = _state(found, "G", source, TAKE_PICTURES)
        system.picture.load_state_dict(dict(_pictures(state)), strict=True)
    except (KeyError, RuntimeError) as error:
        raise InputError(source, f"not the layout of MakeItTalk's picture network ({error})", TAKE_PICTURES) from None
    facts = {"trained_on": "its pictures: VoxCeleb2, by its authors; its branches: here", "source_sha256": digest}
    systems.save(system.eval(), out, kind="makeittalk", facts=facts)


def _pictures(found: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """MakeItTalk's weights under our names.

    Theirs is a block in a block for each level; its pictures are BGR, the drawing before the still one, and what comes from
    the same level lies before what comes from below.
    """
    rest, levels = dict(found), talking.PAPER["levels"]
    place = "model.model."
    for level in range(levels):
        last, first = level == levels - 1, level == 0
        normed = not first and not last
        after = 3 if normed else 2  # what follows convolution, norm and ReLU: the residual blocks, then the level below
        below, up = after + 2, after + (2 if last else 3) + 1
        down = f"down.{level}."
        weight = rest.pop(f"{place}0.weight")
        yield down + "0.weight", weight[:, [5, 4, 3, 2, 1, 0]] if first else weight
        parts = {f"{place}{after + block}.block.": f"{down}{after + block}.layers." for block in range(2)}
        if normed:
            parts[f"{place}1."] = f"{down}1."
        weight = rest.pop(f"{place}{up}.weight")
        if not last:
            half = weight.shape[1] // 2
            weight = torch.cat([weight[:, half:], weight[:, :half]], 1)
        ours = "picture" if first else f"up.{levels - 1 - level}"
        yield (f"{ours}.weight", weight[[2, 1, 0]]) if first else (f"{ours}.0.weight", weight)
        if not first:
            parts[f"{place}{up + 1}."] = f"{ours}.1."
            parts |= {f"{place}{up + 3 + block}.block.": f"{ours}.{3 + block}.layers." for block in range(2)}
        for theirs, name in parts.items():
            for key in [key for key in rest if key.startswith(theirs)]:
                yield name + key.removeprefix(theirs), rest.pop(key)
        place += f"{below}.model."
    if rest:
        raise KeyError(f"{len(rest)} names too many, as {next(iter(rest))}")


class _Optimiser:
    """Stands where a file holds an optimiser beside the weights: nothing of it is used, and none of its code runs."""


def _plain(*_args: object) -> dict[Any, Any]:
    """A plain dictionary where a file holds one with a default."""
    return {}


INERT: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_Optimiser, "torch.optim.adam.Adam"),
    (_plain, "collections.defaultdict"),
    dict,
]


def _fill(network: nn.Module, source: Path, sha256: Collection[str], what: str, fix: str) -> str:
    """Load a file's weights into a network, strictly; gives the file's sha256, which must be one of ``sha256``."""
    digest, found = _read(source, sha256, fix)
    state = _state(found, "state_dict", source, fix)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise InputError(source, f"not the layout of {what} ({error})", fix) from None
    return digest


def _read(source: Path, sha256: Collection[str], fix: str) -> tuple[str, Any]:
    """A file's sha256, which must be one of ``sha256``, and the plain containers and tensors in it."""
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
    with torch.serialization.safe_globals(INERT):
        return digest, torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _state(found: Any, name: str, path: Path, fix: str) -> dict[str, Tensor]:
    """The tensors under a name, without the prefix that a network on several GPUs puts before theirs."""
    state = found.get(name) if isinstance(found, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(path, f"has no '{name}' of tensors", fix)
    return {key.removeprefix("module."): value for key, value in state.items()}


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
    pictures = commands.add_parser("makeittalk", help="MakeItTalk's picture network, for a row of kind makeittalk")
    pictures.add_argument("file", type=Path, help=f"ckpt_116_i2i_comb.pth, sha256 {PICTURES}")
    pictures.add_argument(
        "--branches",
        type=Path,
        required=True,
        help="folder of a row trained here at the paper's size: its two branches",
    )
    pictures.add_argument("--out", type=Path, required=True, help="folder to write; the row's made_from names it")
    args = parser.parse_args()
    if args.what == "makeittalk":
        print(f"{args.file}: a pickle from elsewhere; read only if its sha256 is {PICTURES}")
        makeittalk(args.file, args.branches, args.out)
        print(
            f"{args.out}: written; add a row with kind: makeittalk and made_from: models/{args.out.name} to params.yaml"
        )
        return
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
