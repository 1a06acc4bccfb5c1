"""A small finished run, made up: drawn faces that blink and speak, plausible scores. For tests of the report."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from stages import media
from stages.base.params import Params, load
from stages.reporting import results
from stages.reporting.results import Results
from stages.scoring import catalogue, columns
from stages.store import atomic, schemas, tables, tars, tracking

SPEAKERS = {"ada": "train", "bela": "train", "kira": "test_unseen"}
FRAMES, SIZE = 40, 128
# What these scores are held to; the demo's own bounds are its affair.
BOUNDS = {
    "mouth_r": [0.7, 0.6],
    "ear_r": [0.85, 0.75],
    "worst_mouth_r": 0.5,
    "fd_frame": 4.5,
    "fd_mask": 3.5,
    "fd_video": 6.0,
    "psnr_mask": 26.0,
    "expert_within_clip": 0.8,
}
LONG = 150  # frames of a long clip
SCORES = {
    "ear_r": {"truth": 0.99, "full": 0.91, "no_blink": 0.08, "no_mask": 0.84, "other_audio": 0.9},
    "mouth_r": {"truth": 1.0, "full": 0.78, "no_blink": 0.77, "no_mask": 0.7, "other_audio": 0.66},
    "mouth_r_own": {"truth": 1.0, "full": 0.78, "no_blink": 0.77, "no_mask": 0.7, "other_audio": 0.31},
    "fd_frame": {"full": 4.1, "no_blink": 4.0, "no_mask": 13.2, "other_audio": 4.3},
    "fd_mask": {"full": 3.1, "no_blink": 3.2, "no_mask": 7.9, "other_audio": 3.3},
    "fd_video": {"full": 5.2, "no_blink": 5.0, "no_mask": 21.0, "other_audio": 6.1},
    "sync_confidence": {"truth": 4.9, "full": 4.2, "no_blink": 4.3, "no_mask": 3.1, "other_audio": 4.0},
    "sync_confidence_other": {"full": 1.2},
    "blinks_per_s": {"truth": 0.7, "full": 0.66, "no_blink": 0.0, "no_mask": 0.9, "other_audio": 0.66},
    "blink_duration_s": {"truth": 0.28, "full": 0.26, "no_mask": 0.2, "other_audio": 0.26},
    "psnr_mask": {"full": 27.1, "no_blink": 26.5, "no_mask": 21.4, "other_audio": 24.9},
    "leak_r2": {"truth": 0.04},
    "leak_r2_within": {"truth": 0.02},
    "fd_frame_floor": {"truth": 2.0, "full": 2.0},
    "checkerboard": {"full": 1.1, "no_mask": 1.3},
    "ghost_edge": {"full": 1.2},
    "mouth_streaks": {"full": 1.1},
    "brow_ghosts": {"full": 0.9},
    "lid_slits": {"full": 1.05},
    "mouth_amplitude": {"full": 1.0},
}


def settings() -> Params:
    """The demo's settings with three speakers and two videos."""
    demo = load("presets/demo.yaml")
    corpus = demo.corpus.model_copy(update={"shards": list(SPEAKERS)})
    index = demo.index.model_copy(update={"unseen_speakers": ["kira"]})
    report = demo.report.model_copy(update={"videos": 2, "frames": 4, **BOUNDS})
    return demo.model_copy(update={"run": "fake", "corpus": corpus, "index": index, "report": report})


def study() -> Params:
    """A run with a samplers' study in two groups, a guided cell and a long clip; without the ablations."""
    base = settings().model_dump()
    names = ("truth", "full")
    row = base["methods"]["full"] | {"tables": ["samplers"]}
    methods = {name: base["methods"][name] for name in names}
    methods["truth"]["tables"] = ["table1", "table2", "samplers"]
    noises = {"shared": (1.0, 0.0), "mixed": (0.0, 0.9), "apart": (0.0, 0.0)}
    for sampler in ("ddim", "ancestral"):
        for steps in (5, 25):
            for noise, (shared, interpolation) in noises.items():
                own = {"sampler": sampler, "steps": steps, "shared_noise": shared, "interpolation": interpolation}
                methods[f"{sampler}_{steps}_{noise}"] = row | {"title": f"{sampler} {steps} {noise}", "sample": own}
    methods["guided"] = row | {"title": "guided", "sample": {"sampler": "ddim", "steps": 5, "guidance_audio": 2.0}}
    methods["truth_8"] = methods["truth"] | {"title": "GT, 8 frames", "tables": ["samplers"], "sample": {"frames": 8}}
    for steps in (10, 1000):
        own = {"sampler": "ancestral", "steps": steps, "frames": 8}
        methods[f"ancestral_{steps}_8"] = row | {"title": f"ancestral {steps}, 8 frames", "sample": own}
    methods["full_long"] = row | {"title": "HifiDiff, long", "tables": [], "splits": ["test_long"]}
    train = base["train"] | {"condition_dropout": 0.1}
    own = {"run": "fakestudy", "methods": methods, "trained": ["full"], "train": train}
    metrics, index = base["metrics"] | {"drift_s": 1.0}, base["index"] | {"long_min_s": LONG / 25}
    return Params.model_validate(base | own | {"metrics": metrics, "index": index})


def others() -> Params:
    """A run with a system that was trained here, a second row of its weights, and videos from elsewhere."""
    base = settings().model_dump()
    names = ("truth", "full", "no_blink")
    row = base["methods"]["full"] | {"kind": "wav2lip", "tables": ["table1"]}
    methods = {name: base["methods"][name] for name in names}
    methods["wav2lip"] = row | {"title": "Wav2Lip", "made_from": "models/wav2lip"}
    methods["wav2lip_video"] = methods["wav2lip"] | {
        "title": "Wav2Lip, from the video",
        "settings": {"driver": "video"},
    }
    given = {"shows": "face", "lost_at_start": 0, "lost_at_end": 2, "sees": "one frame and the audio"}
    methods["theirs"] = row | {"kind": "videos", "title": "Theirs", "made_from": "videos/theirs", "settings": given}
    own = {
        "run": "fakeothers",
        "methods": methods,
        "trained": ["full", "no_blink"],
        "baselines": {"wav2lip": "wav2lip"},
    }
    return Params.model_validate(base | own)


def seeds() -> Params:
    """A run with two more trainings of the full model from other seeds, and one without L_sync."""
    base = settings().model_dump()
    row = base["methods"]["full"] | {"tables": []}
    methods = {name: base["methods"][name] for name in ("truth", "full")}
    for number in (2, 3):
        own = {"title": f"HifiDiff, seed {number}", "settings": {"train": {"seed": number}}}
        methods[f"full_{number}"] = row | own | {"made_from": f"models/full_{number}"}
    own = {"title": "without L_sync", "made_from": "models/no_sync", "settings": {"loss": {"sync": 0.0}}}
    methods["no_sync"] = row | own
    loss, train = base["loss"] | {"sync": 0.15}, base["train"] | {"batch": 1, "singles": 3, "crop": 0}
    own = {"run": "fakeseeds", "methods": methods, "trained": ["full", "full_2", "full_3", "no_sync"]}
    return Params.model_validate(base | own | {"loss": loss, "train": train})


def finished(factory: pytest.TempPathFactory, params: Params, *, record: bool = False) -> Iterator[Results]:
    """A finished run in a new folder, read; for a fixture to give out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DVC_ROOT", raising=False)
        data = factory.mktemp("run") / "data" / params.run
        make(data, params, record=record)
        yield results.read(data, params)


def with_score(run: Results, method: str, name: str, value: float | None, spread: float) -> Results:
    """The run with another value of a score in each split, its interval so far to either side."""
    document = json.loads(json.dumps(run.methods[method].document))
    entry = {"value": value, "low": None, "high": None, "n": 4}
    if value is not None:
        entry |= {"low": value - spread, "high": value + spread}
    document["scores"][name] = dict.fromkeys(results.SPLITS, entry)
    return replace(run, methods={**run.methods, method: replace(run.methods[method], document=document)})


def make(data: Path, params: Params, *, record: bool = True) -> None:
    """Write a finished run into ``data``; ``record``: with its scores in MLflow."""
    rng = np.random.default_rng(3)
    (data / "expert").mkdir(parents=True, exist_ok=True)
    curve = {"step": [100, 200], "loss": [2.0, 1.0]}
    accuracies = {"validation_pairwise_accuracy": [0.9, 0.97], "validation_within_clip_accuracy": [0.7, 0.84]}
    pd.DataFrame(curve | accuracies).to_csv(data / "expert" / "curves.csv", index=False)
    index, clips = [], {}
    for speaker, split in SPEAKERS.items():
        rows = []
        for sentence in ("s01", "s09"):
            name = f"{speaker}_{sentence}"
            part = split if sentence == "s01" or split != "train" else "test_seen"
            clips[name] = _clip(rng, speaker)
            rows.append((name, sentence, part))
            status = "ok"
            index.append(_index_row(name, speaker, sentence, part, status))
        _preprocessed(data, speaker, {name: clips[name] for name, *_ in rows})
    if params.sampled_on("test_long"):
        clips["ada_long"] = _clip(rng, "ada", LONG)
        index.append(_index_row("ada_long", "ada", "long", "test_long", "ok", LONG))
        _preprocessed(data, "ada", {name: clips[name] for name in ("ada_s01", "ada_s09", "ada_long")})
    index.append(_index_row("bela_s05", "bela", "s05", "out", "no audio stream; give another file"))
    tables.write(data / "index.parquet", schemas.INDEX, index)
    for method, entry in params.methods.items():
        tests = [row for row in index if row["split"] in entry.splits]
        _samples(data, method, tests, clips, params)
        _scored(data, method, tests, clips, params, record)
    for method in (*params.trained, *params.baselines):
        _trained(data, method, params)
    for method in params.talking:
        tables.write(data / "portraits" / f"{method}.parquet", columns.PORTRAITS, _films(index))


def _films(index: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Films of each test clip's first frame and video: all as asked for; the mouth follows by r = 0.8, a video's by 0.9."""
    late = 1.0 + np.abs(np.arange(31) - 15.25)
    jpeg = bytes(cv2.imencode(".jpg", np.full((60, 480, 3), 120, np.uint8))[1])
    shared = {
        "frames": 50, "detected": 1.0, "csim": 0.98, "blinks_asked": 4, "blinks_found": 4, "blinks_others": 0,
        "length_apart": 0.25, "mouth": [0.8, 1.0, 1.0], "ear": [0.95, 1.0, 1.0], "pause": [0.5, 10.0],
        "sync_distances": late, "picture": jpeg,
    }  # fmt: skip
    tests = [row for row in index if row["split"] in ("test_seen", "test_unseen")]
    names = [
        {"face": row["clip"], "sound": "ada_s01", "speaker": row["speaker"], "split": row["split"]} for row in tests
    ]
    films = [name | shared | {"input": "still"} for name in names]
    return films + [film | {"input": "video", "mouth": [0.9, 1.0, 1.0]} for film in films]


def _clip(rng: np.random.Generator, speaker: str, count: int = FRAMES) -> dict[str, Any]:
    hue = SPEAKERS and list(SPEAKERS).index(speaker)
    mouth = np.clip(0.5 + 0.5 * np.sin(np.arange(count) * rng.uniform(0.5, 0.9)), 0, 1)
    eye = np.ones(count)
    eye[15:20] = (0.5, 0.1, 0.0, 0.3, 0.7)
    frames = np.stack([_face(SIZE, hue, m, e) for m, e in zip(mouth, eye, strict=True)])
    return {"frames": frames, "mouth": mouth, "eye": eye, "hue": hue, "audio": rng.integers(-3000, 3000, count * 640)}


def _face(size: int, hue: int, mouth: float, eye: float) -> NDArray[np.uint8]:
    """A cartoon: background, head, eyes that close, a mouth that opens."""
    image = np.full((size, size, 3), (90 + 30 * hue, 120, 150 - 30 * hue), np.uint8)
    at = lambda x, y: (int(x * size), int(y * size))  # noqa: E731
    cv2.ellipse(image, at(0.5, 0.55), at(0.3, 0.4), 0, 0, 360, (225 - 30 * hue, 180 - 20 * hue, 150), -1, cv2.LINE_AA)
    for x in (0.38, 0.62):
        cv2.ellipse(image, at(x, 0.45), at(0.06, 0.005 + 0.03 * eye), 0, 0, 360, (250, 250, 250), -1, cv2.LINE_AA)
        cv2.circle(image, at(x, 0.45), int(0.02 * size * eye), (40, 40, 60), -1, cv2.LINE_AA)
    cv2.ellipse(image, at(0.5, 0.76), at(0.09, 0.01 + 0.06 * mouth), 0, 0, 360, (140, 50, 60), -1, cv2.LINE_AA)
    return image


def _landmarks(mouth: float, eye: float) -> NDArray[np.float32]:
    """68 landmarks on that cartoon, pixels of a SIZE picture."""
    around = lambda n: np.pi - np.arange(n) * 2 * np.pi / n  # noqa: E731
    oval = lambda x, y, w, h, n: np.column_stack([x + w * np.cos(around(n)), y - h * np.sin(around(n))])  # noqa: E731
    angles = np.linspace(np.pi, 0, 17)
    jaw = np.column_stack([0.5 + 0.3 * np.cos(angles), 0.55 + 0.4 * np.sin(angles)])
    brows = np.concatenate([np.column_stack([np.linspace(x, x + 0.14, 5), np.full(5, 0.36)]) for x in (0.31, 0.55)])
    nose = np.concatenate(
        [
            np.column_stack([np.full(4, 0.5), np.linspace(0.45, 0.6, 4)]),
            np.column_stack([np.linspace(0.45, 0.55, 5), np.full(5, 0.63)]),
        ]
    )
    eyes = [oval(x, 0.45, 0.06, 0.005 + 0.03 * eye, 6) for x in (0.38, 0.62)]
    lips = [oval(0.5, 0.76, 0.1, 0.03 + 0.06 * mouth, 12), oval(0.5, 0.76, 0.08, 0.005 + 0.05 * mouth, 8)]
    return (np.concatenate([jaw, brows, nose, *eyes, *lips]) * SIZE).astype(np.float32)


def _index_row(name: str, speaker: str, sentence: str, split: str, status: str, frames: int = FRAMES) -> dict[str, Any]:
    row = {"clip": name, "shard": speaker, "speaker": speaker, "sentence": sentence, "emotion": "", "level": ""}
    counts = (
        {"frames": frames, "end_s": frames / 25, "blinks": 1, "open_ear": 0.3}
        if status == "ok"
        else {"frames": 0, "end_s": 0.0, "blinks": 0, "open_ear": 0.0}
    )
    return {**row, "source": "rendered", "sha256": "0" * 64, "split": split, "status": status, "start_s": 0.0, **counts}


def _preprocessed(data: Path, shard: str, clips: dict[str, dict[str, Any]]) -> None:
    faces, blinks, sounds = [], [], []
    for name, clip in clips.items():
        landmarks = np.stack([_landmarks(m, e) for m, e in zip(clip["mouth"], clip["eye"], strict=True)])
        face = {"clip": name, "segment": 0, "status": "ok", "fps": 25.0, "start": 0, "crop": [0.0, 0.0, float(SIZE)]}
        face |= {"part_of": name, "first": 0, "after": len(landmarks)}
        faces.append(
            {
                **face,
                "frames": [_jpeg(f) for f in clip["frames"]],
                "landmarks": landmarks.ravel().tolist(),
                "detected": [True] * len(landmarks),
                "rotation": 0,
                "faces_seen": 1,
            }
        )
        ear = (0.3 * clip["eye"]).tolist()
        blinks.append(
            {
                "clip": name,
                "ear_left": ear,
                "ear_right": ear,
                "open_ear": 0.3,
                "speaker_open": 0.3,
                "speaker_shut": 0.1,
                "blink_start": [15],
                "blink_end": [20],
            }
        )
        mel = (
            np.random.default_rng(1).uniform(-4, 4, (len(landmarks) * 16 // 5, 80))
            * np.repeat(clip["mouth"], 4)[: len(landmarks) * 16 // 5, None]
        )
        sounds.append(
            {"clip": name, "status": "ok", "mel": mel.ravel().tolist(), "audio": clip["audio"].astype("<i2").tobytes()}
        )
    tables.write(data / "faces" / f"{shard}.parquet", schemas.FACES, faces)
    tables.write(data / "blink" / f"{shard}.parquet", schemas.BLINK, blinks)
    tables.write(data / "spectrogram" / f"{shard}.parquet", schemas.SPECTROGRAM, sounds)


def _jpeg(frame: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(frame).save(out, format="JPEG", quality=95)
    return out.getvalue()


def _samples(data: Path, method: str, tests: list[dict[str, Any]], clips: dict[str, Any], params: Params) -> None:
    most = params.sampling(method).frames
    members = []
    listing = [
        {"clip": r["clip"], "shard": r["shard"], "split": r["split"], "audio_clip": r["clip"], "frames": r["frames"]}
        for r in tests
    ]
    if params.methods[method].kind == "videos":
        listing = [r | {"repeated_at_start": 0, "repeated_at_end": 2, "cut_at_end": 0} for r in listing]
    if params.methods[method].weights_of in params.baselines:
        listing = [r | {"frame_flops": 6_200_000_000} for r in listing]
    for row in tests:
        clip = clips[row["clip"]]
        eye = np.ones(len(clip["eye"])) if method == "no_blink" else clip["eye"]
        blur = {"truth": 0, "full": 1, "no_blink": 1}.get(method, 4)
        frames = [_face(SIZE, clip["hue"], m, e) for m, e in zip(clip["mouth"][:most], eye[:most], strict=True)]
        frames = [cv2.GaussianBlur(f, (0, 0), blur) if blur else f for f in frames]
        frames = [cv2.resize(f, (64, 64), interpolation=cv2.INTER_AREA) for f in frames]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            audio = clip["audio"].astype(np.int16)
            media.write_video(path, frames, fps=25, audio=audio, sample_rate=16000, crf=12, preset="ultrafast")
            members.append((f"{row['clip']}.mp4", path.read_bytes()))
    tars.write(data / "samples" / f"{method}.tar", [(tars.CLIPS, tars.json_bytes(listing)), *members])


def document(method: str, params: Params) -> dict[str, Any]:
    """``metrics/<method>.json``: made-up scores, a little lower on unseen speakers."""
    scores = {}
    for name, values in SCORES.items():
        if method in values:
            value = values[method]
            splits = {"all": value, "test_seen": value * 1.01, "test_unseen": value * 0.97}
            spread = 0.06 * abs(value) + 0.01
            scores[name] = {s: {"value": v, "low": v - spread, "high": v + spread, "n": 4} for s, v in splits.items()}
    kind, splits = params.methods[method].kind, params.methods[method].splits
    if kind == "truth" or "samplers" in params.methods[method].tables:
        scores |= _sampled(method, params)
    if "test_long" in splits:
        for name, value in {"psnr_drift": -0.05, "mouth_r_drift": 0.02, "psnr_mask": 27.0}.items():
            score = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 1}
            scores[name] = {"all": score, "test_long": score}
    frames = LONG if "test_long" in splits else 4 * (params.sampling(method).frames or FRAMES)
    count = 1 if "test_long" in splits else 4
    return {"method": method, "kind": kind, "n_clips": count, "n_frames": frames} | {
        "families": catalogue.families(scores),
        "scores": scores,
    }


def _sampled(method: str, params: Params) -> dict[str, Any]:
    """Scores of a cell: more steps and shared noise are a little better, few frames farther from the truth."""
    own, true = params.sampling(method), params.methods[method].kind == "truth"
    loose = 0.0 if true else (1 - own.shared_noise) * (1 - 0.6 * own.interpolation)
    few = 0.0 if true else 1 / own.steps
    short = 2.0 if own.frames else 1.0
    values = {
        "fd_frame": short * (0.1 if true else 4 + 3 * few + loose),
        "fd_video": short * (0.2 if true else 5 + 3 * few + 2 * loose),
        "mouth_r": 0.97 if true else 0.8 - few * 0.3 - 0.05 * loose,
        "ear_r": 0.99 if true else 0.92 - few * 0.1,
        "psnr_mask": 40.0 if true else 27 + 4 * few - loose,
        "f_mse_ratio": 1.0 if true else 0.8 + 3 * loose,
        "ofm_ratio": 1.0 if true else 0.9 + 0.5 * loose,
        "warp_error": 6.0 if true else 5 + 40 * loose,
    }
    scores = {}
    for name, value in values.items():
        spread = 0.04 * abs(value)
        score = {"value": value, "low": value - spread, "high": value + spread, "n": 4}
        scores[name] = {"all": score, "test_seen": score, "test_unseen": score}
    return scores


def _scored(
    data: Path, method: str, tests: list[dict[str, Any]], clips: dict[str, Any], params: Params, record: bool
) -> None:
    rng = np.random.default_rng(5)
    most = params.sampling(method).frames
    rows = []
    for row in tests:
        clip = clips[row["clip"]]
        noisy = lambda x: (x + rng.normal(scale=0.03, size=len(x)))[:most].astype(np.float32).tolist()  # noqa: E731
        eye = np.ones(len(clip["eye"])) if method == "no_blink" else clip["eye"]
        rows.append(
            {
                "clip": row["clip"],
                "split": row["split"],
                "psnr_frame": noisy(27 + 10 * clip["mouth"]),
                "ear_r": float(rng.uniform(0.8, 1)),
                "mouth_r": float(rng.uniform(0.6, 0.9)),
                "ear_requested": (0.3 * clip["eye"]).astype(np.float32).tolist(),
                "ear_measured": noisy(0.3 * eye),
                "mouth_requested": (0.1 * clip["mouth"]).astype(np.float32).tolist(),
                "mouth_measured": noisy(0.1 * clip["mouth"]),
            }
        )
    path = data / "metrics" / f"{method}.parquet"
    tables.write(path, columns.CLIPS, rows)
    parts = [
        {"by": "speaker", "group": speaker, "score": name, "value": 0.8, "low": 0.7, "high": 0.9, "n": 2}
        for speaker in ("ada", "kira")
        for name in ("mouth_r", "csim")
    ]
    parts.append({"by": "length", "group": "longest third", "score": "psnr_mask", "value": 27.0, "n": 1})
    tables.write(path.with_suffix(".breakdown.parquet"), columns.BREAKDOWN, parts)
    if record:
        tracking.record_scores(data, method, params=params, scores=document(method, params))
    else:
        atomic.write_json(path.with_suffix(".json"), document(method, params))


def _trained(data: Path, method: str, params: Params) -> None:
    steps = np.arange(20, params.train.steps + 1, 20)
    rng = np.random.default_rng(len(method))
    terms = {name: scale * (0.2 + np.exp(-steps / 300)) * rng.uniform(0.9, 1.1, len(steps)) for name, scale in
             {"total": 2.0, "simple": 1.0, "l2": 0.9, "sync": 0.7, "lpips": 0.5, "gradient_norm": 1.4}.items()}  # fmt: skip
    folder = data / "models" / method
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"step": steps, **terms}).to_csv(folder / "curves.csv", index=False)
    if method in params.baselines:
        config = {"steps": 300, "images_per_step": 40, "parameters": 36_300_000}
        atomic.write_json(folder / "config.json", config)
        return
    images = params.train.batch * params.loss.frames
    config = {"steps": params.train.steps, "images_per_step": images, "mel_bins": params.spectrogram.n_mels}
    config |= {"network": params.network.model_dump(), "diffusion": params.diffusion.model_dump()}
    atomic.write_json(folder / "config.json", config | {"drop": params.methods[method].drop})
