"""The rows of the report's tables: the inputs, weights, cost and departures from its paper of each."""

from __future__ import annotations

from typing import Any

from stages.methods import systems
from stages.reporting import study
from stages.reporting.results import Method, Results
from stages.scoring.catalogue import DASH
from stages.store import tars

SEEN_HEADS = ("method", "inputs", "key")
MADE_HEADS = ("method", "trained on", "steps", "images a step", "parameters, million", "GFLOPs a frame")
DEPARTS_HEADS = ("method", "departure from its paper")


def seen(results: Results) -> list[list[str]]:
    """The parts of a test clip given to each method, and the key of its run in MLflow."""
    return [[m.entry.title, systems.module(m.entry.kind).sees(m.entry), m.key] for m in results.apart()]


def made(results: Results) -> list[list[str]]:
    """The training data and length of each row's weights, and the time of one of its frames; rows with weights alone."""
    return [_made(results, method) for method in results.apart() if method.config is not None]


def _made(results: Results, method: Method) -> list[str]:
    config = method.config
    assert config is not None
    train = results.index[results.index["split"] == "train"]
    here = f"this corpus: {len(train)} clips of {train['speaker'].nunique()} speakers"
    owner = method.entry.weights_of
    if method.entry.kind == "hifidiff":
        calls = study.calls(results.params.sampling(method.name), list(method.entry.drop))
        parameters, flops = study.parameters(config), calls * study.call_gflops(config) * 1e9
    else:
        parameters, flops = config["parameters"], _listed(results, method)[0]["frame_flops"]
    known = owner in (*results.params.trained, *results.params.baselines)
    if known and config.get("start"):
        model = f"the model {config['start'][:12]}…"
        here = f"{here}, started from {model}" if config["steps"] else f"what {model} was trained on"
    return [
        method.entry.title,
        here if known else config["trained_on"],
        f"{config['steps']:,}" if known else DASH,
        str(config["images_per_step"]) if known else DASH,
        f"{parameters / 1e6:.3g}",
        f"{flops / 1e9:.3g}",
    ]


def departs(results: Results) -> list[tuple[str, str]]:
    """The departures of the systems compared with HifiDiff from their papers, a sentence each."""
    titles: dict[str, str] = {}  # by kind: that of its first row
    for method in results.methods.values():
        titles.setdefault(method.entry.kind, method.entry.title)
    found = {kind: getattr(systems.module(kind), "System", None) for kind in titles}
    return [(titles[kind], words) for kind, system in found.items() if system for words in system.deviations]


def restored(results: Results) -> list[str]:
    """Frames repeated and cut to bring videos from elsewhere onto the clips' frames: a sentence for each such row."""
    sentences = []
    for method in results.methods.values():
        if method.entry.kind != "videos":
            continue
        listed = _listed(results, method)
        start, end, cut = (
            sum(clip[name] for clip in listed) for name in ("repeated_at_start", "repeated_at_end", "cut_at_end")
        )
        sentences.append(
            f"{method.entry.title}: videos from elsewhere, {len(listed)} clips; {start} repeated at the start, "
            f"{end} repeated at the end, {cut} cut at the end, of {sum(clip['frames'] for clip in listed)} frames."
        )
    return sentences


def _listed(results: Results, method: Method) -> list[dict[str, Any]]:
    """The sampling's notes on each of a method's videos."""
    return tars.listing(results.data / "samples" / f"{method.name}.tar", keys=("clip",))
