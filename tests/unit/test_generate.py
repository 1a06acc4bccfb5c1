"""The noise that a clip's frames start from, and guidance."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from stages.diffusion.schedule import Diffusion
from stages.networks.hifidiff import Conditions
from stages.pretrained import HifiDiff
from stages.sample.generate import guided, initial_noise

SHAPE = (3, 64, 64)


def frames(count: int, **shares: float) -> np.ndarray:
    return np.stack(
        list(islice(initial_noise("ada_s01", SHAPE, 5, **{"shared": 0.0, "interpolation": 0.0, **shares}), count))
    )


@pytest.mark.parametrize(
    ("shared", "interpolation"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.6), (0.3, 0.6), (1.0, 0.0), (0.0, 1.0)]
)
def test_neighbours_share_what_the_settings_say(shared, interpolation):
    x = frames(6, shared=shared, interpolation=interpolation).reshape(6, -1)
    assert x.var(1) == pytest.approx(np.ones(6), abs=0.05)
    for apart in (1, 3):
        expected = shared + (1 - shared) * interpolation ** (apart / 2)
        assert np.corrcoef(x)[np.arange(6 - apart), np.arange(apart, 6)] == pytest.approx(
            np.full(6 - apart, expected), abs=0.05
        )


def test_a_frames_noise_depends_on_clip_seed_and_number_alone():
    assert np.array_equal(frames(3, interpolation=0.5), frames(9, interpolation=0.5)[:3])
    other = next(initial_noise("ada_s02", SHAPE, 5, shared=0.5, interpolation=0.0))
    assert abs(np.corrcoef(other.ravel(), frames(1, shared=0.5).ravel())[0, 1]) < 0.05


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
