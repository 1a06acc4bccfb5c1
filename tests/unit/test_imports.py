"""Imports point one way, as stages/README.md orders the folders; commands import no command; what makes videos knows no judge."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workflow.sources import NAMES, ROOT, imports

HOME = ROOT / "stages"
README = (HOME / "README.md").read_text()
FOLDERS = re.findall(r"^\d+\. `(\w+)/`", README, re.MULTILINE)  # lowest first
TOOLS = ("convert", "export", "page", "talk", "weights")
MODULES = sorted(HOME.rglob("*.py"))
# What makes videos, and what it is trained with; `hifidiff`, `lipsync_expert` of pretrained, and all of these folders.
GENERATING = ("networks", "diffusion", "training", "methods", "talking", "serving")


def folder(path: Path) -> str:
    """``faces`` of ``stages/faces/crops.py``; empty for a command and the package itself."""
    parts = path.relative_to(HOME).parts
    return parts[0] if len(parts) > 1 else ""


def test_the_readme_lists_what_is_there() -> None:
    assert sorted(FOLDERS) == sorted(path.name for path in HOME.iterdir() if (path / "__init__.py").exists())
    commands = {path.stem for path in HOME.glob("*.py")} - {"__init__"}
    assert commands == {*NAMES, *TOOLS}
    shown = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", README, re.MULTILINE)))
    assert sorted(shown) == sorted(commands)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_direction(path: Path) -> None:
    own = folder(path)
    found = [other for other in imports(path) if other != HOME / "__init__.py"]
    commands = [other for other in found if not folder(other)]
    assert not commands, "a command is imported"
    if own:
        above = FOLDERS[: FOLDERS.index(own) + 1]
        assert {folder(other) for other in found} <= set(above), "not above it in stages/README.md"


def reached(path: Path) -> set[Path]:
    """All modules that come along with one."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += imports(path)
    return found


@pytest.mark.parametrize("name", [*GENERATING, "train", "train_baseline", "sample", "talk", "page", "expert"])
def test_no_network_scores_what_it_trained(name: str) -> None:
    starts = [HOME / f"{name}.py"] if (HOME / f"{name}.py").exists() else sorted((HOME / name).rglob("*.py"))
    for path in starts:
        judges = {
            other.relative_to(HOME).as_posix()
            for other in reached(path)
            if folder(other) == "measures" or other.relative_to(HOME).as_posix().startswith("pretrained/judges")
        }
        assert not judges, path


def test_only_the_workflow_knows_the_workflow() -> None:
    for path in MODULES:
        assert "from workflow" not in path.read_text()
        assert "import workflow" not in path.read_text()
