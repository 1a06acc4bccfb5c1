"""From measured videos to scores with intervals, for all test clips and for each test split. T frames, E embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.base import params
from stages.measures import drift, frechet, kernel, leak
from stages.measures.blinks import durations
from stages.measures.intervals import NOTHING, Score, bootstrap, bootstrap_median
from stages.scoring.catalogue import METRICS, PUBLIC, Kernel, Statistic, Sums
from stages.scoring.measured import Measured

Array = NDArray[np.float64]
LONG = "test_long"


def clip_scores(m: Measured) -> dict[str, float | None]:
    """The scores that one clip has by itself; None where undefined."""
    values = {name: float(statistic(sums(m))) for name, sums, statistic in _sums([m])}
    values["sync_offset"] = float(m.sync.offset) if m.sync else np.nan
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def all_scores(
    measured: Sequence[Measured], splits: Sequence[str], settings: params.Metrics
) -> dict[str, dict[str, Score]]:
    """Every score over all clips and for each of ``splits``, with its interval."""
    found: dict[str, dict[str, Score]] = {}
    for split in ("all", *splits):
        chosen = [m for m in measured if split in ("all", m.split)]
        scores = group_scores(chosen, settings) | (distance_scores(chosen, settings) if chosen else {})
        for name, score in scores.items():
            found.setdefault(name, {})[split] = score
    return found


def group_scores(chosen: Sequence[Measured], settings: params.Metrics) -> dict[str, Score]:
    """The scores of some clips that add up over clips: all but the Fréchet distances."""
    how = _how(settings)
    speakers = [m.speaker for m in chosen]
    found: dict[str, Score] = {}
    for name, sums, statistic in _sums(chosen):
        rows = [sums(m) for m in chosen]
        found[name] = bootstrap(rows, statistic, speakers=speakers, **how) if rows else NOTHING
    for metric in METRICS:
        if metric.durations:
            lengths = [durations(metric.durations(m), m.fps) for m in chosen]
            found[metric.name] = bootstrap_median(lengths, speakers=speakers, **how)
    return found


def _sums(chosen: Sequence[Measured]) -> list[tuple[str, Sums, Statistic]]:
    """The metrics that are sums over clips; those by networks with public weights where the clips have them."""
    public = chosen[0].public if chosen else {}
    return [(m.name, m.sums, m.statistic) for m in METRICS if m.sums and (m.family != PUBLIC or m.name in public)]


def distance_scores(chosen: Sequence[Measured], settings: params.Metrics) -> dict[str, Score]:
    """The distances in the features that the clips have: Fréchet, plain, at n → ∞ and what the truth differs by from itself; and
    kernel distances."""
    how, found = settings.confidence, {}
    for name, distance in ((m.name, m.distance) for m in METRICS):
        if distance is None or distance.features not in chosen[0].made:
            continue
        made, truth, own = _features(chosen, distance.features)
        if isinstance(distance, Kernel):
            found[name] = kernel.with_interval(made, truth, speakers=own, confidence=how)
            continue
        ddof = distance.ddof
        plain, limit = frechet.with_intervals(made, truth, speakers=own, confidence=how, ddof=ddof)
        found[name], found[f"{name}_extrapolated"] = plain, limit
        found[f"{name}_floor"] = frechet.halves(truth, speakers=own, confidence=how, ddof=ddof)
        found[f"{name}_speakers"] = frechet.between_groups(truth, own, confidence=how, seed=settings.seed, ddof=ddof)
    return found


def _features(chosen: Sequence[Measured], column: str) -> tuple[list[Array], list[Array], list[str]]:
    """Features of videos and of their truth, and the speakers; clips that are too short to have any are left out."""
    usable = [m for m in chosen if len(m.made[column]) and len(m.truth[column])]
    return [m.made[column] for m in usable], [m.truth[column] for m in usable], [m.speaker for m in usable]


def leak_scores(
    measured: Sequence[Measured], splits: Sequence[str], settings: params.Metrics
) -> dict[str, dict[str, Score]]:
    """R² of the mouth's opening read from mask, visible pixels and head's place: fitted on training, scored on test clips."""
    found: dict[str, dict[str, Score]] = {}
    for name in ("leak", "leak_within"):
        opening = [m.leak[name][0] for m in measured]
        if name == "leak_within":
            opening = list(leak.centred(opening))
        rows = [leak.sums(y, m.leak[name][1]) for y, m in zip(opening, measured, strict=True)]
        for split in ("all", *splits):
            chosen = [i for i, m in enumerate(measured) if split in ("all", m.split)]
            speakers = [measured[i].speaker for i in chosen]
            score = (
                bootstrap([rows[i] for i in chosen], leak.r2, speakers=speakers, **_how(settings))
                if chosen
                else NOTHING
            )
            found.setdefault(name.replace("leak", "leak_r2"), {})[split] = score
    return found


def drift_scores(
    measured: Sequence[Measured], splits: Sequence[str], settings: params.Metrics
) -> dict[str, dict[str, Score]]:
    """The last ``drift_s`` seconds of the long clips less the first; empty where none is twice as long as that."""
    how = _how(settings)
    found: dict[str, dict[str, Score]] = {}
    for name, (sums, statistic) in ((m.name, m.drift) for m in METRICS if m.drift):
        cut = [_ends(sums(m), settings.drift_s, m.fps) for m in measured if m.split == LONG]
        score = drift.drift([ends for ends in cut if ends], statistic, **how)
        if score.n:
            found[name] = {split: score if split in ("all", LONG) else NOTHING for split in ("all", *splits)}
    return found


def _ends(sums_TK: Array, seconds: float, fps: float) -> drift.Ends | None:
    """Blocks of a second, or of a fifth of the window where that is shorter."""
    window = round(seconds * fps)
    return drift.ends(sums_TK, window=window, block=max(min(round(fps), window // 5), 1))


def _how(settings: params.Metrics) -> dict[str, Any]:
    return {"resamples": settings.bootstrap, "confidence": settings.confidence, "seed": settings.seed}
