"""From measured videos to scores with intervals, for all test clips and for each test split. T frames, E embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.base import params
from stages.measures import correlation, drift, frechet, kernel, leak
from stages.measures.blinks import durations
from stages.measures.intervals import NOTHING, Score, bootstrap, bootstrap_median, mean_of
from stages.measures.sync import Sync
from stages.scoring.measured import Measured, Pair

Array = NDArray[np.float64]
Sums = Callable[["Measured"], Array]
Statistic = Callable[[Array], Array]


@dataclass(frozen=True)
class Distance:
    """A Fréchet distance: the column of its features, and N − ddof that their covariances are divided by."""

    column: str
    ddof: int = 1


# The corpus's own encoders; then networks with public weights, where metrics.public asks for them.
FRECHET = {
    "fd_frame": Distance("frame_features"),
    "fd_mask": Distance("mask_features"),
    "fd_video": Distance("video_features"),
    "fid": Distance("inception_features"),
    "fid_torch_fidelity": Distance("fidelity_features"),
    "fvd": Distance("i3d_features"),
    "fvd_stylegan_v": Distance("i3d_first", ddof=0),
}
KERNEL = {"kid": "inception_features", "kid_torch_fidelity": "fidelity_features"}


def _r(requested: Array, measured: Array) -> Array:
    return correlation.sums(requested, measured)


def _one(value: float | None) -> Array:
    return np.array([np.nan if value is None else value, 1.0])


def _confidence(found: Sync | None) -> Array:
    return _one(found.confidence if found else None)


def _mean(values: Array) -> Array:
    """(Σ, count) of what is finite; NaN where nothing is."""
    finite = np.isfinite(values)
    return np.array([values[finite].sum(), finite.sum()]) if finite.any() else np.full(2, np.nan)


def _ratio(pair: Pair) -> Array:
    """(Σ of the video, Σ of the truth)."""
    return np.array([np.nansum(pair[0]), np.nansum(pair[1])])


def _spread(requested_T: Array, measured_T: Array) -> Array:
    """(Σ of the squares, of the video, of what was asked for), each trace less its mean in the clip."""
    _, given, made = correlation.sums(requested_T, measured_T)
    return np.array([made, given])


def _amplitude(sums_RK: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(sums_RK[..., 0] / sums_RK[..., 1])


def _like(name: str) -> tuple[Sums, Statistic]:
    return (lambda m: _mean(m.likeness[name])), mean_of


# Each score's sums in one clip, and the statistic of the sums over clips.
SUMS: dict[str, tuple[Sums, Statistic]] = {
    "ear_r": (lambda m: _r(m.ear_requested_T, m.ear_T), correlation.pearson),
    "ear_mae": (lambda m: correlation.absolute_error(m.ear_requested_T, m.ear_T), mean_of),
    "mouth_r": (lambda m: _r(m.mouth_given, m.mouth_T), correlation.pearson),
    "mouth_r_dlib": (lambda m: _r(m.mouth_given_dlib, m.mouth_T), correlation.pearson),
    "mouth_r_own": (lambda m: _r(m.mouth_own, m.mouth_T), correlation.pearson),
    "sync_confidence": (lambda m: _confidence(m.sync), mean_of),
    "sync_distance": (lambda m: _one(m.sync.distance if m.sync else None), mean_of),
    "sync_in_time": (lambda m: _one(float(abs(m.sync.offset) <= 1) if m.sync else None), mean_of),
    "sync_confidence_other": (lambda m: _confidence(m.sync_other), mean_of),
    "sync_confidence_own": (lambda m: _confidence(m.sync_own), mean_of),
    "blinks_per_s": (lambda m: np.array([len(m.blinks), m.seconds]), mean_of),
    "blinks_per_s_robust": (lambda m: np.array([len(m.blinks_robust), m.seconds]), mean_of),
    "detection_rate": (lambda m: np.array([m.detected_T.sum(), len(m.detected_T)]), mean_of),
    "psnr_mask": (lambda m: np.array([m.psnr_T.sum(), len(m.psnr_T)]), mean_of),
    "ssim_mask": (lambda m: np.array([m.ssim_T.sum(), len(m.ssim_T)]), mean_of),
    "checkerboard": (lambda m: _ratio(m.grid), mean_of),
    "ghost_edge": (lambda m: _ratio(m.border), mean_of),
    "mouth_streaks": (lambda m: _ratio(m.mouth_ring), mean_of),
    "brow_ghosts": (lambda m: _ratio(m.brow_ring), mean_of),
    "lid_slits": (lambda m: _ratio(m.lid_light), mean_of),
    "mouth_amplitude": (lambda m: _spread(m.mouth_given_dlib, m.mouth_T), _amplitude),
    "f_mse": (lambda m: _mean(m.f_mse[0]), mean_of),
    "f_mse_ratio": (lambda m: _ratio(m.f_mse), mean_of),
    "ofm": (lambda m: _mean(m.ofm[0]), mean_of),
    "ofm_ratio": (lambda m: _ratio(m.ofm), mean_of),
    "warp_error": (lambda m: _mean(m.warp_error[0]), mean_of),
    "warp_error_ratio": (lambda m: _ratio(m.warp_error), mean_of),
    **{name: _like(name) for name in ("lmd", "lmd_mouth", "lmd_px", "lmd_mouth_px")},
    **{name: _like(name) for name in ("csim", "csim_reference", "same_person")},
}

# What is compared between a long clip's ends: its sums a frame, and the statistic of the sums over frames.
DRIFTS: dict[str, tuple[Sums, Statistic]] = {
    "psnr_drift": (lambda m: np.stack([m.psnr_T, np.ones_like(m.psnr_T)], -1), mean_of),
    "ssim_drift": (lambda m: np.stack([m.ssim_T, np.ones_like(m.ssim_T)], -1), mean_of),
    "mouth_r_drift": (lambda m: drift.moments(m.mouth_given, m.mouth_T), drift.correlation),
    "f_mse_ratio_drift": (lambda m: np.stack(m.f_mse, -1), mean_of),
}
LONG = "test_long"


def clip_scores(m: Measured) -> dict[str, float | None]:
    """The scores that one clip has by itself; None where undefined."""
    values = {name: float(statistic(sums(m))) for name, (sums, statistic) in _sums([m]).items()}
    values["sync_offset"] = float(m.sync.offset) if m.sync else np.nan
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def all_scores(
    measured: Sequence[Measured], splits: Sequence[str], settings: params.Metrics
) -> dict[str, dict[str, Score]]:
    """Every score over all clips and for each of ``splits``, with its interval."""
    found: dict[str, dict[str, Score]] = {}
    for split in ("all", *splits):
        chosen = [m for m in measured if split in ("all", m.split)]
        scores = group_scores(chosen, settings) | (distance_scores(chosen, settings) if chosen else {})
        for name, score in scores.items():
            found.setdefault(name, {})[split] = score
    return found


def group_scores(chosen: Sequence[Measured], settings: params.Metrics) -> dict[str, Score]:
    """The scores of some clips that add up over clips: all but the Fréchet distances."""
    how = _how(settings)
    speakers = [m.speaker for m in chosen]
    found: dict[str, Score] = {}
    for name, (sums, statistic) in _sums(chosen).items():
        rows = [sums(m) for m in chosen]
        found[name] = bootstrap(rows, statistic, speakers=speakers, **how) if rows else NOTHING
    for name in ("blinks", "blinks_robust"):
        lengths = [durations(getattr(m, name), m.fps) for m in chosen]
        suffix = name.removeprefix("blinks")
        found[f"blink_duration_s{suffix}"] = bootstrap_median(lengths, speakers=speakers, **how)
    return found


def _sums(chosen: Sequence[Measured]) -> dict[str, tuple[Sums, Statistic]]:
    """SUMS, and the scores by networks with public weights where the clips have them."""
    public = chosen[0].public if chosen else {}
    return SUMS | {name: ((lambda m, name=name: m.public[name]), mean_of) for name in public}


def distance_scores(chosen: Sequence[Measured], settings: params.Metrics) -> dict[str, Score]:
    """The distances in the features that the clips have: Fréchet, plain, at n → ∞ and what the truth differs by from itself; and
    kernel distances."""
    how, found = settings.confidence, {}
    for name, distance in FRECHET.items():
        if distance.column not in chosen[0].made:
            continue
        made, truth, own = _features(chosen, distance.column)
        ddof = distance.ddof
        plain, limit = frechet.with_intervals(made, truth, speakers=own, confidence=how, ddof=ddof)
        found[name], found[f"{name}_extrapolated"] = plain, limit
        found[f"{name}_floor"] = frechet.halves(truth, speakers=own, confidence=how, ddof=ddof)
        found[f"{name}_speakers"] = frechet.between_groups(truth, own, confidence=how, seed=settings.seed, ddof=ddof)
    for name, column in KERNEL.items():
        if column in chosen[0].made:
            made, truth, own = _features(chosen, column)
            found[name] = kernel.with_interval(made, truth, speakers=own, confidence=how)
    return found


def _features(chosen: Sequence[Measured], column: str) -> tuple[list[Array], list[Array], list[str]]:
    """Features of videos and of their truth, and the speakers; clips that are too short to have any are left out."""
    usable = [m for m in chosen if len(m.made[column]) and len(m.truth[column])]
    return [m.made[column] for m in usable], [m.truth[column] for m in usable], [m.speaker for m in usable]


def leak_scores(
    measured: Sequence[Measured], splits: Sequence[str], settings: params.Metrics
) -> dict[str, dict[str, Score]]:
    """R² of the mouth's opening read from mask, visible pixels and head's place: fitted on training, scored on test clips."""
    found: dict[str, dict[str, Score]] = {}
    for name in ("leak", "leak_within"):
        opening = [m.leak[name][0] for m in measured]
        if name == "leak_within":
            opening = leak.centred(opening)
        rows = [leak.sums(y, m.leak[name][1]) for y, m in zip(opening, measured, strict=True)]
        for split in ("all", *splits):
            chosen = [i for i, m in enumerate(measured) if split in ("all", m.split)]
            speakers = [measured[i].speaker for i in chosen]
            score = (
                bootstrap([rows[i] for i in chosen], leak.r2, speakers=speakers, **_how(settings))
                if chosen
                else NOTHING
            )
            found.setdefault(name.replace("leak", "leak_r2"), {})[split] = score
    return found


def drift_scores(
    measured: Sequence[Measured], splits: Sequence[str], settings: params.Metrics
) -> dict[str, dict[str, Score]]:
    """The last ``drift_s`` seconds of the long clips less the first; empty where none is twice as long as that."""
    how = _how(settings)
    found: dict[str, dict[str, Score]] = {}
    for name, (sums, statistic) in DRIFTS.items():
        cut = [_ends(sums(m), settings.drift_s, m.fps) for m in measured if m.split == LONG]
        score = drift.drift([ends for ends in cut if ends], statistic, **how)
        if score.n:
            found[name] = {split: score if split in ("all", LONG) else NOTHING for split in ("all", *splits)}
    return found


def _ends(sums_TK: Array, seconds: float, fps: float) -> drift.Ends | None:
    """Blocks of a second, or of a fifth of the window where that is shorter."""
    window = round(seconds * fps)
    return drift.ends(sums_TK, window=window, block=max(min(round(fps), window // 5), 1))


def _how(settings: params.Metrics) -> dict[str, Any]:
    return {"resamples": settings.bootstrap, "confidence": settings.confidence, "seed": settings.seed}
