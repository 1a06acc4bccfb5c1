"""Train one method of ``params.yaml``.

    python -m stages.train --data data/demo --method full --out data/demo/models/full/model.safetensors

Writes config.json and curves.csv (means of each loss term) beside the weights. Killed, the same command goes on from the last
saved state and, on the CPU, ends with the same bytes as if it had never stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import torch

from stages import checkpoint, corpus, experts, params, tables, tracking
from stages.diffusion.losses import pyramid_distance
from stages.errors import InputError, ParameterError, run
from stages.networks import perceptual, seeded
from stages.pretrained import HifiDiff
from stages.train.engine import Objective, PerceptualDistance, fit
from stages.windows import TrainingSet, Windows


def choose_device(wanted: str) -> torch.device:
    """'auto' is cuda where there is one; 'cuda' without one is an error."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ParameterError("train.device is 'cuda', but no CUDA device is visible; choose 'auto' or 'cpu'")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def perceptual_distance(name: str, device: torch.device) -> PerceptualDistance:
    """The distance of eq. (4) that ``loss.perceptual`` names."""
    if name == "pyramid":
        return pyramid_distance
    path = perceptual.vgg16_path()
    try:
        network = perceptual.lpips_from_trunk(perceptual.read_vgg16(path)).to(device)
    except (FileNotFoundError, ValueError) as error:
        raise ParameterError(str(error)) from None
    return lambda x, target, weight: network(x, target).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params",
        default=params.PARAMS_FILE,
        help="sections network, diffusion, loss, train, mask, spectrogram.n_mels and methods.<method>.drop",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the run, such as data/demo")
    parser.add_argument("--method", required=True, help="a method of kind hifidiff that has its own weights")
    parser.add_argument("--out", type=Path, required=True, help="model.safetensors to write")
    args = parser.parse_args()
    settings = params.load(args.params)
    if args.method not in settings.trained:
        raise ParameterError(f"--method is {args.method!r}; allowed: {', '.join(settings.trained)}")
    drop = settings.methods[args.method].drop
    device = choose_device(settings.train.device)
    torch.set_num_threads(settings.train.threads)

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
        expert=experts.load(args.data / "expert" / "expert.safetensors", device),
        perceptual=perceptual_distance(settings.loss.perceptual, device),
        weights=settings.loss,
        composite="masked_face" not in drop,
        bf16=settings.train.precision == "bf16",
    )
    clips = corpus.load_split(args.data, ("train",), size=settings.network.size, dilation=settings.mask.dilation)
    if not clips:
        raise InputError(args.data / "index.parquet", "no training clip", "see its column 'status' for the reasons")
    data = TrainingSet(
        windows=Windows(clips, settings.loss.frames),
        frames=Windows(clips, 1),
        seed=settings.train.seed,
        batch=settings.train.batch,
        singles=settings.train.singles,
        timesteps=settings.diffusion.timesteps,
        latest_of=settings.train.latest_of,
        align=settings.network.reference == "aligned",
        audio_steps=settings.network.audio_steps,
        blink_frames=settings.network.blink_frames,
        drop=tuple(drop),
        blink_share=settings.train.blink_share,
        condition_dropout=settings.train.condition_dropout,
        mouth_weight=settings.loss.mouth_weight,
        eye_weight=settings.loss.eye_weight,
    )
    state = args.data / "resume" / "train" / args.method / "state.pt"
    with checkpoint.lock(state.parent):
        used = {
            name: getattr(settings, name).model_dump() for name in ("network", "diffusion", "loss", "train", "mask")
        }
        read = [*corpus.files(args.data, ("train",)), args.data / "expert" / "expert.safetensors"]
        key = checkpoint.fingerprint({**used, "drop": list(drop)}, [*read, *checkpoint.code()])
        load = tracking.Load()
        fitted = fit(
            net,
            objective,
            data,
            settings.train,
            device=device,
            state=state,
            key=key,
            label=args.method,
            on_step=load.update,
        )
        curves = pd.DataFrame(fitted.curves)
        with tables.whole_file(args.out.parent / "curves.csv") as part:
            curves.to_csv(part, index=False)
        net.load_state_dict(fitted.weights)
        model.save_pretrained(args.out.parent)
        summary = {"parameters": sum(p.numel() for p in net.parameters()), "seconds": fitted.seconds}
        tracking.record_training(
            args.data, args.method, params=settings, curves=curves, summary=summary, system=load.table()
        )


if __name__ == "__main__":
    run(main)
