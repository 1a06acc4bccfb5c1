"""The weak points of a run, in plain sentences made from its scores: stated whether or not a claim is about them."""

from __future__ import annotations

from collections.abc import Iterator

from stages.reporting import figures
from stages.reporting.results import Results
from stages.reporting.tables import columns
from stages.scoring.catalogue import kind, plain, with_interval

FARTHER = 1.5  # a distance this many times the floor is worth a sentence
APART = 0.2  # as is a blink rate or duration that differs by this share
DROP = 0.05  # and a correlation that falls by this much on unseen speakers


def sentences(results: Results) -> list[str]:
    """The weaknesses that the scores show; empty where they show none."""
    return [
        *_farther_than_the_floor(results),
        *_below_the_truth(results),
        *_other_blinks(results),
        *_worse_on_unseen(results),
        *_beaten_by_an_ablation(results),
        *_worst_clip(results),
    ]


def _farther_than_the_floor(results: Results) -> Iterator[str]:
    for name in ("fid_torch_fidelity", "fvd", "fd_frame", "fd_mask", "fd_video"):
        score, floor = (results.main.score(n) for n in (name, f"{name}_floor"))
        if score and floor and score.value > FARTHER * max(floor.value, 1e-9):
            times = score.value / max(floor.value, 1e-9)
            yield (
                f"The full model’s {kind(name).title} is {plain(score.value, 2)}, {times:.1f} times the "
                f"{plain(floor.value, 2)} between two halves of the truth."
            )


def _below_the_truth(results: Results) -> Iterator[str]:
    for name in ("mouth_r", "mouth_r_dlib", "ear_r", "sync_confidence", "sync_in_time", "detection_rate"):
        made, truth = results.main.score(name), results.methods["truth"].score(name)
        if made and truth and made.value < truth.value and (made.high or made.value) < truth.value:
            digits = kind(name).digits
            yield (
                f"The full model’s {kind(name).title} is {with_interval(made, digits)}, below the ground truth’s "
                f"{plain(truth.value, digits)}."
            )


def _other_blinks(results: Results) -> Iterator[str]:
    for name in ("blinks_per_s", "blink_duration_s"):
        made, truth = results.main.score(name), results.methods["truth"].score(name)
        if made and truth and truth.value and abs(made.value / truth.value - 1) > APART:
            word = "more" if made.value > truth.value else "less"
            yield f"{kind(name).title}: {plain(made.value, 2)}, {word} than the ground truth’s {plain(truth.value, 2)}."


def _worse_on_unseen(results: Results) -> Iterator[str]:
    for name in ("ear_r", "mouth_r"):
        seen, unseen = (results.main.score(name, split) for split in ("test_seen", "test_unseen"))
        if seen and unseen and seen.value - unseen.value > DROP:
            yield (
                f"On unseen speakers the full model’s {kind(name).title} falls from {plain(seen.value, 2)} to "
                f"{plain(unseen.value, 2)}."
            )


def _beaten_by_an_ablation(results: Results) -> Iterator[str]:
    """As in the paper, where the setting without blinking has the better FVD, FID and LSE-C."""
    for method in results.settings():
        better = []
        for name in columns(results):
            made, full = method.score(name), results.main.score(name)
            sign = {"↑": 1, "↓": -1}.get(kind(name).better, 0)
            if made and full and sign * (made.value - full.value) > 0:
                ours, theirs = plain(full.value, 2), plain(made.value, 2)
                if ours != theirs:  # a difference that two decimals do not show is none
                    better.append(f"{kind(name).title} ({theirs} against {ours})")
        if better:
            row = "setting" if method.entry.kind == "hifidiff" else "row"
            yield f"The {row} “{method.entry.title}” is better than the full model in {', '.join(better)}."


def _worst_clip(results: Results) -> Iterator[str]:
    for name in ("mouth_r", "ear_r"):
        for clip, value in figures.worst(results, name, 1):
            yield f"The worst clip by {kind(name).title} is {clip}, with {plain(value, 2)}."
