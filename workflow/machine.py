"""Checks, before the first job, of DVC's needs in the last one: a user's name, a repository, a path that it can print.

Containers run as users that no one has entered into ``/etc/passwd``; archives of a release have no ``.git``. A home is what
Snakemake asks for before it reads the Snakefile, so that the Makefile gives one.
"""

from __future__ import annotations

import configparser
import getpass
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from stages.base.errors import HifiDiffError

DVC_CONFIG = (Path(".dvc/config"), Path(".dvc/config.local"))


class MachineError(HifiDiffError):
    """Something that the run will need is missing here."""


def environment() -> dict[str, str]:
    """Variables that this process and those that it starts need besides: a user's name where the system has none."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # of Python before 3.13, and since
        return dict.fromkeys(("LOGNAME", "USER"), f"user-{os.getuid()}")
    return {}


def tell_dvc(root: Path) -> str | None:
    """Have DVC do without Git where no repository holds this project; gives what was done, None where nothing was to do.

    In somebody else's repository, which does not hold this project's files, DVC would look for what is ignored, or refuse.

    Raises:
        MachineError: it can't be told so; or the project's path has braces, in which DVC looks for values to fill in.
    """
    if {"{", "}"} & set(os.fspath(root.absolute())):
        raise MachineError(
            f"{root.absolute()}: DVC can't record in a folder with braces in its path; rename the folder"
        )
    if held(root) or _without_git(root):
        return None
    command = ["dvc", "config", "--local", "core.no_scm", "true"]
    done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise MachineError(
            f"{root}: no Git repository holds it, and '{' '.join(command)}' failed: {done.stderr.strip()}; run 'git init' here"
        )
    return (
        "No Git repository holds this project: DVC does without (core.no_scm in .dvc/config.local). "
        "After 'git init' and a commit, run 'dvc config --local --unset core.no_scm'."
    )


def check_files(folders: Iterable[Path]) -> None:
    """Refuse files below these folders at which DVC would stop, or wait for ever, when it records the run.

    DVC looks at each file below a folder that a stage depends on, whether a stage reads it or not; it follows no links to
    folders.

    Raises:
        MachineError: a link leads nowhere, a file can't be read, or is no file but a pipe, a socket or a device.
    """
    for top in folders:
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder, name)
                if not path.exists():
                    problem = "a link that leads nowhere"
                elif not path.is_file():
                    problem = "no file, but a pipe, a socket or a device"
                elif not os.access(path, os.R_OK):
                    problem = "a file that this user may not read"
                else:
                    continue
                raise MachineError(f"{path}: {problem}; DVC can't record the folder with it: take it out, or mend it")


def held(root: Path) -> bool:
    """True if a repository holds the project: its own, or another that has its files."""
    if (root / ".git").exists():
        return True
    if not any((folder / ".git").exists() for folder in root.absolute().parents):
        return False
    command = ["git", "-c", "safe.directory=*", "ls-files", "--error-unmatch", "--", "dvc.yaml"]
    try:
        return subprocess.run(command, cwd=root, capture_output=True).returncode == 0
    except OSError:
        return False  # no Git here


def _without_git(root: Path) -> bool:
    """True if DVC was told so before."""
    config = configparser.ConfigParser(strict=False, interpolation=None)
    config.read([root / path for path in DVC_CONFIG], encoding="utf-8")
    return config.getboolean("core", "no_scm", fallback=False)
