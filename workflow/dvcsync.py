"""Keep Snakemake's and DVC's records of made files in step.

DVC may put files into the workspace itself (``dvc pull``, ``checkout``, ``exp apply``, its run cache). Snakemake has no record
of them, and would neither trust them nor notice that a parameter has changed since. So a plain ``snakemake`` stops where it
finds such files, and this command adopts them, once ``dvc status`` says that they are what dvc.yaml and params.yaml ask for::

    python -m workflow.dvcsync
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from base64 import urlsafe_b64encode
from pathlib import Path

from stages.base.errors import HifiDiffError, run
from stages.base.params import PARAMS_FILE, Params, load
from workflow import sources
from workflow.artifacts import artifacts
from workflow.registry import STAGES
from workflow.sources import ROOT

RECORDS, INCOMPLETE = Path(".snakemake/metadata"), Path(".snakemake/incomplete")
SHARDED = {stage.name for stage in STAGES if stage.each == "shards"}
ADOPTING = "HIFIDIFF_ADOPTING"  # set in the environment while this command calls Snakemake
RECORDED = "logs/dvc_recorded"


class OutOfStepError(HifiDiffError):
    """Files of the run that Snakemake did not make, or that no rule makes."""


def inside_dvc() -> bool:
    """True if this process runs in a stage of ``dvc repro`` or ``dvc exp run``, which hold DVC's locks."""
    return "DVC_STAGE" in os.environ


def out_of_step(params: Params) -> str | None:
    """The obstacle to a run's start, in one line with its fix: files that Snakemake did not make. None if there are none."""
    if inside_dvc() or ADOPTING in os.environ:
        return None
    if strangers := unowned(params):
        return f"{_named(strangers)}: no rule makes it; move it out of {params.data}, or delete it"
    if unknown := foreign(params):
        return (
            f"{_named(unknown)}: not made by Snakemake here (dvc pull or checkout?). "
            "Run 'python -m workflow.dvcsync' to take over what DVC holds, or delete it to have it made again"
        )
    return None


def foreign(params: Params) -> list[str]:
    """Outputs that Snakemake did not make, or that were changed since.

    The report is in git: in a fresh clone it stands there before all else, and is made again. It counts beside whole data only.
    """
    owned = artifacts(params)
    report = owned.pop("report")
    data = [path for paths in owned.values() for path in paths]
    found = [path for path in data if _foreign(path)]
    if all(map(os.path.exists, data)):
        found += [path for path in report if _foreign(path)]
    return found


def unowned(params: Params) -> list[str]:
    """Files in the folders that DVC owns whole, which no rule makes: a shard that params.yaml no longer names, for example."""
    owned = artifacts(params)
    return sorted(
        file.as_posix()
        for known in (set(owned[stage]) for stage in SHARDED)
        for folder in {Path(path).parent for path in known}
        if folder.is_dir()
        for file in folder.iterdir()
        if file.suffix != ".part" and file.as_posix() not in known
    )


def _foreign(path: str) -> bool:
    """True if a finished file is there but Snakemake's record is missing or tells another time."""
    try:
        made = os.stat(path).st_mtime
    except FileNotFoundError:
        return False
    if _record_path(INCOMPLETE, path).exists():
        return False  # of a killed run; Snakemake itself makes it again
    try:
        record = json.loads(_record_path(RECORDS, path).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return True
    return abs(record["endtime"] - made) > 1e-3


def _record_path(folder: Path, output: str) -> Path:
    """The path of Snakemake's record of a file: its name in base 64, cut to the length that a file system allows."""
    name = urlsafe_b64encode(output.encode()).decode()
    longest = os.pathconf(folder, "PC_NAME_MAX") if folder.exists() else 255
    parts = [name[i : i + longest - 1] for i in range(0, len(name), longest - 1)]
    return folder.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])


def _named(paths: list[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def adopt(params: Params) -> None:
    """Take what DVC put into the workspace for made, and mark that dvc.lock tells the present state.

    Raises:
        OutOfStepError: ``dvc status`` finds a stage that is not current.
    """
    sources.write()
    if not inside_dvc():
        changed = _changed_stages()
        if changed:
            raise OutOfStepError(
                f"{', '.join(changed)}: not what dvc.lock holds for this params.yaml; run 'dvc checkout' or 'dvc pull' "
                "for what was made before, or 'dvc repro' to make it"
            )
    if foreign(params):
        _snakemake("--touch", "--forceall")
    else:
        _snakemake(RECORDED, "--touch", "--force", "--allowed-rules", "dvc_record")


def _changed_stages() -> list[str]:
    status = subprocess.run(["dvc", "status", "--json"], cwd=ROOT, capture_output=True, encoding="utf-8")
    if status.returncode:
        raise OutOfStepError(f"'dvc status' failed: {status.stderr.strip()}; correct that first")
    return [name for name in json.loads(status.stdout) if name not in ("code", "in_step")]


def _snakemake(*args: str) -> None:
    Path(RECORDED).parent.mkdir(exist_ok=True)
    Path(RECORDED).touch()
    command = ["snakemake", *args, "--quiet", "all"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {ADOPTING: "1"}, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise OutOfStepError(f"'{' '.join(command)}' failed: {done.stderr.strip()}; correct that first")


def record_finished() -> None:
    """After a failed run: record in dvc.lock the stages that are whole and current, so that DVC doesn't make them again."""
    summary = subprocess.run(["snakemake", "--summary"], cwd=ROOT, capture_output=True, encoding="utf-8").stdout
    rows = [line.split("\t") for line in summary.splitlines()[1:]]
    current = {row[0] for row in rows if row[-1] == "no update"}
    owned = artifacts(load(ROOT / PARAMS_FILE))
    finished = [stage for stage, paths in owned.items() if current.issuperset(paths)]
    if finished:
        (ROOT / RECORDED).unlink(missing_ok=True)  # dvc.lock will tell no whole run, nor perhaps the one it told before
        print(f"recording in dvc.lock what was finished: {', '.join(finished)}", file=sys.stderr)
        subprocess.run(["dvc", "commit", "--force", "--no-relink", "--quiet", *finished], cwd=ROOT, check=False)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    os.chdir(ROOT)
    adopt(load())
    print("Snakemake and DVC are in step")


if __name__ == "__main__":
    run(main)
