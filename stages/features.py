"""Measure a method's videos of the test clips, once: features, landmarks and each frame's differences from the truth.

    python -m stages.features --data data/demo --method full --out data/demo/features/full.parquet

One pass over the videos. The stage ``metrics`` makes scores of this file and of ``reference.parquet``, so that a new score, or
another number of resamples, needs no new pass.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from stages import media
from stages.base import params
from stages.base.errors import ClipError, InputError, run
from stages.base.params import Params
from stages.base.progress import Progress
from stages.clips import corpus
from stages.clips.clip import Clip
from stages.measures.traces import Face, Seen
from stages.scoring import columns
from stages.scoring.observer import Observer
from stages.store import tables, tars

PICTURES, MOMENTS = 4, 6  # clips of which some frames are kept for MLflow; frames of each


@dataclass(frozen=True)
class Video:
    """One video to measure, and the clip that it was made of at the video's size."""

    clip: Clip
    audio_clip: str  # the clip whose audio was given
    frames_THWC: NDArray[np.uint8]


def read(data: Path, method: str, settings: Params) -> tuple[int, Iterator[Video]]:
    """The number of a method's videos, and the videos one by one, in order of clip.

    Raises:
        InputError: a video is missing, damaged, or of another length or size than its clip's.
    """
    splits = settings.methods[method].splits
    tests = corpus.index(data, splits)
    if tests.empty:
        raise InputError(
            data / "index.parquet", f"no clip of {', '.join(splits)}", "see index.* and methods.*.splits in params.yaml"
        )
    size, dilation, fps = settings.network.size, settings.mask.dilation, settings.mask.fps
    most = settings.sampling(method).frames

    path = data / "samples" / f"{method}.tar"

    def videos() -> Iterator[Video]:
        listing = {entry["clip"]: entry for entry in tars.listing(path, keys=("clip",))}
        with tars.reader(path) as member:
            for name, shard in zip(tests["clip"].astype(str), tests["shard"].astype(str), strict=True):
                clip = corpus.load(data, shard, name, size=size, dilation=dilation, stream=True).head(most)
                if name not in listing:
                    raise InputError(path, f"no video of {name}", "delete it and run 'snakemake --cores all'")
                frames = _frames(member(f"{name}.mp4"), path, name, fps, clip.frames_THWC.shape)
                yield Video(clip, listing[name]["audio_clip"], frames)

    return len(tests), videos()


def _frames(video: bytes, path: Path, clip: str, fps: float, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    try:
        frames = media.decode(video, fps=fps, clip=clip)
    except ClipError as error:
        raise InputError(path, str(error), "delete it and run 'snakemake --cores all'") from None
    if frames.shape != shape:
        problem = f"the video of {clip} is {frames.shape} (frames, height, width, colours), its clip {shape}"
        raise InputError(path, problem, "delete it and run 'snakemake --cores all'")
    return frames


def row(video: Video, observer: Observer) -> dict[str, object]:
    """The measurements on one video."""
    true, masks = np.asarray(video.clip.frames_THWC), np.asarray(video.clip.masks_THW)
    seen = Seen(video.frames_THWC, true, masks, Face(video.clip.landmarks_TL2, video.clip.ear_T2.mean(1)))
    arrays = observer.see(seen) | observer.compare(seen)
    names = {"clip": video.clip.name, "audio_clip": video.audio_clip}
    return {**names, "frames": len(true), "encoders": observer.digest, **tables.flat(arrays)}


def picture(video: Video) -> bytes:
    """A PNG: some frames of the video below the same frames of the truth."""
    numbers = np.linspace(0, len(video.frames_THWC) - 1, MOMENTS).round().astype(int)
    rows = [np.concatenate(list(frames[numbers]), 1) for frames in (video.clip.frames_THWC, video.frames_THWC)]
    return bytes(cv2.imencode(".png", cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params",
        default=params.PARAMS_FILE,
        help="metrics.upscale, .batch, .public, .threads, .device, weights.folder, mask.fps, mask.dilation, network.size and "
        "methods.<method>",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the run, such as data/demo")
    parser.add_argument("--method", required=True, help="a method of params.yaml")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file, data/<run>/features/<method>.parquet")
    args = parser.parse_args()
    settings = params.load(args.params)
    params.check_method(args.method, settings.methods)
    torch.set_num_threads(settings.metrics.threads)
    observer = Observer.of(settings, args.data / "judges", settings.metrics.upscale)
    count, videos = read(args.data, args.method, settings)
    progress = Progress(f"features {args.method}", count, "clips")
    with tables.writer(args.out, columns.FEATURES) as write:
        for number, video in enumerate(videos):
            kept = number % max(count // PICTURES, 1) == 0 and number // max(count // PICTURES, 1) < PICTURES
            write({**row(video, observer), "picture": picture(video) if kept else None})
            progress.update(note=video.clip.name)


if __name__ == "__main__":
    run(main)
