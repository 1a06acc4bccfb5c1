"""The face mask of a head that turns: how much larger than the frame's own it is, and what it tells of the mouth. Not speed.

    python -m benchmarks.turning [--clips] [--json]

Rendered speakers, whose heads are turned further than in the demo, are followed as the stage ``mask`` does. A mask of one shape,
which the head's turn does not change, is the peer. With ``--clips`` the clips of the run of ``params.yaml`` are measured instead:
there, how well the mouth's opening can be read from mask, visible pixels and the head's place (:mod:`stages.measures.leak`), too.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stages.base import params
from stages.base.errors import run
from stages.base.params import Params
from stages.clips import corpus
from stages.corpora.rendered import face, identity, portrait, speaker
from stages.faces.geometry import TURN_PRIOR, clip_masks, draw_mask, head_turns, mask_shape, mouth_opening, steady
from stages.faces.landmarks import FaceTracker, luma
from stages.faces.square import crop_square, to_crop
from stages.measures import leak
from stages.reference import LEAK_SIZE, LEAK_STEP

SIZE, DILATION, DETECT_EVERY = 64, 0.12, 8
SPEAKERS, FRAMES = ("ada", "hugo"), 90
TIMES = (1, 7, 12, 18)  # of the demo's yaw; of its pitch three times at most
EVERY = 6  # frames whose masks are compared

Points = NDArray[np.floating]
Masks = NDArray[np.bool_]
WAYS = {"one shape": 1e6, "with the turn": TURN_PRIOR}  # see mask_shape


def masks(landmarks_TL2: Points, prior: float, dilation: float = DILATION) -> Masks:
    """All masks of a clip, (T, SIZE, SIZE)."""
    points = np.asarray(landmarks_TL2, np.float64)
    shape = mask_shape(points, dilation, turn_prior=prior)
    made = np.empty((len(points), SIZE, SIZE), np.bool_)
    for outline, mask in zip(shape.outlines(points, head_turns(points, range(len(points)))), made, strict=True):
        draw_mask(outline, mask)
    return made


def larger(landmarks_TL2: Points, prior: float, dilation: float = DILATION) -> float:
    """The masks' area over that of each frame's own, a mean over some frames."""
    some = slice(None, None, EVERY)
    alone = [clip_masks(frame[None], SIZE, dilation).sum() for frame in landmarks_TL2[some]]
    return float((masks(landmarks_TL2, prior, dilation)[some].sum((1, 2)) / alone).mean())


def turned(name: str, times: float) -> tuple[float, Points]:
    """A speaker's largest yaw, degrees, and landmarks in the network's pixels, (T, 68, 2)."""
    given = params.load("presets/demo.yaml")
    settings = given.corpus.rendered
    who = identity.draw(settings.seed, name)
    moves = speaker.perform(settings, who, 0)[0]
    moves = replace(moves, yaw=moves.yaw * times, pitch=moves.pitch * min(times, 3))
    draw = face.Renderer(portrait.paint(who, settings.width, settings.height), settings.width, settings.height)
    frames = range(min(FRAMES, len(moves.yaw)))
    found = list(FaceTracker(DETECT_EVERY, 2).follow(luma(np.asarray(draw.frame(moves, n), np.uint8)) for n in frames))
    missing = sum(points is None for points in found)
    assert not missing, f"{name} at {times} times its yaw: no face in {missing} frames"
    points = np.stack(found).astype(np.float64)  # type: ignore[arg-type]
    small = to_crop(points, crop_square(points, given.mask.margin), SIZE)
    return float(np.abs(moves.yaw[: len(frames)]).max()), steady(small, settings.fps)


def of_rendered() -> list[dict[str, str | float]]:
    """A line a speaker and turn."""
    rows: list[dict[str, str | float]] = []
    for name in SPEAKERS:
        for times in TIMES:
            yaw, points = turned(name, times)
            found = {way: larger(points, prior) for way, prior in WAYS.items()}
            rows.append({"clip": name, "yaw": yaw, **found})
    return rows


def of_clips(settings: Params) -> list[dict[str, str | float]]:
    """A line a measure, over the clips of a run."""
    splits = ("train", "test_seen")
    clips = {
        split: corpus.load_split(settings.data, (split,), size=SIZE, dilation=settings.mask.dilation)
        for split in splits
    }
    openings = {split: [mouth_opening(clip.landmarks_TL2) for clip in clips[split]] for split in splits}
    area: dict[str, str | float] = {"clip": "area over the frame's own, mean"}
    most: dict[str, str | float] = {"clip": "the same, of the worst clip"}
    read: dict[str, str | float] = {"clip": "R² of the opening as read"}
    for way, prior in WAYS.items():
        ratios: list[float] = []
        seen: dict[str, list[Points]] = {}
        for split in splits:
            step = LEAK_STEP if split == "train" else 1
            seen[split] = []
            for clip in clips[split]:
                made = masks(clip.landmarks_TL2, prior, settings.mask.dilation)
                visible = leak.visible(np.asarray(clip.frames_THWC)[::step], made[::step], LEAK_SIZE)
                seen[split].append(np.concatenate([visible, leak.place(clip.landmarks_TL2)[::step]], 1))
                ratios.append(larger(clip.landmarks_TL2, prior, settings.mask.dilation))
        told = leak.predict(seen["train"], [y[::LEAK_STEP] for y in openings["train"]], seen["test_seen"])
        sums = np.sum([leak.sums(y, x) for y, x in zip(openings["test_seen"], told, strict=True)], 0)
        area[way], most[way], read[way] = float(np.mean(ratios)), max(ratios), float(leak.r2(sums))
    return [area, most, read]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", action="store_true", help="measure the clips of the run of params.yaml")
    parser.add_argument("--params", default=params.PARAMS_FILE)
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    rows = of_clips(params.load(args.params)) if args.clips else of_rendered()
    if args.json:
        print(json.dumps(rows))
        return
    first = "the run's clips" if args.clips else "speaker, largest yaw"
    print(f"| {first} | {' | '.join(WAYS)} |\n| --- |{' --- |' * len(WAYS)}")
    for row in rows:
        yaw = f", {row['yaw']:.0f}°" if "yaw" in row else ""
        print(f"| {row['clip']}{yaw} | {' | '.join(f'{row[way]:.3f}' for way in WAYS)} |")


if __name__ == "__main__":
    run(main)
