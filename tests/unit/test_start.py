"""A training that starts with a trained model: its weights are taken, another file or another configuration is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.base import params
from stages.base.errors import InputError, ParameterError
from stages.base.params import Params
from stages.networks import seeded
from stages.pretrained import lipsync_expert
from stages.training.prepared import Prepared, prepared

SMOKE = params.load("presets/smoke.yaml")


def ready(settings: Params, drop: tuple[str, ...] = ()) -> Prepared:
    layout = {"architecture": "lipsync", "width": 4, "embedding": 8, "sees": "lower_half", "size": 32}
    expert = seeded(1, lambda: lipsync_expert.build(layout)).eval().requires_grad_(False)
    return prepared(settings, drop, expert, torch.device("cpu"))


def starting(folder: Path, sha256: str = "", **changes: Any) -> Params:
    """The smoke preset, started from the model in a folder."""
    start = params.Start(folder=str(folder), sha256=sha256) if sha256 else params.Start.of(folder)
    return SMOKE.model_copy(update={"train": SMOKE.train.model_copy(update={"start": start, "seed": 99}), **changes})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a model of the smoke preset's size."""
    ready(SMOKE).model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_its_weights_are_the_first(model: Path) -> None:
    own, tuned = ready(SMOKE), ready(starting(model))
    assert all(a.equal(b) for a, b in zip(own.net.state_dict().values(), tuned.net.state_dict().values(), strict=True))
    assert all(parameter.requires_grad for parameter in tuned.net.parameters())
    other = ready(SMOKE.model_copy(update={"train": SMOKE.train.model_copy(update={"seed": 99})}))
    assert not all(a.equal(b) for a, b in zip(own.net.parameters(), other.net.parameters(), strict=True))
    assert own.model.config["start"] is None
    assert tuned.model.config["start"] == hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()


def test_a_model_with_larger_crops_will_do(model: Path) -> None:
    larger = SMOKE.mask.model_copy(update={"size": 2 * SMOKE.mask.size})
    ready(starting(model, mask=larger))


def test_another_file_and_another_configuration_are_refused(model: Path) -> None:
    with pytest.raises(
        InputError, match=r"model\.safetensors: its sha256 is [0-9a-f]{64}, and train\.start\.sha256 is 0000"
    ):
        ready(starting(model, "0" * 64))
    wider = SMOKE.network.model_copy(update={"condition_gain": 7.0})
    with pytest.raises(
        InputError, match=r"was trained with network\.condition_gain .*, and here it is 7\.0; set it to"
    ):
        ready(starting(model, network=wider))
    closer = SMOKE.mask.model_copy(update={"margin": 3.0})
    with pytest.raises(InputError, match=r"was trained with mask\.margin .*, and here it is 3\.0"):
        ready(starting(model, mask=closer))
    with pytest.raises(InputError, match=r"was trained with drop \[\], and here it is \['blink'\]"):
        ready(starting(model), ("blink",))
    with pytest.raises(InputError, match=r"can't be read"):
        ready(starting(model.parent, "0" * 64))


def test_no_steps_need_a_start() -> None:
    raw = SMOKE.model_dump()
    raw["train"]["steps"] = 0
    with pytest.raises(ParameterError, match=r"train\.steps must be above 0 where train\.start is null"):
        params.validate(raw)
    raw["train"]["start"] = {"folder": "data/demo/models/full", "sha256": "0" * 64}
    assert params.validate(raw).train.steps == 0
    raw["train"]["start"]["sha256"] = "abc"
    with pytest.raises(ParameterError, match=r"train\.start\.sha256"):
        params.validate(raw)
