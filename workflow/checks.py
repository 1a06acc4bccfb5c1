"""Checks of the settings for the rules, before anything runs."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from snakemake.cli import get_argument_parser
from snakemake.exceptions import WorkflowError
from snakemake.executors import touch
from snakemake.persistence import PersistenceBase

from stages.base import places, presets
from stages.base.errors import InputError, ParameterError
from stages.base.params import BUILT_IN, PARAMS_FILE, Params, Train, parse, validate
from workflow import nodes as slurm
from workflow.artifacts import artifacts


def read(path: Path = Path(PARAMS_FILE)) -> Any:
    """The content of the parameter file, read before Snakemake reads it, whose own message names neither line nor fix.

    Raises:
        WorkflowError: it is missing, is no YAML, or holds only what differs from another.
    """
    try:
        text = presets.read(path)
        if (base := presets.base_of(text)) is not None:
            raise WorkflowError(
                f"{path} holds only what differs from {base}; write the whole one with 'make use RUN=<preset>'"
            )
        return parse(text, path)
    except FileNotFoundError:
        raise WorkflowError(f"{path}: no such file; run 'make use RUN=demo'") from None
    except ParameterError as error:
        raise WorkflowError(str(error)) from None


def params(config: Mapping[str, Any], said: Any, path: Path = Path(PARAMS_FILE)) -> Params:
    """The validated settings; ``said`` is what :func:`read` gave.

    Raises:
        WorkflowError: a value is wrong, or ``--config`` changed one: the stages read the file.
    """
    try:
        checked = validate(dict(config), path)
    except ParameterError as error:
        raise WorkflowError(str(error)) from None
    if said != config:
        raise WorkflowError(f"--config has no effect on the stages, which read {path}; edit {path} instead")
    return checked


# Sections that say where files lie that are known by their hashes: no output depends on them.
PLACES = ("weights", "cremad")


class Settings:
    """Give a rule the values that it depends on, so that an edit of one reruns this rule and what follows, no more."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def __call__(self, *keys: str) -> Callable[[Any], dict[str, Any]]:
        """For ``params:``. A key is a section or a dotted path into one; ``{method}`` in it stands for the wildcard."""

        def values(wildcards: Any) -> dict[str, Any]:
            return {(name := key.format(**dict(wildcards.items()))): _sorted(self._get(name)) for key in sorted(keys)}

        return values

    def all(self) -> Callable[[Any], dict[str, Any]]:
        """For a rule that depends on every section, but for those that say only where files lie."""
        return self(*(name for name in self._config if name not in PLACES))

    def _get(self, key: str) -> Any:
        value: Any = self._config
        for part in key.split("."):
            value = value[part]
        return value


def params_are_no_tables() -> None:
    """Spare Snakemake the import of pandas, which takes as long as all of our own code does.

    It asks of each value below ``params:`` whether it is one of pandas's, where that is installed. Ours are numbers, text,
    lists and mappings of them (:class:`Settings`), which it records in the same words either way. A Snakemake that does this
    otherwise is left alone.
    """
    if hasattr(PersistenceBase, "_serialize_param_builtin"):
        PersistenceBase._serialize_param = property(lambda self: self._serialize_param_builtin)


def touch_without_waiting() -> None:
    """Spare ``snakemake --touch`` a tenth of a second for each job, which is seven minutes for a thousand shards.

    It waits so that times differ. Equal ones do as well: what is made again is newer, not as new, than what was made of it.
    """
    if hasattr(touch.Executor, "SLEEPING_TIME"):
        touch.Executor.SLEEPING_TIME = 0.0


def _sorted(value: Any) -> Any:
    """The same value whatever the order of keys in the file: Snakemake compares the text."""
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return value


def rows(params: Params) -> None:
    """Check the settings that rows of some kinds have of their own.

    Raises:
        WorkflowError: naming the key, its value and what is allowed.
    """
    if all(not entry.settings and entry.kind in BUILT_IN for entry in params.methods.values()):
        return  # and so the networks need not be imported
    from stages.methods import systems

    try:
        systems.check(params)
    except ParameterError as error:
        raise WorkflowError(f"{PARAMS_FILE}: {error}") from None


def targets(command: Sequence[str], params: Params, rules: Collection[str]) -> None:
    """Check what a ``snakemake`` command asks for: Snakemake's own message names no fix.

    Raises:
        WorkflowError: a target is neither a rule nor a file that one makes; with those that it resembles.
    """
    if Path(command[0]).name != "snakemake" or all(word.startswith("-") for word in command[1:]):
        return  # called by another program, through Snakemake's API; or without a target, and the parser takes half a second
    asked = get_argument_parser().parse_known_args(command[1:])[0].targets
    made = [path for paths in artifacts(params).values() for path in paths]
    known = {*rules, *made, "all", "logs/dvc_recorded"}
    for target in asked:
        if target.removeprefix("./") not in known and not Path(target).is_absolute():
            near = difflib.get_close_matches(target, known, n=3)
            fix = f"; did you mean {', '.join(near)}?" if near else "; 'snakemake --list-rules' lists the rules"
            raise WorkflowError(f"{target}: no rule of this name, and no file that the run {params.run} makes{fix}")


def videos(params: Params) -> dict[str, dict[str, str]]:
    """By shard, what its download depends on of the user's own videos and their table, where the corpus is a folder.

    They are no inputs of the rule: Snakemake takes braces in a name for a wildcard, and compares times only to see what is newer.
    """
    if params.corpus.source != "folder":
        return {}
    from stages.corpora import folder

    try:
        found = folder.speakers(params.corpus.folder)
    except InputError:
        return {}  # the stage says it, as the user's own error
    return {
        shard: {"videos": _digest([(video.path, astuple(video)[1:]) for video in own])} for shard, own in found.items()
    }


def _digest(files: Iterable[tuple[Path, tuple[str, ...]]]) -> str:
    """A digest of 16 digits, which changes when one of the files is replaced: of paths, sizes, times, and notes on each."""
    told = hashlib.sha256()
    for path, said in files:
        try:
            state = path.stat()
            own = [state.st_size, state.st_mtime_ns]
        except OSError:  # a broken link, for example, which the stage names
            own = []
        told.update(os.fsencode(path) + json.dumps([*own, *said]).encode() + b"\n")
    return told.hexdigest()[:16]


def server(params: Params) -> int:
    """Other people's servers that a download asks: the profiles allow one job at a time. It has several connections."""
    return int(params.corpus.source == "cremad")


def public_expert(params: Params) -> list[str]:
    """See that the converted weights of the public lip-sync expert are there, where the loss asks it.

    Nothing is given to depend on: the stage takes one file alone, known by its hash.

    Raises:
        WorkflowError: they are not there.
    """
    if params.expert.source != "wav2lip":
        return []
    path = params.expert.path
    if not places.place(path).exists():
        raise WorkflowError(
            f"expert.path is {path}: no such file; make it by 'python -m stages.convert wav2lip-expert --out {path}', "
            "or set expert.source to trained"
        )
    return []


def made_from(params: Params, method: str) -> list[str]:
    """The sources of a method's videos, as far as rules make them: the clips as they came, or a trained method's files.

    Raises:
        WorkflowError: weights or videos that no rule makes are not there.
    """
    entry, owned = params.methods[method], artifacts(params)
    if entry.made_from == "raw":
        return owned["download"]
    for rule in ("train", "train_baseline"):
        if f"{rule}@{entry.weights_of}" in owned:
            return owned[f"{rule}@{entry.weights_of}"]
    folder = params.data / entry.made_from
    if not _below(folder):
        fix = (
            f"put the videos there, each of the name of its test clip, or take methods.{method} out of {PARAMS_FILE}"
            if entry.kind == "videos"
            else f"name {entry.weights_of} in baselines to train it, or make it by 'python -m stages.convert'"
        )
        raise WorkflowError(f"{folder}: no such folder, or an empty one, which methods.{method} is made from; {fix}")
    return owned["download"] if entry.kind == "videos" else []  # whole frames are cut as the clips' own


def given(params: Params, method: str) -> dict[str, str]:
    """The files of a method's sampling that no rule makes; as :func:`videos`, no inputs of the rule."""
    entry = params.methods[method]
    if entry.made_from == "raw" or {f"train@{entry.weights_of}", f"train_baseline@{entry.weights_of}"} & {
        *artifacts(params)
    }:
        return {}
    return {"given": _digest((path, ()) for path in _below(params.data / entry.made_from))}


def _below(folder: Path) -> list[Path]:
    """All files below a folder but hidden ones; none where there is no such folder."""
    if not folder.is_dir():
        return []
    found = places.below(folder)
    return sorted(found.videos + found.others)


def sampling(params: Params, method: str) -> list[str]:
    """The settings that a row's videos depend on: where its frames are there already, only how they are written."""
    sample = ["sample", "network"]
    if not params.methods[method].is_sampled:
        sample = [*(f"sample.{name}" for name in ("frames", "crf", "chroma", "threads")), "network.size"]
    own = [
        f"methods.{method}.{name}" for name in ("kind", "drop", "made_from", "audio", "splits", "sample", "settings")
    ]
    return [*sample, "mask", "spectrogram.sample_rate", *own]


def threads(train: Train) -> int:
    """Threads of a training on each of its nodes."""
    return train.processes * (train.threads + train.workers)


def accelerators(train: Train) -> dict[str, int | str]:
    """The resources that a training asks a scheduler for: GPUs, and where it has several nodes, these.

    The words are those of Snakemake's plugin for Slurm. ``mpi`` has it leave the start on all nodes to the rule; ``gpu`` would
    be a number over all nodes, of which Slurm may give one node more than another; ``tasks_per_gpu`` keeps it from asking for
    as many tasks a GPU as there are nodes.
    """
    gpus = 0 if train.device == "cpu" else train.processes
    if train.nodes == 1:
        return {"gpu": gpus}
    asked: dict[str, int | str] = {"nodes": train.nodes, "tasks": train.nodes, "tasks_per_gpu": 0, "mpi": "srun"}
    return {**asked, "gres": f"gpu:{gpus}"} if gpus else asked


def sampling_gpus(params: Params, method: str) -> int:
    """GPUs that a row's sampling asks a scheduler for: none where its videos are there already."""
    entry = params.methods[method]
    return int(params.sampling(method).device != "cpu" and entry.is_sampled)


IMAGE = "hifidiff.sif"  # of Apptainer, in the project's folder; `make image` builds it


def image(in_container: bool) -> None:
    """Check that the image of the containers is there, where jobs run in them.

    Raises:
        WorkflowError: it is not.
    """
    if in_container and not Path(IMAGE).exists():
        raise WorkflowError(f"{IMAGE}: no such file, which --sdm apptainer asks for; make it by 'make image'")


def nodes(train: Train, rules: Collection[str], *, executor: str, in_container: bool) -> None:
    """Check that a training of several nodes can be started, if one of the ``rules`` that are to run is the training's.

    Raises:
        WorkflowError: jobs run on this machine, outside a job of Slurm of so many nodes; or in a container, which has no Slurm.
    """
    if train.nodes == 1 or "train" not in rules:
        return
    if in_container:
        raise WorkflowError(
            f"train.nodes is {train.nodes}, and srun can't be called in a container; leave --sdm apptainer out, or set "
            "train.nodes to 1"
        )
    if executor != "slurm":
        try:
            slurm.check(train.nodes, slurm.hosts(os.environ))
        except ParameterError as error:
            raise WorkflowError(str(error)) from None


def launcher(train: Train) -> str:
    """The command that starts a training's module: the interpreter, or torchrun for several processes, on each node."""
    if train.nodes > 1:
        shape = f"--nodes {train.nodes} --processes {train.processes} --threads {threads(train)}"
        return f"python -m workflow.nodes {shape}"
    if train.processes == 1:
        return "python -m"
    return f"python -m torch.distributed.run --standalone --nproc-per-node {train.processes} -m"
