"""The model card says what its files say, its code runs, and the exported folder is whole."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import typing
from pathlib import Path
from typing import Any

import fake_run
import pytest
import torch
import yaml
from test_pretrained import config, made
from torch import nn

from stages.base.errors import InputError
from stages.base.params import Corpus, Params, Split
from stages.card import ORIGIN, card, compute, flops, forward_flops
from stages.corpora import cremad_facts
from stages.export import export
from stages.networks.hifidiff import Conditions
from stages.networks.unet import SelfAttention
from stages.pretrained.hifidiff import WEIGHTS, HifiDiff
from stages.reporting.documents import SPLIT_TITLES
from stages.store import schemas, tables


def settings(**changes: Any) -> Params:
    """The made-up run's settings; ``section={key: value}`` changes a section."""
    found = fake_run.settings()
    changed = {name: getattr(found, name).model_copy(update=values) for name, values in changes.items()}
    return found.model_copy(update=changed)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up run, with real (tiny) weights."""
    data = tmp_path_factory.mktemp("run") / "data" / "fake"
    fake_run.make(data, fake_run.settings(), record=False)
    for method, drop in (("full", []), ("no_blink", ["blink"]), ("no_mask", ["masked_face"])):
        made(data / "models" / method, drop=drop, steps=1000, images_per_step=13)
    return data


@pytest.fixture(scope="module")
def full(data: Path) -> str:
    return card(data, "full", fake_run.settings())


def front(text: str) -> dict[str, Any]:
    return yaml.safe_load(text.split("---\n")[1])


def test_it_is_the_same_each_time(data: Path, full: str) -> None:
    assert card(data, "full", fake_run.settings()) == full


def test_the_sections_are_there(full: str) -> None:
    assert re.findall(r"^## (.+)$", full, re.MULTILINE) == [
        "How to use",
        "Training data",
        "Licences",
        "Compute",
        "Scores",
        "Limits",
        "Likeness and consent",
    ]
    assert "\n\n\n" not in full


def test_its_numbers_are_those_of_the_files(data: Path, full: str) -> None:
    parameters = sum(p.numel() for p in HifiDiff.from_pretrained(data / "models" / "full").net.parameters())
    assert f"a UNet of {parameters:,} parameters" in full
    assert hashlib.sha256((data / "models" / "full" / WEIGHTS).read_bytes()).hexdigest() in full
    train = [r for r in tables.read(data / "index.parquet", schemas.INDEX).to_pylist() if r["split"] == "train"]
    assert len(train) == 2
    assert f"2 clips of 2 speakers, {2 * fake_run.FRAMES / 25:.0f} seconds" in full
    assert "1,000 steps of 13 images" in full
    score = json.loads((data / "metrics" / "full.json").read_text())["scores"]["mouth_r"]["test_seen"]
    assert f"| {score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}], n = 4 |" in full


def test_the_scores_are_those_of_the_methods_made_from_the_weights(data: Path, full: str) -> None:
    titles = re.findall(r"^### (.+)$", full, re.MULTILINE)
    assert titles == ["HifiDiff", "HifiDiff, another clip's audio"]
    assert re.findall(r"^### (.+)$", card(data, "no_blink", settings()), re.MULTILINE) == ["without blinking"]
    tables_ = [line for line in full.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables_} <= {3, 6}


def test_an_ablation_says_what_it_went_without(data: Path, full: str) -> None:
    assert "An ablation" not in full
    assert "trained without the blink signal," in card(data, "no_blink", settings())
    assert "trained without the masked face," in card(data, "no_mask", settings())


def test_front_matter_and_licences_follow_data_and_expert(data: Path, full: str) -> None:
    assert front(full)["license"] == "mit"
    assert front(full)["library_name"] == "hifidiff"
    assert "talking-face" in front(full)["tags"]
    assert "iBUG 300-W, whose terms exclude commercial use" in full
    assert "LRS2" not in full
    asked = {"loss": {"sync": 0.15}, "train": {"batch": 1, "crop": 0}}
    public = card(data, "full", settings(expert={"source": "wav2lip"}, **asked))
    assert front(public)["license"] == "other"
    assert "trained on LRS2" in public
    unused = settings(expert={"source": "wav2lip"})
    assert front(card(data, "full", unused))["license"] == "mit"
    own = card(data, "full", settings(corpus={"source": "folder"}))
    assert front(own)["license"] == "other"
    assert "consent of everyone shown" in own
    assert "drawn faces" not in own
    licensed = card(data, "full", settings(corpus={"source": "cremad"}))
    assert front(licensed)["license"] == "other"
    assert all(term in licensed for term in cremad_facts.TERMS)


def test_every_source_and_split_of_clips_has_its_words() -> None:
    assert set(typing.get_args(Corpus.model_fields["source"].annotation)) == set(ORIGIN)
    assert set(typing.get_args(Split)) == SPLIT_TITLES.keys() - {"all"}


@pytest.mark.parametrize("drop", [[], ["blink"], ["masked_face"]])
def test_flops_are_two_a_multiply_add_counted_by_hand(drop: list[str]) -> None:
    """Every layer's outputs times its inputs, and two products of P × P × C in each attention."""
    model = HifiDiff.from_config(config(drop=drop))
    counted = []

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(layer, SelfAttention):
            _, channels, height, width = output.shape
            counted.append(4 * (height * width) ** 2 * channels)
        else:
            weight = layer.weight
            assert isinstance(weight, torch.Tensor)
            counted.append(2 * output.numel() * weight[0].numel())

    for layer in model.net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear, SelfAttention)):
            layer.register_forward_hook(count)
    x = torch.zeros(1, 3, 32, 32)
    ear, masked = None if "blink" in drop else torch.zeros(1, 1, 2), None if "masked_face" in drop else x
    model.net.eval()(
        x, torch.tensor([3]), Conditions(x, torch.zeros(1, 16, 80), ear, masked, places_N4HW=torch.zeros(1, 4, 32, 32))
    )
    assert forward_flops(config(drop=drop)) == sum(counted)


def test_training_is_three_forward_passes_an_image() -> None:
    whole = config(steps=1000, images_per_step=13)
    rows = compute(whole, 5)
    forward = forward_flops(whole)
    assert rows["training, 3 forward passes an image"] == flops(3 * 13_000 * forward)
    assert rows["sampling, 5 steps a frame"] == flops(5 * forward)
    assert flops(3.21e9) == "3.21 GFLOPs"
    assert flops(4.5e16) == "45 PFLOPs"
    assert flops(2e6) == "2 MFLOPs"


def test_the_exported_folder_loads_by_the_code_on_its_card(
    data: Path, full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "cards").mkdir(exist_ok=True)
    (data / "cards" / "full.md").write_text(full)
    (tmp_path / "data").symlink_to(data.parent)
    chosen = settings(sample={"steps": 2, "device": "cpu"})
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(chosen.model_dump()))
    monkeypatch.chdir(tmp_path)
    out = Path("hifidiff-fake-full")
    assert export(data, "full", out) == [out / "README.md", out / "config.json", out / "model.safetensors"]
    assert (out / "README.md").read_text() == full
    (code,) = re.findall(r"```python\n(.*?)```", full, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["frames_THWC"].shape == (fake_run.FRAMES, 32, 32, 3)
    assert str(names["frames_THWC"].dtype) == "uint8"
    with pytest.raises(InputError, match="hifidiff-fake-full: is there already, and not empty; name a new folder"):
        export(data, "full", out)
    assert len(export(data, "full", out, replace=True)) == 3


def test_a_card_of_other_weights_or_none_is_refused(data: Path, full: str, tmp_path: Path) -> None:
    path = data / "cards" / "no_blink.md"
    path.unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"no_blink\.md: no such file; run 'snakemake"):
        export(data, "no_blink", tmp_path / "out")
    path.parent.mkdir(exist_ok=True)
    path.write_text(full)
    with pytest.raises(InputError, match="is the card of other weights"):
        export(data, "no_blink", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_scores_that_are_missing_or_damaged_are_named(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "models", tmp_path / "models")
    with pytest.raises(InputError, match=r"metrics/truth\.json: no such file"):
        card(tmp_path, "full", settings())
    shutil.copytree(data / "metrics", tmp_path / "metrics")
    (tmp_path / "metrics" / "full.json").write_text("{")
    with pytest.raises(InputError, match=r"metrics/full\.json: not JSON"):
        card(tmp_path, "full", settings())
