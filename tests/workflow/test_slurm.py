"""The smoke run on a Slurm of one node: a training that is cancelled goes on, and the bytes are those of a run without Slurm.

A training on two nodes follows the curve of one. The nodes are daemons of this machine.

Where Slurm or its plugin is missing, the test says so; ``make test-slurm`` installs the plugin beside the environment and fails
where Slurm is missing.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import local_slurm
import numpy as np
import pandas as pd
import pytest
from conftest import Project, new_project, packages

pytestmark = pytest.mark.workflow

PLUGIN = "snakemake_executor_plugin_slurm"
SOON = ("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "2", "--latency-wait", "5")
COMMAND = ("snakemake", "--workflow-profile", "profiles/slurm", *SOON)
LIMIT_S = 1200


@pytest.fixture
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """A fresh clone with the smoke preset, in an environment with a Slurm of one node, or of ``request.param``."""
    plugin = packages(PLUGIN, "slurm")
    lacks = local_slurm.missing() + ([PLUGIN] if plugin is None else [])
    if lacks:
        assert "SLURM_TEST" not in os.environ, f"missing: {', '.join(lacks)}; on Debian: apt install slurm-wlm munge"
        pytest.skip(f"no {', '.join(lacks)}: 'make test-slurm' says what to install")
    made = new_project(tmp_path / "project", "smoke")
    with local_slurm.started(tmp_path / "slurm", nodes=getattr(request, "param", 1)) as variables:
        made.env |= (plugin or {}) | variables
        made.env |= {"PATH": f"{tmp_path}/slurm/bin{os.pathsep}{made.env['PATH']}{os.pathsep}/usr/sbin"}
        yield made


def running(project: Project, rule: str) -> list[str]:
    """The numbers of a rule's jobs that run now."""
    lines = local_slurm.said(project.env, "squeue", "-h", "-t", "R", "-o", "%i %k").splitlines()
    return [line.split()[0] for line in lines if re.search(rf"\brule_{rule}(_wildcards|$)", line)]


def test_a_run_on_slurm(project: Project, smoke_run: Project) -> None:
    project.edit("  steps: 4\n  batch: 1", "  steps: 600\n  batch: 1")  # long enough to be cancelled in the middle
    state = project.root / "data/smoke/resume/train/full"
    with (project.root / "slurm.out").open("wb") as out:
        first = subprocess.Popen(COMMAND, cwd=project.root, env=project.env, stdout=out, stderr=out)
    printed = project.root / "slurm.out"
    end = time.monotonic() + LIMIT_S
    while not (any(state.glob("*.pt")) and (jobs := running(project, "train"))):
        assert first.poll() is None, printed.read_text()[-6000:]
        assert time.monotonic() < end, "no training began"
        time.sleep(0.2)
    project.run("scancel", *jobs)
    assert first.wait(LIMIT_S) == 0, f"a job that was cancelled is not submitted again: {printed.read_text()[-6000:]}"
    printed.unlink()
    assert project.to_do() == {}
    assert project.changed() == []
    resumed = project.read("data/smoke/models/full/model.safetensors")
    for path in ("data/smoke/models/full", "data/smoke/resume"):
        project.run("rm", "-r", path)
    project.snakemake("data/smoke/models/full/model.safetensors")
    assert project.read("data/smoke/models/full/model.safetensors") == resumed, "the same bytes without Slurm"
    for name in ("index.parquet", "expert/expert.safetensors", "faces/ada.parquet", "judges/sync.safetensors"):
        assert project.read(f"data/smoke/{name}") == smoke_run.read(f"data/smoke/{name}"), name


@pytest.mark.parametrize("project", [2], indirect=True, ids=["two nodes"])
def test_a_training_on_two_nodes(project: Project, smoke_run: Project) -> None:
    project.edit("  nodes: 1 ", "  nodes: 2 ")
    weights = "data/smoke/models/full/model.safetensors"
    project.run(*COMMAND, weights)
    given = Path(project.env["SLURM_CONF"]).with_name("slurmctld.log").read_text()
    assert re.search(r"Allocate JobId=\d+ NodeList=node\[0-1\]", given), "no job had both nodes"
    two, one = (pd.read_csv(run.root / "data/smoke/models/full/curves.csv") for run in (project, smoke_run))
    assert list(two.columns) == list(one.columns)
    np.testing.assert_allclose(two, one, rtol=2e-4)
