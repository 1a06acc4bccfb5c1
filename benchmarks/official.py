"""A training step of the other systems of Table 1 against the authors' own networks, at the papers' sizes, in one process.

    python -m benchmarks.official FOLDER [--json]

FOLDER holds clones of the authors' repositories, under their own names: ``MakeItTalk`` (yzhou359), ``Talking-Face_PC-AVS``
(Hangz-nju-cuhk), ``EAMM`` (jixinya). What is missing there is not compared, and said. Nothing of theirs is part of this project.

A step is the forward pass of all networks that learn, the mean absolute difference from a picture (from landmarks, for sound to
landmarks), the backward pass and Adam, on the same numbers of the same sizes. Each side runs its own code, ours in the memory
format that it trains in. Left out on both sides are losses by VGG-19 and by discriminators: their weights are fetched, and this
project's rows do without them.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import timing
from benchmarks.timing import Goal, Report, Result, Setting
from stages.base.errors import InputError, run
from stages.methods.kinds import eamm, makeittalk, pc_avs
from stages.methods.kinds.eamm.settings import PAPER as EAMM
from stages.methods.systems import Facts

AS_FAST = Goal(least=1.0)
# Imported by the authors' modules and used by nothing that is timed; the last one fetches VGG-19's weights where it is imported.
UNUSED = ("dill", "skimage", "skimage.transform", "models.networks.loss")
MEL_BINS = 80
WINDOWS, STEPS = 64, 18  # of sound to landmarks: a batch, and mel steps of a window


class Side(NamedTuple):
    """What one side makes of the inputs, and the weights that learn."""

    made: Callable[[], Tensor]
    parameters: list[nn.Parameter]


class Pair(NamedTuple):
    """A system's part: ours, theirs, and what both shall make."""

    ours: Side
    theirs: Side
    target: Tensor
    scale: str


@contextlib.contextmanager
def importing(folder: Path) -> Iterator[Callable[[str], ModuleType]]:
    """Imports modules of ``folder`` by name. The authors' packages share names, so they are forgotten afterwards."""
    before, path = set(sys.modules), list(sys.path)
    sys.path.insert(0, str(folder))
    for name in UNUSED:
        if name not in sys.modules:
            sys.modules[name] = ModuleType(name)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # they print while they are built
            yield importlib.import_module
    finally:
        sys.path[:] = path
        new = {name: sys.modules[name] for name in set(sys.modules) - before}
        places = {
            name: [str(getattr(x, "__file__", "")), *map(str, getattr(x, "__path__", ()))] for name, x in new.items()
        }
        for name in new:
            if name in UNUSED or any(place.startswith(str(folder)) for place in places[name]):
                del sys.modules[name]


def learning(*networks: nn.Module) -> list[nn.Parameter]:
    """Their weights; all are put into training mode."""
    return [value for network in networks for value in network.train().parameters()]


def facts(size: int) -> Facts:
    """Of a run whose frames have this side."""
    return Facts(size=size, fps=25, sample_rate=16000, mel_bins=MEL_BINS)


def makeittalk_pictures(folder: Path, batch: int) -> Pair:
    """A drawing of landmarks and a still picture → a picture, 256 pixels."""
    system = makeittalk.System(makeittalk.Settings(**makeittalk.PAPER, steps=1), facts(256))
    with importing(folder) as found:
        theirs = found("src.models.model_image_translation").ResUnetGenerator(6, 3, num_downs=6, use_dropout=False)
    drawing, still, target = torch.rand(3, batch, 3, 256, 256)
    given = torch.cat([drawing, still], 1)
    return Pair(
        Side(lambda: system.draw(still, drawing), learning(system.picture)),
        Side(lambda: torch.tanh(theirs(given)), learning(theirs)),
        target,
        f"{batch} pictures of 256 pixels",
    )


def makeittalk_content(folder: Path, batch: int) -> Pair:
    """Windows of the sound and a face → displacements of landmarks."""
    settings = makeittalk.Settings(**makeittalk.PAPER, steps=1)
    points = 204
    branch = makeittalk.ContentBranch(
        mel_bins=MEL_BINS,
        points=points,
        lstm=settings.lstm,
        layers=settings.lstm_layers,
        dropout=settings.dropout,
    )
    with importing(folder) as found:
        theirs = found("src.models.model_audio2landmark").Audio2landmark_content(
            num_window_frames=STEPS, in_size=MEL_BINS, use_prior_net=True, hidden_size=256, num_layers=3, drop_out=0.5
        )
    count = batch * WINDOWS
    sound, face, target = torch.rand(count, STEPS, MEL_BINS), torch.rand(count, points), torch.rand(count, points)
    return Pair(
        Side(lambda: branch(sound, face), learning(branch)),
        Side(lambda: theirs(sound, face)[0], learning(theirs)),
        target,
        f"{count} windows of {STEPS} mel steps",
    )


def eamm_first_order(folder: Path, batch: int) -> Pair:
    """A source and a driving frame → the driving frame, 256 pixels: key points, motion and generator."""
    system = eamm.System(eamm.Settings(**EAMM, steps=1), facts(256))
    common = {"num_kp": 10, "num_channels": 3, "estimate_jacobian": True}
    with importing(folder) as found:
        detector = found("modules.keypoint_detector").KPDetector(
            **common, temperature=0.1, block_expansion=32, max_features=1024, scale_factor=0.25, num_blocks=5
        )
        generator = found("modules.generator").OcclusionAwareGenerator(
            **common,
            block_expansion=64,
            max_features=512,
            num_down_blocks=2,
            num_bottleneck_blocks=6,
            estimate_occlusion_map=True,
            dense_motion_params={"block_expansion": 64, "max_features": 1024, "num_blocks": 5, "scale_factor": 0.25},
        )
    source, target = torch.rand(2, batch, 3, 256, 256)

    def ours() -> Tensor:
        both, _ = system.detector(torch.cat([source, target]))
        return system.generator(source, both.of(slice(None, batch)), both.of(slice(batch, None)))

    def theirs() -> Tensor:
        return generator(source, kp_source=detector(source), kp_driving=detector(target))["prediction"]

    return Pair(
        Side(ours, learning(system.detector, system.generator)),
        Side(theirs, learning(detector, generator)),
        target,
        f"{batch} pairs of 256 pixels",
    )


def pc_avs_all(folder: Path, batch: int) -> Pair:
    """A person, the frame and its sound → the frame by its own mouth's code and by the sound's, 224 pixels."""
    channels = [512, 512, 512, 512, 256, 128]  # the published ones of 7 to 224 pixels
    settings = pc_avs.Settings(**pc_avs.PAPER | {"channels": channels}, steps=1)
    system = pc_avs.System(settings, facts(224))
    # One speaker to name, the least that the class takes: ours names none in this comparison.
    options = SimpleNamespace(
        crop_size=224,
        clip_len=1,
        num_clips=1,
        num_inputs=1,
        num_classes=1,
        pose_dim=12,
        output_nc=3,
        feature_encoded_dim=2560,
        style_dim=2560,
        style_feature_loss=False,
    )
    with importing(folder) as found:
        encoders, generators = (found(f"models.networks.{name}") for name in ("encoder", "generator"))
        identity, frame = encoders.ResNeXtEncoder(options), encoders.FanEncoder(options)
        sound, generator = encoders.ResSESyncEncoder(options), generators.ModulateGenerator(options)
    for unused in (
        identity.fc,
        identity.model.fc,
        frame.classifier,
        frame.mouth_fc,
        frame.headpose_fc,
        sound.fc,
        generator.style,
    ):
        unused.requires_grad_(False)
    person, true = torch.rand(2, batch, 3, 224, 224) * 2 - 1
    mel_BSM = torch.rand(batch, settings.audio_steps, MEL_BINS)
    mel_B1MS = mel_BSM.transpose(1, 2)[:, None].contiguous()

    def ours() -> Tensor:
        who, pose = system.who(person), system.frame.pose(true)
        mouths = system.frame.mouth(true), system.sound(mel_BSM)
        return torch.cat([system.draw(who, mouth, pose) for mouth in mouths])

    def theirs() -> Tensor:
        code, wide = identity.forward_feature(person)
        person_map = F.adaptive_avg_pool2d(wide, (7, 7))
        seen = frame.model(true)
        pose = frame.headpose_embed(frame.to_headpose(seen))
        mouths = frame.to_mouth(seen), sound.forward_feature(mel_B1MS)
        styles = (torch.cat([code, frame.mouth_embed(mouth), pose], 1) for mouth in mouths)
        return torch.cat([generator([style], identity_style=person_map)[0] for style in styles])

    return Pair(
        Side(ours, learning(system.identity, system.frame, system.sound, system.generator)),
        Side(theirs, [x for x in learning(identity, frame, sound, generator) if x.requires_grad]),
        torch.cat([true, true]),
        f"{batch} frames of 224 pixels, each made twice",
    )


class Part(NamedTuple):
    """What is compared: its name in the table, the authors' repository and what builds both sides."""

    title: str
    repository: str
    build: Callable[[Path, int], Pair]


PARTS = {
    "makeittalk_content": Part("MakeItTalk, sound to landmarks", "MakeItTalk", makeittalk_content),
    "makeittalk_pictures": Part("MakeItTalk, landmarks to pictures", "MakeItTalk", makeittalk_pictures),
    "pc_avs": Part("PC-AVS", "Talking-Face_PC-AVS", pc_avs_all),
    "eamm": Part("EAMM, first-order model", "EAMM", eamm_first_order),
}


def training_step(side: Side, target: Tensor) -> Callable[[], None]:
    """A function that makes one step."""
    optimiser = torch.optim.Adam(side.parameters, lr=1e-4)

    def step() -> None:
        loss = F.l1_loss(side.made(), target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def results(pairs: Mapping[str, Pair], setting: Setting) -> list[Result]:
    """Four lines a part: the ratio, seconds of our step, and how many parameters learn on either side."""
    lines: list[Result] = []
    for name, pair in pairs.items():
        sides = {"ours": pair.ours, "theirs": pair.theirs}
        turns = setting.time({side: training_step(value, pair.target) for side, value in sides.items()})
        title = PARTS[name].title
        counts = {side: sum(x.numel() for x in value.parameters) / 1e6 for side, value in sides.items()}
        lines += [
            Result(
                name,
                f"{title}: training throughput over the authors’ networks",
                turns.ratio("theirs", "ours"),
                AS_FAST,
            ),
            Result(f"{name}_seconds", f"seconds of our step, {pair.scale}", turns.median("ours")),
            *(
                Result(f"{name}_parameters_{side}", f"million parameters that learn, {side}", count)
                for side, count in counts.items()
            ),
        ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where clones of the authors' repositories lie")
    parser.add_argument("--part", choices=PARTS, action="append", help="one of them, in place of all")
    parser.add_argument("--batch", type=int, default=2, help="pictures of a step")
    timing.add_options(parser, turns=5)
    args = parser.parse_args()
    setting = Setting.of(args)
    if setting.device.type != "cpu":
        raise InputError("--device", "the authors' networks are compared on the CPU alone", "give --device cpu")
    here = {name: part for name, part in PARTS.items() if name in (args.part or PARTS)}
    absent = sorted({part.repository for part in here.values() if not (args.folder / part.repository).is_dir()})
    here = {name: part for name, part in here.items() if part.repository not in absent}
    if not here:
        raise InputError(args.folder, f"holds none of {', '.join(absent)}", "clone the authors' repositories there")
    torch.manual_seed(1)
    pairs = {name: part.build(args.folder / part.repository, args.batch) for name, part in here.items()}
    notes = [f"Not compared, as it does not lie in the folder: {name}." for name in absent]
    timing.show(Report("official", setting.machine(), results(pairs, setting), notes), as_json=args.json)


if __name__ == "__main__":
    run(main)
