# DVC and Snakemake tell one story. dvc.yaml's stages call Snakemake for their files; what Snakemake made, it records in dvc.lock.

from workflow import dvcsync

if dvcsync.guarded(workflow):
    dvcsync.refuse_foreign(PARAMS)


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
        code=dvcsync.all_code(),
        stages="dvc.yaml",
    output:
        touch("logs/dvc_recorded"),
    params:
        cfg=settings(*sorted(config)),
    localrule: True
    log:
        "logs/dvc_record.log",
    benchmark:
        "logs/benchmarks/dvc_record.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    message:
        "dvc_record"
    shell:
        "dvc commit --force --no-relink --quiet 2>&1 | tee {log}"


onerror:
    if not dvcsync.inside_dvc():
        dvcsync.record_finished()
