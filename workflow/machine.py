"""What a machine may lack, helped before the first job: a name and a home of the user, a repository for DVC.

Containers run as users that no one has entered into ``/etc/passwd``; archives of a release have no ``.git``. DVC asks for both,
in the last job of a run.
"""

from __future__ import annotations

import configparser
import getpass
import os
import subprocess
from pathlib import Path

from stages.base.errors import HifiDiffError

HOME = Path(".snakemake/home")
DVC_CONFIG = (Path(".dvc/config"), Path(".dvc/config.local"))


class MachineError(HifiDiffError):
    """Something that the run will need is missing here."""


def environment(root: Path) -> dict[str, str]:
    """Variables that this process and those that it starts need besides: a user's name and home where the system has none."""
    found = {}
    try:
        getpass.getuser()
    except (KeyError, OSError):  # of Python before 3.13, and since
        found |= dict.fromkeys(("LOGNAME", "USER"), f"user-{os.getuid()}")
    home = Path(os.path.expanduser("~"))
    if not home.is_absolute() or not home.is_dir() or (home == Path("/") and not os.access(home, os.W_OK)):
        found["HOME"] = os.fspath(root.absolute() / HOME)
        (root / HOME).mkdir(parents=True, exist_ok=True)
    return found


def tell_dvc(root: Path) -> str | None:
    """Have DVC do without Git where no repository holds this project; gives what was done, None where nothing was to do.

    In somebody else's repository, which does not hold this project's files, DVC would look for what is ignored, or refuse.

    Raises:
        MachineError: it can't be told so.
    """
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


def held(root: Path) -> bool:
    """Whether a repository holds the project: its own, or another that has its files."""
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
    """Whether DVC was told so before."""
    config = configparser.ConfigParser(strict=False, interpolation=None)
    config.read([root / path for path in DVC_CONFIG], encoding="utf-8")
    return config.getboolean("core", "no_scm", fallback=False)
