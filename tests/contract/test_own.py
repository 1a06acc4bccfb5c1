"""workflow/own.py: parameters for a folder of one's own videos."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_talk

from stages.base import params, presets
from stages.base.errors import HifiDiffError, InputError, ParameterError
from stages.pretrained.hifidiff import HifiDiff
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
    found = own.look(params.Folder(path=str(videos), table=""), SETTINGS.mask.margin)
    assert found.shards == {"1001": 1, "ann": 3}
    assert found.seconds == pytest.approx(3 * 0.5, abs=0.1)
    assert (found.clips(8), found.clips(0.2)) == (2, 6)
    assert len(found.sides) == 2
    assert all(150 < side < 360 for side in found.sides)
    wall, broken = sorted(found.faults, reverse=True)
    assert wall == "Ann/wall.mp4: no face in its frame 12"
    assert broken.startswith("Ann/broken.mp4: ")


def test_steps_follow_the_footage_and_the_time_and_the_test_has_two_videos() -> None:
    base = SETTINGS.model_copy(
        update={"train": SETTINGS.train.model_copy(update={"batch": 1, "singles": 3})}
    )  # 8 images
    hour = Footage({"a": 400}, seconds=3600, lengths=[9.0] * 400)
    assert own.plan(hour, 0.2, base, 30) == Plan(9000, 0.15, 30.0, 8.0, 800)
    assert own.plan(hour, 2.0, base, 10).steps == 600
    assert own.plan(hour, 0.001, base, 30).steps == 20_000
    little = own.plan(Footage({"a": 9}, seconds=20, lengths=[2.5] * 8), 0.2, base, 30)
    assert (little.steps, little.test_fraction, little.longest_s) == (2500, 0.15, 1.7)
    assert own.plan(Footage({"a": 1}, seconds=20, lengths=[20.0]), 0.2, base, 30) == Plan(2500, 0.17, 500 / 60, 1.7, 12)
    tuned = own.plan(hour, 0.001, base, 30, tuned=True)
    assert tuned.steps == 4000
    with pytest.raises(HifiDiffError, match=r"20 seconds of usable footage make some 7 clips; at least 8 are needed"):
        own.plan(Footage({"a": 9}, seconds=20, lengths=[0.5] * 7), 0.2, base, 30)


def test_a_step_takes_time() -> None:
    small = params.load("presets/smoke.yaml")
    assert 0 < own.step_seconds(small) < 60


def test_the_text_is_a_whole_parameter_file() -> None:
    text = own.overlay(
        SETTINGS, "me", "Zoë's “talk”: 1", "my 'videos'\n\"two\"", ["1001", "ann"], Plan(2500, 0.25, 8.0, 4.0, 12)
    )
    whole = presets.filled(text, Path("presets/own.yaml"))
    found = params.validate(params.parse(whole, "params.yaml"))
    assert (found.run, found.corpus.source, found.corpus.folder.path) == ("me", "folder", "my 'videos'\n\"two\"")
    assert (found.corpus.shards, found.train.steps, found.index.test_fraction) == (["1001", "ann"], 2500, 0.25)
    assert found.mask.cut == SETTINGS.mask.cut.model_copy(update={"longest_s": 4.0})  # type: ignore[union-attr]
    assert found.report.videos == 3, "a quarter of twelve clips"
    assert found.report.title == "Zoë's “talk”: 1"
    assert "hop: 200" in whole  # and all of the base's comments
    bad = presets.filled(
        own.overlay(SETTINGS, "My Run", "t", "v", ["ann"], Plan(2500, 0.25, 8.0, 4.0, 100)), Path("presets/own.yaml")
    )
    with pytest.raises(ParameterError, match="run"):
        params.validate(params.parse(bad, "params.yaml"))


def test_a_model_that_is_tuned_brings_its_settings(tmp_path: Path) -> None:
    network = SETTINGS.network.model_dump() | {"channels": 16, "head_channels": 16}
    config = {
        "network": network,
        "diffusion": SETTINGS.diffusion.model_dump(),
        "mel_bins": 80,
        "mask": SETTINGS.mask.model_dump(include={"fps", "size", "margin", "dilation"}) | {"size": 64},
        "spectrogram": SETTINGS.spectrogram.model_dump(),
        "drop": [],
    }
    HifiDiff.from_config(config).save_pretrained(tmp_path / "full")
    much = own.start_from(str(tmp_path / "full"), SETTINGS, little=False)
    assert "learning_rate" not in much["train"]
    start = own.start_from(str(tmp_path / "full"), SETTINGS, little=True)
    assert start["network"] == {"channels": 16, "head_channels": 16}
    assert start.keys() == {"network", "train"}
    text = own.overlay(SETTINGS, "me", "Me", "videos", ["ann"], Plan(300, 0.25, 8.0, 4.0, 100), start)
    found = params.validate(params.parse(presets.filled(text, Path("presets/own.yaml")), "params.yaml"))
    assert found.trained == ["full", "start"]
    assert found.network.channels == 16
    assert found.network.size == SETTINGS.network.size, "the rest stays"
    assert found.train.start is not None
    assert found.train.start.folder == str(tmp_path / "full")
    assert (found.train.steps, found.trained_as("start").train.steps) == (300, 0)
    assert found.train.learning_rate < SETTINGS.train.learning_rate
    dropped = tmp_path / "no_blink"
    HifiDiff.from_config({**config, "drop": ["blink"]}).save_pretrained(dropped)
    with pytest.raises(InputError, match=r"no_blink: was trained without blink; start from another model"):
        own.start_from(str(dropped), SETTINGS, little=True)


def test_what_was_found_is_said() -> None:
    footage = Footage(
        {"ann": 9}, seconds=90, lengths=[11.0] * 4, sides=[40, 50], faults=["Ann/wall.mp4: no face in its frame 12"]
    )
    lines = own.described(footage, Plan(2500, 0.25, 8.0, 4.0, 12), 64)
    assert lines[0] == "found 9 videos of 1 speaker, 1.5 minutes, some 12 clips: ann (9)"
    assert lines[1] == "  left out, should it stay so: Ann/wall.mp4: no face in its frame 12"
    assert lines[2] == "faces are 40 to 50 pixels wide, the network makes 64"
    assert lines[3] == "  they are smaller than that: the result will be soft"
    assert "25% of the clips" in lines[4]
    assert "2500 steps, some 8 minutes" in lines[4]
    short = Footage({"ann": 9}, seconds=30, lengths=[11.0] * 3, sides=[140, 150])
    lines = own.described(short, Plan(2500, 0.25, 8.0, 4.0, 8), 64)
    assert lines[1] == "  that is little: some 2 clips are the test, and its scores will say little"
    assert lines[3] == "  the result will be softer than the footage; a larger network.size takes a GPU"


def test_edits_are_not_written_over_without_a_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "presets").symlink_to(Path("presets").resolve())
    edits = presets.whole(Path("presets/demo.yaml")).replace("  seed: 1\n", "  seed: 11\n")
    target = tmp_path / "params.yaml"
    target.write_text(edits, encoding="utf-8")
    monkeypatch.setattr(own, "ROOT", tmp_path)
    monkeypatch.setattr(own, "edited", lambda: use.edited(tmp_path))
    monkeypatch.setattr(own, "step_seconds", lambda settings: 0.2)
    monkeypatch.setattr(
        own, "look", lambda settings, margin: Footage({"ann": 20}, seconds=100, lengths=[5.0] * 20, sides=[140])
    )

    def call(*options: str) -> None:
        monkeypatch.setattr(sys, "argv", ["own", str(tmp_path / "faces"), *options])
        own.main()

    with pytest.raises(InputError, match=r"faces: no such folder; give a folder of videos: make own VIDEOS="):
        call()
    (tmp_path / "faces").mkdir()

    with pytest.raises(HifiDiffError, match=r"params\.yaml has edits that no preset has, and was left as it is"):
        call()
    assert target.read_text(encoding="utf-8") == edits
    call("--yes", "--minutes", "5")
    found = params.load(target)
    assert (found.run, found.train.steps, found.corpus.shards) == ("own", 1500, ["ann"])
    assert "wrote params.yaml; 'make reproduce' makes data/own/ and reports/own/" in capsys.readouterr().out
    call("--minutes", "4")  # nobody edited what was written
    assert params.load(target).train.steps == 1200
    target.write_text(target.read_text(encoding="utf-8").replace("  steps: 1200", "  steps: 1100"), encoding="utf-8")
    with pytest.raises(HifiDiffError, match=r"has edits that no preset has"):
        call()
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
