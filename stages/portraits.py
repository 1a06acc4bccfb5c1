"""Measure faces that talk: test clips' first frames and videos that `python -m stages.talk` makes say other speakers' sounds.

    python -m stages.portraits --data data/demo --method full --out data/demo/portraits/full.parquet

Each film is written as a user gets it, read again, and its face is cut out at the network's place: the measured pictures have
been through the paste and the codec. The requested opening of the mouth is that of the sound's own clip. A still is
asked for blinks, a video for its own.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from stages import media
from stages.base import params
from stages.base.errors import InputError, run
from stages.base.params import Params
from stages.base.progress import Progress
from stages.clips import corpus, raw
from stages.clips.mel import Mel
from stages.faces import observed
from stages.faces.geometry import ear, mouth_opening
from stages.measures import correlation, likeness, pauses, sync
from stages.measures.blinks import Blink, find_blinks
from stages.pretrained.hifidiff import HifiDiff
from stages.pretrained.judges import Judges
from stages.scoring import columns
from stages.store import tables
from stages.talking.film import Film, Options, talk

LARGE = 4  # times the network's side that the face is cut out at, for dlib
NEAR = 2  # frames by which a blink may lie beside the one that was asked for
SHOWN, MOMENTS = 1, 6  # films of each split and input of which frames are kept for the report; frames of each


@dataclass(frozen=True)
class Pair:
    """A face and a sound: rows of the index."""

    face: dict[str, Any]
    sound: dict[str, Any]
    input: str  # still, the face's first frame, or video
    number: int  # among the pairs of its split and input


def pairs(index: pd.DataFrame, stills: int, sounds: int, videos: int) -> list[Pair]:
    """Faces of each test split, spread over its clips in order, with sounds of other speakers, spread over theirs.

    Where there is one speaker alone, the sounds are those of other clips, and of the one clip where there is no other. So many
    stills have so many sounds each, and so many videos one.
    """
    every = index.sort_values("clip").to_dict("records")
    found = []
    for split in ("test_seen", "test_unseen"):
        rows = index[index["split"] == split].sort_values("clip").to_dict("records")
        for given, faces, each in (("still", stills, sounds), ("video", videos, 1)):
            places = np.linspace(0, len(rows) - 1, min(faces, len(rows))).round().astype(int)
            chosen = [rows[i] for i in np.unique(places)]
            made = []
            for number, face in enumerate(chosen):
                others = [clip for clip in every if clip["speaker"] != face["speaker"]]
                others = others or [clip for clip in every if clip["clip"] != face["clip"]] or [face]
                at = (np.arange(each) + number / max(len(chosen), 1)) * len(others) / each
                made += [(face, others[i]) for i in np.unique(at.astype(int)) if i < len(others)]
            found += [Pair(face, sound, given, number) for number, (face, sound) in enumerate(made)]
    return found


def matched(asked: list[Blink], found: list[Blink]) -> tuple[int, int]:
    """The number of asked blinks that are found, within :data:`NEAR` frames; and the number of others found."""

    def meet(a: Blink, b: Blink) -> bool:
        return a[0] < b[1] + NEAR and b[0] < a[1] + NEAR

    hit = sum(any(meet(a, f) for f in found) for a in asked)
    return hit, sum(not any(meet(a, f) for a in asked) for f in found)


def _filmed(
    data: Path, pair: Pair, model: HifiDiff, settings: Params, options: Options, folder: Path
) -> tuple[NDArray[np.uint8], Film, Path]:
    """The first frame of a pair's face, its film, and the file that this was saved to."""
    own, speaker = (raw.place(data, entry["shard"], entry["clip"]) for entry in (pair.face, pair.sound))
    fps, rate = settings.mask.fps, settings.spectrogram.sample_rate
    still_HWC = raw.still(own, fps)
    sound, ending = raw.sound(speaker, fps, rate)
    speech = folder / f"speech{ending}"
    speech.write_bytes(sound)
    if pair.input == "still":
        face, options = folder / "face.png", replace(options, blink=settings.portraits.blink_rate)
        Image.fromarray(still_HWC).save(face)
    else:
        content, ending = raw.video(own, fps, rate)
        face, options = folder / f"face{ending}", replace(options, fps=fps)
        face.write_bytes(content)
    film = talk(model, face, speech, options)
    film.save(folder / "film.mp4")
    return still_HWC, film, folder / "film.mp4"


def row(
    still_HWC: NDArray[np.uint8],
    film: Film,
    whole_THWC: NDArray[np.uint8],
    heard_N: NDArray[np.float32],
    asked_T: NDArray[np.float32],
    judges: Judges,
    settings: Params,
) -> dict[str, object]:
    """The measurements on a film's frames and sound, read again; ``asked_T``: the mouth's opening in the sound's own clip."""
    size, crop, rate = settings.network.size, film.facts["crop"], settings.spectrogram.sample_rate
    faces = np.stack([media.cut(frame, crop, LARGE * size) for frame in (still_HWC, *whole_THWC)])
    seen = observed.measure(faces, 1)
    points, identity = seen.landmarks_TL2[1:], seen.identity_KD
    opening, eyes = mouth_opening(points), ear(points).mean(1)
    small = np.stack([media.cut(frame, crop, size) for frame in whole_THWC])
    blink = settings.blink.model_dump()
    given, found = (find_blinks(trace, **blink) for trace in (film.ear_T2.mean(1), eyes))
    hit, others = matched(given, found)
    mel = Mel(settings.spectrogram)(media.to_float(media.to_int16(heard_N)))
    mouths = judges.mouths(small, (np.nan_to_num(points) + 0.5) / LARGE - 0.5)
    arrays = {
        "mouth": correlation.sums(asked_T, opening),
        "ear": correlation.sums(film.ear_T2.mean(1), eyes),
        "pause": pauses.opening(opening, pauses.silent(heard_N, len(whole_THWC))),
        "sync_distances": sync.distances(mouths, judges.sound(mel, len(whole_THWC))),
    }
    return {
        "frames": len(whole_THWC),
        "detected": float(seen.detected_T[1:].mean()),
        "csim": float(
            np.nanmean(likeness.identity(identity[1:], np.repeat(identity[:1], len(identity) - 1, 0))["csim"])
        ),
        "blinks_asked": len(given),
        "blinks_found": hit,
        "blinks_others": others,
        "length_apart": abs(len(heard_N) / rate - len(whole_THWC) / film.fps) * film.fps,
        **tables.flat(arrays),
    }


def shown(whole_THWC: NDArray[np.uint8]) -> bytes:
    """A JPEG: some frames of a film beside one another."""
    chosen = whole_THWC[np.linspace(0, len(whole_THWC) - 1, MOMENTS).round().astype(int)]
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(np.concatenate(list(chosen), 1), cv2.COLOR_RGB2BGR))[1])


def measured(data: Path, method: str, settings: Params) -> Iterator[dict[str, object]]:
    """A row of the table a film.

    Raises:
        InputError: there is no test clip; a file is missing.
    """
    model = HifiDiff.from_pretrained(data / "models" / method)
    index = corpus.index(data, ("test_seen", "test_unseen"))
    how = settings.portraits
    todo = pairs(index, how.stills, how.sounds, how.videos)
    if not todo:
        raise InputError(data / "index.parquet", "no test clip", "see index.* in params.yaml, or set talking: []")
    judges = Judges(data / "judges", settings.metrics.batch)
    progress = Progress(f"portraits {method}", len(todo), "films")
    for number, pair in enumerate(todo):
        said = corpus.load(
            data, pair.sound["shard"], pair.sound["clip"], size=settings.network.size, dilation=settings.mask.dilation
        )
        asked = corpus.true_mouth(data / "raw" / f"{pair.sound['shard']}.tar", said, settings.mask.fps)
        with tempfile.TemporaryDirectory() as folder:
            options = Options(seed=how.seed + number, check=False, device=settings.sampling(method).device)
            still, film, path = _filmed(data, pair, model, settings, options, Path(folder))
            whole = media.decode(path, fps=film.fps)
            heard = media.decode_audio(path, settings.spectrogram.sample_rate)
        found = row(still, film, whole, heard, asked, judges, settings)
        kept = shown(whole) if pair.number < SHOWN else None
        names = {"face": pair.face["clip"], "input": pair.input, "sound": pair.sound["clip"]}
        yield {**names, "speaker": pair.face["speaker"], "split": pair.face["split"], **found, "picture": kept}
        progress.update(note=f"{pair.input} of {pair.face['clip']} says {pair.sound['clip']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params",
        default=params.PARAMS_FILE,
        help="sections portraits, blink and spectrogram, mask.fps, mask.dilation, network.size, metrics.batch, sample.device, "
        "methods.<method>.sample",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the run, such as data/demo")
    parser.add_argument("--method", required=True, help="one of talking in params.yaml")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file, data/<run>/portraits/<method>.parquet")
    args = parser.parse_args()
    settings = params.load(args.params)
    params.check_method(args.method, settings.talking)
    torch.set_num_threads(settings.metrics.threads)
    with tables.writer(args.out, columns.PORTRAITS) as write:
        for found in measured(args.data, args.method, settings):
            write(found)


if __name__ == "__main__":
    run(main)
