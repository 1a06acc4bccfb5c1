"""Stage spectrogram: decodes the speech of every clip of a shard, 16 kHz on the video's time base, and makes its mel spectrogram.

The audio is trimmed, or padded with silence, to the length of the clip's frames.

From the same decoded sound all processors make the same bytes: samples are whole numbers, the spectrogram is computed from these
in float64 and rounded (:data:`stages.clips.mel.GRID`). PCM, FLAC and the like are decoded to the same bits everywhere; of AAC and
MP3 a sample in some thousands differs by one between two processors.

    python -m stages.spectrogram --raw data/demo/raw/ada.tar --faces data/demo/faces/ada.parquet \
        --out data/demo/spectrogram/ada.parquet
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages import media
from stages.base import params
from stages.base.errors import ClipError, InputError, run
from stages.base.progress import Progress
from stages.clips.mel import Mel
from stages.store import schemas, tables, tars


def fit(audio_N: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """Trim, or pad with silence, to a number of samples."""
    return np.pad(audio_N[:samples], (0, max(samples - len(audio_N), 0)))


@dataclass
class Span:
    """A clip in its file, seconds."""

    clip: str
    start: float
    seconds: float  # 0 where the mask stage left it out


def spans(faces: Path) -> dict[str, list[Span]]:
    """The clips of each file, by the file's own name in the shard."""
    table = tables.read(faces, schemas.FACES, ["clip", "part_of", "first", "status", "fps", "detected"])
    found: dict[str, dict[str, Span]] = {}
    for row in table.to_pylist():
        clips = found.setdefault(row["part_of"], {})
        span = clips.setdefault(row["clip"], Span(row["clip"], row["first"] / row["fps"], 0.0))
        span.seconds += len(row["detected"]) / row["fps"] if row["status"] == "ok" else 0.0
    return {name: list(clips.values()) for name, clips in found.items()}


def hear(raw: Path, file: str, clip: str, sample_rate: int) -> media.Sound:
    """The sound of a file, of whose choice and mixing what is to be said is said; raises ClipError where it has none."""
    with tars.member(raw, file) as source:
        sound = media.hear(source, sample_rate, clip=clip)
    if sound.silent:
        raise ClipError(clip, "; ".join(["the audio is silent throughout", *sound.remarks]))
    for remark in sound.remarks:
        print(f"clip {clip}: {remark}", flush=True)
    return sound


def usable_row(sound: media.Sound, span: Span, mel: Mel, settings: params.Spectrogram) -> dict[str, Any]:
    """The row of a clip of this file; raises ClipError where it has no usable audio."""
    clip, start = span.clip, round(span.start * settings.sample_rate)
    audio = fit(sound.samples[start:], round(span.seconds * settings.sample_rate))
    if not audio.any():
        raise ClipError(clip, "the audio is silent throughout")
    if len(audio) <= settings.n_fft // 2:
        raise ClipError(clip, f"{len(audio)} audio samples are too short for a window of {settings.n_fft}")
    samples = media.to_int16(audio)
    return {"clip": clip, "status": "ok", "mel": mel(media.to_float(samples)).ravel(), "audio": samples.tobytes()}


def unusable_row(clip: str, reason: str) -> dict[str, Any]:
    """The row of a clip that can't be used."""
    return {"clip": clip, "status": reason, "mel": [], "audio": b""}


def file_rows(
    raw: Path, file: str, name: str, clips: list[Span], mel: Mel, settings: params.Spectrogram
) -> Iterator[dict[str, Any]]:
    """The rows of a file's clips; its sound is decoded once, if the mask stage could use any of them."""
    sound, fault = None, ""
    if any(span.seconds for span in clips):
        try:
            sound = hear(raw, file, name, settings.sample_rate)
        except ClipError as error:
            fault = error.reason
    for span in clips:
        if not span.seconds:  # which that stage has said
            yield unusable_row(span.clip, "the mask stage left it out")
            continue
        try:
            if sound is None:
                raise ClipError(span.clip, fault)
            yield usable_row(sound, span, mel, settings)
        except ClipError as error:
            print(f"{error}; left out, the other clips go on", flush=True)
            yield unusable_row(span.clip, error.reason)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Resample the speech of every clip of a shard and make its mel spectrogram."
    )
    parser.add_argument("--raw", type=Path, required=True, help="tar of the download stage")
    parser.add_argument("--faces", type=Path, required=True, help="Parquet file of the mask stage: the clips' lengths")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--params", default=params.PARAMS_FILE, help="section spectrogram and mask.fps")
    args = parser.parse_args()
    settings = params.load(args.params).spectrogram
    torch.set_num_threads(1)
    found, mel, files = spans(args.faces), Mel(settings), tars.listing(args.raw)
    progress = Progress(f"spectrogram {args.out.stem}", len(files), "files")
    with tables.writer(args.out, schemas.SPECTROGRAM) as write:
        for entry in files:
            name = entry["clip"]
            if name not in found:
                raise InputError(args.faces, f"has no clip of {name}", "delete it and run 'snakemake --cores all'")
            for row in file_rows(args.raw, entry.get("sound", entry["file"]), name, found[name], mel, settings):
                write(row)
            progress.update(note=name)


if __name__ == "__main__":
    run(main)
