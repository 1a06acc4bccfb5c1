"""Sample the test clips with one method and write them as videos with sound, in one tar.

    python -m stages.sample --data data/demo --method full --out data/demo/samples/full.tar

The row's kind, a module of :mod:`stages.methods.kinds`, makes a clip's frames.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from stages import media
from stages.base import memory, params
from stages.base.errors import InputError, ParameterError, run
from stages.base.params import Params, Sample
from stages.base.progress import Progress
from stages.clips import corpus
from stages.clips.clip import Clip
from stages.clips.conditions import REFERENCE
from stages.methods import systems
from stages.store import tars


def other_clip(tests: pd.DataFrame, clip: str) -> str:
    """Another test clip to take the audio from: the next in order that has another speaker and another sentence.

    Where no clip differs in both, the next one that differs in the sentence.

    Raises:
        ParameterError: none does.
    """
    names = list(tests["clip"])
    start = names.index(clip)
    row = tests.iloc[start]
    ring = tests.iloc[[(start + i) % len(names) for i in range(1, len(names))]]
    different = ring[(ring["sentence"] != row["sentence"]) | (ring["sentence"] == "")]
    both = different[different["speaker"] != row["speaker"]]
    found = both if len(both) else different
    if found.empty:
        raise ParameterError(
            f"audio of a method is 'other', and no other test clip says another sentence than {clip}; "
            "give the test more sentences (index.*), or take the method out of params.yaml"
        )
    return str(found.iloc[0]["clip"])


def write(
    path: Path,
    batches: Iterable[NDArray[np.uint8]],
    frames: int,
    audio: NDArray[np.int16],
    settings: Params,
    sampling: Sample,
) -> None:
    """Write the frames, as they come, with the given audio, cut or padded with silence to their length, as mp4."""
    rate = settings.spectrogram.sample_rate
    samples = round(frames / settings.mask.fps * rate)
    sound = np.zeros(samples, np.int16)
    sound[: min(samples, len(audio))] = audio[:samples]
    pictures = itertools.chain.from_iterable(batches)
    media.write_video(
        path,
        pictures,
        fps=settings.mask.fps,
        audio=sound,
        sample_rate=rate,
        crf=sampling.crf,
        chroma=sampling.chroma,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params",
        default=params.PARAMS_FILE,
        help="sections sample, network, mask, spectrogram.sample_rate and methods.<method>",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the run, such as data/demo")
    parser.add_argument("--method", required=True, help="a method of params.yaml")
    parser.add_argument("--out", type=Path, required=True, help="tar to write, data/<run>/samples/<method>.tar")
    args = parser.parse_args()
    settings = params.load(args.params)
    params.check_method(args.method, settings.methods)
    sampling = settings.sampling(args.method)
    torch.set_num_threads(sampling.threads)
    memory.keep_freed()

    splits = settings.methods[args.method].splits
    tests = corpus.index(args.data, splits)
    if tests.empty:
        raise InputError(
            args.data / "index.parquet",
            f"no clip of {', '.join(splits)}",
            "see index.* and methods.*.splits in params.yaml",
        )
    shard_of = dict(zip(tests["clip"], tests["shard"], strict=True))

    most = sampling.frames

    def load(name: str) -> Clip:
        size, dilation = settings.network.size, settings.mask.dilation
        return corpus.load(args.data, shard_of[name], name, size=size, dilation=dilation, stream=True)

    progress = Progress(f"sample {args.method}", int(tests["frames"].clip(upper=most).sum()), "frames")
    row = systems.Row(settings, args.data, args.method, progress.update)
    render = systems.module(row.entry.kind).renderer(row)
    listing: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for test in tests.itertuples():
            clip = load(str(test.clip)).head(most)
            sound = clip
            if settings.methods[args.method].audio == "other":
                sound = load(other_clip(tests, str(test.clip)))
            frames, path = len(clip.frames_THWC), Path(folder) / f"{test.clip}.mp4"
            write(path, render(clip, sound), frames, sound.audio, settings, sampling)
            listing.append(
                {
                    "clip": test.clip,
                    "shard": test.shard,
                    "split": test.split,
                    "audio_clip": sound.name,
                    "reference_frame": REFERENCE,
                    "frames": frames,
                    **row.facts,
                    **row.notes.get(str(test.clip), {}),
                }
            )
        videos = [(f"{clip['clip']}.mp4", Path(folder) / f"{clip['clip']}.mp4") for clip in listing]
        tars.write(args.out, [(tars.CLIPS, json.dumps(listing, indent=1, sort_keys=True).encode()), *videos])


if __name__ == "__main__":
    run(main)
