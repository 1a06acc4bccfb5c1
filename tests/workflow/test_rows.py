"""A method is a row: the system of docs/add-a-method.md, or somebody's videos, added to a run make their own files alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import ROOT, Project

from stages import media
from stages.base.params import load
from stages.scoring import columns
from stages.store import tables, tars

pytestmark = pytest.mark.workflow

SECTION = (ROOT / "docs" / "add-a-method.md").read_text()
MODULE = re.search(r"```python\n(.*?)```", SECTION, re.DOTALL)
ENTRIES = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)


def add(project: Project, entry: str) -> None:
    project.edit("\ntrained:", f"\n{entry}\ntrained:")


def test_the_pages_system_is_one_module_and_one_entry(smoke: Project) -> None:
    assert MODULE is not None
    params = load(smoke.root / "params.yaml")  # before this process finds a kind that it does not have
    size = params.network.size
    (smoke.root / "stages/methods/kinds/linear.py").write_text(MODULE[1])
    add(smoke, ENTRIES[1])
    smoke.edit("baselines: {}", "baselines: {linear: linear}")
    before = smoke.read("data/smoke/models/full/model.safetensors")
    once = dict.fromkeys(("train_baseline", "sample", "features", "metrics", "report", "dvc_record"), 1)
    to_do = smoke.to_do()
    assert {rule: count for rule, count in to_do.items() if rule != "card"} == once
    smoke.snakemake()
    assert smoke.to_do() == {}
    assert smoke.changed() == []
    assert smoke.read("data/smoke/models/full/model.safetensors") == before
    config = json.loads(smoke.read("data/smoke/models/linear/config.json"))
    assert config["parameters"] == (16 * 80 + 1) * 3 * size**2
    listed = tars.listing(smoke.root / "data/smoke/samples/linear.tar", keys=("clip",))
    counted = {clip["frame_flops"] for clip in listed}
    assert counted == {2 * 16 * 80 * 3 * size**2}
    assert (config["steps"], config["images_per_step"]) == (20, 8)
    page = smoke.read("reports/smoke/index.md").decode()
    assert "| Linear |" in page
    assert "It is of no paper." in page

    smoke.edit("{steps: 20, batch: 8", "{steps: 20, batch: 0")
    assert "methods.linear.settings.batch is 0" in smoke.run("snakemake", "-n", fails=True)


def test_videos_from_elsewhere_are_a_row(smoke: Project, tmp_path: Path) -> None:
    add(smoke, ENTRIES[0])
    assert "put the videos there" in smoke.run("snakemake", "-n", fails=True)
    folder = smoke.root / "data/smoke/videos/theirs/deeper"
    folder.mkdir(parents=True)
    lost = {}
    tar = smoke.root / "data/smoke/samples/truth.tar"
    for number, clip in enumerate(tars.listing(tar, keys=("clip",))):
        path = tmp_path / "whole.mp4"
        path.write_bytes(tars.read(tar, f"{clip['clip']}.mp4"))
        frames, lost[clip["clip"]] = media.decode(path, fps=25), number % 3
        kept = frames[: len(frames) - number % 3]
        media.write_video(folder / f"{clip['clip']}.mp4", kept, fps=25, audio=None, sample_rate=16000, crf=10)
    to_do = smoke.to_do()
    assert "train" not in to_do
    assert to_do["sample"] == 1
    smoke.snakemake()
    assert smoke.to_do() == {}
    assert smoke.changed() == []
    listed = tars.listing(smoke.root / "data/smoke/samples/theirs.tar", keys=("clip",))
    assert {clip["clip"]: clip["repeated_at_end"] for clip in listed} == lost
    scores = tables.read(smoke.root / "data/smoke/metrics/theirs.parquet", columns.CLIPS)
    assert len(scores) == len(lost)
    assert f"{sum(lost.values())} repeated at the end" in smoke.read("reports/smoke/index.md").decode()
