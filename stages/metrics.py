"""Score one method's videos of the test clips; or any folder of videos against a folder of true ones.

    python -m stages.metrics --data data/demo --method full --out data/demo/metrics/full.json
    python -m stages.metrics --videos mine --truth theirs --out scores.json

The first reads what the stages ``reference`` and ``features`` measured, and writes the scores (JSON, and the same to MLflow) and
beside them ``<method>.parquet``, a row a clip with its scores and traces, and ``<method>.breakdown.parquet``. The truth is the
lossless decode of the test clips; the method ``truth`` shows the cost of the videos' codec. Features come from the corpus's own
encoders (stage ``judges``), and no number from those is called FID, FVD or LSE; those that ``metrics.public`` asks for come from
networks with public weights, and have names and columns of their own.

The second needs no corpus: see ``stages/scoring/folder.py``, and docs/scoring.md for its scores.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from stages.base import params
from stages.base.errors import ParameterError, run
from stages.base.params import Params
from stages.measures.sync import MAX_SHIFT
from stages.scoring import breakdown, catalogue, columns, measured
from stages.scoring.measured import STRIDE, WINDOW, Measured
from stages.scoring.scores import all_scores, clip_scores, drift_scores, leak_scores
from stages.store import tables, tracking


def row(m: Measured) -> dict[str, object]:
    """The clip's row of ``metrics/<method>.parquet``."""
    scores = clip_scores(m)
    names = ("clip", "split", "speaker", "sentence", "emotion", "level", "audio_clip", "frames")
    traces = {
        "psnr_frame": m.psnr_T,
        "ear_requested": m.ear_requested_T,
        "ear_measured": m.ear_T,
        "mouth_requested": m.mouth_given,
        "mouth_measured": m.mouth_T,
    }
    counts = {"blinks": len(m.blinks), "blinks_robust": len(m.blinks_robust)}
    return {**{name: getattr(m, name) for name in names}, **scores, **counts, **tables.flat(traces)}


def of_run(data: Path, method: str, settings: Params) -> None:
    """Score a method of a run: its files below ``data/<run>/metrics``, and its run in MLflow."""
    entry = settings.methods[method]
    place = data / "metrics" / f"{method}.json"
    found = measured.read(data, method, settings)
    scores = all_scores(found, entry.splits, settings.metrics) | drift_scores(found, entry.splits, settings.metrics)
    if method == "truth":  # once a run is enough: the clips are the same for all
        scores |= leak_scores(found, entry.splits, settings.metrics)
    document = {
        "method": method,
        "kind": entry.kind,
        "families": catalogue.families(scores),
        "sync_max_shift": MAX_SHIFT,
        "video_frames": WINDOW,
        "video_stride": STRIDE,
        "n_clips": len(found),
        "n_frames": sum(m.frames for m in found),
        "scores": {name: {split: s.json() for split, s in splits.items()} for name, splits in scores.items()},
    }
    tables.write(place.with_suffix(".parquet"), columns.CLIPS, [row(m) for m in found])
    tables.write(place.with_suffix(".breakdown.parquet"), columns.BREAKDOWN, breakdown.rows(found, settings.metrics))
    with tempfile.TemporaryDirectory() as folder:
        samples = []
        for clip, png in measured.pictures(data, method).items():
            samples.append(Path(folder) / f"{clip}.png")
            samples[-1].write_bytes(png)
        tracking.record_scores(data, method, params=settings, scores=document, samples=samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params", default=params.PARAMS_FILE, help="sections metrics and blink, mask.fps and methods.<method>"
    )
    parser.add_argument("--data", type=Path, help="folder of the run, such as data/demo")
    parser.add_argument("--method", help="a method of params.yaml")
    parser.add_argument(
        "--out", type=Path, help="data/<run>/metrics/<method>.json; or where a folder's scores go (else printed)"
    )
    parser.add_argument("--videos", type=Path, help="score this folder of videos instead")
    parser.add_argument("--truth", type=Path, help="folder of the true videos, paired by name without suffix")
    parser.add_argument("--cut", action="store_true", help="score the frames that both videos of a pair have")
    parser.add_argument("--judges", type=Path, help="folder of trained judges, for Fréchet distances of --videos")
    parser.add_argument(
        "--public",
        nargs="+",
        metavar="NETWORK",
        help="of inception, i3d, syncnet, vgg16: FID and KID, FVD, LSE, LPIPS "
        "of --videos, besides those that metrics.public names",
    )
    args = parser.parse_args()
    settings = params.load(args.params)
    if args.videos:
        if not args.truth or args.data or args.method:
            parser.error("--videos needs --truth, and neither --data nor --method")
        from stages.scoring import folder

        asked = [*settings.metrics.public, *(n for n in args.public or () if n not in settings.metrics.public)]
        changed = settings.model_dump() | {"metrics": settings.metrics.model_dump() | {"public": asked}}
        folder.score(args.videos, args.truth, args.judges, args.out, params.validate(changed, "--public"), cut=args.cut)
        return
    if not args.data or not args.method or args.truth or args.judges or args.cut or args.public:
        parser.error("give --data and --method, or --videos and --truth")
    params.check_method(args.method, settings.methods)
    place = args.data / "metrics" / f"{args.method}.json"
    if args.out and args.out.resolve() != place.resolve():
        raise ParameterError(f"--out is {args.out}; the scores of {args.method} belong to {place}")
    of_run(args.data, args.method, settings)


if __name__ == "__main__":
    run(main)
