"""The denoising UNet: ADM's architecture (Dhariwal and Nichol 2021) with Diffused Heads' double modulation.

Shapes: N images, C channels, H, W pixels, E length of the embeddings, K heads, P = H·W positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def timestep_embedding(t_N: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoidal features of timesteps, (N,) → (N, dim); dim even. Vaswani et al. 2017, section 3.5."""
    freqs = torch.exp(-math.log(max_period) * torch.arange(dim // 2, device=t_N.device) / (dim // 2))
    angles = t_N[:, None].float() * freqs
    return torch.cat([angles.cos(), angles.sin()], -1)


def zeroed(module: nn.Conv2d) -> nn.Conv2d:
    """Zero a module's parameters: a block that ends so starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class ResBlock(nn.Module):
    """Residual block whose second group norm is modulated by time, and then by the conditions.

    h ← (1 + s_c) · ((1 + s_t) · GroupNorm(h) + b_t) + b_c; Diffused Heads, section 3.2.
    """

    def __init__(self, c_in: int, c_out: int, emb: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(math.gcd(groups, c_in), c_in)
        self.conv_in = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm_out = nn.GroupNorm(math.gcd(groups, c_out), c_out)
        self.from_time = nn.Linear(emb, 2 * c_out)
        self.from_condition = nn.Linear(emb, 2 * c_out)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = zeroed(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.skip = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x_NCHW: Tensor, time_NE: Tensor, condition_NE: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x_NCHW)))
        scale_t, shift_t = self.from_time(time_NE)[:, :, None, None].chunk(2, dim=1)
        scale_c, shift_c = self.from_condition(condition_NE)[:, :, None, None].chunk(2, dim=1)
        # The two affine maps in one: a single pass over h.
        scale, shift = (1 + scale_c) * (1 + scale_t), (1 + scale_c) * shift_t + shift_c
        h = torch.addcmul(shift, self.norm_out(h), scale)
        h = self.conv_out(self.dropout(F.silu(h)))
        return self.skip(x_NCHW) + h


class Downsample(nn.Module):
    """Half the resolution by a convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x_NCHW: Tensor, time_NE: Tensor, condition_NE: Tensor) -> Tensor:
        return self.conv(x_NCHW)


class Upsample(nn.Module):
    """Twice the resolution: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_NCHW: Tensor, time_NE: Tensor, condition_NE: Tensor) -> Tensor:
        return self.conv(F.interpolate(x_NCHW, scale_factor=2.0, mode="nearest"))


class SelfAttention(nn.Module):
    """Multi-head self-attention over the positions of a feature map, fused by ``scaled_dot_product_attention``."""

    def __init__(self, channels: int, head_channels: int, groups: int) -> None:
        super().__init__()
        if channels % head_channels:
            raise ValueError(f"head_channels {head_channels} does not divide the {channels} channels of a level")
        self.heads = channels // head_channels
        self.norm = nn.GroupNorm(math.gcd(groups, channels), channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        height = x_NCHW.shape[2]
        qkv = rearrange(self.qkv(self.norm(x_NCHW)), "n (three k d) h w -> three n k (h w) d", three=3, k=self.heads)
        mixed_NKPD = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        return x_NCHW + self.out(rearrange(mixed_NKPD, "n k (h w) d -> n (k d) h w", h=height))


class Level(nn.Module):
    """A residual block and, where asked for, self-attention after it."""

    def __init__(self, block: ResBlock, attention: SelfAttention | None) -> None:
        super().__init__()
        self.block, self.attention = block, attention

    def forward(self, x_NCHW: Tensor, time_NE: Tensor, condition_NE: Tensor) -> Tensor:
        h = self.block(x_NCHW, time_NE, condition_NE)
        return h if self.attention is None else self.attention(h)


class UNet(nn.Module):
    """ADM's UNet over ``size`` × ``size`` feature maps.

    Each level has ``res_blocks`` blocks going down (one more going up), self-attention where its resolution is listed in
    ``attention`` and in the middle, and a convolution that halves or doubles the resolution between the levels. ``forward`` maps
    (N, c_in, size, size), the time embedding and the condition embedding (N, emb) to (N, c_out, size, size). The last
    convolution starts at zero.
    """

    def __init__(
        self,
        *,
        c_in: int,
        c_out: int,
        size: int,
        channels: int,
        multipliers: Sequence[int],
        res_blocks: int,
        attention: Sequence[int],
        head_channels: int,
        dropout: float,
        groups: int,
        emb: int,
    ) -> None:
        super().__init__()

        def level(c_from: int, c_to: int, resolution: int) -> Level:
            block = ResBlock(c_from, c_to, emb, groups, dropout)
            return Level(block, SelfAttention(c_to, head_channels, groups) if resolution in attention else None)

        widths = [channels * m for m in multipliers]
        self.stem = nn.Conv2d(c_in, channels, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        c, resolution, skips = channels, size, [channels]
        for number, width in enumerate(widths):
            for _ in range(res_blocks):
                self.down.append(level(c, width, resolution))
                c = width
                skips.append(c)
            if number < len(widths) - 1:
                self.down.append(Downsample(c))
                skips.append(c)
                resolution //= 2
        self.middle = nn.ModuleList(
            [
                Level(ResBlock(c, c, emb, groups, dropout), SelfAttention(c, head_channels, groups)),
                Level(ResBlock(c, c, emb, groups, dropout), None),
            ]
        )
        # Going up, each block takes one of the skips; the upsampling between two levels takes none.
        self.takes_skip: list[bool] = []
        for number, width in reversed(list(enumerate(widths))):
            for _ in range(res_blocks + 1):
                self.up.append(level(c + skips.pop(), width, resolution))
                self.takes_skip.append(True)
                c = width
            if number > 0:
                self.up.append(Upsample(c))
                self.takes_skip.append(False)
                resolution *= 2
        self.norm = nn.GroupNorm(math.gcd(groups, c), c)
        self.head = zeroed(nn.Conv2d(c, c_out, 3, padding=1))

    def forward(self, x_NCHW: Tensor, time_NE: Tensor, condition_NE: Tensor) -> Tensor:
        h = self.stem(x_NCHW)
        skips = [h]
        for level in self.down:
            h = level(h, time_NE, condition_NE)
            skips.append(h)
        for level in self.middle:
            h = level(h, time_NE, condition_NE)
        for level, takes_skip in zip(self.up, self.takes_skip, strict=True):
            h = level(torch.cat([h, skips.pop()], 1) if takes_skip else h, time_NE, condition_NE)
        return self.head(F.silu(self.norm(h)))
