"""Facts stored of the training clips: jaw, eyes, level, on clips with a known answer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from stages.clips import facts
from stages.faces.geometry import inter_ocular


def test_the_jaw_drops_as_far_as_it_was_moved_whatever_the_head_does(make_clip) -> None:
    face = np.asarray(make_clip().landmarks_TL2[0], np.float64)
    drop = 0.15 * float(inter_ocular(face))
    landmarks = np.repeat(face[None], 5, 0)
    right = face[45] - face[36]
    down = np.array([-right[1], right[0]]) / np.linalg.norm(right)
    landmarks[2, facts.CHIN] += drop * down
    for t, angle in enumerate((0.0, 0.1, -0.2, 0.05, 0.0)):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        landmarks[t] = (1 + 0.1 * t) * landmarks[t] @ turn.T + [3 * t, -t]
    assert facts.jaw_drop(landmarks) == pytest.approx(0.15, abs=1e-9)


def test_the_level_is_that_of_the_speech_and_not_of_the_pauses() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 200 * np.arange(16000) / 16000)
    speech = (tone * 32767).astype(np.int16)
    with_pause = np.concatenate([speech, (speech * 0.001).astype(np.int16), np.zeros(16000, np.int16)])
    expected = 20 * np.log10(0.5 / np.sqrt(2))
    assert facts.level(speech, 16000) == pytest.approx(expected, abs=0.01)
    assert facts.level(with_pause, 16000) == pytest.approx(expected, abs=0.01)
    assert facts.level(np.zeros(16000, np.int16), 16000) == -np.inf
    assert facts.level(np.zeros(10, np.int16), 16000) == -np.inf


def test_percentiles_are_over_clips_and_silent_ones_have_no_level(make_clip) -> None:
    clip = make_clip()
    trace = np.full((40, 2), 0.4, np.float32)
    trace[10:14] = 0.14
    one = dataclasses.replace(clip, ear_T2=trace, blinks=[(9, 15)])
    silent = dataclasses.replace(one, audio=np.zeros_like(clip.audio), blinks=[])
    found = facts.facts([one, silent], 16000)
    assert found["open_ear"] == pytest.approx([0.4, 0.4, 0.4])
    assert found["closed_ear"] == pytest.approx([0.35, 0.35, 0.35])
    assert len(set(found["level_db"])) == 1
    assert found["jaw_drop"][0] <= found["jaw_drop"][1] <= found["jaw_drop"][2]
    assert "level_db" not in facts.facts([silent], 16000)
