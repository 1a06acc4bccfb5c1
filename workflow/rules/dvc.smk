# DVC and Snakemake tell one story. dvc.yaml's stages call Snakemake for their files; what Snakemake made, it records in dvc.lock.

from snakemake.settings.types import DeploymentMethod

from workflow import dvcsync

OUT_OF_STEP = dvcsync.out_of_step(PARAMS) if workflow.is_main_process else None
if OUT_OF_STEP:
    logger.warning(OUT_OF_STEP)


rule stage_download:
    """All shards, for `dvc repro`."""
    input:
        OWNED["download"],
    localrule: True


rule stage_mask:
    """All shards, for `dvc repro`."""
    input:
        OWNED["mask"],
    localrule: True


rule stage_blink:
    """All shards, for `dvc repro`."""
    input:
        OWNED["blink"],
    localrule: True


rule stage_spectrogram:
    """All shards, for `dvc repro`."""
    input:
        OWNED["spectrogram"],
    localrule: True


rule stage_judges:
    """All judges, for `dvc repro`."""
    input:
        OWNED["judges"],
    localrule: True


rule dvc_record:
    """Record in dvc.lock what was made, so that `dvc repro` has nothing to do."""
    input:
        everything(PARAMS),
        code=sources.records(),
        stages="dvc.yaml",
    output:
        touch("logs/dvc_recorded"),
    log:
        f"{LOGS}/dvc_record.log",
    benchmark:
        f"{LOGS}/benchmarks/dvc_record.tsv"
    localrule: True
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        cfg=settings.all(),
    message:
        "dvc_record"
    shell:
        "dvc commit --force --no-relink 2>&1 | tee {log}"


onstart:
    if OUT_OF_STEP and not workflow.touch:
        raise WorkflowError(OUT_OF_STEP)
    in_container = DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method
    checks.image(in_container)
    if not workflow.touch:
        due = {job.rule.name for job in workflow.dag.needrun_jobs()}
        checks.nodes(PARAMS.train, due, executor=workflow.executor_plugin.name, in_container=in_container)
    try:
        told = machine.tell_dvc(Path.cwd())
        machine.check_files(given_folders(PARAMS))
    except machine.MachineError as error:
        raise WorkflowError(str(error)) from None
    if told:
        logger.warning(told)
    if workflow.local_exec:  # elsewhere a job of a killed run may still be writing
        lock.tidy([PARAMS.data, PARAMS.reports, Path(LOGS), sources.RECORDS])
    for folder in folders(PARAMS):
        folder.mkdir(parents=True, exist_ok=True)


onerror:
    if not dvcsync.inside_dvc():
        dvcsync.record_finished()


onsuccess:
    if not dvcsync.inside_dvc() and not workflow.touch:
        from workflow import publish

        publish.record(PARAMS)
