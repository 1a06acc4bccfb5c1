"""The embedded corpus: a rendered speaker says the sentences; real media files with the truth of every frame beside them.

A speaker of ``corpus.rendered.long_speakers`` gives one long clip more, ``<speaker>_long``: the sentences that no other clip
says, in a drawn order, with pauses, for ``long_s`` seconds at least. It is rendered as it is written: memory grows with its
sound and its motion alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages import media
from stages.base.params import Rendered
from stages.base.progress import Progress
from stages.corpora.rendered import face, identity, motion, portrait, sentences, speech
from stages.store import schemas, tars

LONG = "long"  # stands for the sentence of a long clip
PAUSE_S = (0.0, 0.5)  # between its sentences, beside the silence at their ends
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
        timeline, times, blink_rate=settings.blink_rate, blink_variety=settings.blink_variety, effort=who.effort,
        amount=settings.motion, rng=identity.rng_of(settings.seed, "motion", who.name, sentence),
    )  # fmt: skip
    sound = speech.synthesise(
        timeline, who.voice, seconds, identity.rng_of(settings.seed, "speech", who.name, sentence)
    )
    return moves, times, sound


def perform_long(
    settings: Rendered, who: identity.Identity
) -> tuple[str, tuple[motion.Motion, np.ndarray, np.ndarray]]:
    """The long clip's text, and its motion, frame times and sound like :func:`perform`'s.

    Each sentence is spoken by itself, with its own melody; the head, the eyes and the lids move on through all of them.
    """
    rng = identity.rng_of(settings.seed, LONG, who.name)
    said: list[int] = []
    timelines: list[list[sentences.Segment]] = []
    starts: list[float] = []
    left: list[int] = []
    end = 0.0
    while end < settings.long_s:
        left = left or rng.permutation(np.arange(settings.sentences, len(sentences.SENTENCES))).tolist()
        said.append(left.pop())
        timelines.append(sentences.timeline(sentences.SENTENCES[said[-1]], who.voice.rate))
        starts.append(end + float(rng.uniform(*PAUSE_S)) if end else 0.0)
        end = starts[-1] + timelines[-1][-1].end
    times = frame_times(end, settings.fps)
    sound = np.zeros(round(len(times) / float(media.rate(settings.fps)) * speech.SAMPLE_RATE), np.float32)
    for turn, (start, timeline) in enumerate(zip(starts, timelines, strict=True)):
        own = speech.synthesise(
            timeline, who.voice, timeline[-1].end, identity.rng_of(settings.seed, "speech", who.name, LONG, str(turn))
        )
        part = sound[round(start * speech.SAMPLE_RATE) :][: len(own)]
        part += own[: len(part)]
    moves = motion.move(
        sentences.strung(timelines, starts), times, blink_rate=settings.blink_rate,
        blink_variety=settings.blink_variety, effort=who.effort, amount=settings.motion,
        rng=identity.rng_of(settings.seed, "motion", who.name, LONG),
    )  # fmt: skip
    return ". ".join(sentences.SENTENCES[number] for number in said), (moves, times, sound)


def performances(
    settings: Rendered, who: identity.Identity
) -> Iterator[tuple[str, str, tuple[motion.Motion, np.ndarray, np.ndarray]]]:
    """Each clip of a speaker, made only then: the sentence's name, its text, and what :func:`perform` gives."""
    for number in range(settings.sentences):
        yield sentences.sentence_name(number), sentences.SENTENCES[number], perform(settings, who, number)
    if settings.long_s > 0 and who.name in settings.long_speakers:
        yield LONG, *perform_long(settings, who)


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
    pq.write_table(pa.Table.from_pylist(rows, schema=schemas.TRUTH), buffer, compression="zstd")
    return buffer.getvalue()


def take(settings: Rendered, speaker: str, out: Path) -> None:
    """Render all clips of a speaker into the tar ``out``: clips.json, a media file a clip, truth.parquet."""
    cv2.setNumThreads(1)
    who = identity.draw(settings.seed, speaker)
    renderer = face.Renderer(portrait.paint(who, settings.width, settings.height), settings.width, settings.height)
    clips: list[dict[str, str]] = []
    files: list[tuple[str, Path]] = []
    truth = []
    progress = Progress(f"download {speaker}", settings.sentences + (speaker in settings.long_speakers), "clips")
    with tempfile.TemporaryDirectory() as folder:
        for sentence, text, (moves, times, sound) in performances(settings, who):
            clip = clip_name(speaker, sentence)
            path = Path(folder) / f"{clip}.mp4"
            media.write_video(
                path, renderer.frames(moves), fps=settings.fps, audio=sound, sample_rate=speech.SAMPLE_RATE,
                crf=settings.crf, preset=PRESET, lossless_sound=True,
            )  # fmt: skip
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            files.append((path.name, path))
            truth.append(truth_row(clip, moves, times))
            clips.append(
                {
                    "clip": clip, "file": path.name, "speaker": speaker, "sentence": sentence, "emotion": "", "level": "",
                    "source": "rendered", "sha256": sha256, "text": text,
                }
            )  # fmt: skip
            progress.update(note=clip)
        listing = (tars.CLIPS, (json.dumps(clips, indent=1) + "\n").encode())
        tars.write(out, [listing, *files, ("truth.parquet", truth_table(truth))])
