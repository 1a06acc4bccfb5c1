"""Faces that talk: scores of the films that the stage ``portraits`` measured, by input and by seen or unseen speaker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.measures import correlation
from stages.measures.intervals import bootstrap, mean_of
from stages.reporting.documents import Score
from stages.scoring.catalogue import with_interval

if TYPE_CHECKING:
    from stages.reporting.results import Results

Array = NDArray[np.float64]

ROWS = {  # by input and split
    ("still", "test_unseen"): "still of an unseen speaker",
    ("still", "test_seen"): "still of a seen speaker",
    ("video", "test_unseen"): "video of an unseen speaker",
    ("video", "test_seen"): "video of a seen speaker",
}
# The rows that claims are about, a user's input: the first of which there are films.
CLAIMED = (("still", "test_unseen"), ("still", "test_seen"))


@dataclass(frozen=True)
class Column:
    """A score of films: sums over them, and the statistic of the sums."""

    name: str  # of its bound in report.talking
    heading: str
    claim: str
    digits: int
    bound: Literal["least", "most", "either"]  # which side report.talking bounds; either: both, about 0
    sums: Callable[[pd.DataFrame], Array]  # films → (films, K)
    statistic: Callable[[Array], Array] = mean_of


def _lists(name: str) -> Callable[[pd.DataFrame], Array]:
    return lambda films: np.array(films[name].tolist(), np.float64)


def _mean(name: str) -> Callable[[pd.DataFrame], Array]:
    return lambda films: np.stack([films[name].to_numpy(np.float64), np.ones(len(films))], 1)


def _blinks(films: pd.DataFrame) -> Array:
    asked, found, others = (films[f"blinks_{name}"].to_numpy(np.float64) for name in ("asked", "found", "others"))
    return np.stack([found, asked + others], 1)


def late(distances_RS: Array) -> Array:
    """The lag of least distance, frames: the vertex of the parabola through the least and its neighbours, (R, S) → (R,)."""
    values = np.atleast_2d(distances_RS)
    middle, last = values.shape[1] // 2, values.shape[1] - 1
    best = values.argmin(1).clip(1, last - 1)
    before, at, after = (values[np.arange(len(values)), best + step] for step in (-1, 0, 1))
    bend = before - 2 * at + after
    shift = np.where(bend > 0, (before - after) / (2 * np.maximum(bend, 1e-12)), 0.0).clip(-1, 1)
    return np.reshape(best - middle + shift, distances_RS.shape[:-1])


COLUMNS = (
    Column(
        "mouth_r", "mouth r ↑", "follows another speaker’s sound, r", 2, "least", _lists("mouth"), correlation.pearson
    ),
    Column("ear_r", "EAR r ↑", "moves its lids as asked, r", 2, "least", _lists("ear"), correlation.pearson),
    Column("blinks", "blinks as asked ↑", "blinks as asked: found, of those asked for and others", 2, "least", _blinks),
    Column("csim", "csim ↑", "stays the same person, cosine to the still", 3, "least", _mean("csim")),
    Column("pause", "open in pauses ↓", "shuts its mouth in pauses, share of its range", 3, "most", _lists("pause")),
    Column(
        "late", "sound late, frames", "is in step with its sound, frames", 2, "either", _lists("sync_distances"), late
    ),
    Column("apart", "length apart, frames ↓", "is as long as its sound, frames", 2, "most", _mean("length_apart")),
    Column("detected", "face found ↑", "shows a face in each frame, share", 3, "least", _mean("detected")),
)


def _films(results: Results, method: str, row: tuple[str, str]) -> pd.DataFrame:
    films = results.portraits[method]
    given, split = row
    return films[(films["input"] == given) & (films["split"] == split)]


def scores(results: Results, method: str, row: tuple[str, str]) -> dict[str, Score | None]:
    """The scores of a method's films of a row of :data:`ROWS`, by column."""
    films, how = _films(results, method, row), results.params.metrics
    found: dict[str, Score | None] = {}
    for column in COLUMNS:
        score = bootstrap(
            column.sums(films),
            column.statistic,
            speakers=films["speaker"].tolist(),
            resamples=how.bootstrap,
            confidence=how.confidence,
            seed=how.seed,
        )
        found[column.name] = None if score.value is None else Score(score.value, score.low, score.high, score.n)
    return found


def table(results: Results) -> list[list[str]]:
    """A row a method, input and split: the input, number of films, scores with their intervals."""
    rows = []
    for method in results.portraits:
        title = f", {results.methods[method].entry.title}" if len(results.portraits) > 1 else ""
        for row, words in ROWS.items():
            films = len(_films(results, method, row))
            if films:
                found = scores(results, method, row)
                cells = [with_interval(found[column.name], column.digits) for column in COLUMNS]
                rows.append([words + title, str(films), *cells])
    return rows


def whose(results: Results) -> str:
    """Another speaker's sound is what a face says; another clip's where the test has one speaker."""
    tested = results.index[results.index["split"].isin(["test_seen", "test_unseen"])]
    return "another speaker’s" if tested["speaker"].nunique() > 1 else "another clip’s"


def headings() -> list[str]:
    return ["input", "films", *(column.heading for column in COLUMNS)]


def claimed(results: Results) -> Iterator[tuple[str, str, Column, Score | None]]:
    """Of the first method that talks: its name, and of the row that claims are about its words, each column and its score."""
    for method in list(results.portraits)[:1]:
        for row in [row for row in CLAIMED if len(_films(results, method, row))][:1]:
            found = scores(results, method, row)
            for column in COLUMNS:
                yield method, ROWS[row], column, found[column.name]


def pictures(results: Results) -> list[bytes]:
    """JPEGs of some films, frames beside one another: unseen speakers first."""
    found = []
    for method in list(results.portraits)[:1]:
        for row in ROWS:
            found += _films(results, method, row)["picture"].dropna().tolist()
    return found
