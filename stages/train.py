"""Train one method of ``params.yaml``.

    python -m stages.train --data data/demo --method full --out data/demo/models/full/model.safetensors

Writes config.json (settings for using the weights: layout, process, preparation of faces and sound, statistics of the training
clips' faces and voices) and curves.csv (means of each loss term) beside the weights. After a kill, the same command resumes from
the last saved state and, on the CPU, ends with the same bytes as if it had never stopped. On several GPUs of one machine, and
on two machines that share the folder (the same command on each):

    torchrun --standalone --nproc-per-node 8 -m stages.train --data data/paper --method full --out …
    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint first-machine:29500 -m stages.train …
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from stages.base import devices, memory, params
from stages.base.errors import run
from stages.clips import corpus, facts
from stages.pretrained import lipsync_expert
from stages.store import atomic, tracking
from stages.training import hifidiff, loop, processes, resume
from stages.training.prepared import prepared, training_set
from stages.training.processes import World


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params",
        default=params.PARAMS_FILE,
        help="sections network, diffusion, loss, train, mask, spectrogram, weights and methods.<method>: drop, settings",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the run, such as data/demo")
    parser.add_argument("--method", required=True, help="a method of kind hifidiff that has its own weights")
    parser.add_argument("--out", type=Path, required=True, help="model.safetensors to write")
    args = parser.parse_args()
    settings = params.load(args.params)
    params.check_method(args.method, settings.trained)
    device = processes.own_device(devices.choose(settings.train.device, "train.device"))
    torch.set_num_threads(settings.train.threads)
    memory.keep_freed()
    torch.backends.cudnn.benchmark = True  # the shapes are the same at each step
    with processes.joined(device) as world:
        train(settings, args.data, args.method, args.out, device, world)


def train(settings: params.Params, data: Path, method: str, out: Path, device: torch.device, world: World) -> None:
    """Train a method and write its weights, configuration and curves; of several processes, the first one writes."""
    recorded, settings = settings, settings.trained_as(method)
    drop = settings.methods[method].drop
    expert = lipsync_expert.load(data / "expert" / "expert.safetensors", device)
    model, net, objective = prepared(settings, drop, expert, device)
    state = data / "resume" / "train" / method / "state.pt"
    with resume.lock(state.parent) if world.first else nullcontext():
        world.wait()  # until the first process has the folder to itself
        load = tracking.Load()
        clips = training_set(settings, data, drop)
        trainer = hifidiff.Trainer(net, objective, clips, settings.train, device=device, world=world)
        fitted = loop.fit(
            trainer,
            steps=settings.train.steps,
            seed=settings.train.seed,
            log_every=settings.train.log_every,
            checkpoint_every=settings.train.checkpoint_every,
            state=state,
            key=state_key(settings, data, drop),
            label=f"train {method}",
            advice=hifidiff.ADVICE,
            on_step=load.update,
            world=world,
        )
        if world.first:
            curves = pd.DataFrame(fitted.curves or {"step": []})
            with atomic.whole_file(out.parent / "curves.csv") as part:
                curves.to_csv(part, index=False)
            net.load_state_dict(trainer.average.weights)
            size, dilation = settings.network.size, settings.mask.dilation
            shown = corpus.each(data, ("train",), size=size, dilation=dilation, most=corpus.MANY)
            known = facts.facts(shown, settings.spectrogram.sample_rate)
            replace(model, config={**model.config, "corpus": known}).save_pretrained(out.parent)
            summary = {"parameters": sum(p.numel() for p in net.parameters()), "seconds": fitted.seconds}
            tracking.record_training(data, method, params=recorded, curves=curves, summary=summary, system=load.table())


# Settings of section train that change how fast a training goes and where it may go on, not where it leads.
PACE = {"accumulate", "nodes", "processes", "workers", "compile", "checkpoint_every", "threads", "device"}


def state_key(settings: params.Params, data: Path, drop: Sequence[str]) -> str:
    """The key of a saved state: settings, data and code. A training may go on with more or fewer processes."""
    used = {name: getattr(settings, name).model_dump() for name in ("network", "diffusion", "loss", "mask")}
    used["train"] = settings.train.model_dump(exclude=PACE)
    read = [*corpus.files(data, ("train",)), data / "expert" / "expert.safetensors"]
    return resume.fingerprint({**used, "drop": list(drop)}, [*read, *resume.code()])


if __name__ == "__main__":
    run(main)
