"""Documents of scores, ``metrics/<method>.json``: read and checked; and the titles of the test splits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.base.errors import InputError

SPLIT_TITLES = {
    "all": "all test clips",
    "test_seen": "seen speakers",
    "test_unseen": "unseen speakers",
    "test_long": "long clips",
    "held_out": "clips held out",
}


@dataclass(frozen=True)
class Score:
    """A score with its confidence interval over n clips (n as the metrics stage counts)."""

    value: float
    low: float | None
    high: float | None
    n: int


def score(document: dict[str, Any], name: str, split: str = "all") -> Score | None:
    """A score of a document, or None where it was not measured or could not be."""
    found = document["scores"].get(name, {}).get(split)
    if not found or found.get("value") is None:
        return None
    return Score(found["value"], found.get("low"), found.get("high"), int(found.get("n", 0)))


def read(path: Path) -> dict[str, Any]:
    """A JSON file of the run.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(path, "no such file", "run 'snakemake --cores all' to make it") from None
    except json.JSONDecodeError as error:
        raise InputError(path, f"not JSON ({error})", "delete it and run 'snakemake --cores all'") from None
