"""The content of the report: scores, traces, curves and the index of a run, read and checked once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages import media
from stages.base import params
from stages.base.errors import HifiDiffError, InputError
from stages.base.params import Params
from stages.clips import corpus
from stages.clips.clip import Clip
from stages.pretrained.hifidiff import WEIGHTS
from stages.reporting import documents
from stages.reporting.documents import Score
from stages.scoring import columns
from stages.store import tables, tars, tracking

SPLITS = ("all", "test_seen", "test_unseen")


@dataclass(frozen=True)
class Method:
    """One method: its entry in ``params.yaml``, its scores, its clips (a row each) and, where trained, its curves."""

    name: str
    entry: params.Method
    document: dict[str, Any]  # metrics/<method>.json
    clips: pd.DataFrame  # metrics/<method>.parquet, indexed by clip
    breakdown: pd.DataFrame  # metrics/<method>.breakdown.parquet
    curves: pd.DataFrame | None  # models/<method>/curves.csv, where it was trained
    config: dict[str, Any] | None  # config.json beside the weights that it is sampled from, where there are some
    key: str  # of its metrics run in MLflow

    def score(self, name: str, split: str = "all") -> Score | None:
        """A score, or None where it was not measured or could not be."""
        return documents.score(self.document, name, split)

    def trace(self, clip: str, column: str) -> NDArray[np.float64]:
        """A per-frame signal of a clip, (T,); NaN where dlib saw no face."""
        return np.asarray(self.clips.loc[clip, column], np.float64)


@dataclass(frozen=True)
class Results:
    """A finished run."""

    params: Params
    data: Path
    index: pd.DataFrame
    methods: dict[str, Method]
    expert: pd.DataFrame  # expert/curves.csv: its accuracy on the validation clips, last row last
    portraits: dict[str, pd.DataFrame]  # portraits/<method>.parquet of those that talk, a row a film

    @property
    def measured(self) -> set[str]:
        """Names of the scores that any method has."""
        return {name for method in self.methods.values() for name in method.document["scores"]}

    def tests(self, split: str) -> list[str]:
        """Names of the test clips of a split, in order."""
        return sorted(self.index.loc[self.index["split"] == split, "clip"])

    def shard(self, clip: str) -> str:
        return str(self.index.set_index("clip").loc[clip, "shard"])

    def sampled(self, method: str, clip: str) -> bytes:
        """The mp4 that a method made of a clip."""
        return tars.read(self.data / "samples" / f"{method}.tar", f"{clip}.mp4")

    def frames(self, method: str, clip: str) -> NDArray[np.uint8]:
        """The frames that a method made of a clip, (T, H, W, 3)."""
        return media.decode(self.sampled(method, clip), fps=self.params.mask.fps)

    def clip(self, clip: str) -> Clip:
        """A clip as the network saw it, as far as every setting was sampled."""
        settings = self.params
        found = corpus.load(
            self.data, self.shard(clip), clip, size=settings.network.size, dilation=settings.mask.dilation
        )
        limits = [settings.sampling(name).frames for name in ("truth", *(m.name for m in self.settings()))]
        return found.head(min((limit for limit in limits if limit is not None), default=None))

    def settings(self) -> list[Method]:
        """The methods that Table 1 or 2 shows, the truth apart: the full model, its ablations, and other systems."""
        return [
            m for m in self.methods.values() if m.entry.kind != "truth" and {"table1", "table2"} & set(m.entry.tables)
        ]

    def apart(self) -> list[Method]:
        """The methods that have a line of their own in the report: all but the cells of the samplers' study."""
        return [m for m in self.methods.values() if set(m.entry.tables) != {"samplers"}]

    def trainings(self) -> list[Method]:
        """The full model and its other trainings: rows that differ from it in the seed of the training alone."""
        full = self.main.entry

        def another(entry: params.Method) -> bool:
            alike = all(
                getattr(entry, name) == getattr(full, name) for name in ("kind", "drop", "audio", "splits", "sample")
            )
            return alike and {section: set(values) for section, values in entry.settings.items()} == {"train": {"seed"}}

        return [m for m in self.methods.values() if m is self.main or another(m.entry)]

    @property
    def main(self) -> Method:
        """The row that the report is about, under any name: the first HifiDiff with all inputs and its own clip's sound;
        where there is none, the first row beside the truth.

        Raises:
            InputError: there is no row beside the truth.
        """
        rows = [m for m in self.methods.values() if m.entry.kind != "truth"]
        whole = (m for m in rows if m.entry.kind == "hifidiff" and not m.entry.drop and m.entry.audio == "own")
        found = next(whole, None) or next(iter(rows), None)
        if found is None:
            raise InputError(Path(params.PARAMS_FILE), "methods has no row beside the truth", "add one")
        return found

    def without(self, condition: str) -> Method | None:
        """The first row of HifiDiff that lacks this condition alone: ``blink`` or ``masked_face``."""
        rows = (m for m in self.methods.values() if m.entry.kind == "hifidiff" and m.entry.audio == "own")
        return next((m for m in rows if m.entry.drop == [condition]), None)

    @property
    def other_audio(self) -> Method | None:
        """The first row that the main one's weights make with another clip's audio."""
        rows = (m for m in self.methods.values() if m.entry.audio == "other")
        return next((m for m in rows if m.entry.made_from == self.main.entry.made_from), None)

    def part(self, method: Method) -> str:
        """The part of a row in the report, which gives it its colour: ``main``, ``no_blink``, … or its own name."""
        parts = {"main": self.main, "no_blink": self.without("blink"), "no_mask": self.without("masked_face")}
        return next(
            (name for name, m in {**parts, "other_audio": self.other_audio}.items() if m is method), method.name
        )

    def long(self) -> list[Method]:
        """The methods that were sampled on long clips."""
        return [self.methods[name] for name in self.params.sampled_on("test_long")]

    def splits(self) -> tuple[str, ...]:
        """The splits of a score: all clips, each test split, and long clips and those held out if a method has some."""
        used = {split for m in self.methods.values() for split in m.entry.splits}
        return (*SPLITS, *(split for split in ("test_long", "held_out") if split in used))


def read(data: Path, settings: Params) -> Results:
    """Read a finished run.

    Raises:
        InputError: a file is missing, or not of the kind that its name promises.
    """
    methods = {}
    for name, entry in settings.methods.items():
        curves = (
            _csv(data / "models" / name / "curves.csv") if name in (*settings.trained, *settings.baselines) else None
        )
        methods[name] = Method(
            name=name,
            entry=entry,
            document=documents.read(data / "metrics" / f"{name}.json"),
            clips=tables.read(data / "metrics" / f"{name}.parquet", columns.CLIPS).to_pandas().set_index("clip"),
            breakdown=tables.read(data / "metrics" / f"{name}.breakdown.parquet", columns.BREAKDOWN).to_pandas(),
            curves=None if curves is None or curves.empty else curves,
            config=_config(data / entry.made_from) if entry.weights_of else None,
            key=tracking.key(data, name, "metrics", params=settings),
        )
    portraits = {
        name: tables.read(data / "portraits" / f"{name}.parquet", columns.PORTRAITS).to_pandas()
        for name in settings.talking
    }
    return Results(settings, data, corpus.index(data), methods, _csv(data / "expert" / "curves.csv"), portraits)


def check_recorded(results: Results) -> str:
    """Compare every score with what MLflow holds under the same key; gives a line with the result.

    Raises:
        HifiDiffError: a recorded score differs from the file's.
    """
    if not tracking.database(results.data).exists():
        return "MLflow: not present; the tables come from metrics/*.json alone"
    absent = []
    for method in results.methods.values():
        recorded = tracking.read(results.data, method.name, "metrics", params=results.params)
        if recorded is None:
            absent.append(method.name)
            continue
        written = tracking.flatten_scores(method.document)
        if written != recorded.metrics:
            path = results.data / "metrics" / f"{method.name}.json"
            raise HifiDiffError(_disagreement(path, written, recorded))
    agreed = len(results.methods) - len(absent)
    missing = f"; no run of this key for {', '.join(absent)}" if absent else ""
    return f"MLflow: {agreed} of {len(results.methods)} methods recorded, every score agrees{missing}"


def _disagreement(path: Path, written: dict[str, float], recorded: tracking.Recorded) -> str:
    names = sorted(written.keys() | recorded.metrics.keys())
    name = next(n for n in names if written.get(n) != recorded.metrics.get(n))
    return (
        f"{path}: {name} is {written.get(name)}, but MLflow's run {recorded.run_id} of the same key {recorded.key} has "
        f"{recorded.metrics.get(name)}; delete the file and run 'snakemake --cores all' to score and record it again"
    )


def _config(folder: Path) -> dict[str, Any] | None:
    """The configuration beside the weights; None beside somebody's program, which has no file of ours."""
    path = folder / "config.json"
    of_others = folder.is_dir() and not path.exists() and not (folder / WEIGHTS).exists()
    return None if of_others else documents.read(path)


def _csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except FileNotFoundError:
        raise InputError(path, "no such file", "run 'snakemake --cores all' to make it") from None
