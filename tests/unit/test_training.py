"""The training loop: it learns, goes on where it was killed with the same bits, and stops on a loss that is not finite."""

import dataclasses

import numpy as np
import pytest
import torch

from stages import checkpoint, params
from stages.diffusion.losses import pyramid_distance
from stages.errors import TrainingError
from stages.networks import seeded
from stages.networks.expert import LipSyncExpert
from stages.pretrained import HifiDiff
from stages.train.engine import Curves, Objective, fit, learning_rate, update_average
from stages.windows import TrainingSet, Windows

NETWORK = {
    "size": 32,
    "patch": 2,
    "channels": 8,
    "multipliers": [1, 2],
    "res_blocks": 1,
    "attention": [8],
    "head_channels": 8,
    "dropout": 0.0,
    "audio_channels": 4,
    "audio_steps": 16,
    "blink_frames": 1,
    "reference": "aligned",
    "residual": "reference",
    "groups": 4,
}
CONFIG = {
    "network": NETWORK,
    "diffusion": {"timesteps": 100, "schedule": "cosine", "prediction": "x0"},
    "mel_bins": 80,
    "drop": [],
}
SETTINGS = params.load("presets/demo.yaml")
TRAIN = SETTINGS.train.model_copy(update={"steps": 6, "batch": 1, "warmup": 2, "checkpoint_every": 2, "log_every": 2})


def training_data(clips) -> TrainingSet:
    """A window and a single frame a step."""
    return TrainingSet(
        windows=Windows(clips, 5),
        frames=Windows(clips, 1),
        seed=1,
        batch=1,
        singles=1,
        timesteps=100,
        latest_of=1,
        align=True,
        audio_steps=16,
        blink_frames=1,
        drop=(),
        blink_share=0.25,
        condition_dropout=0.0,
        mouth_weight=4.0,
        eye_weight=4.0,
    )


@pytest.fixture
def setting(make_clip):
    """A function that makes a fresh network with its objective and data."""

    def make(prediction: str = "x0"):
        config = {**CONFIG, "diffusion": {**CONFIG["diffusion"], "prediction": prediction}}
        model = seeded(1, lambda: HifiDiff.from_config(config))
        expert = seeded(2, lambda: LipSyncExpert(width=4, embedding=8, size=32)).eval().requires_grad_(False)
        objective = Objective(model.diffusion, expert, pyramid_distance, SETTINGS.loss, composite=True)
        data = training_data([make_clip()])
        return model.net, objective, data

    return make


def ignore(step: int) -> None:
    """What a test does after a step that it does not look at."""


def train(setting, state, settings=TRAIN, key="k", on_step=ignore):
    net, objective, data = setting()
    device = torch.device("cpu")
    return fit(net, objective, data, settings, device=device, state=state, key=key, label="test", on_step=on_step)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("last", [0, 1, 2, 4])
def test_resuming_gives_the_same_bits_as_never_stopping(setting, tmp_path, last):
    expected, curve, _ = train(setting, tmp_path / "whole.pt")

    def kill(step: int) -> None:
        if step == last:
            raise Killed

    with pytest.raises(Killed):
        train(setting, tmp_path / "state.pt", on_step=kill)
    done: list[int] = []
    found, resumed, _ = train(setting, tmp_path / "state.pt", on_step=done.append)
    assert done[0] == (last + 1) // 2 * 2  # nothing that was saved is done again
    assert resumed == curve
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_finished_training_is_not_done_again(setting, tmp_path):
    first = train(setting, tmp_path / "state.pt")
    done: list[int] = []
    again = train(setting, tmp_path / "state.pt", on_step=done.append)
    assert done == []
    assert again.curves == first.curves
    _, saved = checkpoint.load(tmp_path / "state.pt", key="k")
    assert again.seconds >= saved["curves"]["seconds"] > 0  # of the training, not of reading its state
    assert all(torch.equal(first.weights[name], again.weights[name]) for name in first.weights)


def test_a_state_of_other_parameters_is_not_used(setting, tmp_path, capsys):
    train(setting, tmp_path / "state.pt", key="these")
    done: list[int] = []
    train(setting, tmp_path / "state.pt", key="those", on_step=done.append)
    assert done[0] == 0
    assert "of other parameters" in capsys.readouterr().err


def test_it_learns_what_a_condition_says(setting, tmp_path):
    """Each frame is flat, of a grey that only its EAR tells: the loss can fall through the blink signal alone."""
    net, objective, data = setting()
    clip = data.windows.clips[0]
    grey = np.sin(np.arange(len(clip.frames_THWC)))
    frames = np.broadcast_to(np.uint8(128 + 100 * grey)[:, None, None, None], clip.frames_THWC.shape)
    ear = np.stack([0.28 + 0.1 * grey] * 2, -1).astype(np.float32)
    flat = dataclasses.replace(clip, frames_THWC=frames, ear_T2=ear)
    data = dataclasses.replace(data, windows=Windows([flat], 5))
    objective = dataclasses.replace(objective, weights=SETTINGS.loss.model_copy(update={"sync": 0.0, "lpips": 0.0}))
    settings = TRAIN.model_copy(update={"steps": 150, "log_every": 15, "checkpoint_every": 150, "learning_rate": 3e-3})
    device, state = torch.device("cpu"), tmp_path / "state.pt"
    curve = fit(
        net, objective, data, settings, device=device, state=state, key="k", label="test", on_step=ignore
    ).curves
    assert curve[-1]["simple"] < 0.3 * curve[0]["simple"]


def test_a_loss_that_is_not_finite_stops_with_step_and_clip(setting, tmp_path):
    net, objective, data = setting()
    clip = data.windows.clips[0]
    broken = dataclasses.replace(clip, mel_SM=clip.mel_SM * float("nan"))
    data = dataclasses.replace(data, windows=Windows([broken], 5))
    with pytest.raises(TrainingError, match=r"not finite at step 0.*clips ada_s01"):
        fit(
            net,
            objective,
            data,
            TRAIN,
            device=torch.device("cpu"),
            state=tmp_path / "s.pt",
            key="k",
            label="test",
            on_step=ignore,
        )


@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
def test_the_total_is_the_weighted_sum_of_the_terms(setting, prediction):
    net, objective, data = setting(prediction)
    total, terms = objective(net, data.step(0))
    w = SETTINGS.loss
    share = {"simple": w.simple, "l2": w.l2, "sync": w.sync, "lpips": w.lpips}
    if prediction == "x0":
        assert set(terms) == {"simple", "sync", "lpips"}
        share["simple"] += w.l2
    else:
        assert set(terms) == {"simple", "l2", "sync", "lpips"}
    assert total.item() == pytest.approx(sum(share[name] * value.item() for name, value in terms.items()), rel=1e-5)


def test_the_frozen_expert_gets_no_gradient_but_passes_one_on(setting):
    net, objective, data = setting()
    objective = dataclasses.replace(
        objective, weights=SETTINGS.loss.model_copy(update={"simple": 0.0, "l2": 0.0, "lpips": 0.0, "sync": 1.0})
    )
    objective(net, data.step(0))[0].backward()
    assert all(p.grad is None for p in objective.expert.parameters())
    assert float(net.out.weight.grad.abs().sum()) > 0


def test_learning_rate_warms_up_and_falls():
    settings = TRAIN.model_copy(update={"steps": 102, "warmup": 2, "learning_rate": 1.0, "lr_schedule": "cosine"})
    assert learning_rate(0, settings) == 0.5
    assert learning_rate(2, settings) == 1.0
    assert learning_rate(52, settings) == pytest.approx(0.51)
    assert learning_rate(102, settings) == pytest.approx(0.02)
    assert learning_rate(90, settings.model_copy(update={"lr_schedule": "constant"})) == 1.0


def test_the_average_follows_quickly_at_first_and_slowly_later():
    net = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(1.0)
    average = {"weight": torch.zeros(1, 1)}
    update_average(average, net, 0, 0.99)
    assert float(average["weight"]) == pytest.approx(0.9)
    average = {"weight": torch.zeros(1, 1)}
    update_average(average, net, 100_000, 0.99)
    assert float(average["weight"]) == pytest.approx(0.01)


def test_bf16_leads_about_where_fp32_does(setting):
    net, objective, data = setting()
    with torch.no_grad():
        net.out.weight.normal_(std=0.02)  # starts at zero, and would hide what comes before it
    batch = data.step(0)
    exact, _ = objective(net, batch)
    rough, terms = dataclasses.replace(objective, bf16=True)(net, batch)
    assert rough.dtype == torch.float32
    assert 0 < abs(rough.item() - exact.item()) < 0.02 * exact.item()
    assert all(torch.isfinite(value) for value in terms.values())


def test_dropped_audio_is_not_judged_by_the_expert(setting):
    net, objective, data = setting()
    always = dataclasses.replace(data, condition_dropout=1.0).step(0)
    assert float(always.given.audio_kept_N.sum()) == 0
    assert float(objective(net, always)[1]["sync"]) == 0
    never = dataclasses.replace(
        always, given=dataclasses.replace(always.given, audio_kept_N=torch.ones(len(always.x_0)))
    )
    plain = dataclasses.replace(always, given=dataclasses.replace(always.given, audio_kept_N=None))
    assert float(objective(net, never)[1]["sync"]) == float(objective(net, plain)[1]["sync"]) > 0


def test_conditions_are_dropped_as_often_as_asked_and_apart(make_clip):
    data = dataclasses.replace(training_data([make_clip()]), condition_dropout=0.3)
    kept = [data.window(step, 1).given for step in range(600)]
    audio, blink = (
        np.array([float(getattr(given, name)[0]) for given in kept]) for name in ("audio_kept_N", "blink_kept_N")
    )
    assert audio.mean() == pytest.approx(0.7, abs=0.06)
    assert blink.mean() == pytest.approx(0.7, abs=0.06)
    assert abs(np.corrcoef(audio, blink)[0, 1]) < 0.15
    assert data.step(0).given.audio_kept_N.shape == (len(data.step(0).x_0),)


def test_curves_are_means_over_their_interval():
    curves = Curves(2)
    for step, value in enumerate([1.0, 3.0, 5.0]):
        curves.add(step, {"simple": value})
    assert curves.rows == [{"step": 2, "simple": 2.0}]
    assert curves.sums == {"simple": 5.0}


def test_the_last_steps_are_in_the_curves_where_no_interval_is_whole():
    curves = Curves(4)
    for step, value in enumerate([1.0, 2.0, 3.0, 4.0, 7.0, 9.0]):
        curves.add(step, {"simple": value}, last=step == 5)
    assert curves.rows == [{"step": 4, "simple": 2.5}, {"step": 6, "simple": 8.0}]


def test_dropout_resumes_with_the_same_bits(make_clip, tmp_path):
    config = {**CONFIG, "network": {**NETWORK, "dropout": 0.3}}
    data = training_data([make_clip()])

    def run(state, on_step=ignore):
        model = seeded(1, lambda: HifiDiff.from_config(config))
        weights = SETTINGS.loss.model_copy(update={"sync": 0.0})
        expert = LipSyncExpert(width=4, embedding=8, size=32)
        objective = Objective(model.diffusion, expert, pyramid_distance, weights, composite=True)
        device = torch.device("cpu")
        return fit(
            model.net, objective, data, TRAIN, device=device, state=state, key="k", label="test", on_step=on_step
        )[0]

    def kill(step: int) -> None:
        if step == 2:
            raise Killed

    expected = run(tmp_path / "whole.pt")
    with pytest.raises(Killed):
        run(tmp_path / "state.pt", kill)
    found = run(tmp_path / "state.pt")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
