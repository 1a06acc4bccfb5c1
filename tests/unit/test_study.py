"""A study of samplers and a long clip in the report: rows, groups, cost, sentences, figures, files and claims."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fake_run
import numpy as np
import pytest
from PIL import Image

from stages.report import LARGEST, write
from stages.reporting import claims, figures, study, tables
from stages.reporting.files import files
from stages.reporting.results import Results, Score


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    yield from fake_run.finished(tmp_path_factory, fake_run.study())


@pytest.fixture(scope="module")
def report(run: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reports") / "fakestudy"
    write(run, out)
    return out


def _with(run: Results, method: str, name: str, value: float, low: float, high: float) -> Results:
    document = json.loads(json.dumps(run.methods[method].document))
    score = {"value": value, "low": low, "high": high, "n": 4}
    document["scores"][name] = dict.fromkeys(document["scores"].get(name, {"all": None}), score)
    return replace(run, methods={**run.methods, method: replace(run.methods[method], document=document)})


def test_a_studys_files_are_written_and_known_beforehand(run: Results, report: Path) -> None:
    written = {str(path.relative_to(report)) for path in report.rglob("*") if path.is_file()}
    assert written == set(files(run.params))
    assert {"figures/samplers.csv", "figures/samplers.svg", "figures/long.png"} <= written
    assert not {path for path in files(fake_run.settings()) if "samplers" in path or "long" in path}
    assert all(0 < path.stat().st_size <= LARGEST for path in report.rglob("*") if path.is_file())


def test_rows_of_other_frames_are_in_a_group_of_their_own(run: Results) -> None:
    large, small = study.groups(run)
    assert (large.clips, large.frames) == (4, 160)
    assert (small.clips, small.frames) == (4, 32)
    assert [row.method.name for row in small.rows] == ["truth_8", "ancestral_10_8", "ancestral_1000_8"]
    names = [row.method.name for row in large.rows]
    assert names == ["truth", *[n for n in run.params.shown_in("samplers") if n not in ("truth", *_names(small))]]
    assert large.truth is large.rows[0]
    assert "full" not in names  # Table 1's own row is no cell


def _names(group: study.Group) -> list[str]:
    return [row.method.name for row in group.rows]


def test_the_truth_alone_is_no_study(run: Results) -> None:
    kept = {n: m for n, m in run.params.methods.items() if "samplers" not in m.tables or m.kind == "truth"}
    alone = replace(run, params=run.params.model_copy(update={"methods": kept}))
    assert not alone.params.has_study
    assert study.groups(alone) == []
    assert "figures/samplers.csv" not in files(alone.params)


def test_what_a_row_is_called(run: Results) -> None:
    rows = {row.method.name: row for group in study.groups(run) for row in group.rows}
    assert rows["ddim_25_mixed"].cells()[:4] == ["DDIM", "25", "interpolated 0.9", "25"]
    assert rows["ancestral_5_apart"].cells()[:3] == ["ancestral", "5", "independent"]
    assert rows["guided"].cells()[:4] == ["DDIM, audio guided ×2", "5", "shared", "10"]
    assert rows["truth_8"].cells()[:5] == ["GT, 8 frames", "–", "–", "–", "–"]
    assert study.noise(run.params.sample.model_copy(update={"shared_noise": 0.5, "interpolation": 0.9})) == (
        "shared 0.5, interpolated 0.9"
    )


def test_cost_is_calls_times_the_networks_operations(run: Results) -> None:
    rows = {row.method.name: row for group in study.groups(run) for row in group.rows}
    config = run.methods["full"].config
    assert config is not None
    one = study.call_gflops(config)
    assert 0.3 < one < 1.5
    assert rows["ancestral_1000_8"].gflops == pytest.approx(1000 * one)
    assert rows["guided"].gflops == rows["ddim_5_shared"].gflops * 2  # type: ignore[operator]
    both = run.params.sample.model_copy(update={"steps": 7, "guidance_audio": 2.0, "guidance_blink": 3.0})
    assert (study.calls(both, []), study.calls(both, ["blink"])) == (21, 14)


def test_the_csv_holds_every_setting_and_the_scores_to_the_last_digit(run: Results, report: Path) -> None:
    rows = {row["method"]: row for row in csv.DictReader((report / "figures" / "samplers.csv").open())}
    assert list(rows) == [row.method.name for group in study.groups(run) for row in group.rows]
    cell = rows["ddim_25_mixed"]
    assert (cell["sampler"], cell["steps"], cell["interpolation"], cell["frames"]) == ("ddim", "25", "0.9", "160")
    score = run.methods["ddim_25_mixed"].document["scores"]["fd_frame"]["all"]
    assert (float(cell["fd_frame"]), float(cell["fd_frame_low"])) == (score["value"], score["low"])
    assert rows["truth"]["sampler"] == rows["truth"]["calls"] == ""


def test_sentences_say_what_the_numbers_say(run: Results) -> None:
    large, small = (study.sentences(group) for group in study.groups(run))
    said = " ".join(large)
    assert (
        "Best FD, corpus encoder (frame): 4.12 [3.96, 4.28], DDIM, 25 steps, noise shared. No different: 1 of 12 others."
        in said
    )
    assert (
        "DDIM from 5 to 25 steps, noise shared: FD, corpus encoder (frame) 4.60 [4.42, 4.78] → 4.12 [3.96, 4.28] (better)"
        in said
    )
    assert "mouth r 0.740 [0.710, 0.770] → 0.788 [0.756, 0.820] (no different), best at 25" in said
    assert "F-MSE ratio by noise, over samplers and steps: 0.80 (shared), 2.18 (interpolated 0.9)" in said
    assert "DDIM, audio guided ×2, 5 steps, noise shared, against the same unguided: mouth r" in said
    assert any(sentence.startswith("Ancestral from 10 to 1000 steps") for sentence in small)
    assert not any("by noise" in sentence for sentence in small)  # it has one noise only


def test_more_steps_that_make_it_worse_are_called_worse(run: Results) -> None:
    worse = _with(run, "ddim_25_shared", "mouth_r", 0.3, 0.25, 0.35)
    said = " ".join(study.sentences(study.groups(worse)[0]))
    assert "mouth r 0.740 [0.710, 0.770] → 0.300 [0.250, 0.350] (worse), best at 5" in said


@pytest.mark.parametrize(
    ("name", "b", "expected"),
    [
        ("fd_frame", Score(1.0, 0.5, 1.4, 4), "better"),
        ("fd_frame", Score(3.0, 2.6, 3.4, 4), "worse"),
        ("mouth_r", Score(3.0, 2.6, 3.4, 4), "better"),
        ("mouth_r", Score(2.2, 1.6, 2.8, 4), "no different"),
        ("mouth_r", Score(9.0, None, None, 4), "no different"),
    ],
)
def test_better_and_worse_need_intervals_apart(name: str, b: Score, expected: str) -> None:
    assert study.compared(Score(2.0, 1.5, 2.5, 4), b, name) == expected


def test_pages_show_the_study_and_the_long_clip(run: Results, report: Path) -> None:
    for name in ("index.html", "index.md"):
        page = (report / name).read_text()
        assert "Samplers: quality, smoothness and cost" in page
        assert "160 frames of 4 clips in each row" in page
        assert "are not to be compared" in page
        assert "DDIM, audio guided ×2" in page
        assert "No drift on a long clip" in page
    assert 'id="long"' in (report / "index.html").read_text()
    shown = {name: rows for name, _, rows in tables.every_score(run)}
    assert [row[0] for row in shown["psnr_drift"]] == ["HifiDiff, long"]
    assert tables.score_columns(run)[-1] == "long clips"
    assert not any("ddim" in row[0] for row in shown["mouth_r"])  # cells stand in the study's table


def test_claims_of_absent_methods_are_not_made(run: Results) -> None:
    made = [claim.claim for claim in claims.evaluate(run)]
    assert not any(
        word in claim for claim in made for word in ("Without the", "another clip's audio the", "same number")
    )
    assert all(claim.holds for claim in claims.evaluate(run))


@pytest.mark.parametrize(
    ("value", "low", "high", "holds"),
    [(-0.05, -0.15, 0.05, True), (0.4, 0.2, 0.6, True), (-0.4, -0.6, -0.2, False), (-0.2, -0.4, 0.0, True)],
)
def test_a_drift_must_reach_zero(run: Results, value: float, low: float, high: float, holds: bool) -> None:
    judged = claims.evaluate(_with(run, "full_long", "psnr_drift", value, low, high))
    found = next(c for c in judged if "PSNR in mask" in c.claim and "No drift" in c.claim)
    assert found.holds is holds
    assert "the last 1 seconds equals the first 1" in found.claim
    assert found.command.endswith("metrics/full_long.json")


def test_a_drift_that_was_not_measured_does_not_hold(run: Results) -> None:
    document = json.loads(json.dumps(run.methods["full_long"].document))
    del document["scores"]["psnr_drift"]
    without = replace(run, methods={**run.methods, "full_long": replace(run.methods["full_long"], document=document)})
    assert [c.measured for c in claims.evaluate(without) if not c.holds] == ["not measured"]


def test_charts_have_their_lines_and_words(report: Path) -> None:
    chart = (report / "figures" / "samplers.svg").read_text()
    assert all(word in chart for word in ("DDIM", "ancestral", "interpolated 0.9", "guided", "network calls a frame"))
    long = (report / "figures" / "long.svg").read_text()
    assert all(word in long for word in ("PSNR in mask, dB", "mouth r", "seconds"))
    assert Image.open(report / "figures" / "samplers.png").size[0] > 1000


def test_seconds_are_means_of_their_frames() -> None:
    values = np.arange(60, dtype=float)
    values[3], values[4] = np.nan, np.inf
    time, means = figures.by_second(values, 25)
    assert list(time) == [0.5, 1.5, 2.2]
    assert means == pytest.approx([(np.arange(25).sum() - 7) / 23, np.arange(25, 50).mean(), np.arange(50, 60).mean()])


def test_the_same_inputs_give_the_same_bytes(run: Results, report: Path, tmp_path: Path) -> None:
    figures.samplers(study.groups(run), tmp_path / "samplers")
    figures.long(run, tmp_path / "long")
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (report / "figures" / path.name).read_bytes(), path.name
    assert study.to_csv(study.groups(run)) == (report / "figures" / "samplers.csv").read_text()


def test_frames_that_every_setting_has_are_shown(run: Results) -> None:
    methods = dict(run.params.methods)
    methods["full"] = methods["full"].model_copy(update={"sample": {"frames": 25}})
    short = replace(run, params=run.params.model_copy(update={"methods": methods}))
    assert len(short.clip("kira_s01").frames_THWC) == 25
    assert max(figures.moments(short, "kira_s01", 4)) < 25
