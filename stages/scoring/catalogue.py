"""The metrics, a record each: how a score is made of what was measured, named and printed, and where it stands.

A metric more is a line in :data:`METRICS`; what it needs of a video, where nothing that is there serves, a line in
:data:`stages.measures.traces.TRACES`. Tables, headings, columns of files and scores of folders follow from these. T frames.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.measures import correlation, drift
from stages.measures.intervals import mean_of
from stages.measures.sync import Sync

if TYPE_CHECKING:
    from stages.measures.blinks import Blink
    from stages.scoring.measured import Measured, Pair

Array = NDArray[np.float64]
Sums = Callable[["Measured"], Array]  # of one clip
Statistic = Callable[[Array], Array]  # of the clips' sums

DASH = "–"
CORPUS, PUBLIC = "corpus encoder", "public weights"  # families of networks behind scores; never under one name


class Score(Protocol):
    """A value and its interval; None where undefined."""

    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


@dataclass(frozen=True)
class Frechet:
    """A Fréchet distance: the features that it is of, and N − ddof that their covariances are divided by."""

    features: str
    ddof: int = 1


@dataclass(frozen=True)
class Kernel:
    """An unbiased kernel distance, and the features that it is of."""

    features: str


@dataclass(frozen=True)
class Metric:
    """A score. It is made of one thing: sums of each clip, a distance, durations, or what drifts in long clips.

    A metric without any of these is made otherwise, and is here for its name.
    """

    name: str
    title: str
    better: str  # "↑", "↓", or "" where neither
    digits: int
    meaning: str  # in one sentence
    sums: Sums | None = None  # of a clip, of which ``statistic`` makes the score
    statistic: Statistic = mean_of
    distance: Frechet | Kernel | None = None
    durations: Callable[[Measured], list[Blink]] | None = None  # whose median it is
    drift: tuple[Sums, Statistic] | None = None  # sums of each frame, (T, K), compared between a long clip's ends
    family: str = ""  # of networks behind it
    stands_for: str = ""  # the public score that a corpus encoder's is shown in place of
    in_folder: str = ""  # its name in the scores of a folder of videos; empty where that lacks what it needs
    of_truth: bool = False  # in such scores it is given of the true videos as well

    @property
    def heading(self) -> str:
        return f"{self.title}\u00a0{self.better}".strip()


def _r(requested_T: Array, measured_T: Array) -> Array:
    return correlation.sums(requested_T, measured_T)


def _one(value: float | None) -> Array:
    return np.array([np.nan if value is None else value, 1.0])


def _confidence(found: Sync | None) -> Array:
    return _one(found.confidence if found else None)


def _total(values_T: NDArray[Any]) -> Array:
    """(Σ, count); NaN where a frame has no value."""
    return np.array([values_T.sum(), len(values_T)], np.float64)


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


def _each(values_T: Array) -> Array:
    """(value, 1) of each frame."""
    return np.stack([values_T, np.ones_like(values_T)], -1)


METRICS = (
    Metric("fvd", "FVD", "↓", 1,
           "Fréchet distance of I3D’s logits, Laughing-Matters’ convention: clips of 16 frames, one every 16; whole "
           "frames, resized to 224×224 and taken to [−1, 1] by the detector; covariance ÷ (N − 1). Its README evaluates by "
           "num_frames=16 step=16; the paper’s is of Diffused Heads’ choice, which is this",
           distance=Frechet("i3d_features"), family=PUBLIC),
    Metric("fvd_stylegan_v", "FVD, StyleGAN-V", "↓", 1,
           "the same by StyleGAN-V’s convention: one clip a video, its first 16 frames; covariance ÷ N",
           distance=Frechet("i3d_first", ddof=0), family=PUBLIC),
    Metric("fid_torch_fidelity", "FID, torch-fidelity (nearest to the paper’s)", "↓", 2,
           "Fréchet distance of Inception’s pool3 features, torch-fidelity’s convention: frames in [0, 255], TensorFlow "
           "1’s bilinear to 299×299, (x − 128) / 128. The paper follows Diffused Heads, whose evaluation is "
           "Laughing-Matters’, which pins torch-fidelity 0.3.0 and no pytorch-fid",
           distance=Frechet("fidelity_features"), family=PUBLIC),
    Metric("fid", "FID, pytorch-fid", "↓", 2,
           "the same by pytorch-fid’s convention: frames in [0, 1], bilinear to 299×299 at pixels’ centres, no "
           "antialiasing, 2x − 1",
           distance=Frechet("inception_features"), family=PUBLIC),
    Metric("kid", "KID, pytorch-fid", "↓", 4,
           "unbiased kernel distance of pytorch-fid’s features, kernel (x·y / 2048 + 1)³, of all frames at once",
           distance=Kernel("inception_features"), family=PUBLIC),
    Metric("kid_torch_fidelity", "KID, torch-fidelity", "↓", 4,
           "the same of torch-fidelity’s features",
           distance=Kernel("fidelity_features"), family=PUBLIC),
    Metric("lse_c", "LSE-C", "↑", 2,
           "SyncNet v2’s confidence, whole frames, Wav2Lip’s route: median minus least distance over 31 shifts. No face is "
           "tracked and cut out, as SyncNet’s own program does: frames have to be of a face already",
           sums=lambda m: m.public["lse_c"], family=PUBLIC, in_folder="lse_c", of_truth=True),
    Metric("lse_d", "LSE-D", "↓", 2,
           "least of those distances",
           sums=lambda m: m.public["lse_d"], family=PUBLIC, in_folder="lse_d", of_truth=True),
    Metric("lpips", "LPIPS", "↓", 4,
           "learned perceptual distance (VGG-16, v0.1) to the true frames, whole frames",
           sums=lambda m: m.public["lpips"], family=PUBLIC, in_folder="lpips"),
    Metric("lpips_mask", "LPIPS in mask", "↓", 4,
           "the same inside the face mask",
           sums=lambda m: m.public["lpips_mask"], family=PUBLIC),
    Metric("fd_video", "FD, corpus encoder (video)", "↓", 2,
           "Fréchet distance of windows of 8 frames in the corpus’s video encoder (FVD’s form)",
           distance=Frechet("video_features"), family=CORPUS, stands_for="fvd"),
    Metric("fd_frame", "FD, corpus encoder (frame)", "↓", 2,
           "Fréchet distance of frames in the corpus’s frame encoder (FID’s form)",
           distance=Frechet("frame_features"), family=CORPUS, stands_for="fid_torch_fidelity"),
    Metric("fd_mask", "FD, corpus encoder (in mask)", "↓", 2,
           "the same, of the hull of the face alone",
           distance=Frechet("mask_features"), family=CORPUS),
    Metric("sync_confidence", "sync confidence, corpus judge", "↑", 2,
           "median minus least distance over shifts, by the corpus’s sync judge (LSE-C’s form)",
           sums=lambda m: _confidence(m.sync), family=CORPUS, stands_for="lse_c"),
    Metric("sync_distance", "sync distance, corpus judge", "↓", 2,
           "least distance over shifts, by the same judge (LSE-D’s form)",
           sums=lambda m: _one(m.sync.distance if m.sync else None), family=CORPUS, stands_for="lse_d"),
    Metric("sync_in_time", "in time, corpus judge", "↑", 2,
           "share of clips whose best shift is at most one frame",
           sums=lambda m: _one(float(abs(m.sync.offset) <= 1) if m.sync else None), family=CORPUS),
    Metric("sync_confidence_other", "sync confidence, corpus judge, another’s audio", "", 2,
           "of the same videos with audio that was not given",
           sums=lambda m: _confidence(m.sync_other), family=CORPUS),
    Metric("sync_confidence_own", "sync confidence, corpus judge, own audio", "", 2,
           "with the clip’s own audio, where another’s was given",
           sums=lambda m: _confidence(m.sync_own), family=CORPUS),
    Metric("ear_r", "eyelid r", "↑", 3,
           "correlation of the requested and the measured eye aspect ratio",
           sums=lambda m: _r(m.ear_requested_T, m.ear_T), statistic=correlation.pearson, in_folder="ear_r"),
    Metric("ear_mae", "eyelid error", "↓", 3,
           "mean absolute error of the eye aspect ratio",
           sums=lambda m: correlation.absolute_error(m.ear_requested_T, m.ear_T), in_folder="ear_mae"),
    Metric("mouth_r", "mouth r", "↑", 3,
           "correlation of the mouth opening with that of the clip whose audio was given",
           sums=lambda m: _r(m.mouth_given, m.mouth_T), statistic=correlation.pearson),
    Metric("mouth_amplitude", "mouth amplitude", "", 2,
           "deviation of the mouth opening within clips, over that by dlib of the clip whose audio was given",
           sums=lambda m: _spread(m.mouth_given_dlib, m.mouth_T), statistic=_amplitude),
    Metric("mouth_r_dlib", "mouth r, by dlib", "↑", 3,
           "the same against dlib’s landmarks of that clip’s true video",
           sums=lambda m: _r(m.mouth_given_dlib, m.mouth_T), statistic=correlation.pearson, in_folder="mouth_r_dlib"),
    Metric("mouth_r_own", "mouth r, own clip", "", 3,
           "correlation with the clip’s own true opening, whatever audio was given",
           sums=lambda m: _r(m.mouth_own, m.mouth_T), statistic=correlation.pearson),
    Metric("blinks_per_s", "blinks/s", "", 2,
           "by the detector that the paper’s numbers come from, DinoMan’s, on landmarks of a steady box to a fraction of a "
           "pixel",
           sums=lambda m: np.array([len(m.blinks), m.seconds]), in_folder="blinks_per_s", of_truth=True),
    Metric("blink_duration_s", "blink duration (s)", "", 2,
           "median, by the same detector",
           durations=lambda m: m.blinks, in_folder="blink_duration_s", of_truth=True),
    Metric("blinks_per_s_program", "blinks/s, DinoMan’s EAR", "", 2,
           "by DinoMan’s program as a whole, whose landmarks are those of one box a frame in whole pixels: nearest to the "
           "paper’s column, and to its noise",
           sums=lambda m: np.array([len(m.blinks_program), m.seconds]), in_folder="blinks_per_s_program", of_truth=True),
    Metric("blink_duration_s_program", "blink duration (s), DinoMan’s EAR", "", 2,
           "median, by the same program",
           durations=lambda m: m.blinks_program, in_folder="blink_duration_s_program", of_truth=True),
    Metric("blinks_per_s_robust", "blinks/s, robust", "", 2,
           "valleys of the eye aspect ratio below a share of the clip’s open eyes’",
           sums=lambda m: np.array([len(m.blinks_robust), m.seconds]), in_folder="blinks_per_s_robust", of_truth=True),
    Metric("blink_duration_s_robust", "blink duration (s), robust", "", 2,
           "median, by the same detector",
           durations=lambda m: m.blinks_robust, in_folder="blink_duration_s_robust", of_truth=True),
    Metric("detection_rate", "faces found", "↑", 3,
           "share of frames in which dlib finds a face",
           sums=lambda m: _total(m.detected_T), in_folder="detection_rate", of_truth=True),
    Metric("psnr_mask", "PSNR in mask (dB)", "↑", 2,
           "peak signal-to-noise ratio to the true frames inside the mask",
           sums=lambda m: _total(m.psnr_T), in_folder="psnr"),
    Metric("ssim_mask", "SSIM in mask", "↑", 3,
           "structural similarity to the true frames inside the mask, of luma, Gaussian window of 11 pixels, σ 1.5",
           sums=lambda m: _total(m.ssim_T), in_folder="ssim"),
    Metric("lmd", "landmark distance", "↓", 3,
           "mean distance of dlib’s 68 points to the true frame’s, over the eyes’ (LMD)",
           sums=lambda m: _mean(m.likeness["lmd"]), in_folder="lmd"),
    Metric("lmd_mouth", "mouth landmark distance", "↓", 3,
           "the same of the mouth’s 20 points",
           sums=lambda m: _mean(m.likeness["lmd_mouth"]), in_folder="lmd_mouth"),
    Metric("lmd_px", "landmark distance (px)", "↓", 2,
           "that of all 68 points, in pixels of the video",
           sums=lambda m: _mean(m.likeness["lmd_px"]), in_folder="lmd_px"),
    Metric("lmd_mouth_px", "mouth landmark distance (px)", "↓", 2,
           "that of the mouth, in pixels",
           sums=lambda m: _mean(m.likeness["lmd_mouth_px"]), in_folder="lmd_mouth_px"),
    Metric("csim", "identity", "↑", 3,
           "cosine of dlib’s face descriptors to the true frame’s, every tenth frame (CSIM’s form)",
           sums=lambda m: _mean(m.likeness["csim"]), in_folder="csim"),
    Metric("csim_reference", "identity, reference", "↑", 3,
           "the same to the clip’s first frame, which the generator is shown",
           sums=lambda m: _mean(m.likeness["csim_reference"]), in_folder="csim_reference"),
    Metric("same_person", "same person", "↑", 3,
           "share of those frames whose descriptor is at most 0.6 away, dlib’s threshold",
           sums=lambda m: _mean(m.likeness["same_person"]), in_folder="same_person"),
    Metric("psnr", "PSNR (dB)", "↑", 2,
           "peak signal-to-noise ratio to the true frames, whole frames"),
    Metric("ssim", "SSIM, luma, Gaussian 11, border included", "↑", 3,
           "structural similarity to the true frames, whole frames: of luma (BT.601), Gaussian window of 11 pixels, σ 1.5; the "
           "mean of all pixels, the five at the border, whose windows are mirrored, among them"),
    Metric("checkerboard", "checkerboard", "", 3,
           "energy of the 2-pixel grid inside the mask, over that of the true frames",
           sums=lambda m: _ratio(m.traces["grid"])),
    Metric("ghost_edge", "ghost edge", "", 3,
           "gradient on the mask’s border, over that of the true frames",
           sums=lambda m: _ratio(m.traces["border"])),
    Metric("mouth_streaks", "streaks beside the mouth", "", 2,
           "energy of luma’s gradient in a ring about the mouth, over that of the true frames: more is streaks or a "
           "smeared mouth, less is blur",
           sums=lambda m: _ratio(m.traces["mouth_ring"])),
    Metric("brow_ghosts", "ghosts of brows", "", 2,
           "the same about the brows",
           sums=lambda m: _ratio(m.traces["brow_ring"])),
    Metric("lid_slits", "slits in closed lids", "", 2,
           "luma of the brightest twentieth of shut lids, over the true frames’",
           sums=lambda m: _ratio(m.traces["lid_light"])),
    Metric("f_mse", "F-MSE", "", 1,
           "mean squared difference of neighbouring frames inside the mask, squared grey levels; not Diffused Heads’ published "
           "F-MSE, whose differences wrap at 256",
           sums=lambda m: _mean(m.traces["f_mse"][0]), in_folder="f_mse"),
    Metric("f_mse_ratio", "F-MSE ratio", "", 2,
           "that, over the true frames’: less is frozen or blurred, more flickers",
           sums=lambda m: _ratio(m.traces["f_mse"]), in_folder="f_mse_ratio"),
    Metric("ofm", "optical flow", "", 3,
           "mean flow between neighbouring frames inside the mask (Farnebäck), pixels a frame; not Diffused Heads’ published "
           "OFM, which is the mean of a colour map of it",
           sums=lambda m: _mean(m.traces["ofm"][0]), in_folder="ofm"),
    Metric("ofm_ratio", "optical flow ratio", "", 2,
           "that, over the true frames’: less is frozen, more jitters",
           sums=lambda m: _ratio(m.traces["ofm"]), in_folder="ofm_ratio"),
    Metric("warp_error", "warp error", "↓", 1,
           "mean squared change between frames that the true video’s motion leaves",
           sums=lambda m: _mean(m.traces["warp_error"][0]), in_folder="warp_error"),
    Metric("warp_error_ratio", "warp error ratio", "↓", 2,
           "that, over the true frames’; more is flicker",
           sums=lambda m: _ratio(m.traces["warp_error"]), in_folder="warp_error_ratio"),
    Metric("psnr_drift", "PSNR drift (dB)", "", 2,
           "PSNR in mask of a long clip’s last seconds, less that of its first",
           drift=(lambda m: _each(m.psnr_T), mean_of)),
    Metric("ssim_drift", "SSIM drift", "", 3,
           "SSIM in mask of a long clip’s last seconds, less that of its first",
           drift=(lambda m: _each(m.ssim_T), mean_of)),
    Metric("mouth_r_drift", "mouth r drift", "", 3,
           "mouth r of a long clip’s last seconds, less that of its first",
           drift=(lambda m: drift.moments(m.mouth_given, m.mouth_T), drift.correlation)),
    Metric("f_mse_ratio_drift", "F-MSE ratio drift", "", 2,
           "F-MSE ratio of a long clip’s last seconds, less that of its first",
           drift=(lambda m: np.stack(m.traces["f_mse"], -1), mean_of)),
    Metric("leak_r2", "mask leak R²", "↓", 3,
           "of the mouth opening, read from all that is shown, on held-out clips"),
    Metric("leak_r2_within", "mask leak R², within a clip", "↓", 3,
           "the same with each clip’s mean removed"),
)  # fmt: skip
BY_NAME = {metric.name: metric for metric in METRICS}
SUFFIXES = {
    "_extrapolated": ("at n → ∞", "extrapolated in 1/n, which takes the small-sample bias out"),
    "_floor": (
        "floor",
        "truth against truth, the clips' first halves against their second: other moments, half the frames, no lower bound",
    ),
    "_speakers": ("between speakers", "truth against truth, one half of the speakers against the other"),
}


def families(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The scores of each family of networks among these, with their titles."""
    given = set(names)
    found = {
        family: {m.name: m.title for m in METRICS if m.family == family and m.name in given}
        for family in (CORPUS, PUBLIC)
    }
    return {family: scores for family, scores in found.items() if scores}


def instead(name: str, measured: Collection[str]) -> str:
    """The public score that a corpus encoder's stands in for, where it was measured; else the name itself."""
    public = BY_NAME[name].stands_for
    return public if public and public in measured else name


def kind(name: str) -> Metric:
    """The record that shows a score; one that the catalogue lacks is shown under its own name."""
    for suffix, (title, meaning) in SUFFIXES.items():
        base = BY_NAME.get(name.removesuffix(suffix))
        if name.endswith(suffix) and base:
            return Metric(name, f"{base.title}, {title}", base.better, base.digits, meaning)
    return BY_NAME.get(name) or Metric(name, name.replace("_", " "), "", 3, "see the metrics stage")


def plain(value: float | None, digits: int) -> str:
    """A number with a true minus sign, or a dash."""
    return DASH if value is None else f"{value:.{digits}f}".replace("-", "−")


def with_interval(score: Score | None, digits: int) -> str:
    """``0.91 [0.88, 0.94]``, or a dash."""
    if score is None:
        return DASH
    if score.low is None or score.high is None:
        return plain(score.value, digits)
    return f"{plain(score.value, digits)} [{plain(score.low, digits)}, {plain(score.high, digits)}]"
