"""A corpus from a folder of the user's own videos, in any layout.

The speaker is the first sub-folder's name, and the file's own where it lies at the top. A CSV in the folder
(``corpus.folder.table``) may say otherwise, a row a video: ``file`` (its path in the folder) and any of ``speaker``, ``split``,
``sentence``, ``emotion`` and ``level``; an empty cell leaves what there is. Names may have spaces, accents and emoji; shards and
clips have slugs of them.

Files that are no videos by their ending are ignored. Linked folders are followed, each folder once. Videos are taken as they
are, in order of name; whether they can be used the mask stage finds out, so that a damaged or empty file is named in the index
and stops nothing.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.base import places
from stages.base.errors import InputError, shown
from stages.base.params import Folder
from stages.base.places import Below
from stages.base.progress import Progress
from stages.store import tars

COLUMNS = ("file", "speaker", "split", "sentence", "emotion", "level")
SPLITS = ("train", "validation", "test_seen", "test_unseen", "test_long", "out")
LONGEST_SPEAKER, LONGEST_CLIP = 30, 50  # characters of a slug; a tar's names have 100 at most


@dataclass(frozen=True)
class Video:
    """A file of the corpus and what is known of it."""

    path: Path
    file: str  # its path in the folder, with / and composed accents
    speaker: str  # the name as given
    split: str = ""  # the table's; empty: the index stage draws it
    sentence: str = ""
    emotion: str = ""
    level: str = ""


def slug(name: str) -> str:
    """A name as shards and clips have it: lower-case letters, digits, ``-`` and ``_``. ``Zoë's Clips`` → ``zoe-s-clips``."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_")


def slugs(names: Iterable[str], otherwise: str = "speaker") -> dict[str, str]:
    """Name → a slug that no other of the names has.

    Names that differ only in capitals or in how accents are encoded are one. Where others have the same slug, or a name has
    none (😀, 李雷), some digits of the name's hash tell them apart, so that a slug depends on the names and not on their order.
    """
    names = sorted(set(names))
    folded = {name: _same(name) for name in names}
    plain = {name: slug(name)[:LONGEST_SPEAKER].strip("-_") for name in names}
    shared: dict[str, set[str]] = {}
    for name in names:
        shared.setdefault(plain[name], set()).add(folded[name])
    found = {}
    for name in names:
        alone = plain[name] and len(shared[plain[name]]) == 1
        digits = hashlib.sha256(folded[name].encode("utf-8", "surrogateescape")).hexdigest()[:6]
        found[name] = plain[name] if alone else f"{plain[name] or otherwise}-{digits}"
    return found


def _same(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def files(root: Path) -> Below:
    """The videos below a folder and what else lies there, but hidden files.

    Raises:
        InputError: there is no such folder, or one in it can't be read.
    """
    if not root.is_dir():
        raise InputError(root, "no such folder", "set corpus.folder.path to the folder that holds the videos")
    return places.below(root)


def speakers(settings: Folder) -> dict[str, list[Video]]:
    """Shard → its videos in order of name; the keys are what ``corpus.shards`` may list.

    Raises:
        InputError: there is no such folder, no video in it, or the table has a fault.
    """
    root = places.place(settings.path)
    found = [_video(root, path) for path in files(root).videos]
    if not found:
        endings = ", ".join(sorted(places.VIDEO_SUFFIXES))
        raise InputError(root, f"no video in it ({endings})", "put videos there, a sub-folder a speaker")
    if settings.table:
        found = _told(root, found, table(root, settings.table))
    names = slugs(video.speaker for video in found)
    shards: dict[str, list[Video]] = {}
    for video in found:
        shards.setdefault(names[video.speaker], []).append(video)
    return dict(sorted(shards.items()))


def _video(root: Path, path: Path) -> Video:
    inside = path.relative_to(root)
    return Video(path, _text(inside.as_posix()), _text(inside.parts[0] if len(inside.parts) > 1 else path.stem))


def _text(name: str) -> str:
    """A file's name as text: bytes that are no UTF-8 are replaced, accents composed (macOS has them apart)."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))


def table(root: Path, name: str) -> dict[str, dict[str, str]]:
    """The rows of the CSV by their ``file``; comma or semicolon between cells, UTF-8.

    Raises:
        InputError: it is missing, lies elsewhere, can't be read, or has a column, split or file that it can't have.
    """
    path = root / places.place(name)
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(
            path, "lies outside the corpus's folder", "put it there and give its name in corpus.folder.table"
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            path, f"can't be read ({error.strerror})", "put it there, or set corpus.folder.table to ''"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(path, f"not UTF-8 (byte {error.start})", "save it as CSV UTF-8") from None
    head = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if head.count(";") > head.count(",") else ",")
    try:
        columns = [column.strip().lower() for column in reader.fieldnames or []]
        reader.fieldnames = columns
        wrong = [column for column in columns if column not in COLUMNS]
        if "file" not in columns or wrong or len(set(columns)) < len(columns):
            problem = f"columns are {', '.join(columns) or 'missing'}"
            raise InputError(path, problem, f"give file, and any of {', '.join(COLUMNS[1:])}, each once")
        rows: dict[str, dict[str, str]] = {}
        for row in reader:
            _add(path, reader.line_num, row, rows)
    except csv.Error as error:
        raise InputError(path, f"line {reader.line_num}: not CSV ({error})", "save it as CSV UTF-8") from None
    return rows


def _add(path: Path, line: int, row: dict[str, Any], rows: dict[str, dict[str, str]]) -> None:
    """Check a row and put it to the others."""
    if None in row or None in row.values():
        raise InputError(
            path, f"line {line}: has not as many cells as the head", "quote names that have commas in them"
        )
    cells = {column: unicodedata.normalize("NFC", cell).strip() for column, cell in row.items()}
    file = cells["file"].replace("\\", "/").removeprefix("./")
    if file in rows:
        raise InputError(path, f"line {line}: {file} stands twice", "keep one of the rows")
    if cells.get("split", "") not in ("", *SPLITS):
        fix = f"give one of {', '.join(SPLITS)}, or nothing to have it drawn"
        raise InputError(path, f"line {line}: split is {cells['split']!r}", fix)
    rows[file] = cells


def _told(root: Path, found: list[Video], rows: dict[str, dict[str, str]]) -> list[Video]:
    """The videos with what the table says of them. It may name only what was found in the folder, so no path leads out of it."""
    unknown = sorted(rows.keys() - {video.file for video in found})
    if unknown:
        raise InputError(root, f"no video {unknown[0]!r}, which the table names", "give its path within the folder")
    told = []
    for video in found:
        cells = {column: cell for column, cell in rows.get(video.file, {}).items() if cell and column != "file"}
        told.append(Video(video.path, video.file, **({"speaker": video.speaker} | cells)))
    return told


def clip_names(speaker: str, videos: list[Video]) -> list[tuple[str, str]]:
    """(clip, sentence) of each video: ``<speaker>_<file's slug>``, numbered where two are alike.

    The sentence is the table's, else the file's slug.
    """
    names: list[tuple[str, str]] = []
    seen: set[str] = set()
    for video in videos:
        plain = name = slug(video.path.stem)[:LONGEST_CLIP].strip("-_") or "clip"
        number = 1
        while name in seen:
            number += 1
            name = f"{plain}-{number}"
        seen.add(name)
        names.append((f"{speaker}_{name}", video.sentence or name))
    return names


def line(found: Iterable[str]) -> str:
    """The line of ``params.yaml`` that lists these shards, in quotes where YAML would read a number, a date or a truth value."""
    return f"shards: [{', '.join(_quoted(shard) for shard in found)}]"


def _quoted(shard: str) -> str:
    """A slug as YAML needs it: 1.1, or 1.2 as DVC reads it. What begins with a letter is text to both, but for a few words."""
    plain = shard[0].isalpha() and shard not in ("y", "n") and isinstance(yaml.safe_load(shard), str)
    return shard if plain else f'"{shard}"'


def listing(settings: Folder) -> str:
    """YAML to paste below ``corpus:``; comments say who is who and what is ignored."""
    root, found = places.place(settings.path), speakers(settings)
    lines = []
    for shard, videos in found.items():
        names = ", ".join(sorted({video.speaker for video in videos}))
        lines.append(f"# {shard}: {len(videos)} {'video' if len(videos) == 1 else 'videos'} of {names}")
    beside = files(root)
    lines += [
        f"# a link that leads nowhere, which stops a run: {_text(str(path.relative_to(root)))}"
        for path in beside.videos
        if not path.exists()
    ]
    lines += [f"# ignored, no video by its ending: {_text(str(path.relative_to(root)))}" for path in beside.others]
    lines += [
        f"# ignored, a link to a folder that is listed: {_text(str(path.relative_to(root)))}" for path in beside.again
    ]
    return "\n".join([shown(" ".join(text.split())) for text in lines] + [line(found)])


def take(settings: Folder, speaker: str, out: Path) -> None:
    """Put a speaker's videos into the tar ``out``: clips.json, then the files under their clips' names.

    Raises:
        InputError: the folder is missing or has no video of this speaker, or the table has a fault.
    """
    root, found = places.place(settings.path), speakers(settings)
    if speaker not in found:
        raise InputError(root, f"no videos of the shard {speaker!r}", f"in corpus of params.yaml, write  {line(found)}")
    videos = found[speaker]
    clips: list[dict[str, Any]] = []
    contents: list[tuple[str, bytes | Path]] = []
    progress = Progress(f"download {speaker}", len(videos), "files")
    for video, (clip, sentence) in zip(videos, clip_names(speaker, videos), strict=True):
        content, digest = _readable(video.path)
        member = clip + f".{slug(video.path.suffix)}"
        contents.append((member, content))
        clips.append(
            {
                "clip": clip, "file": member, "speaker": speaker, "sentence": sentence, "emotion": video.emotion,
                "level": video.level, "split": video.split, "source": video.file, "sha256": digest, "text": "",
            }
        )  # fmt: skip
        progress.update(note=video.path.name)
    tars.write(out, [(tars.CLIPS, tars.json_bytes(clips)), *contents])


def _readable(path: Path) -> tuple[bytes | Path, str]:
    """The content for the tar, and its SHA-256: the file, or nothing if it can't be read."""
    try:
        with path.open("rb") as file:
            return path, hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return b"", hashlib.sha256(b"").hexdigest()
