"""Drawing and saving of figures: one quiet style, the same bytes each time, colours for light and dark pages."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from stages.store.atomic import whole_file

Picture = NDArray[np.uint8]

INK, FAINT = "#2b2a27", "#8a877f"
LABEL = "#7d7a72"  # of text in pictures: readable on white and on black
# Okabe and Ito's colours, told apart by people who see few colours, and readable on white and on black.
COLOURS = {"truth": "#8a877f", "main": "#0f7fbf", "no_blink": "#d98200", "no_mask": "#c2527f", "other_audio": "#0a9b74"}
SPARE = ("#7a68c4", "#b35a2d", "#4a8f3c")

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "hifidiff",
    "figure.dpi": 160,
}


def colour(part: str, position: int = 0) -> str:
    """The colour of a row's part in the report (``Results.part``); for other rows one of the spare ones, by position."""
    return COLOURS.get(part) or SPARE[position % len(SPARE)]


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings for the figures inside the block; nothing of the user's own."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.use("agg")
        mpl.rcParams.update(STYLE)  # type: ignore[arg-type]
        yield


def bounded(path: Path, largest: int) -> None:
    """Make a picture's file no larger than so many bytes, by fewer pixels: skin and hair of people compress less than drawn."""
    while (size := path.stat().st_size) > largest:
        with Image.open(path) as whole:
            share = min(0.95, 0.98 * (largest / size) ** 0.5)
            smaller = whole.resize((round(whole.width * share), round(whole.height * share)), Image.Resampling.LANCZOS)
        with whole_file(path) as part:
            smaller.save(part, format="PNG", optimize=True)


def save(figure: Figure, path: Path) -> None:
    """Write a chart as PNG (on white) and as SVG beside it (transparent, for the page)."""
    with whole_file(path.with_suffix(".png")) as part:
        figure.savefig(part, format="png", metadata={"Software": None}, facecolor="white")
    with whole_file(path.with_suffix(".svg")) as part:
        figure.savefig(part, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)


def save_picture(picture: Picture, path: Path) -> None:
    """Write an RGB or RGBA picture as PNG."""
    with whole_file(path) as part:
        Image.fromarray(picture).save(part, format="PNG", optimize=True)


def inline_svg(path: Path, title: str) -> str:
    """A chart's SVG for embedding: its ink follows the page's colour, its width the column's; ``title`` is read aloud."""
    text = path.read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    width, height = (float(x) for x in re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups())  # type: ignore
    head = (
        f'<svg role="img" aria-label="{title}" viewBox="0 0 {width:g} {height:g}" xmlns="http://www.w3.org/2000/svg" '
    )
    body = text[text.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = body.replace(INK, "currentColor").replace("'DejaVu Sans'", "var(--sans)")
    prefix = path.stem  # identifiers are unique on the page, not only in the file
    body = re.sub(r'(id="|xlink:href="#|url\(#)', rf"\g<1>{prefix}-", body)
    return head + f'xmlns:xlink="http://www.w3.org/1999/xlink" style="min-width:{min(width, 420):g}px">' + body


def data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def inline_picture(picture: Image.Image, quality: int = 80) -> str:
    """A picture as a WebP data URI: a fifth of a PNG's size for photographs."""
    out = io.BytesIO()
    picture.save(out, format="WEBP", quality=quality, method=4)
    return data_uri(out.getvalue(), "image/webp")


def text_image(text: str, width: int, height: int, *, size: int = 13, align: str = "left", ink: str = LABEL) -> Picture:
    """A line of text on nothing, (height, width, 4) RGBA."""
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    face = font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans"))
    anchor, x = {"left": ("lm", 0), "centre": ("mm", width // 2)}[align]
    ImageDraw.Draw(image).text((x, height // 2), text, fill=ink, font=ImageFont.truetype(face, size), anchor=anchor)
    return np.asarray(image)


def sheet(rows: list[tuple[str, list[Picture]]], heads: list[str], *, gap: int = 4) -> Picture:
    """Rows of equal RGB pictures, a label above each row and a head above each column; RGBA, transparent between them."""
    height, width = rows[0][1][0].shape[:2]
    columns = max(len(pictures) for _, pictures in rows)
    line = 22
    parts = []
    if heads:
        parts.append(_row([text_image(head, width, line, size=12, align="centre") for head in heads], columns, gap))
    for name, pictures in rows:
        whole = columns * (width + gap) - gap
        if name:
            parts.append(text_image(name, whole, line))
        opaque = [np.dstack([picture, np.full((height, width), 255, np.uint8)]) for picture in pictures]
        parts += [_row(opaque, columns, gap), np.zeros((gap, whole, 4), np.uint8)]
    return np.concatenate(parts[:-1])


def _row(pictures: list[Picture], columns: int, gap: int) -> Picture:
    """RGBA pictures of one size beside each other, on the width of ``columns``."""
    height, width = pictures[0].shape[:2]
    canvas = np.zeros((height, columns * (width + gap) - gap, 4), np.uint8)
    for position, picture in enumerate(pictures):
        x = position * (width + gap)
        canvas[:, x : x + width] = picture
    return canvas
