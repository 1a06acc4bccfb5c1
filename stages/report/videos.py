"""Short videos side by side: the truth and each setting, enlarged, labelled, with the clip's sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages import media
from stages.report import drawing
from stages.report.figures import enlarge
from stages.report.results import Results

PANEL, LABEL, GAP = 144, 22, 6  # pixels
CRF = 29


def side_by_side(results: Results, clip: str, path: Path) -> None:
    """Write truth | full | … of a clip as one MP4."""
    shown = [results.methods["truth"], *results.settings()]
    full_first = sorted(shown, key=lambda m: (m.name != "truth", m.name != "full"))
    clips = [results.frames(m.name, clip) for m in full_first]
    width = -(-(len(shown) * (PANEL + GAP) - GAP) // 2) * 2
    frame = np.full((LABEL + PANEL, width, 3), 255, np.uint8)
    for position, method in enumerate(full_first):
        x = position * (PANEL + GAP)
        frame[:LABEL, x : x + PANEL] = drawing.text_image(method.entry.title, PANEL, LABEL, size=11, align="centre")
    made = []
    for number in range(min(len(frames) for frames in clips)):
        for position, frames in enumerate(clips):
            x = position * (PANEL + GAP)
            frame[LABEL:, x : x + PANEL] = enlarge(frames[number], PANEL)
        made.append(frame.copy())
    settings = results.params
    rate = settings.spectrogram.sample_rate
    audio = media.decode_audio(results.sampled("truth", clip), rate)
    audio = audio[: round(len(made) / settings.mask.fps * rate)]
    media.write_video(path, made, fps=settings.mask.fps, audio=audio, sample_rate=rate, crf=CRF, preset="slow")
