"""The stages of the pipeline, in the order they run: what each is split into, and what it writes. Nothing else lists them.

A stage more is a line here, a rule in ``workflow/rules/``, an entry in ``dvc.yaml`` and its own command ``stages/<name>.py``.
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
    """A stage. ``each`` says what there is a job for; those of methods are stages of their own in ``dvc.yaml``."""

    name: str  # of the command, the rule and the DVC stage
    each: Literal["", "shards", "judges", "methods", "trained", "baselines", "talking"]
    writes: tuple[str, ...]  # below data/<run>/; {} stands for the job's shard, judge or method
    shards: bool = False  # whether a job writes a file a shard, {0} the method and {1} the shard

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
        shards = params.corpus.shards if self.shards else [""]
        return [f"{params.data.as_posix()}/{path.format(job, shard)}" for path in self.writes for shard in shards]


STAGES = (
    Stage("download", "shards", ("raw/{}.tar",)),
    Stage("mask", "shards", ("faces/{}.parquet",)),
    Stage("blink", "shards", ("blink/{}.parquet",)),
    Stage("spectrogram", "shards", ("spectrogram/{}.parquet",)),
    Stage("index", "", ("index.parquet",)),
    Stage("expert", "", ("expert/expert.safetensors", "expert/curves.csv")),
    Stage("judges", "judges", ("judges/{}.safetensors", "judges/{}.csv")),
    Stage("train", "trained", TRAINED),
    Stage("train_baseline", "baselines", TRAINED),
    Stage("sample", "methods", ("samples/{0}/{1}.tar",), shards=True),
    Stage("reference", "", ("reference.parquet",)),
    Stage("features", "methods", ("features/{}.parquet",)),
    Stage("metrics", "methods", tuple(f"metrics/{{}}{end}" for end in (".json", ".parquet", ".breakdown.parquet"))),
    Stage("portraits", "talking", ("portraits/{}.parquet",)),
    Stage("card", "trained", ("cards/{}.md",)),
    Stage("report", "", ()),
)
