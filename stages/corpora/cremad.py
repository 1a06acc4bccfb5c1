"""CREMA-D as a corpus: a speaker's videos, fetched where they are missing, each checked against the project's manifest.

Objects lie in ``cremad.folder`` under their upstream paths, whatever the run, so that none is fetched twice; a clone of CREMA-D
that has its objects does as well. One process fetches into it at a time, by ``cremad.connections`` connections: that is all that
the servers see of a run, however many jobs it has. Interrupted at any moment, the next run fetches what is missing, from the
byte where it was.

A clip that no source has, or that is known to be of no use, stands in clips.json with the reason (``left_out``). The sound is the
video's own; only where that has none the WAV lies beside it in the tar (``sound``), and ``source`` says so.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import av

from stages.base.errors import InputError
from stages.base.params import Cremad
from stages.base.progress import Progress
from stages.corpora import cremad_facts
from stages.fetching import git_lfs, http
from stages.fetching.git_lfs import Address
from stages.fetching.http import Course, Later, NoUse, Patience
from stages.store import tars
from stages.store.atomic import whole_file

MANIFEST = Path(__file__).with_name(
    "cremad.csv.gz"
)  # the objects' hashes and sizes, from the LFS pointers of cremad.COMMIT
NAME = re.compile(
    rf"(?:VideoFlash/(?=.*\.flv$)|AudioWAV/(?=.*\.wav$))(?P<clip>(?P<speaker>1\d\d\d)_(?P<sentence>{'|'.join(cremad_facts.SENTENCES)})"
    rf"_(?P<emotion>{'|'.join(cremad_facts.EMOTIONS)})_(?P<level>{'|'.join(cremad_facts.LEVELS)}))\.(?:flv|wav)",
    re.ASCII,
)
# As upstream's README names them, and whether the clip is tried all the same.
DEFECTS = {
    "1064_IEO_DIS_MD": ("one minute long, holds all emotional displays of the sentence", False),
    "1064_TIE_SAD_XX": ("no duration in the file", True),
    "1076_MTI_NEU_XX": ("very short, no audio in the video", True),
    "1076_MTI_SAD_XX": ("an error picture, no audio, very short", False),
}
FAILURES = 3  # objects that one source fails to give, one after another, before it is asked no more
TERMS_FILE = "TERMS.txt"


@dataclass(frozen=True)
class Object:
    """A file of CREMA-D."""

    file: str  # its path there
    sha256: str
    size: int  # bytes

    @property
    def clip(self) -> str:
        return Path(self.file).stem


def manifest(path: Path = MANIFEST) -> dict[str, Object]:
    """The objects by path. Only names that CREMA-D gives its files are accepted: none leads out of a folder.

    Raises:
        InputError: the file is missing or damaged, or a line is wrong.
    """
    fix = "take the project's own: git checkout -- stages/corpora/cremad.csv.gz"
    found: dict[str, Object] = {}
    try:
        with gzip.open(path, "rt", encoding="ascii", newline="") as file:
            for number, row in enumerate(csv.DictReader(file, strict=True), 2):
                name, sha256, size = (row.get(column) or "" for column in ("path", "sha256", "size"))
                good = (
                    NAME.fullmatch(name) and re.fullmatch("[0-9a-f]{64}", sha256) and re.fullmatch("[1-9][0-9]*", size)
                )
                if not good or name in found:
                    problem = "stands twice" if name in found else "is no path, sha256 and size of CREMA-D's"
                    raise InputError(path, f"line {number}, {','.join(map(str, row.values()))!r}, {problem}", fix)
                found[name] = Object(name, sha256, int(size))
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise InputError(path, f"can't be read ({error})", fix) from None
    return found


def videos(listed: dict[str, Object], speaker: str) -> list[Object]:
    """A speaker's videos, in order."""
    return [listed[path] for path in sorted(listed) if path.startswith(f"VideoFlash/{speaker}_")]


def take(
    settings: Cremad, shards: Sequence[str], speaker: str, out: Path, *, listed: dict[str, Object] | None = None
) -> None:
    """Put a speaker's videos into the tar ``out``: clips.json, then the files under their clips' names.

    ``shards``: the run's speakers, for the space that is needed and the time that is left.

    Raises:
        InputError: the disk is too small, an object can't be fetched now, or no source has a single clip.
    """
    listed = manifest() if listed is None else listed
    folder, own = Path(settings.folder), videos(listed, speaker)
    if not own:
        raise InputError(MANIFEST, f"no clip of the speaker {speaker!r}", "correct corpus.shards")
    everything = {shard: videos(listed, shard) for shard in shards}
    check_space(folder, everything, out)
    lost = fetch_all(settings, own, [item for items in everything.values() for item in items], speaker)
    if len(lost) == len(own):
        raise InputError(folder, f"no source has a clip of {speaker} ({lost[own[0].file]})", "correct cremad.sources")
    mute = [item for item in own if item.file not in lost and not has_sound(folder / item.file)]
    sounds = {item.clip: listed[path] for item in mute if (path := f"AudioWAV/{item.clip}.wav") in listed}
    lost |= fetch_all(settings, list(sounds.values()), list(sounds.values()), speaker)
    clips: list[dict[str, Any]] = []
    contents: list[tuple[str, bytes | Path]] = []
    for item in own:
        sound = sounds.get(item.clip)
        entry = listing(item, sound, lost)
        clips.append(entry)
        contents.append((entry["file"], b"" if item.file in lost else folder / item.file))
        if "sound" in entry and sound is not None:
            contents.append((entry["sound"], folder / sound.file))
        if "left_out" in entry:
            print(f"clip {item.clip}: {entry['left_out']}; left out, the other clips go on", flush=True)
    tars.write(out, [(tars.CLIPS, tars.json_bytes(clips)), *contents])


def listing(item: Object, sound: Object | None, lost: dict[str, str]) -> dict[str, str]:
    """A clip's entry in clips.json."""
    name = NAME.fullmatch(item.file)
    assert name is not None
    notes, more = [item.file], {}
    if sound is not None and sound.file not in lost:
        notes.append(f"sound from {sound.file}")
        more["sound"] = Path(sound.file).name
    elif sound is not None:
        notes.append(f"no sound, nor {sound.file} ({lost[sound.file]})")
    if item.clip in DEFECTS:
        words, tried = DEFECTS[item.clip]
        notes.append(f"known defect: {words}")
        if not tried:
            more["left_out"] = f"known defect: {words}"
    if item.file in lost:
        more["left_out"] = f"not to be fetched ({lost[item.file]})"
    return {
        "clip": item.clip, "file": Path(item.file).name, "speaker": name["speaker"], "sentence": name["sentence"],
        "emotion": name["emotion"], "level": name["level"], "source": "; ".join(notes), "sha256": item.sha256,
        "text": cremad_facts.SENTENCES[name["sentence"]], **more,
    }  # fmt: skip


def has_sound(path: Path) -> bool:
    """True if a video has sound of its own. A damaged one counts as if it had: a later stage names the damage."""
    try:
        with av.open(str(path), "r", metadata_errors="replace") as container:
            return bool(container.streams.audio) and next(container.decode(audio=0), None) is not None
    except (av.error.FFmpegError, ValueError):
        return True


def check_space(folder: Path, shards: dict[str, list[Object]], out: Path) -> None:
    """Raise InputError where the objects that lack, and the tars that lack beside ``out``, don't fit on the disk."""
    objects = sum(_lacking(folder, item) for items in shards.values() for item in items)
    made = {shard: sum(item.size for item in items) for shard, items in shards.items()}
    tars = sum(size for shard, size in made.items() if not out.with_name(f"{shard}.tar").exists())
    needed: dict[int, tuple[Path, int]] = {}
    for place, size in ((folder, objects), (out.parent, tars)):
        there = next(above for above in (place.absolute(), *place.absolute().parents) if above.exists())
        first, before = needed.get(there.stat().st_dev, (there, 0))
        needed[there.stat().st_dev] = (first, before + size)
    for place, size in needed.values():
        free = shutil.disk_usage(place).free
        if size > free:
            problem = f"objects and tars of CREMA-D need {size / 1e9:.2f} GB more, and {free / 1e9:.2f} GB are free"
            raise InputError(place, problem, "free some, or let cremad.folder name a folder on another disk")


def _lacking(folder: Path, item: Object) -> int:
    """Bytes of an object that are still to be fetched, by the length of what is there."""
    for path, whole in ((folder / item.file, True), (_part(folder, item), False)):
        try:
            length = path.stat().st_size
        except OSError:
            continue
        if length == item.size or not whole:
            return max(item.size - length, 0)
    return item.size


def _part(folder: Path, item: Object) -> Path:
    return folder / f"{item.file}.part"


def fetch_all(
    settings: Cremad, wanted: Sequence[Object], everything: Sequence[Object], note: str = ""
) -> dict[str, str]:
    """Bring objects into the folder, whole and checked. Gives those that no source has: path → why.

    Where all are there, nothing is written and no connection is made. ``everything``: what the run needs, for the progress.

    Raises:
        InputError: some could not be fetched, and may be at another time; those that could are there.
    """
    folder = Path(settings.folder)
    left = [item for item in wanted if http.mismatch(folder / item.file, item)]
    if not left:
        return {}
    reasons: dict[str, list[str]] = {item.file: [] for item in left}
    later: set[str] = set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with http.alone(folder / ".fetching.part", "fetching into this folder"):
            show_terms(folder)
            left = [item for item in left if http.mismatch(folder / item.file, item)]  # another one may have
            tally = Tally(folder, everything, note)
            for address in settings.sources:
                source, remaining = Source(address, settings, tally), []
                for item, refused in source.bring(left):
                    if refused is None:
                        continue
                    remaining.append(item)
                    reasons[item.file].append(f"{urlsplit(address).netloc}: {refused}")
                    if isinstance(refused, Later):
                        later.add(item.file)
                left = remaining
    except OSError as error:
        problem = f"can't be written ({error.strerror or error})"
        raise InputError(folder, problem, "free some space, or let cremad.folder name another folder") from None
    lost = {item.file: "; ".join(reasons[item.file]) for item in left}
    again = [path for path in lost if path in later]
    if again:
        problem = f"{len(again)} of {len(wanted)} objects are not there yet, such as {again[0]} ({lost[again[0]]})"
        raise InputError(folder, problem, "run the same command again, which fetches what is missing")
    return lost


def show_terms(folder: Path) -> None:
    """Print whose the corpus is and on what terms, once a folder, where they stay as a file."""
    path = folder / TERMS_FILE
    if not path.exists():
        text = "\n".join(cremad_facts.TERMS) + "\n"
        print(text, end="", flush=True)
        with whole_file(path) as part:
            part.write_text(text, encoding="utf-8")


class Tally:
    """Counts what has come, over all connections, and says the rate and the time that is left."""

    def __init__(self, folder: Path, everything: Iterable[Object], note: str) -> None:
        items = list(everything)
        self._lengths = {item.file: item.size - _lacking(folder, item) for item in items}
        self._lock, self._bytes, self._note = threading.Lock(), sum(self._lengths.values()), note
        total = sum(item.size for item in items)
        self._progress = Progress("fetching CREMA-D", -(-total // 10**6), "MB", done=self._bytes // 10**6)

    def at(self, item: Object, length: int) -> None:
        """An object has so many bytes; what is fetched twice counts once."""
        with self._lock:
            more = length - self._lengths.get(item.file, 0)
            if more > 0:
                self._lengths[item.file] = length
                self._bytes += more
                if (megabytes := self._bytes // 10**6 - self._progress.done) > 0:
                    self._progress.update(megabytes, self._note)


class Stopped(Exception):
    """Another thread failed, or the user interrupts."""


class Source:
    """One address that objects are fetched from, and what all connections to it share."""

    def __init__(self, address: str, settings: Cremad, tally: Tally) -> None:
        self.address, self.settings, self.tally = address, settings, tally
        self.patience = Patience(settings.stall_s, settings.attempts, settings.pause_s)
        self.stop, self.reached = threading.Event(), False
        self._lock, self._quiet_until, self._failures = threading.Lock(), 0.0, 0

    def bring(self, items: Sequence[Object]) -> Iterator[tuple[Object, NoUse | None]]:
        """Fetch objects, several at a time; each with what was wrong, or None once it lies in its place."""
        for start in range(0, len(items), git_lfs.MOST):
            part = items[start : start + git_lfs.MOST]
            try:
                found = self.addresses(part)
            except NoUse as problem:
                print(f"{self.address}: {problem}", file=sys.stderr, flush=True)
                yield from ((item, problem) for item in items[start:])
                return
            yield from zip(part, self._side_by_side(part, found), strict=True)

    def addresses(self, items: Sequence[Object]) -> Sequence[Address | NoUse]:
        """The objects' addresses: by the pattern, or from the repository's LFS server."""
        if "{path}" in self.address:
            return [Address(self.address.replace("{path}", quote(item.file))) for item in items]
        found = git_lfs.addresses(self.address, items, self.patience, Held(self))
        self.reached = True
        return found

    def _side_by_side(self, items: Sequence[Object], found: Sequence[Address | NoUse]) -> list[NoUse | None]:
        with ThreadPoolExecutor(self.settings.connections) as pool:
            futures = [pool.submit(self._one, item, address) for item, address in zip(items, found, strict=True)]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self.stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [future.result() for future in futures]

    def _one(self, item: Object, address: Address | NoUse) -> NoUse | None:
        folder = Path(self.settings.folder)
        path = folder / item.file
        if isinstance(address, NoUse):
            return address
        if self._failures >= FAILURES:
            return Later(f"asked no more after {FAILURES} failures")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with http.alone(_part(folder, item)) as part:
                http.bring(item, address.url, part, self.patience, Held(self, item), address.headers)
                os.replace(part.name, path)
        except NoUse as problem:
            print(f"{http.shown(address.url)}: {item.file}: {problem}", file=sys.stderr, flush=True)
            with self._lock:
                self._failures += isinstance(problem, Later)
            return problem
        with self._lock:
            self._failures, self.reached = 0, True
        return None

    def hold(self, seconds: float) -> None:
        """Let no connection be made for so long: the server is busy."""
        with self._lock:
            self._quiet_until = max(self._quiet_until, time.monotonic() + seconds)

    def rest(self, seconds: float = 0.0) -> None:
        """Wait so long, and while the server is busy; raises Stopped."""
        until = time.monotonic() + seconds
        while not self.stop.is_set() and (left := max(until, self._quiet_until) - time.monotonic()) > 0:
            self.stop.wait(left)
        if self.stop.is_set():
            raise Stopped


class Held(Course):
    """The course of one object: counted, held back while the server is busy, stopped with the others."""

    def __init__(self, source: Source, item: Object | None = None) -> None:
        self.source, self.item = source, item

    @property
    def reached(self) -> bool:
        return self.source.reached

    def connect(self) -> None:
        self.source.rest()

    def at(self, length: int) -> None:
        if self.source.stop.is_set():
            raise Stopped
        if self.item is not None:
            self.source.tally.at(self.item, length)

    def pause(self, seconds: float, busy: bool) -> None:
        if busy:
            self.source.hold(seconds)
        self.source.rest(seconds)
