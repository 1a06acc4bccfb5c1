"""EAMM: Ji, Zhou, Wang, Wu, Wu, Xu and Cao, "EAMM: One-Shot Emotional Talking Face via Audio-Based Emotion-Aware Motion Model",
SIGGRAPH 2022; layers and settings as in the authors' code (jixinya/EAMM, e176a79) and in the first-order motion model that it
keeps (Siarohin et al., NeurIPS 2019).

Two parts, trained one after the other:

- the **first-order model** tells any frame's motion by ten key points, each with a 2×2 Jacobian, found without labels: a
  softmax over a map for each gives its place. Between a source and a driving frame each key point's affine map says where
  the pixels near it come from; a network weighs these maps, and tells what is uncovered; the source's features are warped so and
  drawn anew;
- **sound to motion** gives a frame's key points from a still frame, the sound around it and the head's pose, by an LSTM over the
  frames. It learns the first-order model's own key points, which is held. In sampling the sound's code is multiplied by 1.6, as
  published.

The emotion's displacement of four key points is not here: see ``deviations``; so the eyes never move. At paper scale a row's
settings are ``PAPER``, plus ``steps``.

N images, C = 3 channels, H = W = size, h = w side of the maps, K key points, T frames of a sequence, S mel steps, M mel bands.
Pictures are in [0, 1]; places in [-1, 1], x before y, the first and the last pixel's centre at -1 and 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from stages.base import params
from stages.base.errors import ParameterError
from stages.clips import conditions
from stages.clips.clip import MEL_STEPS_PER_FRAME, Clip, mel_window
from stages.clips.windows import pixel_weights
from stages.diffusion.losses import pyramid_distance, weighted_mean
from stages.faces.geometry import EYE_CORNERS, NOSE_TIP, head_axes
from stages.methods import systems
from stages.methods.systems import Data, Facts, Render, Row
from stages.training.loop import Average, set_rate, share_of_rate

TEMPERATURE, VARIANCE = 0.1, 0.01  # of a key point's softmax; of the heat that stands for it
POSE = 6  # values of a frame: place, size, roll, and two of the turn
CODES = {"picture": 512, "sound": 256, "pose": 256}  # published lengths
MEL_BEFORE = 10  # mel steps before a frame's own beginning: 0.125 s; published: 0.12
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


class Settings(systems.SystemSettings):
    """``methods.<row>.settings``; the paper's values are in :data:`PAPER`."""

    points: params.Natural = Field(description="key points; paper: 10")
    levels: params.Natural = Field(description="of the hourglasses; paper: 5")
    width: params.Natural = Field(description="the key points' hourglass's; paper: 32")
    motion_width: params.Natural = Field(description="the dense motion's hourglass's; paper: 64")
    widest: params.Natural = Field(description="channels that an hourglass has at most; paper: 1024")
    shrunk: params.Natural = Field(description="side of a picture over that of the maps; paper: 4, of 256 pixels")
    generator_width: params.Natural = Field(description="first layer of the generator; paper: 64")
    halvings: params.Natural = Field(description="of its resolution; paper: 2")
    blocks: params.Natural = Field(description="residual blocks; paper: 6")
    residual: bool = Field(description="add the picture to the warped source; paper: no")
    perceptual: params.Positive = Field(
        description="weight of the Laplacian pyramid's distance; paper: 10, of VGG-19's features"
    )
    l1: Annotated[float, Field(ge=0)] = Field(description="weight of the absolute difference; paper: 0")
    mouth_weight: params.Positive = Field(description="picture losses' weight of the mouth; paper: 1")
    equivariance: Annotated[float, Field(ge=0)] = Field(
        description="weight of the key points' agreement under a random affine map, places and Jacobians; paper: 10"
    )
    pull: Annotated[float, Field(ge=0)] = Field(
        description="weight of the key points' distance from groups of landmarks; 0 (paper): they are found without"
    )
    first_order: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="share of the steps that train the first-order model; the rest trains sound to motion"
    )
    audio_steps: params.Natural = Field(
        description="mel steps around a frame, 80 a second; paper: 28 of MFCC, 100 a second"
    )
    pooled: tuple[params.Natural, params.Natural] = Field(
        description="steps and bands that are averaged; paper: 13 MFCC"
    )
    sound_width: params.Natural = Field(description="first layer of the sound encoder; paper: 64")
    sound_hidden: params.Natural = Field(description="its hidden layer; paper: 2048")
    picture_width: params.Natural = Field(description="first layer of the still frame's encoder; paper: 4")
    lstm: params.Natural = Field(description="width of the LSTM; paper: 256")
    lstm_layers: params.Natural = Field(description="its layers; paper: 3")
    motion: Literal["map", "direct"] = Field(
        description="key points from a feature map (paper), or the still frame's and a linear map of the LSTM"
    )
    amplify: params.Positive = Field(description="what the sound's code is multiplied by in sampling; paper: 1.6")
    pose: Literal["first_frame", "video"] = Field(
        description="whose pose each frame is given: the first frame's, or its own in the test video; paper: a file's"
    )
    images: params.Natural = Field(description="pairs of a step of the first-order model; paper: 40")
    sequences: params.Natural = Field(description="of a step of sound to motion; paper: 8")
    frames: params.Natural = Field(description="of such a sequence; paper: 16")
    learning_rate: params.Positive = Field(description="of both parts; paper: 2e-4")
    beta_1: params.Fraction = Field(description="Adam's; paper: 0.5")
    warmup: params.Count = Field(description="steps of linear warm-up of each part; paper: 0")
    decay: Literal["constant", "cosine"] = Field(
        description="of each part's rate; paper: a tenth after 60 epochs, and again after 90"
    )
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(description="running average of all weights; 0 (paper): none")


PAPER: dict[str, Any] = {
    "points": 10,
    "levels": 5,
    "width": 32,
    "motion_width": 64,
    "widest": 1024,
    "shrunk": 4,
    "generator_width": 64,
    "halvings": 2,
    "blocks": 6,
    "residual": False,
    "perceptual": 10.0,
    "l1": 0.0,
    "mouth_weight": 1.0,
    "equivariance": 10.0,
    "pull": 0.0,
    "first_order": 0.5,
    "audio_steps": 24,
    "pooled": (1, 4),
    "sound_width": 64,
    "sound_hidden": 2048,
    "picture_width": 4,
    "lstm": 256,
    "lstm_layers": 3,
    "motion": "map",
    "amplify": 1.6,
    "pose": "first_frame",
    "images": 40,
    "sequences": 8,
    "frames": 16,
    "learning_rate": 2e-4,
    "beta_1": 0.5,
    "warmup": 0,
    "decay": "constant",
    "ema": 0.0,
}


class Motion(NamedTuple):
    """Key points and how space turns and stretches around each."""

    places_NK2: Tensor
    jacobians_NK22: Tensor

    def of(self, frames: slice) -> Motion:
        """Of some images."""
        return Motion(self.places_NK2[frames], self.jacobians_NK22[frames])

    def repeated(self, count: int) -> Motion:
        """Each image's ``count`` times, one after another."""
        return Motion(self.places_NK2.repeat_interleave(count, 0), self.jacobians_NK22.repeat_interleave(count, 0))


def grid(side: int, device: torch.device) -> Tensor:
    """The places of a square map's pixels, (side, side, 2)."""
    line = torch.linspace(-1, 1, side, device=device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], -1)


# --- the first-order model -------------------------------------------------------------------------------------------


def _conv(c_in: int, c_out: int, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2), nn.BatchNorm2d(c_out), nn.ReLU())


class Hourglass(nn.Module):
    """Halves and doubles the resolution ``levels`` times; what is on the way down stands beside what comes up."""

    def __init__(self, c_in: int, *, width: int, levels: int, widest: int) -> None:
        super().__init__()
        widths = [min(widest, width * 2**level) for level in range(levels + 1)]
        down = zip([c_in, *widths[1:-1]], widths[1:])
        self.down = nn.ModuleList(nn.Sequential(_conv(a, b), nn.AvgPool2d(2)) for a, b in down)
        up = [((1 if level == levels else 2) * widths[level], widths[level - 1]) for level in range(levels, 0, -1)]
        self.up = nn.ModuleList(_conv(a, b) for a, b in up)
        self.channels = widths[0] + c_in

    def forward(self, x_NCHW: Tensor) -> Tensor:
        maps = [x_NCHW]
        for layer in self.down:
            maps.append(layer(maps[-1]))
        x = maps.pop()
        for layer in self.up:
            x = torch.cat([layer(F.interpolate(x, scale_factor=2.0)), maps.pop()], 1)
        return x


class Heads(nn.Module):
    """A feature map → key points: a softmax over a map each, and Jacobians, which start at the identity."""

    def __init__(self, channels: int, points: int) -> None:
        super().__init__()
        self.place, self.jacobian = nn.Conv2d(channels, points, 7), nn.Conv2d(channels, 4 * points, 7)
        nn.init.zeros_(self.jacobian.weight)
        with torch.no_grad():
            assert self.jacobian.bias is not None
            self.jacobian.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(points))

    def forward(self, x_NCHW: Tensor) -> tuple[Motion, Tensor]:
        """The key points, and the heat that they are the means of, (N, K, h, w)."""
        heat = (self.place(x_NCHW) / TEMPERATURE).flatten(2).softmax(-1).unflatten(2, (x_NCHW.shape[-1] - 6,) * 2)
        places = torch.einsum("nkhw,hwc->nkc", heat, grid(heat.shape[-1], heat.device))
        jacobians = self.jacobian(x_NCHW).unflatten(1, (heat.shape[1], 4))
        return Motion(places, torch.einsum("nkhw,nkjhw->nkj", heat, jacobians).unflatten(2, (2, 2))), heat


class Detector(nn.Module):
    """Pictures → key points, and their heat."""

    def __init__(self, *, points: int, width: int, levels: int, widest: int, shrunk: int) -> None:
        super().__init__()
        self.shrunk = shrunk
        self.hourglass = Hourglass(3, width=width, levels=levels, widest=widest)
        self.heads = Heads(self.hourglass.channels, points)

    def forward(self, x_NCHW: Tensor) -> tuple[Motion, Tensor]:
        return self.heads(self.hourglass(F.avg_pool2d(x_NCHW, self.shrunk)))


def heats(places_NK2: Tensor, side: int) -> Tensor:
    """A Gaussian around each key point, (N, K, side, side)."""
    apart = grid(side, places_NK2.device) - places_NK2[:, :, None, None]
    return torch.exp(-0.5 * apart.square().sum(-1) / VARIANCE)


def candidates(source: Motion, driving: Motion, side: int) -> Tensor:
    """The source of each pixel by each key point's affine map, the pixel's own place before them: (N, K + 1, h, w, 2).

    T_source←driving(z) ≈ p_source + J_source J_driving⁻¹ (z − p_driving): equation (4) of the first-order model.
    """
    everywhere = grid(side, driving.places_NK2.device)
    turn_NK22 = source.jacobians_NK22 @ torch.linalg.inv(driving.jacobians_NK22.float())
    away = everywhere - driving.places_NK2[:, :, None, None]
    moved = torch.einsum("nkij,nkhwj->nkhwi", turn_NK22, away) + source.places_NK2[:, :, None, None]
    return torch.cat([everywhere.expand(len(moved), 1, -1, -1, -1), moved], 1)


class DenseMotion(nn.Module):
    """The source of each pixel of the driving frame, (N, h, w, 2), and the visible share of it there."""

    def __init__(self, *, points: int, width: int, levels: int, widest: int, shrunk: int) -> None:
        super().__init__()
        self.shrunk = shrunk
        self.hourglass = Hourglass(4 * (points + 1), width=width, levels=levels, widest=widest)
        self.masks = nn.Conv2d(self.hourglass.channels, points + 1, 7, padding=3)
        self.seen = nn.Conv2d(self.hourglass.channels, 1, 7, padding=3)

    def forward(self, source_NCHW: Tensor, source: Motion, driving: Motion) -> tuple[Tensor, Tensor]:
        small = F.avg_pool2d(source_NCHW, self.shrunk)
        side = small.shape[-1]
        heat = heats(driving.places_NK2, side) - heats(source.places_NK2, side)
        heat = torch.cat([torch.zeros_like(heat[:, :1]), heat], 1)
        moves = candidates(source, driving, side)
        count = moves.shape[1]
        warped = sampled(small.repeat_interleave(count, 0), moves.flatten(0, 1))
        given = torch.cat([heat[:, :, None], warped.unflatten(0, (-1, count))], 2).flatten(1, 2)
        features = self.hourglass(given)
        shares = self.masks(features).softmax(1)
        return torch.einsum("nkhw,nkhwc->nhwc", shares, moves), self.seen(features).sigmoid()


class ResidualBlock(nn.Module):
    """Norm, ReLU and convolution, twice, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        halves = [[nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)] for _ in range(2)]
        self.layers = nn.Sequential(*halves[0], *halves[1])

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW + self.layers(x_NCHW)


class Generator(nn.Module):
    """A source picture and two motions → the driving frame, (N, C, H, W) in [0, 1], or about that where it is a residual."""

    def __init__(self, *, width: int, halvings: int, blocks: int, residual: bool, dense: DenseMotion) -> None:
        super().__init__()
        self.dense, self.residual = dense, residual
        widths = [width * 2**level for level in range(halvings + 1)]
        self.first = _conv(3, width, 7)
        self.down = nn.Sequential(*(nn.Sequential(_conv(a, b), nn.AvgPool2d(2)) for a, b in itertools.pairwise(widths)))
        self.middle = nn.Sequential(*(ResidualBlock(widths[-1]) for _ in range(blocks)))
        up = [nn.Sequential(nn.Upsample(scale_factor=2.0), _conv(b, a)) for a, b in itertools.pairwise(widths)]
        self.up = nn.Sequential(*reversed(up))
        self.picture = nn.Conv2d(width, 3, 7, padding=3)
        if residual:
            nn.init.zeros_(self.picture.weight)  # it starts as the warped source
            assert self.picture.bias is not None
            nn.init.zeros_(self.picture.bias)

    def forward(self, source_NCHW: Tensor, source: Motion, driving: Motion) -> Tensor:
        flow, seen = self.dense(source_NCHW, source, driving)
        features = self.down(self.first(source_NCHW))
        warped = sampled(features, _resized(flow.movedim(3, 1), features.shape[-1]).movedim(1, 3))
        made = self.picture(self.up(self.middle(warped * _resized(seen, features.shape[-1]))))
        if not self.residual:
            return made.sigmoid()
        large = _resized(flow.movedim(3, 1), source_NCHW.shape[-1]).movedim(1, 3)
        return sampled(source_NCHW, large, "border") + made


def sampled(x_NCHW: Tensor, from_NHW2: Tensor, beyond: str = "zeros") -> Tensor:
    """A picture's values at places, linearly; far beyond its edge all places are one.

    Places that are no numbers end PyTorch's gradient on a CPU with a segmentation fault. They are kept from it, and what is
    sampled is no number then.
    """
    near = torch.nan_to_num(from_NHW2).clamp(-4, 4)
    return F.grid_sample(x_NCHW, near, align_corners=True, padding_mode=beyond) + 0 * from_NHW2.sum()


def _resized(x_NCHW: Tensor, side: int) -> Tensor:
    if x_NCHW.shape[-1] == side:
        return x_NCHW
    return F.interpolate(x_NCHW, size=(side, side), mode="bilinear", align_corners=True)


# --- sound to motion -------------------------------------------------------------------------------------------------


class SoundEncoder(nn.Module):
    """A window of the sound, (N, S, M), → its code, (N, 256)."""

    def __init__(self, *, steps: int, bands: int, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _conv(1, width),
            _conv(width, 2 * width),
            nn.MaxPool2d(3, (1, 2)),
            _conv(2 * width, 4 * width),
            _conv(4 * width, 4 * width),
            _conv(4 * width, 8 * width),
            nn.MaxPool2d(3, (2, 2)),
            nn.Flatten(),
        )
        left = [((side - 3) // first + 1 - 3) // 2 + 1 for side, first in ((steps, 1), (bands, 2))]
        self.code = nn.Sequential(
            nn.Linear(8 * width * left[0] * left[1], hidden), nn.ReLU(), nn.Linear(hidden, CODES["sound"]), nn.ReLU()
        )

    def forward(self, sound_NSM: Tensor) -> Tensor:
        return self.code(self.layers(sound_NSM[:, None]))


class PictureEncoder(nn.Module):
    """A still picture → its code, (N, 512): convolutions that halve it to one pixel, each twice as wide as the one
    before but for the last, which is as wide as the code is long.
    """

    def __init__(self, *, size: int, width: int) -> None:
        super().__init__()
        halvings = size.bit_length() - 1
        widths = [min(width * 2**level, CODES["picture"]) for level in range(halvings)]
        widths[-1] = CODES["picture"]
        layers = [nn.Sequential(_conv(a, b), nn.MaxPool2d(2)) for a, b in zip([3, *widths], widths)]
        self.layers = nn.Sequential(*layers, nn.Flatten())

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.layers(x_NCHW)


class SoundToMotion(nn.Module):
    """A still picture with its key points, and for each frame the sound around it and the head's pose → key points of each."""

    def __init__(self, settings: Settings, *, size: int, mel_bins: int) -> None:
        super().__init__()
        s = settings
        steps, bands = s.audio_steps // s.pooled[0], mel_bins // s.pooled[1]
        self.sound = SoundEncoder(steps=steps, bands=bands, width=s.sound_width, hidden=s.sound_hidden)
        self.picture = PictureEncoder(size=size, width=s.picture_width)
        self.pose = nn.Sequential(nn.Linear(POSE, 128), nn.ReLU(), nn.Linear(128, CODES["pose"]), nn.ReLU())
        self.follow = nn.LSTM(sum(CODES.values()), s.lstm, s.lstm_layers, batch_first=True)
        self.direct, self.points = s.motion == "direct", s.points
        if self.direct:
            self.told = nn.Linear(s.lstm, 6 * s.points)
            nn.init.zeros_(self.told.weight)  # it starts as the still frame's key points
            nn.init.zeros_(self.told.bias)
        else:
            self.map = feature_map(s.lstm, s.width + 3)
            self.heads = Heads(s.width + 3, s.points)

    def forward(
        self,
        still_BCHW: Tensor,
        known: Motion,
        sound_BTSM: Tensor,
        pose_BT6: Tensor,
        state: Any = None,
        amplify: float = 1.0,
    ) -> tuple[Motion, Tensor | None, Any]:
        """The key points of B·T frames, their heat where there is a map of them, and the LSTM's state after them."""
        batch, count = sound_BTSM.shape[:2]
        heard = amplify * self.sound(sound_BTSM.flatten(0, 1)).unflatten(0, (batch, count))
        seen = self.picture(still_BCHW)[:, None].expand(-1, count, -1)
        followed, state = self.follow(torch.cat([seen, heard, self.pose(pose_BT6)], -1), state)
        codes = followed.flatten(0, 1)
        if not self.direct:
            motion, heat = self.heads(self.map(codes[:, :, None, None]))
            return motion, heat, state
        told = self.told(codes).unflatten(1, (self.points, 6))
        start = known.repeated(count)
        moved = Motion(start.places_NK2 + told[..., :2], start.jacobians_NK22 + told[..., 2:].unflatten(2, (2, 2)))
        return moved, None, state


def feature_map(c_in: int, c_out: int) -> nn.Sequential:
    """A code as a map of one pixel → (N, c_out, 64, 64), by transposed convolutions."""
    widths = [c_in, 256, 128, 128, 128, c_out]
    layers: list[nn.Module] = []
    for number, (a, b) in enumerate(itertools.pairwise(widths)):
        layers.append(nn.ConvTranspose2d(a, b, 6 if number == 0 else 4, 2, 1))
        if number < len(widths) - 2:
            layers += [nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers)


def poses(landmarks_NL2: NDArray[np.floating], size: int) -> Tensor:
    """The head's pose by its landmarks, (N, 6): place between the eyes, size and roll, and how far the nose's tip lies aside and
    down from the middle of the eye corners, in distances of the outer ones.
    """
    points = np.asarray(landmarks_NL2, np.float64)
    eyes, axes, distance, _ = head_axes(points)
    tip = points[:, NOSE_TIP].mean(1) - points[:, EYE_CORNERS].mean(1)
    turned = (axes @ tip[..., None])[..., 0] / distance[:, None]
    found = np.concatenate([2 * eyes / (size - 1) - 1, (2 * distance / size)[:, None], axes[:, 0, 1:], turned], 1)
    return torch.from_numpy(found.astype(np.float32))


class System(systems.System):
    """Both parts; see the module."""

    Settings = Settings
    deviations = (
        "The emotion branch is left out: the rendered corpus has no emotions, and its four key points belong to one published "
        "checkpoint.",
        "The sound is windows of the spectrogram that the other rows hear, averaged, in place of MFCC.",
        "The head’s pose is six values of this pipeline’s landmarks, in place of 3DDFA’s; the default row holds the first "
        "frame’s.",
        "Faces are this pipeline’s crops, not aligned with a template.",
        "The losses of pictures are a Laplacian pyramid’s distance and L1, in place of VGG-19’s features; equivariance is asked "
        "of affine maps alone, without thin-plate splines; sound to motion is not fine-tuned through the generator.",
        "At paper scale the rate is constant, where the published one falls to a tenth twice.",
        "At demo scale: small networks, maps of half the side, key points that are pulled to groups of landmarks (lips, corners "
        "of the mouth, jaw, nose), a picture that is added to the warped source, a mouth that weighs more, key points told as "
        "differences from the still frame’s, a higher learning rate with warm-up and decay, averaged weights, because it is "
        "trained for minutes.",
    )

    def __init__(self, settings: Any, facts: Facts) -> None:
        super().__init__(settings, facts)
        s: Settings = settings
        side = facts.size // s.shrunk
        if facts.size % s.shrunk or side % 2**s.levels or side < 8 or facts.size % 2**s.halvings:
            raise ParameterError(
                f"network.size is {facts.size}; settings.shrunk {s.shrunk}, levels {s.levels} and halvings {s.halvings} must "
                f"divide it: its maps are to be 8 pixels wide or more, and a multiple of {2**s.levels}"
            )
        if facts.size & (facts.size - 1):
            raise ParameterError(f"network.size is {facts.size}; rows of kind eamm need a power of 2")
        if s.pull and s.points != len(GROUPS):
            raise ParameterError(
                f"settings.points is {s.points}; with settings.pull there are {len(GROUPS)} groups of landmarks"
            )
        if s.audio_steps % s.pooled[0] or facts.mel_bins % s.pooled[1]:
            raise ParameterError(
                f"settings.pooled is {list(s.pooled)}, which does not divide audio_steps {s.audio_steps} and "
                f"{facts.mel_bins} mel bands"
            )
        shape = {"points": s.points, "levels": s.levels, "widest": s.widest, "shrunk": s.shrunk}
        self.detector = Detector(width=s.width, **shape)
        self.generator = Generator(
            width=s.generator_width,
            halvings=s.halvings,
            blocks=s.blocks,
            residual=s.residual,
            dense=DenseMotion(width=s.motion_width, **shape),
        )
        self.speech = SoundToMotion(s, size=facts.size, mel_bins=facts.mel_bins)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def windows(self, sound: Clip, frames: Sequence[int]) -> Tensor:
        """The sound of each frame, (N, S, M), scaled to [-1, 1]."""
        s = self.settings
        starts = [round(MEL_STEPS_PER_FRAME * frame) - MEL_BEFORE for frame in frames]
        mel = torch.from_numpy(np.stack([mel_window(sound.mel_SM, start, s.audio_steps) for start in starts]))
        return F.avg_pool2d(mel[:, None], s.pooled)[:, 0].to(self.device) / 4

    def trainer(self, data: Data) -> Trainer:
        return Trainer(self, data)

    def generate(
        self, clip: Clip, sound: Clip, sampling: params.Sample, progress: Callable[[int], None]
    ) -> Iterator[NDArray[np.uint8]]:
        """The LSTM goes on from one part to the next, so that the parts' length changes nothing."""
        count, state = len(clip.frames_THWC), None
        still = conditions.to_unit(clip.frames_THWC[:1]).to(self.device)
        known, _ = self.detector(still)
        for first in range(0, count, sampling.batch):
            frames = range(first, min(first + sampling.batch, count))
            shown = list(frames) if self.settings.pose == "video" else [0] * len(frames)
            pose = poses(clip.landmarks_TL2[shown], self.facts.size).to(self.device)
            heard = self.windows(sound, frames)
            driving, _, state = self.speech(still, known, heard[None], pose[None], state, self.settings.amplify)
            made = self.generator(still.expand(len(frames), -1, -1, -1), known.repeated(len(frames)), driving)
            yield conditions.to_frames(2 * made - 1)
            progress(len(frames))


def renderer(row: Row) -> Render:
    """The trained networks."""
    return systems.trained(System, row)


def sees(entry: params.Method) -> str:
    """The parts of a test clip given to the row."""
    if entry.settings.get("pose") == "video":
        return "the first frame, the head’s pose in each frame of the test video, the audio; its eyes never move"
    return "the first frame, the audio; its eyes never move"


# --- training --------------------------------------------------------------------------------------------------------


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


class Trainer(systems.Trainer):
    """The first-order model on pairs of a clip's frames; then sound to motion on sequences, the first-order model held."""

    def __init__(self, system: System, data: Data) -> None:
        s: Settings = system.settings
        shortest = min(len(clip.frames_THWC) for clip in data.train)
        if s.frames > shortest:
            raise ParameterError(f"settings.frames is {s.frames}, and the shortest training clip has {shortest} frames")
        self.system, self.data, self.images = system, data, s.images
        self.switch = max(round(s.first_order * s.steps), 1)
        self.one, self.some = data.windows(1), data.windows(s.frames)
        self.first_order = nn.ModuleList([system.detector, system.generator])
        betas = (s.beta_1, 0.999)
        self.optimisers = {
            "first_order": torch.optim.Adam(self.first_order.parameters(), s.learning_rate, betas),
            "speech": torch.optim.Adam(system.speech.parameters(), s.learning_rate, betas),
        }
        self.average = Average(system)

    def states(self) -> dict[str, Any]:
        return {"system": self.system, "average": self.average, **self.optimisers}

    def step(self, step: int) -> dict[str, float]:
        s, rng = self.system.settings, self.data.random(step)
        early = step < self.switch
        if step == self.switch:
            self.system.load_state_dict(self.average.weights)  # what sound to motion learns is what will draw
        part = "first_order" if early else "speech"
        done, of = (step, self.switch) if early else (step - self.switch, s.steps - self.switch)
        rate = s.learning_rate * share_of_rate(done, steps=of, warmup=s.warmup, decay=s.decay)
        terms = dict.fromkeys(("picture", "pull", "equivariance", "motion"), 0.0)
        found = self.pairs(rng) if early else {"motion": self.sequences(rng)}
        optimiser = self.optimisers[part]
        set_rate(optimiser, rate)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(found.values())).sum().backward()
        optimiser.step()
        self.average.update(self.system, step, s.ema)
        return {**terms, **{name: loss.item() for name, loss in found.items()}}

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

    def sequences(self, rng: np.random.Generator) -> Tensor:
        """The distance of the key points told by the sound from the first-order model's own."""
        s, size, device = self.system.settings, self.system.facts.size, self.data.device
        stills, frames, heard, pose = [], [], [], []
        for _ in range(s.sequences):
            clip, start = self.some.draw(rng)
            numbers = range(start, start + s.frames)
            still = self.some.reference(rng, clip, start)
            stills.append(clip.frames_THWC[still])
            frames.append(clip.frames_THWC[list(numbers)])
            heard.append(self.system.windows(clip, numbers))
            pose.append(poses(clip.landmarks_TL2[list(numbers)], size))
        still_BCHW = conditions.to_unit(np.stack(stills)).to(device)
        self.first_order.eval()
        with torch.no_grad():
            known, _ = self.system.detector(still_BCHW)
            true, true_heat = self.system.detector(conditions.to_unit(np.concatenate(frames)).to(device))
        told, heat, _ = self.system.speech.train()(still_BCHW, known, torch.stack(heard), torch.stack(pose).to(device))
        if heat is not None:  # as published
            places, jacobians = ((a - b).abs().mean() for a, b in zip(told, true))
            return 10 * places + 10 * jacobians + 1000 * heat_loss(heat, true_heat)
        errors = [(a - b).flatten(1) / b.flatten(1).std(0).clamp_min(1e-3) for a, b in zip(told, true)]
        return torch.cat(errors, 1).square().mean()

    def finish(self) -> None:
        self.system.load_state_dict(self.average.weights)
