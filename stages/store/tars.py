"""Tars of media files: written the same bytes each time, headed by a list of their clips."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from stages.base.errors import InputError
from stages.store.atomic import whole_file

LARGE = 8 << 30  # bytes: the size of such a file can't be written in a plain header of a tar
CLIPS = "clips.json"


def write(path: str | Path, members: Iterable[tuple[str, bytes | Path]]) -> None:
    """Write a tar in the order given, with no time, owner or mode of its own: the same members give the same bytes."""
    with whole_file(path) as part, tarfile.open(part, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content) if isinstance(content, bytes) else content.stat().st_size
            tar.format = tarfile.USTAR_FORMAT if info.size < LARGE else tarfile.GNU_FORMAT
            with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
                tar.addfile(info, file)


@contextmanager
def _tar(path: str | Path) -> Iterator[tarfile.TarFile]:
    try:
        tar = tarfile.open(path, "r:")  # noqa: SIM115 - closed below; only its opening is guarded
    except FileNotFoundError:
        raise InputError(path, "no such file", "run 'snakemake --cores all' to make it") from None
    except tarfile.TarError as error:
        raise InputError(path, f"not a tar ({error})", "delete it and run 'snakemake --cores all'") from None
    with tar:
        yield tar


@contextmanager
def member(path: str | Path, name: str) -> Iterator[IO[bytes]]:
    """A member as a seekable file, not read into memory; raises InputError where the tar lacks it."""
    with _tar(path) as tar:
        yield _file(tar, path, name)


def _file(tar: tarfile.TarFile, path: str | Path, name: str) -> IO[bytes]:
    try:
        info = tar.getmember(name)
        if info.issparse():
            problem = f"member {name!r} claims {info.size} bytes that are not in the file"
            raise InputError(path, problem, "delete it and run 'snakemake --cores all'")
        file = tar.extractfile(info)
    except (KeyError, tarfile.TarError):
        file = None
    if file is None:
        raise InputError(path, f"has no member {name!r}", "delete it and run 'snakemake --cores all'")
    return file


@contextmanager
def reader(path: str | Path) -> Iterator[Callable[[str], bytes]]:
    """Give a function that reads members as :func:`read` does, for many of one tar: its headers are walked through once."""
    with _tar(path) as tar:
        yield lambda name: _file(tar, path, name).read()


def read(path: str | Path, name: str) -> bytes:
    """A member's bytes; raises InputError where the tar lacks it."""
    with member(path, name) as file:
        return file.read()


def names(path: str | Path) -> list[str]:
    """The members' names, in order."""
    with _tar(path) as tar:
        return tar.getnames()


def listing(path: str | Path, name: str = CLIPS, *, keys: tuple[str, ...] = ("clip", "file")) -> list[dict[str, Any]]:
    """The list of clips at the head of a tar; each has these keys, whose values are plain names.

    Raises:
        InputError: it is not there, is no such list, or a name could lead out of the folder that it is joined to.
    """
    fix = "delete it and run 'snakemake --cores all'"
    try:
        clips = json.loads(read(path, name))
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, or nested without end
        raise InputError(path, f"{name} is not JSON ({error})", fix) from None
    if not isinstance(clips, list) or not all(isinstance(clip, dict) and clip.keys() >= {*keys} for clip in clips):
        raise InputError(path, f"{name} is no list of clips, each with {' and '.join(keys)}", fix)
    for clip in clips:
        for key in keys:
            if not isinstance(clip[key], str) or not _plain(clip[key]):
                raise InputError(path, f"{name} has {key} {clip[key]!r}, which is no plain name", fix)
    return clips


def _plain(name: str) -> bool:
    """True if a name stays in the folder that it is joined to."""
    return name not in ("", ".", "..") and not set(name) & {"/", "\\", "\0"}


def json_bytes(value: Any) -> bytes:
    """JSON as it stands in tars: sorted, indented, UTF-8, no NaN."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
