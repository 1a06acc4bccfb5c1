"""HifiDiff's denoiser: the UNet with its four conditions.

Shapes: N images, C = 3 channels, H = W = size pixels, S mel steps, M mel bins, K frames of EAR, E embedding.
Pictures are in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.base import devices
from stages.networks.audio_encoder import AudioEncoder
from stages.networks.unet import UNet, timestep_embedding, zeroed

# EAR of eyes from closed to open spans about 0.1 to 0.4; these bring it to unit scale.
EAR_MEAN, EAR_SCALE = 0.28, 0.1
SHOWN_SCALE = 2.5  # brings what x_t says of the difference from the reference to about unit scale
REACH = 2.0  # of a drawn colour from what it starts at: from black to white
NEAR = 1 / 7  # side of the square over which the reference's colours are averaged, of the frame's
SHARE_AT_START = -2.0  # logit of the share of what is drawn: a blend starts near the reference


@dataclass(frozen=True)
class Conditions:
    """The denoiser's input beside x_t; a condition that a setting drops is ``None``."""

    reference_NCHW: Tensor  # identity frame
    mel_NSM: Tensor  # window of the spectrogram centred on the frame
    ear_NK2: Tensor | None  # eye aspect ratios (left, right)
    masked_NCHW: Tensor | None  # the frame with the face region set to 0
    # 1 where the condition is given, 0 where zeros take its embedding's place (guidance); None: given throughout.
    audio_kept_N: Tensor | None = None
    blink_kept_N: Tensor | None = None
    places_N4HW: Tensor | None = None  # of the pixels on the head; None where the network does not ask for them

    def part(self, top: int, left: int, side: int) -> Conditions:
        """The same conditions with a square part of their pictures."""
        pictures = {name: getattr(self, name) for name in ("reference_NCHW", "masked_NCHW", "places_N4HW")}
        cut = (..., slice(top, top + side), slice(left, left + side))
        return replace(self, **{name: picture[cut] for name, picture in pictures.items() if picture is not None})

    def mirrored(self) -> Conditions:
        """The conditions of the mirrored frames: left and right change places in pictures, places and eyes."""
        across = self.places_N4HW
        return replace(
            self,
            reference_NCHW=self.reference_NCHW.flip(-1),
            ear_NK2=None if self.ear_NK2 is None else self.ear_NK2.flip(-1),
            masked_NCHW=None if self.masked_NCHW is None else self.masked_NCHW.flip(-1),
            places_N4HW=None if across is None else torch.cat([-across[:, :1], across[:, 1:]], 1).flip(-1),
        )

    def to(self, device: torch.device) -> Conditions:
        """The same conditions on another device; the copy of pinned ones is not waited for."""
        return self._with(lambda x: devices.moved(x, device))

    def pin_memory(self) -> Conditions:
        """The same conditions in memory that a GPU copies from without the CPU."""
        return self._with(Tensor.pin_memory)

    def _with(self, change: Callable[[Tensor], Tensor]) -> Conditions:
        here = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(value) for name, value in here.items() if value is not None})


class HifiDiffNet(nn.Module):
    """The network F(x_t, t, conditions) → (N, 3, H, W), what ``diffusion.prediction`` says it predicts.

    Masked frame and reference are concatenated to x_t; audio and blink modulate every residual block beside time. Where
    ``patch`` > 1 the UNet works on space-to-depth patches (small scale only); three convolutions at full resolution then follow
    depth-to-space, which see the pictures again: neighbouring pixels are not predicted apart from one another (no checkerboard),
    and lips and lids get the edges that patches blur.

    ``places``: where each pixel lies on the head is shown, too. ``prior``, where above 0, is the deviation of x_0 about the
    reference that is assumed: x_t then enters as what it says of their difference, weighed by how much that is worth beside the
    prior (the posterior mean of a Gaussian), so that noise alone enters as nothing; ``rates_2T`` are √ᾱ_t and √(1 − ᾱ_t).
    ``condition_gain`` multiplies the embedding of audio and blink, and so the rate at which they are learnt.

    ``residual`` says how the output is made a picture: as it is (``none``); added to the reference (``reference``); or
    ``blended``, (1 − a) · reference + a · drawn, where a pixel's share a and colour are both predicted, as GANimation does
    (Pumarola et al. 2018, eq. (1)). Where nothing moved, a is 0 and the reference stays sharp; where lids close, what was there
    need not be subtracted, which leaves traces. What is drawn is a difference from b times the reference's mean colour nearby, b
    predicted as well: a lid has its own face's skin, whatever its tone, and teeth are as white in any face.
    """

    def __init__(
        self,
        *,
        size: int,
        patch: int,
        channels: int,
        multipliers: list[int],
        res_blocks: int,
        attention: list[int],
        head_channels: int,
        dropout: float,
        audio_channels: int,
        audio_steps: int,
        blink_frames: int,
        residual: str,
        groups: int,
        mel_bins: int,
        uses_blink: bool,
        uses_mask: bool,
        places: bool,
        prior: float,
        condition_gain: float,
        rates_2T: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.size, self.patch, self.channels, self.residual = size, patch, channels, residual
        self.places, self.prior, self.condition_gain = places, prior, condition_gain
        assert prior == 0 or rates_2T is not None
        self.rates_2T: Tensor
        self.register_buffer("rates_2T", rates_2T, persistent=False)
        emb = 4 * channels
        c_in = 3 * (3 if uses_mask else 2) + (4 if places else 0)
        c_out = 5 if residual == "blended" else 3
        c_head = c_out if patch == 1 else channels // 2
        self.unet = UNet(
            c_in=c_in * patch**2,
            c_out=c_head * patch**2,
            size=size // patch,
            channels=channels,
            multipliers=multipliers,
            res_blocks=res_blocks,
            attention=attention,
            head_channels=head_channels,
            dropout=dropout,
            groups=groups,
            emb=emb,
        )
        self.time = nn.Sequential(nn.Linear(channels, emb), nn.SiLU(), nn.Linear(emb, emb), nn.SiLU())
        self.audio = AudioEncoder(steps=audio_steps, bins=mel_bins, channels=audio_channels, emb=emb, groups=groups)
        self.blink = nn.Sequential(nn.Linear(2 * blink_frames, emb), nn.SiLU()) if uses_blink else None
        self.condition = nn.Sequential(nn.Linear(emb * (2 if uses_blink else 1), emb), nn.SiLU())
        self.uses_mask = uses_mask
        if patch > 1:
            # At full resolution the head sees the pictures again, beside what the UNet says of them.
            self.detail = nn.Sequential(
                nn.Conv2d(c_in + c_head, channels, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.SiLU(),
            )
            self.out = nn.Conv2d(channels, c_out, 3, padding=1)
            zeroed(self.out)
            self.unet.head.reset_parameters()  # one layer that starts at zero is enough

    def forward(self, x_t_NCHW: Tensor, t_N: Tensor, given: Conditions) -> Tensor:
        pictures = [self._shown(x_t_NCHW, t_N, given.reference_NCHW), given.reference_NCHW]
        if self.uses_mask:
            assert given.masked_NCHW is not None
            pictures.append(given.masked_NCHW)
        if self.places:
            assert given.places_N4HW is not None
            pictures.append(given.places_N4HW)
        codes = [_kept(self.audio(given.mel_NSM), given.audio_kept_N)]
        if self.blink is not None:
            assert given.ear_NK2 is not None
            blink_NE = self.blink(((given.ear_NK2 - EAR_MEAN) / EAR_SCALE).flatten(1))
            codes.append(_kept(blink_NE, given.blink_kept_N))
        time_NE = self.time(timestep_embedding(t_N, self.channels))
        condition_NE = self.condition_gain * self.condition(torch.cat(codes, 1))
        x = torch.cat(pictures, 1)
        h = self.unet(F.pixel_unshuffle(x, self.patch) if self.patch > 1 else x, time_NE, condition_NE)
        if self.patch > 1:
            h = self.out(self.detail(torch.cat([x, F.pixel_shuffle(h, self.patch)], 1)))
        if self.residual == "blended":
            return _blended(h, given.reference_NCHW, int(NEAR * self.size / 2))
        return h + given.reference_NCHW if self.residual == "reference" else h

    def _shown(self, x_t_NCHW: Tensor, t_N: Tensor, reference_NCHW: Tensor) -> Tensor:
        """x_t as the UNet is shown it: as it is, or what it says of the difference from the reference."""
        if self.prior == 0:
            return x_t_NCHW
        signal, sigma = self.rates_2T[:, t_N.long(), None, None, None]
        weight = self.prior**2 * signal / (self.prior**2 * signal**2 + sigma**2)
        return SHOWN_SCALE * weight * (x_t_NCHW - signal * reference_NCHW)


def _blended(h_N5HW: Tensor, reference_NCHW: Tensor, around: int) -> Tensor:
    """The reference and what is drawn over it, from the network's five channels: colour, its start b, and its share a.

    ``around``: how many pixels to each side count as nearby.
    """
    near = F.avg_pool2d(reference_NCHW, 2 * around + 1, stride=1, padding=around, count_include_pad=False)
    start = torch.sigmoid(4 * h_N5HW[:, 3:4])
    share = torch.sigmoid(4 * h_N5HW[:, 4:] + SHARE_AT_START)
    colour = h_N5HW[:, :3]
    drawn = start * near + REACH * torch.tanh(colour / REACH)
    return reference_NCHW + share * (drawn - reference_NCHW)


def _kept(code_NE: Tensor, kept_N: Tensor | None) -> Tensor:
    """The embedding, zero where its condition is not kept."""
    return code_NE if kept_N is None else code_NE * kept_N[:, None]
