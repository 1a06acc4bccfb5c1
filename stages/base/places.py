"""Places of the user's files: a path of ``params.yaml``, and the files below a folder, linked folders among them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from stages.base.errors import InputError

VIDEO_SUFFIXES = {
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts",
    ".webm", ".wmv",
}  # fmt: skip


@dataclass(frozen=True)
class Below:
    """The files below a folder without the hidden ones, each list in order of name."""

    videos: list[Path] = field(
        default_factory=list
    )  # by their ending; a broken link is one, too: whoever reads it names it
    others: list[Path] = field(default_factory=list)
    again: list[Path] = field(default_factory=list)  # links to folders that are listed already, or that hold the link


def place(text: str) -> Path:
    """A path of ``params.yaml``, whose text is UTF-8, as the file of these bytes: whatever the locale says of file names."""
    return Path(os.fsdecode(text.encode("utf-8")))


def below(root: Path) -> Below:
    """The files below a folder. Links to folders are followed, and each folder is listed once, under its own name if it has one.

    Raises:
        InputError: a folder can't be read.
    """
    found, seen = Below(), set[tuple[int, int]]()
    links = _walk(root, seen, found)
    while links:
        link = min(links)
        links.remove(link)
        if _identity(link) in seen:
            found.again.append(link)
        else:
            links += _walk(link, seen, found)
    for paths in (found.videos, found.others, found.again):
        paths.sort()
    return found


def _walk(top: Path, seen: set[tuple[int, int]], found: Below) -> list[Path]:
    """List a folder and those in it that are no links; gives the links to folders."""
    links = []
    seen.add(_identity(top))
    for folder, folders, names in os.walk(top, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in list(folders):
            path = Path(folder, name)
            if path.is_symlink():
                folders.remove(name)
                links.append(path)
            else:
                seen.add(_identity(path))
        for name in names:
            path = Path(folder, name)
            if name.startswith("."):
                continue
            readable = path.is_file() or (path.is_symlink() and not path.exists())
            (found.videos if readable and path.suffix.lower() in VIDEO_SUFFIXES else found.others).append(path)
    return links


def _identity(folder: Path) -> tuple[int, int]:
    state = folder.stat()
    return state.st_dev, state.st_ino


def _refuse(error: OSError) -> None:
    raise InputError(error.filename, f"can't be read ({error.strerror})", "allow it, or move the folder out")
