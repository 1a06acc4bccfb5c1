"""DVC and Snakemake tell one story, sentence by sentence, on the smoke run."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from conftest import Project

from stages.base.params import load
from workflow.artifacts import artifacts

pytestmark = pytest.mark.workflow

TITLE = "HifiDiff: smoke run (shows nothing but that every stage works)"


def test_everything_is_made_and_both_are_up_to_date(smoke_run: Project) -> None:
    params = load(smoke_run.root / "params.yaml")
    for path in (path for paths in artifacts(params).values() for path in paths):
        assert (smoke_run.root / path).is_file(), path
    assert smoke_run.to_do() == {}
    assert smoke_run.changed() == []


def test_dvc_repro_runs_nothing_after_snakemake(smoke: Project) -> None:
    assert smoke.repro() == []
    assert smoke.to_do() == {}


def test_videos_are_unpacked(smoke: Project) -> None:
    said = smoke.run("python", "-m", "workflow.videos")
    names = {path.relative_to(smoke.root / "videos_out/smoke") for path in smoke.root.glob("videos_out/smoke/*/*.mp4")}
    assert f"{len(names)} videos in videos_out/smoke" in said
    assert {name.parts[0] for name in names} == set(load(smoke.root / "params.yaml").methods)


def test_a_run_beside_a_finished_one_is_made_whole(smoke: Project) -> None:
    smoke.edit("run: smoke #", "run: another #")
    params = load(smoke.root / "params.yaml")
    to_do = smoke.to_do()
    assert {"mask", "expert", "reference", "report", "dvc_record"} <= to_do.keys()
    assert to_do["download"] == len(params.corpus.shards)
    assert (to_do["sample"], to_do["train"]) == (len(params.methods), len(params.trained))


def test_after_an_edit_dvc_repro_runs_what_depends_on_it_and_snakemake_nothing(smoke: Project) -> None:
    smoke.edit(TITLE, "another title")
    assert smoke.to_do() == {"report": 1, "dvc_record": 1}
    assert smoke.repro() == ["report", "in_step"]
    assert b"another title" in smoke.read("reports/smoke/index.md")
    assert smoke.to_do() == {}
    assert smoke.changed() == []

    smoke.edit("another title", TITLE)  # now DVC takes the report from its run cache, and Snakemake takes it over
    assert smoke.repro() == ["report", "in_step"]
    assert smoke.to_do() == {}
    smoke.edit(TITLE, "a third title")  # which must not make it blind
    assert smoke.to_do() == {"report": 1, "dvc_record": 1}


def test_after_an_edit_snakemake_runs_what_depends_on_it_and_dvc_repro_nothing(smoke: Project) -> None:
    smoke.edit("bootstrap: 20", "bootstrap: 30")
    methods = list(load(smoke.root / "params.yaml").methods)
    assert [name for name in smoke.changed() if name != "in_step"] == [*(f"metrics@{m}" for m in methods), "report"]
    assert smoke.snakemake() == {"metrics": len(methods), "card": 3, "report": 1, "dvc_record": 1}
    assert smoke.changed() == []
    assert smoke.repro() == []


def test_a_method_of_another_title_gets_its_card_and_the_report_from_dvc_alone(smoke: Project) -> None:
    smoke.edit("title: without blinking", "title: no blinks")
    assert sorted(smoke.repro()) == ["card@full", "card@no_blink", "card@no_mask", "in_step", "report"]
    assert b"no blinks" in smoke.read("data/smoke/cards/no_blink.md")
    assert smoke.to_do() == {}


@pytest.mark.parametrize(
    ("old", "new", "rules"),
    [
        ("close_ratio: 0.75", "close_ratio: 0.7", {"blink": 3, "index": 1, "expert": 1, "judges": 3, "train": 3}),
        ("  shared_noise: 1.0", "  shared_noise: 0.5", {"sample": 5, "features": 5, "metrics": 5}),  # not the truth's
        ("drop: [blink]", "drop: [blink, masked_face]", {"train": 1, "sample": 1, "features": 1, "metrics": 1}),
        ("title: without blinking", "title: no blinks", {}),
    ],
)
def test_an_edit_reaches_what_depends_on_it_in_both(smoke: Project, old: str, new: str, rules: dict[str, int]) -> None:
    smoke.edit(old, new)
    planned = smoke.to_do()
    assert rules.items() <= planned.items()
    assert {"report": 1, "dvc_record": 1}.items() <= planned.items()
    changed = {name.split("@")[0] for name in smoke.changed()} - {"in_step"}
    assert changed <= planned.keys()
    assert changed  # DVC looks one stage ahead only: what a run would change later, it can't know


def test_an_edit_of_a_source_counts_where_its_code_changes(smoke: Project) -> None:
    path = smoke.root / "stages" / "training" / "hifidiff.py"
    source = path.read_text()
    path.write_text("# Why this is so.\n" + source)
    assert smoke.changed() == ["code"]  # at once; nothing has run since the edit
    assert smoke.to_do() == {}
    assert smoke.repro() == ["code"]
    assert smoke.changed() == []
    path.write_text(source + "\nUNUSED = 1\n")
    assert smoke.changed() == ["code"]
    to_do = smoke.to_do()
    assert to_do["train"] == 3
    assert not {"mask", "expert", "judges"} & to_do.keys()
    assert {"code", "train@full"} <= set(smoke.changed())  # Snakemake has brought the records of code up to date


def test_a_clone_pulls_and_makes_nothing_again(smoke: Project, tmp_path: Path) -> None:
    smoke.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    smoke.run("dvc", "push")
    smoke.commit()
    smoke.run("git", "clone", "--quiet", str(smoke.root), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    assert clone.to_do()["download"] == 3  # nothing but the report is there, which does not stop a run
    clone.run("dvc", "pull")
    assert "python -m workflow.dvcsync" in clone.run("snakemake", fails=True)
    clone.run("python", "-m", "workflow.dvcsync")
    assert clone.to_do() == {}
    assert clone.changed() == []
    clone.edit("bootstrap: 20", "bootstrap: 30")
    assert clone.to_do() == {"metrics": 6, "card": 3, "report": 1, "dvc_record": 1}
    refused = clone.run("python", "-m", "workflow.dvcsync", fails=True)
    assert "metrics@full" in refused
    assert "dvc repro" in refused


def test_dvc_compares_metrics_plots_and_parameters(smoke: Project) -> None:
    smoke.edit("bootstrap: 20", "bootstrap: 25")
    path = smoke.root / "data/smoke/metrics/full.json"
    scores = json.loads(path.read_text())
    scores["n_clips"] += 1
    path.write_text(json.dumps(scores))
    (change,) = json.loads(smoke.run("dvc", "params", "diff", "--json"))["params.yaml"].values()
    assert change == {"old": 20, "new": 25, "diff": 5}
    diff = json.loads(smoke.run("dvc", "metrics", "diff", "--json"))
    assert diff["data/smoke/metrics/full.json"]["n_clips"]["diff"] == 1
    smoke.run("dvc", "plots", "show", "--out", "plots")
    page = (smoke.root / "plots" / "index.html").read_text()
    with open(smoke.root / "data/smoke/models/full/curves.csv", newline="") as file:
        assert next(csv.reader(file))[0] == "step"
    assert '"field": "step"' in page


def test_experiments_give_what_a_run_gives(smoke: Project) -> None:
    smoke.run("dvc", "exp", "run", "--set-param", "report.title=tried")
    assert b"tried" in smoke.read("reports/smoke/index.md")
    assert smoke.to_do() == {}
    assert smoke.changed() == []
    smoke.run("dvc", "exp", "run", "--temp", "--name", "aside", "--set-param", "report.title=aside")
    smoke.run("dvc", "exp", "run", "--queue", "--name", "later", "--set-param", "report.title=later")
    smoke.run("dvc", "queue", "start")
    smoke.run("dvc", "queue", "logs", "later", "--follow")
    assert b"tried" in smoke.read("reports/smoke/index.md")  # the workspace is as it was
    for name in ("aside", "later"):
        smoke.run("git", "checkout", "--quiet", "--", ".")
        smoke.run("dvc", "exp", "apply", name)
        found = smoke.read("reports/smoke/index.md")
        assert name.encode() in found
        smoke.run("python", "-m", "workflow.dvcsync")
        assert smoke.to_do() == {}
        smoke.snakemake("--forcerun", "report")
        assert smoke.read("reports/smoke/index.md") == found


def test_a_failed_run_leaves_dvc_with_what_was_finished(smoke: Project) -> None:
    smoke.edit("bootstrap: 20", "bootstrap: 30")
    shutil.rmtree(smoke.root / "data/smoke/portraits")
    stage = smoke.root / "stages/card.py"
    source = stage.read_text()
    stage.write_text("raise SystemExit('this fails')\n" + source)
    smoke.run("snakemake", "--cores", "2", "data/smoke/cards/full.md", fails=True)
    changed = smoke.changed()
    assert {"card@full", "portraits@full"} <= set(changed)
    assert not [name for name in changed if name.startswith("metrics")]

    stage.write_text(source)  # back to what was whole before; only dvc.lock tells another story
    smoke.edit("bootstrap: 30", "bootstrap: 20")
    smoke.snakemake()
    assert smoke.to_do() == {}
    assert smoke.changed() == []


def test_files_that_no_rule_makes_stop_a_run(smoke: Project) -> None:
    stranger = smoke.root / "data/smoke/raw/nobody.tar"
    stranger.write_bytes(b"")
    smoke.edit(TITLE, "another title")
    assert "data/smoke/raw/nobody.tar: no rule makes it" in smoke.run("snakemake", fails=True)


def test_the_report_of_the_workflow_and_its_lists(smoke_run: Project, tmp_path: Path) -> None:
    smoke_run.run("snakemake", "--report", str(tmp_path / "workflow.html"))
    assert (tmp_path / "workflow.html").stat().st_size > 100_000
    listed = smoke_run.run("snakemake", "--list-rules")
    assert "train (Train one method; killed, it goes on from its last saved state.)" in listed


def test_lint_has_nothing_to_say(smoke_run: Project) -> None:
    lints = smoke_run.run("snakemake", "--lint")
    assert not [line for line in lints.splitlines() if line.startswith("    * ")]
    assert "Congratulations" in lints
