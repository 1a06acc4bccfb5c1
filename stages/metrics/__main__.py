"""Score one method's videos of the test clips.

    python -m stages.metrics --data data/demo --method full --out data/demo/metrics/full.json

Writes the scores (JSON, and the same to MLflow) and beside them ``<method>.parquet``: a row a clip with its scores and traces.
The truth is the lossless decode of the test clips; the method ``truth`` shows what the videos' codec costs. Features come from
the corpus's own encoders (stage ``judges``), so that no number here is an FID, an FVD or an LSE-C.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages import corpus, params, tables, tracking
from stages.corpus import Clip
from stages.errors import ParameterError, run
from stages.geometry import mouth_opening
from stages.measures import leak
from stages.measures.intervals import NOTHING, Score, bootstrap
from stages.measures.sync import MAX_SHIFT, sync
from stages.metrics import videos
from stages.metrics.features import STRIDE, Judges
from stages.metrics.scores import Measured, all_scores, clip_scores, drift_scores, eye_blinks, image_scores
from stages.metrics.videos import Video
from stages.networks.judges import VIDEO_FRAMES
from stages.params import Params
from stages.progress import Progress

FAMILY = "corpus encoder"
FEATURES = {
    "fd_frame": "FD, corpus encoder (frame)",
    "fd_mask": "FD, corpus encoder (frame, face mask only)",
    "fd_video": "FVD-like: FD of clips, corpus video encoder",
    "sync_confidence": "sync confidence, corpus judge",
    "sync_distance": "sync distance, corpus judge",
}
PICTURES = 4  # clips of which some frames go to MLflow
LEAK_STEP, LEAK_SIZE = 2, 32  # every second frame of the training clips; pixels


def measured(data: Path, found: list[Video], settings: Params, label: str) -> list[Measured]:
    """Everything that is measured on each video: one pass over them."""
    judges = Judges(data / "judges", settings.metrics.batch)
    progress = Progress(label, len(found), "clips")
    results = []
    for number, video in enumerate(found):
        clip, stranger = video.clip, videos.another(found, number)
        masks = np.asarray(clip.masks_THW)
        mouths = judges.mouths(video.frames_THWC, clip)
        face = videos.measure(video.frames_THWC, settings.metrics.upscale)
        fields: dict[str, Any] = {**image_scores(video), **eye_blinks(face, settings.blink)}
        results.append(
            Measured(
                video=video,
                face=face,
                made=judges.distances(video.frames_THWC, masks),
                truth=judges.distances(np.asarray(clip.frames_THWC), masks),
                sync=sync(mouths, judges.sound(video.sound)),
                sync_other=sync(mouths, judges.sound(stranger)) if stranger else None,
                sync_own=sync(mouths, judges.sound(clip)) if video.other_audio else None,
                fps=settings.mask.fps,
                **fields,
            )
        )
        progress.update(note=clip.name)
    return results


def leak_scores(data: Path, found: list[Video], splits: Sequence[str], settings: Params) -> dict[str, dict[str, Score]]:
    """R² of the mouth's opening read from mask, visible pixels and head's place: fitted on training, scored on test clips."""
    own = settings.metrics
    size, dilation = settings.network.size, settings.mask.dilation
    train = corpus.load_split(data, ("train",), size=size, dilation=dilation, stream=True)

    def shown(clip: Clip, step: int = 1) -> np.ndarray:
        seen = leak.visible(clip.frames_THWC[::step], clip.masks_THW[::step], LEAK_SIZE)
        return np.concatenate([seen, leak.place(clip.landmarks_TL2)[::step]], 1)

    x, y = [shown(c, LEAK_STEP) for c in train], [mouth_opening(c.landmarks_TL2)[::LEAK_STEP] for c in train]
    held_x, held_y = [shown(v.clip) for v in found], [mouth_opening(v.clip.landmarks_TL2) for v in found]
    scores: dict[str, dict[str, Score]] = {}
    changes: dict[str, Callable[[Sequence[leak.Values]], list]] = {"leak_r2": list, "leak_r2_within": leak.centred}
    for name, change in changes.items():
        openings = change(held_y)
        predicted = leak.predict(change(x), change(y), change(held_x))
        rows = [leak.sums(a, b) for a, b in zip(openings, predicted, strict=True)]
        for split in ("all", *splits):
            chosen = [i for i, v in enumerate(found) if split in ("all", v.split)]
            scores.setdefault(name, {})[split] = (
                bootstrap(
                    [rows[i] for i in chosen],
                    leak.r2,
                    speakers=[found[i].speaker for i in chosen],
                    resamples=own.bootstrap,
                    confidence=own.confidence,
                    seed=own.seed,
                )
                if chosen
                else NOTHING
            )
    return scores


def row(m: Measured) -> dict[str, object]:
    """The clip's row of ``metrics/<method>.parquet``."""
    video = m.video
    scores = {name: value for name, value in clip_scores(m).items() if name in tables.METRICS.names}
    return {
        "clip": video.clip.name,
        **{name: getattr(video, name) for name in ("split", "speaker", "sentence", "emotion", "level")},
        "audio_clip": video.sound.name,
        "frames": len(video.frames_THWC),
        **scores,
        "blinks": len(m.blinks),
        "blinks_robust": len(m.blinks_robust),
        "psnr_frame": m.psnr_T.astype(np.float32),
        "ear_requested": video.clip.ear_T2.mean(1),
        "ear_measured": m.face.ear_T.astype(np.float32),
        "mouth_requested": video.mouth_given,
        "mouth_measured": m.face.mouth_T.astype(np.float32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params",
        default=params.PARAMS_FILE,
        help="sections metrics, blink, mask.fps, mask.dilation, network.size and methods.<method>",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the run, such as data/demo")
    parser.add_argument("--method", required=True, help="a method of params.yaml")
    parser.add_argument("--out", type=Path, help="its place, data/<run>/metrics/<method>.json")
    args = parser.parse_args()
    settings = params.load(args.params)
    if args.method not in settings.methods:
        raise ParameterError(f"--method is {args.method!r}; allowed: {', '.join(settings.methods)}")
    place = args.data / "metrics" / f"{args.method}.json"
    if args.out and args.out.resolve() != place.resolve():
        raise ParameterError(f"--out is {args.out}; the scores of {args.method} belong to {place}")
    torch.set_num_threads(settings.metrics.threads)

    entry = settings.methods[args.method]
    found = videos.read(args.data, args.method, settings)
    results = measured(args.data, found, settings, f"metrics {args.method}")
    scores = all_scores(results, entry.splits, settings.metrics)
    scores |= drift_scores(results, entry.splits, settings.metrics)
    if args.method == "truth":  # once a run is enough: the clips are the same for all
        scores |= leak_scores(args.data, found, entry.splits, settings)
    document = {
        "method": args.method,
        "kind": entry.kind,
        "family": FAMILY,
        "features": FEATURES,
        "sync_max_shift": MAX_SHIFT,
        "video_frames": VIDEO_FRAMES,
        "video_stride": STRIDE,
        "n_clips": len(found),
        "n_frames": sum(len(v.frames_THWC) for v in found),
        "scores": {name: {split: s.json() for split, s in splits.items()} for name, splits in scores.items()},
    }
    tables.write(place.with_suffix(".parquet"), tables.METRICS, [row(m) for m in results])
    with tempfile.TemporaryDirectory() as folder:
        samples = videos.pictures(found[:: max(len(found) // PICTURES, 1)][:PICTURES], Path(folder))
        tracking.record_scores(args.data, args.method, params=settings, scores=document, samples=samples)


if __name__ == "__main__":
    run(main)
