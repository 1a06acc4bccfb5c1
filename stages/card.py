"""Write the model card of a trained method: its description, training, scores, and the uses that are ruled out.

    python -m stages.card --data data/demo --method full --out data/demo/cards/full.md

Everything in it comes from files, so that it is the same each time; ``python -m stages.export`` puts it beside the weights.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from stages.base import params
from stages.base.errors import run
from stages.base.params import Params
from stages.clips import corpus
from stages.corpora import cremad_facts
from stages.pretrained.hifidiff import WEIGHTS, HifiDiff
from stages.reporting import documents, rendering
from stages.reporting.documents import SPLIT_TITLES
from stages.scoring import catalogue
from stages.store import atomic

TEMPLATE = "card.md.j2"
TAGS = ["talking-face", "audio-driven", "lip-sync", "video-generation", "diffusion"]
SHOWN = (
    *("fid_torch_fidelity", "fid_torch_fidelity_floor", "fid", "kid", "fvd", "fvd_floor", "lse_c", "lse_d"),
    *("lpips", "lpips_mask"),
    *("fd_frame", "fd_frame_floor", "fd_mask", "fd_mask_floor", "fd_video", "fd_video_floor"),
    *("sync_confidence", "sync_distance", "mouth_r", "mouth_r_own", "ear_r", "ear_mae"),
    *("blinks_per_s", "blink_duration_s", "psnr_mask", "ssim_mask", "detection_rate"),
)
# What the conditions are called, and what corpus.source means for those who use the weights.
CONDITIONS = {"blink": "the blink signal", "masked_face": "the masked face"}
ORIGIN = {
    "rendered": "drawn and spoken by this project; no real person is in it",
    "cremad": "CREMA-D: videos of 91 actors who speak twelve sentences in six emotions",
    "folder": "videos of whoever trained this model, who answers for the rights and for the consent of everyone shown",
}


def forward_flops(config: dict[str, Any]) -> int:
    """FLOPs of the network's forward pass for one image; a multiplication and an addition count as two."""
    with torch.device("meta"):
        return HifiDiff.from_config(config).forward_flops


def flops(count: float) -> str:
    """``3.21 GFLOPs``."""
    for unit, scale in (("EFLOPs", 1e18), ("PFLOPs", 1e15), ("TFLOPs", 1e12), ("GFLOPs", 1e9)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count / 1e6:.3g} MFLOPs"


def compute(config: dict[str, Any], sampling_steps: int) -> dict[str, str]:
    """The cost of training, counted and not timed: steps, images, FLOPs. A backward pass counts as two forward passes."""
    forward, images = forward_flops(config), config["steps"] * config["images_per_step"]
    started = f", from the model of sha256 {config['start'][:16]}…" if config.get("start") else ""
    return {
        "training": f"{config['steps']:,} steps of {config['images_per_step']} images{started}",
        "forward pass, one image": flops(forward),
        "training, 3 forward passes an image": flops(3 * forward * images),
        f"sampling, {sampling_steps} steps a frame": flops(sampling_steps * forward),
    }


def training_data(data: Path, fps: float) -> dict[str, int]:
    """Clips, speakers and seconds of the training split."""
    rows = corpus.index(data, ("train",))
    return {"clips": len(rows), "speakers": rows["speaker"].nunique(), "seconds": round(rows["frames"].sum() / fps)}


@dataclass(frozen=True)
class Scored:
    """One way the weights were sampled, and how well that did. A row: title, a cell a split, the ground truth's."""

    entry: params.Method
    sampling: params.Sample
    clips: int
    headings: list[str]
    rows: dict[str, list[str]]  # by name of the score


def scored(document: dict[str, Any], truth: dict[str, Any], entry: params.Method, sampling: params.Sample) -> Scored:
    """The scores that were measured, each split with interval and n, and the ground truth's on all its clips.

    With its own audio, what compares the given audio with the clip's own says nothing and is left out.
    """
    splits = ["all", *entry.splits] if len(entry.splits) > 1 else entry.splits
    rows = {}
    for name in SHOWN:
        if entry.audio == "own" and name == "mouth_r_own":
            continue
        kind, scores = catalogue.kind(name), [documents.score(document, name, split) for split in splits]
        if any(scores):
            true = catalogue.with_interval(documents.score(truth, name), kind.digits)
            cells = [catalogue.with_interval(s, kind.digits) + (f", n = {s.n}" if s else "") for s in scores]
            rows[name] = [kind.heading, *cells, true]
    return Scored(entry, sampling, document["n_clips"], [SPLIT_TITLES[split] for split in splits], rows)


def licence(settings: Params) -> str:
    """The front matter's licence of the weights: MIT where neither data nor expert of the loss bring terms along."""
    own = settings.corpus.source == "rendered" and not _public_expert(settings)
    return "mit" if own else "other"


def _public_expert(settings: Params) -> bool:
    return settings.expert.source == "wav2lip" and settings.loss.sync > 0


def card(data: Path, method: str, settings: Params) -> str:
    """The card's text.

    Raises:
        InputError: a file of the run is missing or damaged.
    """
    folder = data / "models" / method
    model = HifiDiff.from_pretrained(folder)
    found = {name: documents.read(data / "metrics" / f"{name}.json") for name in settings.methods}
    sampled = [name for name, entry in settings.methods.items() if entry.weights_of == method]
    front = {"license": licence(settings), "library_name": "hifidiff", "tags": TAGS}
    if front["license"] == "other":
        front["license_name"] = "see-the-section-licences"
    results = [scored(found[name], found["truth"], settings.methods[name], settings.sampling(name)) for name in sampled]
    kinds = [catalogue.kind(name) for name in SHOWN if any(name in result.rows for result in results)]
    first_test = corpus.index(data, settings.methods[method].splits).iloc[0]
    return (
        rendering.environment()
        .get_template(TEMPLATE)
        .render(
            front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(),
            settings=settings,
            method=method,
            title=settings.methods[method].title,
            config=model.config,
            dropped=[CONDITIONS[name] for name in model.drop],
            parameters=sum(p.numel() for p in model.net.parameters()),
            sha256=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
            clip=first_test,
            origin=ORIGIN[settings.corpus.source],
            terms=cremad_facts.TERMS,
            data=training_data(data, settings.mask.fps),
            public_expert=_public_expert(settings),
            compute=compute(model.config, settings.sampling(method).steps),
            confidence=settings.metrics.confidence,
            results=results,
            meanings={kind.title: kind.meaning for kind in kinds},
            families=found[method]["families"],
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params",
        default=params.PARAMS_FILE,
        help="run, corpus.source, mask.fps, mask.dilation, expert.source, loss.sync, metrics.confidence, sample and methods",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the run, such as data/demo")
    parser.add_argument("--method", required=True, help="a method that has its own weights")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    args = parser.parse_args()
    settings = params.load(args.params)
    params.check_method(args.method, settings.trained)
    text = card(args.data, args.method, settings)
    with atomic.whole_file(args.out) as part:
        part.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run(main)
