"""A training of several nodes: the resources that it asks for, the command that starts it, and the places where it can't be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import ROOT, Project
from snakemake.exceptions import WorkflowError

from stages.base import params
from stages.base.errors import ParameterError
from workflow import checks, nodes

TRAIN = params.load(ROOT / "presets/paper.yaml").train.model_copy(update={"processes": 4, "threads": 2})
TWO = TRAIN.model_copy(update={"nodes": 2})


def test_what_a_training_asks_the_scheduler_for() -> None:
    assert checks.threads(TRAIN) == 4 * (2 + 8)
    assert checks.accelerators(TRAIN) == {"gpu": 4}
    asked = checks.accelerators(TWO)
    assert asked == {"nodes": 2, "tasks": 2, "tasks_per_gpu": 0, "mpi": "srun", "gres": "gpu:4"}
    on_cpu = {"device": "cpu"}
    assert checks.accelerators(TRAIN.model_copy(update=on_cpu)) == {"gpu": 0}
    assert "gres" not in checks.accelerators(TWO.model_copy(update=on_cpu))


def test_the_command_of_a_training() -> None:
    assert checks.launcher(TRAIN.model_copy(update={"processes": 1})) == "python -m"
    assert checks.launcher(TRAIN) == "python -m torch.distributed.run --standalone --nproc-per-node 4 -m"
    assert checks.launcher(TWO) == "python -m workflow.nodes --nodes 2 --processes 4 --threads 40"


def test_one_torchrun_a_node_and_one_place_to_meet() -> None:
    found = ["n7", "n8"]
    words = nodes.command(2, 4, 40, ["stages.train", "--method", "full"], found=found, job="123456", address="10.0.0.7")
    before, _, after = " ".join(words).partition(" -m torch.distributed.run ")
    assert before.startswith("srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=40 --kill-on-bad-exit=1 ")
    assert after == (
        "--nnodes=2 --nproc-per-node=4 --rdzv-id=123456 --rdzv-backend=c10d --rdzv-endpoint=10.0.0.7:23456 "
        "-m stages.train --method full"
    )


def test_no_job_of_slurm_or_too_small_a_one() -> None:
    assert nodes.hosts({}) == []
    for found, where in (([], "no job of Slurm"), (["n7"], "a job of Slurm with 1")):
        with pytest.raises(
            ParameterError, match=f"train.nodes is 2, and this is {where}; run 'snakemake --workflow-profile"
        ):
            nodes.check(2, found)
    nodes.check(2, ["n7", "n8"])


def test_slurm_that_does_not_answer_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ParameterError, match=r"train.nodes is above 1, and 'squeue .* failed: .*squeue") as caught:
        nodes.hosts({"SLURM_JOB_ID": "5"})
    assert "\n" not in str(caught.value)


def test_only_a_training_that_is_due_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    checks.nodes(TRAIN, {"train"}, executor="local", in_container=False)
    checks.nodes(TWO, {"report"}, executor="local", in_container=False)
    checks.nodes(TWO, {"train"}, executor="slurm", in_container=False)
    with pytest.raises(WorkflowError, match="this is no job of Slurm"):
        checks.nodes(TWO, {"train"}, executor="local", in_container=False)
    with pytest.raises(WorkflowError, match="srun can't be called in a container"):
        checks.nodes(TWO, {"train"}, executor="slurm", in_container=True)


@pytest.mark.workflow
def test_a_run_on_this_machine_is_refused_before_anything_runs(fresh: Project) -> None:
    fresh.edit("  nodes: 1 ", "  nodes: 2 ")
    message = fresh.run("snakemake", "--cores", "2", fails=True)
    assert (
        "train.nodes is 2, and this is no job of Slurm; run 'snakemake --workflow-profile profiles/slurm', set"
        in message
    )
    assert not list((fresh.root / "data/smoke/raw").glob("*.tar"))
    assert fresh.to_do()["train"] > 0
    fresh.edit("  nodes: 2 ", "  nodes: 3 ")
    fresh.edit("  processes: 1 ", "  processes: 2 ")
    message = fresh.run("snakemake", "--dry-run", fails=True)
    assert (
        "train.nodes times train.processes times train.accumulate must not exceed train.batch + train.singles"
        in message
    )
