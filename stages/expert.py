"""Train the lip-sync expert that L_sync uses, on the corpus's training split; or take over the public one, converted.

    python -m stages.expert --data data/demo --out data/demo/expert/expert.safetensors

After a kill, the same command resumes from the last saved state and ends with the same bytes (on the CPU).
B windows, F = 5 frames.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.base import params
from stages.base.errors import InputError, run
from stages.clips import conditions, corpus
from stages.clips.clip import Clip, sync_window
from stages.clips.windows import Windows
from stages.diffusion.losses import info_nce
from stages.networks import seeded
from stages.networks.lipsync_expert import FRAMES, LipSyncExpert
from stages.networks.wav2lip_expert import Wav2LipExpert
from stages.pretrained import lipsync_expert
from stages.store import atomic, weights_file
from stages.training import loop, resume

VALIDATION_WINDOWS = 96
APART = 3  # frames between two windows of a clip: what is nearer sounds alike
WARMUP = 20  # steps


class Pairs(NamedTuple):
    """Windows in time with their sound."""

    frames_BFCHW: Tensor  # in [0, 1]
    mouth_maps_BF23: Tensor
    mel_BSM: Tensor
    clips_B: Tensor  # the same number for windows of the same clip


def pairs(windows: Windows, rng: np.random.Generator, count: int, moments: int) -> Pairs:
    """``count`` windows in time with their sound.

    They come ``moments`` at a time from the same clip, three frames or more apart; a shorter clip gives fewer. Two windows of
    one clip share speaker, sentence and light, so that only the lips tell them apart: these alone are the loss's negatives.
    (With other clips' among them the expert learns who speaks, which is easier, and nothing of the lips.)
    """
    found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for number in itertools.count():
        clip, start = windows.draw(rng)
        for first in _apart(rng, len(clip.frames_THWC) - FRAMES + 1, start, moments):
            frames = range(first, first + FRAMES)
            picture = (conditions.to_tensor(clip.frames_THWC[first : first + FRAMES]) + 1) / 2
            mel = torch.from_numpy(sync_window(clip.mel_SM, first))
            found.append((picture, conditions.mouth_maps(clip, frames), mel, torch.tensor(number)))
        if len(found) >= count:
            break
    return Pairs(*(torch.stack(column) for column in zip(*found[:count], strict=True)))


def embed(expert: lipsync_expert.Expert, given: Pairs) -> tuple[Tensor, Tensor]:
    """Embeddings of pictures and sounds, (B, E) each."""
    video_BE = lipsync_expert.embed_video(expert, given.frames_BFCHW, given.mouth_maps_BF23)
    return video_BE, expert.embed_audio(given.mel_BSM)


def _apart(rng: np.random.Generator, starts: int, first: int, moments: int) -> list[int]:
    """``first`` and further random places below ``starts``, each ``APART`` frames or more from the others."""
    found = [first]
    for start in rng.permutation(starts).tolist():
        if len(found) == moments:
            break
        if all(abs(start - other) >= APART for other in found):
            found.append(start)
    return found


@torch.no_grad()
def accuracy(expert: lipsync_expert.Expert, given: Pairs) -> dict[str, float]:
    """Share of triples (video, its audio, another's audio) in which the own audio is nearer; 0.5 is chance.

    ``pairwise``: over all pairs of the batch, most of which the speaker tells apart; ``within_clip``: over pairs of one clip.
    """
    expert.eval()
    video_BE, audio_BE = (F.normalize(embedding, dim=-1) for embedding in embed(expert, given))
    expert.train()
    similarity = video_BE @ audio_BE.T
    own = similarity.diagonal()[:, None]
    nearer = (own > similarity).float() + (own == similarity).float() / 2
    others = ~torch.eye(len(video_BE), dtype=torch.bool)
    same = others & (given.clips_B[:, None] == given.clips_B)
    return {"pairwise": float(nearer[others].mean()), "within_clip": float(nearer[same].mean())}


def columns(accuracies: Mapping[str, float]) -> dict[str, float]:
    """Accuracies on the validation clips under their names in curves.csv."""
    return {f"validation_{name}_accuracy": value for name, value in accuracies.items()}


class Trainer(loop.OneLoss):
    """Trains ``expert`` in place; the curve has its accuracies on the validation clips."""

    def __init__(
        self, expert: LipSyncExpert, clips: list[Clip], validation: list[Clip], settings: params.Expert
    ) -> None:
        super().__init__(expert, settings.learning_rate)
        self.expert, self.settings, self.windows = expert, settings, Windows(clips, FRAMES)
        held_out, rng = Windows(validation, FRAMES), np.random.default_rng([settings.seed, 0])
        self.check = pairs(held_out, rng, VALIDATION_WINDOWS, settings.moments)

    def share(self, step: int) -> float:
        return min((step + 1) / WARMUP, 1 - step / self.settings.steps)

    def loss(self, step: int) -> Tensor:
        settings, rng = self.settings, np.random.default_rng([self.settings.seed, 1, step])
        batch = pairs(self.windows, rng, settings.batch, settings.moments)
        return info_nce(*embed(self.expert, batch), settings.temperature, batch.clips_B)

    def scores(self) -> dict[str, float]:
        return columns(accuracy(self.expert, self.check))


def take_over(data: Path, out: Path, settings: params.Params) -> None:
    """Check the converted public expert, score it on the validation clips (one row, step 0) and copy it to ``out``.

    Raises:
        InputError: the file is missing, damaged or another network.
    """
    source = Path(settings.expert.path)
    again = f"run 'python -m stages.convert wav2lip-expert FILE --out {source}', or set expert.source to trained"
    if not source.exists():
        raise InputError(source, "no such file", again)
    expert = lipsync_expert.load(source)
    if not isinstance(expert, Wav2LipExpert):
        raise InputError(source, "not the public expert, converted", again)
    own, rng = settings.expert, np.random.default_rng([settings.expert.seed, 0])
    windows = Windows(load(data, "validation", settings), FRAMES)
    check = pairs(windows, rng, VALIDATION_WINDOWS, own.moments)
    with torch.no_grad():
        loss = info_nce(*embed(expert, check), own.temperature, check.clips_B).item()
    write_curve(out, [{"step": 0, "loss": loss, **columns(accuracy(expert, check))}])
    with atomic.whole_file(out) as part:
        shutil.copyfile(source, part)


def load(data: Path, split: str, settings: params.Params) -> list[Clip]:
    """Clips with frames as the generator makes them; raises :class:`InputError` where there is none."""
    return corpus.load_some(data, split, size=settings.network.size, dilation=settings.mask.dilation)


def write_curve(out: Path, rows: list[dict[str, float]]) -> None:
    """``curves.csv`` beside the weights."""
    with atomic.whole_file(out.parent / "curves.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default=params.PARAMS_FILE, help="sections expert and mask, and network.size")
    parser.add_argument("--data", type=Path, required=True, help="folder of the run, such as data/demo")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write; curves.csv goes beside it")
    args = parser.parse_args()
    settings = params.load(args.params)
    own = settings.expert
    torch.set_num_threads(1)  # what the rule says; the small network gains nothing from more
    if own.source == "wav2lip":
        take_over(args.data, args.out, settings)
        return
    layout = own.model_dump(include={"width", "embedding", "size", "sees"})
    expert = seeded(own.seed, lambda: LipSyncExpert(**layout))
    clips, validation = load(args.data, "train", settings), load(args.data, "validation", settings)
    state = args.data / "resume" / "expert" / "state.pt"
    with resume.lock(state.parent):
        key = resume.fingerprint(
            {**own.model_dump(), "mask": settings.mask.model_dump(), "frames": settings.network.size},
            [*corpus.files(args.data, ("train", "validation")), *resume.code()],
        )
        fitted = loop.fit(
            Trainer(expert, clips, validation, own),
            steps=own.steps,
            seed=own.seed,
            log_every=own.checkpoint_every,
            checkpoint_every=own.checkpoint_every,
            state=state,
            key=key,
            label="expert",
            advice="lower expert.learning_rate",
        )
        write_curve(args.out, fitted.curves)
        weights_file.write(args.out, expert.state_dict(), {"architecture": "lipsync", **layout})


if __name__ == "__main__":
    run(main)
