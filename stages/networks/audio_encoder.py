"""The audio encoder: one embedding from a window of the mel spectrogram. N windows, S mel steps, M mel bins, E embedding."""

from __future__ import annotations

import math

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

MEL_SCALE = 4.0  # the spectrogram's range is [-4, 4]


class AudioEncoder(nn.Module):
    """A small residual-free convolutional encoder, (N, S, M) in [-4, 4] → (N, E).

    Three strided convolutions take 16 × 80 to 2 × 10; what is left is read by one linear layer, so that the place in time and
    in frequency is kept. paper: 'an audio encoder extracts high-level features', no more.
    """

    def __init__(self, *, steps: int, bins: int, channels: int, emb: int, groups: int) -> None:
        super().__init__()
        widths = [channels, 2 * channels, 4 * channels, 4 * channels]
        strides = [1, 2, 2, 2]
        layers: list[nn.Module] = []
        c = 1
        for width, stride in zip(widths, strides, strict=True):
            layers += [
                nn.Conv2d(c, width, 3, stride, padding=1),
                nn.GroupNorm(math.gcd(groups, width), width),
                nn.SiLU(),
            ]
            c = width
        self.convs = nn.Sequential(*layers)
        left = -(-steps // 8) * -(-bins // 8)
        self.out = nn.Linear(c * left, emb)

    def forward(self, mel_NSM: Tensor) -> Tensor:
        h = self.convs(mel_NSM[:, None] / MEL_SCALE)
        return F.silu(self.out(rearrange(h, "n c s m -> n (c s m)")))
