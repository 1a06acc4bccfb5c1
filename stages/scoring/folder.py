"""Scores of any folder of videos against a folder of the true ones: no corpus, no mask, no run.

Files are paired by their path below the two folders, without the suffix; a sub-folder is a speaker, whose clips are resampled
together. A pair must agree in frame rate, size and number of frames, and the true video must show a face. Nothing is padded
or stretched; ``cut`` scores the frames that both have, and the document says how many were cut.

What needs no mask is scored on whole frames. Eyes and mouth are followed by dlib on both videos, so that what is "requested" is
what dlib sees in the truth; small frames are enlarged for it (:mod:`stages.scoring.observer`). Where a folder of judges is given,
Fréchet distances are taken in them: they learnt one corpus's faces, in square frames, to which other frames are squeezed. Where
networks with public weights are asked for, there are FID and KID, FVD, LSE (of each video at 25 frames a second with its own
sound) and LPIPS, all of whole frames: LSE follows no face, as SyncNet's own program does. T frames.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages import media
from stages.base import places
from stages.base.errors import ClipError, InputError
from stages.base.params import Params
from stages.base.progress import Progress
from stages.faces.geometry import ear, mouth_opening
from stages.measures import likeness
from stages.measures.intervals import Score
from stages.measures.traces import TRACES, Seen
from stages.scoring import catalogue
from stages.scoring.catalogue import METRICS
from stages.scoring.measured import NO_NOISE_DB, Measured, eye_blinks
from stages.scoring.observer import Columns, Observer
from stages.scoring.scores import clip_scores, distance_scores, group_scores
from stages.store import atomic

Frames = NDArray[np.uint8]

SAME_RATE = 0.005  # share by which two frame rates may differ: 29.97 is not 30.1
# What a score is called here, by its name in a run's documents; the others need a mask, sound or another clip.
NAMES = {metric.name: metric.in_folder for metric in METRICS if metric.in_folder}
SYNCNET_FPS, SYNCNET_HZ = 25, 16_000
# Features that distances are taken in; a folder has no mask.
FEATURES = ("frame_features", "video_features", "inception_features", "fidelity_features", "i3d_features")


@dataclass(frozen=True)
class Scored:
    """A pair of videos, measured."""

    made: Measured
    truth: Measured  # with the truth's own blinks and detections
    cut: int  # frames that one of the two had more, and that were left out


def pair(videos: Path, truth: Path) -> dict[str, tuple[Path, Path]]:
    """Name → the video and the true one, in order of name.

    Raises:
        InputError: a folder is missing or empty, two files have one name, or a file has no partner.
    """
    made, true = _files(videos), _files(truth)
    for name in made.keys() - true.keys():
        raise InputError(made[name], f"no true video {name}.* in {truth}", "add it, or take this one out")
    for name in true.keys() - made.keys():
        raise InputError(true[name], f"no video {name}.* in {videos}", "add it, or take this one out")
    return {name: (made[name], true[name]) for name in sorted(made)}


def _files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "give a folder of videos")
    listed = places.below(folder)
    if listed.again:
        raise InputError(
            listed.again[0], "a link to a folder that is there already", "take it out, or put copies there"
        )
    found: dict[str, Path] = {}
    for path in listed.videos:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise InputError(path, f"another file of this name, {found[name].name}", "keep one of the two")
        found[name] = path
    if not found:
        endings = ", ".join(sorted(places.VIDEO_SUFFIXES))
        raise InputError(folder, f"no video in it ({endings})", "give a folder of videos")
    return found


def read(made: Path, true: Path, *, cut: bool) -> tuple[Frames, Frames, float, int]:
    """The frames of both videos, their frame rate, and how many frames were cut.

    Raises:
        InputError: a video can't be decoded, or the two differ in frame rate, size or, without ``cut``, number of frames.
    """
    rates = []
    decoded: list[Frames] = []
    for path in (made, true):
        try:
            rates.append(media.frame_rate(path))
            decoded.append(media.decode(path, fps=rates[-1]))
        except ClipError as error:
            raise InputError(path, error.reason, "give another file") from None
    if abs(rates[0] / rates[1] - 1) > SAME_RATE:
        raise InputError(made, f"{rates[0]:.6g} frames a second, {true} has {rates[1]:.6g}", "convert one of the two")
    sizes = [f"{x.shape[2]}x{x.shape[1]}" for x in decoded]
    if sizes[0] != sizes[1]:
        raise InputError(made, f"{sizes[0]} pixels, {true} has {sizes[1]}", "scale one of the two")
    counts = [len(x) for x in decoded]
    if counts[0] != counts[1] and not cut:
        raise InputError(
            made, f"{counts[0]} frames, {true} has {counts[1]}", "give --cut to score those that both have"
        )
    return decoded[0][: min(counts)], decoded[1][: min(counts)], rates[1], max(counts) - min(counts)


def measure(
    name: str,
    made: Path,
    true: Path,
    observer: Observer,
    settings: Params,
    *,
    cut: bool,
) -> Scored:
    """Measure one pair.

    Raises:
        InputError: see :func:`read`; or the true video shows no face; or SyncNet is asked for and a video has no sound.
    """
    frames, true_frames, fps, left_out = read(made, true, cut=cut)
    whole = np.ones(frames.shape[:3], bool)
    pair, alone = Seen(frames, true_frames, whole), Seen(true_frames, true_frames, whole)
    own = observer.see(alone)
    if not own["detected"].any():
        raise InputError(true, "dlib finds no face in any frame", "take the pair out, or give a larger picture")
    seen, compared = observer.see(pair), observer.compare(pair)
    eyes, true_eyes = (np.asarray(ear(x["landmarks"]).mean(1)) for x in (seen, own))
    mouth = np.asarray(mouth_opening(own["landmarks"]), np.float64)
    speaker = name.rpartition("/")[0] or name
    facts: dict[str, Any] = {"clip": name, "audio_clip": name, "split": "all", "speaker": speaker}
    facts |= {"sentence": "", "emotion": "", "level": "", **eye_blinks(eyes, seen["program_ear"], settings.blink)}
    true_blinks: dict[str, Any] = eye_blinks(true_eyes, own["program_ear"], settings.blink)
    found = Measured(
        **facts,
        frames=len(frames),
        fps=fps,
        made=_features(seen),
        truth=_features(own),
        public=_lse(observer, made) | _lpips(compared),
        sync=None,
        sync_other=None,
        sync_own=None,
        detected_T=seen["detected"],
        ear_T=eyes,
        ear_requested_T=true_eyes,
        mouth_T=np.asarray(mouth_opening(seen["landmarks"])),
        mouth_given=mouth,
        mouth_given_dlib=mouth,
        mouth_own=mouth,
        psnr_T=np.minimum(compared["psnr"], NO_NOISE_DB),
        ssim_T=compared["ssim"],
        traces={trace.name: (seen[trace.name], own[trace.name]) for trace in TRACES},
        likeness=likeness.landmark_distance(seen["landmarks"], own["landmarks"])
        | likeness.identity(seen["identity"], own["identity"]),
        leak={},
    )
    truth = replace(
        found,
        detected_T=own["detected"],
        ear_T=true_eyes,
        public=_lse(observer, true),
        **true_blinks,
    )
    return Scored(found, truth, left_out)


def _features(seen: Columns) -> dict[str, NDArray[np.float64]]:
    found = {name: seen[name].astype(np.float64) for name in FEATURES if name in seen}
    if "i3d_features" in found:
        found["i3d_first"] = found["i3d_features"][:1]
    return found


def _lpips(compared: Columns) -> dict[str, NDArray[np.float64]]:
    return {name: np.array([x.sum(), len(x)]) for name, x in compared.items() if name == "lpips"}


def _lse(observer: Observer, video: Path) -> dict[str, NDArray[np.float64]]:
    """LSE of a video at SyncNet's own rates, where that network was asked for: (Σ, count)."""
    if not observer.public or "syncnet" not in observer.public.networks:
        return {}
    try:
        sound = media.to_int16(media.decode_audio(video, SYNCNET_HZ))
        heard = observer.public.lse(media.decode(video, fps=SYNCNET_FPS), sound)
    except ClipError as error:
        raise InputError(video, error.reason, "give a video with sound, or leave out syncnet") from None
    values = (heard.confidence, heard.distance) if heard else (np.nan, np.nan)
    return {name: np.array([value, 1.0]) for name, value in zip(("lse_c", "lse_d"), values, strict=True)}


def document(found: Sequence[Scored], settings: Params) -> dict[str, Any]:
    """The scores of all pairs, each with its interval, and each pair's own."""
    made = [s.made for s in found]
    scores: dict[str, Score] = {
        NAMES[name]: value for name, value in group_scores(made, settings.metrics).items() if name in NAMES
    }
    true = group_scores([s.truth for s in found], settings.metrics)
    scores |= {f"{name}_truth": true[name] for name in (m.name for m in METRICS if m.of_truth) if name in true}
    scores |= distance_scores(made, settings.metrics)
    clips = {}
    for s in found:
        values = {NAMES[name]: value for name, value in clip_scores(s.made).items() if name in NAMES}
        clips[s.made.clip] = {"frames": s.made.frames, "cut": s.cut, **values}
    return {
        "families": catalogue.families(scores),
        "meanings": {name: catalogue.kind(name.removesuffix("_truth")).meaning for name in scores},
        "n_clips": len(found),
        "n_frames": sum(m.frames for m in made),
        "frames_cut": sum(s.cut for s in found),
        "without_a_face": [m.clip for m in made if not m.detected_T.any()],
        "scores": {name: {"all": score.json()} for name, score in scores.items()},
        "clips": clips,
    }


def score(
    videos: Path, truth: Path, judges: Path | None, out: Path | None, settings: Params, *, cut: bool = False
) -> None:
    """Score a folder and write the document to ``out``, or print it.

    Raises:
        InputError: see :func:`pair` and :func:`measure`; or weights are missing that ``metrics.public`` asks for.
    """
    found = pair(videos, truth)
    observer = Observer.of(settings, judges, None)
    progress = Progress("metrics", len(found), "videos")
    scored = []
    for name, (made, true) in found.items():
        scored.append(measure(name, made, true, observer, settings, cut=cut))
        progress.update(note=name)
    result = {"videos": str(videos), "truth": str(truth)} | document(scored, settings)
    if out is None:
        print(json.dumps(result, indent=1, sort_keys=True, allow_nan=False))
    else:
        atomic.write_json(out, result)
