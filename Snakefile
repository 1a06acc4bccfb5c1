# HifiDiff's workflow. params.yaml alone decides what is made; each rule calls one stage: python -m stages.<stage>.
#
#   snakemake --cores all          make everything that params.yaml names; goes on after a failure or a kill
#   snakemake -n                   what would run, and why
#   snakemake --list-rules
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version, validate

sys.path.insert(0, workflow.basedir)

from workflow import checks, lock, machine, sources
from workflow.artifacts import artifacts, everything, folders, given_folders
from workflow.sources import code, code_of_kind

min_version("9.16")

os.environ |= machine.environment()
if workflow.is_main_process:
    lock.name_holders(Path.cwd())
    if lock.release(Path.cwd()):
        logger.warning("A killed run had left the folder locked; going on from there.")
    sources.write()

SAID = checks.read()


configfile: "params.yaml"


PARAMS = checks.params(config, SAID)
validate(config, "workflow/schemas/params.schema.json")
settings = checks.Settings(config)
checks.params_are_no_tables()
checks.touch_without_waiting()
if workflow.is_main_process:
    checks.rows(PARAMS)

DATA = PARAMS.data.as_posix()
REPORTS = PARAMS.reports.as_posix()
LOGS = f"logs/{PARAMS.run}"
OWNED = artifacts(PARAMS)


# The environment of all rules for `snakemake --sdm apptainer`; without that option it has no effect. `make image` builds it.
container: checks.IMAGE


include: "workflow/rules/data.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/dvc.smk"


if workflow.is_main_process:
    checks.targets(sys.argv, PARAMS, [rule.name for rule in workflow.rules])


report: "workflow/report/workflow.rst"


rule all:
    """Everything that params.yaml names, recorded in dvc.lock."""
    default_target: True
    input:
        everything(PARAMS),  # each by itself: a file that is missing is made again, also where all that follow are there
        "logs/dvc_recorded",
