"""Train one of the other systems of Table 1, a method of ``baselines`` in ``params.yaml``.

    python -m stages.train_baseline --data data/demo-baselines --method sda --out data/demo-baselines/models/sda/model.safetensors

Its module in ``stages/methods/kinds`` does the work. Writes config.json (its settings; steps, data, parameters and operations for
the report) and curves.csv (means of each term) beside the weights. After a kill, the same command resumes from the last saved
state and, on the CPU, ends with the same bytes as if it had never stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import torch

from stages.base import devices, memory, params
from stages.base.errors import run
from stages.clips import corpus
from stages.clips.clip import Clip
from stages.methods import systems
from stages.methods.systems import Data, Facts
from stages.networks import seeded
from stages.pretrained import lipsync_expert
from stages.store import atomic, tracking
from stages.training import loop, resume


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params",
        default=params.PARAMS_FILE,
        help="sections train (seed, threads, device, checkpoint_every, log_every), mask, spectrogram, network.size and "
        "methods.<method>",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the run, such as data/demo-baselines")
    parser.add_argument("--method", required=True, help="a method of baselines in params.yaml")
    parser.add_argument("--out", type=Path, required=True, help="model.safetensors to write")
    args = parser.parse_args()
    settings = params.load(args.params)
    params.check_method(args.method, settings.baselines)
    torch.set_num_threads(settings.train.threads)
    memory.keep_freed()
    torch.backends.cudnn.benchmark = True  # the shapes are the same at each step
    train(settings, args.data, args.method, args.out)


def train(settings: params.Params, data: Path, method: str, out: Path) -> None:
    """Train a method and write its weights, configuration and curves."""
    device = devices.choose(settings.train.device, "train.device")
    own, kind = systems.settings_of(settings, method), settings.methods[method].kind
    system = seeded(settings.train.seed, lambda: systems.module(kind).System(own, Facts.of(settings))).to(device)
    clips = load(data, "train", settings)
    state = data / "resume" / "train" / method / "state.pt"
    with resume.lock(state.parent):
        used = Data(
            train=clips,
            validation=load(data, "validation", settings),
            expert=lipsync_expert.load(data / "expert" / "expert.safetensors", device),
            seed=settings.train.seed,
            device=device,
        )
        trainer = seeded(settings.train.seed, lambda: system.trainer(used))
        load_over_time = tracking.Load()
        fitted = loop.fit(
            trainer,
            steps=own.steps,
            seed=settings.train.seed,
            log_every=settings.train.log_every,
            checkpoint_every=settings.train.checkpoint_every,
            state=state,
            key=state_key(settings, data, method),
            label=f"train {method}",
            advice=f"lower the learning rate in methods.{method}.settings",
            on_step=load_over_time.update,
        )
        curves = pd.DataFrame(fitted.curves)
        with atomic.whole_file(out.parent / "curves.csv") as part:
            curves.to_csv(part, index=False)
        system.eval().requires_grad_(False)
        facts = {
            "steps": own.steps,
            "images_per_step": trainer.images,
            "clips": len(clips),
            "speakers": len({clip.speaker for clip in clips}),
        }
        systems.save(system, out.parent, kind=kind, facts=facts)
        summary = {"parameters": sum(p.numel() for p in system.parameters()), "seconds": fitted.seconds}
        tracking.record_training(
            data, method, params=settings, curves=curves, summary=summary, system=load_over_time.table()
        )


def load(data: Path, split: str, settings: params.Params) -> list[Clip]:
    """Clips of a split with frames as the system makes them; raises :class:`InputError` where there is none."""
    return corpus.load_some(data, split, size=settings.network.size, dilation=settings.mask.dilation)


def state_key(settings: params.Params, data: Path, method: str) -> str:
    """The key of a saved state: settings, data and code."""
    entry = settings.methods[method]
    used = {"settings": entry.settings, "facts": vars(Facts.of(settings)), "mask": settings.mask.model_dump()}
    used["train"] = settings.train.model_dump(include={"seed", "log_every"})
    read = [*corpus.files(data, ("train", "validation")), data / "expert" / "expert.safetensors"]
    return resume.fingerprint(used, [*read, *resume.code()])


if __name__ == "__main__":
    run(main)
