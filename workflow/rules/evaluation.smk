# Every method of params.yaml alike: its videos of the test clips, and their scores.


rule sample:
    """Generate a method's videos of the test clips."""
    input:
        code=lambda wildcards: [code("sample"), code_of_kind(PARAMS.methods[wildcards.method].kind)],
        clips=OWNED["index"],
        made_from=lambda wildcards: checks.made_from(PARAMS, wildcards.method),
    output:
        f"{DATA}/samples/{{method}}.tar",
    log:
        f"{LOGS}/sample/{{method}}.log",
    benchmark:
        f"{LOGS}/benchmarks/sample/{{method}}.tsv"
    priority: 30
    threads: lambda wildcards: PARAMS.sampling(wildcards.method).threads
    resources:
        mem_mb=4000,
        runtime=1440,
        gpu=lambda wildcards: checks.sampling_gpus(PARAMS, wildcards.method),
    params:
        cfg=lambda wildcards: settings(*checks.sampling(PARAMS, wildcards.method))(wildcards)
        | checks.given(PARAMS, wildcards.method),
    message:
        "sample {wildcards.method}"
    shell:
        f"python -m stages.sample --data {DATA} --method {{wildcards.method}} --out {{output}} 2>&1 | tee {{log}}"


rule reference:
    """Measure the test clips themselves, once for all methods."""
    input:
        code=code("reference"),
        clips=OWNED["index"],
        judges=OWNED["judges"],
    output:
        f"{DATA}/reference.parquet",
    log:
        f"{LOGS}/reference.log",
    benchmark:
        f"{LOGS}/benchmarks/reference.tsv"
    priority: 20
    threads: PARAMS.metrics.threads
    resources:
        mem_mb=4000,
        runtime=480,
    params:
        cfg=settings(
            "metrics.upscale",
            "metrics.batch",
            "metrics.held_out",
            "metrics.public",
            "metrics.threads",
            "metrics.device",
            "mask.fps",
            "mask.dilation",
            "network.size",
        ),
    message:
        "reference"
    shell:
        f"python -m stages.reference --data {DATA} --out {{output}} 2>&1 | tee {{log}}"


rule features:
    """Measure a method's videos in one pass: the encoders' features, landmarks, and each frame beside the truth."""
    input:
        code=code("features"),
        clips=OWNED["index"],
        judges=OWNED["judges"],
        samples=f"{DATA}/samples/{{method}}.tar",
    output:
        f"{DATA}/features/{{method}}.parquet",
    log:
        f"{LOGS}/features/{{method}}.log",
    benchmark:
        f"{LOGS}/benchmarks/features/{{method}}.tsv"
    priority: 20
    threads: PARAMS.metrics.threads
    resources:
        mem_mb=4000,
        runtime=480,
    params:
        cfg=settings(
            "metrics.upscale",
            "metrics.batch",
            "metrics.public",
            "metrics.threads",
            "metrics.device",
            "mask.fps",
            "mask.dilation",
            "network.size",
            "methods.{method}.splits",
            "methods.{method}.sample",
        ),
    message:
        "features {wildcards.method}"
    shell:
        f"python -m stages.features --data {DATA} --method {{wildcards.method}} --out {{output}} 2>&1 | tee {{log}}"


rule metrics:
    """Make a method's scores of what was measured: distances, sync, blinks and the others, each with an interval."""
    input:
        code=code("metrics"),
        index=OWNED["index"],
        reference=OWNED["reference"],
        features=f"{DATA}/features/{{method}}.parquet",
    output:
        scores=f"{DATA}/metrics/{{method}}.json",
        clips=f"{DATA}/metrics/{{method}}.parquet",
        breakdown=f"{DATA}/metrics/{{method}}.breakdown.parquet",
    log:
        f"{LOGS}/metrics/{{method}}.log",
    benchmark:
        f"{LOGS}/benchmarks/metrics/{{method}}.tsv"
    priority: 20
    threads: 1
    resources:
        mem_mb=8000 if PARAMS.metrics.public else 2000,  # Inception's and I3D's values of each frame, twice, in float64
        runtime=60,
    params:
        cfg=settings(
            "metrics",
            "blink",
            "mask.fps",
            "methods.{method}.kind",
            "methods.{method}.audio",
            "methods.{method}.splits",
            "methods.{method}.sample",
        ),
    message:
        "metrics {wildcards.method}"
    shell:
        f"python -m stages.metrics --data {DATA} --method {{wildcards.method}} --out {{output.scores}} 2>&1 | tee {{log}}"


rule portraits:
    """Make stills talk with a trained model, and measure them."""
    input:
        code=code("portraits"),
        clips=OWNED["index"],
        judges=OWNED["judges"],
        model=lambda wildcards: OWNED[f"train@{wildcards.method}"],
    output:
        f"{DATA}/portraits/{{method}}.parquet",
    log:
        f"{LOGS}/portraits/{{method}}.log",
    benchmark:
        f"{LOGS}/benchmarks/portraits/{{method}}.tsv"
    priority: 20
    threads: PARAMS.metrics.threads
    resources:
        mem_mb=4000,
        runtime=480,
        gpu=lambda wildcards: checks.sampling_gpus(PARAMS, wildcards.method),
    params:
        cfg=settings(
            "portraits",
            "blink",
            "spectrogram",
            "mask.fps",
            "mask.dilation",
            "network.size",
            "metrics.batch",
            "metrics.threads",
            "sample.device",
            "methods.{method}.sample",
        ),
    message:
        "portraits {wildcards.method}"
    shell:
        f"python -m stages.portraits --data {DATA} --method {{wildcards.method}} --out {{output}} 2>&1 | tee {{log}}"


rule card:
    """Write the model card of a trained method."""
    input:
        code=code("card"),
        index=OWNED["index"],
        model=lambda wildcards: OWNED[f"train@{wildcards.method}"],
        metrics=[path for method in PARAMS.methods for path in OWNED[f"metrics@{method}"]],
    output:
        f"{DATA}/cards/{{method}}.md",
    log:
        f"{LOGS}/card/{{method}}.log",
    benchmark:
        f"{LOGS}/benchmarks/card/{{method}}.tsv"
    priority: 20
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        cfg=settings(
            "run",
            "corpus.source",
            "mask.fps",
            "mask.dilation",
            "expert.source",
            "loss.sync",
            "metrics.confidence",
            "sample",
            "methods",
        ),
    message:
        "card {wildcards.method}"
    shell:
        f"python -m stages.card --data {DATA} --method {{wildcards.method}} --out {{output}} 2>&1 | tee {{log}}"
