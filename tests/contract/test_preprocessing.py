"""From the user's videos to the index: what one stage writes the next reads; what can't be used is named, the rest goes on."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from av.stream import Disposition
from commands import call

from stages import blink, index, mask, media, spectrogram
from stages.base import params
from stages.base.errors import InputError
from stages.clips import corpus
from stages.corpora import folder
from stages.corpora.rendered import speaker
from stages.faces.geometry import ear, mouth_opening
from stages.store import schemas, tables, tars
from tests.unit.variants import film

DEMO = "presets/demo.yaml"
GOOD = ["ada_s01", "ada_s02"]
BAD = {
    "ada_empty": "the file is empty",
    "ada_mute": "no audio stream",
    "ada_noise": "no face found",
    "ada_other": r"the audio is silent throughout; of several audio tracks, 1 is taken, not 2 \(speech\)",
    "ada_silent": "the audio is silent throughout",
    "ada_short": "frames; index.min_frames is 25",
    "ada_text": "not a readable video",
    "ada_torn": "damaged after|truncated: ",  # which, depends on where in a frame the file ends
}


def write_bad_clips(videos, good):
    """One file of each kind that can't be used."""
    pictures = media.decode(good, fps=25)
    sound = media.decode_audio(good, 16000)
    noise = np.random.default_rng(0).integers(0, 256, (30, 60, 80, 3), dtype=np.uint8)
    media.write_video(videos / "noise.mp4", noise, fps=25, audio=sound, sample_rate=16000, crf=30)
    media.write_video(videos / "mute.mp4", pictures[:30], fps=25, audio=None, sample_rate=16000, crf=20)
    media.write_video(videos / "short.mp4", pictures[:10], fps=25, audio=sound[:6400], sample_rate=16000, crf=20)
    media.write_video(videos / "silent.mp4", pictures[:30], fps=25, audio=0 * sound, sample_rate=16000, crf=20)
    film(
        videos / "other.mkv", pictures[:30], [0 * sound[None, :19200], sound[None, :19200]],
        container="matroska", rate=16000, said=[(Disposition.default, ""), (Disposition(0), "speech")],
    )  # fmt: skip
    (videos / "cover.jpg").write_bytes(b"no video, and not taken for one")
    (videos / "empty.mp4").write_bytes(b"")
    (videos / "text.mp4").write_text("this is not a video\n" * 100)
    content = good.read_bytes()
    (videos / "torn.mp4").write_bytes(content[: len(content) * 6 // 10])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with good and bad clips of one speaker, taken through all data stages: (settings file, data folder)."""
    root = tmp_path_factory.mktemp("run")
    settings = yaml.safe_load(Path(DEMO).read_text())
    settings["corpus"] |= {"source": "folder", "shards": ["ada"], "folder": {"path": str(root / "videos"), "table": ""}}
    settings["corpus"]["rendered"]["sentences"] = 2
    settings["index"] |= {"unseen_speakers": [], "test_sentences": ["s02"]}
    (root / "params.yaml").write_text(yaml.safe_dump(settings))
    given = params.load(root / "params.yaml")
    speaker.take(given.corpus.rendered, "ada", root / "rendered.tar")
    videos = root / "videos" / "Ada"
    videos.mkdir(parents=True)
    for name in ("s01", "s02"):
        (videos / f"{name}.mp4").write_bytes(tars.read(root / "rendered.tar", f"ada_{name}.mp4"))
    write_bad_clips(videos, videos / "s01.mp4")
    folder.take(given.corpus.folder, "ada", root / "raw" / "ada.tar")
    preprocess(root)
    call(index.main, "--data", root, "--out", root / "index.parquet", "--params", root / "params.yaml")
    return root


def preprocess(root, out=None):
    out = out or root
    settings = ("--params", root / "params.yaml")
    raw, faces = root / "raw" / "ada.tar", out / "faces" / "ada.parquet"
    call(mask.main, "--raw", raw, "--out", faces, *settings)
    call(blink.main, "--faces", faces, "--out", out / "blink" / "ada.parquet", *settings)
    call(spectrogram.main, "--raw", raw, "--faces", faces, "--out", out / "spectrogram" / "ada.parquet", *settings)


def test_every_clip_has_a_row_in_every_stage_in_the_tars_order(run):
    names = [clip["clip"] for clip in tars.listing(run / "raw" / "ada.tar")]
    assert sorted(names) == sorted(GOOD + list(BAD))
    for table, schema in (("faces", schemas.FACES), ("blink", schemas.BLINK), ("spectrogram", schemas.SPECTROGRAM)):
        assert tables.read(run / table / "ada.parquet", schema)["clip"].to_pylist() == names


def test_bad_clips_are_named_with_their_reason_and_the_others_go_on(run):
    rows = {row["clip"]: row for row in tables.read(run / "index.parquet", schemas.INDEX).to_pylist()}
    for clip, reason in BAD.items():
        assert re.search(reason, rows[clip]["status"]), clip
        assert rows[clip]["split"] == "out"
    assert [rows[clip]["status"] for clip in GOOD] == ["ok", "ok"]
    assert [rows[clip]["split"] for clip in GOOD] == ["train", "test_seen"]
    assert rows["ada_s01"]["source"] == "Ada/s01.mp4"


def test_a_usable_clip_reads_back_whole(run):
    clip = corpus.load(run, "ada", "ada_s01", size=64, dilation=0.12)
    frames = len(clip.frames_THWC)
    assert clip.frames_THWC.shape == (frames, 64, 64, 3)
    assert clip.landmarks_TL2.shape == (frames, 68, 2)
    assert len(clip.ear_T2) == len(clip.masks_THW) == frames
    assert len(clip.audio) == frames * 640
    assert len(clip.mel_SM) == frames * 640 // 200 + 1
    assert clip.landmarks_TL2.min() > 0
    assert clip.landmarks_TL2.max() < 63
    points = np.round(clip.landmarks_TL2).astype(int)
    assert all(m[p[:, 1], p[:, 0]].mean() > 0.95 for m, p in zip(clip.masks_THW, points, strict=True))


def test_landmarks_follow_the_rendered_truth(run):
    """The mouth that dlib measures is the mouth that was rendered, on the same time base; open eyes are open."""
    truth_file = run / "truth.parquet"
    truth_file.write_bytes(tars.read(run / "rendered.tar", "truth.parquet"))
    truth = {row["clip"]: row for row in tables.read(truth_file, schemas.TRUTH).to_pylist()}
    for name in GOOD:
        clip = corpus.load(run, "ada", name, size=128, dilation=0.12)
        times = np.arange(len(clip.frames_THWC)) / 25
        nearest = np.abs(np.array(truth[name]["time_s"])[None] - times[:, None]).argmin(1)
        mouth = np.array(truth[name]["mouth_open"])[nearest]
        assert np.corrcoef(mouth, mouth_opening(clip.landmarks_TL2))[0, 1] > 0.85
        lids = np.array(truth[name]["eyelid_left"])[nearest]
        measured = ear(clip.landmarks_TL2).mean(-1)
        assert measured[lids > 0.9].mean() > 1.2 * measured[lids < 0.1].mean()


def test_the_stored_crop_is_the_sources_own_picture(run):
    row = tables.read(run / "faces" / "ada.parquet", schemas.FACES).filter(
        [name == "ada_s01" for name in tables.read(run / "faces" / "ada.parquet", schemas.FACES)["clip"].to_pylist()]
    )
    x, y, side = (int(value) for value in row["crop"][0].as_py())
    source = media.decode(run / "videos" / "Ada" / "s01.mp4", fps=25)
    clip = corpus.load(run, "ada", "ada_s01", size=128, dilation=0.12)
    expected = media.cut(source[7], (x, y, side), 128)
    assert np.abs(clip.frames_THWC[7].astype(int) - expected).mean() < 2


def test_run_again_gives_the_same_bytes(run, tmp_path):
    preprocess(run, tmp_path)
    for file in ("faces/ada.parquet", "blink/ada.parquet", "spectrogram/ada.parquet"):
        assert (tmp_path / file).read_bytes() == (run / file).read_bytes()
    folder.take(params.load(run / "params.yaml").corpus.folder, "ada", tmp_path / "ada.tar")
    assert (tmp_path / "ada.tar").read_bytes() == (run / "raw" / "ada.tar").read_bytes()


def test_long_clips_become_segments(run, tmp_path):
    settings = params.load(run / "params.yaml").mask.model_copy(update={"segment_s": 1.0})
    rows = list(mask.rows(run / "raw" / "ada.tar", "ada_s01.mp4", "ada_s01", settings))
    whole = next(mask.rows(run / "raw" / "ada.tar", "ada_s01.mp4", "ada_s01", params.load(DEMO).mask))
    assert [row["segment"] for row in rows] == list(range(len(rows)))
    assert [row["start"] for row in rows] == [25 * number for number in range(len(rows))]
    assert [frame for row in rows for frame in row["frames"]] == list(whole["frames"])
    assert np.array_equal(np.concatenate([row["landmarks"] for row in rows]), whole["landmarks"])


def test_a_stage_without_its_input_says_what_to_run(run, tmp_path):
    with pytest.raises(InputError, match=r"missing.tar: no such file; run 'snakemake"):
        call(
            mask.main,
            "--raw",
            tmp_path / "missing.tar",
            "--out",
            tmp_path / "faces.parquet",
            "--params",
            run / "params.yaml",
        )
    assert list(tmp_path.iterdir()) == []


def test_folder_names_what_is_wrong(run, tmp_path):
    given = params.load(run / "params.yaml").corpus.folder
    with pytest.raises(InputError, match=r"no videos of the shard 'bela'; .* write  shards: \[ada\]"):
        folder.take(given, "bela", tmp_path / "bela.tar")
    with pytest.raises(InputError, match=r"no such folder; set corpus\.folder\.path"):
        folder.take(params.Folder(path=str(tmp_path / "nowhere"), table=""), "ada", tmp_path / "ada.tar")


def test_folder_names_clips(tmp_path):
    videos = tmp_path / "Zoë's Clips"
    (videos / "deep").mkdir(parents=True)
    for name in ("Take 1.MP4", "take-1.mov", ".hidden", "deep/über.avi"):
        (videos / name).write_bytes(b"x")
    folder.take(params.Folder(path=str(tmp_path), table=""), "zoe-s-clips", tmp_path / "out.tar")
    clips = json.loads(tars.read(tmp_path / "out.tar", tars.CLIPS))
    assert [clip["clip"] for clip in clips] == ["zoe-s-clips_take-1", "zoe-s-clips_uber", "zoe-s-clips_take-1-2"]
    assert clips[0]["file"] == "zoe-s-clips_take-1.mp4"
    assert [clip["split"] for clip in clips] == [""] * 3


def turned(content):
    """A lying video whose matrix says: turn 90 degrees clockwise, as a phone held upright writes it."""
    unit, none, minus = (value.to_bytes(4, "big", signed=True) for value in (1 << 16, 0, -(1 << 16)))
    header = content.index(b"tkhd")
    as_written, matrix = unit + none * 3 + unit, none + unit + none + minus + none
    return content[:header] + content[header:].replace(as_written, matrix, 1)


def test_portrait_video_and_4k_have_their_faces_found(run, tmp_path):
    """The same face at the same place, whether the picture lies and says so, or has the pixels of 4K."""
    pictures = media.decode(run / "videos" / "Ada" / "s01.mp4", fps=25)[:3]
    how = {"fps": 25, "audio": None, "sample_rate": 16000, "crf": 10, "preset": "ultrafast"}
    media.write_video(tmp_path / "plain.mp4", pictures, **how)
    media.write_video(tmp_path / "lying.mp4", np.rot90(pictures, 1, (1, 2)), **how)
    large = [cv2.resize(picture, (2880, 2160), interpolation=cv2.INTER_CUBIC) for picture in pictures]
    media.write_video(tmp_path / "4k.mp4", large, **how)
    members = {name: (tmp_path / name).read_bytes() for name in ("plain.mp4", "lying.mp4", "4k.mp4")}
    members["lying.mp4"] = turned(members["lying.mp4"])
    tars.write(tmp_path / "raw.tar", members.items())
    settings = params.load(DEMO).mask
    plain, lying, large = (next(mask.rows(tmp_path / "raw.tar", name, "a", settings)) for name in members)
    assert [row["rotation"] for row in (plain, lying, large)] == [0, 270, 0]
    assert np.allclose(lying["crop"], plain["crop"], atol=8)
    assert np.allclose(np.array(large["crop"]) / 6, plain["crop"], atol=8)
