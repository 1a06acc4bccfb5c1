"""A page with what was found in the media of the run in ``params.yaml``, to look at before anything is trained.

make look

It runs the data stages, whose results training needs anyway, and writes ``look_out/<run>/index.html``: of each speaker some clips
with faces, masks, blinks and mouth; all clips that are left out, with the reason.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import simplejpeg
from numpy.typing import NDArray

from stages.base import params
from stages.base.errors import InputError, run, shown
from stages.base.params import PARAMS_FILE, Params
from stages.clips import corpus
from stages.clips.clip import Clip
from stages.faces.geometry import clip_masks, mouth_opening
from stages.reporting import rendering
from stages.store import schemas, tables
from stages.store.atomic import whole_file

PLACE = "pictures"  # beside the page
SIDE = 128  # pixels of a picture
CLIPS, PICTURES = 4, 6  # of a speaker, at most, and of a clip
MOST = 200  # clips on the page, unless there are more speakers
WIDTH, HEIGHT = 300, 64  # of a trace
WIDE = 1.25  # the clip's mask over a frame's own, above which a clip's head moves much
FOUND = 0.98  # of the frames that show the face, below which it is said


@dataclass(frozen=True)
class Card:
    """A clip as the page shows it."""

    name: str
    split: str
    facts: str
    warnings: list[str]
    trace: str  # SVG


def pictures(clip: Clip) -> NDArray[np.uint8]:
    """Some frames side by side, (SIDE, n·SIDE, 3): the mask's edge and the landmarks drawn in.

    Spread over the clip, with the frame whose eyes are shut most and the one whose mouth is widest among them.
    """
    count = len(clip.frames_THWC)
    chosen = {int(np.argmin(clip.ear_T2.mean(1))), int(np.argmax(mouth_opening(clip.landmarks_TL2)))}
    for frame in np.linspace(0, count - 1, PICTURES).round().astype(int).tolist():
        if len(chosen) < min(PICTURES, count):
            chosen.add(frame)
    return np.concatenate([_drawn(clip, frame) for frame in sorted(chosen)], 1)


def _drawn(clip: Clip, frame: int) -> NDArray[np.uint8]:
    picture = np.ascontiguousarray(clip.frames_THWC[frame])
    edges, _ = cv2.findContours(clip.masks_THW[frame].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, edges, -1, (90, 220, 120), 1)
    for x, y in clip.landmarks_TL2[frame].round().astype(int).tolist():
        cv2.circle(picture, (x, y), 1, (255, 210, 60), -1)
    return picture


def trace(clip: Clip) -> str:
    """The eyes' aspect ratio above, the mouth's opening below, blinks shaded: an SVG."""
    count = len(clip.frames_THWC)

    def across(frame: float) -> float:
        return WIDTH * frame / max(count - 1, 1)

    def path(values_T: NDArray[np.floating], top: float, bottom: float) -> str:
        most = max(float(values_T.max()), 1e-6)
        points = [f"{across(t):.1f},{bottom - (bottom - top) * float(v) / most:.1f}" for t, v in enumerate(values_T)]
        return "M" + " L".join(points)

    shades = "".join(
        f'<rect class="blink" x="{across(start - 0.5):.1f}" y="0" width="{across(end - start):.1f}" height="{HEIGHT / 2}"/>'
        for start, end in clip.blinks
    )
    eyes, mouth = (
        path(clip.ear_T2.mean(1), 2, HEIGHT / 2 - 2),
        path(mouth_opening(clip.landmarks_TL2), HEIGHT / 2 + 2, HEIGHT - 2),
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="eyes and mouth of {clip.name}">{shades}'
        f'<path class="eyes" d="{eyes}"/><path class="mouth" d="{mouth}"/></svg>'
    )


def spread(clip: Clip, dilation: float) -> float:
    """The area of the clip's mask over that of a frame's alone, the mean of some frames: how much the head's motion adds."""
    frames = np.linspace(0, len(clip.frames_THWC) - 1, 5).round().astype(int).tolist()
    side = clip.frames_THWC.shape[1]
    alone = [clip_masks(clip.landmarks_TL2[t : t + 1], side, dilation)[0].sum() for t in frames]
    return float(np.mean([clip.masks_THW[t].sum() / max(area, 1) for t, area in zip(frames, alone, strict=True)]))


def card(clip: Clip, row: pd.Series, settings: Params, side: int, found: float, out: Path) -> Card:
    """A clip's card, its pictures in ``out``.

    ``side`` is that of its square in the source, pixels, ``found`` the share of its frames with a face.
    """
    wide = spread(clip, settings.mask.dilation)
    warnings = []
    if wide > WIDE:
        warnings.append(f"the head moves much: the mask is {wide:.2f} times a frame’s own")
    if found < FOUND:
        warnings.append(f"the face is found in {found:.0%} of the frames, in others between")
    if side < settings.network.size:
        warnings.append(f"the face’s square is {side} pixels, less than the network’s {settings.network.size}")
    jpeg = simplejpeg.encode_jpeg(pictures(clip), quality=85, colorsubsampling="444")
    (out / f"{clip.name}.jpg").write_bytes(jpeg)
    blinks = f"{len(clip.blinks)} blink{'' if len(clip.blinks) == 1 else 's'}"
    return Card(
        name=clip.name,
        split=str(row["split"]).replace("_", " "),
        facts=f"{came_from(row)}, {blinks}, a square of {side} pixels",
        warnings=warnings,
        trace=trace(clip),
    )


def came_from(row: pd.Series) -> str:
    """The file of a clip, a row of the index, and its place there."""
    place = f", {row['start_s']:.1f} to {row['end_s']:.1f} s" if row["end_s"] else ""
    return f"{shown(str(row['source']))}{place}"


def cards(rows: pd.DataFrame, count: int, settings: Params, out: Path) -> Iterator[Card]:
    """The cards of ``count`` of a speaker's clips, spread over all that are usable; their pictures go to ``out``."""
    data = settings.data
    for number in sorted({round(place) for place in np.linspace(0, len(rows) - 1, count)}):
        row = rows.iloc[number]
        clip = corpus.load(data, row["shard"], row["clip"], size=SIDE, dilation=settings.mask.dilation, stream=True)
        _, _, side = corpus.crop(data, row["shard"], row["clip"])
        yield card(clip, row, settings, side, share_found(data / "faces" / f"{row['shard']}.parquet", row["clip"]), out)


def share_found(faces: Path, clip: str) -> float:
    """The share of a clip's frames in which a face was found."""
    rows = tables.read_rows(faces, tables.places(faces, schemas.FACES)[clip], ["detected"])
    return float(np.concatenate([np.asarray(part, bool) for part in rows["detected"].to_pylist()]).mean())


def write(settings: Params, out: Path) -> Path:
    """Write the page of a run whose data stages have been made, and its pictures, into ``out``, and give the page's path.

    Raises:
        InputError: they have not.
    """
    data = settings.data
    if not (data / "index.parquet").exists():
        raise InputError(data / "index.parquet", "no such file", "run 'make look', which makes it")
    index = corpus.index(data)
    usable, left_out = (index[(index["status"] == "ok") == ok] for ok in (True, False))
    groups = [(str(name), rows) for name, rows in usable.groupby("speaker", sort=True)]
    each = max(1, min(CLIPS, MOST // max(len(groups), 1)))
    shutil.rmtree(out / PLACE, ignore_errors=True)
    (out / PLACE).mkdir(parents=True)
    fps = settings.mask.fps
    speakers = [
        (
            name,
            len(rows),
            rows["frames"].sum() / fps,
            rows["blinks"].sum(),
            list(cards(rows, each, settings, out / PLACE)),
        )
        for name, rows in groups
    ]
    splits = usable.groupby("split")["frames"].agg(["size", "sum"])
    templates = rendering.environment().overlay(autoescape=True)
    text = templates.from_string(Path(__file__).with_name("look.html.j2").read_text(encoding="utf-8")).render(
        run=settings.run,
        place=PLACE,
        speakers=speakers,
        splits=[(str(name).replace("_", " "), int(row["size"]), row["sum"] / fps) for name, row in splits.iterrows()],
        left_out=[(row["speaker"], row["clip"], came_from(row), row["status"]) for _, row in left_out.iterrows()],
        clips=len(index),
        seconds=usable["frames"].sum() / fps,
        blinks=int(usable["blinks"].sum()),
    )
    target = out / "index.html"
    with whole_file(target) as part:
        part.write_text(text, encoding="utf-8")
    return target


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default=PARAMS_FILE)
    parser.add_argument("--out", type=Path, default=Path("look_out"), help="folder (default: %(default)s)")
    args = parser.parse_args(argv)
    settings = params.load(args.params)
    print(f"look at {write(settings, args.out / settings.run)}")


if __name__ == "__main__":
    run(main)
