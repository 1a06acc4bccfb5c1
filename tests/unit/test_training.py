"""The training loop: it learns, goes on where it was killed with the same bits, and stops on a loss that is not finite."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
import torch

from stages.base import params
from stages.base.errors import TrainingError
from stages.clips.windows import TrainingSet, Windows
from stages.diffusion.losses import pyramid_distance
from stages.networks import seeded
from stages.networks.lipsync_expert import LipSyncExpert
from stages.pretrained.hifidiff import HifiDiff
from stages.training import loader, loop, resume
from stages.training.hifidiff import ADVICE, Trainer, learning_rate
from stages.training.loop import Average, Curves
from stages.training.objective import Objective
from stages.training.processes import ALONE

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
    "places": False,
    "prior": 0.0,
    "condition_gain": 1.0,
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
LOSS = SETTINGS.loss.model_copy(update={"sync": 0.15})
PACE = {
    "steps": 6,
    "batch": 1,
    "singles": 1,
    "crop": 0,
    "warmup": 2,
    "checkpoint_every": 2,
    "log_every": 2,
    "clip_norm": 1.0,
}
TRAIN = SETTINGS.train.model_copy(update=PACE)


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
        crop=0,
        places=False,
        audio_steps=16,
        blink_frames=1,
        ear="raw",
        drop=(),
        blink_share=0.25,
        first_reference=0.0,
        mirror=False,
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
        expert = (
            seeded(2, lambda: LipSyncExpert(width=4, embedding=8, size=32, sees="mouth")).eval().requires_grad_(False)
        )
        objective = Objective(model.diffusion, expert, pyramid_distance, LOSS, composite=True)
        data = training_data([make_clip()])
        return model.net, objective, data

    return make


def ignore(step: int) -> None:
    """Ignores a step."""


class Fitted(NamedTuple):
    """A finished training."""

    weights: dict[str, torch.Tensor]  # averaged
    curves: list[dict[str, float]]
    seconds: float


def fit(net, objective, data, settings, *, state, key="k", on_step=ignore, world=ALONE) -> Fitted:
    """HifiDiff's training on the CPU, as the stage calls it."""
    trainer = Trainer(net, objective, data, settings, device=torch.device("cpu"), world=world)
    fitted = loop.fit(
        trainer,
        steps=settings.steps,
        seed=settings.seed,
        log_every=settings.log_every,
        checkpoint_every=settings.checkpoint_every,
        state=state,
        key=key,
        label="test",
        advice=ADVICE,
        on_step=on_step,
        world=world,
    )
    return Fitted(trainer.average.weights, *fitted)


def train(setting, state, settings=TRAIN, key="k", on_step=ignore):
    return fit(*setting(), settings, state=state, key=key, on_step=on_step)


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
    _, saved = resume.load(tmp_path / "state.pt", key="k")
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
    clip = data.windows.at(0).clips[0]
    grey = np.sin(np.arange(len(clip.frames_THWC)))
    frames = np.broadcast_to(np.uint8(128 + 100 * grey)[:, None, None, None], clip.frames_THWC.shape)
    ear = np.stack([0.28 + 0.1 * grey] * 2, -1).astype(np.float32)
    flat = dataclasses.replace(clip, frames_THWC=frames, ear_T2=ear)
    data = dataclasses.replace(data, windows=Windows([flat], 5))
    objective = dataclasses.replace(
        objective, weights=LOSS.model_copy(update={"sync": 0.0, "lpips": 0.0, "change": 0.0})
    )
    settings = TRAIN.model_copy(update={"steps": 150, "log_every": 15, "checkpoint_every": 150, "learning_rate": 3e-3})
    curve = fit(net, objective, data, settings, state=tmp_path / "state.pt").curves
    assert curve[-1]["simple"] < 0.3 * curve[0]["simple"]


def test_a_loss_that_is_not_finite_stops_with_step_and_clip(setting, tmp_path):
    net, objective, data = setting()
    clip = data.windows.at(0).clips[0]
    broken = dataclasses.replace(clip, name="bad_s02", mel_SM=clip.mel_SM * float("nan"))
    data = dataclasses.replace(data, windows=Windows([broken], 5))
    with pytest.raises(TrainingError, match=r"not finite at step 0.*clips bad_s02;"):  # and not the frame of ada_s01
        fit(net, objective, data, TRAIN, state=tmp_path / "s.pt")


@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
def test_the_total_is_the_weighted_sum_of_the_terms(setting, prediction):
    net, objective, data = setting(prediction)
    terms = objective(net, data.step(0))
    total = objective.total(terms, data.images, data.batch)
    w = LOSS
    share = {"simple": w.simple, "l2": w.l2, "sync": w.sync, "lpips": w.lpips, "change": w.change}
    if prediction == "x0":
        assert set(terms) == {"simple", "sync", "lpips", "change"}
        share["simple"] += w.l2
    else:
        assert set(terms) == {"simple", "l2", "sync", "lpips", "change"}
    assert {name: len(values) for name, values in terms.items()} == {name: 1 if name == "sync" else 6 for name in terms}
    assert total.item() == pytest.approx(
        sum(share[name] * value.mean().item() for name, value in terms.items()), rel=1e-5
    )


def test_what_differs_from_the_reference_costs_beyond_the_mask_too(setting):
    """Nothing but ``change`` sees what is made of visible pixels."""
    _, objective, data = setting()
    batch = data.step(0)
    visible = (batch.weight_N1HW == 0).float()
    found = []
    for extra in (0.0, 0.25):
        terms = objective(lambda x_t, t_N, given, extra=extra: given.reference_NCHW + extra * visible, batch)
        found.append({name: values.clone() for name, values in terms.items()})
    before, after = found
    torch.testing.assert_close(before["change"], torch.zeros(6))
    torch.testing.assert_close(after["change"], 0.25 * visible.mean((1, 2, 3)))
    for name in ("simple", "lpips", "sync"):
        torch.testing.assert_close(after[name], before[name])


def test_a_part_without_windows_has_no_sync_loss(setting):
    net, objective, data = setting()
    terms = objective(net, data.step(0, [1]))
    assert len(terms["sync"]) == 0
    assert torch.isfinite(objective.total(terms, data.images, data.batch))


@pytest.mark.parametrize("rank_parts", [(1, 2), (2, 1), (2, 2), (3, 1)])
def test_parts_add_up_to_the_whole_batch(setting, rank_parts):
    """Loss and gradients of a batch that is cut, over processes and micro-batches, are those of the whole."""
    processes, parts = rank_parts
    net, objective, data = setting()
    data = dataclasses.replace(data, batch=2, singles=3)
    with torch.no_grad():
        net.out.weight.normal_(std=0.02)

    def gradients(pieces):
        net.zero_grad()
        totals = []
        for piece in pieces:
            total = objective.total(objective(net, data.step(0, piece)), data.images, data.batch)
            total.backward()
            totals.append(total.item())
        return sum(totals), [p.grad.clone() for p in net.parameters()]

    whole, expected = gradients([list(range(5))])
    cut = [part for rank in range(processes) for part in loader.shares(5, rank, processes, parts)]
    assert sorted(index for part in cut for index in part) == list(range(5))
    found, summed = gradients(cut)
    assert found == pytest.approx(whole, rel=1e-5)
    largest = max(float(g.abs().max()) for g in expected)
    for one, other in zip(expected, summed, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * largest)  # sums of many, in another order


def test_a_batch_is_not_cut_into_more_parts_than_it_has():
    with pytest.raises(ValueError, match="a batch of 5 cannot be cut into 2 × 3 parts"):
        loader.shares(5, 0, 2, 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_gives_each_part_of_each_step_in_order(make_clip, workers):
    data = dataclasses.replace(training_data([make_clip()]), batch=2, singles=1)
    made = list(loader.batches(data, [[0, 2], [1]], first=3, steps=6, workers=workers, device=torch.device("cpu")))
    assert [len(parts) for parts in made] == [2, 2, 2]
    for step, parts in zip(range(3, 6), made, strict=True):
        for part, indices in zip(parts, [[0, 2], [1]], strict=True):
            expected = data.step(step, indices)
            assert torch.equal(part.x_0, expected.x_0)
            assert torch.equal(part.noise, expected.noise)
            assert torch.equal(part.given.mel_NSM, expected.given.mel_NSM)
            assert part.clips == expected.clips


@pytest.mark.parametrize("change", [{"accumulate": 2}, {"workers": 2}])
def test_how_a_batch_is_made_changes_nothing(setting, tmp_path, change):
    expected, curve, _ = train(setting, tmp_path / "one.pt")
    found, other, _ = train(setting, tmp_path / "other.pt", TRAIN.model_copy(update=change))
    for one, two in zip(curve, other, strict=True):
        assert two == pytest.approx(one, rel=1e-3)
    if "workers" in change:
        assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_frozen_expert_gets_no_gradient_but_passes_one_on(setting):
    net, objective, data = setting()
    objective = dataclasses.replace(
        objective, weights=LOSS.model_copy(update={"simple": 0.0, "l2": 0.0, "lpips": 0.0, "change": 0.0, "sync": 1.0})
    )
    objective.total(objective(net, data.step(0)), data.images, data.batch).backward()
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
    torch.nn.init.zeros_(net.weight)
    early, late = Average(net), Average(net)
    torch.nn.init.ones_(net.weight)
    early.update(net, 0, 0.99)
    assert float(early.weights["weight"]) == pytest.approx(0.9)
    late.update(net, 100_000, 0.99)
    assert float(late.weights["weight"]) == pytest.approx(0.01)


def test_bf16_leads_about_where_fp32_does(setting):
    net, objective, data = setting()
    with torch.no_grad():
        net.out.weight.normal_(std=0.02)  # starts at zero, and would hide what comes before it
    batch = data.step(0)
    exact, rough = objective(net, batch), dataclasses.replace(objective, bf16=True)(net, batch)
    for name, values in exact.items():
        assert rough[name].dtype == torch.float32
        torch.testing.assert_close(rough[name], values, rtol=0.05, atol=1e-3)
    assert not torch.equal(rough["simple"], exact["simple"])


def test_dropped_audio_is_not_judged_by_the_expert(setting):
    net, objective, data = setting()
    always = dataclasses.replace(data, condition_dropout=1.0).step(0)
    assert float(always.given.audio_kept_N.sum()) == 0
    assert objective(net, always)["sync"].tolist() == [0]
    never = dataclasses.replace(
        always, given=dataclasses.replace(always.given, audio_kept_N=torch.ones(len(always.x_0)))
    )
    plain = dataclasses.replace(always, given=dataclasses.replace(always.given, audio_kept_N=None))
    assert objective(net, never)["sync"].item() == objective(net, plain)["sync"].item() > 0


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
        weights = LOSS.model_copy(update={"sync": 0.0})
        expert = LipSyncExpert(width=4, embedding=8, size=32, sees="mouth")
        objective = Objective(model.diffusion, expert, pyramid_distance, weights, composite=True)
        return fit(model.net, objective, data, TRAIN, state=state, on_step=on_step).weights

    def kill(step: int) -> None:
        if step == 2:
            raise Killed

    expected = run(tmp_path / "whole.pt")
    with pytest.raises(Killed):
        run(tmp_path / "state.pt", kill)
    found = run(tmp_path / "state.pt")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
