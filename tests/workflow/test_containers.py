"""The recipes of the image agree with one another and with the Makefile, and `--sdm apptainer` sends each job through the image.

No test builds the image: `IMAGE=1 .ci/run` does.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, Project

from workflow import checks

OCI = (ROOT / "containers/Containerfile").read_text(encoding="utf-8")
APPTAINER = (ROOT / "containers/hifidiff.def").read_text(encoding="utf-8")
INSTALL = (ROOT / "containers/install.sh").read_text(encoding="utf-8")
# Stands for Apptainer, which is not asked for here: it notes its arguments, and runs the command without a container.
STAND_IN = """\
#!/bin/sh
if [ "$1" = --version ]; then echo apptainer version 1.3.4; exit; fi
echo "$@" >> {calls}
while [ "$1" != hifidiff.sif ]; do shift; done
shift
exec "$@"
"""


def test_both_recipes_are_one() -> None:
    oci, apptainer = (re.search(r"sh /tmp/install\.sh (\S+)", text) for text in (OCI, APPTAINER))
    assert oci is not None
    assert apptainer is not None
    assert oci[1] == apptainer[1] == "/tmp/requirements.lock"
    base, other = (
        re.search(r"^ARG BASE=docker\.io/library/(\S+)", OCI, re.M),
        re.search(r"^From: (\S+)", APPTAINER, re.M),
    )
    assert base is not None
    assert other is not None
    assert base[1] == other[1]
    given = dict(re.findall(r"(\w+)=(\S+)", OCI.partition("ENV ")[2].partition("\n")[0]))
    users = {given.pop(name) for name in ("HOME", "USER", "LOGNAME")}  # Apptainer has those of whoever calls it
    assert users == {"/opt/home", "hifidiff"}
    assert given == dict(re.findall(r"(\w+)=(\S+)", APPTAINER.partition("export ")[2].partition("\n")[0]))


def test_the_environment_is_that_of_the_lock_by_the_makefiles_options() -> None:
    makes = re.search(
        r"-m pip install -qq (--require-hashes --requirement) requirements\.lock", (ROOT / "Makefile").read_text()
    )
    assert makes is not None
    assert f'-m pip install --no-cache-dir {makes[1]} "$lock"' in INSTALL
    for command in (["sh", "-n", "containers/install.sh"], ["bash", "-n", ".ci/run"]):
        subprocess.run(command, cwd=ROOT, check=True)


def test_what_the_build_is_sent_is_what_it_copies() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.search(r"^COPY (.+) /tmp/$", OCI, re.M)
    assert copied is not None
    assert sent == set(copied[1].split()) == set(re.findall(r"^    (\S+) /tmp/\S+$", APPTAINER, re.M))
    assert all((ROOT / path).is_file() for path in sent)


@pytest.mark.workflow
def test_the_linter_is_silent(fresh: Project) -> None:
    said = fresh.run("snakemake", "--lint")
    assert "Congratulations, your workflow is in a good condition!" in said
    assert "Lints for" not in said


@pytest.mark.workflow
def test_jobs_run_in_the_image_where_it_is_asked_for(fresh: Project, tmp_path: Path) -> None:
    calls, program, target = tmp_path / "calls", tmp_path / "bin" / "apptainer", "data/smoke/raw/ada.tar"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(calls=calls))
    program.chmod(0o755)
    fresh.env["PATH"] = f"{program.parent}{os.pathsep}{fresh.env['PATH']}"
    command = ("snakemake", "--cores", "1", target, "--sdm", "apptainer")
    message = fresh.run(*command, fails=True)
    assert "hifidiff.sif: no such file, which --sdm apptainer asks for; make it by 'make image'" in message
    assert not calls.exists()
    (fresh.root / checks.IMAGE).touch()
    fresh.run(*command)
    assert re.search(r"exec .* hifidiff\.sif bash -c .*python -m stages\.download --shard ada", calls.read_text())
    assert (fresh.root / target).exists()
    fresh.edit("  nodes: 1 ", "  nodes: 2 ")
    message = fresh.run("snakemake", "--cores", "1", "--sdm", "apptainer", fails=True)
    assert "train.nodes is 2, and srun can't be called in a container; leave --sdm apptainer out, or set" in message
