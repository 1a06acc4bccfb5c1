"""Public files of weights: what they are, where they come from, and how one gets here, whole and checked, on first need.

    python -m stages.weights                    # what is there, and what is not
    python -m stages.weights inception i3d      # fetch two of them

A file that lies in the folder already (``weights.folder`` of params.yaml) is used without a network. Otherwise it is fetched from
the first address that gives it: cut off, it goes on where it was; size and sha256 are compared before it gets its name.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import ssl
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from io import BufferedRandom
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError

from stages import params
from stages.errors import InputError, ParameterError, run
from stages.progress import Progress

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


@dataclass(frozen=True)
class Patience:
    """How long a bad connection is borne."""

    stall_s: float = 60.0  # without a kilobyte a second for so long, a connection is given up
    attempts: int = 5  # connections to one address that bring less than a hundredth of the file
    pause_s: float = 2.0  # after the first of them; doubled each time, 60 s at most


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
        with _alone(path.with_name(path.name + ".part")) as part:
            if mismatch(path, file) is None:  # another process has fetched it meanwhile
                return path
            for url in file.urls:
                try:
                    _fetch(file, url, part, patience or Patience())
                except _NoUse as error:
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


def mismatch(path: Path, file: PublicFile) -> str | None:
    """What is wrong with a file; None where size and hash are the published ones."""
    try:
        size = path.stat().st_size
        if size != file.size:
            return f"{size:,} bytes, not {file.size:,}"
        with open(path, "rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"can't be read ({error.strerror})"
    return None if found == file.sha256 else f"sha256 is {found}, not {file.sha256}"


def torch_cache() -> Path:
    """Where torch and torchvision keep what they downloaded, as torch.hub says it."""
    base = os.environ.get("TORCH_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return Path(base).expanduser() / "hub" / "checkpoints"


class _NoUse(Exception):
    """An address doesn't give the file."""


class _Cut(Exception):
    """A connection ended too early; another may go on."""


class _Unreachable(_Cut):
    """There was no connection."""


@contextmanager
def _alone(path: Path) -> Iterator[BufferedRandom]:
    """A file to append to, for this process alone; it waits where another has it. An empty one is removed at the end.

    The lock is the kernel's and lies on the file itself: nothing else is left behind, and it ends with its process.
    """
    handle = open(path, "a+b")  # noqa: SIM115
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"{path}: another process is fetching it; waiting", file=sys.stderr, flush=True)
                fcntl.flock(handle, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(handle.fileno()), os.stat(path)):
                break
            handle.close()  # the other one was done with it, and has renamed or removed it
            handle = open(path, "a+b")  # noqa: SIM115
        try:
            yield handle
        finally:
            if os.fstat(handle.fileno()).st_size == 0:
                path.unlink(missing_ok=True)
    finally:
        handle.close()


def _fetch(file: PublicFile, url: str, part: BufferedRandom, patience: Patience) -> None:
    """Bring ``part`` to the whole file from one address.

    A wrong byte may have come from an earlier address or run: then the whole is fetched once more.
    """
    start = _length(part)
    _bring(file, url, part, patience)
    if (found := _digest(part)) != file.sha256 and start > 0:
        part.truncate(0)
        _bring(file, url, part, patience)
        found = _digest(part)
    if found != file.sha256:
        part.truncate(0)
        raise _NoUse(f"sha256 is {found}, not {file.sha256}")


def _bring(file: PublicFile, url: str, part: BufferedRandom, patience: Patience) -> None:
    """Append what lacks of the file's length, by as many connections as it takes."""
    if _length(part) > file.size:
        part.truncate(0)
    progress = Progress(f"fetching {file.file}", -(-file.size // 10**6), "MB", done=_length(part) // 10**6)
    failed, first = 0, _length(part)
    while (start := _length(part)) < file.size:
        try:
            _connect(file, url, part, patience, progress)
            continue
        except _Cut as error:
            if isinstance(error, _Unreachable) and _length(part) == first:  # asking again would only lose time
                raise _NoUse(str(error)) from None
            if _length(part) < start + file.size / 100:
                failed += 1
            if failed >= patience.attempts:
                raise _NoUse(f"{error}; given up after {failed} attempts") from None
            pause = min(patience.pause_s * 2 ** max(failed - 1, 0), 60.0)
            line = f"{url}: {error} at {_length(part):,} of {file.size:,} bytes; again in {pause:g} s"
            print(line, file=sys.stderr, flush=True)
        time.sleep(pause)


def _connect(file: PublicFile, url: str, part: BufferedRandom, patience: Patience, progress: Progress) -> None:
    """One connection: ask for the rest and append it."""
    start = _length(part)
    headers = {"User-Agent": "hifidiff", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=patience.stall_s) as answer:
            _accept(answer, file, part)
            _append(answer, file, part, patience, progress)
    except HTTPError as error:
        with error:
            if error.code == 416 and start:  # the server's file ends before ours does: ours is no part of it
                part.truncate(0)
                raise _Cut("HTTP 416, there is no such rest") from None
            if error.code in (408, 425, 429) or error.code >= 500:
                raise _Cut(f"HTTP {error.code}") from None
            raise _NoUse(f"HTTP {error.code} {error.reason}") from None
    except URLError as error:
        raise _Unreachable(f"no connection ({error.reason})") from None
    except TimeoutError:
        raise _Cut(f"nothing came for {patience.stall_s:g} s") from None
    except (HTTPException, ConnectionError, ssl.SSLError) as error:
        raise _Cut(f"cut off ({type(error).__name__})") from None


def _accept(answer: HTTPResponse, file: PublicFile, part: BufferedRandom) -> None:
    """Compare what the server says of its answer with what was asked; a server that knows no ranges starts over.

    Raises:
        _NoUse: it is another file.
    """
    if "text/html" in answer.headers.get("Content-Type", ""):
        raise _NoUse("answers with a web page")
    said = answer.headers.get("Content-Length", "")
    if answer.status == 206:
        place, _, total = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        if place.partition("-")[0] != str(_length(part)):
            raise _NoUse(f"was asked for the bytes from {_length(part)} on and gives {place or 'others'}")
        if total not in ("*", "", str(file.size)):
            raise _NoUse(f"its file has {total} bytes, not {file.size}")
        return
    part.truncate(0)
    if said.isdigit() and int(said) != file.size:
        raise _NoUse(f"its file has {said} bytes, not {file.size}")


def _append(
    answer: HTTPResponse, file: PublicFile, part: BufferedRandom, patience: Patience, progress: Progress
) -> None:
    mark, since = time.monotonic(), 0
    while chunk := answer.read1(1 << 20):
        part.write(chunk)
        part.flush()
        done = _length(part)
        if done > file.size:
            part.truncate(0)
            raise _NoUse(f"its file has more than {file.size} bytes")
        if (megabytes := done // 10**6 - progress.done) > 0:
            progress.update(megabytes)
        since += len(chunk)
        if time.monotonic() - mark > patience.stall_s:
            if since < 1000 * patience.stall_s and done < file.size:
                raise _Cut(f"{since:,} bytes in {patience.stall_s:g} s")
            mark, since = time.monotonic(), 0
    if _length(part) < file.size:
        raise _Cut("cut off")


def _length(part: BufferedRandom) -> int:
    return os.fstat(part.fileno()).st_size


def _digest(part: BufferedRandom) -> str:
    part.seek(0)
    return hashlib.file_digest(part, "sha256").hexdigest()


def table(folder: Path, files: Sequence[PublicFile] = tuple(FILES.values())) -> str:
    """What is there, as lines of text: name, file, state, bytes, terms, use."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"to fetch: all, or some of {', '.join(FILES)}")
    parser.add_argument("--folder", type=Path, help="where they lie (default: weights.folder of params.yaml)")
    args = parser.parse_args()
    names = list(FILES) if args.names == ["all"] else args.names
    unknown = [name for name in names if name not in FILES]
    if unknown:
        raise ParameterError(f"NAME is {unknown[0]!r}; allowed: all, {', '.join(FILES)}")
    folder = args.folder or Path(params.load(params.PARAMS_FILE).weights.folder)
    for name in names:
        print(f"{ensure(name, folder)}: whole, sha256 {FILES[name].sha256}")
    print(table(folder))


if __name__ == "__main__":
    run(main)
