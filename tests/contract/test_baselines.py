"""Contract of each system of stages/methods/kinds: resumes to the bit, sees what it says, makes each frame of a clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from stages.base import params
from stages.base.errors import InputError, TrainingError
from stages.base.params import KINDS
from stages.clips.clip import Clip
from stages.methods import systems
from stages.methods.systems import Data, Facts, System, Trainer
from stages.networks import seeded
from stages.pretrained import lipsync_expert
from stages.training import loop

SYSTEMS = [kind for kind in KINDS if hasattr(systems.module(kind), "System")]
TINY: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("tiny_systems.yaml").read_text())
SETTINGS = params.load("presets/smoke.yaml")
FACTS = Facts(size=64, fps=25.0, sample_rate=16000, mel_bins=80)
STEPS = 4


def clip(name: str, frames: int = 14, size: int = FACTS.size) -> Clip:
    """Noise with a face's landmarks; the sound is a hair shorter than the frames, as real ones are."""
    rng = np.random.default_rng(list(name.encode()))
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    face = np.stack([np.cos(angle), np.sin(angle)], -1) * size / 4 + size / 2
    yy, xx = np.mgrid[:size, :size]
    mask = np.hypot(xx - size / 2, yy - size / 2) < size / 3
    return Clip(
        name=name,
        speaker=name[:3],
        frames_THWC=rng.integers(0, 256, (frames, size, size, 3), dtype=np.uint8),
        landmarks_TL2=(face + rng.normal(0, 0.5, (frames, 68, 2))).astype(np.float32),
        masks_THW=np.repeat(mask[None], frames, 0),
        ear_T2=rng.uniform(0.1, 0.4, (frames, 2)).astype(np.float32),
        mel_SM=rng.uniform(-4, 4, (int(3.2 * frames), 80)).astype(np.float32),
        audio=rng.integers(-20000, 20000, 640 * frames - 100, dtype=np.int16),
        blinks=[(3, 5)],
    )


def build(kind: str, **overrides: Any) -> System:
    found = systems.module(kind).System
    settings = found.Settings.model_validate({**TINY[kind], "steps": STEPS, **overrides})
    return seeded(3, lambda: found(settings, FACTS))


def trainer(system: System) -> Trainer:
    layout = {"architecture": "lipsync", "width": 4, "embedding": 8, "sees": "lower_half", "size": 32}
    expert = seeded(1, lambda: lipsync_expert.build(layout)).eval().requires_grad_(False)
    train, validation = [clip("ada_1"), clip("ada_2", 17), clip("bel_1")], [clip("ada_3"), clip("bel_3")]
    data = Data(train=train, validation=validation, expert=expert, seed=5, device=torch.device("cpu"))
    return seeded(4, lambda: system.trainer(data))


def fit(made: Trainer, state: Path, on_step: Callable[[int], None] = lambda step: None) -> loop.Fitted:
    return loop.fit(
        made,
        steps=STEPS,
        seed=1,
        log_every=2,
        checkpoint_every=2,
        state=state,
        key="key",
        label="train tiny",
        advice="lower the learning rate",
        on_step=on_step,
    )


def frames(system: System, given: Clip, sound: Clip) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        made = system.eval().generate(given, sound, SETTINGS.sample, lambda count: None)
        return np.concatenate(list(made))


@pytest.fixture(params=SYSTEMS)
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield request.param
    torch.set_num_threads(before)


def test_each_system_has_a_tiny_setting_for_these_tests() -> None:
    assert sorted(TINY) == SYSTEMS


def test_a_training_changes_all_weights_and_a_killed_one_goes_on_to_the_bit(kind: str, tmp_path: Path) -> None:
    system = build(kind)
    before = {name: value.clone() for name, value in system.named_parameters()}
    once = trainer(system)
    curves = fit(once, tmp_path / "once.pt").curves
    unchanged = [name for name, value in system.named_parameters() if value.requires_grad and value.equal(before[name])]
    assert unchanged == []
    assert [row["step"] for row in curves] == [2, 4]

    def kill(step: int) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(trainer(build(kind)), tmp_path / "killed.pt", kill)
    again = build(kind)
    later = fit(trainer(again), tmp_path / "killed.pt").curves
    assert later == curves
    for name, value in system.state_dict().items():
        assert value.equal(again.state_dict()[name]), name


def test_a_loss_that_is_not_finite_stops(kind: str, tmp_path: Path) -> None:
    system = build(kind)
    made = trainer(system)
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"train tiny: the loss is not finite at step 0.*; lower the learning rate"):
        fit(made, tmp_path / "state.pt")


def test_it_makes_each_frame_of_a_clip_whatever_the_sound_is(kind: str) -> None:
    system, own, short = build(kind), clip("cle_1", 11), clip("dar_1", 6)
    made = frames(system, own, own)
    assert made.shape == own.frames_THWC.shape
    assert made.dtype == np.uint8
    assert np.array_equal(made, frames(system, own, own)), "the same again"
    assert frames(system, own, short).shape == made.shape


def test_it_hears_and_sees_what_it_says(kind: str, tmp_path: Path) -> None:
    """The sound changes what is made; of the clip's frames and landmarks only the first does, unless it says otherwise."""
    system = build(kind)
    fit(trainer(system), tmp_path / "state.pt")
    own = clip("cle_1", 11)
    made = frames(system, own, own)
    assert not np.array_equal(made, frames(system, own, clip("dar_1", 11)))
    other = clip("eli_1", 11)
    later = replace(
        own,
        frames_THWC=np.concatenate([own.frames_THWC[:1], other.frames_THWC[1:]]),
        landmarks_TL2=np.concatenate([own.landmarks_TL2[:1], other.landmarks_TL2[1:]]),
        masks_THW=~own.masks_THW,
        ear_T2=other.ear_T2,
        blinks=[],
    )
    assert np.array_equal(made, frames(system, later, own)), "it sees more than the first frame"
    first = replace(own, frames_THWC=np.concatenate([other.frames_THWC[:1], own.frames_THWC[1:]]))
    assert not np.array_equal(made, frames(system, first, own))


def test_a_saved_system_is_the_same(kind: str, tmp_path: Path) -> None:
    system, own = build(kind), clip("cle_1", 7)
    flops = systems.frame_flops(system, SETTINGS.sample)
    assert flops > 0
    systems.save(system, tmp_path, kind=kind, facts={"steps": STEPS})
    found = type(system).from_pretrained(tmp_path, {}, torch.device("cpu"))
    assert np.array_equal(frames(found, own, own), frames(system, own, own))
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="not weights of this project"):
        type(system).from_pretrained(tmp_path, {}, torch.device("cpu"))


def test_its_module_says_what_it_is(kind: str) -> None:
    found = systems.module(kind)
    assert found.__doc__
    assert found.System.deviations
    assert all(sentence.endswith(".") for sentence in found.System.deviations)
