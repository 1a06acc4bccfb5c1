"""A corpus from a folder of the user's own videos: every sub-folder is a speaker, every file in it a clip.

Files are taken as they are, in order of name; whether they can be used the mask stage finds out, so that a damaged or empty
file is named in the index and stops nothing.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path
from typing import Any

from stages import media
from stages.errors import InputError
from stages.params import Folder
from stages.progress import Progress


def slug(name: str) -> str:
    """A name as shards and clips have it: lower-case letters, digits, ``-`` and ``_``. ``Zoë's Clips`` → ``zoe-s-clips``."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_")


def speakers(folder: Path) -> dict[str, list[Path]]:
    """Slug → the sub-folders of that name, of a folder of videos; this is what ``corpus.shards`` lists.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(
            folder, "no such folder", "set corpus.folder.path to the folder whose sub-folders hold the videos"
        )
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and slug(path.name):
            found.setdefault(slug(path.name), []).append(path)
    return found


def videos(folders: list[Path]) -> list[Path]:
    """All files below the folders but hidden ones, in order."""
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in files if not any(part.startswith(".") for part in path.parts[-2:])]


def clip_names(speaker: str, files: list[Path]) -> list[tuple[str, str]]:
    """(clip, sentence) of each file: ``<speaker>_<file's slug>``; the slug is the sentence, numbered where two are alike."""
    names, seen = [], dict[str, int]()
    for file in files:
        sentence = slug(file.stem) or "clip"
        seen[sentence] = seen.get(sentence, 0) + 1
        if seen[sentence] > 1:
            sentence = f"{sentence}-{seen[sentence]}"
        names.append((f"{speaker}_{sentence}", sentence))
    return names


def take(settings: Folder, speaker: str, out: Path) -> None:
    """Put a speaker's videos into the tar ``out``: clips.json, then the files under their clips' names.

    Raises:
        InputError: the folder is missing, has no sub-folder for this speaker, or that has no file.
    """
    root = Path(settings.path)
    found = speakers(root)
    if speaker not in found:
        raise InputError(root, f"no sub-folder for the shard {speaker!r}", f"set corpus.shards to {sorted(found)}")
    files = videos(found[speaker])
    if not files:
        raise InputError(found[speaker][0], "no file in it", "add videos or take it out of corpus.shards")
    clips: list[dict[str, Any]] = []
    contents: list[tuple[str, bytes | Path]] = []
    progress = Progress(f"download {speaker}", len(files), "files")
    for path, (clip, sentence) in zip(files, clip_names(speaker, files), strict=True):
        content, digest = _readable(path)
        member = clip + (slug(path.suffix) and f".{slug(path.suffix)}")
        contents.append((member, content))
        clips.append(
            {
                "clip": clip, "file": member, "speaker": speaker, "sentence": sentence, "emotion": "", "level": "",
                "source": path.relative_to(root).as_posix(), "sha256": digest, "text": "",
            }
        )  # fmt: skip
        progress.update(note=path.name)
    media.write_tar(out, [(media.CLIPS, media.json_bytes(clips)), *contents])


def _readable(path: Path) -> tuple[bytes | Path, str]:
    """What goes into the tar, and its SHA-256: the file, or nothing where it can't be read."""
    try:
        with path.open("rb") as file:
            return path, hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return b"", hashlib.sha256(b"").hexdigest()
