"""The report's pages: one self-contained HTML file for people, one Markdown file for a code host, and the headline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from stages import media
from stages.corpora import cremad_facts
from stages.reporting import breakdown, drawing, figures, methods, order, paper, rendering, stills, study, tables, weak
from stages.reporting.claims import Claim, Words, verdict, words
from stages.reporting.documents import SPLIT_TITLES
from stages.reporting.results import Results
from stages.reporting.tables import Table
from stages.scoring import catalogue

PLOTTED = ("ear_r", "mouth_r", "fd_frame", "fd_mask", "fd_video", "sync_confidence")
FACELESS = (
    "No picture or video of a face is in this report, which is kept in git: report.faces is false. “make videos” writes the "
    "videos to videos_out/, and “make look” the faces to look_out/; git takes neither."
)
WORST = {"mouth_r": 2, "ear_r": 1, "psnr_mask": 1}  # how many of the worst clips by each score


@dataclass(frozen=True)
class Figure:
    """A figure of the page: its file's stem below ``figures/``, whether it is a chart, alternative text and caption."""

    stem: str
    chart: bool
    alt: str
    caption: str
    ending: str = "png"


@dataclass(frozen=True)
class Page:
    """Everything that the templates show."""

    results: Results
    claims: list[Claim]
    words: Words
    verdict: list[str]
    tables: list[Table]
    scores: list[tuple[str, catalogue.Metric, list[list[str]]]]
    figures: dict[str, Figure]
    videos: list[str]
    values: dict[str, Any]


def content(results: Results, claims: list[Claim], shown: list[str]) -> Page:
    """Collect the content of both pages, in which some clips are shown; with ``report.faces`` as videos, too."""
    cells = study.groups(results)
    values = {
        "study": [(g.title, study.sentences(g), [row.cells() for row in g.rows]) for g in cells],
        "study_heads": study.headings(),
        "study_words": [study.COST, study.WORDS],
        "stills": stills.table(results),
        "stills_heads": stills.headings(),
        "whose_sound": stills.whose(results),
        "left_out": left_out(results),
        "clips": len(results.index),
        "terms": cremad_facts.TERMS if results.params.corpus.source == "cremad" else (),
        "splits": splits(results),
        "sees": methods.seen(results),
        "sees_heads": methods.SEEN_HEADS,
        "made": methods.made(results),
        "made_heads": methods.MADE_HEADS,
        "departs": methods.departs(results),
        "departs_heads": methods.DEPARTS_HEADS,
        "restored": methods.restored(results),
        "deviations": paper.deviations(results.params),
        "settings": settings(results),
        "worst": worst_table(results),
        "parts": [(part.title, part.rows) for part in breakdown.parts(results)],
        "part_heads": breakdown.headings(results),
        "weak": weak.sentences(results),
        "limits": limits(results),
        "apart": paper.apart(results.params),
        "columns_words": columns_words(results),
        "order": [agreement.sentence() for agreement in order.agreements(results)],
        "paper_columns": paper.COLUMNS,
        "split_titles": SPLIT_TITLES,
        "score_columns": tables.score_columns(results),
        "faceless": "" if results.params.report.faces else FACELESS,
        "claim_rows": [_claim_row(claim, words(results)) for claim in claims],
    }
    return Page(
        results,
        claims,
        words(results),
        verdict(claims, words(results)),
        tables.in_papers_form(results),
        tables.every_score(results),
        described(results, shown),
        shown if results.params.report.faces else [],
        values,
    )


def described(results: Results, shown: list[str]) -> dict[str, Figure]:
    """The figures with their words; without ``report.faces`` the charts alone."""
    size, confidence = results.params.network.size, results.params.metrics.confidence
    second, unseen = shown[1 % len(shown)], results.tests("test_unseen")
    whose = {clip: "an unseen speaker" if clip in unseen else "a seen speaker" for clip in shown}
    chosen = "The clip was chosen by order, not by merit; one column shows its deepest blink."
    entries = [
        Figure(
            "frames",
            False,
            f"Rows of frames of clip {shown[0]}: truth, then each setting",
            f"The same frames of {shown[0]}, {whose[shown[0]]}; generated at {size}×{size} pixels, enlarged. {chosen}",
        ),
        Figure("frames_seen", False, f"Rows of frames of clip {second}", f"The same for {second}, {whose[second]}."),
        Figure(
            "traces",
            True,
            "Line charts of eyelids and mouth, requested and measured",
            "Eyelids and mouth over two clips, measured by dlib on the generated video. Grey: the eye aspect ratio that was "
            "requested, and the mouth of the true video.",
        ),
        Figure("intervals", True, "Scores with intervals", f"Scores with their {confidence:.0%} intervals."),
        Figure(
            "inputs",
            False,
            "Reference, masked face, generated and true frame of some clips",
            "The network’s input (a reference frame, and each frame with the face masked out), its output, and the "
            "truth, where the mouth is widest.",
        ),
        Figure(
            "curves",
            True,
            "Training curves of each loss term",
            "Each loss term over training, means of the logged steps.",
        ),
        *(
            [
                Figure(
                    "curves_baselines",
                    True,
                    "Training curves of the systems compared with",
                    "The terms of the systems that HifiDiff is compared with, over their training; a row a system.",
                )
            ]
            if results.params.baselines
            else []
        ),
        Figure(
            "spectrogram",
            True,
            "Mel spectrogram and mouth opening of a clip",
            f"The network’s sound input for {shown[0]}, and the clip’s mouth, measured on the true video.",
        ),
        Figure(
            "speakers",
            False,
            "One frame of each speaker",
            "The corpus’s speakers. “Unseen”: no clip of theirs was trained on.",
        ),
        Figure(
            "worst",
            False,
            "Frames of the clips with the lowest scores, truth above generated",
            "The full model’s worst clips by mouth, by eyelids and by PSNR; truth above generated.",
        ),
    ]
    if results.portraits:
        entries.append(
            Figure(
                "talking",
                False,
                "Frames of faces that talk, a row a film",
                "Frames of faces that talk, in the whole picture: stills, then videos, an unseen speaker above a seen one. The "
                "films were chosen by order, not by merit.",
                "jpg",
            )
        )
    if results.params.has_study:
        entries.append(
            Figure(
                "samplers",
                True,
                "Charts of quality against network calls for each sampler, and of smoothness against the noise",
                "Quality against network calls, with intervals, a colour a sampler; filled marks, full lines: shared "
                "noise along a clip; open marks, dotted lines: not shared; stars: guided. Below: smoothness by the noise shared "
                "by a clip’s frames, larger dots for more steps; dashed: the true frames by the same codec.",
            )
        )
    if results.long():
        seconds = results.params.metrics.drift_s
        entries.append(
            Figure(
                "long",
                True,
                "PSNR and mouth correlation along a long clip",
                f"Along {figures.long_clip(results.long()[0])}: PSNR in the mask a second, thick lines the means of the first "
                f"and last {seconds:g} seconds (shaded), and the mouth’s correlation with the requested opening in windows of "
                f"{seconds:g} seconds.",
            )
        )
    return {entry.stem: entry for entry in entries if entry.chart or results.params.report.faces}


def _claim_row(claim: Claim, said: Words) -> list[str]:
    holds = "–" if not said.asked([claim]) else "yes" if claim.holds else "**no**"
    return [claim.claim, claim.rule, f"`{claim.command}`", claim.expected, claim.measured, holds]


_CHOSEN = (
    "The settings were chosen on clips of the training speakers and sentences alone (as the preset demo-tune has them), but for "
    "the weight of the eyes, which came after a first score on the test clips, and the last trials (the number of steps, the "
    "eyes' levels), beside which scores on the test clips stood. The corpus and the network's width had been chosen before that "
    "while looking at test clips: docs/demo.md."
)


def limits(results: Results) -> list[str]:
    """Sentences to read before the numbers, whatever these are."""
    settings = results.params
    clips = len(results.tests("test_seen")) + len(results.tests("test_unseen"))
    sentences = []
    if settings.corpus.source == "rendered":
        sentences.append(
            "The faces are rendered and the speech is synthesised: they vary far less than people do, and a small model can "
            "learn them in minutes. Nothing here predicts the method's scores on CREMA-D."
        )
    sentences += [
        f"The test has {clips} clips. The distances called “corpus encoder” are taken in networks trained on this corpus, and "
        "are biased at this number of frames; they rank the rows of this report and mean nothing outside it.",
        *limits_of_features(results),
        "Eyelids and pose at inference come from the test clip itself: their scores measure control, not prediction.",
        trainings(results),
        *([_CHOSEN] if settings.corpus.source == "rendered" else []),
        expert(results),
        "The sync judge learnt from this corpus's training clips: another network from another seed than the loss's expert, "
        "but it was trained on the same voices.",
    ]
    blind = any("masked_face" in entry.drop for entry in settings.methods.values())
    if blind and settings.network.reference == "aligned":
        sentences.append(
            "Without the masked face the head's place is not known, so that the reference is not moved onto the frame either: "
            "that setting's distance shows the loss of both."
        )
    return sentences


def columns_words(results: Results) -> str:
    """Notes on the columns and last rows of Tables 1 and 2."""
    own = catalogue.families(tables.columns(results)).get(catalogue.CORPUS, {})
    words = "In the paper’s form. "
    if own:
        words += (
            f"{len(own)} columns carry other names than the paper’s, because they are other quantities, in the features of "
            "encoders trained on this corpus. "
        )
    for name in catalogue.families(tables.columns(results)).get(catalogue.PUBLIC, ()):
        words += f"{catalogue.kind(name).title}: {catalogue.kind(name).meaning}. "
    return words + (
        "The last rows are truth against truth: the first half of each clip against its second, and one half of the speakers "
        "against the other. They have fewer frames, which makes a distance larger: floors to see a value beside, not to "
        "subtract."
    )


def plotted(results: Results) -> list[str]:
    """The scores of the figure of intervals; those by networks with public weights in the place of the corpus's own."""
    return [catalogue.instead(name, results.measured) for name in PLOTTED]


def limits_of_features(results: Results) -> list[str]:
    """Notes on FID, FVD, LSE and LPIPS, if they were measured."""
    names = catalogue.families(results.measured).get(catalogue.PUBLIC)
    if not names:
        return []
    return [
        f"{', '.join(names.values())}: by the published weights. Fréchet distances grow as clips get fewer: beside each stands "
        "the truth's distance from itself, and a distance compares with another of the same n alone."
    ]


def expert(results: Results) -> str:
    """The skill of the loss's expert at moments of one clip, told apart by the lips alone."""
    last = results.expert.iloc[-1]
    whose = "public" if results.params.expert.source == "wav2lip" else "own"
    return (
        f"The loss's expert ({whose}) finds a picture's own sound among two of the same validation clip in "
        f"{last['validation_within_clip_accuracy']:.0%} of the cases (chance: 50%), among two of any clips in "
        f"{last['validation_pairwise_accuracy']:.0%}. "
        + (
            "L_sync can teach no more than that."
            if results.params.loss.sync > 0
            else "L_sync, which asks it, has no weight in the full model: its gain and cost here stand in docs/demo.md."
        )
    )


def trainings(results: Results) -> str:
    """The difference that another training would make: stated, or not known."""
    count = len(results.trainings())
    if count == 1:
        return (
            "Each setting is one training from one seed, and the intervals are over test clips alone: they leave out the "
            "difference between trainings."
        )
    return (
        f"The full model was trained {count} times from {count} seeds, and its distances are means over these; every other "
        "row is one training, and all intervals are over test clips alone."
    )


def left_out(results: Results) -> list[list[str]]:
    """Clips that were left out, with the reason; of a file that was cut into clips, with their place in it."""
    index = results.index.assign(parted=results.index.duplicated(["shard", "source"], keep=False))
    bad = index[(index["status"] != "ok")]
    return [
        [
            str(row.clip),
            str(row.shard),
            f"{row.status}{f' ({row.start_s:.1f} to {row.end_s:.1f} s)' if row.parted else ''}",
        ]
        for row in bad.itertuples()
    ]


def splits(results: Results) -> list[list[str]]:
    """Clips, speakers and seconds a split."""
    rows = []
    for split in ("train", "validation", "test_seen", "test_unseen", "test_long", "held_out", "out"):
        part = results.index[results.index["split"] == split]
        if part.empty and split == "test_long":
            continue
        seconds = part["frames"].sum() / results.params.mask.fps
        rows.append(
            [split, str(len(part)), str(part["speaker"].nunique()), f"{seconds:.0f}", str(part["blinks"].sum())]
        )
    return rows


def settings(results: Results) -> list[tuple[str, str]]:
    """Every parameter as (key, value), but those of corpora that are not the run's."""

    def flatten(value: Any, prefix: str) -> list[tuple[str, str]]:
        if isinstance(value, dict):
            return [
                pair for name, inner in value.items() for pair in flatten(inner, f"{prefix}.{name}" if prefix else name)
            ]
        return [(prefix, ", ".join(map(str, value)) if isinstance(value, list) else str(value))]

    corpus = results.params.corpus.source
    unused = tuple(f"corpus.{source}." for source in ("rendered", "folder") if source != corpus)
    if corpus != "cremad":
        unused += ("cremad.",)
    return [pair for pair in flatten(results.params.model_dump(), "") if not pair[0].startswith(unused)]


def worst_table(results: Results) -> list[list[str]]:
    """Score, clip and value of the worst clips."""
    return [
        [catalogue.kind(name).title, clip, catalogue.plain(value, 3)]
        for name, count in WORST.items()
        for clip, value in figures.worst(results, name, count)
    ]


def worst_clips(results: Results) -> list[str]:
    """The clips of that table, each once."""
    clips = [row[1] for row in worst_table(results)]
    return list(dict.fromkeys(clips)) or results.tests("test_seen")[:1]


def headline(results: Results, claims: list[Claim]) -> str:
    """A few plain lines: the count, the failed claims, and the full model's main scores."""
    full, said = results.main, words(results)
    asked = said.asked(claims)
    lines = [f"{results.params.report.title}: {sum(c.holds for c in asked)} of {len(asked)} {said.counted}"]
    lines += [f"  {said.fails}: {c.claim} (expected {c.expected}, measured {c.measured})" for c in asked if not c.holds]
    for name in ("ear_r", "mouth_r"):
        parts = [
            f"{catalogue.with_interval(full.score(name, s), 2)} {SPLIT_TITLES[s]}"
            for s in ("test_seen", "test_unseen")
            if s in full.entry.splits
        ]
        lines.append(f"  {catalogue.kind(name).title}: " + ", ".join(parts))
    return "\n".join(lines) + "\n"


def markdown(page: Page) -> str:
    """The page for a code host, with pictures beside it."""
    texts = {table.name: tables.to_markdown(table) for table in page.tables}
    return (
        rendering.environment()
        .get_template("index.md.j2")
        .render(page=page, md=tables.markdown, table_text=texts, **page.values)
    )


def html(page: Page, out: Path, largest: int) -> str:
    """The self-contained page; videos that would make it larger than ``largest``, and then pictures, are linked instead."""
    charts = {
        stem: drawing.inline_svg(out / "figures" / f"{stem}.svg", figure.alt)
        for stem, figure in page.figures.items()
        if figure.chart
    }
    pictures = {
        stem: Image.open(out / "figures" / f"{stem}.{figure.ending}")
        for stem, figure in page.figures.items()
        if not figure.chart
    }
    posters = {clip: poster(out / f"videos/{number}.mp4", page) for number, clip in enumerate(page.videos, 1)}
    shown = {stem: drawing.inline_picture(picture) for stem, picture in pictures.items()}
    widths = {stem: picture.width for stem, picture in pictures.items()}
    template = rendering.environment().get_template("index.html.j2")

    def render(embedded: int, linked: Sequence[str] = ()) -> str:
        links = {stem: f"figures/{stem}.{page.figures[stem].ending}" for stem in linked}
        sources = {}
        for number, clip in enumerate(page.videos, 1):
            link = f"videos/{number}.mp4"
            sources[clip] = drawing.data_uri((out / link).read_bytes(), "video/mp4") if number <= embedded else link
        return template.render(
            page=page,
            charts=charts,
            pictures=shown | links,
            widths=widths,
            posters=posters,
            sources=sources,
            **page.values,
        )

    by_size = sorted(shown, key=lambda stem: -len(shown[stem]))
    steps = [(embedded, 0) for embedded in range(len(page.videos), 0, -1)]
    for embedded, linked in [*steps, *((0, count) for count in range(len(by_size) + 1))]:
        text = render(embedded, by_size[:linked])
        if len(text.encode()) <= largest:
            break
    return text


def poster(video: Path, page: Page) -> str:
    """The middle frame of a video, which stands in its place until it is played."""
    frames = media.decode(video, fps=page.results.params.mask.fps)
    return drawing.inline_picture(Image.fromarray(frames[len(frames) // 2]), quality=60)
