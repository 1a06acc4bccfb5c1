"""PC-AVS: Zhou, Sun, Wu, Loy, Wang and Liu, "Pose-Controllable Talking Face Generation by Implicitly Modularized Audio-Visual
Representation", CVPR 2021; layers as in the authors' code (Hangz-nju-cuhk/Talking-Face_PC-AVS, 201d2b9).

Three things make a frame, each a code of its own:

- **who**: an encoder of one picture of the person gives a code and a map, which stands where StyleGAN2 has its constant;
- **the mouth**: a code in a space that sound and picture share. In training it is read from the frame, which is changed in
  colour, shape and sharpness so that it does not tell who it is, or from the sound; in sampling from the sound alone;
- **the pose**: twelve values, read from a frame of any video.

All of them but the map are the style of a generator of modulated convolutions. Sound and picture meet by contrast: among the
moments of a batch each sound's code shall be nearest to its own picture's, and the other way round. In sampling the sound's
code is multiplied by 1.2, as published. At paper scale a row's settings are ``PAPER``, plus ``steps``.

N images, B moments, C = 3 channels, H = W = size, E values of the mouth's code, P = pose of the pose's, S mel steps, M mel bands.
Pictures are in [-1, 1].
"""

from __future__ import annotations

import itertools
import math
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
from stages.faces.geometry import MOUTH, grown_hull
from stages.methods import systems
from stages.methods.systems import Data, Facts, Render, Row
from stages.training.loop import Average, set_rate, share_of_rate

HEAT_MAPS = 68  # of the frame's encoder; published: that of 68 landmarks
SQUEEZE = 8  # of the sound encoder's channel attention
ATTENTION = 128  # hidden values of its pooling over time
SLOPE, GAIN = 0.2, 2**0.5  # of the generator's leaky ReLU
COVER = 0.6  # of the mouth's width: the margin of the box that hides it from the pose's encoder
GAINS, STRETCH, ZOOM = (
    (0.3, 1.6),
    (0.07, 0.1),
    (0.09, 0.17),
)  # of the changes of a frame; shares of its side; published pixels of 224


class Settings(systems.SystemSettings):
    """``methods.<row>.settings``; the paper's values are in :data:`PAPER`."""

    identity_width: params.Natural = Field(
        ge=4, description="first stage of the identity's encoder; paper: 64 (ResNeXt-50)"
    )
    identity_layers: list[params.Natural] = Field(min_length=1, description="its blocks by stage; paper: 3, 4, 6, 3")
    identity_groups: params.Natural = Field(description="of its 3×3 convolutions; paper: 32")
    frame_width: params.Natural = Field(description="of the frame's encoder; paper: 256")
    frame_depth: params.Natural = Field(description="halvings of its hourglass; paper: 4")
    frame_maps: params.Natural = Field(description="maps that its codes are read from; paper: 1")
    dropout: params.Fraction = Field(description="beside the hourglass; paper: 0.5")
    code: params.Natural = Field(description="values of the mouth's code; paper: 512")
    normed: bool = Field(
        description="bring each value of the codes read from frames to variance 1 by batch norm; paper: no"
    )
    pose_code: params.Natural = Field(description="values of the pose's; paper: 12")
    sound_widths: list[params.Natural] = Field(min_length=4, max_length=4, description="paper: 32, 64, 128, 256")
    sound_layers: list[params.Natural] = Field(min_length=4, max_length=4, description="its blocks; paper: 3, 4, 6, 3")
    audio_steps: params.Natural = Field(description="mel steps around a frame, 80 a second; paper: 20, 100 a second")
    channels: list[params.Natural] = Field(
        min_length=1, description="of the generator by level, the map's first; paper: 512, 512, 512, 512, 256, 128"
    )
    patch: params.Natural = Field(description="side of the squares of pixels that the generator makes; paper: 1")
    residual: bool = Field(description="add the picture to the identity's; paper: no")
    align: bool = Field(
        description="move the identity's picture onto the frame's pose, in training and with pose video; paper: no"
    )
    cover: bool = Field(description="hide the mouth from the pose's encoder; paper: no")
    augment: Annotated[float, Field(ge=0)] = Field(
        description="how far frames are changed in shape before their codes are read; paper: 1"
    )
    first: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="share of the steps that learn from pictures alone; paper: 0, after a training of the encoders by contrast"
    )
    hold: bool = Field(description="hold all but the sound's encoder in the other steps; paper: no")
    contrast: Annotated[float, Field(ge=0)] = Field(description="weight of the contrast, both ways; paper: 100")
    cross_modal: Annotated[float, Field(ge=0)] = Field(
        description="weight of the sound's code's distance from the picture's; paper: 1"
    )
    who: Annotated[float, Field(ge=0)] = Field(description="weight of naming the training speaker; paper: 1")
    pixel: Annotated[float, Field(ge=0)] = Field(
        description="weight of the pixels' difference; paper: 10, as a layer of the discriminator"
    )
    power: Literal[1, 2] = Field(description="of that difference; paper: 1")
    perceptual: Annotated[float, Field(ge=0)] = Field(
        description="weight of the Laplacian pyramid's distance; paper: 10, of VGG-19's features"
    )
    mouth_weight: params.Positive = Field(description="picture losses' weight of the mouth; paper: 1")
    amplify: params.Positive = Field(description="what the sound's code is multiplied by in sampling; paper: 1.2")
    pose: Literal["first_frame", "video"] = Field(
        description="whose pose each frame has: the first frame's (paper, without a pose video), or its own in the test video"
    )
    images: params.Natural = Field(description="of a step; paper: 2 clips of some frames")
    moments: params.Natural = Field(
        ge=2, description="of a clip that the sound's encoder sees in a step; paper: 8 or more"
    )
    clips: params.Natural = Field(description="of such a step; paper: 2")
    learning_rate: params.Positive = Field(description="paper: 5e-4")
    generator_rate: params.Positive = Field(
        description="times that of the generator, whose weights are kept large and scaled down; paper: 1"
    )
    beta_1: params.Fraction = Field(description="Adam's; paper: 0")
    warmup: params.Count = Field(description="steps of linear warm-up of each part; paper: 0")
    decay: Literal["constant", "cosine"] = Field(description="of each part's rate; paper: constant")
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(description="running average of all weights; 0 (paper): none")


PAPER: dict[str, Any] = {
    "identity_width": 64,
    "identity_layers": [3, 4, 6, 3],
    "identity_groups": 32,
    "frame_width": 256,
    "frame_depth": 4,
    "frame_maps": 1,
    "dropout": 0.5,
    "code": 512,
    "normed": False,
    "pose_code": 12,
    "sound_widths": [32, 64, 128, 256],
    "sound_layers": [3, 4, 6, 3],
    "audio_steps": 16,
    "channels": [512, 512, 512, 512, 512, 256],
    "patch": 1,
    "residual": False,
    "align": False,
    "cover": False,
    "augment": 1.0,
    "first": 0.5,
    "hold": False,
    "contrast": 100.0,
    "cross_modal": 1.0,
    "who": 1.0,
    "pixel": 10.0,
    "power": 1,
    "perceptual": 10.0,
    "mouth_weight": 1.0,
    "amplify": 1.2,
    "pose": "first_frame",
    "images": 16,
    "moments": 8,
    "clips": 2,
    "learning_rate": 5e-4,
    "generator_rate": 1.0,
    "beta_1": 0.0,
    "warmup": 0,
    "decay": "constant",
    "ema": 0.0,
}


def normed(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias, and batch norm."""
    convolution = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(c_out)]


class Bottleneck(nn.Module):
    """ResNeXt's block: 1×1, grouped 3×3, 1×1 to twice ``inner``, added to what came in. Xie et al. 2017."""

    def __init__(self, c_in: int, inner: int, stride: int, groups: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *normed(c_in, inner, 1),
            nn.ReLU(),
            *normed(inner, inner, 3, stride, groups),
            nn.ReLU(),
            *normed(inner, 2 * inner, 1),
        )
        same = stride == 1 and c_in == 2 * inner
        self.skip = nn.Identity() if same else nn.Sequential(*normed(c_in, 2 * inner, 1, stride))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return F.relu(self.skip(x_NCHW) + self.layers(x_NCHW))


class IdentityEncoder(nn.Module):
    """One picture of a person → a code (N, ``values``), and a map (N, ``map_channels``, side, side)."""

    def __init__(self, *, width: int, layers: Sequence[int], groups: int, map_channels: int, map_side: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = [*normed(3, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        last = width
        for stage, count in enumerate(layers):
            inner = 2 * width * 2**stage
            for block in range(count):
                blocks.append(Bottleneck(last, inner, 2 if stage and not block else 1, groups))
                last = 2 * inner
        self.layers = nn.Sequential(*blocks)
        self.map = nn.Conv2d(last, map_channels, 1)
        self.values, self.map_side = last, map_side

    def forward(self, picture_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        x = self.layers(picture_NCHW)
        return x.mean((2, 3)), F.adaptive_avg_pool2d(self.map(x), self.map_side)


class FanBlock(nn.Module):
    """Three 3×3 convolutions, of 1/2, 1/4 and 1/4 of the width, beside each other, added to what came in.

    Bulat and Tzimiropoulos 2017.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        widths = (c_in, c_out // 2, c_out // 4, c_out // 4)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(a), nn.ReLU(), nn.Conv2d(a, b, 3, padding=1, bias=False))
            for a, b in itertools.pairwise(widths)
        )
        self.skip: nn.Module = nn.Identity()
        if c_in != c_out:
            self.skip = nn.Sequential(nn.BatchNorm2d(c_in), nn.ReLU(), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        parts, x = [], x_NCHW
        for layer in self.layers:
            x = layer(x)
            parts.append(x)
        return torch.cat(parts, 1) + self.skip(x_NCHW)


class Hourglass(nn.Module):
    """Maps at ``depth`` halvings and back, with a block beside each, of which a share is dropped out in training."""

    def __init__(self, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.beside, self.down, self.up = (FanBlock(width, width) for _ in range(3))
        self.middle = Hourglass(width, depth - 1, dropout) if depth > 1 else FanBlock(width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        low = self.up(self.middle(self.down(F.max_pool2d(x_NCHW, 2))))
        raised = F.interpolate(low, size=x_NCHW.shape[2:], mode="bilinear", align_corners=False)
        return self.drop(self.beside(x_NCHW)) + raised


class FrameEncoder(nn.Module):
    """A frame → the mouth's code before it is embedded, (N, E), and the pose's, (N, P).

    One hourglass of the FAN, whose heat maps become a vector. Two heads read it.
    """

    def __init__(
        self, *, width: int, depth: int, maps: int, dropout: float, size: int, code: int, pose: int, normed: bool
    ) -> None:
        super().__init__()
        w = width
        self.layers = nn.Sequential(
            nn.Conv2d(3, w // 4, 7, 2, 3),
            nn.BatchNorm2d(w // 4),
            nn.ReLU(),
            FanBlock(w // 4, w // 2),
            nn.MaxPool2d(2),
            FanBlock(w // 2, w // 2),
            FanBlock(w // 2, w),
            Hourglass(w, depth, dropout),
            FanBlock(w, w),
            nn.Conv2d(w, w, 1),
            nn.BatchNorm2d(w),
            nn.ReLU(),
            nn.Conv2d(w, HEAT_MAPS, 1),
            nn.BatchNorm2d(HEAT_MAPS),
            nn.ReLU(),
            nn.Conv2d(HEAT_MAPS, maps, 3, 2, 1),
            nn.Flatten(),
            nn.ReLU(),
            nn.Linear(maps * (size // 8) ** 2, code),
        )
        self.to_mouth, self.to_pose = (
            nn.Sequential(nn.Linear(code, code), nn.ReLU(), nn.Linear(code, code)) for _ in range(2)
        )
        self.norm_mouth, self.norm_pose = (
            nn.BatchNorm1d(values, affine=False) if normed else nn.Identity() for values in (code, pose)
        )
        self.embed_mouth = nn.Sequential(nn.ReLU(), nn.Linear(code, code - pose))
        self.embed_pose = nn.Sequential(nn.ReLU(), nn.Linear(code, pose))

    def mouth(self, frames_NCHW: Tensor) -> Tensor:
        """The mouth's code, (N, E), in the space that the sound's encoder shares."""
        return self.norm_mouth(self.to_mouth(self.layers(frames_NCHW)))

    def pose(self, frames_NCHW: Tensor) -> Tensor:
        """The pose's code, (N, P)."""
        return self.norm_pose(self.embed_pose(self.to_pose(self.layers(frames_NCHW))))


class SqueezeBlock(nn.Module):
    """Two 3×3 convolutions and attention over channels, added to what came in. Hu et al. 2018."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*normed(c_in, c_out, 3, stride), nn.ReLU(), *normed(c_out, c_out, 3))
        inner = max(c_out // SQUEEZE, 1)
        self.attend = nn.Sequential(nn.Linear(c_out, inner), nn.ReLU(), nn.Linear(inner, c_out), nn.Sigmoid())
        same = stride == 1 and c_in == c_out
        self.skip = nn.Identity() if same else nn.Sequential(*normed(c_in, c_out, 1, stride))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x = self.layers(x_NCHW)
        return F.relu(self.skip(x_NCHW) + x * self.attend(x.mean((2, 3)))[:, :, None, None])


class SoundEncoder(nn.Module):
    """A window of the sound → the mouth's code: (B, S, M) → (B, E). A residual network whose steps are weighed and added."""

    def __init__(self, *, widths: Sequence[int], layers: Sequence[int], mel_bins: int, code: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Conv2d(1, widths[0], 3, padding=1), nn.ReLU(), nn.BatchNorm2d(widths[0])]
        last = widths[0]
        for stage, (width, count) in enumerate(zip(widths, layers, strict=True)):
            for block in range(count):
                blocks.append(SqueezeBlock(last, width, 2 if stage and not block else 1))
                last = width
        self.layers = nn.Sequential(*blocks)
        rows = last * (mel_bins // 8)
        self.weigh = nn.Sequential(
            nn.Conv1d(rows, ATTENTION, 1),
            nn.ReLU(),
            nn.BatchNorm1d(ATTENTION),
            nn.Conv1d(ATTENTION, rows, 1),
            nn.Softmax(2),
        )
        self.tell = nn.Linear(rows, code)

    def forward(self, mel_BSM: Tensor) -> Tensor:
        x = self.layers(mel_BSM.transpose(1, 2)[:, None].contiguous()).flatten(1, 2)
        return self.tell((x * self.weigh(x)).sum(2))


class Modulated(nn.Module):
    """A convolution whose input channels a style weighs; the weights' norm is taken out again unless it makes colours.

    Karras et al. 2020. The style weighs the input and the norm the output, which is the same as weights of each image's own.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, style: int, *, demodulate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel, kernel))
        self.scale = 1 / math.sqrt(c_in * kernel**2)
        self.style = nn.Parameter(torch.randn(c_in, style))
        self.style_bias = nn.Parameter(torch.ones(c_in))
        self.demodulate = demodulate

    def forward(self, x_NCHW: Tensor, style_NS: Tensor) -> Tensor:
        weight = self.scale * self.weight
        by_NC = F.linear(style_NS, self.style / math.sqrt(self.style.shape[1]), self.style_bias)
        made = F.conv2d(x_NCHW * by_NC[:, :, None, None], weight, padding=weight.shape[-1] // 2)
        if self.demodulate:
            norm_NC = (by_NC.square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt()
            made = made * norm_NC[:, :, None, None]
        return made


class Styled(nn.Module):
    """A modulated 3×3 convolution, noise whose strength is learnt and begins at 0, and a leaky ReLU."""

    def __init__(self, c_in: int, c_out: int, style: int) -> None:
        super().__init__()
        self.conv = Modulated(c_in, c_out, 3, style)
        self.noise = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(1, c_out, 1, 1))

    def forward(self, x_NCHW: Tensor, style_NS: Tensor) -> Tensor:
        made = self.conv(x_NCHW, style_NS)
        if self.training:  # in sampling there is none, so that the same call gives the same frames
            made = made + self.noise * torch.randn_like(made[:, :1])
        return GAIN * F.leaky_relu(made + self.bias, SLOPE)


class Generator(nn.Module):
    """The identity's map and a style → a picture's values before the last function, (N, 3·patch², side, side).

    Each level doubles the side. ``pixels``: channels of the identity's picture that the last level is shown; 0: none.
    """

    def __init__(self, *, channels: Sequence[int], style: int, out: int, pixels: int) -> None:
        super().__init__()
        self.first = Styled(channels[0], channels[0], style)
        self.colours = nn.ModuleList(Modulated(c, out, 1, style, demodulate=False) for c in channels)
        self.biases = nn.ParameterList(torch.zeros(1, out, 1, 1) for _ in channels)
        self.ups, self.agains = nn.ModuleList(), nn.ModuleList()
        for level, (a, b) in enumerate(itertools.pairwise(channels), 2):
            more = pixels if level == len(channels) else 0
            self.ups.append(Styled(a, b, style))
            self.agains.append(Styled(b + more, b, style))
        self.pixels = pixels
        if pixels:  # the picture that is added begins as nothing
            for name, value in self.colours.named_parameters():
                if name.endswith(".weight"):
                    nn.init.zeros_(value)

    def forward(self, map_NCHW: Tensor, style_NS: Tensor, pixels_NCHW: Tensor) -> Tensor:
        x = self.first(map_NCHW, style_NS)
        picture = self.colours[0](x, style_NS) + self.biases[0]
        for number, (up, again) in enumerate(zip(self.ups, self.agains, strict=True), 1):
            x = up(_doubled(x), style_NS)
            if self.pixels and number == len(self.ups):
                x = torch.cat([x, pixels_NCHW], 1)
            x = again(x, style_NS)
            picture = _doubled(picture) + self.colours[number](x, style_NS) + self.biases[number]
        return picture


def _doubled(x_NCHW: Tensor) -> Tensor:
    return F.interpolate(x_NCHW, scale_factor=2.0, mode="bilinear", align_corners=False)


class Who(NamedTuple):
    """A person's picture, code and map."""

    picture_NCHW: Tensor
    code_NV: Tensor
    map_NCHW: Tensor


class System(systems.System):
    """All four networks; see the module."""

    Settings = Settings
    deviations = (
        "The sound is windows of the spectrogram that the other rows hear, 0.2 s around a frame, in place of LWS’s.",
        "Faces are this pipeline’s crops, not aligned with a template.",
        "The losses of pictures are the pixels’ and a Laplacian pyramid’s distance, in place of VGG-19’s features and of a "
        "discriminator.",
        "Frames are changed in colour, stretch, zoom and sharpness before their codes are read; the published change of "
        "perspective is left out.",
        "The words of the clips are not named, in training the mouth’s code nor against the pose’s: none are labelled here.",
        "The contrast is of single moments, several of each clip, by the product of normalised codes, in place of one over the "
        "distance of whole clips’ codes.",
        "The generator has no mapping network, which the published one never uses, and doubles its maps by bilinear "
        "interpolation, in place of transposed convolutions and a blur; in sampling it has no noise.",
        "At demo scale: small networks without dropout, codes of variance 1, a picture that is added to the identity’s, which is "
        "moved onto the frame’s pose by landmarks and shown to the last level, squared differences, a mouth that weighs more, a "
        "pose’s encoder that does not see the mouth, a training of the pictures first and then of the sound’s encoder alone, on "
        "many moments a step, a higher learning rate, of the generator above all, with warm-up and decay, averaged weights, "
        "because it is trained for minutes.",
    )

    def __init__(self, settings: Any, facts: Facts) -> None:
        super().__init__(settings, facts)
        s: Settings = settings
        side, factor = facts.size // s.patch, 2 ** (len(s.channels) - 1)
        least = 4 * 2**s.frame_depth
        if facts.size % s.patch or side % factor or facts.size % 8 or facts.size < least:
            raise ParameterError(
                f"network.size is {facts.size}; it must be a multiple of {s.patch * factor}, by settings.patch and channels, "
                f"and of 8, and at least {least}, by frame_depth"
            )
        if s.pose_code >= s.code or s.frame_width % 4 or facts.mel_bins % 8:
            raise ParameterError(
                f"settings.pose_code is {s.pose_code}, code {s.code}, frame_width {s.frame_width}, spectrogram.n_mels "
                f"{facts.mel_bins}; the first must be less than the second, the third a multiple of 4, the last of 8"
            )
        if s.residual and len(s.channels) < 2:
            raise ParameterError("settings.channels has one level; with settings.residual it needs two or more")
        self.identity = IdentityEncoder(
            width=s.identity_width,
            layers=s.identity_layers,
            groups=s.identity_groups,
            map_channels=s.channels[0],
            map_side=side // factor,
        )
        self.frame = FrameEncoder(
            width=s.frame_width,
            depth=s.frame_depth,
            maps=s.frame_maps,
            dropout=s.dropout,
            size=facts.size,
            code=s.code,
            pose=s.pose_code,
            normed=s.normed,
        )
        self.sound = SoundEncoder(widths=s.sound_widths, layers=s.sound_layers, mel_bins=facts.mel_bins, code=s.code)
        values = 3 * s.patch**2
        self.generator = Generator(
            channels=s.channels, style=self.identity.values + s.code, out=values, pixels=values if s.residual else 0
        )
        # Not the sound's encoder: in this format PyTorch 2.14 writes beyond its memory in strided 1×1 convolutions of few
        # channels.
        for network in (self.identity, self.frame, self.generator):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def windows(self, sound: Clip, frames: Sequence[int]) -> Tensor:
        """The sound around the middle of each frame, (B, S, M), scaled to [-1, 1]."""
        steps = self.settings.audio_steps
        starts = [round(MEL_STEPS_PER_FRAME * (frame + 0.5) - steps / 2) for frame in frames]
        mel = torch.from_numpy(np.stack([mel_window(sound.mel_SM, start, steps) for start in starts]))
        return mel.to(self.device) / 4

    def who(self, picture_NCHW: Tensor) -> Who:
        """The person of each picture."""
        return Who(picture_NCHW, *self.identity(picture_NCHW))

    def draw(self, who: Who, mouth_NE: Tensor, pose_NP: Tensor) -> Tensor:
        """Frames (N, C, H, W) of a person, by the mouth's and the pose's code."""
        patch = self.settings.patch
        style = torch.cat([who.code_NV, self.frame.embed_mouth(mouth_NE), pose_NP], 1)
        pixels = F.pixel_unshuffle(who.picture_NCHW, patch)
        made = F.pixel_shuffle(self.generator(who.map_NCHW, style, pixels), patch)
        return who.picture_NCHW + made if self.settings.residual else torch.tanh(made)

    def posing(self, clip: Clip, frames: Sequence[int]) -> Tensor:
        """Frames as the pose's encoder sees them, (N, C, H, W): the mouth grey where ``cover`` says so."""
        pictures = np.array(clip.frames_THWC[list(frames)])
        if self.settings.cover:
            for picture, frame in zip(pictures, frames, strict=True):
                picture[mouth_box(clip.landmarks_TL2[frame], self.facts.size)] = 128
        return conditions.to_tensor(pictures).to(self.device)

    def trainer(self, data: Data) -> Trainer:
        return Trainer(self, data)

    def generate(
        self, clip: Clip, sound: Clip, sampling: params.Sample, progress: Callable[[int], None]
    ) -> Iterator[NDArray[np.uint8]]:
        """Each frame by itself."""
        s, count = self.settings, len(clip.frames_THWC)
        person, pose = (
            self.who(conditions.to_tensor(clip.frames_THWC[:1]).to(self.device)),
            self.frame.pose(self.posing(clip, [0])),
        )
        for first in range(0, count, sampling.batch):
            frames = range(first, min(first + sampling.batch, count))
            shown = Who(*(x.expand(len(frames), *x.shape[1:]) for x in person))
            posed = pose.expand(len(frames), -1)
            if s.pose == "video":
                posed = self.frame.pose(self.posing(clip, frames))
                if s.align:
                    shown = self.who(conditions.to_tensor(conditions.aligned(clip, frames, 0)).to(self.device))
            made = self.draw(shown, s.amplify * self.sound(self.windows(sound, frames)), posed)
            yield conditions.to_frames(made)
            progress(len(frames))


def mouth_box(landmarks_L2: NDArray[np.floating], size: int) -> NDArray[np.bool_]:
    """The mouth and its surroundings, (H, W): its hull, grown by a share of its width."""
    return grown_hull(landmarks_L2[MOUTH], size, COVER).astype(bool)


def renderer(row: Row) -> Render:
    """The trained networks."""
    return systems.trained(System, row)


def sees(entry: params.Method) -> str:
    """The parts of a test clip given to the row."""
    if entry.settings.get("pose") == "video":
        return "the first frame, each frame of the test video for its pose, with the mouth hidden where cover says so, the audio"
    return "the first frame, the audio; head and eyes stay as in the first frame"


# --- training --------------------------------------------------------------------------------------------------------


def changed(frames_NCHW: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    """Frames that no longer tell who it is: each stretched, zoomed, coloured, and blurred or sharpened at random."""
    count, device = len(frames_NCHW), frames_NCHW.device
    wide = 1 + strength * rng.choice([-1, 1], count) * rng.uniform(*STRETCH, count)
    zoom = 1 + strength * rng.choice([-1, 1], count) * rng.uniform(*ZOOM, count)
    map_N23 = np.zeros((count, 2, 3), np.float32)
    map_N23[:, 0, 0], map_N23[:, 1, 1] = zoom * wide, zoom / wide
    grid = F.affine_grid(torch.from_numpy(map_N23).to(device), list(frames_NCHW.shape), align_corners=False)
    moved = F.grid_sample(frames_NCHW, grid, padding_mode="reflection", align_corners=False)
    gains = np.ones((count, 3, 1, 1), np.float32)
    for gain in gains:
        some = rng.integers(1, 4)
        start = rng.integers(0, 4 - some)
        gain[start : start + some, 0, 0] = rng.uniform(*GAINS, some)
    coloured = (moved + 1) * torch.from_numpy(gains).to(device) - 1
    soft = F.avg_pool2d(F.pad(coloured, (1, 1, 1, 1), mode="replicate"), 3, 1)
    how = torch.from_numpy(rng.uniform(-1, 1, (count, 1, 1, 1)).astype(np.float32)).to(
        device
    )  # -1: blurred, 1: sharpened
    return (coloured + how * (coloured - soft)).clamp(-1, 1)


def contrast(told_BE: Tensor, true_BE: Tensor) -> Tensor:
    """The cross-entropy of finding each moment's own code among the others', one way; the codes that are told learn from it."""
    likeness = F.normalize(told_BE, dim=1) @ F.normalize(true_BE.detach(), dim=1).T / 0.1
    return F.cross_entropy(likeness, torch.arange(len(told_BE), device=told_BE.device))


class Trainer(systems.Trainer):
    """Pictures from their own codes; then the sound's codes, beside them or alone."""

    def __init__(self, system: System, data: Data) -> None:
        s: Settings = system.settings
        shortest = min(len(clip.frames_THWC) for clip in data.train)
        if s.moments > shortest:
            raise ParameterError(
                f"settings.moments is {s.moments}, and the shortest training clip has {shortest} frames"
            )
        self.system, self.data, self.images = system, data, s.images
        self.switch = round(s.first * s.steps)
        self.one = data.windows(1)
        self.speakers = sorted({clip.speaker for clip in data.train})
        self.namer = nn.Linear(system.identity.values, len(self.speakers)).to(data.device)
        betas = (s.beta_1, 0.999)
        pictures = [*system.identity.parameters(), *system.frame.parameters(), *self.namer.parameters()]
        learning = {
            "pictures": pictures,
            "generator": system.generator.parameters(),
            "sound": system.sound.parameters(),
        }
        self.optimisers = {
            name: torch.optim.Adam(values, s.learning_rate, betas, amsgrad=True) for name, values in learning.items()
        }
        self.average = Average(system)

    def states(self) -> dict[str, Any]:
        return {"system": self.system, "average": self.average, "namer": self.namer, **self.optimisers}

    def step(self, step: int) -> dict[str, float]:
        s, rng = self.system.settings, self.data.random(step)
        early = step < self.switch
        if step == self.switch and s.hold and step:
            self.system.load_state_dict(
                self.average.weights
            )  # the codes that the sound learns are those that will draw
        done, of = (step, self.switch) if early else (step - self.switch, s.steps - self.switch)
        rate = s.learning_rate * share_of_rate(done, steps=of, warmup=s.warmup, decay=s.decay)
        seen = ["pictures", "generator"]
        learning = seen if early else ["sound"] if s.hold else [*seen, "sound"]
        terms = dict.fromkeys(("picture", "spoken", "who", "contrast", "cross_modal"), 0.0)
        found = {} if learning == ["sound"] else self.pictures(rng, spoken=not early)
        if not early:
            found |= self.sounds(rng)
        for name in learning:
            set_rate(self.optimisers[name], rate * (s.generator_rate if name == "generator" else 1.0))
            self.optimisers[name].zero_grad(set_to_none=True)
        torch.stack(list(found.values())).sum().backward()
        for name in learning:
            self.optimisers[name].step()
        self.average.update(self.system, step, s.ema)
        return {**terms, **{name: loss.item() for name, loss in found.items()}}

    def pictures(self, rng: np.random.Generator, *, spoken: bool) -> dict[str, Tensor]:
        """The losses of frames made from another frame of the clip, by codes of their own and, where ``spoken``, the sound's."""
        system, s, device = self.system, self.system.settings, self.data.device
        true, people, posing, heard, weights, names = [], [], [], [], [], []
        for _ in range(s.images):
            clip, t = self.one.draw(rng)
            other = self.one.reference(rng, clip, t)
            clip = clip.holding([t, other])
            true.append(clip.frames_THWC[t])
            people.append(conditions.aligned(clip, [t], other)[0] if s.align else clip.frames_THWC[other])
            posing.append(system.posing(clip, [t]))
            weights.append(pixel_weights(clip, [t], mouth=s.mouth_weight, eyes=1.0, everywhere=True))
            names.append(self.speakers.index(clip.speaker))
            if spoken:
                heard.append(system.windows(clip, [t]))
        system.train()
        true_NCHW, people_NCHW = (conditions.to_tensor(np.stack(x)).to(device) for x in (true, people))
        weight_N1HW = torch.cat(weights).to(device)
        who = system.who(people_NCHW)
        pose = system.frame.pose(changed(torch.cat(posing), rng, s.augment))

        def apart(mouth_NE: Tensor) -> Tensor:
            made = system.draw(who, mouth_NE, pose)
            return (
                s.pixel * weighted_mean((made - true_NCHW).abs() ** s.power, weight_N1HW)
                + s.perceptual * pyramid_distance(made, true_NCHW, weight_N1HW)
            ).mean()

        found = {"picture": apart(system.frame.mouth(changed(true_NCHW, rng, s.augment)))}
        if s.who:
            found["who"] = s.who * F.cross_entropy(self.namer(who.code_NV), torch.tensor(names, device=device))
        if spoken:
            found["spoken"] = apart(system.sound(torch.cat(heard)))
        return found

    def sounds(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """The losses of the space that sound and picture share, on several moments of some clips."""
        system, s, device = self.system, self.system.settings, self.data.device
        frames, heard = [], []
        for _ in range(s.clips):
            clip, _ = self.one.draw(rng)
            numbers = np.sort(rng.choice(len(clip.frames_THWC), s.moments, replace=False)).tolist()
            frames.append(clip.frames_THWC[numbers])
            heard.append(system.windows(clip, numbers))
        true = changed(conditions.to_tensor(np.concatenate(frames)).to(device), rng, s.augment)
        system.sound.train()
        if s.hold:
            system.frame.eval()
        with torch.set_grad_enabled(not s.hold):
            seen_BE = system.frame.mouth(true)
        told_BE = system.sound(torch.cat(heard))
        found = {}
        if s.contrast:
            both = contrast(told_BE, seen_BE) + (0.0 if s.hold else contrast(seen_BE, told_BE))
            found["contrast"] = s.contrast * both
        if s.cross_modal:
            deviation_E = seen_BE.detach().std(0).clamp_min(1e-3) if s.hold else 1.0
            found["cross_modal"] = s.cross_modal * ((told_BE - seen_BE.detach()) / deviation_E).abs().mean()
        return found

    def finish(self) -> None:
        self.system.load_state_dict(self.average.weights)
