"""Stage blink: measures the eye aspect ratio of both eyes on every frame of a shard's clips, and finds the blinks in it.

python -m stages.blink --faces data/demo/faces/ada.parquet --out data/demo/blink/ada.parquet
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.base import params
from stages.base.errors import run
from stages.base.progress import Progress
from stages.faces.geometry import ear
from stages.measures.blinks import eye_levels, find_blinks, open_ear
from stages.store import schemas, tables


def clip_landmarks(faces: Path) -> dict[str, NDArray[np.float32]]:
    """Each clip's landmarks, (T, 68, 2), its segments joined; (0, 68, 2) where the mask stage left it out."""
    table = tables.read(faces, schemas.FACES, ["clip", "segment", "landmarks"])
    parts: dict[str, list[NDArray[np.float32]]] = {}
    for row in table.sort_by([("segment", "ascending")]).to_pylist():
        parts.setdefault(row["clip"], []).append(np.asarray(row["landmarks"], np.float32).reshape(-1, 68, 2))
    order = dict.fromkeys(table["clip"].to_pylist())
    return {clip: np.concatenate(parts[clip]) for clip in order}


def blink_row(clip: str, landmarks_TL2: NDArray[np.float32], settings: params.Blink) -> dict[str, Any]:
    """The clip's row; lists are empty and ``open_ear`` is 0 where it has no frames."""
    ear_T2 = ear(landmarks_TL2).astype(np.float32)
    mean_T = ear_T2.mean(-1)
    blinks = find_blinks(mean_T, **settings.model_dump())
    return {
        "clip": clip,
        "ear_left": ear_T2[:, 0],
        "ear_right": ear_T2[:, 1],
        "open_ear": open_ear(mean_T, settings.open_percentile),
        "blink_start": [start for start, _ in blinks],
        "blink_end": [end for _, end in blinks],
    }


def with_levels(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A speaker's rows, each with the EAR of the speaker's shut and open eyes."""
    open_ears = [row["open_ear"] for row in rows if len(row["ear_left"])]
    least = [
        float((row["ear_left"] + row["ear_right"])[start:end].min() / 2)
        for row in rows
        for start, end in zip(row["blink_start"], row["blink_end"], strict=True)
    ]
    shut, is_open = eye_levels(open_ears, least)
    return [row | {"speaker_open": is_open, "speaker_shut": shut} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measure both eyes' aspect ratio in every clip of a shard and find the blinks."
    )
    parser.add_argument("--faces", type=Path, required=True, help="Parquet file of the mask stage")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--params", default=params.PARAMS_FILE, help="section blink")
    args = parser.parse_args()
    settings = params.load(args.params).blink
    clips = clip_landmarks(args.faces)
    progress = Progress(f"blink {args.out.stem}", len(clips), "clips")
    rows = []
    for clip, landmarks in clips.items():
        rows.append(blink_row(clip, landmarks, settings))
        progress.update(note=clip)
    with tables.writer(args.out, schemas.BLINK) as write:
        for row in with_levels(rows):
            write(row)


if __name__ == "__main__":
    run(main)
