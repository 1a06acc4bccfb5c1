"""The reference frame carried onto a clip's other frames, by landmarks as found and by steady ones: accuracy, not speed.

    python -m benchmarks.steady [--every 8] [--json]

Takes the clips of the run of ``params.yaml``, each eighth by name. What is measured is the root of the mean squared difference
from the frame, grey levels, in a band about the mask's edge above the mouth, where nothing but the head's motion should tell two
frames of a clip apart; in frames of a blink and in others.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.base import params
from stages.base.errors import run
from stages.clips import conditions, corpus
from stages.clips.clip import Clip
from stages.faces.geometry import RIGID, steady

BAND = 3  # pixels outside the mask's edge and, nearly, inside
BELOW_EYES = 14  # pixels of 64: what lies lower moves with the jaw
OTHERS = 6  # of the frames without a blink, each sixth

Points = NDArray[np.floating]


def averaged(landmarks_TL2: Points) -> Points:
    """The rigid points averaged over seven frames, whatever moves them."""
    points = np.array(landmarks_TL2, np.float64)
    padded = np.pad(points[:, RIGID], ((3, 3), (0, 0), (0, 0)), mode="edge")
    points[:, RIGID] = np.lib.stride_tricks.sliding_window_view(padded, 7, 0).mean(-1)
    return points


WAYS: dict[str, Callable[[Points], Points]] = {
    "as found": lambda points: points,
    "averaged alone": averaged,
    "steady": steady,
}


def error(clip: Clip, points: Points, masks: NDArray[np.bool_], frame: int) -> float:
    """The difference of the carried reference from one frame, by these landmarks."""
    made = conditions.aligned(replace(clip, landmarks_TL2=points), [frame], 0)[0]
    mask, size = masks[frame].astype(np.uint8), len(made)
    band = cv2.dilate(mask, np.ones((2 * BAND + 1,) * 2)) - cv2.erode(mask, np.ones((2 * BAND - 1,) * 2))
    band[int(clip.landmarks_TL2[frame, 36:48, 1].mean() + BELOW_EYES * size / 64) :] = 0
    apart = np.square(made.astype(np.float64) - clip.frames_THWC[frame]).mean(-1)
    return float(np.sqrt(apart[band > 0].mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default=params.PARAMS_FILE)
    parser.add_argument("--every", type=int, default=8, help="clip of those in the index (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    settings = params.load(args.params)
    index = corpus.index(settings.data)
    rows = index[index["status"] == "ok"].iloc[:: args.every]
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for shard, name in zip(rows["shard"], rows["clip"], strict=True):
        size = settings.network.size
        clip = corpus.load(settings.data, shard, name, size=size, dilation=settings.mask.dilation)
        masks, blinking = np.asarray(clip.masks_THW), np.zeros(len(clip.frames_THWC), bool)
        for start, end in clip.blinks:
            blinking[start:end] = True
        raw = corpus.landmarks_as_found(settings.data, shard, name, size)
        frames = {"blinks": np.flatnonzero(blinking), "others": np.flatnonzero(~blinking)[1::OTHERS]}
        for way, points in ((way, change(raw)) for way, change in WAYS.items()):
            for kind, numbers in frames.items():
                found[way, kind] += [error(clip, points, masks, frame) for frame in numbers.tolist()]
    means = {way: {kind: float(np.mean(found[way, kind])) for kind in ("blinks", "others")} for way in WAYS}
    if args.json:
        print(json.dumps(means))
        return
    print(f"{len(rows)} clips of {settings.run}, {len(found['steady', 'blinks'])} frames of blinks\n")
    print("| landmarks | in blinks | in other frames |\n| --- | --- | --- |")
    for way, values in means.items():
        print(f"| {way} | {values['blinks']:.2f} | {values['others']:.2f} |")


if __name__ == "__main__":
    run(main)
