"""Footage through the data stages: a file of several shots, people and pauses becomes clips with their own sound and blinks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import call

from stages import blink, index, mask, media, spectrogram
from stages.base import params, presets
from stages.base.errors import ClipError
from stages.clips import corpus, raw
from stages.corpora import folder
from stages.corpora.rendered import speaker
from stages.store import schemas, tables, tars

FRAMES = 40  # of each shot


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose one video shows ada, levi, nobody, ada again with a pause at the end, and ada a third time."""
    root = tmp_path_factory.mktemp("footage")
    settings = params.load("presets/demo.yaml").corpus.rendered.model_copy(update={"sentences": 3})
    shots, sounds = {}, {}
    for name in ("ada", "levi"):
        speaker.take(settings, name, root / f"{name}.tar")
        for number in (1, 2, 3) if name == "ada" else (1,):
            content = tars.read(root / f"{name}.tar", f"{name}_s0{number}.mp4")
            shots[name, number] = media.decode(content, fps=25)[10 : 10 + FRAMES]
            sounds[name, number] = media.decode_audio(content, 16000)[6400 : 6400 + FRAMES * 640]
    order = [("ada", 1), ("levi", 1), None, ("ada", 2), "pause", ("ada", 3)]
    pictures, sound = [], []
    for part in order:
        if isinstance(part, tuple):
            pictures += list(shots[part])
            sound.append(sounds[part])
        else:
            still = pictures[-1] if part == "pause" else np.full_like(shots["ada", 1][0], 40)
            pictures += [still] * FRAMES
            sound.append(np.zeros(FRAMES * 640, np.float32))
    video = root / "videos" / "Ada" / "vlog.mp4"
    video.parent.mkdir(parents=True)
    media.write_video(
        video, pictures, fps=25, audio=np.concatenate(sound), sample_rate=16000, crf=12, preset="veryfast"
    )
    given = yaml.safe_load(presets.whole(Path("presets/own.yaml")))
    given["run"] = "footage"
    given["corpus"] |= {"shards": ["ada"]}
    given["corpus"]["folder"]["path"] = str(root / "videos")
    given["mask"]["cut"] |= {"silence_s": 0.9}
    given["index"] |= {"test_fraction": 0.34, "validation_fraction": 0, "min_frames": 20}
    (root / "params.yaml").write_text(yaml.safe_dump(given))
    folder.take(params.load(root / "params.yaml").corpus.folder, "ada", root / "raw" / "ada.tar")
    faces, own = root / "faces" / "ada.parquet", ("--params", root / "params.yaml")
    call(mask.main, "--raw", root / "raw" / "ada.tar", "--out", faces, *own)
    call(blink.main, "--faces", faces, "--out", root / "blink" / "ada.parquet", *own)
    spoken = root / "spectrogram" / "ada.parquet"
    call(spectrogram.main, "--raw", root / "raw" / "ada.tar", "--faces", faces, "--out", spoken, *own)
    call(index.main, "--data", root, "--out", root / "index.parquet", *own)
    return root


def test_each_second_is_a_clip_or_is_named(data: Path) -> None:
    rows = tables.read(data / "index.parquet", schemas.INDEX).to_pylist()
    assert [row["clip"] for row in rows] == [f"ada_vlog_p0{number}" for number in range(1, 7)]
    assert rows[0]["start_s"] == 0
    assert [row["start_s"] for row in rows[1:]] == [row["end_s"] for row in rows[:-1]]
    assert rows[-1]["end_s"] == pytest.approx(6 * FRAMES / 25)
    assert [row["status"] for row in rows] == [
        "ok",
        "another person than in most of the shard",
        "no face",
        "ok",
        "nobody speaks",
        "ok",
    ]
    assert [row["split"] for row in rows if row["status"] != "ok"] == ["out"] * 3
    assert sorted(row["split"] for row in rows if row["status"] == "ok") == ["test_seen", "train", "train"]
    assert {row["source"] for row in rows} == {"Ada/vlog.mp4"}
    assert {row["sentence"] for row in rows} == {"vlog"}


def test_a_clip_has_its_own_pictures_and_sound(data: Path) -> None:
    whole = media.decode((data / "videos" / "Ada" / "vlog.mp4"), fps=25)
    heard = media.to_int16(media.decode_audio(data / "videos" / "Ada" / "vlog.mp4", 16000))
    rows = [row for row in tables.read(data / "index.parquet", schemas.INDEX).to_pylist() if row["status"] == "ok"]
    for row in rows:
        first, after = (round(row[name] * 25) for name in ("start_s", "end_s"))
        clip = corpus.load(data, "ada", row["clip"], size=64, dilation=0.1)
        assert len(clip.frames_THWC) == after - first == row["frames"]
        x, y, side = corpus.crop(data, "ada", row["clip"])
        for number in (0, after - first - 1):
            source = media.cut(whole[first + number], (x, y, side), 64)
            assert np.abs(clip.frames_THWC[number].astype(int) - source).mean() < 3
        assert np.array_equal(clip.audio, heard[first * 640 : after * 640])


def test_a_clip_can_be_given_to_a_talking_model(data: Path, tmp_path: Path) -> None:
    rows = tables.read(data / "index.parquet", schemas.INDEX).to_pylist()
    row = rows[3]
    first = round(row["start_s"] * 25)
    whole = media.decode((data / "videos" / "Ada" / "vlog.mp4"), fps=25)
    place = raw.place(data, "ada", row["clip"])
    assert (place.first, place.frames) == (first, row["frames"])
    assert np.array_equal(raw.still(place, 25), whole[first])
    content, ending = raw.video(place, 25, 16000)
    assert ending == ".mp4"
    pictures = media.decode(content, fps=25)
    assert len(pictures) == row["frames"]
    assert np.abs(pictures[5].astype(int) - whole[first + 5]).mean() < 2
    spoken, ending = raw.sound(place, 25, 16000)
    assert ending == ".wav"
    clip = corpus.load(data, "ada", row["clip"], size=64, dilation=0.1)
    assert np.array_equal(media.to_int16(media.decode_audio(spoken, 16000)), clip.audio)
    assert np.array_equal(media.to_int16(media.decode_audio(content, 16000)), clip.audio)


def test_without_the_option_a_cut_is_said(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = params.load(data / "params.yaml").mask.model_copy(update={"cut": None, "max_gap": 60})
    found = mask.look(data / "raw" / "ada.tar", {"clip": "ada_vlog", "file": "ada_vlog.mp4"}, own)
    assert [part.clip for part in found.parts] == ["ada_vlog"]
    printed = capsys.readouterr().out
    assert "clip ada_vlog: another picture begins at 1.6 s, 3.2 s, 4.8 s" in printed
    with pytest.raises(ClipError, match="no face"):
        list(mask.rows(data / "raw" / "ada.tar", "ada_vlog.mp4", "ada_vlog", params.load(data / "params.yaml").mask))
