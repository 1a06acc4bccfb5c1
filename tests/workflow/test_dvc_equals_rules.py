"""dvc.yaml says what the rules say: the same files, the same settings, the same rules called. Small edits of it are caught."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from conftest import ROOT
from dvc.parsing import ResolveError
from graph import Job, Stage, jobs, stages

from stages.base.params import Params, load
from workflow import dvcsync, sources
from workflow.artifacts import artifacts
from workflow.checks import PLACES

PARAMS = load(ROOT / "params.yaml")
FOLDER = PARAMS.corpus.folder.path


@pytest.fixture(scope="module")
def rules() -> list[Job]:
    return jobs(ROOT)


# A stage of `foreach` has one list of settings for all its rows: where a row's rule reads a few values, the section stands.
# After an edit of another value `dvc repro` calls the rule, which finds nothing to do.
ONE_LIST = {"sample": ("sample", "network")}


def within(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def differences(rules: list[Job], found: dict[str, Stage], params: Params) -> list[str]:
    """The differences of dvc.yaml from the rules, a line each."""
    owned = artifacts(params)
    lines = [f"stage {name} is {where}" for name, where in _unmatched({*owned, "code", "in_step"}, set(found))]
    for name in owned.keys() & found.keys():
        made_by = [job for job in rules if job.outputs & set(owned[name])]
        lines += [f"{name}: {line}" for line in _stage(found[name], set(owned[name]), made_by, owned, params)]
    if "in_step" in found:
        record = next(job for job in rules if job.rule == "dvc_record")
        inputs = record.inputs - {"dvc.yaml"}  # which DVC allows no stage to depend on
        lines += [f"in_step: {line}" for line in _inputs(found["in_step"], inputs, owned)]
        lines += [
            f"in_step: setting {x} is {y}" for x, y in _unmatched(set(record.settings), set(found["in_step"].settings))
        ]
    return lines


def _stage(stage: Stage, files: set[str], made_by: list[Job], owned: dict[str, list[str]], params: Params) -> list[str]:
    outputs = frozenset[str]().union(*(job.outputs for job in made_by))
    inputs = frozenset[str]().union(*(job.inputs for job in made_by))
    settings = frozenset[str]().union(*(job.settings for job in made_by))
    expanded = {path for path in files if within(path, stage.outs)}
    lines = [f"output {x} is {y}" for x, y in _unmatched(set(outputs), files)]
    lines += [f"output {x} is {y}" for x, y in _unmatched(files, expanded)]
    lines += [f"out {out} has nothing of it" for out in stage.outs if not any(within(path, [out]) for path in files)]
    whole = ONE_LIST.get(stage.name.split("@")[0], ())
    settings = frozenset(next((part for part in whole if key.startswith(f"{part}.")), key) for key in settings)
    lines += [f"setting {x} is {y}" for x, y in _unmatched(set(settings), set(stage.settings))]
    own_folder = {FOLDER} if stage.name == "download" else set()
    lines += _inputs(stage, inputs, owned, apart=own_folder)
    allowed = stage.command[stage.command.index("--allowed-rules") + 1 :]
    wanted = {job.rule for job in made_by}
    lines += [f"allowed rule {x} is {y}" for x, y in _unmatched(wanted, set(allowed) - {stage.command[1]})]
    target = stage.command[1]
    if target != f"stage_{stage.name}" and target not in files:
        lines.append(f"target {target} is not of this stage")
    return lines


def _inputs(
    stage: Stage, inputs: frozenset[str], owned: dict[str, list[str]], apart: set[str] = frozenset()
) -> list[str]:  # type: ignore[assignment]
    deps = stage.deps - apart
    lines = [f"input {path} is missing in dvc.yaml" for path in sorted(inputs) if not within(path, deps)]
    lines += [f"dep {dep} is none of the rule's" for dep in deps if not any(within(path, [dep]) for path in inputs)]
    known = [path for paths in owned.values() for path in paths]
    wider = [path for path in known if within(path, deps) and path not in inputs]
    return lines + [f"dep on {path} is none of the rule's" for path in wider]


def _unmatched(rules: set[str], dvc: set[str]) -> list[tuple[str, str]]:
    return [(x, "missing in dvc.yaml") for x in sorted(rules - dvc)] + [
        (x, "in dvc.yaml only") for x in sorted(dvc - rules)
    ]


def test_dvc_yaml_says_what_the_rules_say(rules: list[Job]) -> None:
    assert differences(rules, stages(ROOT), PARAMS) == []


def test_what_follows_the_index_lists_no_shards(rules: list[Job]) -> None:
    """Else each of its jobs, and Snakemake's record of each of their files, would grow with the corpus."""
    owned = artifacts(PARAMS)
    shards = {path for stage in dvcsync.SHARDED for path in owned[stage]}
    listing = {job.rule for job in rules if len(job.inputs & shards) > 2}
    assert listing == {"index", "all", "dvc_record", "sample"}
    assert [job.outputs for job in rules if job.rule == "sample" and job.inputs & shards] == [{*owned["sample@truth"]}]
    assert max(len(job.outputs) for job in rules if job.rule != "report") < len(PARAMS.corpus.shards)


MUTATIONS = {
    "no code": (r"\n *- workflow/code/blink\.json(?=\n)", ""),
    "a file too many among the deps": (r"( *)- data/\$\{run\}/faces\n", r"\g<0>\1- data/${run}/judges\n"),
    "a setting less": (r"\n *- mask\.fps", ""),
    "a section instead of a value": (r"- mask\.fps", "- mask"),
    "an output elsewhere": (r"- data/\$\{run\}/blink\n( *spectrogram:)", r"- data/${run}/blinks\n\1"),
    "another rule called": ("--allowed-rules judges", "--allowed-rules expert"),
    "another target": (r"metrics/\$\{key\}\.json --allowed", r"metrics/full.json --allowed"),
    "a method's videos from nowhere": (r"\n *- data/\$\{run\}/\$\{item\.made_from\}", ""),
    "not all methods": (r"foreach: \$\{methods\}", "foreach: ${trained}"),
    "a stage less": (r"\n  index:\n(?:    .*\n)+", "\n"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_an_edit_of_dvc_yaml_is_caught(mutation: str, rules: list[Job], tmp_path: Path) -> None:
    pattern, replacement = MUTATIONS[mutation]
    mutated, count = re.subn(pattern, replacement, (ROOT / "dvc.yaml").read_text(), count=1)
    assert count == 1, f"{pattern} is not in dvc.yaml"
    (tmp_path / "dvc.yaml").write_text(mutated)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    try:
        found = stages(tmp_path)
    except ResolveError:  # DVC itself refuses it
        return
    assert differences(rules, found, PARAMS) != []


# What a stage reads of a section only to check it, and is in its input files: they are made anew where it changes.
IN_THE_DATA = {"sample": {"spectrogram"}}

# tracking.py asks for all sections, to name a run by them; nothing of that is in an output.
ASKS_FOR_ALL = {"stages/store/tracking.py", "stages/base/params.py"}


def settings_read(path: Path) -> set[str]:
    """Keys of params.yaml that a module reads as ``settings.<section>[.<value>]`` or ``params.<section>[.<value>]``."""
    tree = ast.parse(path.read_text())
    inner = {id(node.value): node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in Params.model_fields:
            base = node.value
            if isinstance(base, ast.Name) and base.id in ("settings", "params"):
                value = inner.get(id(node))
                field = Params.model_fields[node.attr].annotation
                known = value in getattr(field, "model_fields", {})
                found.add(f"{node.attr}.{value}" if known else node.attr)
    return found - {"run", "trained", "baselines"}  # which say what there is to make


@pytest.mark.parametrize(
    "stage",
    [name for name in artifacts(PARAMS) if "@" not in name] + ["train", "sample", "features", "metrics", "card"],
)
def test_a_rule_depends_on_every_setting_that_its_stage_reads(stage: str, rules: list[Job]) -> None:
    given = {key for job in rules if job.rule == stage for key in job.settings}
    read = {
        key
        for path in sources.modules(stage)
        if path.endswith(".py") and path not in ASKS_FOR_ALL
        for key in settings_read(ROOT / path)
    }
    covered = {key for key in read if key in given or key.split(".")[0] in given}
    covered |= {key for key in read if key.split(".")[0] in PLACES}  # the file that is read is known by its hash
    covered |= {"methods"} if any(key.startswith("methods.") for key in given) else set()
    assert read - covered - IN_THE_DATA.get(stage, set()) == set()
