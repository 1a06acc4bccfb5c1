"""workflow/own.py: parameters for a folder of one's own videos."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_talk

from stages.base import params, presets
from stages.base.errors import HifiDiffError, InputError, ParameterError
from workflow import own, use
from workflow.own import Footage, Plan

SETTINGS = params.load("presets/own.yaml")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers: two videos of a face, one of a wall, one that is no video."""
    root = tmp_path_factory.mktemp("my videos")
    for name in ("Ann", "1001"):
        (root / name).mkdir()
    renderer, moves, sound = tiny_talk.rendered()
    faces = [renderer.frame(tiny_talk.posed(moves, slice(n, n + 1)), 0) for n in range(15)]
    for name in ("Ann/one.mp4", "1001/two.mp4"):
        tiny_talk.write(root / name, faces, sound[: 48_000 // 2])
    tiny_talk.write(root / "Ann" / "wall.mp4", [np.full((240, 320, 3), 90, np.uint8)] * 15, sound[: 48_000 // 2])
    (root / "Ann" / "broken.mp4").write_bytes(b"no video")
    return root


def test_a_folder_is_looked_at(videos: Path) -> None:
    found = own.look(params.Folder(path=str(videos), table=""), SETTINGS.mask)
    assert found.shards == {"1001": 1, "ann": 3}
    assert found.seconds == pytest.approx(3 * 0.5, abs=0.1)
    assert found.clips == 2
    short = SETTINGS.mask.model_copy(
        update={"cut": params.Cut(longest_s=0.2, shortest_s=0.1, silence_s=1, turn=1, jump=1)}
    )
    assert own.look(params.Folder(path=str(videos), table=""), short).clips == 6
    assert len(found.sides) == 2
    assert all(150 < side < 360 for side in found.sides)
    wall, broken = sorted(found.faults, reverse=True)
    assert wall == "Ann/wall.mp4: no face in its frame 12"
    assert broken.startswith("Ann/broken.mp4: ")


def test_steps_follow_the_footage_and_the_time_and_the_test_has_two_videos() -> None:
    hour = Footage({"a": 2}, seconds=3600, clips=400)
    assert own.plan(hour, 0.2, 8, 25, 30) == Plan(9000, 0.15, 30.0)
    assert own.plan(hour, 2.0, 8, 25, 10).steps == 600
    assert own.plan(hour, 0.001, 8, 25, 30).steps == 20_000
    little = own.plan(Footage({"a": 9}, seconds=20, clips=8), 0.2, 8, 25, 30)
    assert (little.steps, little.test_fraction) == (2500, 0.25)
    with pytest.raises(HifiDiffError, match=r"20 seconds of usable footage make some 7 clips; at least 8 are needed"):
        own.plan(Footage({"a": 9}, seconds=20, clips=7), 0.2, 8, 25, 30)


def test_a_step_takes_time() -> None:
    small = params.load("presets/smoke.yaml")
    assert 0 < own.step_seconds(small) < 60


def test_the_text_is_a_whole_parameter_file() -> None:
    text = own.overlay("me", "Zoë's “talk”: 1", "my 'videos'\n\"two\"", ["1001", "ann"], Plan(2500, 0.25, 8.0))
    whole = presets.filled(text, Path("presets/own.yaml"))
    found = params.validate(params.parse(whole, "params.yaml"))
    assert (found.run, found.corpus.source, found.corpus.folder.path) == ("me", "folder", "my 'videos'\n\"two\"")
    assert (found.corpus.shards, found.train.steps, found.index.test_fraction) == (["1001", "ann"], 2500, 0.25)
    assert found.report.title == "Zoë's “talk”: 1"
    assert "hop: 200" in whole  # and all of the base's comments
    bad = presets.filled(own.overlay("My Run", "t", "v", ["ann"], Plan(2500, 0.25, 8.0)), Path("presets/own.yaml"))
    with pytest.raises(ParameterError, match="run"):
        params.validate(params.parse(bad, "params.yaml"))


def test_what_was_found_is_said() -> None:
    footage = Footage(
        {"ann": 9}, seconds=90, clips=12, sides=[40, 50], faults=["Ann/wall.mp4: no face in its frame 12"]
    )
    lines = own.described(footage, Plan(2500, 0.25, 8.0), 64)
    assert lines[0] == "found 9 videos of 1 speaker, 1.5 minutes, some 12 clips: ann (9)"
    assert lines[1] == "  left out, should it stay so: Ann/wall.mp4: no face in its frame 12"
    assert lines[2] == "faces are 40 to 50 pixels wide, the network makes 64"
    assert lines[3] == "  they are smaller than that: the result will be soft"
    assert "25% of the clips" in lines[4]
    assert "2500 steps, some 8 minutes" in lines[4]


def test_edits_are_not_written_over_without_a_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "presets").symlink_to(Path("presets").resolve())
    edits = presets.whole(Path("presets/demo.yaml")).replace("steps: 1800", "steps: 1801")
    target = tmp_path / "params.yaml"
    target.write_text(edits, encoding="utf-8")
    monkeypatch.setattr(own, "ROOT", tmp_path)
    monkeypatch.setattr(own, "edited", lambda: use.edited(tmp_path))
    monkeypatch.setattr(own, "step_seconds", lambda settings: 0.2)
    monkeypatch.setattr(own, "look", lambda settings, mask: Footage({"ann": 20}, seconds=100, clips=20, sides=[140]))

    def call(*options: str) -> None:
        monkeypatch.setattr(sys, "argv", ["own", "faces", *options])
        own.main()

    with pytest.raises(HifiDiffError, match=r"params\.yaml has edits that no preset has, and was left as it is"):
        call()
    assert target.read_text(encoding="utf-8") == edits
    call("--yes", "--minutes", "5")
    found = params.load(target)
    assert (found.run, found.train.steps, found.corpus.shards) == ("own", 1500, ["ann"])
    assert "wrote params.yaml; 'make reproduce' makes data/own/ and reports/own/" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"--minutes: is 0; give minutes above 0"):
        call("--minutes", "0")
    monkeypatch.setattr(sys, "argv", ["own", ""])
    with pytest.raises(InputError, match=r"VIDEOS: names no folder"):
        own.main()


def test_a_question_is_answered_by_the_keyboard_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert own.asked("sure?", lambda text: "Y")
    assert not own.asked("sure?", lambda text: "")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert not own.asked("sure?", lambda text: "y")
