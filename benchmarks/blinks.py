"""The blink detector of the paper's numbers on DinoMan's own EAR and on ours, against blinks that are known.

    python -m benchmarks.blinks [--speakers ada emil --sentences 4] [--raw data/demo/raw] [--json]

Rendered clips, whose lids are known on each frame, as videos of 128 pixels, the paper's size. DinoMan/blink-detector's EAR is of
one box a frame in whole pixels (:func:`stages.faces.observed.program_ear`); ours is of landmarks on the frame enlarged twice,
the mean over three looks in a box smoothed over time. The detector is the same, from peak to peak of the EAR. A known blink is
the lids' whole motion, from the last frame before they leave 95 % of their opening. T frames.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks import timing
from benchmarks.timing import Report, Result
from stages import media
from stages.base import params
from stages.base.errors import run
from stages.corpora.rendered import speaker as rendered
from stages.faces import observed
from stages.faces.geometry import ear
from stages.measures.blinks import Blink, dinoman_blinks
from stages.store import tars

SIDE, UPSCALE, FPS = observed.PROGRAM_SIDE, 2, 25
OPEN = 0.95  # share of the lids' opening (its 90th percentile) that they leave in a blink
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Traces:
    """Of one clip: the lids as rendered, and the two EARs; (T,) each."""

    lids_T: Array
    ours_T: Array
    program_T: Array

    @property
    def known(self) -> list[Blink]:
        low = self.lids_T < OPEN * np.percentile(self.lids_T, 90)
        edges = np.flatnonzero(np.diff(np.pad(low, 1).astype(int))).reshape(-1, 2)
        return [(max(start - 1, 0), end) for start, end in edges.tolist()]

    @property
    def open_T(self) -> NDArray[np.bool_]:
        """Pairs of neighbouring frames with open lids, (T − 1,)."""
        wide = self.lids_T >= OPEN * np.percentile(self.lids_T, 90)
        return wide[1:] & wide[:-1]


def matched(found: Sequence[Blink], known: Sequence[Blink]) -> list[tuple[Blink, Blink]]:
    """Pairs of a found and a known blink that overlap, give or take a frame; each known one once."""
    left, pairs = list(known), []
    for event in found:
        near = [k for k in left if event[0] <= k[1] + 1 and k[0] <= event[1] + 1]
        if near:
            left.remove(near[0])
            pairs.append((event, near[0]))
    return pairs


def clips(tar: Path, most: int) -> Iterator[tuple[NDArray[np.uint8], Array]]:
    """Frames (T, SIDE, SIDE, 3) of a speaker's first clips, and the lids as rendered (T,)."""
    truth = {row["clip"]: row for row in pq.read_table(io.BytesIO(tars.read(tar, "truth.parquet"))).to_pylist()}
    for entry in tars.listing(tar)[:most]:
        frames = media.decode(tars.read(tar, entry["file"]), fps=FPS)
        side = min(frames.shape[1:3])
        left = (frames.shape[2] - side) // 2
        square = frames[:, :side, left : left + side]
        small = np.stack([cv2.resize(f, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for f in square])
        known = truth[entry["clip"]]
        lids = np.mean([known["eyelid_left"], known["eyelid_right"]], 0)
        yield small.astype(np.uint8), np.interp(np.arange(len(small)) / FPS, known["time_s"], lids)


def measured(frames_THWC: NDArray[np.uint8], lids_T: Array) -> Traces:
    """Both EARs of a video; ours without gaps."""
    face = observed.measure(frames_THWC, UPSCALE)
    ours = np.asarray(ear(face.landmarks_TL2).mean(1))
    seen = np.flatnonzero(np.isfinite(ours))
    filled = np.interp(np.arange(len(ours)), seen, ours[seen]) if len(seen) else np.zeros(len(ours))
    return Traces(lids_T, filled, observed.program_ear(frames_THWC, face.boxes_T))


def results(traces: Sequence[Traces]) -> list[Result]:
    """The table's rows."""
    known = [t.known for t in traces]
    count = sum(map(len, known))
    rows = [
        Result("known", "known blinks", float(count)),
        Result("known_s", "their median duration, s", _median([k for each in known for k in each])),
    ]
    for name, title in (("ours", "our EAR"), ("program", "DinoMan’s EAR")):
        made = [(t.ours_T if name == "ours" else t.program_T) for t in traces]
        found = [dinoman_blinks(trace) for trace in made]
        pairs = [p for f, k in zip(found, known, strict=True) for p in matched(f, k)]
        off = [(f[1] - f[0]) - (k[1] - k[0]) for f, k in pairs]
        noise = np.concatenate([np.diff(trace)[t.open_T] for trace, t in zip(made, traces, strict=True)])
        total = sum(map(len, found))
        rows += [
            Result(f"found_{name}", f"{title}: blinks found", float(total)),
            Result(f"precision_{name}", f"{title}: precision", len(pairs) / total if total else np.nan),
            Result(f"recall_{name}", f"{title}: recall", len(pairs) / count if count else np.nan),
            Result(f"duration_{name}", f"{title}: median duration, s", _median([f for each in found for f in each])),
            Result(
                f"off_{name}",
                f"{title}: mean error of a duration, frames",
                float(np.abs(off).mean()) if off else np.nan,
            ),
            Result(f"noise_{name}", f"{title}: step between frames with open lids, deviation", float(noise.std())),
        ]
    return rows


def _median(blinks: Sequence[Blink]) -> float:
    return float(np.median([end - start for start, end in blinks]) / FPS) if blinks else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--params", default="presets/demo.yaml", help="the parameter file whose corpus.rendered is rendered"
    )
    parser.add_argument("--speakers", nargs="+", default=["ada", "emil"], help="of the rendered corpus")
    parser.add_argument("--sentences", type=int, default=4, help="a speaker")
    parser.add_argument(
        "--raw", type=Path, help="folder of a run's rendered tars, data/<run>/raw; else they are rendered"
    )
    args = parser.parse_args()
    settings = params.load(args.params).corpus.rendered.model_copy(update={"sentences": args.sentences})
    traces = []
    with tempfile.TemporaryDirectory() as folder:
        for speaker in args.speakers:
            tar = (args.raw or Path(folder)) / f"{speaker}.tar"
            if not args.raw:
                rendered.take(settings, speaker, tar)
            traces += [measured(*clip) for clip in clips(tar, args.sentences)]
    scale = f"{len(traces)} clips of {SIDE} pixels, {sum(len(t.lids_T) for t in traces)} frames"
    machine = {"scale": scale, "numpy": np.__version__}
    timing.show(Report("blinks", machine, results(traces)), as_json=args.json)


if __name__ == "__main__":
    run(main)
