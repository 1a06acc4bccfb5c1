"""Public files of weights: what they are, where they come from, and how one gets here, whole and checked, on first need.

A file that lies in the folder already (``weights.folder`` of params.yaml) is used without a network. Otherwise it is fetched from
the first address that gives it: cut off, it goes on where it was; size and sha256 are compared before it gets its name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages.base.errors import InputError
from stages.base.progress import Progress
from stages.fetching import http
from stages.fetching.http import Course, NoUse, Patience, mismatch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PublicFile:
    """A file that others publish. ``sha256`` is what it is known by: another file of its name is not used."""

    name: str  # in this project
    file: str  # in the folder
    urls: tuple[str, ...]  # in order of preference
    size: int  # bytes
    sha256: str
    terms: str  # licence, in a word
    use: str


# Sizes and hashes as published; a test holds them. Terms are the authors' for the weights where they state any, else those of the
# code that the file comes with.
FILES = {
    file.name: file
    for file in (
        PublicFile(
            name="inception",
            file="pt_inception-2015-12-05-6726825d.pth",
            urls=(
                "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
                "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
            ),
            size=95_628_359,
            sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
            terms="code: Apache-2.0",
            use="FID, KID",
        ),
        PublicFile(
            name="i3d",
            file="i3d_torchscript.pt",
            urls=(
                "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1",
                "https://huggingface.co/flateon/FVD-I3D-torchscript/resolve/main/i3d_torchscript.pt",
            ),
            size=51_235_320,
            sha256="bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
            terms="code: Apache-2.0",
            use="FVD",
        ),
        PublicFile(
            name="syncnet",
            file="syncnet_v2.model",
            urls=("https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",),
            size=54_573_114,
            sha256="961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
            terms="code: MIT",
            use="LSE-C, LSE-D",
        ),
        PublicFile(
            name="wav2lip_expert",
            file="lipsync_expert.pth",
            urls=(
                "https://huggingface.co/Nekochu/Wav2Lip/resolve/main/lipsync_expert.pth",
                "https://huggingface.co/camenduru/Wav2Lip/resolve/main/checkpoints/lipsync_expert.pth",
            ),
            size=197_357_631,
            sha256="9b9936c721696446eeed353032cab242a8cf0eed8c46cde540366f6ae5493be5",
            terms="research, personal use",
            use="the loss's lip-sync expert, after stages.convert",
        ),
        PublicFile(
            name="vgg16",
            file="vgg16-397923af.pth",
            urls=("https://download.pytorch.org/models/vgg16-397923af.pth",),
            size=553_433_881,
            sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            terms="code: BSD-3-Clause",
            use="loss.perceptual lpips_vgg; LPIPS",
        ),
        PublicFile(
            name="vgg19",
            file="vgg19-dcbb9e9d.pth",
            urls=("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",),
            size=574_673_361,
            sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
            terms="code: BSD-3-Clause",
            use="loss.perceptual vgg19",
        ),
    )
}


def ensure(name: str | PublicFile, folder: Path, *, patience: Patience | None = None) -> Path:
    """The path of a public file, whole and checked: in ``folder``, in torch's cache, or else fetched into ``folder``.

    Where it is there, nothing is written and no connection is made. Several processes that need it at once fetch it once.

    Raises:
        InputError: it isn't there and can't be fetched: with each address and what was wrong there, the place to put the
            file, its size and its sha256.
    """
    file = FILES[name] if isinstance(name, str) else name
    path = folder / file.file
    problems = []
    for place in _places(file, folder):
        problem = mismatch(place, file)
        if problem is None:
            return place
        if place.exists():
            problems.append(f"{place}: {problem}")
            print(f"{place}: {problem}; fetching {file.file} anew", file=sys.stderr, flush=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with http.alone(path.with_name(path.name + ".part")) as part:
            if mismatch(path, file) is None:  # another process has fetched it meanwhile
                return path
            for url in file.urls:
                try:
                    http.bring(file, url, part, patience or Patience(), _Told(file))
                except NoUse as error:
                    problems.append(f"{url}: {error}")
                    print(problems[-1], file=sys.stderr, flush=True)
                else:
                    os.replace(part.name, path)
                    return path
    except OSError as error:
        problems.append(f"{folder}: can't be written ({error.strerror or error})")
    raise InputError(
        path,
        f"not there, and not to be fetched ({'; '.join(problems)})",
        f"put it there yourself: {file.file} from {file.urls[0]}, {file.size:,} bytes, sha256 {file.sha256}; "
        "or let weights.folder name the folder that has it",
    )


def find(name: str | PublicFile, folder: Path) -> Path | None:
    """The path of a public file that is there, in ``folder`` or in torch's cache, whole and checked; nothing is fetched."""
    file = FILES[name] if isinstance(name, str) else name
    return next((place for place in _places(file, folder) if mismatch(place, file) is None), None)


def _places(file: PublicFile, folder: Path) -> tuple[Path, Path]:
    return folder / file.file, torch_cache() / file.file


def tensors(name: str | PublicFile, folder: Path) -> dict[str, Tensor]:
    """The tensors of a public file, by their names there, on the CPU; only tensors and plain containers are unpickled.

    Raises:
        InputError: as :func:`ensure` does; or it is no state dict.
    """
    import torch  # late: it takes seconds, which the table does without

    path = ensure(name, folder)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises anything
        raise InputError(path, f"can't be read by torch {torch.__version__} ({error})", "report it") from None
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise InputError(path, "no state dict of tensors", "report it")
    return found


def torch_cache() -> Path:
    """The folder of torch's and torchvision's downloads, as torch.hub names it."""
    base = os.environ.get("TORCH_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return Path(base).expanduser() / "hub" / "checkpoints"


class _Told(Course):
    """Says how far a file is."""

    def __init__(self, file: PublicFile) -> None:
        self.progress = Progress(f"fetching {file.file}", -(-file.size // 10**6), "MB")
        self.known = False

    def at(self, length: int) -> None:
        if not self.known:  # what an earlier run fetched is no rate of this one
            self.progress = Progress(self.progress.label, self.progress.total, "MB", done=length // 10**6)
            self.known = True
        elif (megabytes := length // 10**6 - self.progress.done) > 0:
            self.progress.update(megabytes)


def table(folder: Path, files: Sequence[PublicFile] = tuple(FILES.values())) -> str:
    """The files that are there, as lines of text: name, file, state, bytes, terms, use."""
    rows = [("name", "file", "state", "bytes", "terms", "for")]
    for file in files:
        place = find(file, folder)
        if place is None:
            state = mismatch(folder / file.file, file) or ""
        else:
            state = f"{'here' if place.parent == folder else 'in the cache of torch'}, sha256 agrees"
        rows.append((file.name, file.file, state, f"{file.size:,}", file.terms, file.use))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([f"in {folder}:", *lines])
