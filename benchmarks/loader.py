"""Training images a CPU second: decoding alone against OpenCV's decoder, and whole batches as the trainer's loader makes them.

    python -m benchmarks.loader [--data data/demo] [--json]

Without ``--data`` the clips are made up: 128-pixel pictures of clouds and grain whose JPEGs are about as large as a face's. One
process, one thread, no worker: what more processes give is not measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import simplejpeg
import torch
from numpy.typing import NDArray

from benchmarks import timing
from benchmarks.timing import Goal, Report, Result, Setting, Turns
from stages.base.errors import run
from stages.base.lazy import LazyArray
from stages.clips import corpus
from stages.clips.clip import Clip
from stages.clips.corpus import HeldJpegs, decoded
from stages.clips.windows import TrainingSet, Windows
from stages.faces.geometry import clip_mask, ear
from stages.networks.lipsync_expert import FRAMES
from stages.training import loader

SIZE, DILATION, QUALITY = 128, 0.12, 95
DECODED = Goal(least=4000)


def landmarks(frames: int, size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """68 points in the places of a face's, swaying a little: (T, 68, 2) in pixels."""
    jaw = np.pi * (1 - np.arange(17) / 16)
    parts = [
        np.column_stack([0.5 + 0.32 * np.cos(jaw), 0.5 + 0.38 * np.sin(jaw)]),
        *(np.column_stack([np.linspace(x, x + 0.2, 5), np.full(5, 0.36)]) for x in (0.25, 0.55)),
        np.column_stack([np.full(4, 0.5), np.linspace(0.44, 0.58, 4)]),
        np.column_stack([np.linspace(0.44, 0.56, 5), np.full(5, 0.62)]),
    ]
    rings = (
        (6, 0.35, 0.45, 0.05, 0.02),
        (6, 0.65, 0.45, 0.05, 0.02),
        (12, 0.5, 0.74, 0.1, 0.05),
        (8, 0.5, 0.74, 0.07, 0.03),
    )
    for count, x, y, width, height in rings:
        around = np.pi - 2 * np.pi * np.arange(count) / count
        parts.append(np.column_stack([x + width * np.cos(around), y - height * np.sin(around)]))
    sway = np.cumsum(rng.normal(scale=0.002, size=(frames, 1, 2)), 0)
    return ((np.concatenate(parts) + sway) * size).astype(np.float32)


def made_up_clip(number: int, *, frames: int = 50, size: int = SIZE) -> Clip:
    """A clip that is read as a real one is: frames are decoded and masks drawn when they are asked for."""
    rng = np.random.default_rng(number)
    clouds = cv2.resize(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), (size, size), interpolation=cv2.INTER_CUBIC)
    pictures = [
        np.clip(clouds + rng.normal(scale=2.0, size=clouds.shape), 0, 255).astype(np.uint8) for _ in range(frames)
    ]
    jpegs = HeldJpegs(
        pa.array([simplejpeg.encode_jpeg(p, quality=QUALITY, colorsubsampling="444") for p in pictures], pa.binary())
    )
    points = landmarks(frames, size, rng)
    return Clip(
        name=f"clip_{number}",
        speaker="clip",
        frames_THWC=decoded(jpegs, frames, size),
        landmarks_TL2=points,
        masks_THW=LazyArray((frames, size, size), np.dtype(np.bool_), clip_mask(points, DILATION)),
        ear_T2=ear(points).astype(np.float32),
        mel_SM=rng.uniform(-4, 4, (round(frames * 3.2), 80)).astype(np.float32),
        audio=np.zeros(frames * 640, np.int16),
        blinks=[(10, 14)],
    )


def training_set(clips: Sequence[Clip], windows: int) -> TrainingSet:
    """The clips under the paper's settings: the reference as it is, no zone weighed, one EAR a frame."""
    return TrainingSet(
        windows=Windows(clips, FRAMES),
        frames=Windows(clips, 1),
        seed=1,
        batch=windows,
        singles=0,
        timesteps=1000,
        latest_of=1,
        crop=0,
        align=False,
        places=False,
        audio_steps=16,
        blink_frames=1,
        ear="raw",
        drop=(),
        blink_share=0.0,
        first_reference=0.0,
        mirror=False,
        condition_dropout=0.0,
        mouth_weight=1.0,
        eye_weight=1.0,
    )


def jpegs_of(clips: Sequence[Clip], count: int) -> list[NDArray[np.uint8]]:
    """``count`` frames of some clips as JPEGs, encoded anew as the mask stage does."""
    frames = [clip.frames_THWC[t] for clip in clips for t in range(len(clip.frames_THWC))][:count]
    encode = partial(simplejpeg.encode_jpeg, quality=QUALITY, colorsubsampling="444")
    return [np.frombuffer(encode(np.ascontiguousarray(frame)), np.uint8) for frame in frames]


def cases(clips: Sequence[Clip], jpegs: Sequence[NDArray[np.uint8]], windows: int) -> dict[str, Callable[[], object]]:
    """``decode`` and ``opencv`` decode all JPEGs; ``batches`` makes one batch after another."""
    endless = loader.batches(
        training_set(clips, windows),
        loader.shares(windows, 0, 1, 1),
        first=0,
        steps=10**6,
        workers=0,
        device=torch.device("cpu"),
    )
    return {
        "decode": lambda: [simplejpeg.decode_jpeg(jpeg) for jpeg in jpegs],
        "opencv": lambda: [cv2.imdecode(jpeg, cv2.IMREAD_COLOR_RGB) for jpeg in jpegs],
        "batches": lambda: next(endless),
    }


def results(turns: Turns, decoded: int, images: int, bytes_each: float) -> list[Result]:
    """The lines of the report."""
    return [
        Result("rate_decode", "decoded, images a CPU second", decoded / turns.median("decode"), DECODED),
        Result("decode_over_opencv", "the same over OpenCV's decoder", turns.ratio("opencv", "decode")),
        Result("rate_batches", "whole batches, images a CPU second", images / turns.median("batches")),
        Result("bytes_each", "bytes of a JPEG", bytes_each),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="folder of a preprocessed run, such as data/demo; its training clips are read"
    )
    parser.add_argument("--windows", type=int, default=20, help=f"windows of {FRAMES} images a batch")
    parser.add_argument("--turns", type=int, default=15, help="timed calls of each case")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    clips = (
        corpus.load_split(args.data, ("train",), size=SIZE, dilation=DILATION)
        if args.data
        else [made_up_clip(number) for number in range(8)]
    )
    setting = Setting(torch.device("cpu"), bf16=False, turns=args.turns, warmup=2)
    jpegs = jpegs_of(clips, 200)
    turns = setting.time(cases(clips, jpegs, args.windows))
    lines = results(turns, len(jpegs), args.windows * FRAMES, sum(map(len, jpegs)) / len(jpegs))
    machine = setting.machine() | {"clips": str(args.data or "made up"), "scale": f"{SIZE} pixels"}
    timing.show(Report("loader", machine, lines), as_json=args.json)


if __name__ == "__main__":
    run(main)
