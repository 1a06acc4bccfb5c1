"""The noise that a clip's frames start from."""

from itertools import islice

import numpy as np
import pytest

from stages.sample.generate import initial_noise

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
