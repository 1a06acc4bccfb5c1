"""Ten minutes of a GPU: the speed of the paper's network in training and sampling there, and its learning in the remaining time.

    make gpu-check                                    # or python -m benchmarks.gpu_check --out gpu-check --minutes 9
    python -m benchmarks.gpu_check --pack demo.tar    # the data for a machine that has none: at most 60 MB
    python -m benchmarks.gpu_check --small --out …    # the same at a small size, on a CPU

First the benchmarks: training beside ``diffusers`` with and without ``torch.compile``, sampling at 50 and 10 steps, what the
losses cost, each in a process of its own and none longer than its share of the time. Then preset rendered-128's training on a
run's faces, as many steps as fit, and the first test clips made with it at 50 and 10 steps. Writes at most eight files:
``speed.md``, ``training.json`` (steps, seconds, memory), ``curves.csv``, ``scores.json``, ``frames.png`` and ``log.txt``.
A part that fails or takes too long is named in ``speed.md``; the others are made, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks import timing
from benchmarks.timing import Setting
from stages.base import params
from stages.base.errors import InputError, run
from stages.clips import conditions, corpus
from stages.clips.clip import Clip
from stages.clips.conditions import REFERENCE
from stages.clips.windows import TrainingSet
from stages.measures import image
from stages.methods.generate import generate
from stages.pretrained import lipsync_expert
from stages.pretrained.hifidiff import HifiDiff
from stages.reporting import drawing, figures
from stages.store import atomic, schemas, tables
from stages.training import hifidiff, loop
from stages.training.prepared import prepared, training_set

Pictures = NDArray[np.uint8]

ROOT = Path(__file__).resolve().parent.parent
PRESET, SMALL_PRESET = ROOT / "presets" / "rendered-128.yaml", ROOT / "presets" / "smoke.yaml"
PACKED_MB = 60
TABLES = ("faces", "blink", "spectrogram")  # of each speaker; what training and sampling read
ALONE = ("index.parquet", "expert/expert.safetensors")
TESTED = ("test_seen", "test_unseen")
STEPS = (50, 10)  # of sampling
CLIPS, FRAMES = 4, 25  # made with the trained network
SMALL_STEPS = 60
PROBED = 12  # steps that tell how long one takes
SHARE_FOR_SAMPLING = 0.3  # of what the benchmarks leave; and for steps that take longer than the probed ones
# The parts of the benchmarks: title, module, arguments, and the share of the whole time after which it is given up.
PARTS = (
    ("Training step", "unet", (), 0.15),
    ("Training step, torch.compile", "unet", ("--compile",), 0.3),
    ("Sampling", "sampling", (), 0.2),
    ("Cost of the losses", "losses", (), 0.15),
)
SMALL = ("--size", "16", "--channels", "64", "--batch", "1", "--turns", "1", "--warmup", "0")


class Trained(NamedTuple):
    """A trained model, its training, and when each step was done, by the monotonic clock."""

    model: HifiDiff
    fitted: loop.Fitted
    stamps: list[float]


class Check:
    """The parts of the check, with the time that is left of all."""

    def __init__(self, out: Path, minutes: float, small: bool) -> None:
        self.out, self.small, self.whole = out, small, 60 * minutes
        self.begun, self.failed = time.monotonic(), 0
        self.setting = Setting.of(
            argparse.Namespace(device="cpu" if small else "auto", threads=1, dtype="auto", turns=3, warmup=1)
        )
        self.settings = params.load(SMALL_PRESET if small else PRESET)
        out.mkdir(parents=True, exist_ok=True)

    @property
    def precision(self) -> str:
        """Of networks, as sections train and sample name it."""
        return "bf16" if self.setting.bf16 else "fp32"

    @property
    def left(self) -> float:
        """Seconds."""
        return self.whole - (time.monotonic() - self.begun)

    def say(self, text: str) -> None:
        """A line for people and for ``log.txt``."""
        line = f"{time.monotonic() - self.begun:6.1f} s  {text}"
        print(line, flush=True)
        with open(self.out / "log.txt", "a", encoding="utf-8") as log:
            log.write(line + "\n")

    def speed(self) -> None:
        """Run the benchmarks and write ``speed.md``, anew after each part."""
        device = self.setting.device
        total = torch.cuda.get_device_properties(device).total_memory / 2**30 if device.type == "cuda" else None
        head = f"# On {self.setting.machine()['device']}" + (f", {total:.0f} GiB" if total else "")
        sections = [head]
        for title, module, argv, share in PARTS:
            if self.small and "--compile" in argv:
                continue  # it takes a C++ compiler and minutes, and is no part of what a CPU can show
            sections.append(f"## {title}\n\n{self._benchmark(module, argv, min(self.left, share * self.whole))}")
            with atomic.whole_file(self.out / "speed.md") as part:
                part.write_text("\n\n".join(sections) + "\n", encoding="utf-8")

    def _benchmark(self, module: str, argv: Sequence[str], seconds: float) -> str:
        command = [
            sys.executable,
            "-m",
            f"benchmarks.{module}",
            *argv,
            *(("--device", "cpu", *SMALL) if self.small else ()),
        ]
        shown = " ".join(["python", *command[1:]])
        self.say(shown)
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=max(seconds, 1))
        except subprocess.TimeoutExpired:
            self.failed += 1
            self.say(f"not finished within {seconds:.0f} s")
            return f"`{shown}` was not finished within {seconds:.0f} s."
        if done.returncode:
            self.failed += 1
            why = (done.stderr.strip().splitlines() or ["no message"])[-1]
            self.say(f"failed: {why}")
            return f"`{shown}` failed: {why}"
        return done.stdout.strip()

    def train(self, data: Path) -> HifiDiff:
        """Train preset rendered-128's network on a run's training clips for the time that is left; the trained model."""
        device, pace = self.setting.device, self.settings.train
        settings = with_train(self.settings, compile=False, device=device.type, precision=self.precision)
        clips, expert = training_set(settings, data, ()), lipsync_expert.load(data / ALONE[1], device)
        probed = self._fit(settings, clips, expert, PROBED, "probe").stamps
        took = (probed[-1] - probed[PROBED // 2 - 1]) / (PROBED - PROBED // 2)
        steps = max(PROBED, int((1 - SHARE_FOR_SAMPLING) * self.left / took))
        if self.small:
            steps = min(steps, SMALL_STEPS)
        self.say(f"{took:.3f} s a step of {clips.images} images: {steps} steps")
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        settings = with_train(settings, warmup=min(pace.warmup, steps // 10))
        model, fitted, _ = self._fit(settings, clips, expert, steps, "train")
        memory = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
        atomic.write_json(
            self.out / "training.json",
            {
                "machine": self.setting.machine(),
                "steps": steps,
                "images_per_step": clips.images,
                "seconds": fitted.seconds,
                "images_per_second": steps * clips.images / fitted.seconds,
                "peak_memory_gib": memory,
                "training_clips": len(clips.windows.at(0).clips),
            },
        )
        pd.DataFrame(fitted.curves).to_csv(self.out / "curves.csv", index=False)
        model.net.eval().requires_grad_(False)
        return model

    def _fit(
        self, settings: params.Params, clips: TrainingSet, expert: lipsync_expert.Expert, steps: int, label: str
    ) -> Trained:
        device = self.setting.device
        settings = with_train(settings, steps=steps, log_every=max(1, steps // 50), checkpoint_every=steps)
        model, net, objective = prepared(settings, (), expert, device)
        trainer = hifidiff.Trainer(net, objective, clips, settings.train, device=device)
        stamps: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            fitted = loop.fit(
                trainer,
                steps=steps,
                seed=settings.train.seed,
                log_every=settings.train.log_every,
                checkpoint_every=settings.train.checkpoint_every,
                state=Path(folder) / "state.pt",
                key=label,
                label=label,
                advice=hifidiff.ADVICE,
                on_step=lambda step: stamps.append(time.monotonic()),
            )
        net.load_state_dict(trainer.average.weights)
        return Trained(model, fitted, stamps)

    def sample(self, model: HifiDiff, data: Path) -> None:
        """The first test clips' frames at each number of steps, ``frames.png``, and their scores, ``scores.json``."""
        clips = shown(data, self.settings.network.size, self.settings.mask.dilation)
        counts = (3, 2) if self.small else STEPS
        now = timing.clock(self.setting.device)
        rows, scores = [], {}
        for clip in clips:
            true, masks = np.asarray(clip.frames_THWC), np.asarray(clip.masks_THW)
            still = conditions.aligned(clip, range(len(true)), REFERENCE)
            times = np.linspace(0, len(true) - 1, 6).round().astype(int)
            rows.append((f"{clip.name}, truth", [figures.enlarge(true[t]) for t in times]))
            scores[clip.name] = {"reference": _psnr(still, true, masks)}
            for steps in counts:
                own = self.settings.sample.model_copy(
                    update={
                        "steps": steps,
                        "device": self.setting.device.type,
                        "precision": self.precision,
                    }
                )
                begun = now()
                made = np.concatenate(list(generate(model, clip, clip, own, self.setting.device, lambda frames: None)))
                seconds = now() - begun
                rows.append((f"{steps} steps", [figures.enlarge(made[t]) for t in times]))
                scores[clip.name][f"{steps} steps"] = _psnr(made, true, masks)
                scores[clip.name][f"{steps} steps, frames/s"] = len(made) / seconds
        drawing.save_picture(drawing.sheet(rows, []), self.out / "frames.png")
        atomic.write_json(self.out / "scores.json", {"unit": "PSNR in the mask, dB", "clips": scores})
        self.say(f"sampled {len(clips)} clips")


def _psnr(made_THWC: Pictures, true_THWC: Pictures, masks_THW: NDArray[np.bool_]) -> float:
    """Mean over all frames but the reference."""
    return float(np.mean(image.psnr(made_THWC[1:], true_THWC[1:], masks_THW[1:])))


def with_train(settings: params.Params, **changes: Any) -> params.Params:
    """The parameters with other values in section train."""
    return settings.model_copy(update={"train": settings.train.model_copy(update=changes)})


def shown(data: Path, size: int, dilation: float) -> list[Clip]:
    """The first test clips, each speaker's first one first, cut to :data:`FRAMES` frames."""
    index = corpus.index(data, TESTED).sort_values(["split", "clip"], ascending=[False, True])
    turn = index.groupby("speaker").cumcount()
    chosen = index.assign(turn=turn).sort_values("turn", kind="stable").head(CLIPS)
    clips = [
        corpus.load(data, shard, clip, size=size, dilation=dilation)
        for shard, clip in zip(chosen["shard"], chosen["clip"])
    ]
    return [clip.head(FRAMES) for clip in clips]


def needed(data: Path) -> list[Path]:
    """The files that the check reads, the index first.

    Raises:
        InputError: one is missing.
    """
    files = [data / path for path in ALONE]
    for path in files:
        if not path.exists():
            raise InputError(
                path, "missing", "make the run first ('make reproduce'), or name another folder with --data"
            )
    shards = sorted(corpus.index(data)["shard"].unique())
    return [*files, *(data / table / f"{shard}.parquet" for shard in shards for table in TABLES)]


def pack(data: Path, out: Path, megabytes: float = PACKED_MB) -> None:
    """Write what the check reads as a tar of at most so many megabytes: all test speakers, and the training ones that fit.

    Raises:
        InputError: a file is missing, or the test speakers alone are too large.
    """
    rows = tables.read(data / "index.parquet", schemas.INDEX).to_pylist()
    # A member of a tar has a header and is filled up.
    sizes = {path: path.stat().st_size + 1024 for path in needed(data)}
    room = megabytes * 1e6 - 20480 - sum(sizes[data / path] for path in ALONE)
    tested = {row["shard"] for row in rows if row["split"] in TESTED}
    taken: list[str] = []
    shards = sorted({row["shard"] for row in rows}, key=lambda shard: (shard not in tested, shard))
    for shard in shards:
        size = sum(sizes[data / table / f"{shard}.parquet"] for table in TABLES)
        if size <= room:
            taken.append(shard)
            room -= size
    kept = [row for row in rows if row["shard"] in taken]
    splits = {row["split"] for row in kept}
    if "train" not in splits or not splits & set(TESTED):
        raise InputError(data, f"no training and test clips fit into {megabytes:g} MB", "take a run with shorter clips")
    with tempfile.TemporaryDirectory() as folder, atomic.whole_file(out) as part:
        index = Path(folder) / "index.parquet"
        tables.write(index, schemas.INDEX, kept)
        with tarfile.open(part, "w") as tar:
            tar.add(index, data / ALONE[0])
            tar.add(data / ALONE[1])
            for path in (data / table / f"{shard}.parquet" for shard in taken for table in TABLES):
                tar.add(path)
    left_out = ", ".join(sorted(set(shards) - set(taken)))
    without = f", without {left_out}" if left_out else ""
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {len(taken)} speakers{without}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="a run's folder, whose faces are trained on; that of params.yaml where not given"
    )
    parser.add_argument("--out", type=Path, default=Path("gpu-check"), help="folder for the results")
    parser.add_argument("--minutes", type=float, default=9, help="of all, benchmarks included")
    parser.add_argument(
        "--small", action="store_true", help="on the CPU, tiny networks; so it is where there is no GPU"
    )
    parser.add_argument("--pack", type=Path, help="write the data to this tar, and nothing else")
    args = parser.parse_args()
    data = args.data or params.load().data
    if args.pack:
        pack(data, args.pack)
        return
    files = needed(data)
    small = args.small or not torch.cuda.is_available()
    check = Check(args.out, args.minutes, small)
    if small and not args.small:
        check.say("torch finds no CUDA here: the small size, on the CPU; nothing below is of the paper's network")
    check.say(f"{len(files)} files of {data}, {check.setting.machine()['device']}")
    check.speed()
    check.sample(check.train(data), data)
    check.say("done" if not check.failed else f"done, {check.failed} parts failed: see speed.md")
    sys.exit(1 if check.failed else 0)


if __name__ == "__main__":
    run(main)
