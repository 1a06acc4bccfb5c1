"""Mistakes are told in one line that names the value and what is allowed, before anything runs."""

from __future__ import annotations

import os
import subprocess

import pytest
from conftest import ROOT, Project

from stages.base import presets

pytestmark = pytest.mark.workflow


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("patch: 2 ", "patch: 3 ", "network.patch is 3; allowed: input should be 1, 2 or 4"),
        ("  batch: 25", "  batch: many", "sample.batch is 'many'; allowed: input should be a valid integer"),
        (
            "  interpolation: 0.0",
            "  interpolation: 1.5",
            "sample.interpolation is 1.5; allowed: input should be less than or equal to 1",
        ),
        (
            "  interpolation: 0.0",
            "  interpolate: 0.0",
            "sample.interpolate is not a setting; remove it or correct its name",
        ),
        (
            "unseen_speakers: [kira]",
            "unseen_speakers: [kora]",
            "index.unseen_speakers names ['kora'], which corpus.shards lacks",
        ),
        ("made_from: models/no_blink", "made_from: models/half", "methods.no_blink.made_from is 'models/half'"),
    ],
)
def test_a_bad_parameter(fresh: Project, old: str, new: str, expected: str) -> None:
    fresh.edit(old, new)
    message = fresh.run("snakemake", "--dry-run", fails=True)
    assert expected in message
    assert "Traceback" not in message


def test_a_setting_on_the_command_line(fresh: Project) -> None:
    message = fresh.run("snakemake", "--dry-run", "--config", "run=other", fails=True)
    assert "--config has no effect on the stages, which read params.yaml" in message


@pytest.mark.parametrize(
    ("target", "near"),
    [
        ("data/smoke/models/ful/model.safetensors", "did you mean data/smoke/models/full/model.safetensors"),
        ("trian", "did you mean train"),
        ("https://elsewhere/0", "'snakemake --list-rules' lists the rules"),
    ],
)
def test_a_target_that_nothing_makes(fresh: Project, target: str, near: str) -> None:
    message = fresh.run("snakemake", "--dry-run", target, fails=True)
    assert f"{target}: no rule of this name, and no file that the run smoke makes" in message
    assert near in message


def test_a_file_that_snakemake_could_not_read(fresh: Project) -> None:
    path = fresh.root / "params.yaml"
    whole = path.read_text()
    for text, expected in (
        (whole.replace("  fps: 25", "  fps: [25"), "params.yaml: not valid YAML: line "),
        (whole.replace("  fps: 25", "  fps: 30\n  fps: 25"), ": fps stands twice, first in line "),
        (
            (fresh.root / "presets/demo-seeds.yaml").read_text(),
            "params.yaml holds only what differs from demo; write the",
        ),
    ):
        path.write_text(text)
        message = fresh.run("snakemake", "--dry-run", fails=True)
        assert expected in message
        assert "Traceback" not in message
    path.unlink()
    assert "params.yaml: no such file; run 'make use RUN=demo'" in fresh.run("snakemake", "--dry-run", fails=True)


def test_use_refuses_to_lose_edits(fresh: Project) -> None:
    names = ", ".join(path.stem for path in sorted((ROOT / "presets").glob("*.yaml")))
    assert f"allowed: {names}" in fresh.run("python", "-m", "workflow.use", "nothing", fails=True)
    fresh.run("python", "-m", "workflow.use", "demo")
    assert fresh.read("params.yaml") == fresh.read("presets/demo.yaml")
    fresh.run("python", "-m", "workflow.use", "smoke")
    whole = fresh.read("params.yaml").decode()
    assert whole == presets.whole(ROOT / "presets" / "smoke.yaml")
    overlay = (ROOT / "presets" / "smoke.yaml").read_text(encoding="utf-8")
    assert len(whole.splitlines()) > 2 * len(overlay.splitlines())
    assert "  size: 128 # pixels; paper: 128" in whole, "the demo's own comments stand there, too"
    fresh.run("python", "-m", "workflow.use", "demo")
    fresh.edit("bootstrap: 500", "bootstrap: 501")
    assert "would be lost" in fresh.run("python", "-m", "workflow.use", "smoke", fails=True)
    assert b"bootstrap: 501" in fresh.read("params.yaml")


def test_one_bad_clip_is_reported_and_the_others_go_on(fresh: Project) -> None:
    """A folder of one's own, which is a link: good clips, one that is empty, one that is no video, in names with braces."""
    fresh.run("python", "-m", "stages.download", "--shard", "ada", "--out", "rendered.tar")
    folder = fresh.root / "elsewhere"
    folder.mkdir()
    (fresh.root / "videos" / "ada").symlink_to("../elsewhere")
    subprocess.run(["tar", "-xf", "rendered.tar", "-C", str(folder)], cwd=fresh.root, check=True)
    for other in ("clips.json", "truth.parquet"):
        (folder / other).unlink(missing_ok=True)
    (folder / "empty.mp4").write_bytes(b"")
    text = folder / "a {shard}" / "{clip} text.mp4"
    text.parent.mkdir()
    text.write_text("no video")
    fresh.edit("source: rendered", "source: folder")
    fresh.edit("shards: [ada, bela, kira]", "shards: [ada]")
    fresh.edit("unseen_speakers: [kira]", "unseen_speakers: []")
    fresh.edit("test_sentences: [s03]", "test_sentences: [ada_s03]")
    fresh.edit("long_s: 6", "long_s: 0")
    fresh.edit("long_speakers: [kira]", "long_speakers: []")
    fresh.edit("long_min_s: 5", "long_min_s: 0")
    fresh.edit("splits: [test_long]", "splits: [test_seen]")
    fresh.snakemake("data/smoke/index.parquet")
    import pyarrow.parquet as pq

    rows = pq.read_table(fresh.root / "data/smoke/index.parquet").to_pylist()
    status = {row["clip"]: row["status"] for row in rows}
    assert status["ada_empty"] != "ok"
    assert status["ada_clip-text"] != "ok"
    assert sum(value == "ok" for value in status.values()) == 3

    assert fresh.snakemake("--dry-run", "data/smoke/index.parquet") == {}
    text.write_text("another")
    os.utime(text, (0, 0))  # the date of before all that was made
    assert fresh.snakemake("--dry-run", "data/smoke/index.parquet")["download"] == 1
