"""A DVC remote on S3: push, clone, pull, and nothing is made again; against moto's server on this machine.

Where dvc-s3 or moto is missing, the test says so; ``make test-s3`` installs both beside the environment.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Project, packages

from stages.base.params import load
from workflow.artifacts import everything

pytestmark = pytest.mark.workflow

BUCKET = "hifidiff"


@pytest.fixture(scope="module")
def installed() -> dict[str, str]:
    """The environment variable with which dvc-s3 and moto are found."""
    variables = packages("dvc_s3, moto", "s3", "s3-test")
    if variables is None:
        assert "S3_TEST" not in os.environ, "no dvc-s3 or no moto beside the environment"
        pytest.skip("no dvc-s3 or no moto: 'make test-s3' installs them")
    return variables


@contextmanager
def started(variables: dict[str, str], log: Path) -> Iterator[str]:
    """A server at a free port of 127.0.0.1, stopped at the end; gives its address."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with (
        log.open("wb") as rest,
        subprocess.Popen(command, env=os.environ | variables, stdout=rest, stderr=subprocess.PIPE) as server,
    ):
        assert server.stderr is not None
        try:
            for line in server.stderr:
                if found := re.search(rb"http://127\.0\.0\.1:\d+", line):
                    break
            else:
                pytest.fail(f"moto's server ended with {server.wait()}")
            with log.open("ab") as file:  # or the pipe fills, and the server waits
                drain = subprocess.Popen(["cat"], stdin=server.stderr, stdout=file)
            yield found[0].decode()
        finally:
            server.terminate()
            server.wait(30)
            drain.wait(30)


@pytest.fixture
def server(installed: dict[str, str], tmp_path: Path) -> Iterator[str]:
    with started(installed, tmp_path / "server.log") as address:
        yield address


@pytest.fixture
def project(smoke: Project, installed: dict[str, str], server: str) -> Project:
    """The finished smoke run with a remote on S3, whose bucket is not there yet."""
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    smoke.env |= installed | keys
    smoke.run("dvc", "remote", "add", "--default", "store", f"s3://{BUCKET}/hifidiff")
    smoke.run("dvc", "remote", "modify", "store", "endpointurl", server)
    smoke.commit()
    return smoke


def ask(address: str, method: str, body: bytes = b"") -> None:
    request = urllib.request.Request(address, body, {"Content-Type": "application/octet-stream"}, method=method)
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def test_a_clone_pulls_from_s3_and_makes_nothing_again(project: Project, server: str, tmp_path: Path) -> None:
    missing = project.run("dvc", "push", fails=True)
    assert "The specified bucket does not exist" in missing
    assert "Traceback" not in missing
    ask(f"{server}/{BUCKET}", "PUT")
    assert re.search(r"\d+ files pushed", project.run("dvc", "push"))
    assert "Everything is up to date." in project.run("dvc", "push")

    project.run("git", "clone", "--quiet", str(project.root), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    clone.env = project.env
    clone.run("dvc", "pull")
    clone.run("python", "-m", "workflow.dvcsync")
    assert clone.to_do() == {}
    assert clone.changed() == []
    made = everything(load(project.root / "params.yaml"))
    assert [path for path in made if clone.read(path) != project.read(path)] == []

    ask(f"{server}/moto-api/reset-auth", "POST", b"0")  # from now on it knows no key
    for file in (clone.root / ".dvc/cache", clone.root / "data/smoke/index.parquet"):
        clone.run("rm", "-r", str(file))
    refused = clone.run("dvc", "pull", "index", fails=True)
    assert "InvalidAccessKeyId" in refused or "Forbidden" in refused, refused
    assert "Traceback" not in refused
    assert not (clone.root / "data/smoke/index.parquet").exists()
