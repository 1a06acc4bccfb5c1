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

from stages.networks.audio_encoder import AudioEncoder
from stages.networks.unet import UNet, timestep_embedding, zeroed

# EAR of eyes from closed to open spans about 0.1 to 0.4; these bring it to unit scale.
EAR_MEAN, EAR_SCALE = 0.28, 0.1


@dataclass(frozen=True)
class Conditions:
    """What the denoiser is given beside x_t; a condition that a setting drops is ``None``."""

    reference_NCHW: Tensor  # identity frame
    mel_NSM: Tensor  # window of the spectrogram centred on the frame
    ear_NK2: Tensor | None  # eye aspect ratios (left, right)
    masked_NCHW: Tensor | None  # the frame with the face region set to 0
    # 1 where the condition is given, 0 where zeros take its embedding's place (guidance); None: given throughout.
    audio_kept_N: Tensor | None = None
    blink_kept_N: Tensor | None = None

    def to(self, device: torch.device) -> Conditions:
        """The same conditions on another device; the copy of pinned ones is not waited for."""
        return self._with(lambda x: x.to(device, non_blocking=True))

    def pin_memory(self) -> Conditions:
        """The same conditions in memory that a GPU copies from without the CPU."""
        return self._with(Tensor.pin_memory)

    def _with(self, change: Callable[[Tensor], Tensor]) -> Conditions:
        here = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(value) for name, value in here.items() if value is not None})


class HifiDiffNet(nn.Module):
    """The network F(x_t, t, conditions) → (N, 3, H, W), what ``diffusion.prediction`` says it predicts.

    Masked frame and reference are concatenated to x_t; audio and blink modulate every residual block beside time. Where
    ``patch`` > 1 the UNet works on space-to-depth patches (small scale only); a convolution at full resolution then follows
    depth-to-space, so that neighbouring pixels are not predicted apart from one another (no checkerboard).
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
    ) -> None:
        super().__init__()
        self.size, self.patch, self.channels, self.residual = size, patch, channels, residual
        emb = 4 * channels
        pictures = 3 if uses_mask else 2
        c_head = 3 if patch == 1 else channels // 2
        self.unet = UNet(
            c_in=3 * pictures * patch**2,
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
            self.detail = nn.Conv2d(3 * pictures + c_head, c_head, 3, padding=1)
            self.out = nn.Conv2d(c_head, 3, 3, padding=1)
            zeroed(self.out)
            self.unet.head.reset_parameters()  # one layer that starts at zero is enough

    def forward(self, x_t_NCHW: Tensor, t_N: Tensor, given: Conditions) -> Tensor:
        pictures = [x_t_NCHW, given.reference_NCHW]
        if self.uses_mask:
            assert given.masked_NCHW is not None
            pictures.append(given.masked_NCHW)
        codes = [_kept(self.audio(given.mel_NSM), given.audio_kept_N)]
        if self.blink is not None:
            assert given.ear_NK2 is not None
            blink_NE = self.blink(((given.ear_NK2 - EAR_MEAN) / EAR_SCALE).flatten(1))
            codes.append(_kept(blink_NE, given.blink_kept_N))
        time_NE = self.time(timestep_embedding(t_N, self.channels))
        condition_NE = self.condition(torch.cat(codes, 1))
        x = torch.cat(pictures, 1)
        h = self.unet(F.pixel_unshuffle(x, self.patch) if self.patch > 1 else x, time_NE, condition_NE)
        if self.patch > 1:
            h = F.silu(self.detail(torch.cat([x, F.pixel_shuffle(h, self.patch)], 1)))
            h = self.out(h)
        return h + given.reference_NCHW if self.residual == "reference" else h


def _kept(code_NE: Tensor, kept_N: Tensor | None) -> Tensor:
    """The embedding, zero where its condition is not kept."""
    return code_NE if kept_N is None else code_NE * kept_N[:, None]
