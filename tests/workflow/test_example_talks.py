"""The model of a finished run makes the run's own example talk, as `make talk` does."""

from __future__ import annotations

import subprocess

import pytest
from conftest import ROOT, Project

from stages import media

pytestmark = pytest.mark.workflow


def test_a_runs_model_makes_its_unseen_portrait_talk(smoke: Project) -> None:
    smoke.run("python", "-m", "workflow.example", "talk_out")
    given = ("talk_out/portrait.png", "talk_out/speech.mp4")
    smoke.run(
        "python", "-m", "stages.talk", "data/smoke/models/full", *given, "--out", "talk_out/a.mp4", "--seconds", "1"
    )
    assert media.decode(smoke.root / "talk_out/a.mp4", fps=25).shape == (25, 360, 480, 3)
    assert smoke.to_do() == {}


def test_make_talk_names_what_is_given_or_the_example() -> None:
    def command(*given: str) -> str:
        made = subprocess.run(["make", "-n", "talk", *given], cwd=ROOT, capture_output=True, text=True, check=True)
        return made.stdout

    plain, own = command(), command("FACE=me.jpg", "SOUND=a.wav", "OUT=b.mp4", "OPTIONS=--motion 0")
    assert "workflow.example talk_out" in plain
    assert '"talk_out/portrait.png" "talk_out/speech.mp4"' in plain
    assert "workflow.example" not in own
    assert '"me.jpg" "a.wav"' in own
    assert '--out "b.mp4" --motion 0' in own
