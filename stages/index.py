"""Stage index: joins the stages of all shards, a row a clip; gives the reason for each clip left out, and fixes the split.

The split, among usable clips:

- ``test_long``: clips of ``index.long_min_s`` seconds or more, of any speaker (0: no such split). They are few and long, so
  ``index.max_test_clips`` does not cap them.
- ``test_unseen``: clips of ``index.unseen_speakers``; ``test_seen``: clips of the other speakers whose sentence is one of
  ``index.test_sentences``, and ``index.test_fraction`` of their other clips, by chance. Each is capped to
  ``index.max_test_clips``, spread evenly over speakers and sentences; clips beyond the cap are ``held_out``, and no stage
  trains on them.
- ``validation``: ``index.validation_fraction`` of the remaining clips, at least one where it is above 0; ``train``: the rest.
- ``out``: clips that can't be used; ``status`` gives the reason.

A clip for which the table of a folder (``corpus.folder.table``) gives a split has that one, uncapped; ``out`` leaves it out.

Where sentences are not known (a folder of one's own), ``test_sentences`` is left empty, and there is no ``test_seen``; or it
may name clips' files without their ending, which a folder's clips carry as their sentence.

    python -m stages.index --data data/demo --out data/demo/index.parquet
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stages.base import params
from stages.base.errors import InputError, run
from stages.store import schemas, tables, tars

Row = dict[str, Any]
COPIED = ("clip", "speaker", "sentence", "emotion", "level", "source", "sha256")
# The rows before they are split, held as a table: as dictionaries a million of them would take some gigabytes.
JOINED = pa.schema([*schemas.INDEX, ("seconds", pa.float64()), ("given", pa.string())]).remove(
    schemas.INDEX.get_field_index("split")
)
DECIDING = ["clip", "speaker", "sentence", "seconds", "status", "given"]


def digest(files: Iterable[Path]) -> str:
    """SHA-256 of some files' own, in their order.

    What reads a shard's files is made again where this table changes, and needs no other input for them.
    """
    whole = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def joined(data: Path, shard: str, min_frames: int) -> list[Row]:
    """The rows of a shard's clips, with their ``seconds`` and without their split.

    ``status`` is the first reason that any stage gave.
    """
    faces = _faces(data / "faces" / f"{shard}.parquet")
    blinks = _by_clip(data / "blink" / f"{shard}.parquet", schemas.BLINK, ["clip", "open_ear", "blink_start"])
    sounds = _by_clip(data / "spectrogram" / f"{shard}.parquet", schemas.SPECTROGRAM, ["clip", "status"])
    rows = []
    parts = defaultdict(list)
    for name, clip in faces.items():
        parts[clip["part_of"]].append(name)
    listing = tars.listing(data / "raw" / f"{shard}.tar")
    # A file without a clip is one of its own name, so that it is missed.
    clips = [(name, file) for file in listing for name in parts.get(file["clip"], [file["clip"]])]
    stages = ("faces", "blink", "spectrogram")
    made_of = digest([data / "raw" / f"{shard}.tar", *(data / stage / f"{shard}.parquet" for stage in stages)])
    for name, clip in clips:
        for stage, found in (("faces", faces), ("blink", blinks), ("spectrogram", sounds)):
            if name not in found:
                path = data / stage / f"{shard}.parquet"
                raise InputError(path, f"has no clip {name}", "delete it and run 'snakemake --cores all'")
        frames, blink = faces[name]["frames"], blinks[name]
        reasons = [clip.get("left_out", "ok"), faces[name]["status"], sounds[name]["status"]]
        if clip.get("split") == "out":
            reasons.insert(0, "corpus.folder.table says out")
        if frames < min_frames:
            reasons.append(f"{frames} frames; index.min_frames is {min_frames}")
        rows.append(
            {column: clip[column] for column in COPIED}
            | {
                "clip": name,
                "shard": shard,
                "shard_sha256": made_of,
                "status": next((reason for reason in reasons if reason != "ok"), "ok"),
                "start_s": faces[name]["first"] / faces[name]["fps"],
                "end_s": faces[name]["after"] / faces[name]["fps"],
                "frames": frames,
                "seconds": frames / faces[name]["fps"],
                "given": clip.get("split", ""),
                "blinks": len(blink["blink_start"]),
                "open_ear": blink["open_ear"],
            }
        )
    return rows


def _by_clip(path: Path, schema: Any, columns: list[str]) -> dict[str, Row]:
    return {row["clip"]: row for row in tables.read(path, schema, columns).to_pylist()}


def _faces(path: Path) -> dict[str, Row]:
    """Status, frames a second, number of frames and place of each clip, its segments added up."""
    clips: dict[str, Row] = {}
    columns = ["clip", "part_of", "first", "after", "status", "fps", "detected"]
    for row in tables.read(path, schemas.FACES, columns).to_pylist():
        clip = clips.setdefault(row["clip"], {**row, "frames": 0})
        clip["frames"] += len(row.pop("detected"))
    return clips


def split(rows: list[Row], settings: params.Index) -> dict[str, str]:
    """Clip → split, of all rows; the same rows and settings give the same split. See the module's head."""
    splits = {row["clip"]: "out" for row in rows}
    usable = [row for row in rows if row["status"] == "ok"]
    told_by_table = {row["clip"]: row["given"] for row in usable if row.get("given")}
    usable = [row for row in usable if row["clip"] not in told_by_table]
    long = {row["clip"] for row in usable if 0 < settings.long_min_s <= row["seconds"]}
    short = [row for row in usable if row["clip"] not in long]
    unseen = [row for row in short if row["speaker"] in settings.unseen_speakers]
    seen = [row for row in short if row["speaker"] not in settings.unseen_speakers]
    told = [row for row in seen if row["sentence"] in settings.test_sentences]
    rest = [row for row in seen if row["sentence"] not in settings.test_sentences]
    chosen = chance(rest, settings.test_fraction, np.random.default_rng([settings.seed, 3]))
    told += [row for row in rest if row["clip"] in chosen]
    rest = [row for row in rest if row["clip"] not in chosen]
    splits |= dict.fromkeys(long, "test_long")
    for name, kind, stream in (("test_unseen", unseen, 0), ("test_seen", told, 1)):
        drawn = draw(kind, settings.max_test_clips, np.random.default_rng([settings.seed, stream]))
        splits |= {row["clip"]: "held_out" for row in kind} | dict.fromkeys(drawn, name)
    count = round(settings.validation_fraction * len(rest))
    if settings.validation_fraction > 0 and len(rest) > 1:
        count = min(max(count, 1), len(rest) - 1)
    drawn = draw(rest, count, np.random.default_rng([settings.seed, 2]))
    return splits | {row["clip"]: "train" for row in rest} | dict.fromkeys(drawn, "validation") | told_by_table


def chance(rows: list[Row], fraction: float, rng: np.random.Generator) -> set[str]:
    """That share of the clips, any of them with equal chance."""
    names = sorted(row["clip"] for row in rows)
    return {names[i] for i in rng.permutation(len(names))[: round(fraction * len(names))]}


def draw(rows: list[Row], count: int, rng: np.random.Generator) -> list[str]:
    """At most ``count`` clips, as evenly over speakers and then over sentences as they come; ties are drawn.

    Each is the clip whose speaker, then whose sentence, was drawn least often so far, the first such one in a drawn order. Heaps
    find it: counts only rise, so that a heap's top whose counts are still true is the least.
    """
    left = sorted(rows, key=lambda row: row["clip"])
    left = [left[i] for i in rng.permutation(len(left))]
    waiting: dict[str, dict[str, deque[int]]] = defaultdict(
        lambda: defaultdict(deque)
    )  # places by speaker and sentence
    for place, row in enumerate(left):
        waiting[row["speaker"]][row["sentence"]].append(place)
    times: Counter[str] = Counter()  # that a sentence was drawn
    own = {
        speaker: [(0, places[0], sentence) for sentence, places in said.items()] for speaker, said in waiting.items()
    }
    for heap in own.values():
        heapq.heapify(heap)
    first = [(0, *heap[0], speaker) for speaker, heap in own.items()]
    heapq.heapify(first)
    drawn: list[str] = []
    while first and len(drawn) < count:
        spoken, *known, speaker = first[0]
        heap = own[speaker]
        while heap[0][0] != times[heap[0][2]]:
            heapq.heapreplace(heap, (times[heap[0][2]], *heap[0][1:]))
        if [*heap[0]] != known:
            heapq.heapreplace(first, (spoken, *heap[0], speaker))
            continue
        _, place, sentence = heap[0]
        drawn.append(left[place]["clip"])
        times[sentence] += 1
        places = waiting[speaker][sentence]
        places.popleft()
        if places:
            heapq.heapreplace(heap, (times[sentence], places[0], sentence))
        else:
            heapq.heappop(heap)
        if heap:
            heapq.heapreplace(first, (spoken + 1, *heap[0], speaker))
        else:
            heapq.heappop(first)
    return drawn


def check(rows: list[Row], settings: params.Index, data: Path) -> None:
    """Raise InputError where a clip's name stands twice, a split that later stages need is empty, or one leaks into another."""
    twice = [name for name, count in Counter(row["clip"] for row in rows).items() if count > 1]
    if twice:
        raise InputError(data / "raw", f"clip {twice[0]} stands in several places", "give every file another name")
    trained = {row["speaker"]: row["clip"] for row in rows if row["split"] in ("train", "validation")}
    for row in rows:
        if row["split"] == "test_unseen" and row["speaker"] in trained:
            problem = (
                f"clip {row['clip']} is test_unseen, but {trained[row['speaker']]} of the same speaker is trained on"
            )
            raise InputError(data, problem, "give all of a speaker's clips test_unseen in corpus.folder.table")
    present = {row["split"] for row in rows}
    reasons = Counter(row["status"] for row in rows if row["status"] != "ok")
    left_out = (
        f" ({sum(reasons.values())} clips left out, most often: {reasons.most_common(1)[0][0]})" if reasons else ""
    )
    needed = {
        "train": "give more clips, or fewer index.unseen_speakers and index.test_sentences",
        "test_unseen": "give these speakers usable clips, or name others in index.unseen_speakers",
        "test_seen": "name sentences in index.test_sentences that the corpus has, or none; or a larger index.test_fraction",
        "test_long": "lower index.long_min_s, set it to 0, or give a clip that long (corpus.rendered.long_s)",
    }
    if not settings.unseen_speakers:
        del needed["test_unseen"]
    if not settings.test_sentences and not settings.test_fraction:
        del needed["test_seen"]
    if not settings.long_min_s:
        del needed["test_long"]
    for name, fix in needed.items():
        if name not in present:
            raise InputError(data, f"no usable clip for the split {name}{left_out}", fix)
    if not present & {"test_seen", "test_unseen"}:
        raise InputError(
            data,
            "no clip to test on",
            "name speakers in index.unseen_speakers or sentences in index.test_sentences, or set index.test_fraction",
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Join the stages' tables, say which clips are left out, and fix the split."
    )
    parser.add_argument("--data", type=Path, required=True, help="the run's folder, data/<run>")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    parser.add_argument(
        "--params", default=params.PARAMS_FILE, help="settings; corpus.shards and section index are used"
    )
    args = parser.parse_args()
    settings = params.load(args.params)
    found = pa.concat_tables(
        pa.Table.from_pylist(joined(args.data, shard, settings.index.min_frames), schema=JOINED)
        for shard in settings.corpus.shards
    )
    rows = found.select(DECIDING).to_pylist()
    splits = split(rows, settings.index)
    for row in rows:
        row["split"] = splits[row["clip"]]
    check(rows, settings.index, args.data)
    drawn = pa.array([row["split"] for row in rows], pa.string())
    tables.write_table(args.out, schemas.INDEX, found.append_column("split", drawn))
    counts = Counter(splits.values())
    print("index: " + ", ".join(f"{name} {counts[name]}" for name in sorted(counts)), flush=True)
    for row in rows:
        if row["status"] != "ok":
            print(f"left out: clip {row['clip']}: {row['status']}", flush=True)


if __name__ == "__main__":
    run(main)
