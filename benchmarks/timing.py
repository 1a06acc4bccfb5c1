"""Timing that survives a busy machine: the cases take turns, and the ratios within each turn are compared.

On the CPU the clock is the process's CPU time, of one thread unless asked otherwise; on CUDA it is the wall clock between two
synchronisations.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from stages.base import memory

Clock = Callable[[], float]  # seconds from any origin


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Turns:
    """Seconds of each case in each turn; the turns are in the same order in every case."""

    seconds: Mapping[str, Sequence[float]]

    def median(self, case: str) -> float:
        """Seconds of ``case``."""
        return statistics.median(self.seconds[case])

    def ratio(self, slower: str, faster: str, scale: float = 1.0) -> Spread:
        """``scale`` times how often ``faster`` goes into ``slower``, turn by turn: above 1 where ``faster`` deserves its name."""
        pairs = zip(self.seconds[slower], self.seconds[faster], strict=True)
        return Spread.of([scale * a / b for a, b in pairs])

    def fastest(self, cases: Sequence[str]) -> str:
        """The case with the smallest median."""
        return min(cases, key=self.median)


def clock(device: torch.device) -> Clock:
    """The clock that fits a device."""
    if device.type != "cuda":
        return time.process_time

    def synchronised() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return synchronised


def take_turns(cases: Mapping[str, Callable[[], object]], now: Clock, *, turns: int, warmup: int) -> Turns:
    """Time each case ``turns`` times after ``warmup`` untimed calls; every other turn goes through the cases backwards."""
    if turns < 1:
        raise ValueError(f"{turns} turns; allowed: 1 or more")
    for run in cases.values():
        for _ in range(warmup):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(turns):
        for name in list(cases) if turn % 2 == 0 else reversed(list(cases)):
            begun = now()
            cases[name]()
            seconds[name].append(now() - begun)
    return Turns(seconds)


@dataclass(frozen=True)
class Goal:
    """The range that a result is wanted in."""

    least: float = -math.inf
    most: float = math.inf

    def met(self, value: float) -> bool:
        return self.least <= value <= self.most

    def __str__(self) -> str:
        if self.most == math.inf:
            return f"≥ {self.least:g}"
        return f"≤ {self.most:g}" if self.least == -math.inf else f"{self.least:g} to {self.most:g}"


@dataclass(frozen=True)
class Result:
    """One line: a key for machines, what it means for people, and the goal it is held against, if any."""

    key: str
    meaning: str
    value: float | Spread
    goal: Goal | None = None

    @property
    def number(self) -> float:
        return self.value.median if isinstance(self.value, Spread) else self.value

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.goal.met(self.number)


@dataclass(frozen=True)
class Report:
    """The results of a benchmark, as it prints them."""

    benchmark: str
    machine: Mapping[str, str]
    results: Sequence[Result]
    notes: Sequence[str] = ()
    command: str = field(default_factory=lambda: command_line(sys.argv))
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())

    def to_json(self) -> str:
        """Keys: benchmark, date, command, machine, results (key → value, quartiles, goal, met), notes."""
        rows = {}
        for result in self.results:
            row: dict[str, object] = {"value": result.number, "meaning": result.meaning}
            if isinstance(result.value, Spread):
                row["quartiles"] = [result.value.low, result.value.high]
            if result.goal is not None:
                row |= {"goal": str(result.goal), "met": result.met}
            rows[result.key] = row
        head = {"benchmark": self.benchmark, "date": self.date, "command": self.command, "machine": dict(self.machine)}
        return json.dumps({**head, "results": rows, "notes": list(self.notes)}, ensure_ascii=False, indent=1)

    def to_markdown(self) -> str:
        """The same as a table, with the command and the machine above it."""
        lines = [
            f"`{self.command}`, {self.date}",
            "",
            ", ".join(f"{key} {value}" for key, value in self.machine.items()),
        ]
        lines += ["", "| quantity | measured | goal | met |", "| --- | --- | --- | --- |"]
        said = {True: "yes", False: "**no**", None: ""}
        for result in self.results:
            value = figures(result.number)
            if isinstance(result.value, Spread):
                value += f" [{figures(result.value.low)}, {figures(result.value.high)}]"
            lines.append(f"| {result.meaning} | {value} | {result.goal or ''} | {said[result.met]} |")
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)])


def figures(value: float) -> str:
    """A number with three significant figures, or all of those before the point; a tiny one as 1.23e-09."""
    if 0 < abs(value) < 1e-4:
        return f"{value:.2e}"
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{digits}f}"


def command_line(argv: Sequence[str]) -> str:
    """``python -m benchmarks.<name> …`` as it was typed."""
    path = Path(argv[0])
    return shlex.join(["python", "-m", f"{path.parent.name}.{path.stem}", *argv[1:]])


def add_options(parser: argparse.ArgumentParser, *, turns: int) -> None:
    """The options that every benchmark of a network has."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto: cuda where there is one"
    )
    parser.add_argument(
        "--dtype", choices=["auto", "fp32", "bf16"], default="auto", help="bf16 is autocast; auto: bf16 on cuda"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads; more than 1 wait for one another in CPU time"
    )
    parser.add_argument("--turns", type=int, default=turns, help="timed calls of each case")
    parser.add_argument("--warmup", type=int, default=1, help="untimed calls of each case before")


@dataclass(frozen=True)
class Setting:
    """The device of the cases, their precision and their turns."""

    device: torch.device
    bf16: bool
    turns: int
    warmup: int

    @classmethod
    def of(cls, args: argparse.Namespace) -> Setting:
        cuda = torch.cuda.is_available() if args.device == "auto" else args.device == "cuda"
        torch.set_num_threads(args.threads)
        memory.keep_freed()  # this and the next line as the train and sample stages do
        torch.backends.cudnn.benchmark = True
        bf16 = cuda if args.dtype == "auto" else args.dtype == "bf16"
        return cls(torch.device("cuda" if cuda else "cpu"), bf16, args.turns, args.warmup)

    def autocast(self) -> torch.autocast:
        """Both sides of a comparison compute under it; weights stay float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def time(self, cases: Mapping[str, Callable[[], object]]) -> Turns:
        return take_turns(cases, clock(self.device), turns=self.turns, warmup=self.warmup)

    def machine(self) -> dict[str, str]:
        """Device, threads, precision, clock and versions, for the report."""
        cuda = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self.device) if cuda else f"CPU {processor()}",
            "threads": str(torch.get_num_threads()),
            "precision": "bf16 autocast" if self.bf16 else "fp32",
            "clock": "wall" if cuda else "CPU time",
            "turns": str(self.turns),
            "torch": torch.__version__,
            "python": platform.python_version(),
        }


def processor() -> str:
    """The CPU's name, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [
            line.split(":", 1)[1].strip()
            for line in cpuinfo.read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        if cpuinfo.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


def peak_flops(setting: Setting) -> float:
    """FLOP/s of a large matrix product in the precision of the run, the best of several: what the share of a limit is of."""
    n = 8192 if setting.device.type == "cuda" else 1536
    a, b = (torch.randn(n, n, device=setting.device) for _ in range(2))
    if setting.bf16:
        a, b = a.bfloat16(), b.bfloat16()

    def product(repeats: int = 20 if setting.device.type == "cuda" else 1) -> None:
        for _ in range(repeats):
            torch.mm(a, b)

    turns = take_turns({"mm": product}, clock(setting.device), turns=10, warmup=3)
    count = 20 if setting.device.type == "cuda" else 1
    return count * 2 * n**3 / min(turns.seconds["mm"])


def show(report: Report, *, as_json: bool) -> None:
    print(report.to_json() if as_json else report.to_markdown(), flush=True)
