"""The files of a run, known from ``params.yaml`` alone: what each stage of ``dvc.yaml`` owns, in the order they are made."""

from __future__ import annotations

from stages.base.params import Params
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
