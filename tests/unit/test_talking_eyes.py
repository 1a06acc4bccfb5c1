"""The eyes of a talking face, as they are asked for and as the network is told them: stages/talking."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from stages.faces.geometry import ear
from stages.talking import eyes
from stages.talking.options import Options
from stages.talking.seen import Looks, eyes_of

KNOWN = {"open_ear": [0.38, 0.4, 0.42], "closed_ear": [0.3, 0.4, 0.5]}


def looks(how: str, *, blink: float, known: dict[str, Any] = KNOWN) -> Looks:
    """The eyes of a still whose own are open at an EAR of 0.25, which the model was not trained on."""
    points = np.zeros((5, 68, 2))
    for first in (36, 42):
        points[:, first : first + 6] = [[0, 0], [1, -0.375], [2, -0.375], [3, 0], [2, 0.375], [1, 0.375]]
    assert_allclose(ear(points), 0.25)
    model = SimpleNamespace(config={"corpus": known, "network": {"ear": how}}, drop=())

    class Face:
        def __len__(self) -> int:
            return 250

        def reference(self) -> tuple[None, Any]:
            return None, points

    return eyes_of(model, Options(blink=blink), Face(), None, 25.0)  # type: ignore[arg-type]


def test_a_network_of_raw_ratios_is_asked_for_eyes_that_it_knows() -> None:
    found = looks("raw", blink=0.5)
    assert_allclose(found.ear_T2.max(), 0.38, atol=1e-6)
    assert_allclose(found.ear_T2.min(), 0.4 * 0.38, atol=0.02)
    assert_allclose(found.condition_T2, found.ear_T2)
    assert found.onsets


def test_a_network_of_normalised_ratios_is_told_shares_of_the_faces_own() -> None:
    found = looks("normalised", blink=0.5)
    assert_allclose(found.ear_T2.max(), 0.25, atol=1e-6)
    assert_allclose(found.condition_T2, (found.ear_T2 - 0.1) / 0.15, atol=1e-5)
    assert found.condition_T2.max() == pytest.approx(1, abs=1e-5)
    assert found.condition_T2.min() == pytest.approx(0, abs=0.1)
    assert_allclose(looks("normalised", blink=0.0).condition_T2, 1, atol=1e-5)


def test_a_model_of_a_corpus_without_blinks_is_told_of_open_eyes() -> None:
    found = looks("normalised", blink=0.5, known={"open_ear": [0.38, 0.4, 0.42]})
    assert_allclose(found.condition_T2, 1, atol=1e-5)


def test_the_least_of_a_video_is_that_of_its_blinks_or_the_usual_without() -> None:
    still = np.full((50, 2), 0.3)
    assert eyes.least(still, 0.4) == 0.4
    assert eyes.least(still * np.linspace(1, 0.75, 50)[:, None], 0.4) == 0.4, "eyes that look down"
    blinking = still.copy()
    blinking[20:23] = 0.18
    assert eyes.least(blinking, 0.4) == pytest.approx(0.6)
    blinking[21] = 0.0
    assert eyes.least(blinking, 0.4) == eyes.SHUT, "no landmarks show less"
