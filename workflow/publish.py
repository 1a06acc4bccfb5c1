"""The place and time of a run: ``logs/<run>/provenance.json`` at its end, and ``reports/<run>/provenance.md`` from it.

None of this is the same twice, so that it stands beside the report, owned by no stage::

    make publish
"""

from __future__ import annotations

import csv
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any, get_args

import psutil

from stages.base.errors import run
from stages.base.params import Params, load
from stages.scoring import catalogue
from stages.store import atomic, tracking
from workflow import quality
from workflow.artifacts import artifacts
from workflow.registry import STAGES

QUALITY = "quality"


def logs(params: Params) -> Path:
    """The folder of a run's logs, with Snakemake's times of each job in ``benchmarks``."""
    return Path("logs", params.run)


def collect(params: Params) -> dict[str, Any]:
    """Commit, machine, versions, and the time that each rule took in all its jobs (seconds, the sum and the longest)."""
    benchmarks = logs(params) / "benchmarks"
    return {
        "run": params.run,
        "finished": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "environment": tracking.environment(),
        "hardware": hardware(),
        "rules": rule_times(benchmarks, params),
        "training": training_times(benchmarks, params),
        "sampling": sampling_times(benchmarks, params),
    }


def hardware() -> dict[str, str]:
    """Processor, cores, memory, and GPUs where there are some."""
    found = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    }
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, encoding="utf-8", check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return found
    return found | {"gpus": "; ".join(listed.splitlines())}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def rule_times(folder: Path, params: Params) -> dict[str, dict[str, float]]:
    """Jobs and seconds of each rule, from Snakemake's benchmark files ``<rule>.tsv`` and ``<rule>/<wildcard>.tsv``.

    Those of speakers and methods that ``params.yaml`` no longer names are left out.
    """
    own = {stage.name: set(stage.jobs(params)) for stage in STAGES if stage.each}
    times: dict[str, list[float]] = {}
    for path in sorted(folder.rglob("*.tsv")):
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
        if rule in own and path.stem not in own[rule]:
            continue
        times.setdefault(rule, []).extend(_column(path, "s"))
    return {rule: {"jobs": len(s), "seconds": sum(s), "longest": max(s)} for rule, s in times.items() if s}


def training_times(folder: Path, params: Params) -> dict[str, float]:
    """CPU seconds of each training's job, its start included; rows are compared at equal ones."""
    times = {}
    for rule, methods in (("train", params.trained), ("train_baseline", params.baselines)):
        for path in (folder / rule / f"{method}.tsv" for method in methods):
            if path.exists():
                times[path.stem] = _column(path, "cpu_time")[-1]
    return times


def sampling_times(folder: Path, params: Params) -> dict[str, dict[str, float]]:
    """Frames and seconds of the job of each method that makes frames; its start and the writing of its videos are in them."""
    times = {}
    for method, entry in params.methods.items():
        benchmark, scores = folder / "sample" / f"{method}.tsv", params.data / "metrics" / f"{method}.json"
        if not entry.is_sampled or not benchmark.exists() or not scores.exists():
            continue
        times[method] = {
            "frames": json.loads(scores.read_text(encoding="utf-8"))["n_frames"],
            "seconds": _column(benchmark, "s")[-1],
        }
    return times


def _column(path: Path, name: str) -> list[float]:
    """A column of one of Snakemake's benchmark files, a value a run of the job."""
    with open(path, newline="", encoding="utf-8") as file:
        return [float(row[name]) for row in csv.DictReader(file, delimiter="\t")]


def run_ids(params: Params) -> dict[str, dict[str, str]]:
    """MLflow's ids of each method's nested runs."""
    found: dict[str, dict[str, str]] = {}
    for method in params.methods:
        for part in get_args(tracking.Part):
            recorded = tracking.read(params.data, method, part, params=params)
            if recorded is not None:
                found.setdefault(method, {})[part] = recorded.run_id
    return found


def record(params: Params) -> None:
    """Write ``logs/<run>/provenance.json``, where the run is whole."""
    if all(Path(path).exists() for path in artifacts(params)["report"]):
        atomic.write_json(logs(params) / "provenance.json", collect(params))


def page(found: dict[str, Any], ids: dict[str, dict[str, str]], trainings: list[quality.Point]) -> str:
    """``provenance.md``; ``trainings`` of different length, where there are some."""
    lines = [f"# Provenance of the run `{found['run']}`", "", f"Finished {found['finished']}.", ""]
    lines += _table(("", ""), [*found["environment"].items(), *found["hardware"].items()])
    lines += [
        "",
        "A `+` after the commit: tracked files differed from it, such as the report and dvc.lock that the run itself wrote.",
    ]
    lines += ["", "## Time", ""]
    rules = sorted(found["rules"].items(), key=lambda item: -item[1]["seconds"])
    rows = [(rule, t["jobs"], f"{t['seconds']:.1f}", f"{t['longest']:.1f}") for rule, t in rules]
    lines += _table(("rule", "jobs", "seconds in all", "longest job, seconds"), rows)
    if found["training"]:
        lines += ["", "## Training", "", "CPU seconds of each training's job, its start included.", ""]
        trained = [(method, f"{seconds:.0f}") for method, seconds in found["training"].items()]
        lines += _table(("method", "CPU seconds"), trained)
    if trainings:
        lines += ["", "## Quality against time", "", f"![Scores against CPU seconds]({QUALITY}.png)", ""]
        heads = ("system", "method", "CPU seconds", *(catalogue.kind(name).heading for name in quality.SCORES))
        lines += _table(heads, [[p.system, p.method, f"{p.seconds:.0f}", *quality.printed(p)] for p in trainings])
    lines += [
        "",
        "## Sampling",
        "",
        "One job a method: its start and the writing of its videos are in the seconds.",
        "",
    ]
    jobs = [
        (method, t["frames"], f"{t['seconds']:.1f}", f"{t['frames'] / t['seconds']:.1f}")
        for method, t in found["sampling"].items()
    ]
    lines += _table(("method", "frames", "seconds", "frames a second"), jobs)
    lines += ["", "## MLflow runs", ""]
    runs = [(method, part, f"`{run_id}`") for method, parts in ids.items() for part, run_id in parts.items()]
    lines += _table(("method", "part", "run"), runs) if runs else ["MLflow: not present"]
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, ...], rows: list[Any]) -> list[str]:
    return [f"| {' | '.join(map(str, row))} |" for row in (head, ("---",) * len(head), *rows)]


def main() -> None:
    params = load()
    made = logs(params) / "provenance.json"
    found = json.loads(made.read_text(encoding="utf-8")) if made.exists() else collect(params)
    trainings = quality.points(params, found["training"])
    if quality.several(trainings):
        quality.drawn(trainings, quality.floors(params), params.reports / f"{QUALITY}.png")
    else:
        trainings = []
    path = params.reports / "provenance.md"
    with atomic.whole_file(path) as part:
        part.write_text(page(found, run_ids(params), trainings), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    run(main)
