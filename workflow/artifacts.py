"""The files of a run, known from ``params.yaml`` alone: what each stage of ``dvc.yaml`` owns, in the order they are made."""

from __future__ import annotations

from stages.base.params import Params
from stages.reporting.files import files

JUDGES = ("sync", "frame", "video")
SHARDED = {"download": "raw/{}.tar", "mask": "faces/{}.parquet", "blink": "blink/{}.parquet"} | {
    "spectrogram": "spectrogram/{}.parquet"
}
SCORED = (".json", ".parquet", ".breakdown.parquet")
TRAINED = ("model.safetensors", "config.json", "curves.csv")


def artifacts(params: Params) -> dict[str, list[str]]:
    """Files by DVC stage (``mask``, ``train@full``); their rules write just these."""
    data = params.data.as_posix()
    owned = {name: [f"{data}/{path.format(shard)}" for shard in params.corpus.shards] for name, path in SHARDED.items()}
    owned["index"] = [f"{data}/index.parquet"]
    owned["expert"] = [f"{data}/expert/expert.safetensors", f"{data}/expert/curves.csv"]
    owned["judges"] = [f"{data}/judges/{judge}{end}" for judge in JUDGES for end in (".safetensors", ".csv")]
    for method in params.trained:
        owned[f"train@{method}"] = [f"{data}/models/{method}/{name}" for name in TRAINED]
    for method in params.baselines:
        owned[f"train_baseline@{method}"] = [f"{data}/models/{method}/{name}" for name in TRAINED]
    for method in params.methods:
        owned[f"sample@{method}"] = [f"{data}/samples/{method}/{shard}.tar" for shard in params.corpus.shards]
        owned[f"features@{method}"] = [f"{data}/features/{method}.parquet"]
    owned["reference"] = [f"{data}/reference.parquet"]
    for method in params.methods:
        owned[f"metrics@{method}"] = [f"{data}/metrics/{method}{end}" for end in SCORED]
    for method in params.trained:
        owned[f"card@{method}"] = [f"{data}/cards/{method}.md"]
    owned["report"] = [f"{params.reports.as_posix()}/{name}" for name in files(params)]
    return owned


def everything(params: Params) -> list[str]:
    """All of a run's files."""
    return [path for paths in artifacts(params).values() for path in paths]
