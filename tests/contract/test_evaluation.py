"""Judges and metrics on a small rendered run: what they write, that a killed judge goes on, that scores mean what they say."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from commands import call

from stages import blink, features, index, judges, mask, media, reference, spectrogram
from stages import metrics as scoring
from stages.base import params, presets
from stages.base.errors import InputError, ParameterError
from stages.clips import corpus
from stages.corpora.rendered import speaker
from stages.measures.networks.judges import build
from stages.pretrained import judges as encoders
from stages.scoring import catalogue, columns
from stages.store import schemas, tables, tars, weights_file
from stages.training import resume

PUBLIC_SCORES = {metric.name for metric in catalogue.METRICS if metric.family == catalogue.PUBLIC}

JUDGES = ("sync", "frame", "video")
TESTS = ["ada_s02", "kira_s01", "kira_s02"]


def write_samples(root, method, change, sound_of=lambda name: name):
    """Videos of the test clips, their true frames changed by ``change(frames)``."""
    tests = corpus.index(root, ("test_seen", "test_unseen"))
    shards = dict(zip(tests["clip"], tests["shard"], strict=True))
    listing, members = [], []
    for name in shards:
        clip, sound = (corpus.load(root, shards[n], n, size=64, dilation=0.12) for n in (name, sound_of(name)))
        path = root / "clip.mp4"
        media.write_video(path, change(clip.frames_THWC), fps=25, audio=sound.audio, sample_rate=16000, crf=8)
        listing.append({"clip": name, "audio_clip": sound.name, "frames": len(clip.frames_THWC)})
        members.append((f"{name}.mp4", path.read_bytes()))
    tars.write(root / "samples" / f"{method}.tar", [(tars.CLIPS, json.dumps(listing).encode()), *members])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two speakers with two clips each through the data stages, with judges that learned for a few steps."""
    root = tmp_path_factory.mktemp("data") / "small"
    root.mkdir()
    settings = yaml.safe_load(presets.whole(Path("presets/demo.yaml")))
    settings["corpus"]["shards"] = ["ada", "kira"]
    settings["corpus"]["rendered"]["sentences"] = 2
    settings["index"] |= {"unseen_speakers": ["kira"], "test_sentences": ["s02"], "validation_fraction": 0.0}
    settings["judges"] |= {"steps": 6, "batch": 8, "checkpoint_every": 2, "width": 4, "embedding": 8}
    settings["metrics"] |= {"bootstrap": 20, "upscale": 3}
    (root / "params.yaml").write_text(yaml.safe_dump(settings))
    own = ("--params", root / "params.yaml")
    for shard in ("ada", "kira"):
        raw, faces = root / "raw" / f"{shard}.tar", root / "faces" / f"{shard}.parquet"
        speaker.take(params.load(root / "params.yaml").corpus.rendered, shard, raw)
        call(mask.main, "--raw", raw, "--out", faces, *own)
        call(blink.main, "--faces", faces, "--out", root / "blink" / f"{shard}.parquet", *own)
        call(spectrogram.main, "--raw", raw, "--faces", faces, "--out", root / "spectrogram" / f"{shard}.parquet", *own)
    call(index.main, "--data", root, "--out", root / "index.parquet", *own)
    for judge in JUDGES:
        train_judge(root, judge)
    write_samples(root, "truth", lambda frames: frames)
    call(reference.main, "--data", root, "--out", root / "reference.parquet", *own)
    return root


def train_judge(root, judge, out=None):
    out = out or root / "judges" / f"{judge}.safetensors"
    call(judges.main, "--data", root, "--judge", judge, "--out", out, "--params", root / "params.yaml")


def measure(root, method):
    own = ("--data", root, "--params", root / "params.yaml")
    call(features.main, "--method", method, "--out", root / "features" / f"{method}.parquet", *own)


def score(root, method, *, again=True):
    if again:
        measure(root, method)
    call(scoring.main, "--data", root, "--method", method, "--params", root / "params.yaml")
    return json.loads((root / "metrics" / f"{method}.json").read_text())


@pytest.fixture(scope="module")
def truth(run):
    return score(run, "truth")


@pytest.mark.parametrize("judge", JUDGES)
def test_judges_write_weights_and_a_curve(run, judge):
    weights, config = weights_file.read(run / "judges" / f"{judge}.safetensors")
    build(config).load_state_dict(weights)
    curve = pd.read_csv(run / "judges" / f"{judge}.csv")
    assert list(curve["step"]) == [2, 4, 6]
    assert np.isfinite(curve["loss"]).all()
    assert any(column.startswith("validation_") for column in curve)


@pytest.mark.parametrize("judge", JUDGES)
def test_an_interrupted_judge_ends_with_the_same_bytes(run, judge, tmp_path, monkeypatch):
    save, saved = resume.save, []

    def save_and_die(*arguments, **named):
        save(*arguments, **named)
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    out = tmp_path / f"{judge}.safetensors"
    (run / "resume" / "judges" / judge / "state.pt").unlink()  # or there would be nothing to train
    monkeypatch.setattr(resume, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        train_judge(run, judge, out)
    assert not out.exists()
    train_judge(run, judge, out)
    for end in (".safetensors", ".csv"):
        assert out.with_suffix(end).read_bytes() == (run / "judges" / f"{judge}{end}").read_bytes()


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_judge_ends_with_the_same_bytes(run, tmp_path, sign):
    out = tmp_path / "sync.safetensors"
    command = [sys.executable, "-m", "stages.judges", "--data", run, "--judge", "sync", "--out", out]
    state = run / "resume" / "judges" / "sync" / "state.pt"
    state.unlink()  # or there would be nothing to train
    process = subprocess.Popen(
        [*map(str, command), "--params", str(run / "params.yaml")], stderr=subprocess.PIPE, text=True
    )
    while not state.exists() and process.poll() is None:
        time.sleep(0.002)
    os.kill(process.pid, sign)
    _, said = process.communicate()
    assert sign == signal.SIGKILL or process.returncode == 0 or "judge sync: stopped by SIGTERM after step" in said
    train_judge(run, "sync", out)
    assert out.read_bytes() == (run / "judges" / "sync.safetensors").read_bytes()


def test_scores_have_the_agreed_form(run, truth):
    assert (truth["method"], truth["kind"], list(truth["families"])) == ("truth", "truth", ["corpus encoder"])
    assert truth["n_clips"] == len(TESTS)
    for name, splits in truth["scores"].items():
        assert set(splits) == {"all", "test_seen", "test_unseen"}, name
        for found in splits.values():
            assert set(found) == {"value", "low", "high", "n"}
            if found["low"] is not None:
                assert found["low"] <= found["high"]
        whole = splits["all"]
        assert whole["value"] is None or whole["low"] is not None, f"{name} has no interval"
    assert not set(truth["scores"]) & PUBLIC_SCORES


def test_truth_scores_itself_well(truth):
    def value(name):
        return truth["scores"][name]["all"]["value"]

    assert value("detection_rate") == 1
    assert value("psnr_mask") > 30
    assert value("ssim_mask") > 0.97
    assert value("mouth_r") > 0.6
    assert value("mouth_r") == value("mouth_r_own")
    assert value("checkerboard") == pytest.approx(1, abs=0.2)
    assert value("ghost_edge") == pytest.approx(1, abs=0.1)
    for name in ("mouth_streaks", "brow_ghosts", "mouth_amplitude"):
        assert value(name) == pytest.approx(1, abs=0.15), name
    assert value("lid_slits") is None or value("lid_slits") == pytest.approx(1, abs=0.05)
    for name in ("f_mse", "ofm", "warp_error"):  # the codec alone
        assert value(f"{name}_ratio") == pytest.approx(1, abs=0.1)
    assert value("warp_error") < value("f_mse")  # most of the true change is motion
    assert "psnr_drift" not in truth["scores"]  # of long clips alone
    assert value("leak_r2") is not None
    assert value("sync_confidence_own") is None


def test_a_row_a_clip(run, truth):
    table = tables.read(run / "metrics" / "truth.parquet", columns.CLIPS).to_pandas()
    assert list(table["clip"]) == TESTS
    for row in table.itertuples():
        assert len(row.ear_requested) == len(row.ear_measured) == len(row.mouth_measured) == row.frames
        assert np.mean(row.psnr_frame) == pytest.approx(row.psnr_mask, rel=1e-5)
        assert row.audio_clip == row.clip


def test_landmarks_and_identity_are_the_truths_own(truth, run):
    """The cost of the codec alone; the full-resolution corpus is not asked."""

    def value(name):
        return truth["scores"][name]["all"]["value"]

    assert value("lmd") < 0.03
    assert value("lmd_mouth") < 0.04
    assert value("lmd_px") == pytest.approx(value("lmd") * 25, rel=0.5)  # some 25 pixels from eye to eye
    assert value("csim") > 0.97
    assert value("same_person") > 0.9
    parts = tables.read(run / "metrics" / "truth.breakdown.parquet", columns.BREAKDOWN).to_pandas()
    assert set(parts["by"]) >= {"sentence", "speaker"}
    kira = parts[(parts["group"] == "kira") & (parts["score"] == "psnr_mask")]
    assert float(kira["value"].iloc[0]) == pytest.approx(truth["scores"]["psnr_mask"]["test_unseen"]["value"])


def test_scores_need_no_second_look_at_the_videos(run, truth):
    """Another number of resamples: neither the samples nor the judges are read, and the values stay."""
    hidden = [run / "samples", run / "judges", run / "faces", run / "raw"]
    for path in hidden:
        path.rename(path.with_name(f"{path.name}_away"))
    given = (run / "params.yaml").read_text()
    (run / "params.yaml").write_text(given.replace("bootstrap: 20", "bootstrap: 40"))
    try:
        again = score(run, "truth", again=False)
    finally:
        (run / "params.yaml").write_text(given)
        for path in hidden:
            path.with_name(f"{path.name}_away").rename(path)
    assert {n: s["all"]["value"] for n, s in again["scores"].items()} == {
        n: s["all"]["value"] for n, s in truth["scores"].items()
    }
    assert again != truth
    score(run, "truth", again=False)


def test_another_clips_audio_is_judged_by_that_clip(run):
    write_samples(
        run, "other_audio", lambda frames: frames, sound_of=lambda name: "kira_s01" if name != "kira_s01" else "ada_s02"
    )
    found = score(run, "other_audio")["scores"]
    assert found["mouth_r_own"]["all"]["value"] > 0.6 > 0.4 > found["mouth_r"]["all"]["value"]
    assert found["sync_confidence_own"]["all"]["value"] is not None
    table = tables.read(run / "metrics" / "other_audio.parquet", columns.CLIPS).to_pandas()
    assert list(table["audio_clip"]) == ["kira_s01", "ada_s02", "kira_s01"]


def test_bad_videos_score_worse(run, truth):
    rng = np.random.default_rng(0)
    write_samples(run, "full", lambda f: np.clip(f + rng.normal(0, 30, f.shape), 0, 255).astype(np.uint8))
    found = score(run, "full")["scores"]
    for name in ("fd_frame", "fd_mask", "fd_video"):
        assert found[name]["all"]["value"] > 3 * truth["scores"][name]["all"]["value"]
    assert found["psnr_mask"]["all"]["value"] < 22
    for name in ("f_mse", "warp_error"):  # white flicker: twice its variance more
        assert found[f"{name}_ratio"]["all"]["value"] > 3
    assert "leak_r2" not in found


def test_scores_are_the_same_each_time(run, truth):
    before = (run / "metrics" / "truth.parquet").read_bytes()
    assert score(run, "truth") == truth
    assert (run / "metrics" / "truth.parquet").read_bytes() == before


def test_a_video_of_another_length_is_refused(run):
    write_samples(run, "no_mask", lambda frames: frames[:-3])
    with pytest.raises(InputError, match=r"samples/no_mask\.tar.*ada_s02"):
        score(run, "no_mask")


def test_clips_held_out_are_measured_where_the_settings_say_so(run, tmp_path):
    data = tmp_path / "small"
    data.mkdir()
    for name in ("raw", "faces", "blink", "spectrogram", "judges"):
        (data / name).symlink_to(run / name)
    rows = pd.read_parquet(run / "index.parquet")
    rows.loc[rows["clip"] == "kira_s02", "split"] = "held_out"
    tables.write(data / "index.parquet", schemas.INDEX, rows.to_dict("records"))
    settings = yaml.safe_load((run / "params.yaml").read_text())
    for held_out, expected in ((False, TESTS[:2]), (True, TESTS)):
        settings["metrics"]["held_out"] = held_out
        reference.measure(data, params.validate(settings), data / "reference.parquet")
        found = tables.read(data / "reference.parquet", columns.REFERENCE, ["clip", "split"]).to_pandas()
        assert sorted(found["clip"]) == expected
    assert found.set_index("clip").loc["kira_s02", "split"] == "held_out"


def test_unknown_methods_and_places_are_refused(run, tmp_path):
    own = ("--data", run, "--params", run / "params.yaml")
    with pytest.raises(ParameterError, match=r"allowed: .*truth"):
        call(scoring.main, "--method", "nobody", *own)
    with pytest.raises(ParameterError, match="belong to"):
        call(scoring.main, "--method", "truth", "--out", tmp_path / "x.json", *own)


def test_a_judge_in_anothers_place_is_refused(run, tmp_path):
    for judge in JUDGES:
        (tmp_path / f"{judge}.safetensors").write_bytes((run / "judges" / "frame.safetensors").read_bytes())
    with pytest.raises(InputError, match="holds the frame judge"):
        encoders.Judges(tmp_path, 8)
