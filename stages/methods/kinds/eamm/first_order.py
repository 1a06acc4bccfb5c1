"""The first-order motion model (Siarohin et al., NeurIPS 2019): key points, the motion between them, a picture warped by it.

N images, C = 3 channels, H = W = size, h = w side of the maps, K key points. Pictures are in [0, 1]; places in [-1, 1], x before
y, the first and the last pixel's centre at -1 and 1.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TEMPERATURE, VARIANCE = 0.1, 0.01  # of a key point's softmax; of the heat that stands for it


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


def conv(c_in: int, c_out: int, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2), nn.BatchNorm2d(c_out), nn.ReLU())


class Hourglass(nn.Module):
    """Halves and doubles the resolution ``levels`` times; what is on the way down stands beside what comes up."""

    def __init__(self, c_in: int, *, width: int, levels: int, widest: int) -> None:
        super().__init__()
        widths = [min(widest, width * 2**level) for level in range(levels + 1)]
        down = zip([c_in, *widths[1:-1]], widths[1:])
        self.down = nn.ModuleList(nn.Sequential(conv(a, b), nn.AvgPool2d(2)) for a, b in down)
        up = [((1 if level == levels else 2) * widths[level], widths[level - 1]) for level in range(levels, 0, -1)]
        self.up = nn.ModuleList(conv(a, b) for a, b in up)
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
        self.first = conv(3, width, 7)
        self.down = nn.Sequential(*(nn.Sequential(conv(a, b), nn.AvgPool2d(2)) for a, b in itertools.pairwise(widths)))
        self.middle = nn.Sequential(*(ResidualBlock(widths[-1]) for _ in range(blocks)))
        up = [nn.Sequential(nn.Upsample(scale_factor=2.0), conv(b, a)) for a, b in itertools.pairwise(widths)]
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
