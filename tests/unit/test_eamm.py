"""EAMM: sizes as published, key points and the motion between them, what sound to motion starts from and learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn

from stages.base import params
from stages.base.errors import ParameterError
from stages.clips.clip import Clip
from stages.methods.kinds import eamm
from stages.methods.kinds.eamm import emotion, first_order, speech, training
from stages.methods.kinds.eamm.first_order import Motion
from stages.methods.kinds.eamm.settings import PAPER, Settings
from stages.methods.systems import Data, Facts
from stages.networks import seeded

FACTS = Facts(size=32, fps=25.0, sample_rate=16000, mel_bins=80)
SMALL: dict[str, Any] = {
    **PAPER,
    "steps": 4,
    "levels": 2,
    "width": 4,
    "motion_width": 4,
    "widest": 16,
    "shrunk": 2,
    "generator_width": 4,
    "halvings": 1,
    "blocks": 1,
    "pooled": (2, 4),
    "sound_width": 2,
    "sound_hidden": 8,
    "picture_width": 2,
    "lstm": 8,
    "lstm_layers": 1,
    "emotion_share": 0.0,
    "emotion_width": 2,
    "images": 2,
    "sequences": 2,
    "frames": 4,
}
SAMPLE = params.load("presets/smoke.yaml").sample


def system(**over: Any) -> eamm.System:
    return seeded(1, lambda: eamm.System(Settings.model_validate({**SMALL, **over}), FACTS))


def clip(frames: int = 12) -> Clip:
    rng = np.random.default_rng(7)
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    face = np.stack([np.cos(angle), np.sin(angle)], -1) * 8 + 16
    return Clip(
        name="ada_1",
        speaker="ada",
        frames_THWC=rng.integers(0, 256, (frames, 32, 32, 3), dtype=np.uint8),
        landmarks_TL2=(face + rng.normal(0, 0.3, (frames, 68, 2))).astype(np.float32),
        masks_THW=np.ones((frames, 32, 32), bool),
        ear_T2=np.full((frames, 2), 0.3, np.float32),
        mel_SM=rng.uniform(-4, 4, (int(3.2 * frames), 80)).astype(np.float32),
        audio=np.zeros(640 * frames, np.int16),
        blinks=[],
    )


def trainer(made: eamm.System) -> training.Trainer:
    data = Data(train=[clip()], validation=[], expert=None, seed=5, device=torch.device("cpu"))  # type: ignore[arg-type]
    return seeded(2, lambda: training.Trainer(made, data))


def still(places: Tensor) -> Motion:
    """Key points around which nothing turns."""
    return Motion(places, torch.eye(2).expand(*places.shape[:2], 2, 2))


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_networks_are_of_the_published_sizes() -> None:
    shape: dict[str, Any] = {"points": 10, "levels": 5, "widest": 1024, "shrunk": 4}
    with torch.device("meta"):
        dense = first_order.DenseMotion(width=64, **shape)
        assert count(dense) == 37_730_268
        assert count(first_order.Generator(width=64, halvings=2, blocks=6, residual=False, dense=dense)) == 45_575_391
        assert count(speech.PictureEncoder(size=256, width=4)) == 1_575_936
        assert count(speech.SoundEncoder(steps=28, bands=12, width=64, hidden=2048)) == 27_834_752
        assert count(speech.feature_map(256, 35)) == 3_481_507
        assert count(emotion.Displacement(hourglass=32, width=64, **shape)) == 27_805_570
    assert count(first_order.Detector(width=32, **shape)) == 14_215_368


def test_a_key_point_is_the_mean_of_its_heat_and_starts_without_turning() -> None:
    detector = seeded(1, lambda: first_order.Detector(points=3, width=4, levels=2, widest=16, shrunk=2)).eval()
    found, heat = detector(torch.rand(2, 3, 32, 32))
    assert heat.shape == (2, 3, 10, 10)
    assert_allclose(heat.sum((2, 3)).detach(), 1, atol=1e-5)
    x = (heat.sum(2) * torch.linspace(-1, 1, 10)).sum(-1)
    assert_allclose(found.places_NK2[..., 0].detach(), x.detach(), atol=1e-5)
    assert_allclose(found.jacobians_NK22.detach(), np.broadcast_to(np.eye(2), (2, 3, 2, 2)), atol=1e-5)


def test_where_pixels_come_from_by_hand() -> None:
    """A key point that moved right by 0.5 and doubled: what lies 0.2 right of it was 0.1 right of the source's."""
    source = still(torch.tensor([[[0.0, 0.0]]]))
    driving = Motion(torch.tensor([[[0.5, 0.0]]]), 2 * torch.eye(2)[None, None])
    found = first_order.candidates(source, driving, 21)
    assert found.shape == (1, 2, 21, 21, 2)
    assert_allclose(found[0, 0], first_order.grid(21, torch.device("cpu")), atol=1e-6)
    assert_allclose(found[0, 1, 10, 17], [0.1, 0.0], atol=1e-6)


def test_equal_motions_leave_the_picture_and_a_residual_starts_there() -> None:
    made = system(residual=True).eval()
    x = torch.rand(2, 3, 32, 32)
    known = still(torch.rand(2, 10, 2) - 0.5)
    with torch.no_grad():
        assert_allclose(made.generator(x, known, known), x, atol=1e-4)
        whole = system(residual=False).eval().generator(x, known, known)
    assert 0 < whole.min() < whole.max() < 1


def test_places_that_are_no_numbers_are_not_hidden() -> None:
    """PyTorch's own gradient ends the process on a CPU there."""
    x, places = torch.rand(1, 3, 8, 8, requires_grad=True), torch.full((1, 8, 8, 2), torch.nan, requires_grad=True)
    made = first_order.sampled(x, places)
    made.sum().backward()
    assert made.isnan().all()
    there = first_order.grid(8, torch.device("cpu"))[None]
    assert_allclose(first_order.sampled(x, there).detach(), x.detach(), atol=1e-5)


def test_key_points_that_follow_the_picture_cost_nothing() -> None:
    x = first_order.grid(33, torch.device("cpu")).movedim(2, 0)[None]
    torch.manual_seed(3)

    def detector(picture: Tensor) -> tuple[Motion, Tensor]:
        """Key points stuck to the picture: where its values are those of three places."""
        target = torch.tensor([[0.0, 0.0], [0.3, -0.2], [-0.25, 0.2]])
        far = (picture[0, :2, None] - target.T[:, :, None, None]).square().sum(0)
        best = far.flatten(1).argmin(1)
        y, column = best // 33, best % 33
        places = torch.stack([column, y], -1) / 16 - 1
        gx, gy = torch.gradient(picture[0, :2], dim=(2, 1))
        slope = torch.stack([gx, gy], -1)[:, y, column].movedim(0, 1) * 16  # of the values over the places
        return Motion(places[None], torch.linalg.inv(slope)[None]), picture

    found, _ = detector(x)
    assert training.equivariance_loss(detector, x, found) < 0.08  # type: ignore[arg-type]
    wrong = Motion(found.places_NK2 + 0.3, 2 * found.jacobians_NK22)
    assert training.equivariance_loss(detector, x, wrong) > 0.5  # type: ignore[arg-type]


def test_the_pull_by_hand() -> None:
    landmarks = clip().landmarks_TL2[:2]
    there = np.stack([landmarks[:, list(group)].mean(1) for group in training.GROUPS], 1)
    places = torch.from_numpy(2 * there / 31 - 1)
    assert training.pull_loss(places, landmarks, 32) == pytest.approx(0, abs=1e-6)
    assert training.pull_loss(places + 0.25, landmarks, 32) == pytest.approx(0.25, abs=1e-5)


def test_a_pose_tells_place_size_roll_and_turn() -> None:
    points = clip(1).landmarks_TL2
    still_6, moved_6, larger_6 = (speech.poses(x, 32)[0] for x in (points, points + [3.1, 0], 16 + 1.5 * (points - 16)))
    assert_allclose(moved_6 - still_6, [0.2, 0, 0, 0, 0, 0], atol=1e-5)
    assert_allclose(larger_6[2], 1.5 * still_6[2], rtol=1e-5)
    assert_allclose(larger_6[3:], still_6[3:], atol=1e-5)


@pytest.mark.parametrize("motion", ["direct", "map"])
def test_both_parts_learn_one_after_the_other(motion: str) -> None:
    made = system(motion=motion, pull=1.0, learning_rate=0.01)
    own = trainer(made)
    assert own.parts == [("first_order", 0, 2), ("speech", 2, 4)]

    def weights(network: nn.Module) -> list[Tensor]:
        return [value.detach().clone() for value in network.parameters()]

    def moved(network: nn.Module, before: list[Tensor]) -> bool:
        return any(not a.equal(b) for a, b in zip(network.parameters(), before, strict=True))

    speech, drawing = weights(made.speech), weights(made.generator)
    first = own.step(0)
    assert first["picture"] > 0
    assert first["pull"] > 0
    assert first["equivariance"] > 0
    assert first["motion"] == 0
    assert moved(made.generator, drawing)
    assert not moved(made.speech, speech)
    own.step(1)
    own.step(2)
    drawing = weights(made.generator)
    statistics = {name: value.clone() for name, value in made.detector.named_buffers()}
    last = own.step(3)
    assert last["motion"] > 0
    assert last["picture"] == 0
    assert moved(made.speech, speech)
    assert not moved(made.generator, drawing)
    assert all(value.equal(statistics[name]) for name, value in made.detector.named_buffers())


def test_before_it_is_taught_the_still_frame_stands_and_parts_change_nothing() -> None:
    made, own = system(motion="direct", residual=True).eval().requires_grad_(False), clip()
    sampling = SAMPLE.model_copy(update={"batch": 5})
    parts = np.concatenate(list(made.generate(own, own, sampling, lambda n: None)))
    assert np.abs(parts.astype(int) - own.frames_THWC[:1]).max() <= 1
    nn.init.normal_(made.speech.told.weight, std=0.1)
    parts = np.concatenate(list(made.generate(own, own, sampling, lambda n: None)))
    whole = np.concatenate(list(made.generate(own, own, sampling.model_copy(update={"batch": 50}), lambda n: None)))
    assert np.abs(parts.astype(int) - whole).max() <= 1
    assert np.abs(whole[0].astype(int) - whole[-1]).max() > 3


def test_heats_of_other_sides_are_compared_by_their_sums() -> None:
    """At 128 pixels the map of the sound has 58 × 58 places, that of the picture 26 × 26."""
    told, true = torch.full((1, 2, 58, 58), 1 / 58**2), torch.full((1, 2, 26, 26), 1 / 26**2)
    assert training.heat_loss(told, true) == pytest.approx(0, abs=1e-8)
    peak = torch.zeros(1, 2, 26, 26)
    peak[..., 13, 13] = 1
    assert training.heat_loss(told, peak) > 1e-3


def test_settings_that_can_not_be_are_named() -> None:
    with pytest.raises(ParameterError, match=r"settings\.points is 8; with settings\.pull there are 10 groups"):
        system(points=8, pull=1.0)
    with pytest.raises(ParameterError, match=r"network\.size is 32; settings\.shrunk 8, levels 2"):
        system(shrunk=8)
    with pytest.raises(ParameterError, match=r"settings\.pooled is \[5, 4\], which does not divide audio_steps 24"):
        system(pooled=(5, 4))
    with pytest.raises(ParameterError, match=r"settings\.emotion is video; a model whose emotion_share is 0"):
        system(emotion="video")
    with pytest.raises(ParameterError, match=r"first_order is 0\.5 and emotion_share 0\.5; together"):
        system(emotion_share=0.5)
    with pytest.raises(ParameterError, match=r"settings\.points is 3; an expression moves 4 of them"):
        system(points=3, emotion_share=0.25)
    with pytest.raises(ParameterError, match=r"settings\.frames is 13, and the shortest training clip has 12 frames"):
        trainer(system(frames=13))


def expressive(**over: Any) -> eamm.System:
    return system(emotion_share=0.25, motion="direct", learning_rate=0.01, **over)


def test_a_displacement_moves_its_four_key_points_alone() -> None:
    made = expressive().displacement
    assert made is not None
    made.moved_4.copy_(torch.tensor([1, 4, 6, 8]))
    told = still(torch.rand(2, 10, 2) - 0.5)
    found = made.eval()(torch.rand(2, 3, 32, 32), told)
    unmoved = [0, 2, 3, 5, 7, 9]
    for before, after in zip(told, found, strict=True):
        assert after[:, unmoved].equal(before[:, unmoved])
        assert not after[:, [1, 4, 6, 8]].isclose(before[:, [1, 4, 6, 8]]).all((2, *range(3, before.dim()))).any()
    assert emotion.octaves(torch.zeros(3, 6)).shape == (3, 126)
    assert_allclose(emotion.octaves(torch.tensor([0.5]))[[0, 1, 2, 11]], [0.5, np.sin(0.5), np.sin(1.0), np.cos(0.5)])


def test_the_cover_tells_nothing_of_the_mouth() -> None:
    own = clip(1)
    open_mouth = own.landmarks_TL2.copy()
    open_mouth[:, 48:] += np.random.default_rng(1).normal(0, 3, (1, 20, 2))
    white = np.full((1, 32, 32, 3), 255, np.uint8)
    hidden = emotion.covered(white, own.landmarks_TL2)
    assert 0 < (hidden == 0).mean() < 0.5
    assert np.array_equal(hidden, emotion.covered(white, open_mouth))
    assert white.min() == 255, "the frames themselves stay"


def test_sequences_are_moved_as_one() -> None:
    torch.manual_seed(0)
    x = torch.rand(3, 1, 3, 16, 16).expand(-1, 4, -1, -1, -1)
    found = emotion.moved(x)
    assert found.shape == x.shape
    assert found[:, 0].equal(found[:, 3])
    assert not found[:, 0].isclose(x[:, 0]).flatten(1).all(1).any()


def test_the_displacement_learns_last_with_all_else_held() -> None:
    made = expressive()
    own = trainer(made)
    assert own.parts == [("first_order", 0, 2), ("speech", 2, 3), ("emotion", 3, 4)]
    for step in range(3):
        assert own.step(step)["emotion"] == 0
    assert made.displacement is not None
    made.speech.told.bias.data[:] = torch.linspace(-1, 1, 60)  # the last key points are told worst
    own.average.weights["speech.told.bias"].copy_(made.speech.told.bias)
    held = {name: value.clone() for name, value in made.state_dict().items() if not name.startswith("displacement")}
    before = [value.clone() for value in made.displacement.parameters()]
    last = own.step(3)
    assert last["emotion"] > 0
    assert last["motion"] == 0
    assert set(made.displacement.moved_4.tolist()) == {0, 1, 8, 9}
    assert own.average.weights["displacement.moved_4"].tolist() == made.displacement.moved_4.tolist()
    assert all(value.equal(held[name]) for name, value in made.state_dict().items() if name in held)
    assert any(not a.equal(b) for a, b in zip(made.displacement.parameters(), before, strict=True))


def test_it_learns_what_the_sound_does_not_tell() -> None:
    """Key points that move with a bright forehead: the displacement finds them in pictures it has not seen."""
    torch.manual_seed(3)
    made = emotion.Displacement(points=4, hourglass=4, levels=2, widest=16, shrunk=2, width=4)
    optimiser = torch.optim.Adam(made.parameters(), 0.003)

    def drawn(count: int) -> tuple[Tensor, Motion, Motion]:
        bright = torch.rand(count)
        picture = torch.rand(count, 3, 32, 32) * 0.3
        picture[:, :, :10] += bright[:, None, None, None]
        told = still(torch.rand(count, 4, 2) - 0.5)
        return picture, told, Motion(told.places_NK2 + 0.4 * (bright[:, None, None] - 0.5), told.jacobians_NK22)

    for _ in range(150):
        picture, told, true = drawn(16)
        optimiser.zero_grad()
        (made(picture, told).places_NK2 - true.places_NK2).abs().mean().backward()
        optimiser.step()
    picture, told, true = drawn(64)
    with torch.no_grad():
        left = (made.eval()(picture, told).places_NK2 - true.places_NK2).abs().mean()
    assert left < 0.5 * (told.places_NK2 - true.places_NK2).abs().mean()


@pytest.mark.parametrize(("whose", "first", "later"), [("none", 0, 0), ("first_frame", 1, 0), ("video", 1, 1)])
def test_whose_expression_counts(whose: str, first: int, later: int) -> None:
    made, own = expressive(emotion=whose, residual=True).eval().requires_grad_(False), clip()
    assert made.displacement is not None

    def added(change: slice) -> bool:
        """The displacement is asked about frames that were changed."""
        seen: list[Tensor] = []
        handle = made.displacement.register_forward_pre_hook(lambda module, given: seen.append(given[0]))  # type: ignore[union-attr]
        frames = own.frames_THWC.copy()
        frames[change] = 255 - frames[change]
        for given in (own, replace(own, frames_THWC=frames)):
            list(made.generate(given, own, SAMPLE.model_copy(update={"batch": 50}), lambda n: None))
        handle.remove()
        return len(seen) == 2 and not seen[0].equal(seen[1])

    assert added(slice(0, 1)) == bool(first)
    assert added(slice(3, 12)) == bool(later)


def test_what_it_sees_is_said() -> None:
    entry = params.Method.model_construct(settings={"pose": "video"})
    assert "pose in each frame of the test video" in eamm.sees(entry)
    still = params.Method.model_construct(settings={"pose": "first_frame"})
    assert eamm.sees(still) == "the first frame, the audio; its eyes never move"
    whose = params.Method.model_construct(settings={"emotion": "video"})
    assert (
        eamm.sees(whose)
        == "the first frame, each frame of the test video for its expression, the mouth covered, the audio"
    )
