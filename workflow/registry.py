"""The stages of the pipeline, in the order they run: the jobs of each, and the files that these write. Nothing else lists them.

A new stage is a line here, a rule in ``workflow/rules/``, an entry in ``dvc.yaml`` and its own command ``stages/<name>.py``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from stages.base.params import Params
from stages.reporting.files import files

JUDGES = ("sync", "frame", "video")
TRAINED = tuple(f"models/{{}}/{name}" for name in ("model.safetensors", "config.json", "curves.csv"))


@dataclass(frozen=True)
class Stage:
    """A stage. ``each`` names the things that have a job each; those of methods are stages of their own in ``dvc.yaml``."""

    name: str  # of the command, the rule and the DVC stage
    does: str  # for stages/README.md
    each: Literal["", "shards", "judges", "methods", "trained", "baselines", "talking"]
    writes: tuple[str, ...]  # below data/<run>/; {} stands for the job's shard, judge or method

    @property
    def by_method(self) -> bool:
        """True if ``dvc.yaml`` has a stage for each method."""
        return self.each in ("methods", "trained", "baselines", "talking")

    def jobs(self, params: Params) -> Collection[str]:
        """The names of a run's jobs; an empty name for a single job."""
        own = {"": ("",), "shards": params.corpus.shards, "judges": JUDGES, "methods": params.methods}
        own |= {"trained": params.trained, "baselines": params.baselines, "talking": params.talking}
        return own[self.each]

    def files(self, params: Params, job: str) -> list[str]:
        """The files that a job writes, from the project's root."""
        if self.name == "report":
            return [f"{params.reports.as_posix()}/{name}" for name in files(params)]
        return [f"{params.data.as_posix()}/{path.format(job)}" for path in self.writes]


STAGES = (
    Stage("download", "makes, fetches or takes the corpus", "shards", ("raw/{}.tar",)),
    Stage("mask", "finds faces and landmarks in each speaker's clips", "shards", ("faces/{}.parquet",)),
    Stage("blink", "measures their eye aspect ratios and blinks", "shards", ("blink/{}.parquet",)),
    Stage("spectrogram", "makes their mel spectrograms and sound", "shards", ("spectrogram/{}.parquet",)),
    Stage(
        "index", "lists all clips and splits the usable ones into training, validation and test", "", ("index.parquet",)
    ),
    Stage("expert", "trains the lip-sync expert of the loss", "", ("expert/expert.safetensors", "expert/curves.csv")),
    Stage(
        "judges", "trains the encoders that only the metrics use", "judges", ("judges/{}.safetensors", "judges/{}.csv")
    ),
    Stage("train", "trains HifiDiff", "trained", TRAINED),
    Stage("train_baseline", "trains a system that it is compared with", "baselines", TRAINED),
    Stage("sample", "makes a method's videos of the test clips", "methods", ("samples/{}.tar",)),
    Stage("reference", "measures the true clips", "", ("reference.parquet",)),
    Stage("features", "measures a method's videos", "methods", ("features/{}.parquet",)),
    Stage(
        "metrics",
        "scores a method's videos against the true clips",
        "methods",
        tuple(f"metrics/{{}}{end}" for end in (".json", ".parquet", ".breakdown.parquet")),
    ),
    Stage(
        "portraits",
        "makes stills and videos talk as a user would, and measures the results",
        "talking",
        ("portraits/{}.parquet",),
    ),
    Stage("card", "writes a model's card", "trained", ("cards/{}.md",)),
    Stage("report", "writes tables, claims, figures and pages of the run", "", ()),
)
