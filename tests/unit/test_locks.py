"""The lock files beside requirements.lock hold what it lacks, each package by its hashes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest


def pinned(file: str) -> dict[str, str]:
    """The packages of a lock file, each with its version and hashes."""
    entries = re.findall(r"^([\w.-]+)==(.+(?:\n +.+)*)", Path(file).read_text(encoding="utf-8"), re.MULTILINE)
    return dict(entries)


@pytest.mark.parametrize(("group", "others"), [("s3", []), ("s3-test", ["requirements-s3.lock"]), ("slurm", [])])
def test_a_lock_holds_what_the_environment_lacks(group: str, others: list[str]) -> None:
    locked = pinned(f"requirements-{group}.lock")
    for other in ("requirements.lock", *others):
        assert not locked.keys() & pinned(other).keys()
    wanted = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"][group]
    assert {re.match(r"[\w-]+", line)[0] for line in wanted} <= locked.keys()  # type: ignore[index]
    assert all("--hash=sha256:" in entry for entry in locked.values())
    text = Path(f"requirements-{group}.lock").read_text(encoding="utf-8")
    assert not re.search(r"^(-i|--index|--extra-index|--find-links)|://", text, re.MULTILINE)


def test_s3fs_is_of_the_same_release_as_fsspec() -> None:
    """It asks for exactly that one."""
    version = [pinned(file)[name].split()[0] for file, name in
               (("requirements-s3.lock", "s3fs"), ("requirements.lock", "fsspec"))]  # fmt: skip
    assert version[0] == version[1]
