"""The same scores of parts of the test clips: by emotion, level, sentence, speaker and length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from stages.base import params
from stages.scoring.measured import Measured
from stages.scoring.scores import group_scores

THIRDS = ("shortest third", "middle third", "longest third")
BY: dict[str, Callable[[Measured], str]] = {
    "emotion": lambda m: m.emotion,
    "level": lambda m: m.level,
    "sentence": lambda m: m.sentence,
    "speaker": lambda m: m.speaker,
}


def rows(measured: Sequence[Measured], settings: params.Metrics) -> list[dict[str, object]]:
    """The rows of ``<method>.breakdown.parquet``. A grouping that would put all clips into one group is left out.

    Intervals are those of the whole: whole speakers are resampled where a group has five or more, else clips.
    """
    found: list[dict[str, object]] = []
    groupings = {by: [key(m) for m in measured] for by, key in BY.items()} | {"length": lengths(measured)}
    for by, groups in groupings.items():
        names = sorted(set(groups), key=lambda name: THIRDS.index(name) if name in THIRDS else name)
        for group in names if len(names) > 1 else []:
            chosen = [m for m, own in zip(measured, groups, strict=True) if own == group]
            for score, value in group_scores(chosen, settings).items():
                if value.value is not None:
                    parts = {"value": value.value, "low": value.low, "high": value.high, "n": value.n}
                    found.append({"by": by, "group": group or "unknown", "score": score, **parts})
    return found


def lengths(measured: Sequence[Measured]) -> list[str]:
    """The third of the clips, by number of frames, that each is in; clips of one length are in one third."""
    frames = np.array([m.frames for m in measured])
    bounds = np.quantile(frames, [1 / 3, 2 / 3]) if len(frames) else [0, 0]
    return [THIRDS[int((count > bounds).sum())] for count in frames]
