# The networks: the lip-sync expert of the loss, the judges that only the metrics use, one training a method or baseline. A killed
# training goes on from its last state in data/<run>/resume/, which no rule owns.
#
# All that reads clips has the index as its one input for them: it holds a digest of each shard's files, and changes with them.

NONE = "(?!)"  # matches no method


wildcard_constraints:
    judge="sync|frame|video",
    method="|".join(PARAMS.methods),


rule expert:
    """Train the lip-sync expert that the loss asks, or take over the public one."""
    input:
        code=code("expert"),
        clips=OWNED["index"],
        public=lambda wildcards: checks.public_expert(PARAMS),
    output:
        weights=f"{DATA}/expert/expert.safetensors",
        curves=f"{DATA}/expert/curves.csv",
    log:
        f"{LOGS}/expert.log",
    benchmark:
        f"{LOGS}/benchmarks/expert.tsv"
    priority: 90
    threads: 1
    resources:
        mem_mb=4000,
        runtime=1440,
    params:
        cfg=settings("expert", "mask", "network.size"),
    message:
        "expert"
    shell:
        f"python -m stages.expert --data {DATA} --out {{output.weights}} 2>&1 | tee {{log}}"


rule judges:
    """Train one of the encoders that only the metrics use."""
    input:
        code=code("judges"),
        clips=OWNED["index"],
    output:
        weights=f"{DATA}/judges/{{judge}}.safetensors",
        curves=f"{DATA}/judges/{{judge}}.csv",
    log:
        f"{LOGS}/judges/{{judge}}.log",
    benchmark:
        f"{LOGS}/benchmarks/judges/{{judge}}.tsv"
    priority: 10
    threads: 1
    resources:
        mem_mb=8000,  # it holds all training clips' faces, 4 GB of CREMA-D
        runtime=1440,
    params:
        cfg=settings("judges", "mask"),
    message:
        "judges {wildcards.judge}"
    shell:
        f"python -m stages.judges --data {DATA} --judge {{wildcards.judge}} --out {{output.weights}} 2>&1 | tee {{log}}"


rule train:
    """Train one method; killed, it goes on from its last saved state."""
    input:
        code=code("train"),
        clips=OWNED["index"],
        expert=f"{DATA}/expert/expert.safetensors",
    output:
        weights=f"{DATA}/models/{{method}}/model.safetensors",
        config=f"{DATA}/models/{{method}}/config.json",
        curves=report(
            f"{DATA}/models/{{method}}/curves.csv",
            caption="../report/curves.rst",
            category="Training",
            labels={"method": "{method}"},
        ),
    log:
        f"{LOGS}/train/{{method}}.log",
    benchmark:
        f"{LOGS}/benchmarks/train/{{method}}.tsv"
    wildcard_constraints:
        method="|".join(PARAMS.trained) or NONE,
    priority: 50
    threads: checks.threads(PARAMS.train)
    resources:
        **checks.accelerators(PARAMS.train),
        mem_mb=8000,
        runtime=2880,
    params:
        cfg=settings(
            "network",
            "diffusion",
            "loss",
            "train",
            "mask",
            "spectrogram",
            "methods.{method}.drop",
            "methods.{method}.settings",
        ),
    message:
        "train {wildcards.method}"
    shell:
        f"{checks.launcher(PARAMS.train)} stages.train --data {DATA} --method {{wildcards.method}} --out {{output.weights}} 2>&1 | tee {{log}}"


rule train_baseline:
    """Train one of the systems that HifiDiff is compared with; killed, it goes on from its last saved state."""
    input:
        code=lambda wildcards: [code("train_baseline"), code_of_kind(PARAMS.baselines[wildcards.method])],
        clips=OWNED["index"],
        expert=f"{DATA}/expert/expert.safetensors",
    output:
        weights=f"{DATA}/models/{{method}}/model.safetensors",
        config=f"{DATA}/models/{{method}}/config.json",
        curves=f"{DATA}/models/{{method}}/curves.csv",
    log:
        f"{LOGS}/train_baseline/{{method}}.log",
    benchmark:
        f"{LOGS}/benchmarks/train_baseline/{{method}}.tsv"
    wildcard_constraints:
        method="|".join(PARAMS.baselines) or NONE,
    priority: 50
    threads: PARAMS.train.threads
    resources:
        mem_mb=8000,
        runtime=2880,
        gpu=int(PARAMS.train.device != "cpu"),
    params:
        cfg=settings(
            "network.size",
            "mask",
            "spectrogram",
            "train.seed",
            "train.log_every",
            "methods.{method}.kind",
            "methods.{method}.settings",
        ),
    message:
        "train_baseline {wildcards.method}"
    shell:
        f"python -m stages.train_baseline --data {DATA} --method {{wildcards.method}} --out {{output.weights}} 2>&1 | tee {{log}}"
