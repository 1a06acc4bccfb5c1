"""Train one of the encoders that score without public weights: the sync judge, the frame or the video encoder.

    python -m stages.judges --data data/demo --judge sync --out data/demo/judges/sync.safetensors

Only the training split is learned from; the curve beside the weights (``<judge>.csv``) holds scores on the validation
split, empty where it has no clip. After a kill, the same command resumes from the last saved state and ends with the same
bytes (on the CPU). B items, T frames.
"""

from __future__ import annotations

import argparse
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from stages.base import params
from stages.base.errors import InputError, run
from stages.clips import conditions, corpus
from stages.clips.clip import Clip, sync_window
from stages.diffusion.losses import info_nce
from stages.faces import crops
from stages.faces.geometry import mouth_opening
from stages.measures.image import hull_crops
from stages.measures.networks import judges
from stages.measures.networks.judges import MOUTH_SIZE, SYNC_FRAMES, VIDEO_FRAMES
from stages.store import atomic, weights_file
from stages.training import loop, resume
from stages.training.corruptions import IN_SPACE, IN_TIME

TEMPERATURE = 0.07  # of InfoNCE
FROM_ONE_CLIP = 4  # windows that the sync judge sees of each clip in a batch: negatives that differ in time alone
JITTER = 2  # pixels by which mouth cuts are moved about in training
CHECKS = 192  # validation items
STANDARD = 512  # training items that the features' mean and deviation are taken from


class Task(Protocol):
    """The task of a judge: its network, the loss on one random batch, and its scores on validation data."""

    @property
    def network(self) -> torch.nn.Module: ...

    config: dict[str, object]

    def loss(self, rng: np.random.Generator) -> Tensor: ...

    def scores(self) -> dict[str, float]: ...

    def finish(self) -> None: ...


def _gain(frames_THWC: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Another exposure, so that light does not tell people apart."""
    return np.clip(frames_THWC * rng.uniform(0.8, 1.2) + rng.uniform(-12, 12), 0, 255).astype(np.uint8)


class SyncTask:
    """Match of a sound to five mouth pictures: InfoNCE against other moments of the clip and other clips."""

    def __init__(self, clips: Sequence[Clip], validation: Sequence[Clip], settings: params.Judges) -> None:
        self.batch = settings.batch
        self.config: dict[str, object] = {"judge": "sync", "width": settings.width, "embedding": settings.embedding}
        self.network = judges.SyncJudge(width=settings.width, embedding=settings.embedding)
        self.clips = self._cut(clips)
        held_out = self._cut(validation)
        self.check = (
            self.pairs(held_out, np.random.default_rng(settings.seed), CHECKS, jitter=False) if held_out else None
        )

    @staticmethod
    def _cut(clips: Sequence[Clip]) -> list[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
        size = MOUTH_SIZE + 2 * JITTER
        found = [(crops.mouth_crops(np.asarray(c.frames_THWC), c.landmarks_TL2, size), c.mel_SM) for c in clips]
        return [(mouths, mel) for mouths, mel in found if len(mouths) >= 2 * SYNC_FRAMES]

    @staticmethod
    def pairs(
        clips: Sequence[tuple[NDArray[np.uint8], NDArray[np.float32]]],
        rng: np.random.Generator,
        count: int,
        *,
        jitter: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """``count`` mouths (B, T, C, H, W) and their mels (B, S, M); moments of a clip lie two frames apart or more."""
        video: list[Tensor] = []
        audio: list[Tensor] = []
        while len(video) < count:
            mouths, mel = clips[int(rng.integers(len(clips)))]
            starts = 2 * rng.permutation((len(mouths) - SYNC_FRAMES) // 2 + 1)[:FROM_ONE_CLIP]
            for start in starts + int(rng.integers(2)) * (starts + SYNC_FRAMES < len(mouths)):
                x, y = rng.integers(0, 2 * JITTER + 1, 2) if jitter else (JITTER, JITTER)
                cut = mouths[start : start + SYNC_FRAMES, y : y + MOUTH_SIZE, x : x + MOUTH_SIZE]
                video.append(conditions.to_tensor(_gain(cut, rng) if jitter else cut))
                audio.append(torch.from_numpy(sync_window(mel, int(start))))
        return torch.stack(video[:count]), torch.stack(audio[:count])

    def loss(self, rng: np.random.Generator) -> Tensor:
        video, audio = self.pairs(self.clips, rng, self.batch)
        return info_nce(self.network.embed_video(video), self.network.embed_audio(audio), TEMPERATURE)

    def scores(self) -> dict[str, float]:
        """Share of (picture, its sound, another's sound) in which the own sound is nearer; nan without a validation clip."""
        if self.check is None:
            return {"validation_pairwise_accuracy": math.nan}
        video, audio = self.check
        similarity = self.network.embed_video(video) @ self.network.embed_audio(audio).T
        others = ~torch.eye(len(similarity), dtype=torch.bool)
        nearer = similarity.diagonal()[:, None] > similarity
        return {"validation_pairwise_accuracy": float(nearer[others].float().mean())}

    def finish(self) -> None:
        """Nothing to add: embeddings have unit length."""


class AttributeTask:
    """Attributes of a frame or a window of frames: the person, the opening of eyes and mouth, the damage to the picture."""

    def __init__(self, judge: str, clips: Sequence[Clip], validation: Sequence[Clip], settings: params.Judges) -> None:
        self.settings, self.frames = settings, 1 if judge == "frame" else VIDEO_FRAMES
        self.corruptions = IN_SPACE if judge == "frame" else IN_TIME
        self.speakers = sorted({clip.speaker for clip in clips})
        heads = {"speaker": len(self.speakers), "corruption": len(self.corruptions), "opening": 2 * self.frames}
        self.config = {"judge": judge, "width": settings.width, "embedding": settings.embedding, "heads": heads}
        make = judges.FrameEncoder if judge == "frame" else judges.VideoEncoder
        self.network = make(width=settings.width, embedding=settings.embedding, heads=heads)
        self.clips = [clip for clip in clips if len(clip.frames_THWC) >= self.frames]
        openings = np.concatenate([_openings(clip) for clip in self.clips])
        self.mean, self.deviation = openings.mean(0), openings.std(0) + 1e-6
        known = [c for c in validation if c.speaker in self.speakers and len(c.frames_THWC) >= self.frames]
        rng = np.random.default_rng(settings.seed)
        self.check = self.items(known, rng, CHECKS) if known else None

    def items(
        self, clips: Sequence[Clip], rng: np.random.Generator, count: int, *, damage: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """``count`` pictures or windows, half of them cut to the face mask, and what there is to say about each."""
        x, speakers, corruptions, openings = [], [], [], []
        for _ in range(count):
            clip = clips[int(rng.integers(len(clips)))]
            start = int(rng.integers(len(clip.frames_THWC) - self.frames + 1))
            span = slice(start, start + self.frames)
            frames = clip.frames_THWC[span]
            if self.frames == 1 and rng.random() < 0.5:
                frames = hull_crops(frames, clip.masks_THW[span], frames.shape[1])
            kind = int(rng.integers(len(self.corruptions))) if damage else 0
            x.append(conditions.to_tensor(self.corruptions[kind](frames, rng)))
            speakers.append(self.speakers.index(clip.speaker))
            corruptions.append(kind)
            openings.append((_openings(clip)[span] - self.mean) / self.deviation)
        labels = {
            "speaker": torch.tensor(speakers),
            "corruption": torch.tensor(corruptions),
            "opening": torch.from_numpy(np.stack(openings).reshape(count, -1).astype(np.float32)),
        }
        return torch.stack(x).squeeze(1) if self.frames == 1 else torch.stack(x), labels

    def loss(self, rng: np.random.Generator) -> Tensor:
        x, labels = self.items(self.clips, rng, self.settings.batch)
        said = self.network(x)
        in_order = labels["corruption"] < (len(self.corruptions) if self.frames == 1 else IN_TIME.index(IN_TIME[4]))
        opening = ((said["opening"] - labels["opening"]) ** 2).mean(1)
        return (
            F.cross_entropy(said["speaker"], labels["speaker"])
            + F.cross_entropy(said["corruption"], labels["corruption"])
            + (opening * in_order).mean()
        )

    def scores(self) -> dict[str, float]:
        """Accuracies, and the opening's R² on undamaged items; nan where no validation clip shows a speaker of the training."""
        if self.check is None:
            names = ("speaker_accuracy", "corruption_accuracy", "opening_r2")
            return {f"validation_{name}": math.nan for name in names}
        x, labels = self.check
        said = {name: torch.cat(parts) for name, parts in _joined([self.network(part) for part in x.split(32)]).items()}
        found = {
            f"validation_{name}_accuracy": float((said[name].argmax(1) == labels[name]).float().mean())
            for name in ("speaker", "corruption")
        }
        clean = labels["corruption"] == 0
        error = (said["opening"] - labels["opening"])[clean]
        spread = labels["opening"][clean] - labels["opening"][clean].mean(0)
        return {**found, "validation_opening_r2": float(1 - (error**2).sum() / (spread**2).sum())}

    def finish(self) -> None:
        """Set the features' scale from clean training items."""
        rng = np.random.default_rng([self.settings.seed, 2])
        self.network.standardise(self.items(self.clips, rng, STANDARD, damage=False)[0])


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, list[Tensor]]:
    return {name: [part[name] for part in parts] for name in parts[0]}


def _openings(clip: Clip) -> NDArray[np.float64]:
    """EAR (mean of both eyes) and mouth opening of each frame, (T, 2)."""
    return np.stack([clip.ear_T2.mean(1), mouth_opening(clip.landmarks_TL2)], -1).astype(np.float64)


class Trainer(loop.OneLoss):
    """Trains a task's network in place; the curve has its scores on the validation clips."""

    def __init__(self, task: Task, settings: params.Judges) -> None:
        super().__init__(task.network, settings.learning_rate)
        self.task, self.settings = task, settings

    def share(self, step: int) -> float:
        return 1 - step / self.settings.steps

    def loss(self, step: int) -> Tensor:
        return self.task.loss(np.random.default_rng([self.settings.seed, 1, step]))

    @torch.no_grad()
    def scores(self) -> dict[str, float]:
        self.network.eval()
        found = self.task.scores()
        self.network.train()
        return found

    def finish(self) -> None:
        self.network.eval()
        self.task.finish()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default=params.PARAMS_FILE, help="sections judges and mask")
    parser.add_argument("--data", type=Path, required=True, help="folder of the run, such as data/demo")
    parser.add_argument("--judge", choices=("sync", "frame", "video"), required=True, help="which encoder to train")
    parser.add_argument(
        "--out", type=Path, required=True, help="safetensors file; the curve goes beside it as <judge>.csv"
    )
    args = parser.parse_args()
    settings = params.load(args.params)
    own = settings.judges
    torch.set_num_threads(1)

    def load(split: str) -> list[Clip]:
        return corpus.load_split(args.data, (split,), size=own.size, dilation=settings.mask.dilation)

    clips, validation = load("train"), load("validation")
    if not clips:
        raise InputError(args.data / "index.parquet", "no training clip", "see index.* in params.yaml")
    torch.manual_seed(
        zlib.crc32(f"{own.seed} {args.judge}".encode())
    )  # initial weights only; data derives from (seed, step)
    task: Task
    if args.judge == "sync":
        task = SyncTask(clips, validation, own)
    else:
        task = AttributeTask(args.judge, clips, validation, own)
    state = args.data / "resume" / "judges" / args.judge / "state.pt"
    with resume.lock(state.parent):
        key = resume.fingerprint(
            {**own.model_dump(), "judge": args.judge, "mask": settings.mask.model_dump()},
            [*corpus.files(args.data, ("train", "validation")), *resume.code()],
        )
        fitted = loop.fit(
            Trainer(task, own),
            steps=own.steps,
            seed=own.seed,
            log_every=own.checkpoint_every,
            checkpoint_every=own.checkpoint_every,
            state=state,
            key=key,
            label=f"judge {args.judge}",
            advice="lower judges.learning_rate",
        )
        with atomic.whole_file(args.out.with_suffix(".csv")) as part:
            pd.DataFrame(fitted.curves).to_csv(part, index=False)
        weights_file.write(args.out, task.network.state_dict(), {**task.config, "size": own.size})


if __name__ == "__main__":
    run(main)
