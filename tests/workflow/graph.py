"""The graph as Snakemake builds it, and the stages as DVC reads them, in one form, so that they can be compared."""

from __future__ import annotations

import os
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo
from snakemake.api import SnakemakeApi
from snakemake.settings.enums import Quietness
from snakemake.settings.types import DAGSettings, OutputSettings, ResourceSettings

from workflow.dvcsync import ADOPTING


@dataclass(frozen=True)
class Job:
    """A job of Snakemake's."""

    rule: str
    inputs: frozenset[str]
    outputs: frozenset[str]
    settings: frozenset[str]  # keys of params.yaml


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml, its templates filled in."""

    name: str
    command: tuple[str, ...]
    deps: frozenset[str]
    outs: frozenset[str]
    settings: frozenset[str]


def jobs(root: Path) -> list[Job]:
    """All jobs of the project in ``root``."""
    os.environ[ADOPTING] = "1"  # the graph alone is asked for, whatever files are there
    try:
        with chdir(root), SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
            loaded = api.workflow(ResourceSettings(cores=1), snakefile=Path("Snakefile"))
            workflow = loaded.dag(DAGSettings(forceall=True)).workflow_api._workflow
            workflow._prepare_dag(forceall=True, ignore_incomplete=True, lock_warn_only=True)
            workflow._build_dag()
            return [
                Job(
                    rule=job.rule.name,
                    inputs=frozenset(map(str, job.input)),
                    outputs=frozenset(map(str, job.output)),
                    settings=frozenset(job.params.get("cfg", {})),
                )
                for job in workflow.dag.jobs
            ]
    finally:
        del os.environ[ADOPTING]


def stages(root: Path) -> dict[str, Stage]:
    """The stages of ``root``'s dvc.yaml, by name."""
    with chdir(root), Repo(str(root)) as repo:
        return {
            stage.addressing: Stage(
                name=stage.addressing,
                command=tuple(stage.cmd.split()),
                deps=frozenset(dep.def_path for dep in stage.deps if not isinstance(dep, ParamsDependency)),
                outs=frozenset(out.def_path for out in stage.outs),
                settings=frozenset(
                    key for dep in stage.deps if isinstance(dep, ParamsDependency) for key in dep.params
                ),
            )
            for stage in repo.index.stages
        }
