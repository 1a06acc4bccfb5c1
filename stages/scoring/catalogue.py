"""How scores are named and printed: title, unit, which way is better, digits, and what they mean in one sentence."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

DASH = "–"


class Score(Protocol):
    """A value and its interval; None where undefined."""

    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


@dataclass(frozen=True)
class Kind:
    """A score's name for readers."""

    title: str
    better: str  # "↑", "↓", or "" where neither
    digits: int
    meaning: str

    @property
    def heading(self) -> str:
        return f"{self.title}\u00a0{self.better}".strip()


KINDS: dict[str, Kind] = {
    "fvd": Kind("FVD", "↓", 1, "Fréchet distance of I3D’s logits, Laughing-Matters’ convention: clips of 16 frames, one every "
                "16; whole frames, resized to 224×224 and taken to [−1, 1] by the detector; covariance ÷ (N − 1)"),
    "fvd_stylegan_v": Kind("FVD, StyleGAN-V", "↓", 1, "the same by StyleGAN-V’s convention: one clip a video, its first 16 "
                           "frames; covariance ÷ N"),
    "fid": Kind("FID", "↓", 2, "Fréchet distance of Inception’s pool3 features, pytorch-fid’s convention: frames in [0, 1], "
                "bilinear to 299×299 at pixels’ centres, no antialiasing, 2x − 1"),
    "fid_torch_fidelity": Kind("FID, torch-fidelity", "↓", 2, "the same by torch-fidelity’s convention: frames in [0, 255], "
                               "TensorFlow 1’s bilinear to 299×299, (x − 128) / 128"),
    "kid": Kind("KID", "↓", 4, "unbiased kernel distance of the FID’s features, kernel (x·y / 2048 + 1)³, of all frames at once"),
    "kid_torch_fidelity": Kind("KID, torch-fidelity", "↓", 4, "the same of torch-fidelity’s features"),
    "lse_c": Kind("LSE-C", "↑", 2, "SyncNet v2’s confidence, whole frames, Wav2Lip’s route: median minus least distance over 31 "
                  "shifts"),
    "lse_d": Kind("LSE-D", "↓", 2, "least of those distances"),
    "lpips": Kind("LPIPS", "↓", 4, "learned perceptual distance (VGG-16, v0.1) to the true frames, whole frames"),
    "lpips_mask": Kind("LPIPS in mask", "↓", 4, "the same inside the face mask"),
    "fd_video": Kind("FD, corpus encoder (video)", "↓", 2, "Fréchet distance of windows of 8 frames in the corpus’s video "
                     "encoder (FVD’s form)"),
    "fd_frame": Kind("FD, corpus encoder (frame)", "↓", 2, "Fréchet distance of frames in the corpus’s frame encoder (FID’s "
                     "form)"),
    "fd_mask": Kind("FD, corpus encoder (in mask)", "↓", 2, "the same, of the hull of the face alone"),
    "sync_confidence": Kind("sync confidence, corpus judge", "↑", 2, "median minus least distance over shifts, by the corpus’s "
                            "sync judge (LSE-C’s form)"),
    "sync_distance": Kind("sync distance, corpus judge", "↓", 2, "least distance over shifts, by the same judge (LSE-D’s form)"),
    "sync_in_time": Kind("in time, corpus judge", "↑", 2, "share of clips whose best shift is at most one frame"),
    "sync_confidence_other": Kind("sync confidence, corpus judge, another’s audio", "", 2, "of the same videos with audio that "
                                  "was not given"),
    "sync_confidence_own": Kind("sync confidence, corpus judge, own audio", "", 2, "with the clip’s own audio, where another’s "
                                "was given"),
    "ear_r": Kind("eyelid r", "↑", 3, "correlation of the requested and the measured eye aspect ratio"),
    "ear_mae": Kind("eyelid error", "↓", 3, "mean absolute error of the eye aspect ratio"),
    "mouth_r": Kind("mouth r", "↑", 3, "correlation of the mouth opening with that of the clip whose audio was given"),
    "mouth_amplitude": Kind("mouth amplitude", "", 2, "deviation of the mouth opening within clips, over that by dlib of the "
                            "clip whose audio was given"),
    "mouth_r_dlib": Kind("mouth r, by dlib", "↑", 3, "the same against dlib’s landmarks of that clip’s true video"),
    "mouth_r_own": Kind("mouth r, own clip", "", 3, "correlation with the clip’s own true opening, whatever audio was given"),
    "blinks_per_s": Kind("blinks/s", "", 2, "by the detector that the paper’s numbers come from"),
    "blink_duration_s": Kind("blink duration (s)", "", 2, "median, by the same detector"),
    "blinks_per_s_robust": Kind("blinks/s, robust", "", 2, "by a threshold with hysteresis relative to the clip’s open eyes"),
    "blink_duration_s_robust": Kind("blink duration (s), robust", "", 2, "median, by the same detector"),
    "detection_rate": Kind("faces found", "↑", 3, "share of frames in which dlib finds a face"),
    "psnr_mask": Kind("PSNR in mask (dB)", "↑", 2, "peak signal-to-noise ratio to the true frames inside the mask"),
    "ssim_mask": Kind("SSIM in mask", "↑", 3, "structural similarity to the true frames inside the mask"),
    "lmd": Kind("landmark distance", "↓", 3, "mean distance of dlib’s 68 points to the true frame’s, over the eyes’ (LMD)"),
    "lmd_mouth": Kind("mouth landmark distance", "↓", 3, "the same of the mouth’s 20 points"),
    "lmd_px": Kind("landmark distance (px)", "↓", 2, "that of all 68 points, in pixels of the video"),
    "lmd_mouth_px": Kind("mouth landmark distance (px)", "↓", 2, "that of the mouth, in pixels"),
    "csim": Kind("identity", "↑", 3, "cosine of dlib’s face descriptors to the true frame’s, every tenth frame (CSIM’s form)"),
    "csim_reference": Kind("identity, reference", "↑", 3, "the same to the clip’s first frame, which the generator is shown"),
    "same_person": Kind("same person", "↑", 3, "share of those frames whose descriptor is at most 0.6 away, dlib’s threshold"),
    "psnr": Kind("PSNR (dB)", "↑", 2, "peak signal-to-noise ratio to the true frames, whole frames"),
    "ssim": Kind("SSIM", "↑", 3, "structural similarity to the true frames, whole frames"),
    "checkerboard": Kind("checkerboard", "", 3, "energy of the 2-pixel grid inside the mask, over that of the true frames"),
    "ghost_edge": Kind("ghost edge", "", 3, "gradient on the mask’s border, over that of the true frames"),
    "mouth_streaks": Kind("streaks beside the mouth", "", 2, "energy of luma’s gradient in a ring about the mouth, over that of "
                          "the true frames: more is streaks or a smeared mouth, less is blur"),
    "brow_ghosts": Kind("ghosts of brows", "", 2, "the same about the brows"),
    "lid_slits": Kind("slits in closed lids", "", 2, "luma of the brightest twentieth of shut lids, over the true frames’"),
    "f_mse": Kind("F-MSE", "", 1, "mean squared difference of neighbouring frames inside the mask, squared grey levels"),
    "f_mse_ratio": Kind("F-MSE ratio", "", 2, "that, over the true frames’: less is frozen or blurred, more flickers"),
    "ofm": Kind("optical flow", "", 3, "mean flow between neighbouring frames inside the mask (Farnebäck), pixels a frame"),
    "ofm_ratio": Kind("optical flow ratio", "", 2, "that, over the true frames’: less is frozen, more jitters"),
    "warp_error": Kind("warp error", "↓", 1, "mean squared change between frames that the true video’s motion leaves"),
    "warp_error_ratio": Kind("warp error ratio", "↓", 2, "that, over the true frames’; more is flicker"),
    "psnr_drift": Kind("PSNR drift (dB)", "", 2, "PSNR in mask of a long clip’s last seconds, less that of its first"),
    "ssim_drift": Kind("SSIM drift", "", 3, "SSIM in mask of a long clip’s last seconds, less that of its first"),
    "mouth_r_drift": Kind("mouth r drift", "", 3, "mouth r of a long clip’s last seconds, less that of its first"),
    "f_mse_ratio_drift": Kind("F-MSE ratio drift", "", 2, "F-MSE ratio of a long clip’s last seconds, less that of its first"),
    "leak_r2": Kind("mask leak R²", "↓", 3, "of the mouth opening, read from all that is shown, on held-out clips"),
    "leak_r2_within": Kind("mask leak R², within a clip", "↓", 3, "the same with each clip’s mean removed"),
}  # fmt: skip
SUFFIXES = {
    "_extrapolated": ("at n → ∞", "extrapolated in 1/n, which takes the small-sample bias out"),
    "_floor": (
        "floor",
        "truth against truth, the clips' first halves against their second: other moments, half the frames, no lower bound",
    ),
    "_speakers": ("between speakers", "truth against truth, one half of the speakers against the other"),
}


CORPUS, PUBLIC = "corpus encoder", "public weights"  # families of networks behind scores; never under one name
BY_CORPUS = ("fd_frame", "fd_mask", "fd_video", "sync_confidence", "sync_distance", "sync_in_time",
             "sync_confidence_other", "sync_confidence_own")  # fmt: skip
BY_PUBLIC = (
    "fvd",
    "fvd_stylegan_v",
    "fid",
    "fid_torch_fidelity",
    "kid",
    "kid_torch_fidelity",
    "lse_c",
    "lse_d",
    "lpips",
    "lpips_mask",
)


def families(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Which of these scores come from each family of networks, with their titles."""
    given = set(names)
    by = {CORPUS: BY_CORPUS, PUBLIC: BY_PUBLIC}
    found = {family: {name: KINDS[name].title for name in own if name in given} for family, own in by.items()}
    return {family: scores for family, scores in found.items() if scores}


def instead(name: str, measured: Collection[str]) -> str:
    """The public score that a corpus encoder's stands in for, where it was measured; else the name itself."""
    public = {"fd_frame": "fid", "fd_video": "fvd", "sync_confidence": "lse_c", "sync_distance": "lse_d"}.get(
        name, name
    )
    return public if public in measured else name


def kind(name: str) -> Kind:
    """How a score is shown; one the catalogue lacks is shown under its own name."""
    for suffix, (title, meaning) in SUFFIXES.items():
        base = KINDS.get(name.removesuffix(suffix))
        if name.endswith(suffix) and base:
            return Kind(f"{base.title}, {title}", base.better, base.digits, meaning)
    return KINDS.get(name) or Kind(name.replace("_", " "), "", 3, "see the metrics stage")


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
