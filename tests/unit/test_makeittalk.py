"""MakeItTalk: sizes as published, the face's own frame, the drawing, the script of blinks, what each loss asks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from stages.base.errors import ParameterError
from stages.clips.clip import Clip
from stages.faces.geometry import mouth_opening
from stages.methods.kinds import makeittalk
from stages.methods.systems import Facts
from stages.networks import seeded

FACTS = Facts(size=64, fps=25.0, sample_rate=16000, mel_bins=80)
SMALL = {
    **makeittalk.PAPER,
    "steps": 10,
    "lstm": 8,
    "lstm_layers": 1,
    "width": 4,
    "levels": 3,
    "res_blocks": 1,
    "windows": 4,
    "images": 2,
    "speaker_frames": 8,
}


def system(**over: Any) -> makeittalk.System:
    made = seeded(1, lambda: makeittalk.System(makeittalk.Settings.model_validate({**SMALL, **over}), FACTS))
    return made.eval().requires_grad_(False)


def face() -> np.ndarray[Any, Any]:
    """Landmarks of a face looking at us, in distances of its outer eye corners."""
    points = np.zeros((68, 2))
    points[:17] = [[-0.9 * math.cos(a), 1.7 * math.sin(a)] for a in np.linspace(0.1, math.pi - 0.1, 17)]
    points[17:22] = np.stack([np.linspace(-0.7, -0.2, 5), np.full(5, -0.3)], -1)
    points[22:27] = np.stack([np.linspace(0.2, 0.7, 5), np.full(5, -0.3)], -1)
    points[27:31] = np.stack([np.zeros(4), np.linspace(0, 0.5, 4)], -1)
    points[31:36] = np.stack([np.linspace(-0.2, 0.2, 5), np.full(5, 0.6)], -1)
    eye = np.array([[-0.15, 0], [-0.05, -0.07], [0.05, -0.07], [0.15, 0], [0.05, 0.07], [-0.05, 0.07]])
    points[36:42], points[42:48] = eye - [0.35, 0], eye + [0.35, 0]
    outer, inner = np.linspace(0, 2 * np.pi, 12, endpoint=False), np.linspace(0, 2 * np.pi, 8, endpoint=False)
    points[48:60] = np.stack([-0.35 * np.cos(outer), -0.12 * np.sin(outer)], -1) + [0, 1.0]
    points[60:68] = np.stack([-0.25 * np.cos(inner), -0.05 * np.sin(inner)], -1) + [0, 1.0]
    return points


def clip(frames: int = 30) -> Clip:
    rng = np.random.default_rng(7)
    points = np.repeat(20 * face()[None] + [32, 24], frames, 0)
    return Clip(
        name="ada_1",
        speaker="ada",
        frames_THWC=rng.integers(0, 256, (frames, 64, 64, 3), dtype=np.uint8),
        landmarks_TL2=points.astype(np.float32),
        masks_THW=np.ones((frames, 64, 64), bool),
        ear_T2=np.full((frames, 2), 0.3, np.float32),
        mel_SM=rng.uniform(-4, 4, (int(3.2 * frames), 80)).astype(np.float32),
        audio=np.zeros(640 * frames, np.int16),
        blinks=[],
    )


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_networks_are_of_the_published_sizes() -> None:
    """With 3-D landmarks and Resemblyzer's 256 values; the speaker branch without the decoder that is never called."""
    shape: dict[str, Any] = {"mel_bins": 80, "points": 3 * 68, "lstm": 256, "layers": 3}
    assert count(makeittalk.ContentBranch(**shape, dropout=0.5)) == 1_965_677
    assert count(makeittalk.SpeakerBranch(**shape, voice=256)) == 3_000_908 - 609_088
    with torch.device("meta"):
        network = makeittalk.PictureNetwork(c_in=6, c_out=3, width=64, levels=6, blocks=2)
    assert count(network) == 69_860_736


def test_a_faces_own_frame_knows_neither_place_nor_size_nor_tilt() -> None:
    own = face()
    turn = np.array([[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]])
    pixels = 17 * own @ turn.T + [40, 30]
    at = makeittalk.Place.of(pixels)
    assert_allclose(at.inward(pixels), own, atol=1e-9)
    assert_allclose(at.outward(own), pixels, atol=1e-9)


def test_before_any_training_the_landmarks_are_the_first_frames_but_for_blinks() -> None:
    own = clip()
    made = system()
    nn.init.zeros_(made.speaker.tell[-1].weight)
    nn.init.zeros_(made.speaker.tell[-1].bias)
    found = made.landmarks(own, own, seed=1)
    lids = [*makeittalk.UPPER_LIDS, *makeittalk.LOWER_LIDS]
    rest = np.setdiff1d(np.arange(68), lids)
    assert_allclose(found[:, rest], own.landmarks_TL2[:, rest], atol=1e-4)
    shut = int((makeittalk.FIRST_BLINK_S + makeittalk.SHUT_S) * FACTS.fps)
    gap = np.abs(found[:, 37, 1] - found[:, 41, 1])
    assert_allclose(gap[shut] / gap[0], 1 - makeittalk.SHUT, atol=1e-4)


def test_the_script_of_blinks() -> None:
    """The first begins after 0.48 s and is shut after 0.16 s more; pauses are drawn between 1.44 and 2.4 s."""
    fps = 1000.0
    shut = makeittalk.scripted_blinks(60_000, fps, np.random.default_rng(3))
    starts = np.flatnonzero((shut[1:] > 0) & (shut[:-1] == 0)) / fps
    ends = np.flatnonzero((shut[1:] == 0) & (shut[:-1] > 0)) / fps
    assert starts[0] == pytest.approx(0.48, abs=0.002)
    assert shut[640] == pytest.approx(1, abs=0.01)
    assert_allclose(ends[: len(starts)] - starts[: len(ends)], 0.4, atol=0.003)
    pauses = starts[1:] - ends[: len(starts) - 1]
    assert pauses.min() > 1.43
    assert pauses.max() < 2.41
    assert np.ptp(pauses) > 0.5
    assert makeittalk.scripted_blinks(5, 25.0, np.random.default_rng(3)).max() == 0


def test_lips_are_amplified_head_motion_is_halved_and_crossed_lips_are_mended() -> None:
    own, points = clip(), face()
    told = np.zeros((30, 68, 2))
    told[:, 57, 1] = 0.1 * np.sin(np.arange(30) / 5)  # a lower lip's middle
    head = np.zeros((30, 68, 2))
    head[..., 0] = np.linspace(0, 0.2, 30)[:, None]
    made = system(amplify_lips=2.0, amplify_head=0.5, calibrate=False)
    made.displacements = lambda *given: (told.copy(), head.copy())  # type: ignore[method-assign]
    found = makeittalk.Place.of(own.landmarks_TL2[0]).inward(made.landmarks(own, own, seed=1))
    moved = found - points
    assert_allclose(moved[:, 30, 0], head[:, 30, 0] / 2, atol=1e-3)
    assert_allclose(moved[:, 57, 1], 2 * told[:, 57, 1], atol=5e-3)
    crossed = np.repeat(points[None], 2, 0)
    crossed[0, 62, 1], crossed[0, 66, 1] = 1.2, 0.9
    mended = makeittalk.upright_lips(crossed.copy())
    assert_allclose(mended[0, [62, 66], 1], 1.05)
    assert np.array_equal(mended[1], crossed[1])


def test_the_smaller_half_of_each_coordinate_is_taken_away() -> None:
    own = clip(20)
    told = np.repeat(np.arange(20.0)[:, None, None], 68, 1).repeat(2, 2) / 100
    made = system(calibrate=True, amplify_lips=1.0, amplify_head=0.0)
    made.displacements = lambda *given: (told.copy(), np.zeros_like(told))  # type: ignore[method-assign]
    found = makeittalk.Place.of(own.landmarks_TL2[0]).inward(made.landmarks(own, own, seed=1)) - face()
    assert_allclose(found[:, 8, 0], told[:, 8, 0] - told[:10, 8, 0].mean(), atol=1e-6)


def test_a_drawing_has_its_colours_where_the_landmarks_are() -> None:
    points = 20 * face() + [32, 24]
    drawn = makeittalk.lines(points, 64, 4)
    assert drawn.shape == (256, 256, 3)

    def at(point: int) -> list[int]:
        x, y = np.round((points[point] + 0.5) * 4 - 0.5).astype(int)
        return drawn[y, x].tolist()

    assert at(19) == [255, 0, 0], "brows, blue in the published BGR"
    assert at(8) == at(37) == [0, 255, 0]
    assert at(51) == [255, 255, 0]
    assert at(62) == [0, 255, 255]
    assert drawn[2, 2].tolist() == [255, 255, 255]
    shifted = makeittalk.lines(points + [0.05, 0], 64, 2)
    assert not np.array_equal(shifted, makeittalk.lines(points, 64, 2)), "a fraction of a pixel is seen"


def test_what_the_branches_learn_of_a_clip_has_the_heads_motion_apart() -> None:
    """A head that turns in the picture while the mouth opens: the registered landmarks open it and stay."""
    own, frames = face(), 10
    opening = np.linspace(0, 0.2, frames)
    points = np.repeat(own[None], frames, 0)
    points[:, [65, 66, 67], 1] += opening[:, None]
    turned = []
    for angle, each in zip(np.linspace(0, 0.3, frames), points):
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        turned.append(20 * each @ turn.T + [32 + 10 * angle, 24])
    given = clip(frames)
    told = makeittalk.Told.of(Clip(**{**given.__dict__, "landmarks_TL2": np.stack(turned).astype(np.float32)}))
    registered = told.registered_TP.reshape(frames, 68, 2).numpy()
    assert_allclose(registered, points, atol=1e-4)
    assert_allclose(told.still_P.reshape(68, 2), own, atol=1e-4)
    assert np.abs(told.moving_TP.reshape(frames, 68, 2).numpy() - points).max() > 0.1
    assert_allclose(told.gap_T - told.gap_T[0], opening, atol=0.02)
    assert mouth_opening(registered)[-1] > mouth_opening(registered)[0] + 0.1


def test_the_losses_by_hand() -> None:
    apart = makeittalk.neighbours()
    straight = torch.zeros(1, 68, 2)
    straight[0, :, 0] = torch.arange(68.0)
    assert (apart @ straight)[0, 1:16].abs().max() == 0, "a straight jaw differs from its neighbours' mean by nothing"
    assert (apart @ straight)[0, [0, 16, 17, 30]].abs().max() == 0, "ends of lines have one neighbour"
    true = torch.zeros(2, 136)
    told = true.clone()
    told[0, 2 * 8] = 1.0  # one point of the jaw, across
    loss = makeittalk.landmark_loss(told, true, torch.ones(2, 68), apart)
    assert loss == pytest.approx((1 + 1 + 0.5 + 0.5) / (2 * 136))
    weights = makeittalk.lip_weights(torch.tensor([0.0, 0.1]), gain=0.0)
    assert_allclose(weights[:, 50], [10, 2])
    assert (weights[:, :48] == 1).all()
    assert (makeittalk.lip_weights(torch.tensor([0.1]), gain=20.0)[:, 48:] == 20).all()


def test_windows_begin_at_the_frame_and_are_silence_beyond_the_sound() -> None:
    own, made = clip(), system(audio_steps=24, context=12, pooled=2)
    heard = made.windows(own, [10])
    assert heard.shape == (1, 18, 80)
    assert_allclose(heard[0, 6], own.mel_SM[32:34].mean(0), atol=1e-6)
    assert (made.windows(own, [29])[0, -1] == -4).all()


def test_settings_that_can_not_be_are_named() -> None:
    with pytest.raises(ParameterError, match=r"context 0 \+ audio_steps 23 must be a multiple of pooled, 2"):
        system(pooled=2)
    with pytest.raises(
        ParameterError, match=r"network\.size is 64; settings\.patch 2 and levels 6 need a multiple of 128"
    ):
        system(patch=2, levels=6)
