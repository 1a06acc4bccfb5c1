"""The embedded corpus: a rendered speaker says the sentences; real media files with the truth of every frame beside them."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages import media, tables
from stages.download import face, identity, motion, portrait, sentences, speech
from stages.params import Rendered
from stages.progress import Progress

PRESET = "veryfast"  # of x264: a third of medium's time, at crf 18 no visible difference on these pictures


def clip_name(speaker: str, sentence: str) -> str:
    """Such as ``ada_s01``."""
    return f"{speaker}_{sentence}"


def frame_times(seconds: float, fps: float) -> np.ndarray:
    """Timestamps of the source frames, seconds: n·1001/30000 for 29.97 fps."""
    step = 1 / float(media.rate(fps))
    return np.arange(int(np.ceil(seconds / step - 1e-9))) * step


def perform(settings: Rendered, who: identity.Identity, number: int) -> tuple[motion.Motion, np.ndarray, np.ndarray]:
    """Motion, frame times (s) and sound (48 kHz, [-1, 1]) of a speaker's sentence; as long as the last frame's end."""
    sentence = sentences.sentence_name(number)
    timeline = sentences.timeline(sentences.SENTENCES[number], who.voice.rate)
    times = frame_times(timeline[-1].end, settings.fps)
    seconds = len(times) / float(media.rate(settings.fps))
    moves = motion.move(
        timeline, times, blink_rate=settings.blink_rate, effort=who.effort, amount=settings.motion,
        rng=identity.rng_of(settings.seed, "motion", who.name, sentence),
    )  # fmt: skip
    sound = speech.synthesise(
        timeline, who.voice, seconds, identity.rng_of(settings.seed, "speech", who.name, sentence)
    )
    return moves, times, sound


def truth_row(clip: str, moves: motion.Motion, times: np.ndarray) -> dict[str, Any]:
    """The clip's row in truth.parquet."""
    return {
        "clip": clip,
        "time_s": times,
        "mouth_open": moves.mouth_open.astype(np.float32),
        "jaw_open": moves.jaw_open.astype(np.float32),
        "eyelid_left": moves.eyelid_T2[:, 0].astype(np.float32),
        "eyelid_right": moves.eyelid_T2[:, 1].astype(np.float32),
        "yaw": moves.yaw.astype(np.float32),
        "pitch": moves.pitch.astype(np.float32),
        "roll": moves.roll.astype(np.float32),
    }


def truth_table(rows: list[dict[str, Any]]) -> bytes:
    """The rows as a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=tables.TRUTH), buffer, compression="zstd")
    return buffer.getvalue()


def take(settings: Rendered, speaker: str, out: Path) -> None:
    """Render all clips of a speaker into the tar ``out``: clips.json, a media file a clip, truth.parquet."""
    cv2.setNumThreads(1)
    who = identity.draw(settings.seed, speaker)
    renderer = face.Renderer(portrait.paint(who, settings.width, settings.height), settings.width, settings.height)
    clips, files, truth = [], [], []
    progress = Progress(f"download {speaker}", settings.sentences, "clips")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(settings.sentences):
            sentence = sentences.sentence_name(number)
            clip = clip_name(speaker, sentence)
            moves, times, sound = perform(settings, who, number)
            path = Path(folder) / f"{clip}.mp4"
            media.write_video(
                path, renderer.frames(moves), fps=settings.fps, audio=sound, sample_rate=speech.SAMPLE_RATE,
                crf=settings.crf, preset=PRESET,
            )  # fmt: skip
            data = path.read_bytes()
            files.append((path.name, data))
            truth.append(truth_row(clip, moves, times))
            clips.append(
                {
                    "clip": clip, "file": path.name, "speaker": speaker, "sentence": sentence, "emotion": "", "level": "",
                    "source": "rendered", "sha256": hashlib.sha256(data).hexdigest(), "text": sentences.SENTENCES[number],
                }
            )  # fmt: skip
            progress.update(note=clip)
    listing = (media.CLIPS, (json.dumps(clips, indent=1) + "\n").encode())
    media.write_tar(out, [listing, *files, ("truth.parquet", truth_table(truth))])
