"""A model on disk: what is saved is what is loaded, and files that don't belong together are refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.base.errors import InputError
from stages.networks import seeded
from stages.networks.hifidiff import Conditions
from stages.pretrained.hifidiff import CONFIG, WEIGHTS, HifiDiff
from stages.store import weights_file

NETWORK = {
    "size": 32, "patch": 2, "channels": 8, "multipliers": [1, 2], "res_blocks": 1, "attention": [8], "head_channels": 8,
    "dropout": 0.5, "audio_channels": 4, "audio_steps": 16, "blink_frames": 1, "ear": "raw", "reference": "aligned",
    "places": True, "prior": 0.15, "condition_gain": 4.0, "residual": "blended", "groups": 4,
}  # fmt: skip
DIFFUSION = {"timesteps": 100, "schedule": "cosine", "prediction": "x0"}


def config(**changes: Any) -> dict[str, Any]:
    return {"network": NETWORK, "diffusion": DIFFUSION, "mel_bins": 80, "drop": [], **changes}


def made(folder: Path, **changes: Any) -> HifiDiff:
    """A saved model whose last layers are not zero, so that its output says something."""
    model = seeded(3, lambda: HifiDiff.from_config(config(**changes)))
    with torch.no_grad():
        for number, parameter in enumerate(model.net.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            parameter.add_(0.1 * noise)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("drop", [[], ["blink"], ["masked_face"]])
def test_what_is_saved_is_loaded(tmp_path: Path, drop: list[str]) -> None:
    model = made(tmp_path, drop=drop)
    found = HifiDiff.from_pretrained(str(tmp_path))
    assert found.drop == tuple(drop)
    assert found.config == config(drop=drop)
    assert not found.net.training
    assert not any(parameter.requires_grad for parameter in found.net.parameters())
    x = torch.rand(2, 3, 32, 32)
    ear, masked = None if "blink" in drop else torch.rand(2, 1, 2), None if "masked_face" in drop else x
    given = Conditions(x, torch.rand(2, 16, 80), ear, masked, places_N4HW=torch.rand(2, 4, 32, 32))
    t = torch.tensor([3, 50])
    assert torch.equal(found.net(x, t, given), model.net.eval()(x, t, given))
    assert not torch.equal(found.net(x, t, given), x)


def test_the_same_model_is_saved_as_the_same_bytes(tmp_path: Path) -> None:
    made(tmp_path / "a")
    HifiDiff.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    for name in (WEIGHTS, CONFIG):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def change(**changes: Any) -> Callable[[Path], None]:
    """Change config.json alone."""

    def edit(folder: Path) -> None:
        (folder / CONFIG).write_text(json.dumps(config(**changes)))

    return edit


def rewrite(**changes: Any) -> Callable[[Path], None]:
    """Write other configurations into both files, beside the old weights."""

    def edit(folder: Path) -> None:
        weights, _ = weights_file.read(folder / WEIGHTS)
        weights_file.write(folder / WEIGHTS, weights, config(**changes))
        (folder / CONFIG).write_text(json.dumps(config(**changes)))

    return edit


def pickled(folder: Path) -> None:
    torch.save({"weights": torch.zeros(2)}, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / CONFIG).unlink(), r"config\.json: can't be read .*; name a folder that holds"),
        (lambda folder: (folder / WEIGHTS).unlink(), r"model\.safetensors: no such file"),
        (lambda folder: (folder / CONFIG).write_text("{"), r"config\.json: not JSON"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"junk"), r"model\.safetensors: not weights"),
        (pickled, r"model\.safetensors: not weights"),
        (change(drop=["blink"]), r"model\.safetensors: was written with another configuration"),
        (rewrite(drop=["blink"]), r"not a model of this version of the code \(ValueError: 3 weights are not those of"),
        (rewrite(network={**NETWORK, "depth": 3}), r"\(ValueError: network\.depth is not a setting"),
        (rewrite(diffusion={**DIFFUSION, "prediction": "score"}), r"\(ValueError: diffusion\.prediction is 'score'"),
        (
            rewrite(network={**NETWORK, "multipliers": [1] * 100_000}),
            r"network\.multipliers; allowed: list should have",
        ),
        (
            rewrite(network={**NETWORK, "res_blocks": 10**7}),
            r"network\.res_blocks is 10000000; allowed: input should be",
        ),
        (rewrite(network={**NETWORK, "channels": 1024, "multipliers": [64] * 8}), r"weights are not those of"),
        (rewrite(diffusion={**DIFFUSION, "timesteps": 10**10}), r"diffusion\.timesteps is 10000000000; allowed"),
        (rewrite(mel_bins=10**9), r"mel_bins is 1000000000; allowed: 1 to 1024"),
        (lambda folder: (folder / CONFIG).write_text("[" * 100_000), r"config\.json: not JSON"),
        (lambda folder: (folder / CONFIG).write_text("[1]"), r"was written with another configuration"),
    ],
)
def test_files_that_are_not_whole_or_not_of_one_model_are_refused(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    made(tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        HifiDiff.from_pretrained(tmp_path)


def test_no_folder_is_said_with_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds config\.json and model\.safetensors"):
        HifiDiff.from_pretrained(tmp_path / "absent")
