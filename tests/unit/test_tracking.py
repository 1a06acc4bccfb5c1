"""Runs in MLflow: replaced by key and never doubled, written by several processes at once, read back as written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stages.base.errors import InputError
from stages.base.params import Params, load
from stages.store import schemas, tables, tracking

SCORES: dict[str, Any] = {
    "method": "full",
    "kind": "hifidiff",
    "n_clips": 4,
    "scores": {
        "ear_r": {"all": {"value": 0.91, "low": 0.8, "high": 0.95, "n": 4}, "test_seen": {"value": None, "n": 0}}
    },
}
CURVES = pd.DataFrame({"step": [20, 40, 60], "simple": [3.0, 2.0, 1.0], "sync": [0.7, float("nan"), 0.5]})


@pytest.fixture(scope="module")
def params() -> Params:
    return load("presets/demo.yaml")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    folder = tmp_path / "data" / "demo"
    folder.mkdir(parents=True)
    tables.write(folder / "index.parquet", schemas.INDEX, [])
    return folder


def _runs(data: Path) -> list[tuple[str, str]]:
    with tracking._client(data) as client:
        found = client.search_runs([tracking._experiment(client, data)])
    return sorted((run.data.tags["method"], run.data.tags["part"]) for run in found)


def test_a_rerun_replaces_its_own_part_and_no_other(data: Path, params: Params) -> None:
    for last in (1.0, 0.25):
        curves = CURVES.assign(simple=[3.0, 2.0, last])
        tracking.record_training(data, "full", params=params, curves=curves, summary={"seconds": 7.5})
        tracking.record_scores(data, "full", params=params, scores=SCORES)

    assert _runs(data) == [("full", "method"), ("full", "metrics"), ("full", "training")]
    training = tracking.read(data, "full", "training", params=params)
    assert training is not None
    assert training.metrics == {"simple": 0.25, "sync": 0.5, "seconds": 7.5}
    assert training.params["network.channels"] == "32"
    assert len(training.tags["commit"]) >= 7
    with tracking._client(data) as client:
        history = client.get_metric_history(training.run_id, "sync")
        parent = client.get_run(training.run_id).data.tags["mlflow.parentRunId"]
        assert client.get_run(parent).data.tags["part"] == "method"
    assert [(point.step, point.value) for point in history] == [(20, 0.7), (60, 0.5)]


def test_scores_are_written_and_recorded_by_one_call(data: Path, params: Params) -> None:
    picture = data / "frame.png"
    picture.write_bytes(b"png")
    path = tracking.record_scores(data, "full", params=params, scores=SCORES, samples=[picture])

    assert json.loads(path.read_text()) == SCORES
    recorded = tracking.read(data, "full", "metrics", params=params)
    assert recorded is not None
    assert recorded.metrics == tracking.flatten_scores(SCORES) != {}
    assert list((data.parent / "mlflow-artifacts").rglob("samples/frame.png"))


def test_the_key_follows_what_a_part_depends_on(data: Path, params: Params) -> None:
    def keys(**changed: Any) -> tuple[str, str]:
        settings = params.model_copy(update=changed)
        return tuple(tracking.key(data, "full", part, params=settings) for part in ("training", "metrics"))  # type: ignore

    training, metrics = keys()
    assert keys(report=params.report.model_copy(update={"videos": 1})) == (training, metrics)
    only_metrics = keys(metrics=params.metrics.model_copy(update={"bootstrap": 9}))
    assert only_metrics[0] == training
    assert only_metrics[1] != metrics
    both = keys(train=params.train.model_copy(update={"steps": 9}))
    assert both[0] != training
    assert both[1] != metrics
    tables.write(data / "index.parquet", schemas.INDEX, [{"clip": "ada_s01"}])
    assert keys()[0] != training


def test_another_key_is_kept_beside(data: Path, params: Params) -> None:
    longer = params.model_copy(update={"train": params.train.model_copy(update={"steps": 9})})
    for settings in (params, longer):
        tracking.record_training(data, "full", params=settings, curves=CURVES, summary={})
    assert _runs(data).count(("full", "training")) == 2


def test_nothing_recorded_is_none_and_makes_no_database(data: Path, params: Params) -> None:
    assert tracking.read(data, "full", "metrics", params=params) is None
    assert not tracking.database(data).exists()
    tracking.record_training(data, "full", params=params, curves=CURVES, summary={})
    assert tracking.read(data, "full", "metrics", params=params) is None


def test_a_missing_index_names_file_and_fix(tmp_path: Path, params: Params) -> None:
    with pytest.raises(InputError, match=r"index\.parquet: no such file; run 'snakemake"):
        tracking.key(tmp_path, "full", "training", params=params)


def test_an_experiment_of_dvc_records_in_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert tracking.database(Path("data/demo")) == tmp_path / "data" / "mlflow.db"


@pytest.mark.parametrize("name", ["what?", "a {b} é #1 100% &=+", "'quoted\""])
def test_the_database_lies_in_a_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: Params, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data = tmp_path / name / "data" / "demo"
    data.mkdir(parents=True)
    tables.write(data / "index.parquet", schemas.INDEX, [])
    with tracking._client(data) as client:
        tracking._experiment(client, data)
    assert sorted(path.name for path in data.parent.iterdir()) == ["demo", "mlflow.db", "mlflow.lock"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_moved_project_has_its_artifacts_where_it_is(data: Path, tmp_path: Path, params: Params) -> None:
    picture = data / "frame.png"
    picture.write_bytes(b"png")
    tracking.record_training(data, "full", params=params, curves=CURVES, summary={}, samples=[picture])
    moved = tmp_path / "moved 100% é" / "data"
    moved.parent.mkdir()
    data.parent.rename(moved)
    longer = params.model_copy(update={"train": params.train.model_copy(update={"steps": 9})})
    tracking.record_training(
        moved / "demo", "full", params=longer, curves=CURVES, summary={}, samples=[moved / "demo" / "frame.png"]
    )
    assert not data.parent.exists()
    assert len(list((moved / "mlflow-artifacts").rglob("samples/frame.png"))) == 2
    with tracking._client(moved / "demo") as client:
        runs = client.search_runs([tracking._experiment(client, moved / "demo")])
        assert all(run.info.artifact_uri.startswith((moved / "mlflow-artifacts").as_uri() + "/") for run in runs)
        shown = [client.list_artifacts(run.info.run_id) for run in runs if run.data.tags["part"] == "training"]
    assert [[file.path for file in files] for files in shown] == [["samples"], ["samples"]]


def commit_of(project: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(tracking, "__file__", str(project / "stages" / "store" / "tracking.py"))
    return tracking._commit()


def test_the_commit_is_that_of_the_repository_that_holds_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "theirs" / "project"
    (project / "stages" / "store").mkdir(parents=True)
    (project / "stages" / "store" / "tracking.py").touch()
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    assert commit_of(project, monkeypatch) == "unknown"
    for command in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *command], cwd=tmp_path / "theirs", check=True)
    assert commit_of(project, monkeypatch) == "unknown", "of somebody else's repository"
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "ours"]):
        subprocess.run([*git, *command], cwd=project, check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], cwd=project, check=True, capture_output=True, encoding="utf-8")
    assert commit_of(project, monkeypatch) == head.stdout.strip()
    (project / "stages" / "store" / "tracking.py").write_text("# changed", encoding="utf-8")
    assert commit_of(project, monkeypatch) == head.stdout.strip() + "+"
    if os.getuid() == 0:  # who alone can give files away
        for path in [project, *project.rglob("*")]:
            os.chown(path, 12345, 12345)
        assert commit_of(project, monkeypatch) == head.stdout.strip() + "+", "another user's checkout"


WRITER = """
import sys
from pathlib import Path
import pandas as pd
from stages.base.params import load
from stages.store import tracking
data, method = Path(sys.argv[1]), sys.argv[2]
curves = pd.DataFrame({"step": range(300), "simple": 1.0, "sync": 2.0})
tracking.record_training(data, method, params=load("presets/demo.yaml"), curves=curves, summary={})
"""


def test_processes_create_and_write_one_database_at_once(data: Path, params: Params) -> None:
    methods = ("full", "no_mask")
    start: Callable[[str], subprocess.Popen[str]] = lambda method: subprocess.Popen(  # noqa: E731
        [sys.executable, "-c", WRITER, str(data), method], stderr=subprocess.PIPE, text=True
    )
    for process in [start(method) for method in methods]:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    assert _runs(data) == sorted((method, part) for method in methods for part in ("method", "training"))
