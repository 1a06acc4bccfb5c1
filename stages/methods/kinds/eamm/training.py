"""EAMM's training: the first-order model on pairs of a clip's frames, then what tells its key points. N images, K key points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.base.errors import ParameterError
from stages.clips import conditions
from stages.clips.windows import pixel_weights
from stages.diffusion.losses import pyramid_distance, weighted_mean
from stages.methods import systems
from stages.methods.kinds.eamm.emotion import MOVED, covered, moved
from stages.methods.kinds.eamm.first_order import Detector, Motion, grid, sampled
from stages.methods.kinds.eamm.settings import Settings
from stages.methods.kinds.eamm.speech import poses
from stages.methods.systems import Data
from stages.training.loop import Average, set_rate, share_of_rate

if TYPE_CHECKING:
    from stages.methods.kinds.eamm import System

CHOICE = 64  # sequences that the four key points are chosen on
# Groups of landmarks that the key points are pulled to: lips, corners of the mouth, jaw, nose.
GROUPS: tuple[tuple[int, ...], ...] = (
    tuple(range(49, 54)),
    tuple(range(55, 60)),
    (61, 62, 63),
    (65, 66, 67),
    (48, 60),
    (54, 64),
    (3, 4, 5),
    (7, 8, 9),
    (11, 12, 13),
    tuple(range(27, 36)),
)


def pull_loss(places_NK2: Tensor, landmarks_NL2: NDArray[np.floating], size: int) -> Tensor:
    """Mean distance, by coordinate, of the key points from the means of their groups of landmarks."""
    groups = np.stack([landmarks_NL2[:, list(group)].mean(1) for group in GROUPS], 1)
    target = torch.from_numpy((2 * groups / (size - 1) - 1).astype(np.float32)).to(places_NK2)
    return (places_NK2 - target).abs().mean()


def equivariance_loss(detector: Detector, x_NCHW: Tensor, found: Motion) -> Tensor:
    """The distance of key points of randomly moved pictures, moved back, from those of the pictures: places and Jacobians."""
    identity = torch.eye(2, 3, device=x_NCHW.device)
    move_N23 = identity + 0.05 * torch.randn(len(x_NCHW), 2, 3, device=x_NCHW.device)
    turn_N122, shift_N12 = move_N23[:, None, :, :2], move_N23[:, None, :, 2]
    everywhere = grid(x_NCHW.shape[-1], x_NCHW.device)
    from_NHW2 = torch.einsum("nij,hwj->nhwi", move_N23[..., :2], everywhere) + move_N23[:, None, None, :, 2]
    moved, _ = detector(sampled(x_NCHW, from_NHW2, "reflection"))
    back_NK2 = (turn_N122 @ moved.places_NK2[..., None])[..., 0] + shift_N12
    turned_NK22 = torch.linalg.inv(found.jacobians_NK22) @ turn_N122 @ moved.jacobians_NK22
    apart = (turned_NK22 - torch.eye(2, device=x_NCHW.device)).abs().mean()
    return (found.places_NK2 - back_NK2).abs().mean() + apart


def heat_loss(told_NKHW: Tensor, true_NKhw: Tensor) -> Tensor:
    """The mean difference of two heats of key points, each of which sums to 1; the first is brought to the second's side."""
    smaller = F.adaptive_avg_pool2d(told_NKHW, true_NKhw.shape[-1])
    return (smaller / smaller.sum((2, 3), keepdim=True) - true_NKhw).abs().mean()


def scaled_errors(told: Motion, true: Motion) -> Tensor:
    """Differences of key points in units of each number's deviation over the images, (N, 6·K)."""
    return torch.cat([(a - b).flatten(1) / b.flatten(1).std(0).clamp_min(1e-3) for a, b in zip(told, true)], 1)


class Part(NamedTuple):
    """A share of the steps, of which each trains some networks alone."""

    name: str
    first: int  # step
    after: int


class Sequences(NamedTuple):
    """Sequences of frames that the first-order model and the sound have told the key points of; B sequences, T frames."""

    covered_BTCHW: Tensor
    true: Motion
    true_heat: Tensor
    told: Motion
    heat: Tensor | None  # where there is a map of them


class Trainer(systems.Trainer):
    """The first-order model, sound to motion and the displacement one after another, each with those before it held."""

    def __init__(self, system: System, data: Data) -> None:
        s: Settings = system.settings
        shortest = min(len(clip.frames_THWC) for clip in data.train)
        if s.frames > shortest:
            raise ParameterError(f"settings.frames is {s.frames}, and the shortest training clip has {shortest} frames")
        self.system, self.data, self.images = system, data, s.images
        switch = max(round(s.first_order * s.steps), 1)
        last = s.steps - round(s.emotion_share * s.steps)
        self.parts = [Part("first_order", 0, switch), Part("speech", switch, last)]
        self.one, self.some = data.windows(1), data.windows(s.frames)
        self.first_order = nn.ModuleList([system.detector, system.generator])
        betas = (s.beta_1, 0.999)
        self.optimisers = {
            "first_order": torch.optim.Adam(self.first_order.parameters(), s.learning_rate, betas),
            "speech": torch.optim.Adam(system.speech.parameters(), s.learning_rate, betas),
        }
        if system.displacement is not None:
            self.parts.append(Part("emotion", last, s.steps))
            self.optimisers["emotion"] = torch.optim.Adam(system.displacement.parameters(), s.learning_rate, betas)
            self.of_speaker: dict[str, list[int]] = {}
            for number, clip in enumerate(data.train):
                self.of_speaker.setdefault(clip.speaker, []).append(number)
        self.average = Average(system)

    def states(self) -> dict[str, Any]:
        return {"system": self.system, "average": self.average, **self.optimisers}

    def step(self, step: int) -> dict[str, float]:
        s, rng = self.system.settings, self.data.random(step)
        part = next(part for part in self.parts if step < part.after)
        if step and step == part.first:
            self.system.load_state_dict(self.average.weights)  # what the next part learns is what will draw
            if part.name == "emotion":
                self.choose(rng)
        share = share_of_rate(step - part.first, steps=part.after - part.first, warmup=s.warmup, decay=s.decay)
        terms = ["picture", "pull", "equivariance", "motion", *(["emotion"] if len(self.parts) > 2 else [])]
        if part.name == "first_order":
            found = self.pairs(rng)
        elif part.name == "speech":
            found = {"motion": self.speech_loss(self.sequences(rng, s.sequences))}
        else:
            found = {"emotion": self.emotion_loss(self.sequences(rng, s.sequences, others=True))}
        optimiser = self.optimisers[part.name]
        set_rate(optimiser, s.learning_rate * share)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(found.values())).sum().backward()
        optimiser.step()
        self.average.update(self.system, step, s.ema)
        return {**dict.fromkeys(terms, 0.0), **{name: loss.item() for name, loss in found.items()}}

    def pairs(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """The first-order model's losses on pairs of frames of one clip each."""
        s, size, device = self.system.settings, self.system.facts.size, self.data.device
        sources, drivers, points, weights = [], [], [], []
        for _ in range(s.images):
            clip, t = self.one.draw(rng)
            clip = clip.holding([t, other := self.one.reference(rng, clip, t)])
            sources.append(clip.frames_THWC[other])
            drivers.append(clip.frames_THWC[t])
            points.append(clip.landmarks_TL2[t])
            weights.append(pixel_weights(clip, [t], mouth=s.mouth_weight, eyes=1.0, everywhere=True))
        source, true = (
            conditions.to_unit(np.stack(sources)).to(device),
            conditions.to_unit(np.stack(drivers)).to(device),
        )
        weight = torch.cat(weights).to(device)
        self.first_order.train()
        both, _ = self.system.detector(torch.cat([source, true]))
        of_source, of_true = both.of(slice(None, s.images)), both.of(slice(s.images, None))
        made = self.system.generator(source, of_source, of_true)
        apart = s.l1 * weighted_mean((made - true).abs(), weight) + s.perceptual * pyramid_distance(made, true, weight)
        found = {"picture": apart.mean()}
        if s.pull:
            found["pull"] = s.pull * pull_loss(of_true.places_NK2, np.stack(points), size)
        if s.equivariance:
            found["equivariance"] = s.equivariance * equivariance_loss(self.system.detector, true, of_true)
        return found

    def sequences(self, rng: np.random.Generator, count: int, *, others: bool = False) -> Sequences:
        """Random sequences of frames; the still frame before each is of the same clip, or of any clip of the same person."""
        s, size, device = self.system.settings, self.system.facts.size, self.data.device
        stills, frames, hidden, heard, pose = [], [], [], [], []
        for _ in range(count):
            clip, start = self.some.draw(rng)
            numbers = list(range(start, start + s.frames))
            still = self.some.reference(rng, clip, start)
            other = clip if not others else self.data.train[int(rng.choice(self.of_speaker[clip.speaker]))]
            stills.append(other.frames_THWC[min(still, len(other.frames_THWC) - 1)])
            pictures = clip.frames_THWC[numbers]
            frames.append(pictures)
            hidden.append(covered(pictures, clip.landmarks_TL2[numbers]) if others else pictures)
            heard.append(self.system.windows(clip, numbers))
            pose.append(poses(clip.landmarks_TL2[numbers], size))
        still_BCHW = conditions.to_unit(np.stack(stills)).to(device)
        self.first_order.eval()
        self.system.speech.train(not others)
        with torch.no_grad():
            known, _ = self.system.detector(still_BCHW)
            true, true_heat = self.system.detector(conditions.to_unit(np.concatenate(frames)).to(device))
        with torch.set_grad_enabled(not others):
            told, heat, _ = self.system.speech(still_BCHW, known, torch.stack(heard), torch.stack(pose).to(device))
        hidden_BTCHW = conditions.to_unit(np.concatenate(hidden)).to(device).unflatten(0, (count, s.frames))
        return Sequences(hidden_BTCHW, true, true_heat, told, heat)

    def speech_loss(self, given: Sequences) -> Tensor:
        """The distance of the key points told by the sound from the first-order model's own."""
        if given.heat is not None:  # as published
            places, jacobians = ((a - b).abs().mean() for a, b in zip(given.told, given.true))
            return 10 * places + 10 * jacobians + 1000 * heat_loss(given.heat, given.true_heat)
        return scaled_errors(given.told, given.true).square().mean()

    def emotion_loss(self, given: Sequences) -> Tensor:
        """The same distance, over the four key points that are displaced, after the displacement."""
        displacement = self.system.displacement
        assert displacement is not None
        made = displacement.train()(moved(given.covered_BTCHW).flatten(0, 1), given.told)
        places, jacobians = (
            (a - b)[:, displacement.moved_4].abs().mean() for a, b in zip(made, given.true, strict=True)
        )
        return 10 * places + 10 * jacobians

    def choose(self, rng: np.random.Generator) -> None:
        """Find the four key points whose places the sound tells worst; the published four are of one training alone."""
        errors_K = torch.zeros(self.system.settings.points, device=self.data.device)
        for _ in range(CHOICE):
            given = self.sequences(rng, 1, others=True)
            errors_K += (given.told.places_NK2 - given.true.places_NK2).abs().mean((0, 2))
        found = errors_K.topk(MOVED).indices.sort().values
        assert self.system.displacement is not None
        self.system.displacement.moved_4.copy_(found)
        self.average.weights["displacement.moved_4"].copy_(found)

    def finish(self) -> None:
        self.system.load_state_dict(self.average.weights)
