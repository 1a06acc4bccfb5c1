"""A trained model fine-tuned on some seconds of a person whom it has not seen: quality, not speed.

    python -m benchmarks.fine_tuning SPEAKER [--clips 6] [--steps 0 200 400] [--rate 0.00025] [--json]

Takes the run of ``params.yaml``, made by ``make reproduce`` with SPEAKER among ``index.unseen_speakers``, and its model
``full``. The training is the run's own, started from that model, on the speaker's first clips by name. Measured on the last four,
which it has not seen, and on a test clip of each other speaker, who must not be forgotten: correlation of the mouth's opening and
of the eyes' with the truth, both read by dlib from frames of the network's size, PSNR inside the mask, and the mean difference of
red, green and blue there, by which a drift of the colours would show.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import ArrayLike

from stages.base import params
from stages.base.errors import InputError, run
from stages.base.params import Params
from stages.clips import corpus
from stages.clips.clip import Clip
from stages.clips.windows import Windows
from stages.faces import observed
from stages.faces.geometry import ear, mouth_opening
from stages.measures import correlation, image
from stages.methods.generate import generate
from stages.pretrained import lipsync_expert
from stages.pretrained.hifidiff import HifiDiff
from stages.training import hifidiff, loop
from stages.training.prepared import prepared, training_set

TESTS = 4  # of the speaker's clips, the last ones


@dataclass(frozen=True)
class Quality:
    """Means over some clips."""

    mouth_r: float
    ear_r: float
    psnr: float  # dB
    red: float  # grey levels
    green: float
    blue: float


def quality(model: HifiDiff, clips: Sequence[Clip], settings: Params) -> Quality:
    """Make each clip speak with its own sound, and compare."""
    mouths: list[tuple[ArrayLike, ArrayLike]] = []
    eyes: list[tuple[ArrayLike, ArrayLike]] = []
    others = []
    for clip in clips:
        made = np.concatenate(
            list(generate(model, clip, clip, settings.sample, torch.device("cpu"), lambda frames: None))
        )
        true, masks = np.asarray(clip.frames_THWC), np.asarray(clip.masks_THW)
        seen, truth = (observed.measure(frames, settings.metrics.upscale).landmarks_TL2 for frames in (made, true))
        mouths.append((mouth_opening(truth), mouth_opening(seen)))
        eyes.append((clip.ear_T2.mean(1), ear(seen).mean(1)))
        others.append([image.psnr(made, true, masks).mean(), *(made.astype(np.float64) - true)[masks].mean(0)])
    return Quality(correlation.pooled(mouths), correlation.pooled(eyes), *np.mean(others, 0).tolist())


def tuned(settings: Params, clips: Sequence[Clip], steps: int, rate: float) -> tuple[HifiDiff, float]:
    """The run's model after so many steps on these clips, and the CPU seconds that they took."""
    folder = settings.data / "models" / "full"
    changed = {
        "start": params.Start.of(folder),
        "steps": steps,
        "learning_rate": rate,
        "warmup": min(settings.train.warmup, steps // 4),
    }
    settings = settings.model_copy(update={"train": settings.train.model_copy(update=changed)})
    device = torch.device("cpu")
    expert = lipsync_expert.load(settings.data / "expert" / "expert.safetensors", device)
    model, net, objective = prepared(settings, [], expert, device)
    whole = training_set(settings, settings.data, [])
    data = replace(whole, windows=Windows(clips, settings.loss.frames), frames=Windows(clips, 1))
    trainer = hifidiff.Trainer(net, objective, data, settings.train, device=device)
    begun = time.process_time()
    with TemporaryDirectory() as place:
        loop.fit(
            trainer,
            steps=steps,
            seed=settings.train.seed,
            log_every=settings.train.log_every,
            checkpoint_every=settings.train.checkpoint_every,
            state=Path(place) / "state.pt",
            key="",
            label=f"{steps} steps",
            advice=hifidiff.ADVICE,
        )
    net.load_state_dict(trainer.average.weights)
    net.eval().requires_grad_(False)
    return model, time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speaker", help="shard of one of index.unseen_speakers")
    parser.add_argument("--params", default=params.PARAMS_FILE)
    parser.add_argument("--clips", type=int, default=6, help="that it is tuned on (default: %(default)s)")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 200, 400], help="(default: %(default)s)")
    parser.add_argument("--rate", type=float, default=0.00025, help="learning rate (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    settings = params.load(args.params)
    torch.set_num_threads(settings.train.threads)
    index = corpus.index(settings.data)
    index = index[index["status"] == "ok"]

    def load(rows: Sequence[tuple[str, str]]) -> list[Clip]:
        size, dilation = settings.network.size, settings.mask.dilation
        return [corpus.load(settings.data, shard, clip, size=size, dilation=dilation) for shard, clip in rows]

    own = [(args.speaker, name) for name in sorted(index[index["shard"] == args.speaker]["clip"])]
    if args.speaker not in settings.index.unseen_speakers or len(own) < args.clips + TESTS:
        problem = f"{args.speaker!r} has {len(own)} usable clips"
        raise InputError(
            settings.data, problem, f"name one of index.unseen_speakers that has {args.clips + TESTS} or more"
        )
    seen = index[index["split"] == "test_seen"].sort_values("clip").groupby("shard").head(1)
    groups = {"the speaker": load(own[-TESTS:]), "others": load(list(zip(seen["shard"], seen["clip"], strict=True)))}
    footage = load(own[: args.clips])
    seconds = sum(len(clip.frames_THWC) for clip in footage) / settings.mask.fps
    rows = []
    for steps in args.steps:
        model, cpu = tuned(settings, footage, steps, args.rate)
        for name, clips in groups.items():
            rows.append({"steps": steps, "cpu_s": cpu, "clips": name} | asdict(quality(model, clips, settings)))
    if args.json:
        print(json.dumps(rows))
        return
    print(f"{args.speaker}, {seconds:.0f} s of footage, rate {args.rate:g}\n")
    print("| steps | CPU s | scored on | mouth r | EAR r | PSNR, mask (dB) | red, green, blue |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        colours = ", ".join(f"{row[name]:+.1f}" for name in ("red", "green", "blue"))
        print(
            f"| {row['steps']} | {row['cpu_s']:.0f} | {row['clips']} | {row['mouth_r']:.2f} | {row['ear_r']:.2f} | "
            f"{row['psnr']:.2f} | {colours} |"
        )


if __name__ == "__main__":
    run(main)
