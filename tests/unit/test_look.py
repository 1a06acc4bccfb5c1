"""workflow/look.py: the page of what was found, before anything is trained."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from conftest import clip_of, write_clip

from stages.base import params
from stages.base.errors import InputError
from stages.base.params import Params
from stages.store import schemas, tables
from workflow import look


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Of a run whose data lie in an empty folder of the working directory."""
    monkeypatch.chdir(tmp_path)
    return params.load(Path(__file__).parents[2] / "presets" / "smoke.yaml")


def made(data: Path, clips: dict[str, str]) -> None:
    """Data stages' tables of these clips, each of its own shard, with this status each."""
    rows = []
    for name, status in clips.items():
        speaker = name.split("_")[0]
        write_clip(data, name, 40, side=128, segment=25)
        facts = {
            "clip": name,
            "shard": speaker,
            "speaker": speaker,
            "source": f"{speaker}/<b>.mp4",
            "sha256": "",
            "sentence": "",
        }
        split = {"split": "test_seen" if speaker == "ada" else "train", "status": status, "frames": 40, "blinks": 1}
        split |= {"start_s": 0.0, "end_s": 1.6}
        rows.append(facts | split | {"emotion": "", "level": "", "open_ear": 0.3})
    tables.write(data / "index.parquet", schemas.INDEX, rows)


def test_the_page_shows_what_can_be_used_and_names_the_rest(settings: Params, tmp_path: Path) -> None:
    made(settings.data, {"ada_s01": "ok", "bela_s01": "ok", "cleo_s01": "no face found"})
    out = tmp_path / "look_out" / settings.run
    (out / look.PLACE).mkdir(parents=True)
    (out / look.PLACE / "old.jpg").touch()
    page = look.write(settings, out).read_text(encoding="utf-8")
    assert "3 clips, of which 2 can be used: 0.1 minutes of 2\nspeakers, 2 blinks." in page
    assert "test seen: 1 (2 s)" in page
    assert "<td>cleo</td><td>cleo_s01</td><td>cleo/&lt;b&gt;.mp4, 0.0 to 1.6 s</td><td>no face found</td>" in page
    assert "0.62 blinks a second; 1 shown" in page
    assert sorted(path.name for path in (out / look.PLACE).iterdir()) == ["ada_s01.jpg", "bela_s01.jpg"]
    assert set(re.findall(r'<img src="([^"]+)"', page)) == {"pictures/ada_s01.jpg", "pictures/bela_s01.jpg"}
    assert page.count('class="blink"') == 2
    shape = simplejpeg.decode_jpeg((out / look.PLACE / "ada_s01.jpg").read_bytes()).shape
    assert shape == (look.SIDE, look.SIDE * look.PICTURES, 3)


def test_without_data_the_command_is_named(settings: Params) -> None:
    with pytest.raises(InputError, match=r"index\.parquet: no such file; run 'make look', which makes it"):
        look.write(settings, Path("out"))


def test_frames_with_shut_eyes_and_a_wide_mouth_are_shown() -> None:
    clip = clip_of(frames=40, size=128)
    ear, points = clip.ear_T2.copy(), clip.landmarks_TL2.copy()
    ear[13], points[31, 66] = 0.05, points[31, 66] + [0, 30]
    shown = look.pictures(replace(clip, ear_T2=ear, landmarks_TL2=points))
    assert shown.shape == (128, 6 * 128, 3)
    drawn = [look._drawn(replace(clip, landmarks_TL2=points), frame) for frame in (13, 31)]
    parts = np.split(shown, 6, axis=1)
    assert all(any((part == one).all() for part in parts) for one in drawn)
    short = clip_of(frames=3, size=128)
    assert look.pictures(short).shape == (128, 3 * 128, 3)


def test_what_may_go_wrong_is_said_of_a_clip(settings: Params, tmp_path: Path) -> None:
    made(settings.data, {"ada_s01": "ok"})
    still = clip_of(frames=20, size=128)
    row = {"split": "train", "source": "ada/one.mp4", "start_s": 0.0, "end_s": 0.8}
    card = look.card(still, row, settings, 20, 0.9, tmp_path)  # type: ignore[arg-type]
    assert card.warnings == [
        "the face is found in 90% of the frames, in others between",
        f"the face’s square is 20 pixels, less than the network’s {settings.network.size}",
    ]
    wide = np.ones_like(still.masks_THW)
    (moves,) = look.card(replace(still, masks_THW=wide), row, settings, 200, 1.0, tmp_path).warnings  # type: ignore[arg-type]
    assert moves.startswith("the head moves much: the mask is ")
    assert look.share_found(settings.data / "faces" / "ada.parquet", "ada_s01") == 1.0
