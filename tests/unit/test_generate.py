"""The noise of a clip's frames, guidance, and that a clip's length costs no memory."""

import json
import os
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_clip

from stages.base import params
from stages.diffusion.schedule import Diffusion
from stages.methods.generate import Noise, generate, guided
from stages.networks.hifidiff import Conditions
from stages.pretrained.hifidiff import HifiDiff

SHAPE = (3, 64, 64)
SETTINGS = params.load("presets/smoke.yaml").sample
SHARES = [(0.0, 0.0), (0.3, 0.0), (0.0, 0.6), (0.3, 0.6), (1.0, 0.0), (0.0, 1.0)]


def noise(clip: str = "ada_s01", shape: tuple[int, int, int] = SHAPE, **shares: float) -> Noise:
    return Noise(clip, shape, 5, **{"shared": 0.0, "interpolation": 0.0, **shares})


@pytest.mark.parametrize("draw", [0, 1, 7], ids=["x_T", "step 0", "step 6"])
@pytest.mark.parametrize(("shared", "interpolation"), SHARES)
def test_neighbours_share_what_the_settings_say(shared, interpolation, draw):
    x = noise(shared=shared, interpolation=interpolation).frames(draw, range(6)).reshape(6, -1)
    assert x.var(1) == pytest.approx(np.ones(6), abs=0.05)
    for apart in (1, 3):
        expected = shared + (1 - shared) * interpolation ** (apart / 2)
        assert np.corrcoef(x)[np.arange(6 - apart), np.arange(apart, 6)] == pytest.approx(
            np.full(6 - apart, expected), abs=0.05
        )


@pytest.mark.parametrize(("shared", "interpolation"), SHARES)
def test_draws_are_independent(shared, interpolation):
    source = noise(shared=shared, interpolation=interpolation)
    x = np.stack([source.frames(draw, range(3)) for draw in range(4)]).reshape(4, -1)
    assert np.abs(np.corrcoef(x) - np.eye(4)).max() < 0.05


@pytest.mark.parametrize(("shared", "interpolation"), SHARES)
def test_noise_is_the_same_whatever_the_batch(shared, interpolation):
    one, many = (noise(shape=(3, 8, 8), shared=shared, interpolation=interpolation) for _ in range(2))
    singly = [[one.frames(draw, range(t, t + 1)) for draw in range(4)] for t in range(9)]
    for draw in range(4):
        together = np.concatenate([many.frames(draw, range(5)), many.frames(draw, range(5, 9))])
        assert np.array_equal(together, np.concatenate([frame[draw] for frame in singly]))


def test_noise_is_kept_only_where_frames_are_interpolated():
    for source, kept in ((noise(shared=0.5), 0), (noise(shared=0.5, interpolation=0.5), 3)):
        for t in range(4):
            for draw in range(3):
                source.frames(draw, range(t, t + 1))
        assert len(source.last) == kept


def test_frames_out_of_order_are_refused_where_they_are_interpolated():
    source = noise(interpolation=0.5)
    source.frames(0, range(3))
    with pytest.raises(AssertionError, match="frame 4 after 2"):
        source.frames(0, range(4, 5))


def test_x_T_is_made_as_written():
    """One number for each frame and one for all: samples of DDIM and DPM-Solver++ stay what they were."""
    key, shared, interpolation = [5, zlib.crc32(b"ada_s01")], 0.3, 0.6
    common = np.random.default_rng(key).standard_normal(SHAPE, dtype=np.float32)
    own = None
    for t, found in enumerate(noise(shared=shared, interpolation=interpolation).frames(0, range(3))):
        new = np.random.default_rng([*key, 1 + t]).standard_normal(SHAPE, dtype=np.float32)
        mixed = new if own is None else np.sqrt(interpolation) * own + np.sqrt(1 - interpolation) * new
        own = mixed.astype(np.float32)
        assert np.array_equal(found, (np.sqrt(shared) * common + np.sqrt(1 - shared) * own).astype(np.float32))


def test_noise_depends_on_the_clip_and_the_seed():
    own = noise().frames(0, range(1)).ravel()
    for other in (noise("ada_s02"), Noise("ada_s01", SHAPE, 6, shared=0.0, interpolation=0.0)):
        assert abs(np.corrcoef(own, other.frames(0, range(1)).ravel())[0, 1]) < 0.05


def stand_in() -> HifiDiff:
    """A network of one line."""
    network = {"reference": "as_is", "places": False, "audio_steps": 16, "blink_frames": 1, "ear": "raw"}
    return HifiDiff(
        lambda x, t, given: 0.7 * x + 0.2 * given.reference_NCHW,  # type: ignore[arg-type]
        Diffusion(1000, "cosine", "x0"),
        (),
        {"network": network},
    )


@pytest.mark.parametrize("sampler", ["ddim", "dpm_solver++", "ancestral"])
def test_a_clip_is_the_same_in_batches_of_any_size(make_clip, sampler):
    clip = make_clip(frames=27)
    made = {}
    for batch in (1, 10, 27):
        settings = SETTINGS.model_copy(
            update={"sampler": sampler, "steps": 4, "batch": batch, "shared_noise": 0.4, "interpolation": 0.5}
        )
        done: list[int] = []
        batches = list(generate(stand_in(), clip, clip, settings, torch.device("cpu"), done.append))
        assert (
            [len(frames) for frames in batches] == done == [*[batch] * (27 // batch), *[27 % batch] * (27 % batch > 0)]
        )
        made[batch] = np.concatenate(batches)
    assert made[27].dtype == np.uint8
    assert np.array_equal(made[1], made[27])
    assert np.array_equal(made[10], made[27])


def test_ancestral_sampling_of_a_still_clip_does_not_flicker(make_clip):
    moving = make_clip(frames=12)
    clip = replace(
        moving,
        frames_THWC=np.repeat(moving.frames_THWC[:1], 12, 0),
        masks_THW=np.repeat(moving.masks_THW[:1], 12, 0),
        landmarks_TL2=np.repeat(moving.landmarks_TL2[:1], 12, 0),
        ear_T2=np.repeat(moving.ear_T2[:1], 12, 0),
    )

    def flicker(**shares: float) -> float:
        settings = SETTINGS.model_copy(update={"sampler": "ancestral", "steps": 4, "batch": 5, **shares})
        made = np.concatenate(list(generate(stand_in(), clip, clip, settings, torch.device("cpu"), lambda n: None)))
        return float(np.abs(np.diff(made.astype(float), axis=0)).mean())

    own = flicker(shared_noise=0.0, interpolation=0.0)
    assert flicker(shared_noise=1.0, interpolation=0.0) == 0
    assert flicker(shared_noise=0.0, interpolation=0.9) < 0.6 * own


# Of a clip's second: landmarks, spectrogram and sound are 71 kB, and twice to three times that while they are read, turned into
# masks and encoded. 25 frames of 64 pixels are 307 kB, and whole arrays of them took 2,070 kB a second with all that came along.
LARGEST_GROWTH = 450e3  # bytes a second; 360e3 were measured


def test_a_long_clip_takes_no_more_memory_than_its_sound_and_landmarks(tmp_path):
    script = Path(__file__).with_name("memory_of_sampling.py")
    peak = {}
    for seconds in (10, 120):
        write_clip(tmp_path / str(seconds), "ada_long", 25 * seconds, side=64, segment=250)
        command = [sys.executable, str(script), str(tmp_path / str(seconds)), str(tmp_path / f"{seconds}.mp4")]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout)
        peak[seconds] = found["numpy"] + found["arrow"]
        assert (tmp_path / f"{seconds}.mp4").stat().st_size > 0
    assert (peak[120] - peak[10]) / 110 < LARGEST_GROWTH


def test_guidance_moves_away_from_what_is_said_without_the_condition():
    """A network whose x̂_0 is 1 + 2·(audio given) + 4·(blink given), plus where it is."""

    def net(x_t, t_N, given):
        kept = [torch.ones(2) if k is None else k for k in (given.audio_kept_N, given.blink_kept_N)]
        return (1 + 2 * kept[0] + 4 * kept[1])[:, None, None, None].expand(2, 3, 4, 4)

    model = HifiDiff(net, Diffusion(10, "cosine", "x0"), (), {})  # type: ignore[arg-type]
    x = torch.zeros(2, 3, 4, 4)
    given = Conditions(x, torch.zeros(2, 16, 80), torch.zeros(2, 1, 2), x)

    def at(audio: float, blink: float, given: Conditions = given) -> float:
        return float(guided(model, x, torch.tensor([3, 3]), given, audio, blink).mean())

    assert at(1, 1) == 7
    assert at(3, 1) == 7 + 2 * 2
    assert at(1, 2.5) == 7 + 1.5 * 4
    assert at(3, 2.5) == 7 + 2 * 2 + 1.5 * 4
    assert at(3, 2.5, replace(given, ear_NK2=None)) == 7 + 2 * 2, "a setting without the blink signal"
