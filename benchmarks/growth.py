"""Snakemake and DVC with the number of shards: seconds and memory where all is to do, and where all is made.

    python -m benchmarks.growth [--shards 91 300 1000] [--corpus folder] [--json]

A copy of this project in a temporary folder has the demo's rows and made-up shards; its outputs are empty files that Snakemake
and DVC take for made. Nothing is rendered or trained. :mod:`benchmarks.many_clips` measures the growth with the number of clips.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import yaml

from benchmarks import timing
from benchmarks.timing import Goal, Report, Result
from stages.base.errors import HifiDiffError, run
from stages.base.params import load
from workflow import copies
from workflow.artifacts import everything
from workflow.dvcsync import ADOPTING, RECORDED, RECORDS

ROOT = Path(__file__).resolve().parents[1]
VIDEOS = 20  # of each speaker in a folder
GOAL_AT = 1000  # shards
SECONDS, MEGABYTES, LINEAR = Goal(most=10), Goal(most=500), Goal(most=1.3)
# In a process of its own, which is small: a child begins with the memory of the process that starts it.
MEASURE = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, used = os.wait4(child.pid, 0)
print(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6)
sys.exit(os.waitstatus_to_exitcode(status))
"""


class CommandError(HifiDiffError):
    """A command of the workflow failed in the made-up project."""


@dataclass(frozen=True)
class Cost:
    """The cost of a command with the processes that it starts."""

    seconds: float  # CPU
    megabytes: float  # of the largest process, at its peak


def cost(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> Cost:
    """Run a command in a folder.

    Raises:
        CommandError: it failed.
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", MEASURE, *command], cwd=folder, env=env, capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        raise CommandError(f"'{' '.join(command)}' failed in {folder}: {done.stderr[-2000:]}")
    seconds, megabytes = map(float, done.stdout.split())
    return Cost(seconds, megabytes)


def project(root: Path, shards: int, corpus: str) -> None:
    """Make a copy of this project whose corpus has so many shards, in a repository of its own."""
    copies.copy_tree(root, "demo")
    settings = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    names = [f"speaker{number:05d}" for number in range(shards)]
    settings["corpus"] |= {"source": corpus, "shards": names}
    settings["index"]["unseen_speakers"] = names[:1]
    (root / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    if corpus == "folder":
        for name in names:
            (root / "videos" / name).mkdir(parents=True)
            for number in range(VIDEOS):
                (root / "videos" / name / f"{number:02d}.mp4").touch()
    copies.commit(root)


def measured(root: Path) -> Iterator[tuple[str, str, Cost]]:
    """Key, meaning and cost of each command, in a project in which nothing is made yet."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "HIFIDIFF_"))}
    env |= {"DVC_NO_ANALYTICS": "1", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"}
    yield "to_do", "`snakemake -n`, everything to do", cost(["snakemake", "--dry-run"], root, env)
    for name in (*everything(load(root / "params.yaml")), RECORDED):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    adopt = ["snakemake", "--touch", "--forceall", "--quiet", "all"]
    yield "adopt", "`snakemake --touch` of everything", cost(adopt, root, env | {ADOPTING: "1"})
    yield "record", "`dvc commit` of everything", cost(["dvc", "commit", "--force", "--quiet"], root, env)
    yield "made", "`snakemake -n`, everything made", cost(["snakemake", "--dry-run"], root, env)
    yield "nothing", "`snakemake` with nothing to do", cost(["snakemake"], root, env)
    yield "status", "`dvc status`", cost(["dvc", "status"], root, env)


def steeper(sizes: Sequence[int], values: Sequence[float]) -> float:
    """A cost's rise for one more between the two largest of three sizes or more, over that between the two smallest.

    1 where the cost is a line, whatever its start; of a square, the sums of the sizes over one another: 3.3 for 91, 300, 1000.
    """

    def rise(first: int, second: int) -> float:
        return (values[second] - values[first]) / (sizes[second] - sizes[first])

    return rise(-2, -1) / rise(0, 1)


def records(root: Path) -> float:
    """Megabytes of Snakemake's records."""
    return sum(path.stat().st_size for path in (root / RECORDS).rglob("*") if path.is_file()) / 1e6


def results(costs: Mapping[int, Mapping[str, tuple[str, Cost]]], sizes: Sequence[int]) -> Iterator[Result]:
    """The lines of the report: each command at each size, and whether it grows as a line where there are three."""
    for key, (meaning, _) in costs[sizes[0]].items():
        held = key in ("to_do", "made", "nothing", "status")
        for size in sizes:
            found, goal = costs[size][key][1], held and size == GOAL_AT
            yield Result(f"{key}_s_{size}", f"{meaning}, {size:,}: CPU s", found.seconds, SECONDS if goal else None)
            yield Result(f"{key}_mb_{size}", "the same: MB", found.megabytes, MEGABYTES if goal else None)
        if len(sizes) > 2:
            seconds = [costs[size][key][1].seconds for size in sizes]
            meaning = "CPU s a shard from the middle size on, over those below it"
            yield Result(f"{key}_steeper", meaning, steeper(sizes, seconds), LINEAR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, nargs="+", default=[91, 300, 1000], help="numbers of shards, rising")
    parser.add_argument(
        "--corpus",
        choices=["rendered", "folder"],
        default="rendered",
        help=f"folder: one of {VIDEOS} empty videos a speaker",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    if sorted(set(args.shards)) != args.shards:
        parser.error(f"--shards {' '.join(map(str, args.shards))}: give numbers that rise")
    costs, sizes_of_records = {}, []
    for size in args.shards:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "project"
            project(root, size, args.corpus)
            costs[size] = {key: (meaning, found) for key, meaning, found in measured(root)}
            sizes_of_records.append(
                Result(f"records_mb_{size}", f"Snakemake's records, {size:,} shards: MB", records(root))
            )
    machine = {"CPU": timing.processor(), "corpus": args.corpus, "python": platform.python_version()}
    machine |= {name: version(name) for name in ("snakemake", "dvc")}
    lines = [*results(costs, args.shards), *sizes_of_records]
    timing.show(Report("growth", machine, lines), as_json=args.json)


if __name__ == "__main__":
    run(main)
