"""The measurements on a method's videos, read from ``features/<method>.parquet`` and ``reference.parquet``.

T frames, N windows, K frames with a descriptor, E embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.base import params
from stages.base.errors import InputError
from stages.faces.geometry import ear, mouth_opening
from stages.measures import likeness
from stages.measures.blinks import Blink, dinoman_blinks, find_blinks
from stages.measures.sync import Sync, sync
from stages.measures.traces import TRACES, Trace
from stages.scoring import columns
from stages.store import tables

Array = NDArray[np.float64]
Pair = tuple[Array, Array]  # the same of the video, and of the true frames
Row = Mapping[str, Any]

WINDOW, STRIDE = 8, 4  # frames of a window of the video encoder, and between two starts
DISTANCES = ("frame_features", "mask_features", "video_features")
I3D_VALUES, SYNCNET_VALUES = 400, 1024
CLIP, CLIP_STRIDE = 16, 16  # frames of one of I3D's clips, and between two starts
# Columns that each network with public weights fills, in both tables and in the features alone.
PUBLIC = {
    "inception": (("inception_features", "fidelity_features"), ()),
    "i3d": (("i3d_features",), ()),
    "syncnet": ((), ("syncnet_pictures",)),  # and syncnet_sound in the reference alone
    "vgg16": ((), ("lpips", "lpips_mask")),
}
NO_NOISE_DB = 100.0  # PSNR that equal frames count as: they have no noise, and no mean would be finite
AGAIN = "delete it and run 'snakemake --cores all'"


@dataclass(frozen=True)
class Measured:
    """Everything that was measured on one video."""

    clip: str
    audio_clip: str  # the clip whose audio was given
    split: str
    speaker: str
    sentence: str
    emotion: str
    level: str
    frames: int
    fps: float
    made: dict[
        str, Array
    ]  # features for distances, (T, E) and (N, E), by column; those of public networks where asked for
    truth: dict[str, Array]
    public: dict[str, Array]  # scores by networks with public weights: (Σ, count), by name; empty unless asked for
    sync: Sync | None  # with the audio that was given
    sync_other: Sync | None  # with another clip's audio, which was not given
    sync_own: Sync | None  # with the clip's own audio, where another's was given
    detected_T: NDArray[np.bool_]
    ear_T: Array  # mean of both eyes, NaN where dlib finds no face
    ear_requested_T: Array
    mouth_T: Array
    mouth_given: Array  # opening of the clip whose audio was given: the rendered truth where there is one, else dlib's
    mouth_given_dlib: Array  # the same by dlib
    mouth_own: Array
    blinks: list[Blink]
    blinks_robust: list[Blink]
    blinks_program: list[Blink]  # by DinoMan's detector on DinoMan's own EAR
    psnr_T: Array
    ssim_T: Array
    traces: dict[str, Pair]  # of measures.traces; (T,), or (T − 1,) of neighbouring frames
    likeness: dict[str, Array]  # of measures.likeness
    leak: dict[str, Pair]  # the true opening, and as it is read without the mouth; (T,)

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


def read(data: Path, method: str, settings: params.Params) -> list[Measured]:
    """All videos of a method, in order of clip.

    Raises:
        InputError: a table is missing, of another version, or the two don't belong together.
    """
    path, where = data / "features" / f"{method}.parquet", data / "reference.parquet"
    made = tables.read(path, columns.FEATURES).drop_columns(["picture"]).to_pandas().to_dict("records")
    true = {row["clip"]: row for row in tables.read(where, columns.REFERENCE).to_pandas().to_dict("records")}
    for row in made:
        _check(path, row, true, settings.metrics.public)
    found = []
    for number, row in enumerate(made):
        found.append(_measured(row, true, another(made, true, number), settings))
    return found


def pictures(data: Path, method: str) -> dict[str, bytes]:
    """The PNGs that the features hold, by clip."""
    table = tables.read(data / "features" / f"{method}.parquet", columns.FEATURES, ["clip", "picture"])
    return {row["clip"]: row["picture"] for row in table.to_pylist() if row["picture"]}


def _check(path: Path, row: Row, true: Mapping[str, Row], public: Sequence[str]) -> None:
    for name in (row["clip"], row["audio_clip"]):
        if name not in true:
            raise InputError(path, f"{name} is not in reference.parquet", AGAIN)
    if row["encoders"] != true[row["clip"]]["encoders"]:
        raise InputError(path, "measured by other encoders than reference.parquet", AGAIN)
    if row["frames"] > true[row["clip"]]["frames"]:
        raise InputError(path, f"{row['clip']} has more frames than in reference.parquet", AGAIN)
    for network in public:
        shared, own = PUBLIC[network]
        for where, given in ((row, (*shared, *own)), (true[row["clip"]], shared)):
            if any(where[name] is None for name in given):
                raise InputError(
                    path, f"{row['clip']} was measured without {network}, which metrics.public names", AGAIN
                )


def _measured(row: Row, true: Mapping[str, Row], stranger: Row | None, settings: params.Params) -> Measured:
    count = int(row["frames"])
    own, given = true[row["clip"]], true[row["audio_clip"]]
    windows = max((count - WINDOW) // STRIDE + 1, 0)
    counts = {"frame_features": count, "mask_features": count, "video_features": windows}
    points, true_points = _rows(row, "landmarks", count), _rows(own, "landmarks", own["frames"])
    eyes = np.asarray(ear(points.reshape(-1, 68, 2)).mean(1))
    described = [_array(x, "identity").reshape(-1, 128) for x in (row, own)]
    mouths = _embeddings(row, "mouth_embeddings")

    def heard(clip: Row | None) -> Sync | None:
        return sync(mouths, _embeddings(clip, "sound_embeddings")[: max(count - 4, 0)]) if clip else None

    def pair(trace: Trace) -> Pair:
        return _array(row, trace.name), _array(own, trace.name)[: count - trace.fewer]

    facts: dict[str, Any] = {
        name: str(own[name]) for name in ("clip", "split", "speaker", "sentence", "emotion", "level")
    }
    facts |= eye_blinks(eyes, _array(row, "program_ear"), settings.blink)
    return Measured(
        **facts,
        audio_clip=str(row["audio_clip"]),
        frames=count,
        fps=settings.mask.fps,
        made={name: _rows(row, name, counts[name]) for name in DISTANCES} | public_features(row, count, settings),
        truth={name: _rows(own, name)[: counts[name]] for name in DISTANCES} | public_features(own, count, settings),
        public=_public_scores(row, given, settings.metrics.public),
        sync=heard(given),
        sync_other=heard(stranger),
        sync_own=heard(own) if row["audio_clip"] != row["clip"] else None,
        detected_T=np.asarray(row["detected"], bool),
        ear_T=eyes,
        ear_requested_T=_array(own, "ear")[:count],
        mouth_T=np.asarray(mouth_opening(points.reshape(-1, 68, 2))),
        mouth_given=_array(given, "mouth"),
        mouth_given_dlib=_array(given, "mouth_dlib"),
        mouth_own=_array(own, "mouth")[:count],
        psnr_T=np.minimum(_array(row, "psnr"), NO_NOISE_DB),
        ssim_T=_array(row, "ssim"),
        traces={trace.name: pair(trace) for trace in TRACES},
        likeness=likeness.landmark_distance(points.reshape(-1, 68, 2), true_points.reshape(-1, 68, 2))
        | likeness.identity(*described),
        leak={name: (_array(own, "mouth_dlib"), _array(own, name)) for name in ("leak", "leak_within")},
    )


def public_features(row: Row, frames: int, settings: params.Params) -> dict[str, Array]:
    """Features of the first frames by the networks with public weights, as far as they are asked for."""
    found = {}
    if "inception" in settings.metrics.public:
        for name in ("inception_features", "fidelity_features"):
            found[name] = _array(row, name).reshape(int(row["frames"]), -1)[:frames]
    if "i3d" in settings.metrics.public:
        clips = _array(row, "i3d_features").reshape(-1, I3D_VALUES)[: max((frames - CLIP) // CLIP_STRIDE + 1, 0)]
        found |= {"i3d_features": clips, "i3d_first": clips[:1]}
    return found


def _public_scores(row: Row, given: Row, public: Sequence[str]) -> dict[str, Array]:
    found: dict[str, Array] = {}
    if "syncnet" in public:
        pictures, sound = (_array(r, name).reshape(-1, SYNCNET_VALUES)
                           for r, name in ((row, "syncnet_pictures"), (given, "syncnet_sound")))  # fmt: skip
        heard = sync(pictures, sound, pad=True)
        values = (heard.confidence, heard.distance) if heard else (np.nan, np.nan)
        found |= {name: np.array([value, 1.0]) for name, value in zip(("lse_c", "lse_d"), values, strict=True)}
    if "vgg16" in public:
        found |= {name: np.array([_array(row, name).sum(), len(row[name])]) for name in ("lpips", "lpips_mask")}
    return found


def eye_blinks(trace_T: Array, program_T: Array, settings: params.Blink) -> dict[str, list[Blink]]:
    """Blinks on the measured trace, where frames without a face are interpolated for DinoMan's detector; and on its own EAR."""
    known = np.flatnonzero(np.isfinite(trace_T))
    filled = np.interp(np.arange(len(trace_T)), known, trace_T[known]) if len(known) else np.zeros(0)
    robust = find_blinks(trace_T, **settings.model_dump()) if len(known) else []
    return {"blinks": dinoman_blinks(filled), "blinks_robust": robust, "blinks_program": dinoman_blinks(program_T)}


def another(made: Sequence[Row], true: Mapping[str, Row], number: int) -> Row | None:
    """A test clip whose audio was not given to video ``number``: the next of another speaker and sentence; None if none is."""
    own = true[made[number]["clip"]]
    for step in range(1, len(made)):
        clip = true[made[(number + step) % len(made)]["clip"]]
        apart = clip["speaker"] != own["speaker"] and clip["sentence"] != own["sentence"]
        if apart and clip["clip"] != made[number]["audio_clip"]:
            return clip
    return None


def _array(row: Row, name: str) -> Array:
    return np.asarray(row[name], np.float64)


def _rows(row: Row, name: str, count: int | None = None) -> Array:
    """A list column as (count, E); the rows of the reference's features follow from its number of frames."""
    if count is None:
        frames = int(row["frames"])
        count = max((frames - WINDOW) // STRIDE + 1, 0) if name == "video_features" else frames
    values = _array(row, name)
    return values.reshape(count, -1) if count else values.reshape(0, 1)


def _embeddings(row: Row, name: str) -> Array:
    return _rows(row, name, max(int(row["frames"]) - 4, 0))
