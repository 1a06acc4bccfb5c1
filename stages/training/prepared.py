"""The start of a training, by the settings: the untrained model, its objective and the training clips."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from stages.base import places
from stages.base.errors import InputError
from stages.base.params import Params, Start
from stages.clips import corpus
from stages.clips.pool import Pool, PooledWindows
from stages.clips.windows import Source, TrainingSet, Windows
from stages.diffusion.losses import pyramid_distance
from stages.fetching import public_files
from stages.networks import perceptual, seeded
from stages.networks.hifidiff import HifiDiffNet
from stages.pretrained.hifidiff import WEIGHTS, HifiDiff
from stages.pretrained.lipsync_expert import Expert
from stages.training.objective import Objective, PerceptualDistance

WHOLE = 3 << 29  # bytes of tables: a corpus of so many is held whole, in about twice as much memory; a fork shares it
POOLED = 1 << 30  # bytes that a pool of a larger one takes, in each process that makes batches


class Prepared(NamedTuple):
    """An untrained model, its network as it is trained on a device, and what it is trained for."""

    model: HifiDiff
    net: HifiDiffNet  # the model's own, in channels-last layout
    objective: Objective


def prepared(settings: Params, drop: Sequence[str], expert: Expert, device: torch.device) -> Prepared:
    """The model that ``train.seed`` starts with and its objective; of a row with settings of its own, give its parameters.

    Raises:
        InputError: ``loss.perceptual`` needs public weights that neither lie in their folder nor can be fetched.
    """
    config = configuration(settings, drop)
    model = seeded(settings.train.seed, lambda: HifiDiff.from_config(config))
    if settings.train.start is not None:
        model.net.load_state_dict(started(settings.train.start, config).net.state_dict())
    net = model.net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective = Objective(
        diffusion=model.diffusion,
        expert=expert,
        perceptual=perceptual_distance(settings.loss.perceptual, device, Path(settings.weights.folder)),
        weights=settings.loss,
        composite="masked_face" not in drop,
        bf16=settings.train.precision == "bf16",
    )
    return Prepared(model, net, objective)


def configuration(settings: Params, drop: Sequence[str]) -> dict[str, Any]:
    """The configuration of the model that is trained with these settings, as it lies beside its weights."""
    return {
        "network": settings.network.model_dump(),
        "diffusion": settings.diffusion.model_dump(),
        "mel_bins": settings.spectrogram.n_mels,
        "mask": settings.mask.model_dump(include={"fps", "size", "margin", "dilation"}),
        "spectrogram": settings.spectrogram.model_dump(),
        "drop": list(drop),
        "start": settings.train.start.sha256 if settings.train.start else None,
        "steps": settings.train.steps,
        "images_per_step": settings.train.batch * settings.loss.frames + settings.train.singles,
    }


def started(start: Start, config: Mapping[str, Any]) -> HifiDiff:
    """The model that a training starts with, of the same configuration.

    Raises:
        InputError: it is missing or damaged, is another file than ``start`` says, or of another configuration.
    """
    folder = places.place(start.folder)
    found, its_own = HifiDiff.from_pretrained(folder), Start.of(folder).sha256
    if its_own != start.sha256:
        problem = f"its sha256 is {its_own}, and train.start.sha256 is {start.sha256}"
        raise InputError(folder / WEIGHTS, problem, "set the one or restore the other")
    for section in ("network", "diffusion", "mel_bins", "mask", "spectrogram", "drop"):
        for name, own, its in _differences(section, config[section], found.config.get(section)):
            if name != "mask.size":  # of the stored crops, which are resized to network.size
                raise InputError(
                    folder, f"was trained with {name} {its!r}, and here it is {own!r}", f"set it to {its!r}"
                )
    return found


def _differences(name: str, own: Any, its: Any) -> Iterator[tuple[str, Any, Any]]:
    """The values in which two parts of configurations differ, each with its name; None where one has none."""
    own, its = json.loads(json.dumps(own)), json.loads(json.dumps(its))
    if isinstance(own, dict) and isinstance(its, dict):
        for key in {**own, **its}:
            yield from _differences(f"{name}.{key}", own.get(key), its.get(key))
    elif own != its:
        yield name, own, its


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
    network = make(public_files.tensors(trunk, folder)).to(device, memory_format=torch.channels_last)
    return lambda x, target, weight: network(x, target).flatten()


def training_set(settings: Params, data: Path, drop: Sequence[str]) -> TrainingSet:
    """The training clips of a run, in memory; of a corpus that takes more than :data:`WHOLE`, a pool of them at a time.

    Raises:
        InputError: there is none.
    """
    size, dilation = settings.network.size, settings.mask.dilation
    needed = corpus.bytes_held(data, "train")
    windows: Source
    frames: Source
    if needed <= WHOLE:
        clips = corpus.load_split(data, ("train",), size=size, dilation=dilation)
        if not clips:
            raise InputError(data / "index.parquet", "no training clip", "see its column 'status' for the reasons")
        windows, frames = Windows(clips, settings.loss.frames), Windows(clips, 1)
    else:
        rows = corpus.index(data, ("train",), ["shard"])
        places = list(zip(rows["shard"], rows["clip"], strict=True))
        pool = Pool(
            lambda number: corpus.load(data, *places[number], size=size, dilation=dilation),
            len(places),
            size=len(places) * POOLED // needed,
            windows=settings.train.batch + settings.train.singles,
            seed=settings.train.seed,
        )
        windows, frames = PooledWindows(pool, settings.loss.frames), PooledWindows(pool, 1)
    return TrainingSet(
        windows=windows,
        frames=frames,
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
        ear=settings.network.ear,
        drop=tuple(drop),
        blink_share=settings.train.blink_share,
        first_reference=settings.train.first_reference,
        mirror=settings.train.mirror,
        condition_dropout=settings.train.condition_dropout,
        mouth_weight=settings.loss.mouth_weight,
        eye_weight=settings.loss.eye_weight,
    )
