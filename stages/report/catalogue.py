"""How scores are named and printed: title, unit, which way is better, digits, and what they mean in one sentence."""

from __future__ import annotations

from dataclasses import dataclass

from stages.report.results import Score

DASH = "–"


@dataclass(frozen=True)
class Kind:
    """A score's name for readers."""

    title: str
    better: str  # "↑", "↓", or "" where neither
    digits: int
    meaning: str

    @property
    def heading(self) -> str:
        return f"{self.title} {self.better}".strip()


KINDS: dict[str, Kind] = {
    "fd_video": Kind(
        "video distance",
        "↓",
        2,
        "Fréchet distance of windows of frames, in the corpus's own video encoder (FVD's form)",
    ),
    "fd_frame": Kind(
        "frame distance", "↓", 2, "Fréchet distance of frames, in the corpus's own frame encoder (FID's form)"
    ),
    "fd_mask": Kind("in-mask distance", "↓", 2, "the same, with everything outside the mask blanked"),
    "blinks_per_s": Kind("blinks/s", "", 2, "blinks a second, counted on dlib's landmarks of the video"),
    "blink_duration_s": Kind("blink duration (s)", "", 2, "median duration of a blink"),
    "sync_confidence": Kind(
        "sync confidence",
        "↑",
        2,
        "median minus least distance over time shifts, by the corpus's sync judge (LSE-C's form)",
    ),
    "sync_distance": Kind("sync distance", "↓", 2, "least distance over time shifts, by the same judge (LSE-D's form)"),
    "ear_r": Kind("eyelid r", "↑", 3, "correlation over a clip of the requested and the measured eye aspect ratio"),
    "mouth_r": Kind("mouth r", "↑", 3, "correlation of the mouth opening with that of the clip whose audio was given"),
    "mouth_r_own": Kind(
        "mouth r, own audio", "", 3, "correlation of the mouth opening with that of the clip's own video"
    ),
    "detection_rate": Kind("faces found", "↑", 3, "share of frames in which dlib finds a face"),
    "psnr_mask": Kind("PSNR in mask (dB)", "↑", 2, "peak signal-to-noise ratio to the true frames inside the mask"),
    "ssim_mask": Kind("SSIM in mask", "↑", 3, "structural similarity to the true frames inside the mask"),
    "leak_r2": Kind(
        "mask leak R²", "↓", 3, "mouth opening predicted from mask and visible pixels alone, held-out clips"
    ),
    "checkerboard": Kind("checkerboard", "↓", 3, "energy at the pixel-unshuffle period, over that of the true frames"),
    "ghost_edge": Kind("ghost edge", "↓", 3, "gradient along the mask's border, over that of the true frames"),
}


def kind(name: str) -> Kind:
    """How a score is shown; one the catalogue lacks is shown under its own name."""
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
