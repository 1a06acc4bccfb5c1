"""The prepared check for a GPU, at its small size on the CPU: what it writes, and what it packs."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import gpu_check
from stages.base.errors import InputError
from stages.clips import corpus
from stages.store import schemas, tables


def test_the_check_writes_its_files_and_names_what_failed(smoke_run, tmp_path: Path) -> None:
    """The peer is in no user's install: its parts are named as failed, and all others are made."""
    out = tmp_path / "out"
    said = smoke_run.run(
        "python", "-m", "benchmarks.gpu_check", "--small", "--minutes", "5", "--out", str(out), fails=True
    )  # fmt: skip
    assert "2 parts failed: see speed.md" in said
    assert sorted(path.name for path in out.iterdir()) == [
        "curves.csv", "frames.png", "log.txt", "scores.json", "speed.md", "training.json",
    ]  # fmt: skip
    speed = (out / "speed.md").read_text()
    assert speed.count("the peer, diffusers, can't be imported") == 2
    assert "| quantity | measured | goal | met |" in speed.partition("## Cost of the losses")[2]
    training = json.loads((out / "training.json").read_text())
    assert training["steps"] >= gpu_check.PROBED
    assert training["images_per_second"] > 0
    clips = json.loads((out / "scores.json").read_text())["clips"]
    assert len(clips) == gpu_check.CLIPS
    assert all(15 < scores["3 steps"] < 50 for scores in clips.values())
    with Image.open(out / "frames.png") as picture:
        assert picture.height > 3 * gpu_check.CLIPS * 100


def test_what_is_packed_is_all_that_the_check_reads(smoke_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smoke_run.root)
    data, whole, less = Path("data/smoke"), tmp_path / "whole.tar", tmp_path / "less.tar"
    gpu_check.pack(data, whole)
    size = whole.stat().st_size / 1e6
    gpu_check.pack(data, less, size - 0.05)
    assert less.stat().st_size <= (size - 0.05) * 1e6
    for number, packed in enumerate((whole, less)):
        with tarfile.open(packed) as tar:
            tar.extractall(tmp_path / str(number), filter="data")
    rows = [tables.read(tmp_path / str(n) / data / "index.parquet", schemas.INDEX).to_pylist() for n in (0, 1)]
    assert rows[0] == tables.read(data / "index.parquet", schemas.INDEX).to_pylist()
    assert {row["shard"] for row in rows[1]} < {row["shard"] for row in rows[0]}
    assert [clip.name for clip in gpu_check.shown(tmp_path / "1" / data, 32, 0.12)]
    assert corpus.load_split(tmp_path / "1" / data, ("train",), size=32, dilation=0.12)
    with pytest.raises(InputError, match=r"no training and test clips fit into 0\.1 MB"):
        gpu_check.pack(data, less, 0.1)


def test_a_missing_run_is_named_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"index\.parquet.*make reproduce"):
        gpu_check.needed(tmp_path)
