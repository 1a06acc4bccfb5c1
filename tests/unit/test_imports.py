"""Imports point one way; no stage imports another: files are the interface between stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from workflow.sources import ROOT, imports

STAGES = [
    "download",
    "mask",
    "blink",
    "spectrogram",
    "index",
    "expert",
    "judges",
    "train",
    "train_baseline",
    "sample",
    "reference",
    "features",
    "metrics",
    "card",
    "report",
]
# Commands that no rule calls; like stages, they are imported by nothing.
COMMANDS = ["convert", "export"]
# Libraries, lowest first. A module may import its own layer and those above it in this list.
LAYERS = (
    ("params", "errors", "progress", "lazy", "memory", "devices", "meaning", "cremad"),
    ("media", "tables", "tracking", "checkpoint", "loop", "catalogue", "weights", "fetch", "lfs"),
    ("geometry", "cascade", "landmarks", "faces", "corpus", "crops", "corruptions"),
    ("networks",),
    ("diffusion", "measures", "conditions", "windows", "pretrained", "experts", "public", "encoders"),
    ("systems", "generate"),
    ("baselines",),
)


def part(path: Path) -> str:
    """``mask`` of ``stages/mask/hull.py``, ``tables`` of ``stages/tables.py``, empty for the package itself."""
    name = path.relative_to(ROOT / "stages").parts[0].removesuffix(".py")
    return "" if name == "__init__" else name


MODULES = sorted((ROOT / "stages").rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_direction(path: Path) -> None:
    own = part(path)
    others = {part(found) for found in imports(path)} - {"", own}
    if own in (*STAGES, *COMMANDS):
        assert not others & {*STAGES, *COMMANDS}, "a stage imports another"
        return
    layers = {name: number for number, names in enumerate(LAYERS) for name in names}
    if own:
        assert own in layers, f"name the layer of stages/{own} in this test"
        assert all(name in layers and layers[name] <= layers[own] for name in others)


def test_only_the_workflow_knows_the_workflow() -> None:
    for path in MODULES:
        assert "from workflow" not in path.read_text()
        assert "import workflow" not in path.read_text()
