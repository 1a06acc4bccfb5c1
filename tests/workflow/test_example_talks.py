"""The model of a finished run makes the run's own example talk, as `make talk` does."""

from __future__ import annotations

import inspect
import re
import subprocess
import textwrap

import pytest
from conftest import ROOT, Project

from stages import media
from stages.pretrained import HifiDiff

pytestmark = pytest.mark.workflow


def test_a_runs_model_makes_its_unseen_portrait_talk(smoke: Project) -> None:
    smoke.run("python", "-m", "workflow.example", "talk_out")
    given = ("talk_out/portrait.png", "talk_out/speech.mp4")
    smoke.run(
        "python", "-m", "stages.talk", "data/smoke/models/full", *given, "--out", "talk_out/a.mp4", "--seconds", "1"
    )
    assert media.decode(smoke.root / "talk_out/a.mp4", fps=25).shape == (25, 360, 480, 3)
    assert smoke.to_do() == {}


def test_the_example_of_the_class_runs_as_it_stands(smoke: Project) -> None:
    text = inspect.cleandoc(HifiDiff.__doc__ or "")
    code = textwrap.dedent(text.split("::\n", 1)[1])
    own = code.replace("data/demo/", "data/smoke/") + "\nprint(frames_THWC.shape, frames_THWC.dtype)\n"
    (smoke.root / "example.py").write_text(own, encoding="utf-8")
    said = smoke.run("env", "PYTHONPATH=.", "python", "example.py")
    assert re.fullmatch(r"\(\d+, 32, 32, 3\) uint8", said.strip().splitlines()[-1])


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
