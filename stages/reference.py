"""Measure the test clips themselves, once: the reference for every method's videos.

    python -m stages.reference --data data/demo --out data/demo/reference.parquet

One pass over the lossless decode of the test clips, at the videos' size: the encoders' features, landmarks, the requested and
rendered traces, and the mouth's opening as far as a generator's input reveals it. The stage ``metrics`` makes scores of
this file and of ``features/<method>.parquet``, so that a new score needs no new pass.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages.base import params
from stages.base.errors import InputError, run
from stages.base.lazy import Mapped
from stages.base.params import Params
from stages.base.progress import Progress
from stages.clips import corpus
from stages.clips.clip import Clip
from stages.faces.geometry import mouth_opening
from stages.measures import leak
from stages.measures.traces import Face, Seen
from stages.scoring import columns
from stages.scoring.observer import Observer
from stages.store import tables

SPLITS = ("test_seen", "test_unseen", "test_long")  # and held_out, where metrics.held_out says so
LEAK_STEP, LEAK_SIZE = 2, 32  # every second frame of the training clips; pixels


def leaks(train: Iterable[Clip], tests: Iterable[Clip]) -> dict[str, list[NDArray[np.float64]]]:
    """The mouth's opening in each test clip, read from mask, visible pixels and head's place; fitted on the training clips.

    Both are walked through several times.
    """

    def shown(clip: Clip, step: int = 1) -> NDArray[np.float64]:
        seen = leak.visible(clip.frames_THWC[::step], clip.masks_THW[::step], LEAK_SIZE)
        return np.concatenate([seen, leak.place(clip.landmarks_TL2)[::step]], 1)

    x, held = Mapped(lambda clip: shown(clip, LEAK_STEP), train), Mapped(shown, tests)
    y = [mouth_opening(clip.landmarks_TL2)[::LEAK_STEP] for clip in train]
    return {
        "leak": leak.predict(x, y, held),
        "leak_within": leak.predict(leak.centred(x), leak.centred(y), leak.centred(held)),
    }


def row(clip: Clip, observer: Observer) -> dict[str, object]:
    """The measurements on one clip."""
    frames, masks, eyes = np.asarray(clip.frames_THWC), np.asarray(clip.masks_THW), clip.ear_T2.mean(1)
    arrays = observer.see(Seen(frames, frames, masks, Face(clip.landmarks_TL2, eyes)))
    arrays |= observer.hear(clip.mel_SM, clip.audio, len(frames))
    arrays |= {"ear": eyes, "mouth_dlib": mouth_opening(clip.landmarks_TL2)}
    return {"clip": clip.name, "frames": len(frames), "encoders": observer.digest, **tables.flat(arrays)}


def measure(data: Path, settings: Params, out: Path) -> None:
    """Write the table ``reference`` of all test clips, in order of clip.

    Raises:
        InputError: there is no test clip, or a file is missing or damaged.
    """
    splits = (*SPLITS, *["held_out"] * settings.metrics.held_out)
    tests = corpus.index(data, splits)
    if tests.empty:
        raise InputError(data / "index.parquet", f"no clip of {', '.join(splits)}", "see index.* in params.yaml")
    size, dilation = settings.network.size, settings.mask.dilation
    clips = corpus.each(data, splits, size=size, dilation=dilation)
    read = leaks(corpus.each(data, ("train",), size=size, dilation=dilation, most=corpus.MANY), clips)
    observer = Observer.of(settings, data / "judges", settings.metrics.upscale)
    progress = Progress("reference", len(tests), "clips")
    with tables.writer(out, columns.REFERENCE) as write:
        for number, (clip, entry) in enumerate(zip(clips, tests.to_dict("records"), strict=True)):
            facts = {name: str(entry[name]) for name in ("split", "speaker", "sentence", "emotion", "level")}
            mouth = corpus.true_mouth(data / "raw" / f"{entry['shard']}.tar", clip, settings.mask.fps)
            own: dict[str, NDArray[Any]] = {"mouth": mouth, **{name: values[number] for name, values in read.items()}}
            write({**row(clip, observer), **facts, **tables.flat(own)})
            progress.update(note=clip.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params",
        default=params.PARAMS_FILE,
        help="metrics.upscale, .batch, .held_out, .public, .threads, .device, weights.folder, mask.fps, mask.dilation and "
        "network.size",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the run, such as data/demo")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write, data/<run>/reference.parquet")
    args = parser.parse_args()
    settings = params.load(args.params)
    torch.set_num_threads(settings.metrics.threads)
    measure(args.data, settings, args.out)


if __name__ == "__main__":
    run(main)
