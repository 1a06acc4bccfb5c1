"""Agreement of this run's order of systems with the paper's Table 1: Kendall's τ of each column that has a form here.

The values themselves don't compare: corpus, features and time of training differ. Their order may.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from stages.reporting import paper, tables
from stages.reporting.documents import Score
from stages.reporting.results import Results
from stages.scoring import catalogue

COLUMNS = (0, 1, 4)  # of the paper's: FVD, FID, LSE-C
FEWEST = 4  # systems: of three, one exchange takes τ from 1 to a third
DRAWS, SEED, WIDTH = 2000, 1, 1.96  # of the interval, and half of a 95 % interval in deviations


@dataclass(frozen=True)
class Agreement:
    """One column: Kendall's τ over the systems that both tables have, and the pairs that stand the other way round."""

    column: str  # the paper's heading
    form: str  # this run's
    systems: int
    tau: float
    low: float
    high: float
    exchanged: tuple[tuple[str, str], ...]  # the better one of the paper first

    def sentence(self) -> str:
        """The finding in a line."""
        name, pairs = self.column.rstrip(" ↓↑"), ", ".join(f"{a} and {b}" for a, b in self.exchanged)
        other = f"in the other order here: {pairs}" if pairs else "no pair in another order"
        return (
            f"{name}, here {self.form}: Kendall’s τ {_signed(self.tau)} [{_signed(self.low)}, {_signed(self.high)}] over "
            f"{self.systems} systems; {other}."
        )


def agreements(results: Results) -> list[Agreement]:
    """The columns of Table 1 in which this run and the paper have four systems or more in common, the truth left out."""
    shown = {m.entry.title: m for m in results.methods.values() if "table1" in m.entry.tables}
    printed = {title: values for title, *values in paper.TABLE1 if title in shown and title != "GT"}
    names, found = tables.columns(results), []
    for column in COLUMNS:
        ours = {title: shown[title].score(names[column]) for title in printed}
        both = {
            title: (float(printed[title][column]), score)
            for title, score in ours.items()
            if score is not None and printed[title][column] != "–"
        }
        if len(both) >= FEWEST:
            found.append(_agreement(paper.COLUMNS[column], catalogue.kind(names[column]).heading, both))
    return found


def _agreement(column: str, form: str, both: dict[str, tuple[float, Score]]) -> Agreement:
    theirs = np.array([value for value, _ in both.values()])
    ours = np.array([score.value for _, score in both.values()])
    spread = np.array([_deviation(score) for _, score in both.values()])
    draws = np.random.default_rng(SEED).normal(ours, spread, (DRAWS, len(ours)))
    low, high = np.percentile([kendalltau(theirs, draw).statistic for draw in draws], [2.5, 97.5])
    sign = 1 if "↓" in column else -1
    pairs = [
        pair if sign * (both[pair[0]][0] - both[pair[1]][0]) < 0 else pair[::-1]
        for pair in itertools.combinations(both, 2)
        if (both[pair[0]][0] - both[pair[1]][0]) * (both[pair[0]][1].value - both[pair[1]][1].value) < 0
    ]
    tau = float(kendalltau(theirs, ours).statistic)
    return Agreement(column, form, len(both), tau, float(low), float(high), tuple(pairs))


def _deviation(score: Score) -> float:
    if score.low is None or score.high is None or not math.isfinite(score.high - score.low):
        return 0.0
    return (score.high - score.low) / (2 * WIDTH)


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
