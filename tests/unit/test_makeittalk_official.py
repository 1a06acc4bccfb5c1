"""MakeItTalk's published picture network, taken over: its names, its order of channels, and files that are refused.

The published layout stands here a second time, written apart from the code that builds ours: a block in a block for each level.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages import convert
from stages.base.errors import InputError
from stages.methods import systems
from stages.methods.kinds import makeittalk
from stages.methods.systems import Facts
from stages.networks import seeded

FACTS = Facts(size=64, fps=25.0, sample_rate=16000, mel_bins=80)
WIDTHS = [64, 128, 256, 512, 512, 512]
State = dict[str, Tensor]


def published() -> State:
    """Random weights under the published names and shapes."""
    generator, state, place = torch.Generator().manual_seed(4), {}, "model.model."

    def convolution(name: str, c_out: int, c_in: int) -> None:
        scale = (2 / (9 * c_in)) ** 0.5
        state[f"{name}.weight"] = scale * torch.randn(c_out, c_in, 3, 3, generator=generator)

    def norm(name: str, width: int) -> None:
        for key in ("bias", "running_mean"):
            state[f"{name}.{key}"] = 0.1 * torch.randn(width, generator=generator)
        for key in ("weight", "running_var"):
            state[f"{name}.{key}"] = 0.7 + 0.3 * torch.rand(width, generator=generator)
        state[f"{name}.num_batches_tracked"] = torch.tensor(9)

    def residual(name: str, width: int) -> None:
        for number in (0, 3):
            convolution(f"{name}.block.{number}", width, width)
            norm(f"{name}.block.{number + 1}", width)

    for level, width in enumerate(WIDTHS):
        outer, first, last = (6 if level == 0 else WIDTHS[level - 1]), level == 0, level == 5
        convolution(f"{place}0", width, outer)
        if not first and not last:
            norm(f"{place}1", width)
        blocks = 2 if first or last else 3
        residual(f"{place}{blocks}", width)
        residual(f"{place}{blocks + 1}", width)
        up = {0: 6, 5: 5}.get(level, 7)
        convolution(f"{place}{up}", 3 if first else outer, width if last else 2 * width)
        if not first:
            norm(f"{place}{up + 1}", outer)
            residual(f"{place}{up + 3}", outer)
            residual(f"{place}{up + 4}", outer)
        place += f"{blocks + 2}.model."
    return state


def run_published(state: State, given: Tensor) -> Tensor:
    """What the published network makes of a BGR drawing beside a BGR portrait, before the tangent."""

    def norm(x: Tensor, name: str) -> Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys))

    def residual(x: Tensor, name: str) -> Tensor:
        y = F.relu(norm(F.conv2d(x, state[f"{name}.block.0.weight"], padding=1), f"{name}.block.1"))
        return F.relu(x + norm(F.conv2d(y, state[f"{name}.block.3.weight"], padding=1), f"{name}.block.4"))

    def block(x: Tensor, place: str, level: int) -> Tensor:
        first, last = level == 0, level == 5
        y = F.conv2d(x, state[f"{place}0.weight"], stride=2, padding=1)
        y = F.relu(y if first or last else norm(y, f"{place}1"))
        blocks = 2 if first or last else 3
        y = residual(residual(y, f"{place}{blocks}"), f"{place}{blocks + 1}")
        if not last:
            y = block(y, f"{place}{blocks + 2}.model.", level + 1)
        up = {0: 6, 5: 5}.get(level, 7)
        y = F.conv2d(F.interpolate(y, scale_factor=2.0), state[f"{place}{up}.weight"], padding=1)
        if first:
            return y
        y = F.relu(norm(y, f"{place}{up + 1}"))
        return torch.cat([x, residual(residual(y, f"{place}{up + 3}"), f"{place}{up + 4}")], 1)

    return block(given, "model.model.", 0)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the published script writes it: the weights, an optimiser as an object, the epoch."""
    path = tmp_path_factory.mktemp("official") / "ckpt_116_i2i_comb.pth"
    some = torch.nn.Linear(2, 2)
    optimiser = torch.optim.Adam(some.parameters(), lr=1e-4, betas=(0.5, 0.999))
    some(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    torch.save({"G": {f"module.{k}": v for k, v in published().items()}, "opt": optimiser, "epoch": 116}, path)
    return path


@pytest.fixture(scope="module")
def branches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    save(folder, {"lstm": 8, "lstm_layers": 1})
    return folder


def save(folder: Path, over: dict[str, Any]) -> None:
    settings = makeittalk.Settings.model_validate({**makeittalk.PAPER, "steps": 1, **over})
    systems.save(seeded(1, lambda: makeittalk.System(settings, FACTS)), folder, kind="makeittalk", facts={})


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_converted_network_makes_the_published_ones_pictures(file: Path, branches: Path, tmp_path: Path) -> None:
    convert.makeittalk(file, branches, tmp_path / "out", sha256=sha256(file))
    system = makeittalk.System.from_pretrained(tmp_path / "out", {}, torch.device("cpu"))
    still, drawing = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    made = (system.draw(2 * still - 1, drawing) + 1) / 2
    expected = torch.tanh(run_published(published(), torch.cat([drawing.flip(1), still.flip(1)], 1))).flip(1)
    assert expected.std() > 0.05
    torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-4)
    kept = makeittalk.System.from_pretrained(branches, {}, torch.device("cpu"))
    for name, value in kept.content.state_dict().items():
        assert system.content.state_dict()[name].equal(value)


def test_another_file_is_not_read(file: Path, branches: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sha256 is .*, expected 30fdfc54.*pickle.*838,606,649 bytes"):
        convert.makeittalk(file, branches, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_of_another_layout_are_named(branches: Path, tmp_path: Path) -> None:
    path, state = tmp_path / "other.pth", published()
    torch.save({"G": {**state, "model.model.9.weight": torch.zeros(1)}}, path)
    with pytest.raises(InputError, match=r"not the layout of MakeItTalk's picture network .*1 names too many"):
        convert.makeittalk(path, branches, tmp_path / "out", sha256=sha256(path))
    del state["model.model.0.weight"]
    torch.save({"G": state}, path)
    with pytest.raises(InputError, match=r"not the layout of MakeItTalk's picture network .*model\.model\.0\.weight"):
        convert.makeittalk(path, branches, tmp_path / "out", sha256=sha256(path))
    torch.save({"state": {}}, path)
    with pytest.raises(InputError, match=r"has no 'G' of tensors"):
        convert.makeittalk(path, branches, tmp_path / "out", sha256=sha256(path))


def test_branches_of_another_size_are_refused(file: Path, tmp_path: Path) -> None:
    save(tmp_path / "small", {"lstm": 8, "lstm_layers": 1, "width": 8, "levels": 3})
    with pytest.raises(InputError, match=r"its picture network has width 8, levels 3, the published one width 64"):
        convert.makeittalk(file, tmp_path / "small", tmp_path / "out", sha256=sha256(file))
