"""The files of a run, known from ``params.yaml`` alone: those of each stage of ``dvc.yaml``, in the order they are made."""

from __future__ import annotations

from pathlib import Path

from stages.base.params import Params
from stages.base.places import place
from workflow.registry import STAGES


def artifacts(params: Params) -> dict[str, list[str]]:
    """Files by DVC stage (``mask``, ``train@full``); their rules write just these."""
    owned: dict[str, list[str]] = {}
    for stage in STAGES:
        for job in stage.jobs(params):
            name = f"{stage.name}@{job}" if stage.by_method else stage.name
            owned.setdefault(name, []).extend(stage.files(params, job))
    return owned


def everything(params: Params) -> list[str]:
    """All of a run's files."""
    return [path for paths in artifacts(params).values() for path in paths]


def folders(params: Params) -> list[Path]:
    """Folders that ``dvc.yaml`` depends on whatever the rows are: a run without a row that fills one has it empty."""
    return sorted(
        {params.data / path.partition("/")[0] for stage in STAGES if stage.by_method for path in stage.writes}
    )


def given_folders(params: Params) -> list[Path]:
    """Folders that the user fills and DVC records: own videos, and those that other programs made of the test clips."""
    others = [params.data / method.made_from for method in params.methods.values() if method.kind == "videos"]
    return [place(params.corpus.folder.path), *others]
