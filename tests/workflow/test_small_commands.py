"""The small commands of the workflow: source lists, the graph of rules, the lock of a killed run, provenance."""

from __future__ import annotations

import json
import os
import platform
import random
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from snakemake.exceptions import WorkflowError
from snakemake.persistence import UNREPRESENTABLE, PersistenceBase

from stages.base.params import load
from tests.unit.test_meaning import edits, replaced
from workflow import checks, lock, publish, quality, rulegraph, sources


def package(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_params_are_recorded_as_snakemake_itself_records_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snakemake would import pandas for each; a version that has renamed what is spared is noticed here."""
    own = PersistenceBase._serialize_param_pandas
    monkeypatch.setattr(PersistenceBase, "_serialize_param", PersistenceBase._serialize_param)
    checks.params_are_no_tables()
    kind = type("Kept", (PersistenceBase,), {})
    monkeypatch.setattr(kind, "__abstractmethods__", frozenset())  # nothing is stored here
    kept = object.__new__(kind)
    assert kept._serialize_param == kept._serialize_param_builtin
    settings = checks.Settings(load(ROOT / "presets" / "demo.yaml").model_dump())
    values = settings.all()({})
    assert values
    for value in (values, *values.values(), "text", None, 1.5):
        assert kept._serialize_param(value) == own(kept, value) != UNREPRESENTABLE


def test_sources_follow_imports_anywhere_in_a_module(tmp_path: Path) -> None:
    root = package(
        tmp_path,
        {
            "stages/__init__.py": "",
            "stages/base/errors.py": "",
            "stages/mask.py": "import numpy\nfrom stages import geometry\nfrom stages.base.errors import run\n",
            "stages/geometry.py": "def late():\n    import stages.net.unet\n",
            "stages/net/__init__.py": "",
            "stages/net/unet.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from stages import other\n",
            "stages/net/table.csv": "",
            "stages/other.py": "",
        },
    )
    expected = ["__init__.py", "geometry.py", "mask.py", "net/__init__.py", "net/table.csv", "net/unet.py"]
    assert sources.modules("mask", root) == [f"stages/{name}" for name in expected]


def test_the_records_of_code_are_current() -> None:
    assert sources.write() == [], "they were not, and are now: commit workflow/code"


def test_a_record_changes_where_a_module_of_its_stage_does(tmp_path: Path) -> None:
    root = tmp_path
    for folder in ("stages", "workflow/code"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    assert sources.write(root) == []
    (root / "stages/blink.py").write_text("# a comment\n" + (ROOT / "stages/blink.py").read_text())
    assert fresh_write(root) == []
    (root / "stages/blink.py").write_text((ROOT / "stages/blink.py").read_text() + "\nprint(1)\n")
    (root / "stages/methods/kinds/mine.py").write_text('"""A new kind."""\n')
    assert sorted(fresh_write(root)) == [f"workflow/code/{name}.json" for name in ("blink", "kind_mine", "report")]
    (root / "stages/methods/kinds/mine.py").unlink()
    assert sorted(fresh_write(root)) == [f"workflow/code/{name}.json" for name in ("kind_mine", "report")]


def test_what_modules_without_effect_import_counts(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "workflow" / "code", tmp_path / "workflow" / "code")
    path = tmp_path / "stages/base/overrides.py"
    path.write_text(
        path.read_text(encoding="utf-8").replace("{**section, **own}", "{**own, **section}"), encoding="utf-8"
    )
    changed = fresh_write(tmp_path)
    assert {"workflow/code/sample.json", "workflow/code/train.json", "workflow/code/portraits.json"} <= set(changed)


def test_messages_of_modules_without_effect_change_no_record(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "workflow" / "code", tmp_path / "workflow" / "code")
    count = 0
    for seed in range(3):
        draw = random.Random(seed)
        for name in sources.WITHOUT_EFFECT:
            source = (ROOT / name).read_text(encoding="utf-8")
            if possible := list(edits("text", source)):
                where, text = draw.choice(possible)
                (tmp_path / name).write_text(replaced(source, where, text), encoding="utf-8")
                count += 1
        assert fresh_write(tmp_path) == []
    assert count >= 20


def fresh_write(root: Path) -> list[str]:
    """The files that another process would write: this one remembers the files that it read."""
    sources._remembered.cache_clear()
    sources._state.cache_clear()
    return sources.write(root)


def test_the_graph_of_rules_is_reduced_and_current() -> None:
    assert rulegraph.edges("  id0[a]\n  id1[b]\n  id1 --> id0\n") == [("b", "a")]
    assert rulegraph.reduced([("a", "b"), ("a", "c"), ("b", "c")]) == [("a", "b"), ("b", "c")]
    assert (ROOT / "docs" / "rulegraph.md").read_text() == rulegraph.page(), "make rulegraph"


def test_a_lock_is_removed_only_where_its_holder_is_known_and_dead(tmp_path: Path) -> None:
    made = "0.input.lock"
    package(tmp_path, {f".snakemake/locks/{made}": "x\n"})
    locked = tmp_path / ".snakemake" / "locks" / made
    assert lock.release(tmp_path) is False, "nobody knows whose it is"
    with lock.hold(tmp_path):
        assert lock.release(tmp_path) is False, "this process is alive"
        (own,) = lock.living(tmp_path)
    holder = tmp_path / lock.HOLDERS / "another.json"
    assert lock.living(tmp_path) == [], "it has ended"
    for other in ({"host": "elsewhere", "started": 0.0}, {"host": "elsewhere"}):
        holder.write_text(json.dumps(own | other))
        assert lock.release(tmp_path) is False, "of another machine"
    assert locked.exists()
    holder.write_text(json.dumps(own | {"started": 0.0}))  # another process had this id
    assert lock.release(tmp_path) is True
    assert not locked.exists()
    assert not holder.exists()
    assert lock.release(tmp_path) is False


def test_what_a_killed_process_was_writing_is_removed_and_nothing_else(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    mine, theirs = f"faces/.ada.parquet.{os.getpid()}.part", f"faces/.ada.parquet.{dead.pid}.part"
    kept = [mine, "clip.flv.part", "faces/ada.parquet"]
    package(tmp_path, dict.fromkeys([*kept, theirs, f"mask.json.{dead.pid}.part"], ""))
    lock.tidy([tmp_path, tmp_path / "none"])
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")) == sorted(kept)


def test_a_refusal_names_the_holder_and_the_fix(tmp_path: Path) -> None:
    here = {"host": platform.node(), "process": os.getpid(), "started": 1.7e9, "command": "snakemake --cores 2"}
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1.7e9))
    told = lock.refusal(tmp_path, [here])
    assert told.startswith(
        f"{tmp_path}: 'snakemake --cores 2' (process {os.getpid()} on {platform.node()}, since {since})"
    )
    assert f"'kill -TERM -- -{os.getpgrp()}'" in told
    away = lock.refusal(tmp_path, [here | {"host": "node7"}])
    assert f"process {os.getpid()} on node7" in away
    assert "kill" not in away.replace("killed", "")
    assert "snakemake --unlock" in away
    assert "snakemake --unlock" in lock.refusal(tmp_path, [])


def test_times_are_summed_over_a_rules_jobs(tmp_path: Path) -> None:
    table = "s\th:m:s\n{}\t0:00:00\n"
    package(tmp_path, {"index.tsv": table.format(1), "mask/ada.tsv": table.format(2), "mask/bela.tsv": table.format(3)})
    package(tmp_path, {"mask/nobody.tsv": table.format(9), "train/another.tsv": table.format(9)})  # of another run
    assert publish.rule_times(tmp_path, load(ROOT / "presets" / "demo.yaml")) == {
        "index": {"jobs": 1, "seconds": 1.0, "longest": 1.0},
        "mask": {"jobs": 2, "seconds": 5.0, "longest": 3.0},
    }


def test_the_seconds_of_each_sampling_stand_beside_its_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = "s\th:m:s\n{}\t0:00:00\n"
    package(tmp_path / "logs", {"sample/full.tsv": table.format(12.5), "sample/truth.tsv": table.format(3)})
    package(tmp_path / "data" / "demo" / "metrics", {"full.json": '{"n_frames": 50}', "truth.json": '{"n_frames": 50}'})
    params = load(ROOT / "presets" / "demo.yaml")
    given = params.methods["full"].model_copy(update={"kind": "videos", "made_from": "videos/given"})
    params = params.model_copy(update={"methods": params.methods | {"given": given}})
    package(tmp_path / "logs", {"sample/given.tsv": table.format(4)})  # copied, not made
    package(tmp_path / "data" / "demo" / "metrics", {"given.json": '{"n_frames": 50}'})
    found = publish.sampling_times(tmp_path / "logs", params)
    assert found == {"full": {"frames": 50, "seconds": 12.5}}


def test_the_cpu_seconds_of_each_training_are_told(tmp_path: Path) -> None:
    table = "s\th:m:s\tcpu_time\n9\t0:00:09\t{}\n"
    package(tmp_path, {"train/full.tsv": table.format(350.5), "train_baseline/sda.tsv": table.format(340)})
    package(tmp_path, {"train/another.tsv": table.format(9)})
    params = load(ROOT / "presets" / "demo-baselines.yaml")
    assert publish.training_times(tmp_path, params) == {"full": 350.5, "sda": 340.0}


def test_provenance_names_commit_hardware_times_and_runs() -> None:
    found = {
        "run": "demo",
        "finished": "today",
        "environment": {"commit": "abc"},
        "hardware": publish.hardware(),
        "rules": {"mask": {"jobs": 2, "seconds": 5.0, "longest": 3.0}},
        "training": {"full": 351.6},
        "sampling": {"ddim": {"frames": 150, "seconds": 30.0}},
    }
    text = publish.page(found, {"full": {"training": "r1"}}, [])
    for row in (
        "| commit | abc |",
        f"| cores | {os.cpu_count()} |",
        "| mask | 2 | 5.0 | 3.0 |",
        "| full | 352 |",
        "| ddim | 150 | 30.0 | 5.0 |",
        "| full | training | `r1` |",
    ):
        assert row in text
    assert "MLflow: not present" in publish.page(found, {}, [])


def test_scores_stand_against_the_seconds_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lengths of the full model, one of SDA: a line and a point; settings without a condition are no length."""
    monkeypatch.chdir(tmp_path)
    params = load(ROOT / "presets" / "demo-baselines.yaml")
    short = params.methods["full"].model_copy(update={"made_from": "models/short", "settings": {"train": {"steps": 9}}})
    params = params.model_copy(update={"methods": params.methods | {"short": short}})
    metrics = params.data / "metrics"
    for name, distance in (("full", 1.25), ("short", 4.0), ("sda", 2.0), ("no_blink", 9.0)):
        scores = {"fd_frame": {"all": {"value": distance}}, "fd_frame_floor": {"all": {"value": 1.1}}}
        package(metrics, {f"{name}.json": json.dumps({"scores": scores})})
    seconds = {"full": 400.0, "short": 100.0, "sda": 390.0, "no_blink": 400.0, "wav2lip": 380.0}
    found = quality.points(params, seconds)
    assert [(p.method, p.system, p.seconds, p.scores["fd_frame"]) for p in found] == [
        ("short", "HifiDiff", 100.0, 4.0),
        ("full", "HifiDiff", 400.0, 1.25),
        ("sda", "SDA", 390.0, 2.0),
    ]
    assert quality.several(found)
    assert not quality.several(found[1:]), "one length each"
    assert quality.printed(found[1]) == ["1.25", "–", "–", "–"]
    quality.drawn(found, quality.floors(params), tmp_path / "quality.png")
    assert all((tmp_path / f"quality.{kind}").stat().st_size > 2000 for kind in ("png", "svg"))


def test_the_public_expert_is_there_where_it_is_asked(tmp_path: Path) -> None:
    params = load(ROOT / "params.yaml")
    assert checks.public_expert(params) == []
    path = tmp_path / "expert.safetensors"
    own = params.expert.model_copy(update={"source": "wav2lip", "path": str(path)})
    params = params.model_copy(update={"expert": own})
    with pytest.raises(WorkflowError, match=r"no such file; make it by 'python -m stages\.convert"):
        checks.public_expert(params)
    path.touch()
    assert checks.public_expert(params) == []


def test_a_scheduler_is_asked_for_a_gpu_by_what_makes_frames_on_one() -> None:
    params = load(ROOT / "presets" / "demo.yaml")
    assert [checks.sampling_gpus(params, name) for name in ("truth", "full")] == [0, 1]
    full = params.methods["full"].model_copy(update={"sample": {"device": "cpu"}})
    params = params.model_copy(update={"methods": params.methods | {"full": full}})
    assert checks.sampling_gpus(params, "full") == 0
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
    rules = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk"))
    asking = {
        rule.split(":")[0]
        for rule in rules.split("\nrule ")[1:]
        if re.search(r"^ +(gpu=|\*\*checks\.accelerators)", rule, re.MULTILINE)
    }
    assert "portraits" in asking
    assert set(profile["set-resources"]) == asking
    assert all("gpu" not in asked for asked in profile["set-resources"].values()), "it would override the rules' own"


def test_dvcs_files_stay_short() -> None:
    assert len((ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()) <= 350
    assert (ROOT / "dvc.lock").stat().st_size <= 80_000, "at the demo's size"


def test_what_talks_where_no_model_is_named() -> None:
    params = load(ROOT / "presets" / "demo.yaml")
    assert params.default_model == Path("data/demo/models/full")
    assert params.model_copy(update={"talking": ["mine"]}).default_model == Path("data/demo/models/mine")
    assert params.model_copy(update={"talking": [], "trained": ["a", "b"]}).default_model == Path("data/demo/models/a")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert makefile.count("load().default_model") == 2
    assert "models/full" not in makefile


@pytest.mark.parametrize("made", ["link", "other"])
def test_make_env_replaces_no_environment_that_it_did_not_make(tmp_path: Path, made: str) -> None:
    for name in ("Makefile", "requirements.lock"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    if made == "link":
        (tmp_path / ".venv").symlink_to("elsewhere")
    else:
        (tmp_path / "elsewhere").rename(tmp_path / ".venv")
    done = subprocess.run(["make", "env"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert ".venv was not made by make, which would replace it; move it away" in done.stderr
    assert (tmp_path / ".venv" / "kept").exists()
