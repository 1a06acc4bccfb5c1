"""Train one method of ``params.yaml``.

    python -m stages.train --data data/demo --method full --out data/demo/models/full/model.safetensors

Writes config.json and curves.csv (means of each loss term) beside the weights. Killed, the same command goes on from the last
saved state and, on the CPU, ends with the same bytes as if it had never stopped. On several GPUs of one machine:

    torchrun --standalone --nproc-per-node 8 -m stages.train --data data/paper --method full --out …
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import torch

from stages import checkpoint, corpus, devices, experts, memory, params, tables, tracking, weights
from stages.diffusion.losses import pyramid_distance
from stages.errors import InputError, run
from stages.networks import perceptual, seeded
from stages.pretrained import HifiDiff
from stages.train import processes
from stages.train.engine import fit
from stages.train.objective import Objective, PerceptualDistance
from stages.train.processes import World
from stages.windows import TrainingSet, Windows


def perceptual_distance(name: str, device: torch.device, folder: Path) -> PerceptualDistance:
    """The distance of eq. (4) that ``loss.perceptual`` names. The learned ones know no weight of pixels.

    Raises:
        InputError: it needs public weights that neither lie in ``folder`` nor can be fetched.
    """
    if name == "pyramid":
        return pyramid_distance
    trunk, make = {
        "lpips_vgg": ("vgg16", perceptual.lpips_from_trunk),
        "vgg19": ("vgg19", perceptual.VggDistance),
    }[name]
    network = make(weights.tensors(trunk, folder)).to(device, memory_format=torch.channels_last)
    return lambda x, target, weight: network(x, target).flatten()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params",
        default=params.PARAMS_FILE,
        help="sections network, diffusion, loss, train, mask, weights, spectrogram.n_mels and methods.<method>: drop, settings",
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
    config = {
        "network": settings.network.model_dump(),
        "diffusion": settings.diffusion.model_dump(),
        "mel_bins": settings.spectrogram.n_mels,
        "drop": list(drop),
        "steps": settings.train.steps,
        "images_per_step": settings.train.batch * settings.loss.frames + settings.train.singles,
    }
    model = seeded(settings.train.seed, lambda: HifiDiff.from_config(config))
    net = model.net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective = Objective(
        diffusion=model.diffusion,
        expert=experts.load(data / "expert" / "expert.safetensors", device),
        perceptual=perceptual_distance(settings.loss.perceptual, device, Path(settings.weights.folder)),
        weights=settings.loss,
        composite="masked_face" not in drop,
        bf16=settings.train.precision == "bf16",
    )
    state = data / "resume" / "train" / method / "state.pt"
    with checkpoint.lock(state.parent) if world.first else nullcontext():
        world.wait()  # until the first process has the folder to itself
        load = tracking.Load()
        fitted = fit(
            net,
            objective,
            training_set(settings, data, drop),
            settings.train,
            device=device,
            state=state,
            key=state_key(settings, data, drop),
            label=method,
            on_step=load.update,
            world=world,
        )
        if world.first:
            curves = pd.DataFrame(fitted.curves)
            with tables.whole_file(out.parent / "curves.csv") as part:
                curves.to_csv(part, index=False)
            net.load_state_dict(fitted.weights)
            model.save_pretrained(out.parent)
            summary = {"parameters": sum(p.numel() for p in net.parameters()), "seconds": fitted.seconds}
            tracking.record_training(data, method, params=recorded, curves=curves, summary=summary, system=load.table())


def training_set(settings: params.Params, data: Path, drop: Sequence[str]) -> TrainingSet:
    """The training clips of a run.

    Raises:
        InputError: there is none.
    """
    clips = corpus.load_split(data, ("train",), size=settings.network.size, dilation=settings.mask.dilation)
    if not clips:
        raise InputError(data / "index.parquet", "no training clip", "see its column 'status' for the reasons")
    return TrainingSet(
        windows=Windows(clips, settings.loss.frames),
        frames=Windows(clips, 1),
        seed=settings.train.seed,
        batch=settings.train.batch,
        singles=settings.train.singles,
        timesteps=settings.diffusion.timesteps,
        latest_of=settings.train.latest_of,
        crop=settings.train.crop,
        align=settings.network.reference == "aligned",
        places=settings.network.places,
        audio_steps=settings.network.audio_steps,
        blink_frames=settings.network.blink_frames,
        drop=tuple(drop),
        blink_share=settings.train.blink_share,
        condition_dropout=settings.train.condition_dropout,
        mouth_weight=settings.loss.mouth_weight,
        eye_weight=settings.loss.eye_weight,
    )


# Settings of section train that change how fast a training goes and where it may go on, not where it leads.
PACE = {"accumulate", "processes", "workers", "compile", "checkpoint_every", "threads", "device"}


def state_key(settings: params.Params, data: Path, drop: Sequence[str]) -> str:
    """What a saved state belongs to: settings, data and code. A training may go on with more or fewer processes."""
    used = {name: getattr(settings, name).model_dump() for name in ("network", "diffusion", "loss", "mask")}
    used["train"] = settings.train.model_dump(exclude=PACE)
    read = [*corpus.files(data, ("train",)), data / "expert" / "expert.safetensors"]
    return checkpoint.fingerprint({**used, "drop": list(drop)}, [*read, *checkpoint.code()])


if __name__ == "__main__":
    run(main)
