"""The samplers' study: sampler × steps × noise, the quality, smoothness and cost of each cell, and findings in words.

A cell is a method with ``samplers`` among its ``tables``. Cells of the same clips and frames form a group, and numbers are
compared within one only: a Fréchet distance of fewer frames is larger, and short clips have less motion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from stages.base.params import Sample
from stages.pretrained.hifidiff import HifiDiff
from stages.reporting.documents import Score
from stages.reporting.results import Method, Results
from stages.reporting.tables import csv_text, exact
from stages.scoring.catalogue import DASH, kind, plain, with_interval

QUALITY = ("fd_frame", "fd_video", "mouth_r", "ear_r", "psnr_mask", "sync_confidence")
SMOOTHNESS = ("f_mse_ratio", "ofm_ratio", "warp_error")
SCORES = (*QUALITY, *SMOOTHNESS)
SAID = ("fd_frame", "mouth_r", "psnr_mask")  # in sentences and in the figure
TITLES = {"ancestral": "ancestral", "ddim": "DDIM", "dpm_solver++": "DPM-Solver++(2M)"}
COST = (
    "A call is one pass of the network for one frame: one a step, and one more for each condition that is guided. GFLOPs are "
    "counted on the network’s shapes (a multiplication and an addition are two), so that they are the same on every machine; the "
    "seconds that each row took on one machine stand in provenance.md, where make publish wrote it."
)


@dataclass(frozen=True)
class Row:
    """A cell of the study, or the true clips beside them (then without sampling and cost)."""

    method: Method
    sampling: Sample | None
    calls: int | None  # network calls a frame
    gflops: float | None  # of a frame

    @property
    def sampler(self) -> str:
        """Its sampler, and the guided conditions."""
        if self.sampling is None:
            return self.method.entry.title
        scales = {"audio": self.sampling.guidance_audio, "blink": self.sampling.guidance_blink}
        guided = [f"{name} guided ×{scale:g}" for name, scale in scales.items() if scale != 1]
        return ", ".join([TITLES[self.sampling.sampler], *guided])

    @property
    def noise(self) -> str:
        """The shared part of the first noise of a clip's frames."""
        if self.sampling is None:
            return DASH
        return noise(self.sampling)

    @property
    def steps(self) -> int:
        return self.sampling.steps if self.sampling else 0

    @property
    def label(self) -> str:
        return f"{self.sampler}, {self.steps} steps, noise {self.noise}" if self.sampling else self.sampler

    def cells(self) -> list[str]:
        """The row as text, in the order of :func:`headings`."""
        effort = [
            str(self.steps or DASH),
            self.noise,
            str(self.calls or DASH),
            DASH if self.gflops is None else f"{self.gflops:.3g}",
        ]
        return [self.sampler, *effort, *(with_interval(self.method.score(n), kind(n).digits) for n in SCORES)]


@dataclass(frozen=True)
class Group:
    """Cells that may be compared: of the same number of clips and frames."""

    clips: int
    frames: int
    rows: list[Row]  # the truth first

    @property
    def title(self) -> str:
        return f"{self.frames} frames of {self.clips} clips in each row"

    @property
    def cells(self) -> list[Row]:
        """The rows without the truth."""
        return [row for row in self.rows if row.sampling]

    @property
    def truth(self) -> Row | None:
        return next((row for row in self.rows if row.sampling is None), None)


def noise(sampling: Sample) -> str:
    """``shared``, ``interpolated 0.9``, ``independent``, or a mixture."""
    parts = []
    if sampling.shared_noise > 0:
        parts.append("shared" if sampling.shared_noise == 1 else f"shared {sampling.shared_noise:g}")
    if sampling.shared_noise < 1 and sampling.interpolation > 0:
        parts.append(f"interpolated {sampling.interpolation:g}")
    return ", ".join(parts) or "independent"


def calls(sampling: Sample, drop: list[str]) -> int:
    """Network calls that a frame takes."""
    guided = [sampling.guidance_audio != 1, sampling.guidance_blink != 1 and "blink" not in drop]
    return sampling.steps * (1 + sum(guided))


def call_gflops(config: dict[str, Any]) -> float:
    """Billions of floating-point operations of one call for one frame, of the network that ``config.json`` describes."""
    with torch.device("meta"):
        return HifiDiff.from_config(config).forward_flops / 1e9


def parameters(config: dict[str, Any]) -> int:
    """Parameters of the network that ``config.json`` describes."""
    with torch.device("meta"):
        return sum(p.numel() for p in HifiDiff.from_config(config).net.parameters())


def groups(results: Results) -> list[Group]:
    """The study's groups in the order of ``params.yaml``, rows too; true rows without cells are left out."""
    found: dict[tuple[int, int], list[Row]] = {}
    gflops: dict[str, float] = {}
    for name in results.params.shown_in("samplers"):
        method = results.methods[name]
        rows = found.setdefault((method.document["n_clips"], method.document["n_frames"]), [])
        if method.entry.kind == "truth":
            rows.insert(0, Row(method, None, None, None))
            continue
        source = method.entry.weights_of
        if source not in gflops:
            config = results.methods[source].config
            assert config is not None, f"{source} is trained"
            gflops[source] = call_gflops(config)
        sampling = results.params.sampling(name)
        count = calls(sampling, list(method.entry.drop))
        rows.append(Row(method, sampling, count, count * gflops[source]))
    made = [Group(clips, frames, rows) for (clips, frames), rows in found.items()]
    return [group for group in made if group.cells]


def headings() -> list[str]:
    return ["sampler", "steps", "noise", "calls a frame", "GFLOPs a frame", *(kind(name).heading for name in SCORES)]


def to_csv(found: list[Group]) -> str:
    """A line a row with every setting that tells it from the others; each score with its interval and n."""
    settings = ("sampler", "steps", "shared_noise", "interpolation", "guidance_audio", "guidance_blink")
    names = [f"{name}{part}" for name in SCORES for part in ("", "_low", "_high", "_n")]
    lines = [["method", *settings, "clips", "frames", "calls", "gflops", *names, "mlflow_key"]]
    for group in found:
        for row in group.rows:
            own = [str(getattr(row.sampling, name)) if row.sampling else "" for name in settings]
            counts = [exact(x) for x in (group.clips, group.frames, row.calls, row.gflops)]
            scores = [row.method.score(name) for name in SCORES]
            cells = [exact(x) for s in scores for x in ((s.value, s.low, s.high, s.n) if s else (None,) * 4)]
            lines.append([row.method.name, *own, *counts, *cells, row.method.key])
    return csv_text(lines)


def lines(group: Group) -> dict[tuple[str, str], list[Row]]:
    """Cells that differ in their steps alone, by (sampler, noise), fewest steps first."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(group.cells, key=lambda row: row.steps):
        found.setdefault((row.sampler, row.noise), []).append(row)
    return {key: found[key] for key in dict.fromkeys((row.sampler, row.noise) for row in group.cells)}


WORDS = (
    "“Better” and “worse” mean that two intervals lie apart, “no different” that they overlap. All rows of a table are of "
    "the same clips, so that this is cautious."
)


def sentences(group: Group) -> list[str]:
    """The findings of a group's numbers, in plain words and as they are."""
    return [_capital(said) for said in (*_best(group), *_steps(group), *_noise(group), *_guidance(group))]


def _best(group: Group) -> Iterator[str]:
    """The best cell by each score, and how many others can't be told from it."""
    for name in SAID:
        scored = [(row, score) for row in group.cells if (score := row.method.score(name))]
        if len(scored) < 2:
            continue
        row, best = max(scored, key=lambda pair: _sign(name) * pair[1].value)
        same = sum(compared(best, score, name) == SAME for other, score in scored if other is not row)
        yield f"Best {kind(name).title}: {_shown(best, name)}, {row.label}. {_capital(SAME)}: {same} of {len(scored) - 1} others."


def _steps(group: Group) -> Iterator[str]:
    """The effect of more steps: the fewest against the most of each sampler, with the noise that most cells have."""
    for (sampler, noise_), rows in lines(group).items():
        few, many = rows[0], rows[-1]
        parts = [_change(few, many, name) for name in SAID]
        said = [f"{part}, best at {_best_steps(rows, name)}" for part, name in zip(parts, SAID, strict=True) if part]
        if len(rows) > 1 and noise_ == _usual(group) and said:
            yield f"{sampler} from {few.steps} to {many.steps} steps, noise {noise_}: {'; '.join(said)}."


def _noise(group: Group) -> Iterator[str]:
    """Smoothness by the shared part of the noise, over all samplers and steps."""
    kinds = list(dict.fromkeys(row.noise for row in group.cells))
    if len(kinds) < 2:
        return
    for name in ("f_mse_ratio", "warp_error"):
        parts = []
        for noise_ in kinds:
            values = [s.value for row in group.cells if row.noise == noise_ and (s := row.method.score(name))]
            if values:
                ends = dict.fromkeys(plain(value, kind(name).digits) for value in (min(values), max(values)))
                parts.append(f"{' to '.join(ends)} ({noise_})")
        true = group.truth.method.score(name) if group.truth else None
        beside = f"; the true frames have {plain(true.value, kind(name).digits)}" if true else ""
        if parts:
            yield f"{kind(name).title} by noise, over samplers and steps: {', '.join(parts)}{beside}."


def _guidance(group: Group) -> Iterator[str]:
    """A guided cell against the same one without."""
    for row in group.cells:
        assert row.sampling is not None
        unguided = row.sampling.model_copy(update={"guidance_audio": 1.0, "guidance_blink": 1.0})
        base = next((other for other in group.cells if other.sampling == unguided), None)
        if base is None or row.sampling == unguided:
            continue
        said = [part for name in ("mouth_r", "ear_r", "fd_frame") if (part := _change(base, row, name))]
        if said:
            yield f"{row.label}, against the same unguided: {'; '.join(said)}."


def _change(before: Row, after: Row, name: str) -> str:
    """``mouth r 0.74 [0.71, 0.77] → 0.79 [0.76, 0.82] (no different)``; empty where one was not measured."""
    a, b = before.method.score(name), after.method.score(name)
    return f"{kind(name).title} {_shown(a, name)} → {_shown(b, name)} ({compared(a, b, name)})" if a and b else ""


def _shown(score: Score, name: str) -> str:
    return with_interval(score, kind(name).digits)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _usual(group: Group) -> str:
    counts = [row.noise for row in group.cells]
    return max(dict.fromkeys(counts), key=counts.count)


def _best_steps(rows: list[Row], name: str) -> str:
    scored = [(row.steps, score) for row in rows if (score := row.method.score(name))]
    return str(max(scored, key=lambda pair: _sign(name) * pair[1].value)[0])


def _sign(name: str) -> int:
    return -1 if kind(name).better == "↓" else 1


SAME = "no different"


def compared(a: Score, b: Score, name: str) -> str:
    """The result of b against a: ``better`` or ``worse`` if the intervals are apart, else ``no different``."""
    if None in (a.low, a.high, b.low, b.high):
        return SAME
    if b.low > a.high or b.high < a.low:  # type: ignore[operator]
        return "better" if _sign(name) * (b.value - a.value) > 0 else "worse"
    return SAME
