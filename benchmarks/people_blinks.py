"""Our blink detector and a threshold on clips of people, against blinks counted by eye: accuracy, not speed.

    python -m benchmarks.people_blinks FOLDER [--counts benchmarks/people_blinks.csv] [--json]

FOLDER has the clips that the counts name, a sub-folder a speaker: 50 clips of seven speakers of GRID (Cooke et al. 2006), which
are not part of this project. The counts are closures seen on strips of both eyes, every frame, before a detector was chosen:
the frame of the deepest closure of each. ``unsure`` marks half closures and eyes that are cast down for half a second;
found or not, they count for nothing. A blink found is right if the frame lies in it, give or take one before. Half of the clips
are kept aside from choices: every second one by name.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import timing
from benchmarks.timing import Goal, Report, Result
from stages import media
from stages.base import params
from stages.base.errors import InputError, run
from stages.faces.geometry import ear
from stages.faces.landmarks import FaceTracker, luma
from stages.mask import fill_gaps
from stages.measures.blinks import Blink, find_blinks, open_ear

GOAL = Goal(least=0.9)
COUNTS = Path(__file__).with_suffix(".csv")
FPS = 25
Detector = Callable[[NDArray[np.float64]], list[Blink]]


@dataclass(frozen=True)
class Counted:
    """The closures of a clip, counted by eye: the frame of the deepest of each."""

    sure: tuple[int, ...]
    unsure: tuple[int, ...]


@dataclass
class Tally:
    """Blinks that both have, that the detector misses, and that it has alone."""

    both: int = 0
    missed: int = 0
    extra: int = 0

    def add(self, found: Sequence[Blink], counted: Counted) -> None:
        """Count one clip."""
        left = list(found)
        for frame in counted.sure:
            near = [blink for blink in left if blink[0] - 1 <= frame <= blink[1]]
            if near:
                left.remove(min(near, key=lambda blink: abs(sum(blink) / 2 - frame)))
                self.both += 1
            else:
                self.missed += 1
        self.extra += sum(not any(a - 2 <= frame <= b + 1 for frame in counted.unsure) for a, b in left)


def by_threshold(
    ear_T: NDArray[np.floating],
    *,
    open_percentile: float,
    close_ratio: float,
    reopen_ratio: float,
    min_frames: int,
    max_frames: int,
) -> list[Blink]:
    """Blinks by a threshold relative to the clip's own open eyes, with hysteresis.

    A blink begins on the first frame below ``close_ratio`` times the open EAR and ends before the first frame at or above
    ``reopen_ratio`` times it, or with the trace. Shorter than ``min_frames`` it is noise, longer than ``max_frames`` the eyes
    are shut or cast down: neither counts. Frames that are not finite count as open.
    """
    trace = np.asarray(ear_T, np.float64)
    finite = trace[np.isfinite(trace)]
    level = open_ear(finite, open_percentile)
    if level <= 0:
        return []
    trace = np.where(np.isfinite(trace), trace, level)
    blinks: list[Blink] = []
    start = None
    for frame, value in enumerate([*trace, np.inf]):
        if start is None and value < close_ratio * level:
            start = frame
        elif start is not None and value >= reopen_ratio * level:
            if min_frames <= frame - start <= max_frames:
                blinks.append((start, frame))
            start = None
    return blinks


def read(counts: Path) -> dict[str, Counted]:
    """The counts by clip, in order of name; a clip without closures has a line without a frame."""
    sure: dict[str, list[int]] = defaultdict(list)
    unsure: dict[str, list[int]] = defaultdict(list)
    with counts.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            frames = sure if line["kind"] != "unsure" else unsure
            frames[line["clip"]] += [int(line["frame"])] if line["frame"] else []
    return {name: Counted(tuple(sure[name]), tuple(unsure[name])) for name in sorted({*sure, *unsure})}


def trace(folder: Path, name: str, settings: params.Mask) -> NDArray[np.float64]:
    """The EAR of a clip, mean of both eyes, as the stages ``mask`` and ``blink`` measure it, (T,)."""
    files = sorted(folder.glob(f"{name}.*"))
    if not files:
        raise InputError(folder / name, "no such clip", "give the folder of the clips that were counted")
    tracker = FaceTracker(settings.detect_every, settings.looks)
    found = tracker.follow(luma(picture) for picture in media.decode(files[0], fps=FPS))
    points, _ = fill_gaps(list(found), settings.max_gap, name)
    return np.asarray(ear(points), np.float64).mean(1)


def results(
    traces: dict[str, NDArray[np.float64]], counted: dict[str, Counted], detectors: dict[str, Detector]
) -> list[Result]:
    """The table's rows: each detector on each half of the clips, and on all."""
    names = sorted(traces)
    halves = {"chosen on": names[::2], "kept aside": names[1::2], "all": names}
    rows = [Result("counted", "blinks counted by eye", float(sum(len(counted[name].sure) for name in names)))]
    for key, detect in detectors.items():
        for half, some in halves.items():
            tally = Tally()
            for name in some:
                tally.add(detect(traces[name]), counted[name])
            goal = GOAL if half != "chosen on" else None
            stem, title = f"{key}_{half.replace(' ', '_')}", f"{key}, {half}"
            rows += [
                Result(f"recall_{stem}", f"{title}: recall", tally.both / max(tally.both + tally.missed, 1), goal),
                Result(f"precision_{stem}", f"{title}: precision", tally.both / max(tally.both + tally.extra, 1), goal),
            ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="clips of people, a sub-folder a speaker")
    parser.add_argument("--counts", type=Path, default=COUNTS, help="CSV: clip, frame, kind (default: %(default)s)")
    parser.add_argument("--params", default="presets/demo.yaml", help="sections mask and blink")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    settings, counted = params.load(args.params), read(args.counts)
    how = settings.blink.model_dump()
    plain = settings.blink.model_dump(exclude={"depth"})
    detectors: dict[str, Detector] = {
        "threshold": lambda ear_T: by_threshold(ear_T, **plain),
        "valleys": lambda ear_T: find_blinks(ear_T, **how),
    }
    traces = {name: trace(args.folder, name, settings.mask) for name in counted}
    frames = sum(map(len, traces.values()))
    machine = {"scale": f"{len(traces)} clips, {frames} frames", "numpy": np.__version__}
    timing.show(Report("people_blinks", machine, results(traces, counted, detectors)), as_json=args.json)


if __name__ == "__main__":
    run(main)
