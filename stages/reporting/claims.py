"""The claims of a run: the expected value, the measured one, and whether the claim holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from stages.methods import systems
from stages.reporting import stills
from stages.reporting.documents import SPLIT_TITLES, Score
from stages.reporting.results import Method, Results
from stages.scoring import catalogue
from stages.scoring.catalogue import kind, plain, with_interval

TEST_SPLITS = ("test_seen", "test_unseen")
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Claim:
    """A line of the claims page. ``sure``: the whole interval, and not the value alone, is within the bound."""

    claim: str
    rule: str
    command: str
    expected: str
    measured: str
    holds: bool
    sure: bool


def evaluate(results: Results) -> list[Claim]:
    """All claims, in the order of the page."""
    return [
        *_leak(results),
        *_follows(results, "ear_r", "The eyelids follow the blink signal", results.params.report.ear_r),
        *_follows(results, "mouth_r", "The mouth follows the audio", results.params.report.mouth_r),
        *_amplitude(results),
        *_worst_clip(results),
        *_fidelity(results),
        *_held_out(results),
        *_best_of_table(results),
        *_baselines_learnt(results),
        *_without_blink(results),
        *_without_mask(results),
        *_other_audio(results),
        _sync_apart(results),
        *_sync_teaches(results),
        *_same_steps(results),
        *_artefacts(results),
        *_no_drift(results),
        *_stills_talk(results),
    ]


def _metrics(results: Results, *methods: str) -> tuple[str, str]:
    """The rule and the command that measure these methods."""
    files = " ".join(f"{results.data.as_posix()}/metrics/{name}.json" for name in methods)
    return "metrics", f"snakemake --cores all {files}"


@dataclass(frozen=True)
class _Range:
    """The range that a value has to lie in."""

    least: float | None
    most: float | None

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        return f"≤ {self.most:g}" if self.least is None else f"≥ {self.least:g}"

    def holds(self, value: float | None) -> bool:
        above = self.least is None or (value is not None and value >= self.least)
        return value is not None and above and (self.most is None or value <= self.most)

    def surely(self, score: Score) -> bool:
        """The interval's ends lie within, too: those ends that a bound is on."""
        return (self.least is None or self.holds(score.low)) and (self.most is None or self.holds(score.high))


def _bound(
    results: Results,
    claim: str,
    method: str,
    score: Score | None,
    *,
    least: float | None = None,
    most: float | None = None,
    by: tuple[str, str] | None = None,
) -> Claim:
    """A score against a lower bound, an upper one or both; one that was not measured does not hold.

    ``by``: the rule and the command that measure it, where that is not the method's metrics.
    """
    rule, command = by or _metrics(results, method)
    expected = _Range(least, most)
    if score is None:
        return Claim(claim, rule, command, str(expected), NOT_MEASURED, False, False)
    measured = f"{with_interval(score, 3)}, n = {score.n}"
    return Claim(claim, rule, command, str(expected), measured, expected.holds(score.value), expected.surely(score))


def _leak(results: Results) -> list[Claim]:
    claim = "Mask, visible pixels and the head’s place do not show how far the mouth is open, R² on held-out clips"
    names = {"leak_r2": "of the opening", "leak_r2_within": "of its course within a clip"}
    truth, most = results.methods["truth"], results.params.report.leak_r2
    return [_bound(results, f"{claim} ({what})", "truth", truth.score(name), most=most) for name, what in names.items()]


def _follows(results: Results, name: str, claim: str, least: list[float]) -> list[Claim]:
    """Where no eye of a split's clips blinks, what is left of the eye aspect ratio is noise, which nothing can follow."""
    full, found = results.main, []
    for split, bound in zip(TEST_SPLITS, least, strict=True):
        if split not in full.entry.splits:
            continue
        own = f"{claim} ({SPLIT_TITLES[split]})"
        if name == "ear_r" and not results.index.loc[results.index["split"] == split, "blinks"].any():
            found.append(_bound(results, own, full.name, None, least=bound))
        else:
            found.append(_mean_over_trainings(results, name, own, split=split, least=bound))
    return found


def _amplitude(results: Results) -> list[Claim]:
    """Mouths open as far as the truth's: neither mumbling nor shouting."""
    least, most = results.params.report.mouth_amplitude
    return [
        _mean_over_trainings(
            results,
            "mouth_amplitude",
            "The mouth’s opening varies as much as the truth’s, as a multiple",
            least=least,
            most=most,
        )
    ]


def _worst_clip(results: Results) -> list[Claim]:
    """A mean can hide a clip whose mouth does not follow."""
    least = results.params.report.worst_mouth_r
    if least is None:
        return []
    trainings = results.trainings()
    rule, command = _metrics(results, *(m.name for m in trainings))
    clips = pd.concat({m.name: m.clips["mouth_r"].dropna() for m in trainings})
    claim = "The mouth follows the audio in each clip" + (" of each training" if len(trainings) > 1 else "")
    if clips.empty:
        return [Claim(claim, rule, command, f"≥ {least:g}", NOT_MEASURED, False, False)]
    holds = bool(clips.min() >= least)
    worst = clips.idxmin()[1] if len(trainings) == 1 else "{1} of {0}".format(*clips.idxmin())
    measured = f"{plain(float(clips.min()), 3)} at least ({worst}), n = {len(clips)}"
    return [Claim(claim, rule, command, f"≥ {least:g}", measured, holds, holds)]


def _fidelity(results: Results) -> list[Claim]:
    """Distances from the truth, mean over the trainings of the full model, which differ in the seed alone."""
    report = results.params.report
    bounds = {"fd_frame": report.fd_frame, "fd_mask": report.fd_mask, "fd_video": report.fd_video}
    claims = [
        _mean_over_trainings(results, name, f"The {kind(name).title} is small", most=most)
        for name, most in bounds.items()
        if most is not None
    ]
    if report.psnr_mask is not None:
        claims.append(
            _mean_over_trainings(results, "psnr_mask", "The PSNR in the mask is high", least=report.psnr_mask)
        )
    return claims


def _mean_over_trainings(
    results: Results,
    name: str,
    claim: str,
    *,
    split: str = "all",
    least: float | None = None,
    most: float | None = None,
) -> Claim:
    trainings = results.trainings()
    if len(trainings) == 1:
        return _bound(results, claim, results.main.name, trainings[0].score(name, split), least=least, most=most)
    rule, command = _metrics(results, *(m.name for m in trainings))
    expected = _Range(least, most)
    claim = f"{claim}, mean over {len(trainings)} trainings"
    values = [score.value for m in trainings if (score := m.score(name, split))]
    if len(values) < len(trainings):
        return Claim(claim, rule, command, str(expected), NOT_MEASURED, False, False)
    digits, mean = kind(name).digits, sum(values) / len(values)
    measured = f"{plain(mean, digits)} ({plain(min(values), digits)} to {plain(max(values), digits)})"
    return Claim(claim, rule, command, str(expected), measured, expected.holds(mean), all(map(expected.holds, values)))


def _held_out(results: Results) -> list[Claim]:
    """The same bounds on clips of the test's kind that were never scored before."""
    report, weights = results.params.report, results.main.entry.made_from
    bounds = {"fd_frame": report.fd_frame, "fd_mask": report.fd_mask, "fd_video": report.fd_video}
    rows = [m for m in results.methods.values() if "held_out" in m.entry.splits and m.entry.made_from == weights]
    return [
        _bound(results, f"The {kind(name).title} is small on clips never used before", m.name, score, most=most)
        for m in rows
        for name, most in bounds.items()
        if most is not None
        for score in [m.score(name, "held_out")]
    ]


def _best_of_table(results: Results) -> list[Claim]:
    """The paper's main claim: among Table 1's systems that do not see the true mouth, HifiDiff's distances are the smallest."""
    full = results.main
    others = [
        m
        for m in results.methods.values()
        if "table1" in m.entry.tables and m.entry.kind not in ("truth", "hifidiff") and not systems.sees_mouth(m.entry)
    ]
    claims = []
    for name in (catalogue.instead(name, results.measured) for name in ("fd_frame", "fd_video")) if others else ():
        scored = [(score, m) for m in others if (score := m.score(name))]
        own = full.score(name)
        claim = f"HifiDiff’s {kind(name).title} is the smallest among the systems that do not see the true mouth"
        rule, command = _metrics(results, full.name, *(m.name for m in others))
        if own is None or not scored:
            claims.append(Claim(claim, rule, command, "smallest", NOT_MEASURED, False, False))
            continue
        next_score, next_best = min(scored, key=lambda pair: pair[0].value)
        digits = kind(name).digits
        measured = f"{with_interval(own, digits)}; {next_best.entry.title} {with_interval(next_score, digits)}"
        sure = own.high is not None and next_score.low is not None and own.high < next_score.low
        claims.append(Claim(claim, rule, command, "smallest", measured, own.value < next_score.value, sure))
    return claims


def _baselines_learnt(results: Results) -> list[Claim]:
    """The systems that HifiDiff is compared with learnt to speak, so that the comparison is one."""
    return [
        _bound(
            results,
            f"The mouth follows the audio in the row “{results.methods[name].entry.title}” (seen speakers)",
            name,
            results.methods[name].score("mouth_r", "test_seen"),
            least=results.params.report.baseline_mouth_r,
        )
        for name in results.params.baselines
        if "test_seen" in results.methods[name].entry.splits
    ]


def _without_blink(results: Results) -> list[Claim]:
    row = results.without("blink")
    if row is None:
        return []
    score = row.score("ear_r")
    claim = "Without the blink signal the eyelids do not follow it (|r|)"
    return [_bound(results, claim, row.name, _absolute(score), most=results.params.report.no_blink_ear_r)]


def _absolute(score: Score | None) -> Score | None:
    """|score|, with the interval of the absolute value."""
    if score is None or score.low is None or score.high is None:
        return score and Score(abs(score.value), None, None, score.n)
    crosses = score.low <= 0 <= score.high
    low = 0.0 if crosses else min(abs(score.low), abs(score.high))
    return Score(abs(score.value), low, max(abs(score.low), abs(score.high)), score.n)


def _without_mask(results: Results) -> list[Claim]:
    row, main = results.without("masked_face"), results.main
    if row is None:
        return []
    least = results.params.report.no_mask_ratio
    titles = {"fd_frame": "whole frames", "fd_mask": "inside the hull alone"}
    claims = []
    for name, title in titles.items():
        worse, full = row.score(name), main.score(name)
        claim = (
            f"Without the masked face the FD, corpus encoder, is larger, as a multiple of the full model's ({title})"
        )
        rule, command = _metrics(results, row.name, main.name)
        if worse is None or full is None:
            claims.append(Claim(claim, rule, command, f"≥ {least:g}", NOT_MEASURED, False, False))
            continue
        ratio = worse.value / full.value
        measured = f"{ratio:.2f} ({with_interval(worse, 2)} against {with_interval(full, 2)})"
        sure = worse.low is not None and full.high is not None and worse.low >= least * full.high
        claims.append(Claim(claim, rule, command, f"≥ {least:g}", measured, ratio >= least, sure))
    return claims


def _other_audio(results: Results) -> list[Claim]:
    report, other = results.params.report, results.other_audio
    if other is None:
        return []
    given = _bound(
        results,
        "With another clip's audio the mouth follows that audio",
        other.name,
        other.score("mouth_r"),
        least=report.other_audio_r,
    )
    own = _bound(
        results,
        "With another clip's audio the mouth does not follow the clip's own",
        other.name,
        other.score("mouth_r_own"),
        most=report.own_audio_r,
    )
    return [given, own]


def _sync_apart(results: Results) -> Claim:
    """A fair comparison: the same generated videos, judged with the audio that was given and with another clip's."""
    claim = "A sync judge that had no part in training tells a video's own audio from another clip's"
    expected = "intervals apart"
    full = results.main
    rule, command = _metrics(results, full.name)
    own, other = full.score("sync_confidence"), full.score("sync_confidence_other")
    if own is None or other is None or own.low is None or other.high is None:
        return Claim(claim, rule, command, expected, NOT_MEASURED, False, False)
    measured = f"{with_interval(own, 2)} against {with_interval(other, 2)}"
    apart = own.low > other.high
    return Claim(claim, rule, command, expected, measured, apart, apart)


def _sync_teaches(results: Results) -> list[Claim]:
    """The knowledge of L_sync's expert, and the gain of training with it over a row trained without."""
    claims = []
    least = results.params.report.expert_within_clip
    if least is not None:
        known = float(results.expert.iloc[-1]["validation_within_clip_accuracy"])
        command = f"snakemake --cores all {results.data.as_posix()}/expert/expert.safetensors"
        claim = "The loss’s expert tells moments of one validation clip apart (share of pairs; chance: 0.5)"
        claims.append(Claim(claim, "expert", command, f"≥ {least:g}", f"{known:.2f}", known >= least, known >= least))
    for with_it, without in _with_and_without_sync(results):
        name = catalogue.instead("sync_confidence", results.measured)
        made, other = with_it.score(name), without.score(name)
        claim = f"Training with L_sync makes the {kind(name).title} larger than training without"
        rule, command = _metrics(results, with_it.name, without.name)
        if made is None or other is None or made.low is None or other.high is None:
            claims.append(Claim(claim, rule, command, "intervals apart", NOT_MEASURED, False, False))
            continue
        apart = made.low > other.high
        measured = f"{with_interval(made, 2)} against {with_interval(other, 2)}"
        claims.append(Claim(claim, rule, command, "intervals apart", measured, apart, apart))
    return claims


def _with_and_without_sync(results: Results) -> Iterator[tuple[Method, Method]]:
    """The full model beside each of its trainings that differs in whether L_sync counts: the one with it first."""
    full, settings = results.main, results.params
    for name in settings.trained:
        other = results.methods[name]
        if other.entry.drop == full.entry.drop and (settings.trained_as(name).loss.sync > 0) != (
            settings.loss.sync > 0
        ):
            yield (full, other) if settings.loss.sync > 0 else (other, full)


def _same_steps(results: Results) -> list[Claim]:
    """Rows that have another number of their own, such as one for equal time, are left out."""
    rows = [results.methods[name] for name in results.params.trained]
    configs = {m.name: m.config for m in rows if m.config and "steps" not in m.entry.settings.get("train", {})}
    if len(configs) < 2:
        return []
    steps = {name: (config["steps"], config["images_per_step"]) for name, config in configs.items()}
    measured = "; ".join(f"{name}: {count} steps of {images} images" for name, (count, images) in steps.items())
    same = len(set(steps.values())) == 1
    files = " ".join(f"{results.data.as_posix()}/models/{name}/model.safetensors" for name in steps)
    claim = "Every setting was trained for the same number of steps"
    return [Claim(claim, "train", f"snakemake --cores all {files}", "equal", measured, same, same)]


def _artefacts(results: Results) -> list[Claim]:
    titles: dict[str, tuple[str, Callable[[Results], float]]] = {
        "checkerboard": (
            "No checkerboard: energy at the unshuffle's period, as a multiple of the true frames'",
            lambda r: r.params.report.checkerboard,
        ),
        "ghost_edge": (
            "No ghost edge: the mask border's gradient, as a multiple of the true frames'",
            lambda r: r.params.report.ghost_edge,
        ),
        "mouth_streaks": (
            "No streaks beside mouths: gradient energy about the mouth, as a multiple of the true frames'",
            lambda r: r.params.report.mouth_streaks,
        ),
        "brow_ghosts": (
            "No ghosts of brows: gradient energy about the brows, as a multiple of the true frames'",
            lambda r: r.params.report.brow_ghosts,
        ),
        "lid_slits": (
            "No white slits in closed lids: luma of their brightest pixels, as a multiple of the true frames'",
            lambda r: r.params.report.lid_slits,
        ),
    }
    full = results.main
    return [
        _bound(results, title, full.name, full.score(name), most=most(results))
        for name, (title, most) in titles.items()
    ]


def _no_drift(results: Results) -> list[Claim]:
    """The end of a long clip is no worse than its start: the difference's interval reaches 0, or lies above it."""
    seconds = results.params.metrics.drift_s
    titles = {"psnr_drift": "PSNR in mask, dB", "mouth_r_drift": "mouth r"}
    expected = "interval reaches 0"
    claims = []
    for method in results.long():
        rule, command = _metrics(results, method.name)
        for name, title in titles.items():
            claim = (
                f"No drift on a long clip: quality in the last {seconds:g} seconds equals the first {seconds:g} "
                f"({method.entry.title}: {title}, last less first)"
            )
            score = method.score(name, "test_long")
            if score is None or score.high is None:
                claims.append(Claim(claim, rule, command, expected, NOT_MEASURED, False, False))
                continue
            measured = f"{with_interval(score, 3)}, n = {score.n}"
            holds = score.high >= 0
            claims.append(Claim(claim, rule, command, expected, measured, holds, holds))
    return claims


def _stills_talk(results: Results) -> list[Claim]:
    """The user's case: a still of an unseen speaker, of a seen one where all are, with another speaker's sound."""
    bounds = results.params.report.talking.model_dump()
    claims = []
    for method, given, column, score in stills.claimed(results):
        said = column.claim.replace("another speaker’s", stills.whose(results))
        bound, claim = bounds[column.name], f"A {given} {said}"
        least = {"least": bound, "either": -bound}.get(column.bound)
        most = None if column.bound == "least" else bound
        command = f"snakemake --cores all {results.data.as_posix()}/portraits/{method}.parquet"
        claims.append(_bound(results, claim, method, score, least=least, most=most, by=("portraits", command)))
    return claims


class Words(NamedTuple):
    """How the page speaks of the bounds: as claims of the run, or as questions about footage that nothing was promised of."""

    heading: str
    holds: str
    fails: str
    failed: str  # begins a sentence on one that fails
    unsure: str  # on one that holds by its value alone
    counted: str  # after "n of m"

    def asked(self, claims: list[Claim]) -> list[Claim]:
        """Those that count: a claim that was not measured fails, a question that a corpus can't answer does not."""
        return claims if self is CLAIMS else [claim for claim in claims if claim.measured != NOT_MEASURED]


CLAIMS = Words(
    "Claims",
    "holds",
    "does not hold",
    "Does not hold",
    "Holds on average only, the interval reaches past the bound",
    "claims hold",
)
QUESTIONS = Words(
    "Questions",
    "within the bound",
    "beyond the bound",
    "Beyond its bound",
    "Within its bound on average only, the interval reaches past it",
    "questions are answered within their bounds, none of which was promised",
)


def words(results: Results) -> Words:
    """Those of the run; see ``report.questions``."""
    return QUESTIONS if results.params.report.questions else CLAIMS


def verdict(claims: list[Claim], said: Words = CLAIMS) -> list[str]:
    """Plain sentences: first failed claims, then claims that hold by value and not by the whole interval, then the count."""
    asked = said.asked(claims)
    failed = [c for c in asked if not c.holds]
    unsure = [c for c in asked if c.holds and not c.sure]
    sentences = [
        f"{word}: {_lower(c)}; expected {c.expected}, measured {c.measured}."
        for word, group in ((said.failed, failed), (said.unsure, unsure))
        for c in group
    ]
    one, more = ("is", "are") if said is QUESTIONS else ("does", "do")
    rest = f"; {len(failed)} {one if len(failed) == 1 else more} not, as stated below" if failed else ""
    if len(asked) < len(claims):
        rest += f"; {len(claims) - len(asked)} could not be asked of these clips"
    return [*sentences, f"{len(asked) - len(failed)} of {len(asked)} {said.counted}{rest}."]


def _lower(claim: Claim) -> str:
    return claim.claim[0].lower() + claim.claim[1:]
