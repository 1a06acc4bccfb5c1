"""Training from a pool of a large corpus's clips: what a step draws from, and that memory holds no more."""

from __future__ import annotations

import gc
import os
import weakref

import fake_run
import numpy as np
import pytest
import torch
from conftest import write_clip

from stages.clips import corpus
from stages.clips.pool import PARTS, USES, Pool, PooledWindows
from stages.clips.windows import Windows
from stages.store import schemas, tables
from stages.training import prepared

COUNT, SIZE, WINDOWS = 100, 24, 4


@pytest.fixture
def pool(make_clip):
    """A pool of 24 of 100 clips, of which a step draws 4 windows, and the numbers of the clips in the order they were read."""
    read: list[int] = []

    def load(number: int):
        read.append(number)
        return make_clip(name=f"clip_{number}", frames=12, seed=number)

    return Pool(load, COUNT, size=SIZE, windows=WINDOWS, seed=3), read


def test_a_clip_stays_for_as_many_windows_as_were_meant(pool):
    made, _ = pool
    assert made.steps * WINDOWS * PARTS == pytest.approx(USES * SIZE, rel=0.05)
    assert [made.block(step) for step in (0, made.steps - 1, made.steps)] == [0, 0, 1]


def test_every_clip_comes_once_before_any_comes_again(pool):
    made, _ = pool
    part = SIZE // PARTS
    walked = [number for turn in range(2 * COUNT // part + 1) for number in made.numbers(turn)]
    assert sorted(walked[:COUNT]) == sorted(walked[COUNT : 2 * COUNT]) == list(range(COUNT))
    assert walked[:COUNT] != walked[COUNT : 2 * COUNT]


def test_the_next_block_reads_one_part_and_forgets_one(pool):
    made, read = pool
    first = made.clips(0)
    assert len(first) == len(read) == SIZE
    left, kept = (weakref.ref(clip) for clip in (first[0], first[-1]))
    second = made.clips(1)
    assert second[: -SIZE // PARTS] == first[SIZE // PARTS :]
    assert len(read) == SIZE + SIZE // PARTS
    del first
    gc.collect()
    assert left() is None
    assert kept() is not None


def test_what_a_step_draws_from_depends_on_seed_and_step_alone(pool, make_clip):
    made, _ = pool
    again = Pool(lambda number: make_clip(name=f"clip_{number}", frames=12), COUNT, size=SIZE, windows=WINDOWS, seed=3)
    other = Pool(lambda number: make_clip(name=f"clip_{number}", frames=12), COUNT, size=SIZE, windows=WINDOWS, seed=4)
    for block in range(6):
        made.clips(block)
    late = [clip.name for clip in made.clips(5)]
    assert late == [clip.name for clip in again.clips(5)], "as if it had never stopped"
    assert late != [clip.name for clip in other.clips(5)]
    windows = PooledWindows(made, 5)
    assert windows.at(0) is windows.at(made.steps - 1) is not windows.at(made.steps)


def test_a_corpus_beyond_the_limit_trains_from_a_pool(tmp_path, monkeypatch):
    names = ["ada_s01", "bela_s01", "kira_s01"]
    for name in names:
        write_clip(tmp_path, name, 30, side=64, segment=30)
    row = {"split": "train", "status": "ok", "frames": 30}
    rows = [{**row, "clip": name, "shard": name.split("_")[0]} for name in names]
    tables.write(tmp_path / "index.parquet", schemas.INDEX, rows)
    given = fake_run.settings()
    whole = prepared.training_set(given, tmp_path, ())
    assert [clip.name for clip in whole.windows.at(0).clips] == names
    monkeypatch.setattr(prepared, "WHOLE", 1000)
    monkeypatch.setattr(prepared, "POOLED", corpus.bytes_held(tmp_path, "train"))
    pooled, again = (prepared.training_set(given, tmp_path, ()) for _ in range(2))
    assert isinstance(pooled.windows, PooledWindows)
    assert {clip.name for clip in pooled.windows.at(0).clips} == set(names)
    assert torch.equal(pooled.step(3).x_0, again.step(3).x_0)


def test_the_memory_of_a_split_is_its_share_of_its_shards_tables(tmp_path):
    write_clip(tmp_path, "ada_s01", 30, side=64, segment=30)
    row = {"shard": "ada", "status": "ok", "frames": 30}
    rows = [
        {**row, "clip": "ada_s01", "split": "train"},
        {**row, "clip": "ada_s02", "split": "test_seen", "frames": 90},
    ]
    tables.write(tmp_path / "index.parquet", schemas.INDEX, rows)
    stored = sum(path.stat().st_size for path in corpus.files(tmp_path, ("train",))[1:])
    assert corpus.bytes_held(tmp_path, "train") == stored // 4
    # A million clips: their bytes times their frames are more than 64 bits hold.
    tables.write(tmp_path / "index.parquet", schemas.INDEX, [{**row, "frames": 2**31 - 1} for row in rows])
    os.truncate(tmp_path / "faces" / "ada.parquet", 600 * 10**9)  # sparse
    assert 300 * 10**9 <= corpus.bytes_held(tmp_path, "train") < 301 * 10**9


def test_windows_hold_their_starts_in_order(make_clip):
    """As they were listed one by one, which resumed trainings rely on."""
    clips = [make_clip(frames=frames, seed=frames) for frames in (9, 3, 30)]
    made = Windows(clips, 5)
    starts = [(c, s) for c, clip in enumerate(clips) for s in range(len(clip.frames_THWC) - 4)]
    near = [any(s < end and s + 5 > start for start, end in clips[c].blinks) for c, s in starts]
    assert made.starts.tolist() == [list(place) for place in starts]
    assert np.array_equal(made.blink_starts, made.starts[np.array(near)])
    assert any(near)
