"""The mask stage as a command, on videos of all kinds: one row a segment that says what was found, in memory that stays flat."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
import yaml
from commands import call

from stages import mask, media
from stages.base import params
from stages.corpora import folder
from stages.corpora.rendered import speaker
from stages.store import schemas, tables, tars

DEMO = "presets/demo.yaml"
QUICK = {"fps": 25, "audio": None, "sample_rate": 16000, "crf": 10, "preset": "ultrafast"}


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """The first pictures of a rendered clip, (T, H, W, 3)."""
    path = tmp_path_factory.mktemp("rendered") / "ada.tar"
    settings = params.load(DEMO).corpus.rendered.model_copy(update={"sentences": 1})
    speaker.take(settings, "ada", path)
    return media.decode(tars.read(path, "ada_s01.mp4"), fps=25)[:32]


def write(root, clips):
    """A shard of these clips, each a path of a video: the tar."""
    names = [{"clip": name, "file": f"{name}.mp4"} for name in clips]
    members = [(tars.CLIPS, tars.json_bytes(names)), *((f"{name}.mp4", path) for name, path in clips.items())]
    tars.write(root / "raw.tar", members)
    return root / "raw.tar"


def stage(root, clips, **changed):
    """The stage's rows of some clips, by name; each clip is a list of pictures or a path."""
    settings = yaml.safe_load(Path(DEMO).read_text())
    settings["mask"] |= changed
    (root / "params.yaml").write_text(yaml.safe_dump(settings))
    paths = {}
    for name, pictures in clips.items():
        paths[name] = pictures if isinstance(pictures, Path) else root / f"{name}.mp4"
        if paths[name] is not pictures:
            media.write_video(paths[name], pictures, **QUICK)
    raw = write(root, paths)
    call(mask.main, "--raw", raw, "--out", root / "faces.parquet", "--params", root / "params.yaml")
    rows = tables.read(root / "faces.parquet", schemas.FACES).to_pylist()
    return {name: [row for row in rows if row["clip"] == name] for name in clips}


def points(row):
    """Landmarks in the source's pixels, (T, 68, 2)."""
    x, y, side = row["crop"]
    size = simplejpeg.decode_jpeg_header(row["frames"][0])[0]
    return (np.array(row["landmarks"]).reshape(-1, 68, 2) + 0.5) * (side / size) - 0.5 + [x, y]


def test_a_face_can_be_put_back_into_its_picture(film, tmp_path):
    """One square for the whole clip, whole pixels; what was cut out, enlarged again, is the source there, and nowhere bent."""
    (row,) = stage(tmp_path, {"a": film[:6]})["a"]
    x, y, side = (int(value) for value in row["crop"])
    assert [x, y, side] == row["crop"]
    for picture, jpeg in zip(film, row["frames"], strict=False):
        face = cv2.resize(simplejpeg.decode_jpeg(jpeg), (side, side), interpolation=cv2.INTER_CUBIC)
        source = picture[y : y + side, x : x + side].astype(float)
        moved = cv2.warpAffine(face, np.float32([[1, 0, 2], [0, 1, 0]]), (side, side)).astype(float)
        errors = [np.square(other - source)[4:-4, 4:-4].mean() for other in (face, moved)]
        assert errors[0] < 255**2 / 10 ** (30 / 10)  # 30 dB
        assert errors[0] < 0.5 * errors[1]  # and not two pixels beside


def test_landmarks_follow_a_jump_at_once(film, tmp_path):
    """Nothing is smoothed over time: a picture moved by 6 pixels from one frame to the next moves the landmarks by as much."""
    still, right = film[0], np.roll(film[0], 6, 1)
    found = points(stage(tmp_path, {"a": [still] * 4 + [right] * 9})["a"][0])
    steps = np.diff(found.mean(1), axis=0)
    assert abs(steps[3, 0] - 6) < 1
    assert np.abs(np.delete(steps, 3, 0)).max() < 1


def test_a_face_that_jumps_away_is_found_again(film, tmp_path):
    """Further than it is searched around where it was: in the whole picture, and it is still taken for the same."""
    far = np.roll(film[0], 130, 1)
    (row,) = stage(tmp_path, {"a": [film[0]] * 4 + [far] * 9})["a"]
    assert all(row["detected"])
    assert abs(np.diff(points(row).mean(1), axis=0)[3, 0] - 130) < 3


def test_gaps_are_interpolated_and_marked_and_long_ones_name_the_clip(film, tmp_path, capsys):
    covered = film[:20].copy()
    covered[7:10] = 90
    long = film[:20].copy()
    long[7:13] = 90
    rows = stage(tmp_path, {"short": covered, "long": long}, max_gap=5)
    (row,) = rows["short"]
    assert np.flatnonzero(~np.array(row["detected"])).tolist() == [7, 8, 9]
    found = points(row)
    np.testing.assert_allclose(found[8], (found[7] + found[9]) / 2, atol=1e-3)
    assert rows["long"][0]["status"] == "the face is lost for 6 frames from frame 7 on (mask.max_gap is 5)"
    assert rows["long"][0]["frames"] == []
    assert "clip long: the face is lost" in capsys.readouterr().out


def test_of_several_faces_the_largest_is_cut_out_and_it_is_said(film, tmp_path, capsys):
    little = film[:12, :, 110:370]
    large = np.stack([cv2.resize(picture, (324, 450), interpolation=cv2.INTER_CUBIC) for picture in little])
    both = np.full((12, 450, 584, 3), 90, np.uint8)
    both[:, :360, :260], both[:, :, 260:] = little, large
    rows = stage(tmp_path, {"alone": film[:12], "both": both})
    assert [rows[name][0]["faces_seen"] for name in ("alone", "both")] == [1, 2]
    assert points(rows["both"][0])[..., 0].min() > 260
    printed = capsys.readouterr().out
    assert "clip both: 2 faces; the largest is followed" in printed
    assert "clip alone: " not in printed


def test_names_with_spaces_accents_and_emoji_and_no_sound(film, tmp_path):
    videos = tmp_path / "videos" / "Zoë's Clips 😀"
    videos.mkdir(parents=True)
    media.write_video(videos / "Été à la mer 🎬.mp4", film[:5], **QUICK)
    settings = params.Folder(path=str(tmp_path / "videos"), table="")
    (shard,) = folder.speakers(settings)
    folder.take(settings, shard, tmp_path / "raw.tar")
    call(mask.main, "--raw", tmp_path / "raw.tar", "--out", tmp_path / "faces.parquet", "--params", DEMO)
    (row,) = tables.read(tmp_path / "faces.parquet", schemas.FACES).to_pylist()
    assert (row["clip"], row["status"], len(row["frames"])) == ("zoe-s-clips_ete-a-la-mer", "ok", 5)


def test_ten_minutes_of_video(film, tmp_path):
    """At 2.5 frames a second, so that it takes seconds: 1,500 frames, a segment at most 10 s."""
    small = [np.ascontiguousarray(picture[60:300, 100:380]) for picture in film[:8]]
    media.write_video(tmp_path / "long.mp4", [small[t % 8] for t in range(1500)], **QUICK | {"fps": 2.5})
    given = params.load(DEMO).mask.model_copy(update={"fps": 2.5, "looks": 1, "size": 32})
    rows = list(mask.rows(write(tmp_path, {"a": tmp_path / "long.mp4"}), "a.mp4", "a", given))
    assert [row["start"] for row in rows] == list(range(0, 1500, 25))
    assert all(row["status"] == "ok" and len(row["frames"]) == 25 for row in rows)
    assert len({row["crop"] for row in rows}) == 1


@pytest.mark.parametrize("kind", ["length", "number"])
def test_memory_is_flat_in_the_length_and_the_number_of_clips(film, tmp_path, kind):
    """Ten times as many frames, in one clip or in ten, of which none is held (mask.HELD)."""
    peaks = []
    for times in (1, 10):
        frames = [film[t % 8] for t in range(70 * times if kind == "length" else 70)]
        media.write_video(tmp_path / "a.mp4", frames, **QUICK)
        raw = write(tmp_path, {f"a_{n}": tmp_path / "a.mp4" for n in range(times if kind == "number" else 1)})
        code = "from stages import mask; mask.HELD = 0; mask.main(); print(open('/proc/self/status').read())"
        command = [sys.executable, "-c", code, "--raw", raw, "--out", tmp_path / "faces.parquet", "--params", DEMO]
        printed = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
        peaks.append(int(re.search(r"VmHWM:\s+(\d+) kB", printed)[1]) / 1024)
    assert peaks[1] - peaks[0] < 40  # MB, of which the allocator took 23 once; 630 pictures of 480x360 would take 163
