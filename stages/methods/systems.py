"""The rows of Table 1: what a module of ``stages/methods/kinds`` defines, and how a system that is trained here is trained.

A row's ``kind`` in ``params.yaml`` names the module that makes its videos. Each such module has ::

    def renderer(row: Row) -> Render: ...      # how the row's frames are made from a test clip
    def sees(entry: params.Method) -> str: ... # what it is given of that clip, for the report

A system that is trained in this pipeline also has a subclass of :class:`System` of the name ``System``; its ``renderer`` is
then :func:`trained`. docs/add-a-method.md shows a whole one. Nothing else knows a system by name.

N frames, C = 3 channels, H = W = size; pictures are uint8 RGB where they are arrays, float in [-1, 1] where they are tensors.
"""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from torch import nn

from stages.base import devices, params
from stages.base.errors import InputError, ParameterError
from stages.base.params import Params
from stages.clips.clip import MEL_STEPS_PER_FRAME, Clip
from stages.clips.windows import Windows
from stages.pretrained.hifidiff import CONFIG, WEIGHTS
from stages.pretrained.lipsync_expert import Expert
from stages.store import atomic, weights_file
from stages.training import loop

# (clip, clip whose audio is given) → its frames, some (N, H, W, 3) at a time
Render = Callable[[Clip, Clip], Iterator[NDArray[np.uint8]]]
COUNTED_FRAMES = 10  # of a clip, over which the operations of a frame are averaged

S = TypeVar("S", bound="System")


@dataclass(frozen=True)
class Row:
    """A method of ``params.yaml`` that is to be sampled."""

    settings: Params
    data: Path  # data/<run>
    method: str
    progress: Callable[[int], None]  # told of frames as they are made
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)  # by clip: what the listing should say of it
    facts: dict[str, Any] = field(default_factory=dict)  # what it should say of each clip

    @property
    def entry(self) -> params.Method:
        return self.settings.methods[self.method]

    @property
    def sampling(self) -> params.Sample:
        """Section ``sample`` as this row has it."""
        return self.settings.sampling(self.method)

    @property
    def made_from(self) -> Path:
        """The folder that the row's videos are made from."""
        return self.data / self.entry.made_from

    @property
    def device(self) -> torch.device:
        return devices.choose(self.sampling.device, "sample.device")


@dataclass(frozen=True)
class Facts:
    """Facts of the run that a system is trained in, beside its own settings."""

    size: int  # side of a frame, pixels
    fps: float
    sample_rate: int  # Hz
    mel_bins: int

    @classmethod
    def of(cls, settings: Params) -> Facts:
        sound = settings.spectrogram
        return cls(settings.network.size, settings.mask.fps, sound.sample_rate, sound.n_mels)


@dataclass(frozen=True)
class Data:
    """The data open to a training."""

    train: Sequence[Clip]
    validation: Sequence[Clip]
    expert: Expert  # the lip-sync expert of HifiDiff's loss, frozen, on ``device``
    seed: int
    device: torch.device

    def windows(self, frames: int) -> Windows:
        """The training clips, to draw windows of so many consecutive frames from."""
        return Windows(self.train, frames)

    def random(self, step: int, index: int = 0) -> np.random.Generator:
        """The draws of a step (of item ``index`` of its batch): from (seed, step, index) alone, so that a killed run goes on."""
        return np.random.default_rng([self.seed, step, index])


class Trainer(loop.Trainer):
    """A training of one system. ``images`` counts the frames that a step learns from."""

    images: int


class SystemSettings(params.Section):
    """The first of every system's settings."""

    steps: params.Natural = Field(description="training steps")


class System(nn.Module, ABC):
    """A system of Table 1 as it is sampled: the networks of its inference.

    Its docstring names the paper; ``deviations`` says how this module differs from it, a sentence each.
    """

    Settings: ClassVar[type[SystemSettings]]  # of ``methods.<row>.settings``
    deviations: ClassVar[tuple[str, ...]]

    def __init__(self, settings: Any, facts: Facts) -> None:
        super().__init__()
        self.settings, self.facts = settings, facts

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @abstractmethod
    def trainer(self, data: Data) -> Trainer:
        """A training of this system, from its present weights."""

    @abstractmethod
    def generate(
        self, clip: Clip, sound: Clip, sampling: params.Sample, progress: Callable[[int], None]
    ) -> Iterator[NDArray[np.uint8]]:
        """The frames of a clip, as many as it has, speaking with ``sound``'s audio, some (N, H, W, 3) at a time."""

    @classmethod
    def from_pretrained(cls: type[S], folder: Path, overrides: Mapping[str, Any], device: torch.device) -> S:
        """Read what :func:`save` wrote, frozen, in evaluation mode; a row's own settings replace the saved ones.

        Raises:
            InputError: a file is missing or damaged, or weights, settings and this code don't belong together.
        """
        weights, config = weights_file.read(folder / WEIGHTS)
        try:
            settings = cls.Settings.model_validate({**config["settings"], **overrides})
            system = cls(settings, Facts(**config["facts"]))
            system.load_state_dict(weights, strict=True)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            problem = f"not weights of {cls.__module__} in this version ({type(error).__name__}: {error})"
            raise InputError(folder, problem, "train it again, or correct the row's settings") from None
        return system.eval().requires_grad_(False).to(device)


def trained(system: type[System], row: Row) -> Render:
    """The renderer of a row whose system was trained here, or whose official weights were converted."""
    made = system.from_pretrained(row.made_from, row.entry.settings, row.device)
    torch.backends.cudnn.benchmark = True  # the shapes are the same at each step
    sampling = row.sampling
    row.facts["frame_flops"] = frame_flops(made, sampling)

    def render(clip: Clip, sound: Clip) -> Iterator[NDArray[np.uint8]]:
        with torch.no_grad():
            yield from made.generate(clip, sound, sampling, row.progress)

    return render


def module(kind: str) -> ModuleType:
    """The module of a kind; :class:`stages.base.params.Params` has checked that there is one."""
    return importlib.import_module(f"stages.methods.kinds.{kind}")


def settings_of(settings: Params, method: str) -> Any:
    """A row's settings, of its module's ``Settings``: those of the row that was trained, and its own over them.

    Weights that no row trains were converted and have their settings with them: what the row doesn't say is not asked of it
    (and None given), what it says is checked.

    Raises:
        ParameterError: naming each key that is wrong, its value and what is allowed.
    """
    entry = settings.methods[method]
    owner = settings.methods.get(entry.weights_of, entry)
    model: type[params.Section] | None = _settings_model(entry.kind)
    if model is None:
        if entry.settings and entry.kind != "hifidiff":
            raise ParameterError(f"methods.{method}.settings must be {{}}: rows of kind {entry.kind} have none")
        return None
    try:
        return model.model_validate({**owner.settings, **entry.settings})
    except ValidationError as error:
        converted = entry.weights_of and entry.weights_of not in settings.baselines
        wrong = [e for e in error.errors() if not (converted and e["type"] == "missing")]
        if not wrong:
            return None
        lines = [params.explain(e, f"methods.{method}.settings.") for e in wrong]
        raise ParameterError("; ".join(lines)) from None


def _settings_model(kind: str) -> type[params.Section] | None:
    found = module(kind)
    return found.System.Settings if hasattr(found, "System") else getattr(found, "Settings", None)


def sees_mouth(entry: params.Method) -> bool:
    """True if a row is given the true mouth of the test clip; the kind's module may define that."""
    own = getattr(module(entry.kind), "sees_mouth", None)
    return bool(own and own(entry))


def check(settings: Params) -> None:
    """Check the settings of all rows that have some of their own, before anything runs; raises like :func:`settings_of`."""
    for name, entry in settings.methods.items():
        if entry.settings or entry.kind not in params.BUILT_IN:
            settings_of(settings, name)
    for name in settings.baselines:
        if not hasattr(module(settings.methods[name].kind), "System"):
            raise ParameterError(f"baselines.{name}: rows of kind {settings.methods[name].kind} are not trained")


@torch.no_grad()
def frame_flops(system: System, sampling: params.Sample) -> int:
    """Floating-point operations of a generated frame, counted over a blank clip; recurrent layers are not counted.

    Matrix products, convolutions and attention; a multiplication and an addition count as two.
    """
    from torch.utils.flop_counter import FlopCounterMode  # brings Triton along

    clip = blank(system.facts, COUNTED_FRAMES)
    with FlopCounterMode(display=False) as counter:
        made = sum(len(frames) for frames in system.generate(clip, clip, sampling, lambda frames: None))
    return counter.get_total_flops() // made


def blank(facts: Facts, count: int) -> Clip:
    """A clip of black frames, a face that is a circle, and silence."""
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    face = (np.stack([np.cos(angle), np.sin(angle)], -1) + 2) * facts.size / 4
    return Clip(
        name="blank",
        speaker="blank",
        frames_THWC=np.zeros((count, facts.size, facts.size, 3), np.uint8),
        landmarks_TL2=np.repeat(face.astype(np.float32)[None], count, 0),
        masks_THW=np.zeros((count, facts.size, facts.size), np.bool_),
        ear_T2=np.zeros((count, 2), np.float32),
        mel_SM=np.full((round(MEL_STEPS_PER_FRAME * count), facts.mel_bins), -4.0, np.float32),
        audio=np.zeros(round(count * facts.sample_rate / facts.fps), np.int16),
        blinks=[],
    )


def save(system: System, folder: Path, *, kind: str, facts: Mapping[str, Any]) -> None:
    """Write ``config.json`` and ``model.safetensors``, the weights last; ``facts`` are for the report."""
    config = {
        "kind": kind,
        "settings": system.settings.model_dump(),
        "facts": asdict(system.facts),
        "parameters": sum(p.numel() for p in system.parameters()),
        **facts,
    }
    atomic.write_json(folder / CONFIG, config)
    weights_file.write(folder / WEIGHTS, system.state_dict(), json.loads(json.dumps(config)))
