"""Stage spectrogram: the speech of every clip of a shard, 16 kHz on the video's time base, and its mel spectrogram.

The audio is trimmed, or padded with silence, to the length of the clip's frames.

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

from stages import media, params, tables
from stages.errors import ClipError, run
from stages.progress import Progress

# Wav2Lip's hparams: ref_level_db 20, min_level_db -100, symmetric normalisation to [-4, 4].
REFERENCE_DB, RANGE_DB, LIMIT, FLOOR = 20.0, 100.0, 4.0, 1e-5


class Mel:
    """Mel spectrogram of speech, equal to Wav2Lip's ``audio.melspectrogram`` within 1e-4."""

    def __init__(self, settings: params.Spectrogram) -> None:
        from torchaudio.transforms import MelSpectrogram

        self.preemphasis = settings.preemphasis
        self.transform = MelSpectrogram(
            sample_rate=settings.sample_rate,
            n_fft=settings.n_fft,
            win_length=settings.n_fft,
            hop_length=settings.hop,
            f_min=settings.f_min,
            f_max=settings.f_max,
            n_mels=settings.n_mels,
            power=1.0,
            center=True,
            pad_mode="reflect",
            norm="slaney",
            mel_scale="slaney",
        )

    def __call__(self, audio_N: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mono audio in [-1, 1], (N,) → (S, M) in [-4, 4], step s centred on sample s·hop.

        Pre-emphasis y[n] = x[n] − preemphasis·x[n−1]; magnitude STFT; Slaney mel; 20·log10 − 20 dB, of which 100 dB are
        spread over [-4, 4].
        """
        emphasised = audio_N.astype(np.float32).copy()
        emphasised[1:] -= self.preemphasis * audio_N[:-1]
        with torch.inference_mode():
            mel_MS = self.transform(torch.from_numpy(emphasised)).numpy()
        decibels = 20 * np.log10(np.maximum(mel_MS, FLOOR)) - REFERENCE_DB
        scaled = 2 * LIMIT * (decibels + RANGE_DB) / RANGE_DB - LIMIT
        return np.ascontiguousarray(np.clip(scaled, -LIMIT, LIMIT).T, np.float32)


def fit(audio_N: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """Trim, or pad with silence, to a number of samples."""
    return np.pad(audio_N[:samples], (0, max(samples - len(audio_N), 0)))


def lengths(faces: Path) -> dict[str, float]:
    """Seconds of each clip that the mask stage could use."""
    table = tables.read(faces, tables.FACES, ["clip", "status", "fps", "detected"])
    seconds: dict[str, float] = {}
    for row in table.to_pylist():
        if row["status"] == "ok":
            seconds[row["clip"]] = seconds.get(row["clip"], 0.0) + len(row["detected"]) / row["fps"]
    return seconds


def usable_row(
    raw: Path, file: str, clip: str, seconds: float, mel: Mel, settings: params.Spectrogram
) -> dict[str, Any]:
    """The row of a clip of this length; raises ClipError where it has no usable audio."""
    with media.tar_member(raw, file) as source:
        audio = media.decode_audio(source, settings.sample_rate, clip=clip)
    if not np.any(audio):
        raise ClipError(clip, "the audio is silent throughout")
    audio = fit(audio, round(seconds * settings.sample_rate))
    if len(audio) <= settings.n_fft // 2:
        raise ClipError(clip, f"{len(audio)} audio samples are too short for a window of {settings.n_fft}")
    return {"clip": clip, "status": "ok", "mel": mel(audio).ravel(), "audio": media.to_int16(audio).tobytes()}


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
    seconds, mel, clips = lengths(args.faces), Mel(settings), media.tar_json(args.raw)
    progress = Progress(f"spectrogram {args.out.stem}", len(clips), "clips")
    with tables.writer(args.out, tables.SPECTROGRAM) as write:
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
