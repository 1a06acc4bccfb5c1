"""Fixtures that several tests share."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
import torch

from stages.clips.clip import Clip
from stages.faces.geometry import clip_masks, ear
from stages.store import schemas, tables


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The runs of the whole pipeline first: they take longest, and another process does the rest meanwhile."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)


torch.set_num_threads(1)  # the tests' networks are small: a second thread would only wait for the first


def landmarks_of(rng: np.random.Generator, frames: int, size: int) -> np.ndarray:
    """A plausible set of 68 landmarks that nods, blinks and speaks a little, (T, 68, 2) in pixels."""
    jaw = np.stack([np.cos(a := np.linspace(np.pi, 0, 17)) * 0.32, np.sin(a) * 0.38], -1) + [0.5, 0.5]
    brows = np.concatenate([np.column_stack([np.linspace(x, x + 0.2, 5), np.full(5, 0.36)]) for x in (0.25, 0.55)])
    bridge = np.column_stack([np.full(4, 0.5), np.linspace(0.44, 0.58, 4)])
    nostrils = np.column_stack([np.linspace(0.44, 0.56, 5), np.full(5, 0.62)])
    around = np.pi - np.arange(6) * np.pi / 3
    eyes = np.concatenate(
        [np.column_stack([0.05 * np.cos(around), -0.02 * np.sin(around)]) + [x, 0.45] for x in (0.35, 0.65)]
    )
    outer, inner = np.pi - np.arange(12) * np.pi / 6, np.pi - np.arange(8) * np.pi / 4
    outer_lips = np.column_stack([0.1 * np.cos(outer), -0.05 * np.sin(outer)])
    inner_lips = np.column_stack([0.07 * np.cos(inner), -0.02 * np.sin(inner)])
    lips = np.concatenate([outer_lips, inner_lips]) + [0.5, 0.74]
    face = np.concatenate([jaw, brows, bridge, nostrils, eyes, lips])
    assert face.shape == (68, 2)
    sway = np.cumsum(rng.normal(scale=0.002, size=(frames, 1, 2)), 0)
    return ((face + sway + rng.normal(scale=0.0005, size=(frames, 68, 2))) * size).astype(np.float32)


def clip_of(name: str = "ada_s01", *, frames: int = 30, size: int = 32, seed: int = 0) -> Clip:
    """A clip of noise with plausible landmarks; the same arguments give the same clip."""
    rng = np.random.default_rng([seed, len(name), *name.encode()])
    landmarks = landmarks_of(rng, frames, size)
    return Clip(
        name=name,
        speaker=name.split("_")[0],
        frames_THWC=rng.integers(0, 256, (frames, size, size, 3), dtype=np.uint8),
        landmarks_TL2=landmarks,
        masks_THW=clip_masks(landmarks, size, 0.12),
        ear_T2=ear(landmarks).astype(np.float32),
        mel_SM=rng.uniform(-4, 4, (round(frames * 3.2), 80)).astype(np.float32),
        audio=rng.integers(-3000, 3000, frames * 640, dtype=np.int16),
        blinks=[(10, 14)] if frames > 14 else [],
    )


def write_clip(data: Path, name: str, frames: int, *, side: int, segment: int) -> None:
    """The tables of a shard with one clip of coloured clouds, in segments of so many frames, as the stages write them."""
    rng, shard = np.random.default_rng(len(name)), name.split("_")[0]
    landmarks = landmarks_of(rng, frames, side)
    picture = cv2.resize(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), (side, side), interpolation=cv2.INTER_LINEAR)
    face = {"clip": name, "status": "ok", "fps": 25.0, "crop": [0.0, 0.0, side], "rotation": 0, "faces_seen": 1}
    face |= {"part_of": name, "first": 0, "after": frames}
    with tables.writer(data / "faces" / f"{shard}.parquet", schemas.FACES) as write:
        for number, start in enumerate(range(0, frames, segment)):
            part = range(start, min(start + segment, frames))
            rolled = [np.roll(picture, t, (0, 1)) for t in part]
            jpegs = [
                simplejpeg.encode_jpeg(np.ascontiguousarray(p), quality=95, colorsubsampling="444") for p in rolled
            ]
            own = {"frames": jpegs, "landmarks": landmarks[part].ravel(), "detected": [True] * len(part)}
            write({**face, **own, "segment": number, "start": start})
    with tables.writer(data / "blink" / f"{shard}.parquet", schemas.BLINK) as write:
        both = ear(landmarks).astype(np.float32)
        row = {
            "clip": name,
            "ear_left": both[:, 0],
            "ear_right": both[:, 1],
            "open_ear": 0.3,
            "speaker_open": 0.3,
            "speaker_shut": 0.1,
        }
        write({**row, "blink_start": [3], "blink_end": [7]})
    with tables.writer(data / "spectrogram" / f"{shard}.parquet", schemas.SPECTROGRAM) as write:
        mel = rng.uniform(-4, 4, (frames * 16 // 5 + 1) * 80).astype(np.float32)
        audio = rng.integers(-3000, 3000, frames * 640).astype("<i2").tobytes()
        write({"clip": name, "status": "ok", "mel": mel, "audio": audio})


@pytest.fixture
def make_clip():
    """The function :func:`clip_of`."""
    return clip_of
