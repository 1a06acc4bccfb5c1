"""Scores of parts of the test clips as compact tables: by emotion, level, sentence, speaker and length of clip."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from stages.reporting.documents import Score
from stages.reporting.results import Results
from stages.scoring import catalogue

SHOWN = ("mouth_r", "ear_r", "sync_confidence", "lmd_mouth", "csim", "psnr_mask")  # sync by LSE-C where it was measured
TITLES = {"length": "length of clip"}


@dataclass(frozen=True)
class Part:
    """One grouping of the full model's clips."""

    title: str
    rows: list[list[str]]


def headings(results: Results) -> list[str]:
    """The heads of the tables."""
    return ["clips", *(catalogue.kind(name).heading for name in _shown(results))]


def _shown(results: Results) -> list[str]:
    return [catalogue.instead(name, results.measured) for name in SHOWN]


def parts(results: Results) -> list[Part]:
    """A table for each grouping that has more than one group; the first cell is the group with its largest n."""
    table = results.main.breakdown
    return [
        Part(TITLES.get(by, by), _rows(table[table["by"] == by], _shown(results))) for by in dict.fromkeys(table["by"])
    ]


def _rows(part: pd.DataFrame, shown: list[str]) -> list[list[str]]:
    rows = []
    for group in dict.fromkeys(part["group"]):
        own = {str(row["score"]): row for row in part[part["group"] == group].to_dict("records")}
        count = max(int(row["n"]) for row in own.values())
        cells = [catalogue.with_interval(_score(own.get(name)), catalogue.kind(name).digits) for name in shown]
        rows.append([f"{group} ({count} clip{'s' if count != 1 else ''})", *cells])
    return rows


def _score(row: Mapping[Hashable, Any] | None) -> Score | None:
    if row is None:
        return None
    low, high = (None if pd.isna(row[end]) else float(row[end]) for end in ("low", "high"))
    return Score(float(row["value"]), low, high, int(row["n"]))
