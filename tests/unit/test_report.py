"""The report of a made-up run: whole, self-contained, the same each time, true to the scores, and refusing what disagrees."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fake_run
import numpy as np
import pytest
from PIL import Image, ImageSequence

from stages import media
from stages.base.errors import HifiDiffError, InputError
from stages.base.params import Params
from stages.corpora import cremad_facts
from stages.report import LARGEST, write
from stages.reporting import breakdown, claims, drawing, figures, order, pages, results, tables, videos, weak
from stages.reporting.files import files
from stages.reporting.results import Results, Score
from stages.scoring import catalogue
from stages.store import tracking


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    yield from fake_run.finished(tmp_path_factory, fake_run.settings(), record=True)


@pytest.fixture(scope="module")
def report(run: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reports") / "fake"
    write(run, out)
    return out


def _changed(run: Results, method: str, name: str, value: float | None, spread: float = 0.01) -> Results:
    return fake_run.with_score(run, method, name, value, spread)


def test_every_file_is_there_and_small(run: Results, report: Path) -> None:
    written = {str(path.relative_to(report)) for path in report.rglob("*") if path.is_file()}
    assert written == set(files(run.params))
    assert all(0 < path.stat().st_size <= LARGEST for path in report.rglob("*") if path.is_file())


def test_without_faces_no_picture_of_one_is_written(run: Results, report: Path, tmp_path: Path) -> None:
    shown = run.params.report.model_copy(update={"faces": False})
    bare = replace(run, params=run.params.model_copy(update={"report": shown}))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/frames.png").touch()  # of a report with faces
    write(bare, tmp_path)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == set(files(bare.params))
    assert not any(name.endswith((".mp4", ".webp", ".jpg")) for name in written)
    pictures = {name for name in written if name.endswith(".png")}
    assert pictures == {name.replace(".svg", ".png") for name in written if name.endswith(".svg")}, "charts alone"
    for name in ("index.html", "index.md"):
        page = (tmp_path / name).read_text()
        assert "report.faces is false" in page
        assert not re.search(r"frames\.png|<video|\.mp4\)|image/(webp|jpeg)", page)
        assert "report.faces is false" not in (report / name).read_text()
    assert (tmp_path / "claims.csv").read_bytes() == (report / "claims.csv").read_bytes()


def test_what_does_not_fit_into_the_page_is_linked(run: Results, report: Path) -> None:
    page = pages.content(run, claims.evaluate(run), figures.shown_clips(run, run.params.report.videos))
    whole, small = (pages.html(page, report, most) for most in (LARGEST, 150_000))
    assert len(small.encode()) < len(whole.encode())
    assert 'src="figures/frames.png"' in small
    assert 'src="figures/' not in whole
    for link in re.findall(r'src="((?:figures|videos)/[^"]+)"', small):
        assert (report / link).exists()
    assert pages.html(page, report, 1)  # all that can be linked is


def test_a_picture_is_made_smaller_until_it_fits(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    drawn = np.random.default_rng(1).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    Image.fromarray(drawn).save(path)
    before = path.read_bytes()
    drawing.bounded(path, len(before))
    assert path.read_bytes() == before
    drawing.bounded(path, 60_000)
    assert path.stat().st_size <= 60_000
    with Image.open(path) as smaller:
        assert smaller.width / smaller.height == pytest.approx(1.5, abs=0.02)
        assert smaller.width > 120


def test_the_same_inputs_give_the_same_bytes(run: Results, report: Path, tmp_path: Path) -> None:
    write(run, tmp_path)
    for path in report.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / path.relative_to(report)).read_bytes(), path.name


def test_the_page_needs_no_other_file(report: Path) -> None:
    page = (report / "index.html").read_text()
    assert all(source.startswith("data:") for source in re.findall(r'\bsrc="([^"]{1,80})', page))
    assert not re.search(r"<link|<script|@import|url\((?!#)", page)
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert all('alt="' in tag for tag in re.findall(r"<img[^>]*>", page))
    targets = re.findall(r'href="#([\w-]+)"', page)
    assert all(f'id="{target}"' in page for target in targets)
    assert len(set(ids := re.findall(r'\bid="([^"]+)"', page))) == len(ids)


def test_weak_things_and_what_was_left_out_are_said(report: Path) -> None:
    for name in ("index.html", "index.md"):
        page = (report / name).read_text()
        order = [
            "videos/1.mp4",
            "32 of 33 claims hold; 1 does not",
            "Table 1",
            "Does not hold",
            "| claim |",
            "Every score",
        ]
        if name == "index.html":
            order = ["<video", order[1], 'id="tables"', order[3], 'id="claims"', 'id="scores"']
        places = [page.index(words) for words in order]
        assert places == sorted(places), "what a person looks at first comes first"
        assert "no audio stream; give another file" in page
        assert "Not comparable" in page
    assert "32 of 33 claims hold" in (report / "headline.txt").read_text()
    assert re.findall(r"\]\((figures/[^)]+|videos/[^)]+)\)", page)
    assert all((report / link).exists() for link in re.findall(r"\]\(((?:figures|videos)/[^)]+)\)", page))


def on_cremad(run: Results) -> Results:
    """The run as if its corpus were CREMA-D, with a test of unseen speakers alone, and L_sync."""
    methods = {
        name: replace(m, entry=m.entry.model_copy(update={"splits": ["test_unseen"]}))
        for name, m in run.methods.items()
    }
    corpus = run.params.corpus.model_copy(update={"source": "cremad"})
    loss = run.params.loss.model_copy(update={"sync": 0.15})  # as the presets for CREMA-D have it
    portraits = {name: films[films["split"] == "test_unseen"] for name, films in run.portraits.items()}
    changed = run.params.model_copy(update={"corpus": corpus, "loss": loss})
    return replace(run, methods=methods, params=changed, portraits=portraits)


def test_on_cremad_the_page_has_its_terms_and_what_was_left_out(run: Results) -> None:
    changed = on_cremad(run)
    found = claims.evaluate(changed)
    assert not [c for c in found if "(seen speakers)" in c.claim]
    assert [c for c in found if "(unseen speakers)" in c.claim]
    assert "seen speakers," not in pages.headline(changed, found)
    page = pages.markdown(pages.content(changed, found, ["kira_s01"]))
    for words in (*cremad_facts.TERMS, "Left out, 1 of 7 clips:", "CREMA-D; clips left out stand above"):
        assert words in page
    for words in (
        "rendered",
        "docs/demo.md",
        "which has another corpus",
        "a seen speaker",
        "two speakers only in the test",
    ):
        assert words not in page.partition("## Parameters")[0], words
    assert cremad_facts.LICENCE not in pages.markdown(pages.content(run, found, ["kira_s01"]))


def test_titles_may_hold_what_latex_reads_as_commands() -> None:
    """Each of LaTeX's ten special characters, and what is not ASCII, once and by itself."""
    found = tables._tex(r"a\b ${x}^2 ~ 50 % of #1_2 & more ↑")
    assert found == (
        r"a\textbackslash{}b \$\{x\}\textasciicircum{}2 \textasciitilde{} 50 \% of \#1\_2 \& more $\uparrow$"
    )


def test_tables_hold_the_scores_to_the_last_digit(run: Results, report: Path) -> None:
    rows = list(csv.DictReader((report / "tables/table2.csv").open()))
    ours = {row["method"]: row for row in rows if row["source"] == tables.OURS}
    assert list(ours) == ["GT", "HifiDiff", "without blinking", "without masked face"]
    written = json.loads((run.data / "metrics" / "full.json").read_text())["scores"]["fd_frame"]["all"]
    assert float(ours["HifiDiff"]["fd_frame"]) == written["value"]
    assert float(ours["HifiDiff"]["fd_frame_low"]) == written["low"]
    assert ours["HifiDiff"]["mlflow_key"] == tracking.key(run.data, "full", "metrics", params=run.params)
    assert all(row["FVD ↓"] == "" for row in ours.values())  # the paper's columns are the paper's alone
    theirs = [row for row in rows if row["source"] == tables.PAPERS]
    assert [row["FID ↓"] for row in theirs] == ["", "11.39", "11.51", "18.06"]
    assert all(row["fd_frame"] == "" for row in theirs)
    floor = next(row for row in rows if row["source"] == tables.FLOORS)
    assert (floor["method"], float(floor["fd_frame"]), floor["fd_video"]) == ("truth, other moments", 2.0, "")
    assert "| truth, other moments | – | 2.00 [1.87, 2.13], n = 4 |" in (report / "index.md").read_text()
    latex = (report / "tables/table1.tex").read_text()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2
    assert not re.search(r"(?<!\\)[%#_]", latex)


def test_claims_are_a_table_with_its_six_columns(report: Path) -> None:
    rows = list(csv.DictReader((report / "claims.csv").open()))
    assert list(rows[0]) == ["claim", "rule", "command", "expected", "measured", "holds"]
    assert {row["holds"] for row in rows} == {"yes", "no"}
    assert all(row["command"].startswith("snakemake --cores all ") for row in rows)


@pytest.mark.parametrize(
    ("method", "name", "value", "claim", "holds"),
    [
        ("full", "ear_r", 0.85, "seen speakers)", True),
        ("full", "ear_r", 0.849, "blink signal (seen speakers)", False),
        ("full", "mouth_r", None, "audio (unseen speakers)", False),
        ("no_blink", "ear_r", -0.21, "Without the blink signal", False),
        ("no_blink", "ear_r", -0.19, "Without the blink signal", True),
        ("no_mask", "fd_mask", 4.64, "(inside the hull alone)", False),
        ("other_audio", "mouth_r_own", 0.2, "does not follow the clip's own", True),
        ("full", "sync_confidence_other", 3.94, "A sync judge", False),
        ("truth", "leak_r2", 0.11, "(of the opening)", False),
        ("full", "checkerboard", 1.6, "No checkerboard", False),
        ("full", "mouth_streaks", 1.3, "No streaks beside mouths", False),
        ("full", "brow_ghosts", 1.3, "No ghosts of brows", False),
        ("full", "lid_slits", 1.2, "No white slits", False),
        ("full", "lid_slits", None, "No white slits", False),
        ("full", "mouth_amplitude", 0.89, "The mouth’s opening varies", False),
        ("full", "mouth_amplitude", 1.11, "The mouth’s opening varies", False),
        ("full", "mouth_amplitude", None, "The mouth’s opening varies", False),
        ("full", "mouth_amplitude", 0.9, "The mouth’s opening varies", True),
        ("full", "fd_frame", 4.51, "The FD, corpus encoder (frame) is small", False),
        ("full", "fd_video", 5.9, "The FD, corpus encoder (video) is small", True),
        ("full", "psnr_mask", 25.9, "The PSNR in the mask", False),
    ],
)
def test_a_claim_holds_up_to_its_bound(
    run: Results, method: str, name: str, value: float | None, claim: str, holds: bool
) -> None:
    judged = claims.evaluate(_changed(run, method, name, value))
    found = [c for c in judged if claim in c.claim]
    assert found
    assert found[0].holds is holds
    if not holds:
        assert any(s.startswith("Does not hold") for s in claims.verdict(judged))


def test_a_clip_whose_mouth_does_not_follow_fails_its_claim(run: Results) -> None:
    claim = "The mouth follows the audio in each clip"
    assert [c.holds for c in claims.evaluate(run) if c.claim == claim] == [True]
    clips = run.methods["full"].clips.copy()
    clips.loc["kira_s01", "mouth_r"] = 0.49
    changed = replace(run, methods={**run.methods, "full": replace(run.methods["full"], clips=clips)})
    found = next(c for c in claims.evaluate(changed) if c.claim == claim)
    assert not found.holds
    assert "0.490 at least (kira_s01)" in found.measured


def test_an_expert_that_knows_too_little_fails_its_claim(run: Results) -> None:
    claim = "The loss’s expert tells moments"
    assert [c.holds for c in claims.evaluate(run) if c.claim.startswith(claim)] == [True]
    poor = replace(run, expert=run.expert.assign(validation_within_clip_accuracy=0.48))
    assert [(c.holds, c.measured) for c in claims.evaluate(poor) if c.claim.startswith(claim)] == [(False, "0.48")]


def test_a_value_inside_with_an_interval_that_is_not_is_said(run: Results) -> None:
    judged = claims.evaluate(_changed(run, "full", "mouth_r", 0.705))
    assert next(c for c in judged if "audio (seen speakers)" in c.claim).sure is False
    assert any(s.startswith(claims.CLAIMS.unsure) and "audio (seen speakers)" in s for s in claims.verdict(judged))


def test_of_own_videos_nothing_is_said_of_the_rendered_corpus(run: Results) -> None:
    corpus = run.params.corpus.model_copy(update={"source": "folder", "shards": ["ann", "zoe"]})
    own = replace(run, params=run.params.model_copy(update={"corpus": corpus}))
    page = pages.markdown(pages.content(own, claims.evaluate(own), ["kira_s01"]))
    assert "own videos of 2 speakers" in page
    assert "corpus.folder.path" in page
    assert "two speakers only in the test" not in page
    assert "all clips of kira" in page
    for words in ("rendered and synthesised", "corpus.rendered", "cremad.folder", "demo-tune"):
        assert words not in page
    whole = pages.markdown(pages.content(run, claims.evaluate(run), ["kira_s01"]))
    assert all(words in whole for words in ("rendered and synthesised", "corpus.rendered.seed", "demo-tune"))
    assert "corpus.folder" not in whole


def test_where_all_speakers_are_seen_their_stills_are_claimed(run: Results) -> None:
    seen = {name: films[films["split"] == "test_seen"] for name, films in run.portraits.items()}
    assert all(len(films) for films in seen.values())
    found = [c.claim for c in claims.evaluate(replace(run, portraits=seen))]
    assert any(claim.startswith("A still of a seen speaker") for claim in found)
    assert not any("unseen speaker" in claim and claim.startswith("A still") for claim in found)
    alone = replace(run, portraits=seen, index=run.index.assign(speaker="ann"))
    assert "A still of a seen speaker follows another clip’s sound, r" in [c.claim for c in claims.evaluate(alone)]
    none = {name: films.iloc[:0] for name, films in run.portraits.items()}
    assert not any(c.claim.startswith("A still") for c in claims.evaluate(replace(run, portraits=none)))


def test_of_own_footage_the_bounds_are_questions(run: Results) -> None:
    report = run.params.report.model_copy(update={"questions": True})
    poor = _changed(run, "full", "mouth_r", 0.1)
    asked = replace(poor, params=run.params.model_copy(update={"report": report}))
    judged = claims.evaluate(asked)
    said = claims.verdict(judged, claims.words(asked))
    assert any(s.startswith("Beyond its bound: the mouth follows the audio (seen speakers)") for s in said)
    assert "questions are answered within their bounds, none of which was promised; " in said[-1]
    assert "beyond the bound: The mouth follows" in pages.headline(asked, judged)
    page = pages.markdown(pages.content(asked, judged, ["kira_s01"]))
    assert "## Questions" in page
    for text in (page, pages.headline(asked, judged), *said):
        assert "hold" not in text.replace("threshold", "").lower() or text is page
        assert "claims hold" not in text
    assert "## Claims" in pages.markdown(pages.content(run, claims.evaluate(run), ["kira_s01"]))


def test_a_question_that_the_clips_cannot_answer_does_not_count(run: Results) -> None:
    """A test without a blink; the claim of a corpus that has them fails."""
    still = replace(run, index=run.index.assign(blinks=0))
    asked = replace(
        still, params=run.params.model_copy(update={"report": run.params.report.model_copy(update={"questions": True})})
    )
    for found, lids in ((still, "**no**"), (asked, "–")):
        judged = claims.evaluate(found)
        rows = {row[0]: row for row in pages.content(found, judged, ["kira_s01"]).values["claim_rows"]}
        row = rows["The eyelids follow the blink signal (seen speakers)"]
        assert (row[4], row[5]) == (claims.NOT_MEASURED, lids)
    judged = claims.evaluate(asked)
    unanswered = sum(claim.measured == claims.NOT_MEASURED for claim in judged)
    said = claims.verdict(judged, claims.words(asked))
    assert f"of {len(judged) - unanswered} questions" in said[-1]
    assert said[-1].endswith(f"; {unanswered} could not be asked of these clips.")
    for text in (*said, pages.headline(asked, judged)):
        assert claims.NOT_MEASURED not in text


def test_what_is_weak_is_said_in_words(run: Results) -> None:
    said = " ".join(weak.sentences(run))
    assert "FD, corpus encoder (in mask) is" not in said  # its floor was not measured
    assert "FD, corpus encoder (frame) is 4.10, 2.0 times the 2.00" in said
    assert "sync confidence, corpus judge is 4.20 [3.94, 4.46], below the ground truth’s 4.90" in said
    assert "“without blinking” is better than the full model in FD, corpus encoder (video) (5.00 against 5.20)" in said
    assert "The worst clip by mouth r is" in said
    assert "falls from" not in said
    even = _changed(_changed(run, "full", "fd_video", 5.2), "no_blink", "fd_video", 5.199)
    assert not any("is better than the full model in FD, corpus encoder (video)" in s for s in weak.sentences(even))
    changed = _changed(run, "full", "blinks_per_s", 0.1)
    assert "blinks/s: 0.10, less than the ground truth’s 0.70." in weak.sentences(changed)


def test_parts_of_the_test_are_shown_and_folded(run: Results, report: Path) -> None:
    speakers, lengths = breakdown.parts(run)
    assert (speakers.title, lengths.title) == ("speaker", "length of clip")
    assert speakers.rows[1] == ["kira (2 clips)", "0.800 [0.700, 0.900]", "–", "–", "–", "0.800 [0.700, 0.900]", "–"]
    assert lengths.rows == [["longest third (1 clip)", "–", "–", "–", "–", "–", "27.00"]]
    page = (report / "index.html").read_text()
    assert page.count("<details>") == 3
    assert "By speaker, 2 groups" in page
    assert "By speaker, 2 groups" in (report / "index.md").read_text()


def test_settings_that_trained_longer_are_noticed(run: Results) -> None:
    longer = replace(run.methods["full"], config={"steps": 9, "images_per_step": 10})
    judged = claims.evaluate(replace(run, methods={**run.methods, "full": longer}))
    assert [c.holds for c in judged if "same number of steps" in c.claim] == [False]


def test_an_interval_of_an_absolute_value_reaches_to_zero() -> None:
    assert claims._absolute(Score(-0.1, -0.3, 0.2, 4)) == Score(0.1, 0.0, 0.3, 4)
    assert claims._absolute(Score(-0.3, -0.4, -0.2, 4)) == Score(0.3, 0.2, 0.4, 4)


def test_scores_that_mlflow_does_not_have_are_refused(run: Results) -> None:
    assert "5 of 5 methods recorded" in results.check_recorded(run)
    with pytest.raises(HifiDiffError, match=r"full\.json: ear_r/all/high is 0\.51.*of the same key .*delete the file"):
        results.check_recorded(_changed(run, "full", "ear_r", 0.5))


def test_without_a_database_the_report_says_so(run: Results, tmp_path: Path) -> None:
    moved = tmp_path / "data" / "fake"
    shutil.copytree(run.data, moved)
    assert results.check_recorded(replace(run, data=moved)).startswith("MLflow: not present")


def test_a_missing_file_names_itself_and_the_fix(run: Results, tmp_path: Path) -> None:
    moved = tmp_path / "data" / "fake"
    shutil.copytree(run.data, moved)
    (moved / "metrics" / "full.json").unlink()
    with pytest.raises(InputError, match=r"metrics/full\.json: no such file; run 'snakemake"):
        results.read(moved, run.params)


def test_clips_are_chosen_by_order_from_both_splits(run: Results) -> None:
    assert figures.shown_clips(run, 3) == ["kira_s01", "ada_s09", "kira_s09"]
    assert len(figures.shown_clips(run, 99)) == 4
    assert 17 in figures.moments(run, "kira_s01", 4)  # the deepest point of its blink


def test_the_sheet_shows_the_frames_that_were_made(run: Results, report: Path) -> None:
    sheet = np.asarray(Image.open(report / "figures" / "frames.png"))
    made = run.frames("truth", "kira_s01")[figures.moments(run, "kira_s01", 4)[1]]
    side = figures.SIDE
    assert sheet.shape == (22 + 4 * (22 + side + 4) - 4, 4 * (side + 4) - 4, 4)
    assert np.array_equal(sheet[44 : 44 + side, side + 4 : 2 * side + 4, :3], figures.enlarge(made))


def test_the_masked_face_is_grey_where_the_mask_is(run: Results, report: Path) -> None:
    sheet = np.asarray(Image.open(report / "figures" / "inputs.png"))
    masked = sheet[44 : 44 + figures.SIDE, figures.SIDE + 4 : 2 * figures.SIDE + 4, :3]
    share = (np.abs(masked.astype(int) - figures.GREY) < 10).all(-1).mean()
    assert share == pytest.approx(run.clip("kira_s01").masks_THW[0].mean(), abs=0.03)


def test_charts_have_their_lines_and_words(report: Path) -> None:
    traces = (report / "figures" / "traces.svg").read_text()
    assert all(word in traces for word in ("requested", "HifiDiff", "without blinking", "mouth opening", "kira_s01"))
    curves = (report / "figures" / "curves.svg").read_text()
    assert all(term in curves for term in ("total", "simple", "sync", "lpips", "gradient norm"))
    assert Image.open(report / "figures" / "curves.png").size[0] > 1000


def test_the_moving_picture_has_every_frame_and_is_small(run: Results, report: Path) -> None:
    path = report / "figures" / "moving.webp"
    clip = figures.shown_clips(run, 1)[0]
    with Image.open(path) as picture:
        shown = 0  # frames that are equal are one, shown longer
        for frame in ImageSequence.Iterator(picture):
            frame.load()
            shown += frame.info["duration"] // 40
        assert shown == len(run.frames("full", clip))
        assert picture.info["loop"] == 0
        assert picture.size == (2 * videos.PANEL + videos.GAP, videos.LABEL + videos.PANEL)
    assert path.stat().st_size < 600_000


def test_a_video_has_every_frame_its_sound_and_its_panels(run: Results, report: Path) -> None:
    path = report / "videos" / "1.mp4"
    frames = media.decode(path, fps=25)
    assert frames.shape == (40, 2 * (videos.LABEL + videos.PANEL) + videos.GAP, 2 * videos.PANEL + videos.GAP, 3)
    sound, own = media.decode_audio(path, 16000), media.decode_audio(run.sampled("truth", "kira_s01"), 16000)
    assert np.corrcoef(sound[:20000], own[:20000])[0, 1] > 0.9
    panel = frames[0, videos.LABEL : videos.LABEL + videos.PANEL, : videos.PANEL].astype(float)
    assert np.abs(panel - figures.enlarge(run.frames("truth", "kira_s01")[0], videos.PANEL)).mean() < 4


def test_the_page_says_how_well_the_expert_knows_moments_of_one_clip(run, report):
    assert "own sound among two of the same validation clip in 84% of the cases" in pages.expert(run)
    assert pages.expert(run) in (report / "index.md").read_text()


def test_numbers_are_printed_with_their_interval() -> None:
    assert catalogue.with_interval(Score(-0.5, -0.75, 0.25, 3), 2) == "−0.50 [−0.75, 0.25]"
    assert catalogue.with_interval(Score(1.0, None, None, 3), 1) == "1.0"
    assert catalogue.with_interval(None, 2) == "–"
    assert catalogue.kind("never_heard_of").title == "never heard of"


NAMES = {"full": "ours", "no_blink": "a", "no_mask": "b", "other_audio": "c"}


def test_rows_are_known_by_what_they_are_and_not_by_their_names(run: Results) -> None:
    """The same run, its rows called otherwise, has the same claims, headline and colours."""
    raw = run.params.model_dump()
    rows = {NAMES.get(name, name): row for name, row in raw["methods"].items()}
    for row in rows.values():
        row["made_from"] = re.sub(r"\w+$", lambda found: NAMES.get(found[0], found[0]), row["made_from"])
    raw |= {"methods": rows, **{key: [NAMES.get(name, name) for name in raw[key]] for key in ("trained", "talking")}}
    renamed = Params.model_validate(raw)
    methods = {
        NAMES.get(name, name): replace(method, name=NAMES.get(name, name), entry=renamed.methods[NAMES.get(name, name)])
        for name, method in run.methods.items()
    }
    portraits = {NAMES.get(name, name): films for name, films in run.portraits.items()}
    other = replace(run, params=renamed, methods=methods, portraits=portraits)
    was, now = claims.evaluate(run), claims.evaluate(other)
    assert [(c.claim, c.expected, c.holds) for c in was] == [(c.claim, c.expected, c.holds) for c in now]
    assert len(was) > 15
    assert pages.headline(other, now) == pages.headline(run, was)
    assert [other.part(m) for m in other.methods.values()] == [run.part(m) for m in run.methods.values()]
    assert other.main.name == "ours"


def test_a_run_without_hifidiff_is_about_its_first_row(run: Results) -> None:
    alone = replace(run, methods={"truth": run.methods["truth"], "no_mask": run.methods["no_mask"]})
    assert alone.main.name == "no_mask"
    with pytest.raises(InputError, match="no row beside the truth"):
        replace(run, methods={"truth": run.methods["truth"]}).main  # noqa: B018


def rows_of_the_paper(run: Results, fd_video: dict[str, float], spread: float) -> Results:
    """The run with rows of the paper's titles, each a copy of the full model's with another distance."""
    full, methods = run.methods["full"], {"truth": run.methods["truth"]}
    for title in fd_video:
        entry = full.entry.model_copy(update={"title": title, "tables": ["table1"]})
        methods[title] = replace(full, entry=entry)
    found = replace(run, methods=methods)
    for title, value in fd_video.items():
        found = fake_run.with_score(found, title, "fd_video", value, spread)
    return found


def test_the_order_of_systems_is_compared_with_the_papers(run: Results) -> None:
    same = {"SDA": 9.0, "Wav2Lip": 5.0, "Diffused Heads": 4.0, "HifiDiff": 2.0}
    found = order.agreements(rows_of_the_paper(run, same, 0.01))[0]
    assert (found.tau, found.low, found.high, found.exchanged, found.systems) == (1, 1, 1, (), 4)
    assert found.column == "FVD ↓"
    assert "no pair in another order" in found.sentence()
    exchanged = order.agreements(rows_of_the_paper(run, same | {"SDA": 4.5}, 1.0))[0]
    assert exchanged.tau == pytest.approx(2 / 3)  # one of six pairs
    assert exchanged.exchanged == (("Wav2Lip", "SDA"),)
    assert exchanged.low < exchanged.tau <= exchanged.high == 1
    assert "in the other order here: Wav2Lip and SDA." in exchanged.sentence()


def test_three_systems_have_no_order_to_compare(run: Results) -> None:
    few = {"SDA": 9.0, "Wav2Lip": 5.0, "HifiDiff": 2.0}
    assert order.agreements(rows_of_the_paper(run, few, 0.01)) == []
    assert order.agreements(run) == []
    four = rows_of_the_paper(run, few | {"EAMM": 4.0}, 0.5)
    assert pages.content(run, claims.evaluate(run), figures.shown_clips(run, 2)).values["order"] == []
    assert len(order.agreements(four)) >= 1
