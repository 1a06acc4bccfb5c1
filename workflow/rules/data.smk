# From videos to an index of usable clips. One file a shard (a speaker): shards run side by side, on one machine or many.


wildcard_constraints:
    shard="[a-z0-9_-]+",  # not the names themselves: of thousands of them, Snakemake would try each on each file


VIDEOS = checks.videos(PARAMS)


rule download:
    """Render a shard of the embedded corpus, take it from the folder corpus.folder.path, or fetch it (CREMA-D)."""
    input:
        code=code("download"),
    output:
        f"{DATA}/raw/{{shard}}.tar",
    log:
        f"{LOGS}/download/{{shard}}.log",
    benchmark:
        f"{LOGS}/benchmarks/download/{{shard}}.tsv"
    priority: 100
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
        server=checks.server(PARAMS),  # the profiles let one job at a time ask CREMA-D's servers
    params:
        cfg=lambda wildcards: settings("corpus")(wildcards) | VIDEOS.get(wildcards.shard, {}),
    message:
        "download {wildcards.shard}"
    shell:
        "python -m stages.download --shard {wildcards.shard} --out {output} 2>&1 | tee {log}"


rule mask:
    """Find faces and 68 landmarks in a shard; crop the faces."""
    input:
        code=code("mask"),
        raw=f"{DATA}/raw/{{shard}}.tar",
    output:
        f"{DATA}/faces/{{shard}}.parquet",
    log:
        f"{LOGS}/mask/{{shard}}.log",
    benchmark:
        f"{LOGS}/benchmarks/mask/{{shard}}.tsv"
    priority: 100
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        cfg=settings("mask"),
    message:
        "mask {wildcards.shard}"
    shell:
        "python -m stages.mask --raw {input.raw} --out {output} 2>&1 | tee {log}"


rule blink:
    """Measure the eye aspect ratio of a shard and find its blinks."""
    input:
        code=code("blink"),
        faces=f"{DATA}/faces/{{shard}}.parquet",
    output:
        f"{DATA}/blink/{{shard}}.parquet",
    log:
        f"{LOGS}/blink/{{shard}}.log",
    benchmark:
        f"{LOGS}/benchmarks/blink/{{shard}}.tsv"
    priority: 100
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        cfg=settings("blink"),
    message:
        "blink {wildcards.shard}"
    shell:
        "python -m stages.blink --faces {input.faces} --out {output} 2>&1 | tee {log}"


rule spectrogram:
    """Mel spectrograms and 16 kHz audio of a shard, on the video's time base."""
    input:
        code=code("spectrogram"),
        raw=f"{DATA}/raw/{{shard}}.tar",
        faces=f"{DATA}/faces/{{shard}}.parquet",
    output:
        f"{DATA}/spectrogram/{{shard}}.parquet",
    log:
        f"{LOGS}/spectrogram/{{shard}}.log",
    benchmark:
        f"{LOGS}/benchmarks/spectrogram/{{shard}}.tsv"
    priority: 100
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        cfg=settings("spectrogram", "mask.fps"),
    message:
        "spectrogram {wildcards.shard}"
    shell:
        "python -m stages.spectrogram --raw {input.raw} --faces {input.faces} --out {output} 2>&1 | tee {log}"


rule index:
    """Join the shards, leave out what can't be used (with the reason), fix the split."""
    input:
        code=code("index"),
        raw=OWNED["download"],
        faces=OWNED["mask"],
        blink=OWNED["blink"],
        spectrogram=OWNED["spectrogram"],
    output:
        f"{DATA}/index.parquet",
    log:
        f"{LOGS}/index.log",
    benchmark:
        f"{LOGS}/benchmarks/index.tsv"
    priority: 100
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        cfg=settings("index", "corpus.shards"),
    message:
        "index"
    shell:
        f"python -m stages.index --data {DATA} --out {{output}} 2>&1 | tee {{log}}"
