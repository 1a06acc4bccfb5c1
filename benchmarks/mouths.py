"""Mouths of a run's videos: as sharp as the truth's? And is a video better than its first frame repeated? Not speed.

    python -m benchmarks.mouths [--method full] [--json]

Takes the run of ``params.yaml`` and one of its rows. Sharpness is the variance of luma's Laplacian about the true lips, summed
over a clip's frames, over the truth's; of all frames, and of those whose mouth is wide open, where teeth and tongue are seen. The
first frame repeated is the clip's first true one, as it is and carried onto each frame as the network's reference is
(:func:`stages.clips.conditions.aligned`); PSNR is that inside the mask. A row a clip, then the means and the least.
"""

from __future__ import annotations

import argparse
import json

import cv2
import numpy as np
from numpy.typing import NDArray

from stages import features
from stages.base import params
from stages.base.errors import run
from stages.clips import conditions
from stages.faces.geometry import MOUTH, grown_hull, mouth_opening
from stages.measures import image

GROWTH = 0.1  # of the lips' width, about them
WIDE = 75  # percentile of a clip's opening from which on a mouth is wide open
COLUMNS = ("sharpness", "sharpness, wide open", "PSNR, dB", "first frame's", "carried first frame's")

Row = dict[str, float]


def sharpness(frames_THWC: NDArray[np.uint8], lips_THW: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The variance of luma's Laplacian about the lips in each frame, (T,)."""
    return np.array([cv2.Laplacian(y, cv2.CV_64F)[lips].var() for y, lips in zip(image.luma(frames_THWC), lips_THW)])


def measure(video: features.Video) -> Row:
    """A clip's row."""
    clip, made = video.clip, video.frames_THWC
    true, masks = np.asarray(clip.frames_THWC), np.asarray(clip.masks_THW)
    lips = np.stack([grown_hull(points[MOUTH], true.shape[1], GROWTH) for points in clip.landmarks_TL2])
    own, truth = sharpness(made, lips), sharpness(true, lips)
    opening = mouth_opening(clip.landmarks_TL2)
    wide = opening >= np.percentile(opening, WIDE)
    carried = conditions.aligned(clip, range(len(true)), conditions.REFERENCE)
    pictures = (made, np.broadcast_to(true[:1], true.shape), carried)
    values = [own.sum() / truth.sum(), own[wide].sum() / truth[wide].sum()]
    values += [
        float(np.nanmean(image.psnr(np.asarray(some), true, masks)[1:])) for some in pictures
    ]  # the first is given
    return dict(zip(COLUMNS, map(float, values), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="full", help="row of params.yaml (default: %(default)s)")
    parser.add_argument("--params", default=params.PARAMS_FILE)
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    settings = params.load(args.params)
    params.check_method(args.method, settings.methods)
    rows = {video.clip.name: measure(video) for video in features.read(settings.data, args.method, settings)[1]}
    table = np.array([[row[name] for name in COLUMNS] for row in rows.values()])
    better = int((table[:, 2] > table[:, 3:].max(1)).sum())
    if args.json:
        print(json.dumps({"clips": rows, "better_than_first_frame": better}))
        return
    print(f"| clip | {' | '.join(COLUMNS)} |\n| --- |{' --- |' * len(COLUMNS)}")
    for name, values in [*zip(rows, table), ("mean", table.mean(0)), ("least", table.min(0))]:
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in values)} |")
    print(f"\n{better} of {len(rows)} clips have a higher PSNR than both first frames")


if __name__ == "__main__":
    run(main)
