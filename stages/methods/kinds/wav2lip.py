"""Wav2Lip: *A Lip Sync Expert Is All You Need for Speech to Lip Generation In the Wild*, Prajwal, Mukhopadhyay, Namboodiri and
Jawahar, ACM Multimedia 2020 (arXiv 2008.10010).

The generator G is given a frame whose lower half is black, which tells the pose, a reference frame, which tells the person, and
0.2 s of sound; it makes the whole frame. Lip-sync it learns from an expert that was trained before, on true videos, and stays
frozen: a discriminator that learns beside G grows used to G's faults. A second discriminator D, of pictures, learns beside G.
In the paper's symbols, L_G the true frames and L_g those of G, over N frames::

    L_recon = 1/N Σ ‖L_g − L_G‖₁
    E_sync  = 1/N Σ −log P_sync         P_sync: cosine of the expert's embeddings of five consecutive frames and of their sound
    L_gen   = E[log(1 − D(L_g))]        published code, and here: −E[log D(L_g)]
    L_disc  = E[log D(L_G)] + E[log(1 − D(L_g))]                    maximised by D, which sees lower halves
    L_total = (1 − s_w − s_g)·L_recon + s_w·E_sync + s_g·L_gen      minimised by G

s_g is 0.07; s_w is 0 until E_sync on validation clips is below 0.75 and 0.03 from then on, since the expert can't judge the lips
of what is no face yet. A killed training restores s_w with its state.

The layers are the published ones under their published names, so that official weights load strictly (``python -m stages.convert
wav2lip``). They were made for 96 × 96: five halvings, then a convolution over all of the 3 × 3 that are left. Any multiple of 32
goes by the same rule, that convolution covering size / 32 pixels: 4 at 128, 2 at 64.

N frames, C = 3, H = W = size, S = 16 mel steps, M = 80 bins; B windows of F = 5 consecutive frames. Pictures are in [0, 1].
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from stages.base import params
from stages.base.errors import ParameterError
from stages.clips import conditions
from stages.clips.clip import MEL_STEPS_PER_FRAME, Clip, mel_window, sync_window
from stages.clips.conditions import REFERENCE
from stages.clips.windows import Windows, pixel_weights
from stages.diffusion import losses
from stages.methods import systems
from stages.methods.systems import Data, Facts, Render, Row
from stages.networks.lipsync_expert import FRAMES, MEL_STEPS, ConvBlock
from stages.pretrained import lipsync_expert
from stages.pretrained.hifidiff import CONFIG
from stages.training.loop import Average, share_of_rate

HALVINGS = 5


class Settings(systems.SystemSettings):
    """``methods.<row>.settings`` of kind wav2lip; ``paper`` is the paper's value, or its code's."""

    driver: Literal["first_frame", "video"] = Field(
        description="the frame that is given, its upper half and as reference: the clip's first, or, as the published program "
        "does, each frame of the test video itself. A row that doesn't say video is driven by the first frame"
    )
    width: params.Natural = Field(
        description="channels of G's first layer, of which all others are multiples; paper: 16"
    )
    discriminator_width: params.Natural = Field(description="the same of D; paper: 32")
    patch: params.Natural = Field(description="pixels are unshuffled by it before G, and shuffled after it; paper: 1")
    residual: bool = Field(description="G's output is added to what it is given, before the sigmoid; paper: false")
    colours: Literal["rgb", "bgr"] = Field(description="order of the channels inside the networks; paper: bgr")
    audio_from: int = Field(
        ge=-8, le=8, description="frame f hears the 16 mel steps from frame f + audio_from on; paper: -1"
    )
    align: bool = Field(
        description="in training the reference is moved onto the frame by eyes and nose; a sampled frame's reference is the "
        "driving frame itself, which lies there already; paper: false"
    )
    windows: params.Natural = Field(description="windows of five frames a step; paper: 16")
    singles: params.Count = Field(description="further frames a step, each drawn by itself; paper: 0")
    sync: params.Fraction = Field(description="s_w, once E_sync on validation is low enough; paper: 0.03")
    sync_below: params.Positive = Field(description="low enough; paper: 0.75")
    evaluate_every: params.Natural = Field(description="steps between two looks at the validation clips; paper: 3000")
    evaluate_windows: params.Natural = Field(description="windows of these clips that are looked at; paper: 4800")
    adversarial: params.Fraction = Field(description="s_g; paper: 0.07")
    mouth_weight: params.Positive = Field(description="weight of the mouth's pixels in L_recon; paper: 1")
    power: Literal[1, 2] = Field(
        description="of the differences in L_recon: 2 asks for the mean and not the median of what may follow, and the median "
        "mouth is shut; paper: 1"
    )
    learning_rate: params.Positive = Field(description="Adam's, of G; paper: 0.0001")
    discriminator_learning_rate: params.Positive = Field(description="Adam's, of D; paper: 0.0001")
    beta_1: params.Fraction = Field(description="Adam's, of both; paper: 0.5")
    warmup: params.Count = Field(description="steps in which both learning rates rise; paper: 0")
    decay: Literal["constant", "cosine"] = Field(description="of both learning rates; cosine: to 2 %; paper: constant")
    ema: params.Fraction = Field(
        description="memory of the average of G's weights, which is kept; paper: 0, the last ones"
    )
    clip_norm: float = Field(ge=0, description="largest norm of G's gradient; 0: any; paper: 0")


# A row's settings at paper scale, all as published; how many steps were made is not.
PUBLISHED: dict[str, Any] = {
    "driver": "first_frame",
    "width": 16,
    "discriminator_width": 32,
    "patch": 1,
    "residual": False,
    "colours": "bgr",
    "audio_from": -1,
    "align": False,
    "windows": 16,
    "singles": 0,
    "sync": 0.03,
    "sync_below": 0.75,
    "evaluate_every": 3000,
    "evaluate_windows": 4800,
    "adversarial": 0.07,
    "mouth_weight": 1.0,
    "power": 1,
    "learning_rate": 0.0001,
    "discriminator_learning_rate": 0.0001,
    "beta_1": 0.5,
    "warmup": 0,
    "decay": "constant",
    "ema": 0.0,
    "clip_norm": 0.0,
}


class Up(nn.Module):
    """Transposed convolution, batch norm, ReLU: twice the side, or, with ``kernel``, from 1 × 1 to ``kernel`` × ``kernel``."""

    def __init__(self, c_in: int, c_out: int, *, kernel: int | None = None) -> None:
        super().__init__()
        doubling = nn.ConvTranspose2d(c_in, c_out, 3, stride=2, padding=1, output_padding=1)
        conv = doubling if kernel is None else nn.ConvTranspose2d(c_in, c_out, kernel)
        self.conv_block = nn.Sequential(conv, nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv_block(x))


def _same(channels: int, count: int) -> list[ConvBlock]:
    return [ConvBlock(channels, channels, 3, 1, 1, residual=True) for _ in range(count)]


class Generator(nn.Module):
    """The published ``Wav2Lip``: face encoder, whose features all go to the decoder, and audio encoder.

    ``width`` 16, ``size`` 96 and ``patch`` 1 are the published ones, 36,298,035 parameters.
    """

    def __init__(self, *, width: int, size: int, patch: int = 1, residual: bool = False) -> None:
        super().__init__()
        if size % (patch * 2**HALVINGS):
            raise ValueError(f"size {size} is no multiple of {patch * 2**HALVINGS}, which patch {patch} needs")
        w, left = width, size // patch // 2**HALVINGS
        self.patch, self.residual = patch, residual
        self.face_encoder_blocks = nn.ModuleList(
            [
                nn.Sequential(ConvBlock(6 * patch**2, w, 7, 1, 3)),
                nn.Sequential(ConvBlock(w, 2 * w, 3, 2, 1), *_same(2 * w, 2)),
                nn.Sequential(ConvBlock(2 * w, 4 * w, 3, 2, 1), *_same(4 * w, 3)),
                nn.Sequential(ConvBlock(4 * w, 8 * w, 3, 2, 1), *_same(8 * w, 2)),
                nn.Sequential(ConvBlock(8 * w, 16 * w, 3, 2, 1), *_same(16 * w, 2)),
                nn.Sequential(ConvBlock(16 * w, 32 * w, 3, 2, 1), *_same(32 * w, 1)),
                nn.Sequential(ConvBlock(32 * w, 32 * w, left, 1, 0), ConvBlock(32 * w, 32 * w, 1, 1, 0)),
            ]
        )
        self.audio_encoder = nn.Sequential(
            ConvBlock(1, 2 * w, 3, 1, 1),
            *_same(2 * w, 2),
            ConvBlock(2 * w, 4 * w, 3, (3, 1), 1),
            *_same(4 * w, 2),
            ConvBlock(4 * w, 8 * w, 3, 3, 1),
            *_same(8 * w, 2),
            ConvBlock(8 * w, 16 * w, 3, (3, 2), 1),
            *_same(16 * w, 1),
            ConvBlock(16 * w, 32 * w, 3, 1, 0),
            ConvBlock(32 * w, 32 * w, 1, 1, 0),
        )
        # Each block takes the one before and, beside it, the encoder's features of the same resolution.
        self.face_decoder_blocks = nn.ModuleList(
            [
                nn.Sequential(ConvBlock(32 * w, 32 * w, 1, 1, 0)),
                nn.Sequential(Up(32 * w + 32 * w, 32 * w, kernel=left), *_same(32 * w, 1)),
                nn.Sequential(Up(32 * w + 32 * w, 32 * w), *_same(32 * w, 2)),
                nn.Sequential(Up(32 * w + 16 * w, 24 * w), *_same(24 * w, 2)),
                nn.Sequential(Up(24 * w + 8 * w, 16 * w), *_same(16 * w, 2)),
                nn.Sequential(Up(16 * w + 4 * w, 8 * w), *_same(8 * w, 2)),
                nn.Sequential(Up(8 * w + 2 * w, 4 * w), *_same(4 * w, 2)),
            ]
        )
        last = nn.Conv2d(2 * w, 3 * patch**2, 1)
        if residual:  # Nothing is added at first: to unlearn a random picture would silence the sound's way for good.
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.output_block = nn.Sequential(ConvBlock(4 * w + w, 2 * w, 3, 1, 1), last, nn.Sigmoid())

    def forward(self, mel_NSM: Tensor, face_N6HW: Tensor) -> Tensor:
        """Sound in [-4, 4] and masked frame before reference, in [0, 1] → frames (N, 3, H, W) in (0, 1)."""
        x, features = F.pixel_unshuffle(face_N6HW, self.patch), []
        for block in self.face_encoder_blocks:
            x = block(x)
            features.append(x)
        x = self.audio_encoder(mel_NSM.transpose(1, 2)[:, None])
        for block in self.face_decoder_blocks:
            x = torch.cat([block(x), features.pop()], 1)
        convolutions, sigmoid = self.output_block[:-1], self.output_block[-1]
        logits_NCHW = F.pixel_shuffle(convolutions(x), self.patch)
        if self.residual:
            logits_NCHW = logits_NCHW + torch.logit(given(face_N6HW), 0.02)
        return sigmoid(logits_NCHW)


class Discriminator(nn.Module):
    """The published ``Wav2Lip_disc_qual``: whether a lower half is of a true frame; no norm, leaky ReLU.

    ``width`` 32 and ``size`` 96 are the published ones, 14,113,793 parameters. Its sigmoid is in the loss.
    """

    def __init__(self, *, width: int, size: int) -> None:
        super().__init__()
        w = width
        self.face_encoder_blocks = nn.ModuleList(
            [
                nn.Sequential(Plain(3, w, 7, 1, 3)),
                nn.Sequential(Plain(w, 2 * w, 5, (1, 2), 2), Plain(2 * w, 2 * w, 5, 1, 2)),
                nn.Sequential(Plain(2 * w, 4 * w, 5, 2, 2), Plain(4 * w, 4 * w, 5, 1, 2)),
                nn.Sequential(Plain(4 * w, 8 * w, 5, 2, 2), Plain(8 * w, 8 * w, 5, 1, 2)),
                nn.Sequential(Plain(8 * w, 16 * w, 3, 2, 1), Plain(16 * w, 16 * w, 3, 1, 1)),
                nn.Sequential(Plain(16 * w, 16 * w, 3, 2, 1), Plain(16 * w, 16 * w, 3, 1, 1)),
                nn.Sequential(Plain(16 * w, 16 * w, size // 2**HALVINGS, 1, 0), Plain(16 * w, 16 * w, 1, 1, 0)),
            ]
        )
        self.binary_pred = nn.Sequential(nn.Conv2d(16 * w, 1, 1))

    def forward(self, frames_NCHW: Tensor) -> Tensor:
        """Whole frames in [0, 1] → the logit of "true" of each one's lower half, (N,)."""
        x = frames_NCHW[:, :, frames_NCHW.shape[2] // 2 :]
        for block in self.face_encoder_blocks:
            x = block(x)
        return self.binary_pred(x).flatten()


class Plain(nn.Module):
    """Convolution and leaky ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int | tuple[int, int], padding: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(c_in, c_out, kernel, stride, padding))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.conv_block(x), 0.01)


def faces(driver_NCHW: Tensor, reference_NCHW: Tensor) -> Tensor:
    """The input of G, (N, 6, H, W): the driving frame with its lower half black, and the reference."""
    masked = driver_NCHW.clone()
    masked[:, :, masked.shape[2] // 2 :] = 0
    return torch.cat([masked, reference_NCHW], 1)


def given(face_N6HW: Tensor) -> Tensor:
    """The upper half that G is given above the reference's lower half, (N, 3, H, W)."""
    half = face_N6HW.shape[2] // 2
    return torch.cat([face_N6HW[:, :3, :half], face_N6HW[:, 3:, half:]], 2)


def sounds(sound: Clip, frames: Sequence[int], audio_from: int) -> Tensor:
    """The 16 mel steps that each frame hears, (N, S, M); what lies outside the clip is silence.

    Published training takes those from frame f − 1 on, the published program at inference those from f on: one frame later
    than its network learnt. Here both are ``audio_from``.
    """
    starts = [math.floor(MEL_STEPS_PER_FRAME * (frame + audio_from)) for frame in frames]
    return torch.from_numpy(np.stack([mel_window(sound.mel_SM, start, MEL_STEPS) for start in starts]))


class System(systems.System):
    """Wav2Lip as it is sampled: G alone."""

    Settings = Settings
    deviations = (
        "Frames are this pipeline’s face crops and not boxes of the S3FD detector, so that the lower half begins a little "
        "higher or lower on the face than Wav2Lip’s.",
        "The network’s side is the run’s and not 96 pixels; its innermost convolution covers what five halvings leave of it.",
        "The expert of the loss is the one that HifiDiff’s loss asks, trained on this corpus unless the public one was "
        "converted.",
        "Sampled frames hear the sound from the frame before them on, as in training; the published program takes it one frame "
        "later than its network learnt.",
        "The default row is driven by the clip’s first frame, where the published program takes the frames of a video, "
        "which show it pose, blinks and the true mouth.",
        "The settings may depart from the paper’s, and at demo scale do, so that minutes suffice: fewer channels, pixels "
        "unshuffled, the output a residual on what is given, squared differences with the mouth weighted up, references that "
        "are aligned in training, single frames beside the windows, other learning rates, averaged weights.",
    )

    def __init__(self, settings: Any, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.generator = Generator(
            width=settings.width, size=facts.size, patch=settings.patch, residual=settings.residual
        )

    def forward(self, mel_NSM: Tensor, driver_NCHW: Tensor, reference_NCHW: Tensor) -> Tensor:
        """Frames (N, C, H, W) of the size of those given, RGB."""
        size, side = self.facts.size, driver_NCHW.shape[-1]
        both = (resized(driver_NCHW, size), resized(reference_NCHW, size))
        driver, reference = (x.flip(1) for x in both) if self.settings.colours == "bgr" else both
        face = faces(driver, reference).contiguous(memory_format=torch.channels_last)
        made = self.generator(mel_NSM, face)
        return resized(made.flip(1) if self.settings.colours == "bgr" else made, side)

    @classmethod
    def from_pretrained(cls, folder: Path, overrides: Mapping[str, Any], device: torch.device) -> Self:
        """As of all systems; but the driver is the row's own, whatever the row says whose weights these are: :func:`sees`
        knows the row alone.
        """
        return super().from_pretrained(folder, {"driver": "first_frame", **overrides}, device)

    def trainer(self, data: Data) -> Trainer:
        return Trainer(self, data)

    def generate(
        self, clip: Clip, sound: Clip, sampling: params.Sample, progress: Callable[[int], None]
    ) -> Iterator[NDArray[np.uint8]]:
        count = len(clip.frames_THWC)
        for first in range(0, count, sampling.batch):
            frames = range(first, min(first + sampling.batch, count))
            shown = frames if self.settings.driver == "video" else [REFERENCE] * len(frames)
            driver = conditions.to_unit(clip.frames_THWC[list(shown)]).to(self.device)
            mel = sounds(sound, frames, self.settings.audio_from).to(self.device)
            yield conditions.to_frames(2 * self(mel, driver, driver) - 1)
            progress(len(frames))


def resized(x_NCHW: Tensor, size: int) -> Tensor:
    """Square pictures brought to another side, where it is another."""
    if x_NCHW.shape[-1] == size:
        return x_NCHW
    return F.interpolate(x_NCHW, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


class Batch(NamedTuple):
    """The data of a step or of a look at the validation clips. The frames of the B windows come first among the N."""

    frames_NCHW: Tensor  # L_G, which also drive
    reference_NCHW: Tensor
    mel_NSM: Tensor
    weight_N1HW: Tensor
    sync_mel_BSM: Tensor  # the expert's sound of each window
    mouth_maps_BF23: Tensor  # where the windows' mouths are, for an expert that looks there

    def to(self, device: torch.device) -> Batch:
        return Batch(*(tensor.to(device) for tensor in self))


def example(clip: Clip, start: int, reference: int, frames: int, settings: Settings) -> Batch:
    """Consecutive frames from ``start`` on; their references are consecutive as well, from ``reference`` on."""
    own, others = range(start, start + frames), range(reference, reference + frames)
    size = clip.frames_THWC.shape[1]
    weight, references = torch.ones(frames, 1, size, size), clip.frames_THWC[list(others)]
    if settings.mouth_weight != 1:
        weight = pixel_weights(clip, own, mouth=settings.mouth_weight, eyes=1.0, everywhere=True)
    if settings.align:
        moved = [conditions.aligned(clip, [frame], other) for frame, other in zip(own, others, strict=True)]
        references = np.concatenate(moved)
    windows = int(frames == FRAMES)
    return Batch(
        frames_NCHW=conditions.to_unit(clip.frames_THWC[list(own)]),
        reference_NCHW=conditions.to_unit(references),
        mel_NSM=sounds(clip, own, settings.audio_from),
        weight_N1HW=weight,
        sync_mel_BSM=torch.from_numpy(sync_window(clip.mel_SM, start))[None][:windows],
        mouth_maps_BF23=conditions.mouth_maps(clip, own)[None][:windows],
    )


def together(parts: Sequence[Batch]) -> Batch:
    """Examples as one batch, windows first."""
    windows = [part.mouth_maps_BF23 for part in parts if len(part.sync_mel_BSM)]
    joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in Batch._fields[:-1]}
    return Batch(**joined, mouth_maps_BF23=torch.cat(windows))


def sync_loss(expert: lipsync_expert.Expert, frames_NCHW: Tensor, batch: Batch) -> Tensor:
    """E_sync: the mean over the windows, which come first among the frames, of −log P_sync."""
    windows = losses.windows(frames_NCHW[: FRAMES * len(batch.sync_mel_BSM)], FRAMES)
    video_BE = lipsync_expert.embed_video(expert, windows, batch.mouth_maps_BF23)
    return losses.sync_loss(video_BE, expert.embed_audio(batch.sync_mel_BSM)).mean()


class SyncWeight:
    """s_w: 0 until E_sync on the validation clips is low enough, and the setting's value from then on."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.value, self.validation = settings, 0.0, 0.0

    def look(self, validation: float, step: int) -> None:
        """Take in what E_sync on the validation clips was before ``step``; that of the first step tells nothing yet."""
        self.validation = validation
        if step > 0 and validation < self.settings.sync_below:
            self.value = self.settings.sync

    def state_dict(self) -> dict[str, float]:
        return {"value": self.value, "validation": self.validation}

    def load_state_dict(self, found: dict[str, float]) -> None:
        self.value, self.validation = found["value"], found["validation"]


class Trainer(systems.Trainer):
    """L_total for G, then L_disc for D on the same frames, as published."""

    def __init__(self, system: System, data: Data) -> None:
        own: Settings = system.settings
        self.system, self.data, self.settings = system, data, own
        self.images = own.windows * FRAMES + own.singles
        system.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.discriminator = Discriminator(width=own.discriminator_width, size=system.facts.size).to(data.device)
        self.discriminator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        betas = (own.beta_1, 0.999)
        self.optimiser = torch.optim.Adam(system.parameters(), own.learning_rate, betas, fused=True)
        self.discriminator_optimiser = torch.optim.Adam(
            self.discriminator.parameters(), own.discriminator_learning_rate, betas, fused=True
        )
        self.sync_weight, self.average = SyncWeight(own), Average(system)
        self.five, self.one = data.windows(FRAMES), data.windows(1)
        self.held_out = Windows(data.validation, FRAMES)

    def states(self) -> dict[str, Any]:
        return {
            "generator": self.system,
            "discriminator": self.discriminator,
            "optimiser": self.optimiser,
            "discriminator_optimiser": self.discriminator_optimiser,
            "average": self.average,
            "sync_weight": self.sync_weight,
        }

    def step(self, step: int) -> dict[str, float]:
        own = self.settings
        if step % own.evaluate_every == 0:
            self.sync_weight.look(self.validation_sync(), step)
        rate = share_of_rate(step, steps=own.steps, warmup=own.warmup, decay=own.decay)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * own.learning_rate
        for group in self.discriminator_optimiser.param_groups:
            group["lr"] = rate * own.discriminator_learning_rate
        batch = self.batch(step)

        made = self.system(batch.mel_NSM, batch.frames_NCHW, batch.reference_NCHW)
        apart = (made - batch.frames_NCHW).abs()
        recon = losses.weighted_mean(apart**own.power, batch.weight_N1HW).mean()
        sync = sync_loss(self.data.expert, made, batch)
        self.discriminator.requires_grad_(False)
        fooled = F.softplus(-self.discriminator(made)).mean()  # −log D, of a logit
        s_w, s_g = self.sync_weight.value, own.adversarial
        total = (1 - s_w - s_g) * recon + s_w * sync + s_g * fooled
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        if own.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.system.parameters(), own.clip_norm)
        self.optimiser.step()
        self.average.update(self.system, step, own.ema)

        self.discriminator.requires_grad_(True)
        true, false = self.discriminator(batch.frames_NCHW), self.discriminator(made.detach())
        told = F.softplus(-true).mean() + F.softplus(false).mean()
        self.discriminator_optimiser.zero_grad(set_to_none=True)
        told.backward()
        self.discriminator_optimiser.step()
        return {
            "recon": recon.item(),
            "sync": sync.item(),
            "adversarial": fooled.item(),
            "discriminator": told.item(),
            "total": total.item(),
            "sync_weight": s_w,
            "validation_sync": self.sync_weight.validation,
        }

    def batch(self, step: int) -> Batch:
        """The windows and single frames of a step; each frame's reference is another frame of its clip."""
        parts = []
        for index in range(self.settings.windows + self.settings.singles):
            rng = self.data.random(step, index)
            source = self.five if index < self.settings.windows else self.one
            clip, start = source.draw(rng)
            starts = len(clip.frames_THWC) - source.frames + 1
            reference = (start + rng.integers(1, starts)) % starts if starts > 1 else start
            parts.append(example(clip, start, int(reference), source.frames, self.settings))
        return together(parts).to(self.data.device)

    @torch.no_grad()
    def validation_sync(self) -> float:
        """E_sync of windows spread over the validation clips; their references lie half a clip away."""
        places = np.linspace(0, len(self.held_out.starts) - 1, self.settings.evaluate_windows).round().astype(int)
        self.system.eval()
        found = []
        for number, start in self.held_out.starts[np.unique(places)].tolist():
            clip = self.held_out.clips[number]
            starts = len(clip.frames_THWC) - FRAMES + 1
            part = example(clip, start, (start + starts // 2) % starts, FRAMES, self.settings).to(self.data.device)
            made = self.system(part.mel_NSM, part.frames_NCHW, part.reference_NCHW)
            found.append(sync_loss(self.data.expert, made, part))
        self.system.train()
        return float(torch.stack(found).mean())

    def finish(self) -> None:
        self.system.load_state_dict(self.average.weights)


def renderer(row: Row) -> Render:
    """The generator that was trained here, or whose official weights were converted.

    Raises:
        ParameterError: official weights, and the run's sound or frame rate are not those that they were trained on.
    """
    render = systems.trained(System, row)
    config = json.loads((row.made_from / CONFIG).read_text(encoding="utf-8"))
    sound, fps = row.settings.spectrogram, row.settings.mask.fps
    if "source_sha256" in config and (sound, fps) != (params.WAV2LIP_SOUND, 25):
        raise ParameterError(
            f"methods.{row.method}: Wav2Lip's official weights need mask.fps 25, here {fps:g}, and the spectrogram that they "
            f"were trained on: {params.WAV2LIP_SOUND}, here {sound}"
        )
    return render


def sees(entry: params.Method) -> str:
    """The parts of a test clip given to the row."""
    if entry.settings.get("driver") == "video":
        return (
            "each frame of the test video: its upper half, which shows pose and blinks, and the whole of it as reference, "
            "the true mouth included; the audio"
        )
    return "the first frame, the audio"


def sees_mouth(entry: params.Method) -> bool:
    """True if the true mouth is among the parts given to the row."""
    return entry.settings.get("driver") == "video"
