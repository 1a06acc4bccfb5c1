"""Runs recorded in MLflow: one database beside all data, one experiment a run name, one run a method.

A method's run holds two nested runs, ``training`` (the curve of each loss term, the system's load) and ``metrics``
(scores, a few pictures), which are replaced separately. Each carries a tag ``key``: a digest of the settings that it
depends on, the method, and the index of the data. A rerun with the same key replaces the run, so that nothing stands
twice. ``mlflow ui --backend-store-uri sqlite:///data/mlflow.db`` shows them.

The first writer makes the database. Writers take turns by a file lock (``flock``): SQLite has one writer at a time, and two
processes that create one database at once spoil it. MLflow takes two seconds to import, so that it is imported where it is used.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import math
import os
import platform
import sqlite3
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import pandas as pd

from stages.base.errors import InputError
from stages.base.params import Params
from stages.store import atomic

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

Part = Literal["training", "metrics"]

# The sections of params.yaml that a part depends on, beside the method's own entry; metrics need what training needs.
TRAINING = ("corpus", "mask", "blink", "spectrogram", "index", "expert", "network", "diffusion", "loss", "train")
METRICS = (*TRAINING, "judges", "sample", "metrics")
PACKAGES = ("torch", "numpy", "opencv-python-headless", "dlib-bin", "av", "soxr", "mlflow")
BATCH = 1000  # metrics that MLflow takes in one call
LOG_PARAMS = 100  # parameters, likewise
TIMEOUT_S = 60  # that a writer waits for another


@dataclass(frozen=True)
class Recorded:
    """MLflow's record of one part of a method."""

    key: str
    run_id: str
    metrics: dict[str, float]  # the last value of each
    params: dict[str, str]
    tags: dict[str, str]


def database(data: Path) -> Path:
    """``mlflow.db`` beside ``data/<run>``; within a DVC experiment's own folder it is the project's (``DVC_ROOT``)."""
    folder = data.parent
    root = os.environ.get("DVC_ROOT")
    if root and not folder.is_absolute():
        folder = Path(root) / folder
    return folder.absolute() / "mlflow.db"


def key(data: Path, method: str, part: Part, *, params: Params) -> str:
    """The digest (16 hexadecimal digits) that names a part of a method: its settings, the method and the data's index.

    Raises:
        InputError: the run has no ``index.parquet``.
    """
    index = data / "index.parquet"
    try:
        content = hashlib.sha256(index.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise InputError(index, "no such file", "run 'snakemake --cores all' to make it") from None
    settings = _settings(params, method, part)
    return hashlib.sha256(json.dumps([part, method, settings, content], sort_keys=True).encode()).hexdigest()[:16]


def record_training(
    data: Path,
    method: str,
    *,
    params: Params,
    curves: pd.DataFrame,
    summary: Mapping[str, float],
    system: pd.DataFrame | None = None,
    samples: Sequence[Path] = (),
) -> None:
    """Record a finished training: a metric for each column of ``curves``: ``step``, and one column a loss term.

    ``summary`` holds single numbers, such as seconds and parameters of the network; ``system`` is :class:`Load`'s
    table; ``samples`` are pictures to keep.
    """
    metrics = [*_curve_metrics(curves), *_curve_metrics(system, "system/"), *_metrics(summary)]
    _record(data, method, "training", params, metrics, samples)


def record_scores(
    data: Path, method: str, *, params: Params, scores: Mapping[str, Any], samples: Sequence[Path] = ()
) -> Path:
    """Record a method's scores and write the same to ``data/<run>/metrics/<method>.json``; gives that path.

    ``scores`` is the JSON document: ``{"method", "kind", …, "scores": {name: {split: {value, low, high, n}}}}``.
    The file is written last: where it stands, the scores are recorded.
    """
    _record(data, method, "metrics", params, _metrics(flatten_scores(scores)), samples)
    path = data / "metrics" / f"{method}.json"
    atomic.write_json(path, scores)
    return path


def read(data: Path, method: str, part: Part, *, params: Params) -> Recorded | None:
    """The recorded part with the key of these settings and data; None where there is no database or no such run."""
    if not database(data).exists():
        return None
    with _client(data) as client:
        found = _find(client, _experiment(client, data), key(data, method, part, params=params))
    if not found:
        return None
    tags = {name: value for name, value in found[0].data.tags.items() if not name.startswith("mlflow.")}
    return Recorded(tags["key"], found[0].info.run_id, dict(found[0].data.metrics), dict(found[0].data.params), tags)


def flatten_scores(scores: Mapping[str, Any]) -> dict[str, float]:
    """The numbers below ``scores`` under names such as ``ear_r/all/value``; what is None is left out."""
    return {
        f"{name}/{split}/{part}": float(number)
        for name, splits in scores["scores"].items()
        for split, parts in splits.items()
        for part, number in parts.items()
        if number is not None
    }


class Load:
    """The process's load over time, one row each ``interval_s`` at most; call :meth:`update` in the loop.

    Columns: step, cpu_percent (100 is one core), memory_mb (resident), gpu_memory_mb (0 where no accelerator is used).
    """

    def __init__(self, interval_s: float = 10.0) -> None:
        import psutil

        self._process, self._interval_s, self._last = psutil.Process(), interval_s, time.monotonic()
        self._process.cpu_percent()
        self._rows: list[dict[str, float]] = []

    def update(self, step: int) -> None:
        if (now := time.monotonic()) - self._last < self._interval_s:
            return
        self._last = now
        from stages.base import devices  # brings torch along

        gpu = devices.memory_used()
        memory = self._process.memory_info().rss
        cpu = self._process.cpu_percent()
        self._rows.append({"step": step, "cpu_percent": cpu, "memory_mb": memory / 1e6, "gpu_memory_mb": gpu / 1e6})

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self._rows, columns=["step", "cpu_percent", "memory_mb", "gpu_memory_mb"])


def _settings(params: Params, method: str, part: Part) -> dict[str, Any]:
    """The settings that a part depends on: its sections and the method's entry, less its title and tables."""
    sections = {name: getattr(params, name).model_dump() for name in (TRAINING if part == "training" else METRICS)}
    return {**sections, "method": params.methods[method].model_dump(exclude={"title", "tables"})}


def _record(
    data: Path, method: str, part: Part, params: Params, metrics: Sequence[Metric], samples: Sequence[Path]
) -> None:
    """Make the nested run of a part, then delete those it replaces: killed in between, a rerun tidies up."""
    from mlflow.entities import Param

    own = key(data, method, part, params=params)
    settings = [Param(name, value) for name, value in _flatten(_settings(params, method, part))]
    with _client(data) as client:
        experiment = _experiment(client, data)
        replaced = _find(client, experiment, own)
        parent = _parent(client, experiment, method, key(data, method, "training", params=params))
        tags = {**environment(), "key": own, "method": method, "part": part, "mlflow.parentRunId": parent}
        run_id = client.create_run(experiment, tags=tags, run_name=f"{method} {part}").info.run_id
        for batch in _batches(settings, LOG_PARAMS):
            client.log_batch(run_id, params=batch)
        for batch in _batches(metrics, BATCH):
            client.log_batch(run_id, metrics=batch)
        for path in samples:
            client.log_artifact(run_id, str(path), "samples")
        client.set_terminated(run_id)
        for old in replaced:
            client.delete_run(old.info.run_id)


def _parent(client: MlflowClient, experiment: str, method: str, training_key: str) -> str:
    """The run of the method itself, which holds the nested ones; made where it is missing."""
    own = f"{training_key}-method"
    found = _find(client, experiment, own)
    if found:
        return found[0].info.run_id
    made = client.create_run(experiment, tags={"key": own, "method": method, "part": "method"}, run_name=method)
    client.set_terminated(made.info.run_id)
    return made.info.run_id


def _find(client: MlflowClient, experiment: str, own: str) -> list[Run]:
    return list(client.search_runs([experiment], f"tags.`key` = '{own}'", order_by=["attributes.start_time DESC"]))


def _experiment(client: MlflowClient, data: Path) -> str:
    artifacts = (database(data).parent / "mlflow-artifacts").as_uri()
    found = client.get_experiment_by_name(data.name)
    if found is None:
        return client.create_experiment(data.name, artifact_location=artifacts)
    if found.artifact_location != artifacts:
        _move(database(data), found.artifact_location, artifacts)
    return found.experiment_id


def _move(path: Path, old: str, new: str) -> None:
    """Let the database's artifacts lie below ``new``: MLflow keeps the old address where the project was moved or copied."""
    with closing(sqlite3.connect(path, timeout=TIMEOUT_S)) as base, base:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            base.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
            )


@contextmanager
def _client(data: Path) -> Iterator[MlflowClient]:
    """A client of the database, made where it is missing, that this process has alone."""
    path = database(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # the import sets it back
        yield MlflowClient(tracking_uri=_uri(path))


def _uri(path: Path) -> str:
    """MLflow's address of a database of any name: SQLAlchemy takes what follows a ``?`` for options, and undoes no escapes.

    SQLite undoes those of an address of its own. MLflow makes folders of it, unless the driver is named.
    """
    return f"sqlite+pysqlite:///file:{quote(os.fsencode(path))}?uri=true&timeout={TIMEOUT_S}"


def _curve_metrics(curves: pd.DataFrame | None, prefix: str = "") -> list[Metric]:
    """A point a row and column; values that are missing or not finite are left out."""
    from mlflow.entities import Metric

    if curves is None:
        return []
    now = int(time.time() * 1000)
    return [
        Metric(prefix + str(name), float(value), now, int(step))
        for name in curves.columns.drop("step")
        for step, value in zip(curves["step"], curves[name], strict=True)
        if math.isfinite(value)
    ]


def _metrics(values: Mapping[str, float]) -> list[Metric]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(name, float(value), now, 0) for name, value in values.items()]


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as ``("network.channels", "32")``."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def _batches(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def environment() -> dict[str, str]:
    """Commit (with ``+`` where files differ from it), interpreter, machine and versions, as tags."""
    versions = {f"version.{name}": metadata.version(name) for name in PACKAGES}
    return {"commit": _commit(), "python": platform.python_version(), "platform": platform.platform(), **versions}


def _commit() -> str:
    """The commit that this code is of: unknown where no repository holds it, such as beside somebody else's files in theirs."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        # Git refuses folders that another user owns, since their configuration may call programs; their code runs already.
        command = ["git", "-c", "safe.directory=*", "-C", os.fspath(folder), *arguments]
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "--", Path(__file__).name)
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
