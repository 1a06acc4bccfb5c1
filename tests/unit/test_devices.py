"""Any accelerator that torch knows serves: the choice is by name, and what they differ in stands in one module."""

import ast
from collections.abc import Iterator

import pytest
import torch
from conftest import clip_of
from test_training import CONFIG, SETTINGS, training_data
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stages.base import devices
from stages.base.errors import ParameterError
from stages.clips import conditions
from stages.diffusion.losses import pyramid_distance
from stages.methods.generate import Noise, sampled
from stages.networks import seeded
from stages.networks.lipsync_expert import LipSyncExpert
from stages.pretrained.hifidiff import HifiDiff
from stages.training import loop
from stages.training.objective import Objective
from workflow.sources import ROOT

META = torch.device("meta")
NAMES = {"cuda", "mps", "xpu", "hpu", "mtia", "hip", "nccl", "xccl"}


def machine_with(monkeypatch: pytest.MonkeyPatch, name: str | None, count: int = 1) -> None:
    """A machine whose accelerator has this name; None: it has none."""
    found = None if name is None else torch.device(name)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: found)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)


@pytest.mark.parametrize("there", [None, "cuda", "mps", "xpu"])
def test_the_choice(monkeypatch: pytest.MonkeyPatch, there: str | None) -> None:
    machine_with(monkeypatch, there)
    assert devices.choose("cpu", "train.device") == torch.device("cpu")
    assert devices.choose("auto", "train.device") == torch.device(there or "cpu")
    for wanted in ("cuda", "mps", "xpu"):
        if wanted == there:
            assert devices.choose(wanted, "train.device") == torch.device(wanted)
        else:
            with pytest.raises(
                ParameterError, match=f"train.device is '{wanted}', but torch finds {there or 'no accel'}"
            ):
                devices.choose(wanted, "train.device")


def test_a_name_that_torch_does_not_know_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    machine_with(monkeypatch, "mps")
    with pytest.raises(ParameterError) as caught:
        devices.choose("gpu", "--device")
    assert str(caught.value) == "--device is 'gpu', but torch finds mps here; choose auto, cpu or mps"


def test_each_process_of_a_machine_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    machine_with(monkeypatch, "xpu", count=2)
    assert [devices.numbered(torch.device("xpu"), n, "train.processes").index for n in range(2)] == [0, 1]
    with pytest.raises(
        ParameterError, match=r"process 3 of this machine has none: torch finds 2 of type xpu; set train.pro"
    ):
        devices.numbered(torch.device("xpu"), 2, "train.processes")
    assert devices.numbered(torch.device("cpu"), 5, "train.processes") == torch.device("cpu")


def test_apples_has_neither_float64_nor_pinned_memory() -> None:
    assert [devices.widest(torch.device(name)) for name in ("mps", "cuda", "cpu")] == [torch.float32] + 2 * [
        torch.float64
    ]
    assert [devices.pins(torch.device(name)) for name in ("mps", "cuda", "xpu", "cpu")] == [False, True, True, False]


def test_no_other_module_names_an_accelerator() -> None:
    """Neither as torch's module nor as a word that a device is compared with; help texts may."""
    for path in [*ROOT.glob("stages/**/*.py"), *ROOT.glob("workflow/**/*.py")]:
        if path != ROOT / "stages/base/devices.py":
            assert not NAMES & set(named(path.read_text(encoding="utf-8"))), path


def named(source: str) -> Iterator[str]:
    """The names, attributes and one-word texts of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.partition(":")[0]


class NoFloat64(TorchDispatchMode):
    """Stands for a device without float64: none of its tensors may be of that type. It computes shapes and types alone."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for x in tree_leaves(made):
            if isinstance(x, torch.Tensor) and x.device.type == "meta":
                self.seen += 1
                assert x.dtype not in (torch.float64, torch.complex128), func
        return made


def test_a_training_step_has_no_float64_on_the_device() -> None:
    model = seeded(1, lambda: HifiDiff.from_config(CONFIG))
    expert = LipSyncExpert(width=4, embedding=8, size=32, sees="mouth").eval().requires_grad_(False).to(META)
    loss = SETTINGS.loss.model_copy(update={"sync": 0.15})
    objective = Objective(model.diffusion, expert, pyramid_distance, loss, composite=True)
    data, net = training_data([clip_of("ada_s01")]), model.net.to(META)
    with NoFloat64() as mode:
        batch = data.step(0).to(META)
        terms = objective(net, batch)
        objective.total(terms, data.images, data.batch).backward()
    assert mode.seen > 1000
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in net.parameters())


@pytest.mark.parametrize("ear", ["raw", "normalised"])
@pytest.mark.parametrize("sampler", ["ddim", "ancestral", "dpm_solver++"])
def test_sampling_has_no_float64_on_the_device(monkeypatch: pytest.MonkeyPatch, sampler: str, ear: str) -> None:
    model = seeded(1, lambda: HifiDiff.from_config(CONFIG))
    model.net.to(META)
    clip, frames = clip_of("ada_s01"), range(2)
    given = conditions.conditions(
        clip, clip, frames, 0, align=True, places_too=False, audio_steps=16, blink_frames=1, ear=ear, drop=()
    )
    settings = SETTINGS.sample.model_copy(update={"sampler": sampler, "steps": 3})
    noise = Noise(clip.name, (3, 32, 32), 5, shared=0.5, interpolation=0.0)
    monkeypatch.setattr(conditions, "to_frames", lambda x: x)  # a meta tensor has no numbers to give back
    with NoFloat64() as mode:
        made = sampled(model, given, conditions.masks(clip, frames), frames, noise, settings, META)
    assert made.device == META
    assert mode.seen > 100


def test_the_numbers_of_a_step_are_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """With float32, where a device has no more, as with float64."""
    for wide in (torch.float64, torch.float32):
        monkeypatch.setattr(devices, "widest", lambda device, wide=wide: wide)
        sent = loop.Sent.of(3, {"loss": torch.tensor(0.1), "rate": 0.25}, True, loop.ALONE)
        assert sent.numbers.read() == [float(torch.tensor(0.1)), 0.25, 1.0]
