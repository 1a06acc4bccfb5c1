"""Quality against the CPU seconds of training: each system's gain from more time, from a run's scores and Snakemake's benchmarks.

Seconds are not the same twice, so that this stands with the provenance and not in the report.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from stages.base.params import Params
from stages.reporting import drawing
from stages.scoring import catalogue

SCORES = ("fd_frame", "fd_video", "psnr_mask", "mouth_r")
MARKS = ("o", "s", "^", "D")


@dataclass(frozen=True)
class Point:
    """A training: its row, the system that it is of, its CPU seconds and its scores (None where one was not measured)."""

    method: str
    system: str
    seconds: float
    scores: Mapping[str, float | None]


def points(params: Params, seconds: Mapping[str, float]) -> list[Point]:
    """The trainings of whole systems, by system and time; those without a condition are left out, and rows with other audio.

    ``seconds``: of each training.
    """
    found = []
    titles: dict[str, str] = {}
    for name, entry in params.methods.items():
        scores = params.data / "metrics" / f"{name}.json"
        if (
            entry.weights_of != name
            or name not in seconds
            or entry.drop
            or entry.audio == "other"
            or not scores.exists()
        ):
            continue
        title = titles.setdefault(entry.kind, entry.title)
        found.append(Point(name, title, seconds[name], _values(scores, SCORES)))
    order = list(titles.values())
    return sorted(found, key=lambda point: (order.index(point.system), point.seconds))


def several(found: list[Point]) -> bool:
    """True if some system was trained for more than one length of time, half as long again at least."""
    longest: dict[str, float] = {}
    for point in found:
        longest[point.system] = max(longest.get(point.system, 0), point.seconds)
    return any(longest[point.system] > 1.5 * point.seconds for point in found)


def printed(point: Point) -> list[str]:
    """The scores of a training as text, in the order of :data:`SCORES`."""
    values = [(point.scores[name], catalogue.kind(name).digits) for name in SCORES]
    return [catalogue.DASH if value is None else catalogue.plain(value, digits) for value, digits in values]


def floors(params: Params) -> dict[str, float | None]:
    """The difference of the truth's two halves, for the scores that have such a floor."""
    found = _values(params.data / "metrics" / "full.json", [f"{name}_floor" for name in SCORES])
    return dict(zip(SCORES, found.values(), strict=True))


def _values(path: Path, names: Sequence[str]) -> dict[str, float | None]:
    """Scores of all test clips from a file of ``metrics``."""
    scores = json.loads(path.read_text(encoding="utf-8"))["scores"]
    return {name: scores.get(name, {}).get("all", {}).get("value") for name in names}


def drawn(found: list[Point], truth: Mapping[str, float | None], path: Path) -> None:
    """A panel a score, a line a system; ``truth`` is a line across, where a score has one."""
    systems = list(dict.fromkeys(point.system for point in found))
    hues = [drawing.colour("main"), *drawing.SPARE]
    with drawing.style():
        figure = Figure(figsize=(7.4, 5.4), layout="constrained")
        for axis, name in zip(figure.subplots(2, 2, sharex=True).ravel(), SCORES, strict=True):
            for number, system in enumerate(systems):
                line = [(p.seconds, y) for p in found if p.system == system and (y := p.scores[name]) is not None]
                if line:
                    axis.plot(*zip(*line, strict=True), marker=MARKS[number % len(MARKS)], color=hues[number % len(hues)],
                              lw=1.2, ms=4.2, label=system)  # fmt: skip
            if (level := truth.get(name)) is not None:
                axis.axhline(level, color=drawing.colour("truth"), lw=0.9, ls="--")
            axis.set_xscale("log")
            if name.startswith("fd"):
                axis.set_yscale("log")
            axis.set_title(catalogue.kind(name).heading)
        figure.supxlabel("CPU seconds of training; dashed: the truth’s two halves", fontsize=8.5)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(systems))
        drawing.save(figure, path)
