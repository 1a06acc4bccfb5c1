"""Kill the smoke run again and again at random moments, rerun the same command each time, and compare all bytes at the end.

    make torture KILLS=50                    # or python -m benchmarks.torture --kills 50; some 20 CPU minutes
    python -m benchmarks.torture --minutes 8 # ends after eight minutes; the same command goes on from there

A copy of this folder's files, as a fresh clone has them, is run once in peace: the truth. Another is started, and stopped after
so many CPU seconds as a seed draws, whatever else the machine does. After each stop all files that have their final name must be
the truth's, byte for byte, and the same command must go on. Once the run ends, its files must be the truth's, all of them;
``snakemake -n`` and ``dvc status`` must have nothing to do, and no file that was being written may be left over. Then it begins
anew, until there were as many stops as asked for: SIGKILL to the whole process group, and beside ten of these one SIGINT to the
group, as from a terminal, and one SIGTERM, as from a scheduler. Writes ``benchmarks/torture.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import psutil

from stages.base.errors import HifiDiffError, run
from stages.store import atomic
from workflow import copies

ROOT = Path(__file__).resolve().parent.parent
FOLDER, PAGE = ROOT / "benchmarks_out" / "torture", ROOT / "benchmarks" / "torture.md"
COMMAND = ("snakemake", "--cores", "2")
LONGEST = (
    0.12  # between a start and its stop, as a share of the CPU seconds of a whole run: about what the longest job takes
)
STALLED = 3  # stops in a row between which no file was finished, after which the wait may be twice as long
LIMIT_S = 3600  # by the clock, for a run
ENDS_S = 120  # for what was asked to end by itself
SIGNALS = {"SIGKILL": 10, "SIGINT": 1, "SIGTERM": 1}  # how often, in relation to each other
START, RECORD = "Snakemake, no job", "dvc_record"


class Broken(HifiDiffError):
    """A stop that the run did not survive as it should."""


@dataclass(frozen=True)
class Stop:
    """One stop: after so many CPU seconds of a run, by which signal, and the stages whose jobs it met."""

    run: int
    seconds: float
    signal: str
    stages: list[str]
    files: int  # that were finished then, the truth's bytes each


@dataclass
class State:
    """What has been done so far, kept in a file."""

    seed: int
    whole_s: float = 0  # CPU seconds of the truth's run; 0: not made yet
    stops: list[Stop] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)  # files that were compared at the end of each run

    @classmethod
    def read(cls, path: Path, seed: int) -> State:
        """The state of before, where it is of the same seed."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls(seed)
        if found["seed"] != seed:
            raise Broken(f"{path}: of seed {found['seed']}, not {seed}; remove {path.parent} to begin anew")
        return cls(seed, found["whole_s"], [Stop(**stop) for stop in found["stops"]], found["runs"])

    def longest_s(self) -> float:
        """CPU seconds in which the next stop comes."""
        last = [(stop.run, stop.files) for stop in self.stops[-STALLED:]]
        return LONGEST * self.whole_s * (2 if len(last) == STALLED and len(set(last)) == 1 else 1)

    def kills(self) -> int:
        return sum(stop.signal == "SIGKILL" for stop in self.stops)


class Project:
    """A fresh clone with the smoke preset, in which one command is run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "HIFIDIFF_"))}
        self.env |= {"DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}

    def make(self) -> None:
        """Copy the working tree's files, as a fresh clone has them."""
        shutil.rmtree(self.root, ignore_errors=True)
        copies.copy_tree(self.root, "smoke")
        copies.commit(self.root)

    def clone(self, other: Project) -> None:
        """Take another one's files as it began, so that an edit of this folder's meanwhile makes no difference."""
        shutil.rmtree(self.root, ignore_errors=True)
        subprocess.run(["git", "clone", "--quiet", other.root, self.root], check=True)

    def start(self) -> subprocess.Popen[bytes]:
        """The command in a process group of its own."""
        with (self.root / "torture.log").open("wb") as log:
            return subprocess.Popen(
                COMMAND, cwd=self.root, env=self.env, stdout=log, stderr=log, start_new_session=True
            )

    def whole(self) -> None:
        """Run the command in peace."""
        running = self.start()
        try:
            if running.wait():
                raise Broken(f"{self.root}: '{' '.join(COMMAND)}' ended with {running.returncode}: {self.said()}")
        finally:
            kill(running)

    def said(self) -> str:
        """The end of what the command printed."""
        return (self.root / "torture.log").read_text(encoding="utf-8", errors="replace")[-3000:]

    def files(self) -> dict[str, Path]:
        """What rules made, by path: all of the run's data but what trainings resume from, and the report."""
        return {
            file.relative_to(self.root).as_posix(): file
            for top in ("data/smoke", "reports/smoke")
            for file in sorted((self.root / top).rglob("*"))
            if file.is_file() and file.suffix != ".part" and "resume" not in file.relative_to(self.root).parts
        }

    def left_over(self) -> list[str]:
        """Files that were being written."""
        own = (file for top in ("data", "reports", "logs", "workflow") for file in (self.root / top).rglob("*.part"))
        return [file.relative_to(self.root).as_posix() for file in own]

    def printed(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.root, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
        )
        return done.stdout if done.returncode == 0 else f"'{' '.join(command)}' failed: {done.stdout[-3000:]}"


def draws(seed: int, after: int) -> Iterator[tuple[float, str]]:
    """Moments (shares of the longest wait) and signals of the stops, those already made left out: the same ones whether or not
    the command was run in parts.
    """
    names, weights = list(SIGNALS), np.array(list(SIGNALS.values()))
    number = after
    while True:
        rng = np.random.default_rng([seed, number])
        yield rng.uniform(), names[rng.choice(len(names), p=weights / weights.sum())]
        number += 1


def stages_of(running: subprocess.Popen[bytes]) -> list[str]:
    """The stages whose jobs run now."""
    found = set()
    with suppress(psutil.Error):
        for child in psutil.Process(running.pid).children(recursive=True):
            with suppress(psutil.Error):
                command = " ".join(child.cmdline())
                if stage := re.match(r"\S*python\S* -m stages\.(\w+)", command):
                    found.add(stage[1])
                elif " commit --force" in command:
                    found.add(RECORD)
    return sorted(found) or [START]


def cpu_seconds(running: subprocess.Popen[bytes]) -> float:
    """CPU seconds of a process and of all that it started."""
    total = 0.0
    with suppress(psutil.Error):
        process = psutil.Process(running.pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                total += sum(each.cpu_times()[:4])  # its own, and those of its children that have ended
    return total


def kill(running: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the process group."""
    with suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def stop(project: Project, seconds: float, name: str) -> list[str] | None:
    """Start the command and stop it; gives the stages that were met, None where it had ended before.

    Raises:
        Broken: it failed by itself, did not end where asked to, or went on to its own end.
    """
    running = project.start()
    end = time.monotonic() + LIMIT_S
    try:
        while running.poll() is None and cpu_seconds(running) < seconds:
            if time.monotonic() > end:
                raise Broken(f"{project.root}: still runs after {LIMIT_S} s: {project.said()}")
            time.sleep(0.05)
        if running.poll() is not None:
            if running.returncode:
                raise Broken(f"{project.root}: rerun, the command ended with {running.returncode}: {project.said()}")
            return None
        met = stages_of(running)
        os.killpg(running.pid, signal.Signals[name])
        try:
            ended = running.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            raise Broken(f"{project.root}: still runs {ENDS_S} s after {name}") from None
        if not ended and met != [START]:
            raise Broken(f"{project.root}: {name} in {', '.join(met)} was not heard: {project.said()}")
        return met
    finally:
        kill(running)


def compare(project: Project, truth: Project, all_of_them: bool) -> int:
    """Compare what is there with the truth; gives the number of files.

    Raises:
        Broken: naming files that differ, are missing, or that the truth lacks.
    """
    made, expected = project.files(), truth.files()
    wrong = [path for path, file in made.items() if path not in expected or differ(file, expected[path])]
    if wrong:
        raise Broken(f"{project.root}: {', '.join(wrong[:5])}: {len(wrong)} files are not the truth's")
    missing = sorted(expected.keys() - made.keys())
    if all_of_them and missing:
        raise Broken(f"{project.root}: {', '.join(missing[:5])}: {len(missing)} files are missing")
    return len(made)


def differ(one: Path, other: Path) -> bool:
    return one.stat().st_size != other.stat().st_size or one.read_bytes() != other.read_bytes()


def check_end(project: Project, truth: Project) -> int:
    """See that a run that has ended is as one that was never stopped; gives the number of files compared."""
    count = compare(project, truth, all_of_them=True)
    if left := project.left_over():
        raise Broken(f"{project.root}: left over: {', '.join(left[:5])}")
    if "Nothing to be done" not in (said := project.printed("snakemake", "--dry-run")):
        raise Broken(f"{project.root}: 'snakemake -n' has something to do: {said[-3000:]}")
    if "up to date" not in (said := project.printed("dvc", "status")):
        raise Broken(f"{project.root}: 'dvc status' is not clean: {said[-3000:]}")
    return count


def torture(kills: int, seed: int, until: float) -> State:
    """Stop runs until there were so many kills and the last run has ended, or until the monotonic clock says ``until``."""
    truth, project, kept = Project(FOLDER / "truth"), Project(FOLDER / "run"), FOLDER / "state.json"
    state = State.read(kept, seed)
    if not state.whole_s:
        truth.make()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        truth.whole()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        state.whole_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        atomic.write_json(kept, asdict(state))
    moments = draws(seed, len(state.stops))
    while time.monotonic() < until:
        if not project.root.exists():
            if state.kills() >= kills:
                break
            project.clone(truth)
        if state.kills() >= kills:
            project.whole()
            met = None
        else:
            share, name = next(moments)
            seconds = share * state.longest_s()
            met = stop(project, seconds, name)
        if met is None:
            state.runs.append(check_end(project, truth))
            shutil.rmtree(project.root)
        else:
            number = len(state.runs) + 1
            state.stops.append(Stop(number, round(seconds, 1), name, met, compare(project, truth, all_of_them=False)))
            print(
                f"stop {len(state.stops)}, run {number}: {name} after {seconds:.1f} CPU s in {', '.join(met)}",
                flush=True,
            )
        atomic.write_json(kept, asdict(state))
    return state


def page(state: State) -> str:
    """The result as a page."""
    counted = {name: Counter(stage for s in state.stops if s.signal == name for stage in s.stages) for name in SIGNALS}
    total = Counter(s.signal for s in state.stops)
    order = sorted({stage for count in counted.values() for stage in count}, key=lambda s: (s == START, s))
    lines = [
        "# Stops at random moments",
        "",
        f"Written by `python -m benchmarks.torture --kills {total['SIGKILL']} --seed {state.seed}` (`make torture`) on "
        f"{platform.machine()}, Python {platform.python_version()}.",
        "",
        f"The smoke run was stopped {len(state.stops)} times, {total['SIGKILL']} of them by `kill -9` of its whole process "
        "group, and the same command went on each time.",
        f"It ended {len(state.runs)} times meanwhile, each time with the bytes of a run that was never stopped, in all of its "
        f"{min(state.runs)} files; `snakemake -n` and `dvc status` were clean, and no file that was being written was left over.",
        "After each stop, too, every file that was there under its final name had those bytes.",
        "",
        "Stages whose jobs were running at a stop (two cores: often two):",
        "",
        f"| stage | {' | '.join(SIGNALS)} | went on, the same bytes |",
        "| --- | --- | --- | --- | --- |",
    ]
    for stage in order:
        counts = [counted[name][stage] for name in SIGNALS]
        lines.append(f"| {stage} | {' | '.join(map(str, counts))} | {sum(counts)} of {sum(counts)} |")
    counts = [total[name] for name in SIGNALS]
    lines.append(f"| **stops** | {' | '.join(map(str, counts))} | {sum(counts)} of {sum(counts)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="by SIGKILL; the others come on top")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the signals")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after these, to go on another time")
    args = parser.parse_args()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a background job would leave it ignored in what it starts
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the run is not left alone
    state = torture(args.kills, args.seed, time.monotonic() + 60 * args.minutes)
    if state.kills() < args.kills or (FOLDER / "run").exists():
        print(f"{state.kills()} of {args.kills} kills so far; the same command goes on")
        return
    with atomic.whole_file(PAGE) as part:
        part.write_text(page(state), encoding="utf-8")
    shutil.rmtree(FOLDER)
    print(PAGE)


if __name__ == "__main__":
    run(main)
