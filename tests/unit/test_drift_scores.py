"""The metrics stage's drift: of long clips alone, where they are long enough."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stages.base import params
from stages.scoring.scores import drift_scores

SETTINGS = params.load("presets/demo.yaml").metrics.model_copy(update={"drift_s": 2.0, "bootstrap": 50})
SPLITS = ("test_seen", "test_long")


def measured(split: str, frames: int, *, fall: float = 0.0) -> Any:
    """A video whose PSNR falls by so many dB from its first to its last frame, and whose mouth follows throughout."""
    rng = np.random.default_rng(frames)
    mouth = rng.normal(size=frames)
    made = rng.uniform(1, 2, frames - 1)
    return SimpleNamespace(
        split=split,
        mouth_given=mouth,
        mouth_T=mouth,
        psnr_T=30 - fall * np.linspace(0, 1, frames) + rng.normal(0, 0.1, frames),
        ssim_T=np.full(frames, 0.9),
        traces={"f_mse": (made, made)},
        fps=25.0,
    )


def test_a_fall_is_measured_with_its_interval() -> None:
    found = drift_scores([measured("test_long", 500, fall=4.0), measured("test_seen", 500)], SPLITS, SETTINGS)
    score = found["psnr_drift"]["test_long"]
    assert score.value == pytest.approx(-4 * (500 - 50) / 500, abs=0.1)
    assert score.low is not None
    assert score.low < score.value < (score.high or 0) < 0
    assert (score.n, found["psnr_drift"]["all"]) == (1, score)
    assert found["psnr_drift"]["test_seen"].value is None
    assert found["ssim_drift"]["test_long"].value == pytest.approx(0)
    assert found["mouth_r_drift"]["test_long"].value == pytest.approx(0)
    assert found["f_mse_ratio_drift"]["test_long"].value == pytest.approx(0)


def test_short_clips_and_other_splits_have_none() -> None:
    assert drift_scores([measured("test_seen", 500)], ("test_seen",), SETTINGS) == {}
    assert drift_scores([measured("test_long", 99)], SPLITS, SETTINGS) == {}
    assert "psnr_drift" in drift_scores([measured("test_long", 100)], SPLITS, SETTINGS)
