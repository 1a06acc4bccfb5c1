"""Diffused Heads: a face that speaks, from one frame and the sound, made frame by frame by a diffusion model.

M. Stypułkowski, K. Vougioukas, S. He, M. Zięba, S. Petridis and M. Pantic, *Diffused Heads: Diffusion Models Beat GANs on
Talking-Face Generation*, WACV 2024 (arXiv 2301.03396). Figures are from the paper and from the authors' published settings.

The idea, in the paper's section 3. A UNet denoises x_t, a noisy frame, beside which it sees, concatenated:

- the identity frame x_I: a random frame of the clip in training, the given one in inference;
- the motion frames x_M: the two frames before the wanted one, without colour, so that looks come from x_I. In training they are
  the true ones, in inference those just made; before a clip's first frame the identity frame stands for them.

The sound of the frame and of its two neighbours on either side, the clip's ends repeated, is embedded to y. Time and y modulate
each residual block, one after the other: h ← y_s · (t_s · GroupNorm(h) + t_b) + y_b, the scales around 1.

The loss: L = L_simple + λ_vlb L_vlb + λ_lip L_lip.

- L_simple = ‖ε − ε_θ(x_t, t, x_I, x_M, y)‖², the mean over a frame.
- L_vlb, *Improved DDPM*'s bound, which trains the learned variance alone: :mod:`stages.diffusion.learned_variance`.
- L_lip, section 3.3: the same squared error inside the box around the lips' landmarks, five pixels larger at each side, the mean
  over the box; it is what makes the lips follow the sound.

What is not the paper's stands in ``System.deviations``; the paper's value of each setting in :class:`Settings`.

Of section ``sample`` it uses sampler, steps, shared_noise, interpolation, precision, compile and seed; ``ancestral`` samples from
the learned variance where that was learned. The paper's: ``{sampler: ancestral, steps: 200, shared_noise: 0.0}``.

N images, A audio windows an image, C = 3 channels, H = W = size, S mel steps, M mel bins, E embedding; pictures in [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from stages.base import devices, params
from stages.base.errors import ParameterError
from stages.clips import conditions
from stages.clips.clip import Clip
from stages.clips.conditions import REFERENCE
from stages.diffusion import learned_variance
from stages.diffusion.losses import weighted_mean
from stages.diffusion.samplers import SAMPLERS, spaced_timesteps
from stages.diffusion.schedule import Diffusion
from stages.faces.geometry import MOUTH
from stages.methods import systems
from stages.methods.generate import Noise
from stages.methods.systems import Data, Facts, Render, Row
from stages.networks.audio_encoder import AudioEncoder
from stages.networks.unet import Downsample, ResBlock, UNet, Upsample, zeroed
from stages.training.loop import Average, share_of_rate

LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601: how much red, green and blue weigh in grey
BLOTCHES = (1, 2, 4, 8, 16)  # pixels of the grids whose noise makes motion frames blotchy in training
DECAYS = 18  # times that the paper's learning rate falls in a training
PERIOD = 10_000.0  # base of the sinusoids of time


class Settings(systems.SystemSettings):
    """``methods.<row>.settings``; what is the paper's stands in each description."""

    batch: params.Natural = Field(description="frames a step; paper: 80, ten on each of eight GPUs")
    learning_rate: params.Positive = Field(description="of Adam; paper: 5e-5")
    lr_schedule: Literal["step", "cosine"] = Field(
        description="paper: step, which is times 0.8 at each of 18 equal parts; cosine falls to 2 %"
    )
    warmup: params.Count = Field(description="steps of linear warm-up; paper: 0")
    weight_decay: float = Field(ge=0, description="AdamW's; paper: 0, which is Adam")
    clip_norm: float = Field(ge=0, description="largest norm of the gradient; paper: 0, which is none")
    ema: float = Field(ge=0, lt=1, description="decay of the averaged weights; paper: 0, which is none")
    precision: Literal["fp32", "bf16"] = Field(description="of the network in training; paper: fp32")

    channels: params.Natural = Field(multiple_of=2, description="paper: 256")
    multipliers: list[params.Natural] = Field(min_length=1, description="of channels, a level; paper: [1, 2, 3]")
    res_blocks: params.Natural = Field(description="a level; paper: 2")
    attention: list[params.Natural] = Field(
        description="resolutions with self-attention, beside the middle; paper: [32]"
    )
    head_channels: params.Natural = Field(description="of attention; paper: 64")
    dropout: float = Field(ge=0, lt=1, description="paper: 0.1")
    groups: params.Natural = Field(description="of group normalisation; paper: 32")
    resample: Literal["residual", "convolution"] = Field(
        description="between levels; paper: residual, whole blocks that pool or repeat; convolution: one of stride 2"
    )
    patch: params.Natural = Field(description="side of the space-to-depth patches that the UNet works on; paper: 1")
    residual: Literal["none", "identity"] = Field(
        description="identity: the output is what is added to the identity frame; paper: none"
    )

    audio_channels: params.Natural = Field(description="of the audio encoder's first layer")
    audio_embedding: params.Natural = Field(description="length of a window's embedding; paper: 256")
    audio_steps: params.Natural = Field(description="mel steps of a window; paper: 0.2 s, which are 16")
    audio_neighbours: params.Count = Field(description="frames on either side whose sound is embedded, too; paper: 2")

    motion_frames: params.Natural = Field(description="frames before the wanted one that are given; paper: 2")
    motion_grey: bool = Field(description="given without colour; paper: true")
    motion_noise: float = Field(
        ge=0, description="largest deviation of blotches on them in training, of each of five sizes; paper: 0"
    )
    motion_own: params.Fraction = Field(
        description="share of training images whose motion frames the network makes itself, each by one call; paper: 0"
    )

    timesteps: params.Natural = Field(ge=2, description="T; paper: 1000")
    schedule: Literal["linear", "cosine"] = Field(description="paper: cosine")
    prediction: Literal["epsilon", "v", "x0"] = Field(description="paper: epsilon")
    latest_of: params.Natural = Field(description="a timestep is the largest of so many uniform draws; paper: 1")
    vlb: float = Field(ge=0, description="λ_vlb; 0: the variance is not learned; paper: 1e-4")
    lip: float = Field(ge=0, description="λ_lip; paper: 0.2")
    lip_margin: params.Count = Field(description="pixels of the frame around the lips' landmarks; paper: 5 at 128")

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        if self.residual != "none" and self.prediction != "x0":
            raise ValueError("residual 'identity' needs prediction 'x0': noise is no residual on a picture")
        if self.motion_own > 0 and self.prediction != "x0":
            raise ValueError("motion_own above 0 needs prediction 'x0': one call gives no picture otherwise")
        if wrong := [m for m in self.multipliers if self.channels * m % self.head_channels]:
            raise ValueError(f"head_channels {self.head_channels} must divide channels {self.channels} times {wrong}")
        return self

    @property
    def picture_channels(self) -> int:
        """Of what the network sees: the noisy frame, the motion frames, the identity frame."""
        return 3 + (1 if self.motion_grey else 3) * self.motion_frames + 3


def time_features(t_N: Tensor, channels: int) -> Tensor:
    """Sinusoids of timesteps, (N,) → (N, channels), cosines first; frequency i of channels / 2 is 10000^(−i / (2 · channels)).

    So the authors' code has it (``models/blocks.py``). The usual exponent, of Vaswani et al. 2017, is −i / (channels / 2), which
    goes from 1 down to 1/10000; theirs ends near 10000^(−1/4) = 1/10, so that none of them turns slowly.
    """
    exponents = torch.arange(channels // 2, device=t_N.device) / (2 * channels)
    angles = t_N[:, None].float() * torch.exp(-math.log(PERIOD) * exponents)
    return torch.cat([angles.cos(), angles.sin()], -1)


class Resampling(ResBlock):
    """ADM's residual block between two levels: both its ways go through ``change``, the inner one before its convolution."""

    def __init__(self, channels: int, emb: int, settings: Settings, change: nn.Module) -> None:
        super().__init__(channels, channels, emb, settings.groups, settings.dropout)
        self.conv_in = nn.Sequential(change, self.conv_in)  # type: ignore[assignment]
        self.skip = change  # type: ignore[assignment]


def residual_resampling(unet: UNet, emb: int, settings: Settings) -> None:
    """Put residual blocks in the place of the convolutions between the UNet's levels."""
    for levels in (unet.down, unet.up):
        for number, level in enumerate(levels):
            if isinstance(level, (Downsample, Upsample)):
                pool = isinstance(level, Downsample)
                change = nn.AvgPool2d(2) if pool else nn.Upsample(scale_factor=2.0, mode="nearest")
                levels[number] = Resampling(level.conv.in_channels, emb, settings, change)


class System(systems.System):
    """The denoiser ε_θ with the audio encoder, and how a clip is made by it.

    Where ``patch`` > 1 the UNet works on patches, and a convolution at full resolution follows, as in HifiDiff's network.
    """

    Settings = Settings
    deviations = (
        "The audio encoder is this project's, on the mel spectrogram, trained with the rest; the paper's is that of SDA on the "
        "waveform, pretrained and left as it is, whose weights no machine here could fetch.",
        "At demo scale the network predicts what is to be added to the identity frame, at 64×64 in 2×2 patches, with a fixed "
        "variance, a larger weight of the lip box, averaged weights and DDIM; the paper predicts noise at 128×128, with a "
        "learned variance and ancestral sampling, which takes far more than a CPU's minutes to show anything.",
        "At demo scale the motion frames are blotchy in training, and for some images the network's own, so that the errors of "
        "frames made one after another do not add up; the paper gives the true frames as they are, without colour.",
        "Frames are this pipeline's crops, fixed in place for a clip; the paper's faces are aligned to a mean face.",
    )

    def __init__(self, settings: Any, facts: Facts) -> None:
        super().__init__(settings, facts)
        own: Settings = settings
        emb = 4 * own.channels
        least = own.patch * 2 ** (len(own.multipliers) - 1)
        if facts.size % least:
            raise ParameterError(
                f"network.size is {facts.size}; settings.patch {own.patch} and {len(own.multipliers)} settings.multipliers "
                f"need a multiple of {least}"
            )
        side = facts.size // own.patch
        if lacking := set(own.attention) - {side >> level for level in range(len(own.multipliers))}:
            raise ParameterError(f"settings.attention names {sorted(lacking)}; the levels have {side} and its halves")
        self.diffusion = Diffusion(own.timesteps, own.schedule, own.prediction)
        outputs = 6 if own.vlb > 0 else 3
        inner = outputs if own.patch == 1 else own.channels // 2
        self.unet = UNet(
            c_in=own.picture_channels * own.patch**2,
            c_out=inner * own.patch**2,
            size=side,
            channels=own.channels,
            multipliers=own.multipliers,
            res_blocks=own.res_blocks,
            attention=own.attention,
            head_channels=own.head_channels,
            dropout=own.dropout,
            groups=own.groups,
            emb=emb,
        )
        if own.resample == "residual":
            residual_resampling(self.unet, emb, own)
        if own.patch > 1:
            self.detail = nn.Conv2d(own.picture_channels + inner, inner, 3, padding=1)
            self.out = zeroed(nn.Conv2d(inner, outputs, 3, padding=1))
            self.unet.head.reset_parameters()  # one layer that starts at zero is enough
        self.time = nn.Sequential(nn.Linear(own.channels, emb), nn.SiLU(), nn.Linear(emb, emb), nn.SiLU())
        self.ear = AudioEncoder(
            steps=own.audio_steps,
            bins=facts.mel_bins,
            channels=own.audio_channels,
            emb=own.audio_embedding,
            groups=own.groups,
        )
        heard = own.audio_embedding * (2 * own.audio_neighbours + 1)
        self.speech = nn.Sequential(nn.Linear(heard, emb), nn.SiLU(), nn.Linear(emb, emb), nn.SiLU())
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def motion(self, frame_NCHW: Tensor) -> Tensor:
        """A frame as it is given to the one after it."""
        if not self.settings.motion_grey:
            return frame_NCHW
        weights = frame_NCHW.new_tensor(LUMA)[:, None, None]
        return (frame_NCHW * weights).sum(1, keepdim=True)

    def heard(self, windows_NASM: Tensor) -> Tensor:
        """y, (N, E): the embedding of the frames' sound; the windows are those of the frame and its neighbours, in order."""
        each = self.ear(rearrange(windows_NASM, "n a s m -> (n a) s m"))
        return self.speech(rearrange(each, "(n a) e -> n (a e)", n=len(windows_NASM)))

    def forward(self, x_t: Tensor, t_N: Tensor, motion_NCHW: Tensor, identity_NCHW: Tensor, y_NE: Tensor) -> Tensor:
        """(N, 3, H, W), what ``prediction`` says; with a learned variance (N, 6, H, W), the rest ν in [-1, 1] or so."""
        time_NE = self.time(time_features(t_N, self.settings.channels))
        x, patch = torch.cat([x_t, motion_NCHW, identity_NCHW], 1), self.settings.patch
        h = self.unet(F.pixel_unshuffle(x, patch) if patch > 1 else x, time_NE, y_NE)
        if patch > 1:
            h = self.out(F.silu(self.detail(torch.cat([x, F.pixel_shuffle(h, patch)], 1))))
        if self.settings.residual == "identity":
            h = torch.cat([h[:, :3] + identity_NCHW, h[:, 3:]], 1)
        return h

    def trainer(self, data: Data) -> Trainer:
        return Trainer(self, data)

    def generate(
        self, clip: Clip, sound: Clip, sampling: params.Sample, progress: Callable[[int], None]
    ) -> Iterator[NDArray[np.uint8]]:
        if sampling.steps > self.settings.timesteps:
            raise ParameterError(
                f"sample.steps is {sampling.steps}; settings.timesteps allows at most {self.settings.timesteps}"
            )
        if sampling.compile:
            self.unet.compile()
        identity = conditions.to_tensor(clip.frames_THWC[REFERENCE : REFERENCE + 1]).to(self.device)
        motion = [self.motion(identity)] * self.settings.motion_frames
        shares = {"shared": sampling.shared_noise, "interpolation": sampling.interpolation}
        noise = Noise(clip.name, (3, self.facts.size, self.facts.size), sampling.seed, **shares)
        for frame, y_1E in enumerate(self._sound(sound, len(clip.frames_THWC), sampling.batch)):
            made = self._frame(torch.cat(motion, 1), identity, y_1E, sampling, noise, frame)
            motion = [*motion[1:], self.motion(made)]
            yield conditions.to_frames(made)
            progress(1)

    def _sound(self, sound: Clip, frames: int, batch: int) -> Iterator[Tensor]:
        """y of each frame, (1, E); each window of the sound is embedded once."""
        own: Settings = self.settings
        each = [
            self.ear(conditions.mel_windows(sound, part, own.audio_steps).to(self.device))
            for part in (range(first, min(first + batch, frames)) for first in range(0, frames, batch))
        ]
        each_NE = torch.cat(each)
        for frame in range(frames):
            yield self.speech(each_NE[neighbours(frame, frames, own.audio_neighbours)].reshape(1, -1))

    def _frame(
        self,
        motion_1CHW: Tensor,
        identity_1CHW: Tensor,
        y_1E: Tensor,
        sampling: params.Sample,
        noise: Noise,
        frame: int,
    ) -> Tensor:
        """Sample one frame, (1, 3, H, W)."""
        device, learned = self.device, self.settings.vlb > 0

        def normal(draw: int) -> Tensor:
            return torch.from_numpy(noise.frames(draw, range(frame, frame + 1))).to(device)

        def estimate(x_t: Tensor, t_N: Tensor) -> tuple[Tensor, Tensor]:
            with devices.bf16(device, sampling.precision == "bf16"):
                output = self(x_t, t_N, motion_1CHW, identity_1CHW, y_1E).float()
            return self.diffusion.x_0(x_t, t_N, output[:, :3]).clamp(-1, 1), (output[:, 3:] + 1) / 2

        x_T = normal(0).contiguous(memory_format=torch.channels_last)
        if learned and sampling.sampler == "ancestral":
            times = spaced_timesteps(self.settings.timesteps, sampling.steps)
            return learned_variance.sample(self.diffusion, estimate, x_T, times, lambda step: normal(1 + step))
        sampler = SAMPLERS[sampling.sampler]
        return sampler(self.diffusion, lambda *at: estimate(*at)[0], x_T, sampling.steps, lambda step: normal(1 + step))


def neighbours(frame: int, frames: int, reach: int) -> list[int]:
    """The frames from ``reach`` before to ``reach`` after, those beyond the clip's ends replaced by its first and last."""
    return [min(max(other, 0), frames - 1) for other in range(frame - reach, frame + reach + 1)]


def before(frame: int, count: int, identity: int) -> list[int]:
    """The ``count`` frames before one, in order; for those before the clip's first, the identity frame."""
    return [other if other >= 0 else identity for other in range(frame - count, frame)]


def blotches(motion_NCHW: Tensor, frames: int) -> Tensor:
    """Noise for motion frames, of an image's own strength between 0 and 1: the sum of five grids', finer and coarser.

    Frames made one after another hand on their errors, which lie in the same places: so all motion frames of an image get the
    same noise. It teaches that what the identity frame has not is to be taken away again. White noise alone does not: it
    is filtered off, and broad errors grow until they fill the picture.
    """
    count, channels, height, width = motion_NCHW.shape
    total = torch.zeros_like(motion_NCHW[:, : channels // frames])
    strength = torch.rand(count, 1, 1, 1, device=total.device)
    for side in BLOTCHES:
        grid = total.new_empty(count, total.shape[1], -(-height // side), -(-width // side)).normal_()
        share = strength * torch.rand_like(strength)
        total += share * F.interpolate(grid, (height, width), mode="bilinear", align_corners=False)
    return total.repeat(1, frames, 1, 1)


def lip_box(landmarks_L2: NDArray[np.float32], size: int, margin: int) -> NDArray[np.float32]:
    """(size, size): 1 in the box around the lips' landmarks, ``margin`` pixels larger at each side and cut to the frame."""
    low, high = landmarks_L2[MOUTH].min(0), landmarks_L2[MOUTH].max(0)
    left, top = np.clip(np.floor(low).astype(int) - margin, 0, size - 1)
    right, bottom = np.clip(np.ceil(high).astype(int) + margin, (left + 1, top + 1), size)
    box = np.zeros((size, size), np.float32)
    box[top:bottom, left:right] = 1
    return box


def learning_rate(step: int, settings: Settings) -> float:
    """Of a step from 0: after the warm-up it falls by steps, or along a cosine."""
    shape: Literal["constant", "cosine"] = "constant" if settings.lr_schedule == "step" else "cosine"
    share = share_of_rate(step, steps=settings.steps, warmup=settings.warmup, decay=shape)
    if settings.lr_schedule == "step" and step >= settings.warmup:
        share *= 0.8 ** int(DECAYS * (step - settings.warmup) / max(settings.steps - settings.warmup, 1))
    return settings.learning_rate * share


@dataclass(frozen=True)
class Batch:
    """A step's data."""

    x_0: Tensor  # (N, 3, H, W), the wanted frames
    identity_NCHW: Tensor
    before_NKCHW: Tensor  # the frames before, in colour, in order: twice as many as the motion frames are
    windows_NLASM: (
        Tensor  # of the sound of as many frames before as are motion frames, in order, and of the frame itself
    )
    lips_N1HW: Tensor  # 1 in the lip box
    t_N: Tensor


class Trainer(systems.Trainer):
    """L minimised by Adam over single frames, drawn each with its motion frames and a random identity frame of its clip."""

    def __init__(self, system: System, data: Data) -> None:
        self.system, self.data = system, data
        self.settings: Settings = system.settings
        self.images, self.frames = self.settings.batch, data.windows(1)
        self.optimiser = torch.optim.AdamW(
            system.parameters(), lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay, fused=True
        )
        self.average = Average(system)

    def states(self) -> dict[str, Any]:
        return {"system": self.system, "optimiser": self.optimiser, "average": self.average}

    def batch(self, step: int) -> Batch:
        """The batch of a step; pictures and draws of image i depend on (seed, step, i) alone."""
        own, items = self.settings, []
        for index in range(own.batch):
            rng = self.data.random(step, index)
            clip, frame = self.frames.draw(rng)
            identity = self.frames.reference(rng, clip, frame)
            past = before(frame, 2 * own.motion_frames, identity)
            pictures = conditions.to_tensor(clip.frames_THWC[[frame, identity, *past]])
            around = [
                conditions.mel_windows(
                    clip, neighbours(max(heard, 0), len(clip.frames_THWC), own.audio_neighbours), own.audio_steps
                )
                for heard in range(frame - own.motion_frames, frame + 1)
            ]
            items.append(
                (
                    pictures[0],
                    pictures[1],
                    pictures[2:],
                    torch.stack(around),
                    torch.from_numpy(lip_box(clip.landmarks_TL2[frame], self.system.facts.size, own.lip_margin))[None],
                    torch.tensor(rng.integers(own.timesteps, size=own.latest_of).max()),
                )
            )
        return Batch(*(torch.stack(part).to(self.data.device) for part in zip(*items, strict=True)))

    def step(self, step: int) -> dict[str, float]:
        own, system = self.settings, self.system
        system.train()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(step, own)
        # No cache: what the frames made without gradients leave in it would keep gradients from the weights.
        bf16 = own.precision == "bf16"
        with devices.bf16(self.data.device, bf16, cache=False):
            terms = self.losses(self.batch(step))
        loss = terms["simple"] + own.vlb * terms["vlb"] + own.lip * terms["lip"]
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(system.parameters(), own.clip_norm or math.inf)
        self.optimiser.step()
        self.average.update(system, step, own.ema)
        values = {**terms, "total": loss, "gradient_norm": norm}
        return dict(zip(values, torch.stack([value.detach() for value in values.values()]).tolist(), strict=True))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """L_simple, L_lip and L_vlb, each the mean over the images; L_vlb is 0 where the variance is not learned."""
        own, system = self.settings, self.system
        noise = torch.randn_like(batch.x_0)
        x_t = system.diffusion.q_sample(batch.x_0, batch.t_N, noise).contiguous(memory_format=torch.channels_last)
        motion_NCHW, y_NE = self.motion(batch), system.heard(batch.windows_NLASM[:, -1])
        output = system(x_t, batch.t_N, motion_NCHW, batch.identity_NCHW, y_NE).float()
        error = (output[:, :3] - system.diffusion.target(batch.x_0, batch.t_N, noise)) ** 2
        vlb = torch.zeros(len(x_t), device=x_t.device)
        if own.vlb > 0:
            x_0_hat = system.diffusion.x_0(x_t, batch.t_N, output[:, :3])
            nu = (output[:, 3:] + 1) / 2
            vlb = learned_variance.variational_bound(system.diffusion, batch.x_0, x_t, batch.t_N, x_0_hat, nu)
        return {"simple": error.mean(), "lip": weighted_mean(error, batch.lips_N1HW).mean(), "vlb": vlb.mean()}

    def motion(self, batch: Batch) -> Tensor:
        """x_M: the true frames before; of the first images of a batch those that the network makes itself, as in inference."""
        own, system, count = self.settings, self.system, self.settings.motion_frames
        past = [system.motion(frame) for frame in batch.before_NKCHW.unbind(1)]
        motion_NCHW = torch.cat(past[count:], 1)
        if own.motion_noise > 0:
            motion_NCHW = motion_NCHW + own.motion_noise * blotches(motion_NCHW, count)
        images = round(own.motion_own * len(motion_NCHW))
        if images == 0:
            return motion_NCHW
        made, t_N = [frame[:images] for frame in past[:count]], torch.full_like(batch.t_N[:images], own.timesteps - 1)
        with torch.no_grad():
            for number in range(count):
                x_T, y_NE = torch.randn_like(batch.x_0[:images]), system.heard(batch.windows_NLASM[:images, number])
                x_0 = system(x_T, t_N, torch.cat(made[-count:], 1), batch.identity_NCHW[:images], y_NE).float()
                made.append(system.motion(x_0[:, :3].clamp(-1, 1)))
        return torch.cat([torch.cat(made[count:], 1), motion_NCHW[images:]])

    def finish(self) -> None:
        if self.settings.ema > 0:
            self.system.load_state_dict(self.average.weights)


def renderer(row: Row) -> Render:
    """The trained system, sampled as the row says."""
    return systems.trained(System, row)


def sees(entry: params.Method) -> str:
    """The parts of a test clip given to the row."""
    return "the first frame, " + ("the audio" if entry.audio == "own" else "the audio of another test clip")
