"""Blinks of rendered speakers: stages/corpora/rendered/paths.py."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_array_equal

from stages.base import params
from stages.corpora.rendered.paths import eyelid
from stages.measures.blinks import find_blinks

HOW = params.load("presets/demo.yaml").blink.model_dump()
TIMES = np.arange(500) / 250  # seconds


def lids(seed: int, variety: float) -> np.ndarray:
    """The mean opening of both eyes, (T,), of one blink that begins at 0.5 s."""
    return eyelid([0.5], TIMES, np.random.default_rng(seed), variety=variety).mean(1)


def test_without_variety_a_blink_shuts_and_opens_the_lids_within_a_third_of_a_second() -> None:
    for seed in range(20):
        opening = lids(seed, 0.0)
        low = np.flatnonzero(opening < 0.95)
        assert opening.min() < 0.01
        assert 0.15 < TIMES[low[-1]] - TIMES[low[0]] < 0.33
        assert find_blinks(opening[::10], **HOW)


def test_the_kinds_are_pairs_slow_and_half_blinks_each_as_often() -> None:
    seen = {"pair": 0, "slow": 0, "half": 0}
    for seed in range(150):
        opening = lids(seed, 1.0)
        low = np.flatnonzero(opening < 0.95)
        valleys = len(find_blinks(opening[::10], **HOW))  # as seen at 25 frames a second
        if opening.min() > 0.2:
            assert 0.25 <= opening.min() <= 0.5
            assert valleys == 1
            seen["half"] += 1
        elif valleys == 2:
            seen["pair"] += 1
        else:
            assert valleys == 1
            assert TIMES[low[-1]] - TIMES[low[0]] > 0.38
            seen["slow"] += 1
    assert min(seen.values()) > 35, seen


def test_variety_changes_nothing_that_is_drawn_afterwards() -> None:
    plain, varied = np.random.default_rng(3), np.random.default_rng(3)
    one, other = (eyelid([0.5], TIMES, rng, variety=v) for rng, v in ((plain, 0.0), (varied, 1.0)))
    assert (one != other).any()
    assert_array_equal(plain.random(5), varied.random(5))
