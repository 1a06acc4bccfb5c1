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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages import media
from stages.base import params
from stages.base.errors import ClipError, run
from stages.base.progress import Progress
from stages.clips.mel import Mel
from stages.store import schemas, tables, tars


def fit(audio_N: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """Trim, or pad with silence, to a number of samples."""
    return np.pad(audio_N[:samples], (0, max(samples - len(audio_N), 0)))


def lengths(faces: Path) -> dict[str, float]:
    """Seconds of each clip that the mask stage could use."""
    table = tables.read(faces, schemas.FACES, ["clip", "status", "fps", "detected"])
    seconds: dict[str, float] = {}
    for row in table.to_pylist():
        if row["status"] == "ok":
            seconds[row["clip"]] = seconds.get(row["clip"], 0.0) + len(row["detected"]) / row["fps"]
    return seconds


def usable_row(
    raw: Path, file: str, clip: str, seconds: float, mel: Mel, settings: params.Spectrogram
) -> dict[str, Any]:
    """The row of a clip of this length; raises ClipError where it has no usable audio."""
    with tars.member(raw, file) as source:
        sound = media.hear(source, settings.sample_rate, clip=clip)
    if sound.silent:
        raise ClipError(clip, "; ".join(["the audio is silent throughout", *sound.remarks]))
    for remark in sound.remarks:
        print(f"clip {clip}: {remark}", flush=True)
    audio = fit(sound.samples, round(seconds * settings.sample_rate))
    if len(audio) <= settings.n_fft // 2:
        raise ClipError(clip, f"{len(audio)} audio samples are too short for a window of {settings.n_fft}")
    samples = media.to_int16(audio)
    return {"clip": clip, "status": "ok", "mel": mel(media.to_float(samples)).ravel(), "audio": samples.tobytes()}


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
    seconds, mel, clips = lengths(args.faces), Mel(settings), tars.listing(args.raw)
    progress = Progress(f"spectrogram {args.out.stem}", len(clips), "clips")
    with tables.writer(args.out, schemas.SPECTROGRAM) as write:
        for clip in clips:
            name = clip["clip"]
            try:
                if name not in seconds:
                    raise ClipError(name, "the mask stage left it out")
                write(usable_row(args.raw, clip.get("sound", clip["file"]), name, seconds[name], mel, settings))
            except ClipError as error:
                write({"clip": name, "status": error.reason, "mel": [], "audio": b""})
                print(f"{error}; left out, the other clips go on", flush=True)
            progress.update(note=name)


if __name__ == "__main__":
    run(main)
