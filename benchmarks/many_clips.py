"""The stages' memory with the number of clips, on made-up tables: the index, what is read of it, and the training's loader.

    python -m benchmarks.many_clips [--clips 1000 10000 100000] [--json]

Each measurement is a process of its own. For the index the clips have no pictures, landmarks or sound, of which the stage reads
none. For the loader all shards are links to one, of real size: clips of fifty frames.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

from benchmarks import loader as pictures
from benchmarks import timing
from benchmarks.growth import ROOT, Cost, cost, steeper
from benchmarks.timing import Goal, Report, Result
from stages.base import params, presets
from stages.base.errors import run
from stages.clips import corpus
from stages.faces.geometry import ear
from stages.reference import SPLITS
from stages.store import schemas, tars
from stages.training import loader, prepared

CLIPS_A_SHARD, FRAMES = 250, 50
LINKED = 100  # clips of the shard that the loader's shards are links to
STEPS = 12  # batches that are timed of a pool's clips
GIGABYTES, RATE = Goal(most=4), Goal(least=0.9)
EMPTY = {pa.string(): "", pa.binary(): b"", pa.int32(): 0, pa.float32(): 0.0, pa.float64(): 0.0}


def rows(schema: pa.Schema, count: int, **columns: Any) -> pa.Table:
    """A table of so many rows: a column is the list or the value that is given for it, else it is empty."""
    values = {field.name: columns.get(field.name, EMPTY.get(field.type, [])) for field in schema}
    lists = {name: value if name in ("clip", "part_of") else [value] * count for name, value in values.items()}
    return pa.table(lists, schema=schema)


def settings(folder: Path, shards: list[str]) -> params.Params:
    """The demo's settings with these shards and pictures of the paper's size, in ``params.yaml`` of a folder."""
    given = yaml.safe_load(presets.whole(ROOT / "presets" / "demo.yaml"))
    given["corpus"]["shards"], given["index"]["unseen_speakers"] = shards, shards[:1]
    given["network"]["size"] = pictures.SIZE
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    return params.load(path)


def bare(folder: Path, clips: int) -> None:
    """The data stages' tables with what the stage ``index`` reads of them."""
    shards = [f"s{number:05d}" for number in range(-(-clips // CLIPS_A_SHARD))]
    settings(folder, shards)
    data = folder / "data"
    for shard in shards:
        names = [f"{shard}_{number:03d}" for number in range(min(clips, CLIPS_A_SHARD))]
        count = len(names)
        entry = {"speaker": shard, "emotion": "neutral", "level": "", "source": "made up", "sha256": "0" * 64}
        listing = [
            {**entry, "clip": name, "file": f"{name}.mp4", "sentence": f"s{number % 12:02d}"}
            for number, name in enumerate(names)
        ]
        tars.write(data / "raw" / f"{shard}.tar", [(tars.CLIPS, tars.json_bytes(listing))])
        own = {"clip": names, "part_of": names, "status": "ok", "fps": 25.0, "after": FRAMES}
        found = {
            "faces": rows(schemas.FACES, count, **own, detected=[True] * FRAMES),
            "blink": rows(schemas.BLINK, count, clip=names, open_ear=0.3),
            "spectrogram": rows(schemas.SPECTROGRAM, count, clip=names, status="ok"),
        }
        for stage, table in found.items():
            (data / stage).mkdir(parents=True, exist_ok=True)
            pq.write_table(table, data / stage / f"{shard}.parquet", compression="none")


def linked(folder: Path, clips: int) -> None:
    """A corpus of training clips whose shards are one file each, many times, and its index."""
    rng, data = np.random.default_rng(0), folder / "data"
    names = [f"clip{number:03d}" for number in range(LINKED)]
    made = pictures.made_up_clip(0, frames=FRAMES)
    jpegs = [jpeg.tobytes() for jpeg in pictures.jpegs_of([made], FRAMES)]
    points = pictures.landmarks(FRAMES, pictures.SIZE, rng)
    both = ear(points).astype(np.float32)
    own = {"clip": names, "part_of": names, "status": "ok", "fps": 25.0, "after": FRAMES}
    mel, audio = made.mel_SM.ravel().tolist(), made.audio.tobytes()
    found = {
        "faces": rows(schemas.FACES, LINKED, **own, frames=jpegs, landmarks=points.ravel().tolist()),
        "blink": rows(
            schemas.BLINK,
            LINKED,
            clip=names,
            ear_left=both[:, 0].tolist(),
            ear_right=both[:, 1].tolist(),
            speaker_open=0.3,
            speaker_shut=0.1,
            blink_start=[10],
            blink_end=[14],
        ),
        "spectrogram": rows(schemas.SPECTROGRAM, LINKED, clip=names, status="ok", mel=mel, audio=audio),
    }
    shards = [f"s{number:05d}" for number in range(-(-clips // LINKED))]
    settings(folder, shards)
    for stage, table in found.items():
        (data / stage).mkdir(parents=True)
        first = data / stage / f"{shards[0]}.parquet"
        pq.write_table(table, first, compression="none", row_group_size=1)
        for shard in shards[1:]:
            os.link(first, data / stage / f"{shard}.parquet")
    index = pa.concat_tables(
        rows(schemas.INDEX, LINKED, clip=names, shard=shard, split="train", status="ok", frames=FRAMES)
        for shard in shards
    )
    pq.write_table(index, data / "index.parquet")


def read_tests(folder: Path) -> None:
    """Read of the index what the stages ``reference`` and ``features`` do."""
    given = params.load(folder / "params.yaml")
    corpus.index(folder / "data", SPLITS)
    size, dilation = given.network.size, given.mask.dilation
    corpus.each(folder / "data", ("train",), size=size, dilation=dilation, most=corpus.MANY)


def read_training(folder: Path) -> None:
    """Make batches as the training does, and write the images a CPU second, the reading of new clips included."""
    torch.set_num_threads(1)
    given = params.load(folder / "params.yaml")
    data = prepared.training_set(given, folder / "data", ())
    shares = loader.shares(data.batch + data.singles, 0, 1, 1)
    batches = loader.batches(data, shares, first=0, steps=10**9, workers=0, device=torch.device("cpu"))
    next(batches)
    begun = time.process_time()
    for _ in range(STEPS):
        next(batches)
    seconds = (time.process_time() - begun) / STEPS
    pool = getattr(data.windows, "pool", None)
    if pool is not None:
        begun = time.process_time()
        pool.clips(1)  # one part of it is read anew
        seconds += (time.process_time() - begun) / pool.steps
    (folder / "rate.json").write_text(json.dumps(data.images / seconds), encoding="utf-8")


TASKS = {"tests": read_tests, "training": read_training}


def measured(clips: int) -> Iterator[tuple[str, Cost, float | None]]:
    """Key, cost and, of the training, images a CPU second."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare(folder, clips)
        index = ["-m", "stages.index", "--data", "data", "--out", "data/index.parquet"]
        yield "index", cost([sys.executable, *index], folder, env), None
        yield "tests", cost([sys.executable, "-m", "benchmarks.many_clips", "--task", "tests"], folder, env), None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        linked(folder, clips)
        found = cost([sys.executable, "-m", "benchmarks.many_clips", "--task", "training"], folder, env)
        yield "training", found, json.loads((folder / "rate.json").read_text(encoding="utf-8"))


MEANINGS = {
    "index": "stage `index`",
    "tests": "`reference` and `features`: reading the index",
    "training": "the training's loader",
}


def results(sizes: list[int], found: dict[int, dict[str, tuple[Cost, float | None]]]) -> Iterator[Result]:
    """The lines of the report."""
    for key, meaning in MEANINGS.items():
        for size in sizes:
            spent, _ = found[size][key]
            gigabytes = spent.megabytes / 1000
            yield Result(f"{key}_gb_{size}", f"{meaning}, {size:,} clips: GB", gigabytes, GIGABYTES)
            yield Result(f"{key}_s_{size}", "the same: CPU s", spent.seconds)
        if len(sizes) > 2:
            grown = steeper(sizes, [found[size][key][0].megabytes for size in sizes])
            yield Result(f"{key}_steeper", "bytes a clip from the middle size on, over those below it", grown)
    first = found[sizes[0]]["training"][1]
    for size in sizes:
        rate = found[size]["training"][1]
        assert rate is not None
        assert first is not None
        yield Result(f"rate_{size}", f"{MEANINGS['training']}, {size:,} clips: images a CPU s", rate)
        yield Result(f"rate_ratio_{size}", f"the same over that of {sizes[0]:,}", rate / first, RATE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, nargs="+", default=[1000, 10000, 100000], help="numbers of clips, rising")
    parser.add_argument("--task", choices=TASKS, help="one measurement, in the folder that has its tables")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    if args.task:
        TASKS[args.task](Path())
        return
    found = {size: {key: (spent, rate) for key, spent, rate in measured(size)} for size in args.clips}
    machine = {"CPU": timing.processor(), "clips": f"made up, {FRAMES} frames", "python": platform.python_version()}
    machine |= {"pyarrow": pa.__version__}
    timing.show(Report("many_clips", machine, list(results(args.clips, found))), as_json=args.json)


if __name__ == "__main__":
    run(main)
