"""From measured videos to scores with intervals, for all test clips and for each test split. T frames, E embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages import params
from stages.geometry import mouth_opening
from stages.measures import artefacts, correlation, drift, frechet, image, smoothness
from stages.measures.blinks import Blink, dinoman_blinks, durations, find_blinks
from stages.measures.intervals import NOTHING, Score, bootstrap, bootstrap_median, mean_of
from stages.measures.sync import Sync
from stages.metrics.features import Distances
from stages.metrics.videos import Face, Video

Array = NDArray[np.float64]
Pair = tuple[Array, Array]  # the same of the video, and of the true frames
Sums = Callable[["Measured"], Array]


@dataclass(frozen=True)
class Measured:
    """A video and everything that was measured on it."""

    video: Video
    face: Face
    made: Distances
    truth: Distances
    sync: Sync | None  # with the audio that was given
    sync_other: Sync | None  # with another clip's audio, which was not given
    sync_own: Sync | None  # with the clip's own audio, where another's was given
    psnr_T: Array
    ssim_T: Array
    grid: tuple[float, float]  # energy of the 2-pixel grid: made, true
    border: tuple[float, float]  # gradient on the mask's border: made, true
    f_mse: Pair  # of each pair of neighbouring frames, (T − 1,)
    ofm: Pair
    warp_error: Pair
    blinks: list[Blink]
    blinks_robust: list[Blink]
    fps: float

    @property
    def seconds(self) -> float:
        return len(self.video.frames_THWC) / self.fps


def image_scores(video: Video) -> dict[str, object]:
    """The fields of :class:`Measured` that compare pictures with the truth."""
    masks = np.asarray(video.clip.masks_THW)
    pair = (video.frames_THWC, np.asarray(video.clip.frames_THWC))
    true_flow = smoothness.flows(pair[1], backward=True)
    return {
        "psnr_T": image.psnr(*pair, masks),
        "ssim_T": image.ssim(*pair, masks),
        "grid": tuple(artefacts.grid_energy(frames, masks) for frames in pair),
        "border": tuple(artefacts.border_gradient(frames, masks) for frames in pair),
        "f_mse": tuple(smoothness.f_mse(frames, masks) for frames in pair),
        "ofm": tuple(smoothness.ofm(frames, masks) for frames in pair),
        "warp_error": tuple(smoothness.warp_error(frames, true_flow, masks) for frames in pair),
    }


def eye_blinks(face: Face, settings: params.Blink) -> dict[str, list[Blink]]:
    """Blinks on the measured trace; frames without a face are interpolated for DinoMan's detector."""
    trace = face.ear_T
    known = np.flatnonzero(np.isfinite(trace))
    filled = np.interp(np.arange(len(trace)), known, trace[known]) if len(known) else np.zeros(0)
    robust = find_blinks(trace, **settings.model_dump()) if len(known) else []
    return {"blinks": dinoman_blinks(filled), "blinks_robust": robust}


def _r(m: Measured, requested: Array | NDArray[np.float32]) -> Array:
    return correlation.sums(requested, m.face.mouth_T)


def _ear(m: Measured) -> Array:
    return np.asarray(m.video.clip.ear_T2, np.float64).mean(1)


def _one(value: float | None) -> Array:
    return np.array([np.nan if value is None else value, 1.0])


def _confidence(found: Sync | None) -> Array:
    return _one(found.confidence if found else None)


def _mean(pair: Pair) -> Array:
    """(Σ, count) of the video's values; pairs of frames without a mask are left out."""
    return np.array([np.nansum(pair[0]), np.isfinite(pair[0]).sum()])


def _ratio(pair: Pair) -> Array:
    """(Σ of the video, Σ of the truth)."""
    return np.array([np.nansum(pair[0]), np.nansum(pair[1])])


# Each score's sums in one clip, and the statistic of the sums over clips.
SUMS: dict[str, tuple[Sums, Callable[[Array], Array]]] = {
    "ear_r": (lambda m: correlation.sums(_ear(m), m.face.ear_T), correlation.pearson),
    "ear_mae": (lambda m: correlation.absolute_error(_ear(m), m.face.ear_T), mean_of),
    "mouth_r": (lambda m: _r(m, m.video.mouth_given), correlation.pearson),
    "mouth_r_dlib": (lambda m: _r(m, mouth_opening(m.video.sound.landmarks_TL2)), correlation.pearson),
    "mouth_r_own": (lambda m: _r(m, m.video.mouth_own), correlation.pearson),
    "sync_confidence": (lambda m: _confidence(m.sync), mean_of),
    "sync_distance": (lambda m: _one(m.sync.distance if m.sync else None), mean_of),
    "sync_in_time": (lambda m: _one(float(abs(m.sync.offset) <= 1) if m.sync else None), mean_of),
    "sync_confidence_other": (lambda m: _confidence(m.sync_other), mean_of),
    "sync_confidence_own": (lambda m: _confidence(m.sync_own), mean_of),
    "blinks_per_s": (lambda m: np.array([len(m.blinks), m.seconds]), mean_of),
    "blinks_per_s_robust": (lambda m: np.array([len(m.blinks_robust), m.seconds]), mean_of),
    "detection_rate": (lambda m: np.array([m.face.detected_T.sum(), len(m.face.detected_T)]), mean_of),
    "psnr_mask": (lambda m: np.array([m.psnr_T.sum(), len(m.psnr_T)]), mean_of),
    "ssim_mask": (lambda m: np.array([m.ssim_T.sum(), len(m.ssim_T)]), mean_of),
    "checkerboard": (lambda m: np.array(m.grid), mean_of),
    "ghost_edge": (lambda m: np.array(m.border), mean_of),
    "f_mse": (lambda m: _mean(m.f_mse), mean_of),
    "f_mse_ratio": (lambda m: _ratio(m.f_mse), mean_of),
    "ofm": (lambda m: _mean(m.ofm), mean_of),
    "ofm_ratio": (lambda m: _ratio(m.ofm), mean_of),
    "warp_error": (lambda m: _mean(m.warp_error), mean_of),
    "warp_error_ratio": (lambda m: _ratio(m.warp_error), mean_of),
}

# What is compared between a long clip's ends: its sums a frame, and the statistic of the sums over frames.
DRIFTS: dict[str, tuple[Sums, Callable[[Array], Array]]] = {
    "psnr_drift": (lambda m: np.stack([m.psnr_T, np.ones_like(m.psnr_T)], -1), mean_of),
    "ssim_drift": (lambda m: np.stack([m.ssim_T, np.ones_like(m.ssim_T)], -1), mean_of),
    "mouth_r_drift": (lambda m: drift.moments(m.video.mouth_given, m.face.mouth_T), drift.correlation),
    "f_mse_ratio_drift": (lambda m: np.stack(m.f_mse, -1), mean_of),
}
LONG = "test_long"


def clip_scores(m: Measured) -> dict[str, float | None]:
    """The scores that one clip has by itself; None where undefined."""
    values = {name: float(statistic(sums(m))) for name, (sums, statistic) in SUMS.items()}
    values["sync_offset"] = float(m.sync.offset) if m.sync else np.nan
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def all_scores(
    measured: Sequence[Measured], splits: Sequence[str], settings: params.Metrics
) -> dict[str, dict[str, Score]]:
    """Every score over all clips and for each of ``splits``, with its interval."""
    found: dict[str, dict[str, Score]] = {}
    for split in ("all", *splits):
        chosen = [m for m in measured if split in ("all", m.video.split)]
        for name, score in _scores(chosen, settings).items():
            found.setdefault(name, {})[split] = score
    return found


def _scores(chosen: Sequence[Measured], settings: params.Metrics) -> dict[str, Score]:
    how: Any = {"resamples": settings.bootstrap, "confidence": settings.confidence, "seed": settings.seed}
    speakers = [m.video.speaker for m in chosen]
    found: dict[str, Score] = {}
    for name, (sums, statistic) in SUMS.items():
        rows = [sums(m) for m in chosen]
        found[name] = bootstrap(rows, statistic, speakers=speakers, **how) if rows else NOTHING
    for name in ("blinks", "blinks_robust"):
        lengths = [durations(getattr(m, name), m.fps) for m in chosen]
        suffix = name.removeprefix("blinks")
        found[f"blink_duration_s{suffix}"] = bootstrap_median(lengths, speakers=speakers, **how)
    for name, attribute in (("fd_frame", "frame_TE"), ("fd_mask", "mask_TE"), ("fd_video", "video_NE")):
        made, truth = ([getattr(x, attribute) for x in side] for side in _both(chosen))
        found[name] = frechet.with_interval(made, truth, confidence=settings.confidence)
        found[f"{name}_extrapolated"] = frechet.with_interval(
            made, truth, confidence=settings.confidence, extrapolate=True
        )
        found[f"{name}_floor"] = frechet.halves(truth)
        found[f"{name}_speakers"] = frechet.between_groups(
            truth, speakers, confidence=settings.confidence, seed=settings.seed
        )
    return found


def drift_scores(
    measured: Sequence[Measured], splits: Sequence[str], settings: params.Metrics
) -> dict[str, dict[str, Score]]:
    """The last ``drift_s`` seconds of the long clips less the first; empty where none is twice as long as that."""
    how: Any = {"resamples": settings.bootstrap, "confidence": settings.confidence, "seed": settings.seed}
    found: dict[str, dict[str, Score]] = {}
    for name, (sums, statistic) in DRIFTS.items():
        cut = [_ends(sums(m), settings.drift_s, m.fps) for m in measured if m.video.split == LONG]
        score = drift.drift([ends for ends in cut if ends], statistic, **how)
        if score.n:
            found[name] = {split: score if split in ("all", LONG) else NOTHING for split in ("all", *splits)}
    return found


def _ends(sums_TK: Array, seconds: float, fps: float) -> drift.Ends | None:
    """Blocks of a second, or of a fifth of the window where that is shorter."""
    window = round(seconds * fps)
    return drift.ends(sums_TK, window=window, block=max(min(round(fps), window // 5), 1))


def _both(chosen: Sequence[Measured]) -> tuple[list[Distances], list[Distances]]:
    return [m.made for m in chosen], [m.truth for m in chosen]
