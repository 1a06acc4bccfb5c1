"""Short videos side by side: the truth and each setting, enlarged, labelled, with the clip's sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages import media
from stages.reporting import drawing
from stages.reporting.figures import enlarge
from stages.reporting.results import Method, Results
from stages.store.atomic import whole_file

PANEL, LABEL, GAP = 200, 24, 8  # pixels
CRF = 30
QUALITY = 60  # of WebP
DARK, LIGHT = (28, 28, 26), "#e7e4dc"


def side_by_side(results: Results, clip: str, path: Path) -> None:
    """Write the truth, the full model and the other settings of a clip as one MP4, two or three panels in a row."""
    shown = sorted(
        [results.methods["truth"], *results.settings()], key=lambda m: (m.name != "truth", m is not results.main)
    )
    made = _panels(results, clip, shown, across=2 if len(shown) <= 4 else 3)
    settings = results.params
    rate = settings.spectrogram.sample_rate
    audio = media.decode_audio(results.sampled("truth", clip), rate)
    audio = audio[: round(len(made) / settings.mask.fps * rate)]
    media.write_video(path, made, fps=settings.mask.fps, audio=audio, sample_rate=rate, crf=CRF, preset="slow")


def moving(results: Results, clip: str, path: Path) -> None:
    """Write the truth and the full model as an animated WebP without sound, which a code host plays by itself."""
    frames = [
        Image.fromarray(frame) for frame in _panels(results, clip, [results.methods["truth"], results.main], across=2)
    ]
    with whole_file(path) as part:
        frames[0].save(
            part,
            format="WEBP",
            save_all=True,
            append_images=frames[1:],
            duration=round(1000 / results.params.mask.fps),
            loop=0,
            quality=QUALITY,
            method=4,
        )


def _panels(results: Results, clip: str, shown: list[Method], *, across: int) -> list[NDArray[np.uint8]]:
    """Frames of a clip as some rows have them, enlarged, titled, ``across`` panels in a line; as many as all have."""
    clips = [results.frames(m.name, clip) for m in shown]
    corners = [(p // across * (LABEL + PANEL + GAP), p % across * (PANEL + GAP)) for p in range(len(shown))]
    canvas = np.empty((corners[-1][0] + LABEL + PANEL, across * (PANEL + GAP) - GAP, 3), np.uint8)
    canvas[:] = DARK
    for (y, x), method in zip(corners, shown, strict=True):
        text = drawing.text_image(method.entry.title, PANEL, LABEL, align="centre", ink=LIGHT)
        opacity = text[..., 3:] / 255
        canvas[y : y + LABEL, x : x + PANEL] = (text[..., :3] * opacity + DARK * (1 - opacity)).round()
    made = []
    for number in range(min(len(frames) for frames in clips)):
        for (y, x), frames in zip(corners, clips, strict=True):
            canvas[y + LABEL : y + LABEL + PANEL, x : x + PANEL] = enlarge(frames[number], PANEL)
        made.append(canvas.copy())
    return made
