"""A run that was killed with SIGKILL goes on by the same command, and ends with the same bytes as one that was not."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Project, kill_when

pytestmark = pytest.mark.workflow

WEIGHTS = "data/smoke/models/full/model.safetensors"


def test_a_data_stage(smoke: Project) -> None:
    made = "data/smoke/faces/ada.parquet"
    faces = smoke.root / made
    uninterrupted = faces.read_bytes()
    faces.unlink()
    log = smoke.root / "logs/smoke/mask/ada.log"
    log.unlink()  # it comes back as the job starts
    running = smoke.start("snakemake", "--cores", "1", made)
    kill_when(running, log.exists)
    assert not faces.exists()
    smoke.snakemake(made)
    assert faces.read_bytes() == uninterrupted
    smoke.snakemake()
    assert smoke.changed() == []
    assert smoke.to_do() == {}


def test_training(smoke: Project) -> None:
    smoke.edit("  steps: 4\n  batch: 1", "  steps: 60\n  batch: 1")
    smoke.snakemake(WEIGHTS)
    uninterrupted = [smoke.read(path) for path in outputs()]
    for path in outputs():
        (smoke.root / path).unlink()
    states = smoke.root / "data/smoke/resume/train/full"
    (states / "state.pt").unlink()  # or there would be nothing to train
    running = smoke.start("snakemake", "--cores", "1", WEIGHTS)
    kill_when(running, lambda: any(states.glob("*.pt")))
    assert not Path(smoke.root / WEIGHTS).exists()
    smoke.snakemake(WEIGHTS)
    assert [smoke.read(path) for path in outputs()] == uninterrupted


def test_the_record_in_dvc_lock(smoke: Project) -> None:
    recorded = smoke.read("dvc.lock")
    log, marker = smoke.root / "logs/smoke/dvc_record.log", smoke.root / "logs/dvc_recorded"
    log.unlink()  # it comes back as `dvc commit` starts, which takes seconds
    marker.unlink()
    kill_when(smoke.start("snakemake", "--cores", "1"), log.exists)
    assert not marker.exists()
    smoke.snakemake()
    assert smoke.read("dvc.lock") == recorded
    assert smoke.changed() == []
    assert smoke.to_do() == {}


def outputs() -> list[str]:
    folder = WEIGHTS.rsplit("/", 1)[0]
    return [f"{folder}/{name}" for name in ("model.safetensors", "config.json", "curves.csv")]
