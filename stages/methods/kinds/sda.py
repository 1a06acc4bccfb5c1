"""SDA: Vougioukas, Petridis and Pantic, "Realistic Speech-Driven Facial Animation with GANs", IJCV 128, 2020.

One frame and the raw waveform give the video at once; nothing hand-made lies between. The sound around each frame (0.2 s at
16 kHz, one frame further each time) is encoded by strided convolutions and a GRU, the frame by convolutions whose maps skip to
the generator, and a GRU over white noise moves what the sound does not tell, such as blinks. A frame is drawn from the three
codes side by side, z = (audio, identity, noise). Nothing tells the head's motion: it stays where the given frame has it, but for
what the noise makes of it.

The generator G (section 3.1 of the paper) is trained against three discriminators (3.2) by the losses of 3.3 [M]:

- D_img looks at single frames, S(x), beside the identity frame x_1:
  L_img = E[log D_img(S(x), x_1)] + E[log(1 − D_img(S(G(z)), x_1))]
- D_sync looks at the lower halves of a few frames and hears their sound; true pairs p_in stand against the same frames with
  another moment's sound, p_out, and against generated ones, p_f:
  L_sync = E[log D_sync(p_in)] + ½ E[log(1 − D_sync(p_out))] + ½ E[log(1 − D_sync(p_f))]
- D_seq follows all frames with their sound, recurrently: L_seq = E[log D_seq(x, a)] + E[log(1 − D_seq(G(z), a))]

and L_L1 = Σ |x − G(z)| over the lower half of the frames: arg min_G max_D λ_img L_img + λ_sync L_sync + λ_seq L_seq + λ_L1 L_L1.
G maximises log D of what it made instead, as usual. L_L1 is the mean over pixels and channels on the range [-1, 1]. The
weights 1, 0.8, 0.2 and 600, Adam's 1e-4 and 1e-5, and what this file says of the discriminators' layers are from memory of the
paper, marked [M]; encoders and generator follow the published inference code's sizes.

At paper scale a row's settings are ``PAPER``, plus ``steps``: at 128 × 128 these are 57.4 M parameters, 55.3 M for the published
pictures of 128 × 96, and 4.6 GFLOP for one frame with its identity encoder, 2.6 for each of ten. The public weights are pickles
of whole modules, whose layout is stated nowhere but in their code: their row is of ``kind: videos``, of what their program made.

Shapes: B clips of a batch, F frames each, N = B·F images, C = 3 channels, H = W = size, L samples of sound, Z noise, E code.
Pictures and sound are in [-1, 1].
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from stages.base import params
from stages.base.errors import ParameterError
from stages.clips import conditions
from stages.clips.clip import Clip
from stages.diffusion.losses import weighted_mean
from stages.faces.geometry import MOUTH, RIGID, grown_hull, similarity, transform
from stages.methods import systems
from stages.methods.systems import Data, Facts, Render, Row
from stages.training.loop import Average, share_of_rate

Norm = Literal["batch", "group"]
GROUP_SIZE = 8  # channels
MOUTH_GROWTH = 0.15  # the mouth's margin over its landmarks, as a share of their width
States = tuple[Tensor, Tensor]  # of the audio's and the noise's GRU


class Settings(systems.SystemSettings):
    """``methods.<row>.settings``; the paper's values are in :data:`PAPER`."""

    channels: params.Natural = Field(description="first layer of the identity encoder, doubled by each; paper: 64")
    identity: params.Natural = Field(description="length of the identity code; paper: 128")
    audio_channels: params.Natural = Field(description="first layer of the audio encoder, doubled by each; paper: 16")
    audio: params.Natural = Field(description="length of the audio code, before and after its GRU; paper: 256")
    audio_s: Annotated[float, Field(ge=0.05)] = Field(description="seconds of sound around a frame; paper: 0.2")
    noise: params.Natural = Field(description="length of the noise of a frame; paper: 10")
    noise_std: params.Positive = Field(description="its standard deviation; paper: 0.33")
    norm: Norm = Field(description="batch or group norm in the picture networks; paper: batch")
    residual: bool = Field(
        description="add the picture to the identity frame; paper: no, it is drawn whole, through tanh"
    )
    discriminator_channels: params.Natural = Field(description="first layer of the discriminators; [M] paper: 64")
    frames: params.Natural = Field(description="frames of a training sequence; [M] paper: 75, 3 seconds")
    batch: params.Natural = Field(description="sequences of a step")
    still: Literal["first", "any"] = Field(
        description="identity frame in training: the sequence's first (paper), or any of the clip outside it"
    )
    mirror: bool = Field(description="mirror half of the sequences; [M] paper: yes")
    frame_samples: params.Natural = Field(description="frames of a sequence that the frame discriminator sees")
    sync_frames: params.Natural = Field(ge=3, description="frames of a sync snippet; paper: 5, 0.2 s")
    l1: params.Positive = Field(description="λ_L1; [M] paper: 600")
    frame_weight: params.Positive = Field(description="λ_img; [M] paper: 1")
    sync_weight: params.Positive = Field(description="λ_sync; [M] paper: 0.8")
    sequence_weight: params.Positive = Field(description="λ_seq; [M] paper: 0.2")
    upper: Annotated[float, Field(ge=0)] = Field(description="L_L1's weight of a pixel of the upper half; paper: 0")
    mouth: params.Positive = Field(description="L_L1's weight of a pixel of the mouth; paper: 1, as the lower half")
    adversarial_from: params.Fraction = Field(
        description="share of the steps after which the discriminators begin; paper: 0"
    )
    learning_rate: params.Positive = Field(description="of generator and encoders; [M] paper: 1e-4")
    frame_rate: params.Positive = Field(description="learning rate of the frame discriminator; [M] paper: 1e-4")
    critic_rate: params.Positive = Field(description="learning rate of the other two discriminators; [M] paper: 1e-5")
    warmup: params.Count = Field(description="steps of linear warm-up; paper: 0")
    decay: Literal["constant", "cosine"] = Field(description="of all learning rates; [M] paper: 10 % an epoch, late")
    clip_norm: Annotated[float, Field(ge=0)] = Field(description="largest norm of G's gradient; 0 (paper): any")
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(description="running average of G's weights; 0 (paper): none")


PAPER: dict[str, Any] = {
    "channels": 64,
    "identity": 128,
    "audio_channels": 16,
    "audio": 256,
    "audio_s": 0.2,
    "noise": 10,
    "noise_std": 0.33,
    "norm": "batch",
    "residual": False,
    "discriminator_channels": 64,
    "frames": 25,  # [M] paper: 75; the rendered clips have 50 or more
    "batch": 8,  # not known
    "still": "first",
    "mirror": True,
    "frame_samples": 1,
    "sync_frames": 5,
    "l1": 600.0,
    "frame_weight": 1.0,
    "sync_weight": 0.8,
    "sequence_weight": 0.2,
    "upper": 0.0,
    "mouth": 1.0,
    "adversarial_from": 0.0,
    "learning_rate": 1e-4,
    "frame_rate": 1e-4,
    "critic_rate": 1e-5,
    "warmup": 0,
    "decay": "constant",
    "clip_norm": 0.0,
    "ema": 0.0,
}


# --- networks --------------------------------------------------------------------------------------------------------


def _norm(kind: Norm, width: int) -> nn.Module:
    return nn.BatchNorm2d(width) if kind == "batch" else nn.GroupNorm(max(width // GROUP_SIZE, 1), width)


def _halving(c_in: int, c_out: int, norm: Norm | None, activation: nn.Module) -> nn.Sequential:
    """Convolution to half the resolution, norm, activation."""
    normed = [] if norm is None else [_norm(norm, c_out)]
    return nn.Sequential(nn.Conv2d(c_in, c_out, 4, 2, 1, bias=norm is None), *normed, activation)


def levels(size: int) -> int:
    """The number of halvings of a picture down to 4 × 4; raises ``ParameterError`` for a size other than 32, 64, 128, …"""
    if size < 32 or size & (size - 1):
        raise ParameterError(f"network.size is {size}; rows of kind sda need 32, 64, 128 or a larger power of 2")
    return int(math.log2(size)) - 2


class SoundEncoder(nn.Module):
    """A stretch of waveform → code in (-1, 1): (N, L) → (N, E).

    The first kernels span 5 ms and move by 1 ms; four more layers shorten what is left 2, 2, 2 and 5 times, and the last one
    spans the rest: 3200 samples become 200, 100, 50, 25, 5 and 1.
    """

    def __init__(self, *, samples: int, sample_rate: int, channels: int, code: int) -> None:
        super().__init__()
        hop = sample_rate // 1000
        shapes = [(5 * hop, hop, 2 * hop), (4, 2, 1), (4, 2, 1), (4, 2, 1), (10, 5, 3)]  # kernel, stride, padding
        stages: list[nn.Module] = []
        c, left = 1, samples
        for number, (kernel, stride, padding) in enumerate(shapes):
            width = channels * 2**number
            stages += [nn.Conv1d(c, width, kernel, stride, padding), nn.BatchNorm1d(width), nn.ReLU()]
            c, left = width, (left + 2 * padding - kernel) // stride + 1
        # Group norm would take the loudness away, and with it what tells speech from silence.
        self.layers = nn.Sequential(*stages, nn.Conv1d(c, code, left), nn.Tanh())

    def forward(self, sound_NL: Tensor) -> Tensor:
        return self.layers(sound_NL[:, None])[:, :, 0]


class IdentityEncoder(nn.Module):
    """A picture → its code (B, E) in (-1, 1), and the maps on the way, from size / 2 down to 4 × 4."""

    def __init__(self, *, size: int, channels: int, code: int, norm: Norm) -> None:
        super().__init__()
        self.widths = [channels * 2**level for level in range(levels(size))]
        self.down = nn.ModuleList(_halving(a, b, norm, nn.ReLU()) for a, b in zip([3, *self.widths], self.widths))
        self.code = nn.Conv2d(self.widths[-1], code, 4, bias=False)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = [x_BCHW]
        for layer in self.down:
            maps.append(layer(maps[-1]))
        return torch.tanh(self.code(maps[-1])).flatten(1), maps[1:]


class Doubling(nn.Module):
    """A level of the generator: takes the identity's map of its size, then doubles the resolution and halves the width.

    The paper joins both before one convolution; it is done in two summands, so that the identity's is made once a clip.
    """

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        self.of_frames = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.of_identity = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.mix = nn.Sequential(_norm(norm, width), nn.ReLU())
        self.up = nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False)
        self.out = nn.Sequential(_norm(norm, width // 2), nn.ReLU())

    def forward(self, x_NCHW: Tensor, skip_BCHW: Tensor) -> Tensor:
        skip = self.of_identity(skip_BCHW).repeat_interleave(len(x_NCHW) // len(skip_BCHW), 0)
        return self.out(self.up(self.mix(self.of_frames(x_NCHW) + skip)))


class Generator(nn.Module):
    """Latents (N, E) and the identity's maps → (N, C, H, W), not yet squashed; the largest map is not used, as published."""

    def __init__(self, *, latent: int, widths: Sequence[int], norm: Norm) -> None:
        super().__init__()
        top = widths[-1]
        first = nn.ConvTranspose2d(latent, top, 4, bias=False)
        self.start = nn.Sequential(first, _norm(norm, top), nn.ReLU())
        self.up = nn.ModuleList(Doubling(width, norm) for width in reversed(widths[1:]))
        self.picture = nn.ConvTranspose2d(widths[0], 3, 4, 2, 1, bias=False)

    def forward(self, latent_NE: Tensor, maps: Sequence[Tensor]) -> Tensor:
        x = self.start(latent_NE[:, :, None, None])
        for layer, skip in zip(self.up, reversed(maps)):
            x = layer(x, skip)
        return self.picture(x)


class System(systems.System):
    """The generator with its encoders; see the module."""

    Settings = Settings
    deviations = (
        "Square pictures; the published ones are 128 × 96.",
        "The faces of a training sequence are moved onto the identity frame's pose by nose and eye corners, where the paper "
        "aligns all faces with one canonical face, because this pipeline's crops follow the face without turning it.",
        "The loss weights, the learning rates and the discriminators' layers are from memory of the paper, since the authors "
        "published the code of inference alone.",
        "The sequence discriminator hears the sound beside the frames, as in the authors' system of 2018; the paper of 2020 was "
        "not at hand to tell whether it still does.",
        "The L1 loss is a mean over pixels and channels of pictures in [-1, 1], a scale that the paper does not give.",
        "At demo scale: small networks with group norm, a picture that is added to the given frame, mouth pixels that count more "
        "and upper ones that count at all, any frame of the clip as identity frame, a higher learning rate with warm-up and "
        "decay, averaged weights, and discriminators that begin later, because it is trained for minutes.",
    )

    def __init__(self, settings: Any, facts: Facts) -> None:
        super().__init__(settings, facts)
        s, size = settings, facts.size
        self.samples = round(s.audio_s * facts.sample_rate)
        self.sound = SoundEncoder(
            samples=self.samples, sample_rate=facts.sample_rate, channels=s.audio_channels, code=s.audio
        )
        self.speech = nn.GRU(s.audio, s.audio, num_layers=2, batch_first=True)
        self.identity = IdentityEncoder(size=size, channels=s.channels, code=s.identity, norm=s.norm)
        self.noise = nn.GRU(s.noise, s.noise, batch_first=True)
        latent = s.audio + s.identity + s.noise
        self.generator = Generator(latent=latent, widths=self.identity.widths, norm=s.norm)
        if s.residual:
            nn.init.zeros_(self.generator.picture.weight)  # it starts as the given frame
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, still_BCHW: Tensor, sound_BFL: Tensor, noise_BFZ: Tensor) -> Tensor:
        """Sequences from their first frame on: (B, F, C, H, W) in [-1, 1], or about that where the picture is a residual."""
        return self.speak(self.see(still_BCHW), sound_BFL, noise_BFZ, None)[0]

    def see(self, still_BCHW: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The generator's record of the identity frame: itself, its code, its maps."""
        still = still_BCHW.contiguous(memory_format=torch.channels_last)
        return still, *self.identity(still)

    def speak(
        self,
        seen: tuple[Tensor, Tensor, list[Tensor]],
        sound_BFL: Tensor,
        noise_BFZ: Tensor,
        states: States | None,
    ) -> tuple[Tensor, States]:
        """The next F frames, (B, F, C, H, W), and where the two GRUs are after them."""
        still, identity_BE, maps = seen
        batch, count = sound_BFL.shape[:2]
        before = (None, None) if states is None else states
        speech_BFE, speech = self.speech(self.sound(sound_BFL.flatten(0, 1)).unflatten(0, (batch, count)), before[0])
        drift_BFZ, drift = self.noise(noise_BFZ, before[1])
        given_BFE = identity_BE[:, None].expand(-1, count, -1)
        latent_BFE = torch.cat([speech_BFE, given_BFE, torch.tanh(drift_BFZ)], -1)
        x_BFCHW = self.generator(latent_BFE.flatten(0, 1), maps).unflatten(0, (batch, count))
        made = still[:, None] + x_BFCHW if self.settings.residual else torch.tanh(x_BFCHW)
        return made, (speech, drift)

    def trainer(self, data: Data) -> Trainer:
        return Trainer(self, data)

    def generate(
        self, clip: Clip, sound: Clip, sampling: params.Sample, progress: Callable[[int], None]
    ) -> Iterator[NDArray[np.uint8]]:
        """All frames in order; the GRUs go on from one part to the next, so that the parts' length changes nothing."""
        count = len(clip.frames_THWC)
        rng = np.random.default_rng([sampling.seed, zlib.crc32(clip.name.encode())])
        seen = self.see(conditions.to_tensor(clip.frames_THWC[:1]).to(self.device))
        states: States | None = None
        for first in range(0, count, sampling.batch):
            frames = range(first, min(first + sampling.batch, count))
            heard = sound_windows(sound.audio, frames, self.samples, self.facts)[None].to(self.device)
            drawn = rng.standard_normal((1, len(frames), self.settings.noise), dtype=np.float32)
            noise = self.settings.noise_std * torch.from_numpy(drawn).to(self.device)
            made, states = self.speak(seen, heard, noise, states)
            yield conditions.to_frames(made[0])
            progress(len(frames))


def stretch(audio_L: NDArray[np.int16], start: int, samples: int) -> NDArray[np.float32]:
    """So many samples from ``start`` on, in [-1, 1); what lies outside the clip is silence."""
    heard = np.zeros(samples, np.float32)
    part = audio_L[max(start, 0) : max(start + samples, 0)]
    heard[max(-start, 0) : max(-start, 0) + len(part)] = part
    return heard / np.float32(32768)


def sound_windows(audio_L: NDArray[np.int16], frames: Sequence[int], samples: int, facts: Facts) -> Tensor:
    """(N, samples) in [-1, 1): the sound around the middle of each frame's own time.

    Frame k's own time begins with sample k · rate / fps: 640 k, of which 1280 samples before and after make 3200.
    """
    a_frame = facts.sample_rate / facts.fps
    around = (samples - round(a_frame)) // 2
    return torch.from_numpy(np.stack([stretch(audio_L, round(k * a_frame) - around, samples) for k in frames]))


def renderer(row: Row) -> Render:
    """The trained generator."""
    return systems.trained(System, row)


def sees(entry: params.Method) -> str:
    """The parts of a test clip given to the row."""
    return "the first frame, the audio"


# --- discriminators --------------------------------------------------------------------------------------------------


class FrameDiscriminator(nn.Module):
    """D_img: frames beside their identity frame, (N, C, H, W) both → logits (N,)."""

    def __init__(self, *, size: int, channels: int, norm: Norm) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(levels(size))]
        norms: list[Norm | None] = [None, *[norm] * (len(widths) - 1)]
        self.layers = nn.Sequential(
            *[_halving(a, b, n, nn.LeakyReLU(0.2)) for a, b, n in zip([6, *widths], widths, norms)],
            nn.Conv2d(widths[-1], 1, 4),
            nn.Flatten(0),
        )

    def forward(self, x_NCHW: Tensor, still_NCHW: Tensor) -> Tensor:
        return self.layers(torch.cat([x_NCHW, still_NCHW], 1))


class SequenceDiscriminator(nn.Module):
    """D_seq: a sequence with its sound, (B, F, C, H, W) and (B, F, L) → logits (B,), read after the last frame.

    A convolution over three frames, then over each frame's map; a GRU takes its code beside the sound's.
    """

    def __init__(self, *, size: int, channels: int, norm: Norm, sound: SoundEncoder, code: int) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(levels(size))]
        self.motion = nn.Conv3d(3, channels, (3, 4, 4), (1, 2, 2), (1, 1, 1))
        self.frame = nn.Sequential(
            *[_halving(a, b, norm, nn.LeakyReLU(0.2)) for a, b in itertools.pairwise(widths)],
            nn.Conv2d(widths[-1], code, 4),
            nn.Flatten(1),
        )
        self.sound = sound
        self.follow = nn.GRU(2 * code, code, batch_first=True)
        self.judge = nn.Linear(code, 1)

    def forward(self, x_BFCHW: Tensor, sound_BFL: Tensor) -> Tensor:
        h = F.leaky_relu(self.motion(x_BFCHW.transpose(1, 2)), 0.2).transpose(1, 2)
        shape = h.shape[:2]
        seen_BFE = self.frame(h.flatten(0, 1)).unflatten(0, shape)
        heard_BFE = self.sound(sound_BFL.flatten(0, 1)).unflatten(0, shape)
        return self.judge(self.follow(torch.cat([seen_BFE, heard_BFE], -1))[0][:, -1])[:, 0]


class SyncDiscriminator(nn.Module):
    """D_sync: a snippet's lower halves and its sound, (B, F, C, H, W) and (B, L) → logits (B,).

    Both are encoded; a perceptron of one layer reads the Euclidean distance of the codes.
    """

    def __init__(self, *, size: int, frames: int, channels: int, norm: Norm, sound: SoundEncoder, code: int) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(levels(size) - 1)]
        self.lips = nn.Sequential(
            *[_halving(a, b, norm, nn.LeakyReLU(0.2)) for a, b in zip([3 * frames, *widths], widths)],
            nn.Conv2d(widths[-1], code, (4, 8)),
            nn.Tanh(),
            nn.Flatten(1),
        )
        self.sound = sound
        self.judge = nn.Linear(1, 1)
        nn.init.constant_(self.judge.weight, -1.0)  # near is true; the other sign would have to be unlearnt
        nn.init.constant_(self.judge.bias, 1.0)

    def forward(self, x_BFCHW: Tensor, sound_BL: Tensor) -> Tensor:
        lower = x_BFCHW[..., x_BFCHW.shape[-2] // 2 :, :].flatten(1, 2)
        apart_BE = self.lips(lower) - self.sound(sound_BL)
        return self.judge((apart_BE.square().sum(1, keepdim=True) + 1e-8).sqrt())[:, 0]


# --- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sequences:
    """The data of one training step."""

    still_BCHW: Tensor  # identity frames
    x_BFCHW: Tensor  # the true frames, in the identity frames' pose
    weight_BF1HW: Tensor  # L_L1's weight of each pixel
    sound_BFL: Tensor
    sampled_BK: Tensor  # frames of each sequence for D_img
    snippet_BK: Tensor  # consecutive frames of each sequence for D_sync
    in_BL: Tensor  # their sound
    out_BL: Tensor  # sound of another moment of the clip


def steady(clip: Clip, frames: Sequence[int], onto: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Frames moved so that nose and eye corners lie where frame ``onto`` has them, and their landmarks: what one frame and the
    sound can tell of them. What comes from beyond the picture is mirrored at its border.
    """
    size, target = clip.frames_THWC.shape[1], clip.landmarks_TL2[onto][RIGID]
    moves = [similarity(clip.landmarks_TL2[frame][RIGID], target) for frame in frames]
    pictures = [
        cv2.warpAffine(
            clip.frames_THWC[frame], move, (size, size), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101
        )
        for frame, move in zip(frames, moves)
    ]
    points = [transform(clip.landmarks_TL2[frame], move) for frame, move in zip(frames, moves)]
    return np.stack(pictures).astype(np.uint8, copy=False), np.stack(points)


def l1_weights(points_FL2: NDArray[np.floating], size: int, *, upper: float, mouth: float) -> Tensor:
    """(F, 1, H, W): 1 in the lower half, ``upper`` above it, ``mouth`` where these landmarks have the mouth."""
    weights = np.ones((len(points_FL2), size, size), np.float32)
    weights[:, : size // 2] = upper
    for weight, points in zip(weights, points_FL2):
        weight[grown_hull(points[MOUTH].astype(np.float32), size, MOUTH_GROWTH)] = mouth
    return torch.from_numpy(weights)[:, None]


def sync_loss(p_in: Tensor, p_out: Tensor, p_f: Tensor) -> Tensor:
    """−L_sync from the logits of the three kinds of pairs: what D_sync minimises."""
    return F.softplus(-p_in).mean() + (F.softplus(p_out).mean() + F.softplus(p_f).mean()) / 2


def two_sided_loss(true: Tensor, made: Tensor) -> Tensor:
    """−E[log D(true)] − E[log(1 − D(made))] from logits: what D_img and D_seq minimise."""
    return F.softplus(-true).mean() + F.softplus(made).mean()


class Trainer(systems.Trainer):
    """A step: the three discriminators on what G makes of a batch, then G against them.

    Raises:
        ParameterError: the settings ask for more frames than a training clip has.
    """

    def __init__(self, system: System, data: Data) -> None:
        s, size = system.settings, system.facts.size
        shortest = min(len(clip.frames_THWC) for clip in data.train)
        if max(s.sync_frames, s.frame_samples) > s.frames or max(s.frames, 3 * s.sync_frames - 1) > shortest:
            raise ParameterError(
                f"settings.frames is {s.frames}, sync_frames {s.sync_frames}, frame_samples {s.frame_samples}, and the shortest "
                f"training clip has {shortest} frames; frames may be at most that and at least the other two, 3 sync_frames − 1 "
                "at most that"
            )
        self.system, self.data, self.windows = system, data, data.windows(s.frames)
        self.images = s.batch * s.frames
        self.sync_samples = round(s.sync_frames * system.facts.sample_rate / system.facts.fps)

        def ear(samples: int) -> SoundEncoder:  # half as wide as the generator's: it is asked less
            rate, channels = system.facts.sample_rate, max(s.audio_channels // 2, 1)
            return SoundEncoder(samples=samples, sample_rate=rate, channels=channels, code=s.identity)

        c = s.discriminator_channels
        shape: dict[str, Any] = {"size": size, "channels": c, "norm": s.norm}
        self.frame = FrameDiscriminator(**shape)
        self.sequence = SequenceDiscriminator(**shape, sound=ear(system.samples), code=s.identity)
        self.sync = SyncDiscriminator(**shape, frames=s.sync_frames, sound=ear(self.sync_samples), code=s.identity)
        self.discriminators = nn.ModuleList([self.frame, self.sequence, self.sync]).to(data.device)
        self.average = Average(system)
        self.optimiser = torch.optim.Adam(system.parameters(), lr=s.learning_rate)
        rest = [*self.sequence.parameters(), *self.sync.parameters()]
        groups = [{"params": list(self.frame.parameters()), "lr": s.frame_rate}, {"params": rest, "lr": s.critic_rate}]
        self.adversary = torch.optim.Adam(groups)

    def states(self) -> dict[str, Any]:
        return {
            "system": self.system,
            "average": self.average,
            "discriminators": self.discriminators,
            "optimiser": self.optimiser,
            "adversary": self.adversary,
        }

    def step(self, step: int) -> dict[str, float]:
        s, batch = self.system.settings, self.batch(step)
        share = share_of_rate(step, steps=s.steps, warmup=s.warmup, decay=s.decay)
        self.optimiser.param_groups[0]["lr"] = share * s.learning_rate
        for group, full in zip(self.adversary.param_groups, (s.frame_rate, s.critic_rate)):
            group["lr"] = share * full
        noise_BFZ = s.noise_std * torch.randn(s.batch, s.frames, s.noise, device=self.data.device)
        made = self.system.train()(batch.still_BCHW, batch.sound_BFL, noise_BFZ)
        l1 = weighted_mean((made - batch.x_BFCHW).abs().flatten(0, 1), batch.weight_BF1HW.flatten(0, 1)).mean()
        terms = dict.fromkeys(("d_frame", "d_sync", "d_sequence", "g_frame", "g_sync", "g_sequence"), 0.0)
        loss = s.l1 * l1
        if step >= s.adversarial_from * s.steps:
            terms |= self.discriminate(batch, made.detach())
            against = self.against(batch, made)
            weights = {"g_frame": s.frame_weight, "g_sync": s.sync_weight, "g_sequence": s.sequence_weight}
            loss = loss + sum(weight * against[name] for name, weight in weights.items())
            terms |= {name: value.item() for name, value in against.items()}
        self.optimiser.zero_grad()
        loss.backward()
        if s.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.system.parameters(), s.clip_norm)
        self.optimiser.step()
        self.average.update(self.system, step, s.ema)
        return {"l1": l1.item(), **terms}

    def discriminate(self, batch: Sequences, made: Tensor) -> dict[str, float]:
        """A step of the three discriminators."""
        self.discriminators.requires_grad_(True).train()
        x = batch.x_BFCHW
        losses = {
            "d_frame": two_sided_loss(self.on_frames(batch, x), self.on_frames(batch, made)),
            "d_sync": sync_loss(
                self.sync(picked(x, batch.snippet_BK), batch.in_BL),
                self.sync(picked(x, batch.snippet_BK), batch.out_BL),
                self.sync(picked(made, batch.snippet_BK), batch.in_BL),
            ),
            "d_sequence": two_sided_loss(self.sequence(x, batch.sound_BFL), self.sequence(made, batch.sound_BFL)),
        }
        self.adversary.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        self.adversary.step()
        return {name: value.item() for name, value in losses.items()}

    def against(self, batch: Sequences, made: Tensor) -> dict[str, Tensor]:
        """The losses that G minimises: −log D of its output, by each discriminator."""
        self.discriminators.requires_grad_(False)
        return {
            "g_frame": F.softplus(-self.on_frames(batch, made)).mean(),
            "g_sync": F.softplus(-self.sync(picked(made, batch.snippet_BK), batch.in_BL)).mean(),
            "g_sequence": F.softplus(-self.sequence(made, batch.sound_BFL)).mean(),
        }

    def on_frames(self, batch: Sequences, x_BFCHW: Tensor) -> Tensor:
        """D_img's logits of the sampled frames."""
        chosen = picked(x_BFCHW, batch.sampled_BK)
        still = batch.still_BCHW[:, None].expand_as(chosen)
        return self.frame(chosen.flatten(0, 1), still.flatten(0, 1))

    def finish(self) -> None:
        self.system.load_state_dict(self.average.weights)

    def batch(self, step: int) -> Sequences:
        """The sequences of a step."""
        drawn = [self.sequence_of(self.data.random(step, index)) for index in range(self.system.settings.batch)]
        return Sequences(*[torch.cat(parts).to(self.data.device) for parts in zip(*drawn)])

    def sequence_of(self, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """A sequence as :class:`Sequences` has it, B = 1."""
        s, facts = self.system.settings, self.system.facts
        clip, start = self.windows.draw(rng)
        frames = range(start, start + s.frames)
        onto = start if s.still == "first" else self.windows.reference(rng, clip, start)
        clip = clip.holding([*frames, onto])
        pictures, points = steady(clip, frames, onto)
        still, x = conditions.to_tensor(clip.frames_THWC[onto : onto + 1]), conditions.to_tensor(pictures)
        weight = l1_weights(points, facts.size, upper=s.upper, mouth=s.mouth)
        if s.mirror and rng.random() < 0.5:
            still, x, weight = still.flip(-1), x.flip(-1), weight.flip(-1)
        first = int(rng.integers(s.frames - s.sync_frames + 1))
        others = [
            t for t in range(len(clip.frames_THWC) - s.sync_frames + 1) if abs(t - start - first) >= s.sync_frames
        ]
        return (
            still,
            x[None],
            weight[None],
            sound_windows(clip.audio, frames, self.system.samples, facts)[None],
            torch.from_numpy(rng.choice(s.frames, (1, s.frame_samples), replace=False)),
            torch.arange(first, first + s.sync_frames)[None],
            self.snippet_sound(clip, start + first),
            self.snippet_sound(clip, int(rng.choice(others))),
        )

    def snippet_sound(self, clip: Clip, first: int) -> Tensor:
        """(1, L): the sound of ``sync_frames`` frames' own time from frame ``first`` on."""
        facts = self.system.facts
        start = round(first * facts.sample_rate / facts.fps)
        return torch.from_numpy(stretch(clip.audio, start, self.sync_samples))[None]


def picked(x_BFCHW: Tensor, frames_BK: Tensor) -> Tensor:
    """Some frames of each sequence, (B, K, C, H, W)."""
    return x_BFCHW[torch.arange(len(x_BFCHW), device=x_BFCHW.device)[:, None], frames_BK]
