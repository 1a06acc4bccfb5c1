"""The lip-sync expert of L_sync: after Wav2Lip's ``SyncNet_color`` (Prajwal et al. 2020), with fewer blocks and a linear head.

Shapes: B windows, F = 5 frames, C = 3, H, W, S = 16 mel steps, M = 80 mel bins, E embedding. Frames in [0, 1].
"""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

FRAMES, MEL_STEPS = 5, 16


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU; with ``residual`` the input is added before the ReLU."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, stride: int | tuple[int, int], padding: int, residual: bool = False
    ):
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(c_in, c_out, kernel, stride, padding), nn.BatchNorm2d(c_out))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_block(x)
        return F.relu(h + x if self.residual else h)


def lower_halves(frames_BFCHW: Tensor, size: int) -> Tensor:
    """The input of an expert: the lower halves of square frames, resized to ``size``, frame after frame on the channels.

    (B, F, 3, H, W) → (B, 3F, size / 2, size). Resized first and with antialiasing, so that a half is whole at any resolution.
    """
    x = rearrange(frames_BFCHW, "b f c h w -> b (f c) h w")
    if x.shape[-1] != size:
        x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
    return x[:, :, size // 2 :]


def mouths(frames_BFCHW: Tensor, maps_BF23: Tensor, size: int) -> Tensor:
    """The mouth of each frame by the head's pose, (B, F, 3, size, size); differentiable.

    ``maps_BF23`` are those of :func:`stages.faces.crops.mouth_map`.
    """
    frames_NCHW, maps_N23 = frames_BFCHW.flatten(0, 1), maps_BF23.flatten(0, 1)
    grid = F.affine_grid(maps_N23, [len(frames_NCHW), 3, size, size], align_corners=False)
    cut = F.grid_sample(frames_NCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return cut.unflatten(0, frames_BFCHW.shape[:2])


class LipSyncExpert(nn.Module):
    """Two towers, one for five frames and one for 0.2 s of sound, whose embeddings agree where both are in time.

    ``sees``: ``lower_half`` of frames resized to ``size``, as Wav2Lip's expert, or ``mouth``, upright cuts ``size`` pixels wide.
    The last layer is a ReLU, so that cosines lie in [0, 1]. Wav2Lip: ``width`` 32, ``embedding`` 512, ``size`` 96, and more
    blocks; its public weights fit :class:`stages.networks.wav2lip_expert.Wav2LipExpert`.
    """

    def __init__(self, *, width: int, embedding: int, size: int, sees: str) -> None:
        super().__init__()
        self.size, self.sees = size, sees
        stride = {"lower_half": (1, 2), "mouth": (2, 2)}[sees]  # to a square
        w = [width, 2 * width, 4 * width, 8 * width]
        self.face = nn.Sequential(
            ConvBlock(3 * FRAMES, w[0], 7, 1, 3),
            ConvBlock(w[0], w[1], 5, stride, 2),
            ConvBlock(w[1], w[1], 3, 1, 1, residual=True),
            ConvBlock(w[1], w[2], 3, 2, 1),
            ConvBlock(w[2], w[2], 3, 1, 1, residual=True),
            ConvBlock(w[2], w[3], 3, 2, 1),
            ConvBlock(w[3], w[3], 3, 1, 1, residual=True),
            ConvBlock(w[3], w[3], 3, 2, 1),
            nn.AdaptiveAvgPool2d((2, 2)),
            nn.Flatten(),
            nn.Linear(4 * w[3], embedding),
            nn.ReLU(),
        )
        self.audio = nn.Sequential(
            ConvBlock(1, w[0], 3, 1, 1),
            ConvBlock(w[0], w[0], 3, 1, 1, residual=True),
            ConvBlock(w[0], w[1], 3, (1, 3), 1),
            ConvBlock(w[1], w[1], 3, 1, 1, residual=True),
            ConvBlock(w[1], w[2], 3, 3, 1),
            ConvBlock(w[2], w[2], 3, 1, 1, residual=True),
            ConvBlock(w[2], w[3], 3, (2, 3), 1),
            ConvBlock(w[3], w[3], 3, 1, 1, residual=True),
            nn.AdaptiveAvgPool2d((2, 2)),
            nn.Flatten(),
            nn.Linear(4 * w[3], embedding),
            nn.ReLU(),
        )

    def embed_video(self, frames_BFCHW: Tensor, mouth_maps_BF23: Tensor) -> Tensor:
        """Five RGB frames in [0, 1] → (B, E); the maps say where the mouths are, for an expert that looks there."""
        if self.sees == "mouth":
            return self.face(mouths(frames_BFCHW, mouth_maps_BF23, self.size).flatten(1, 2))
        return self.face(lower_halves(frames_BFCHW, self.size))

    def embed_audio(self, mel_BSM: Tensor) -> Tensor:
        """Sixteen mel steps in [-4, 4] → (B, E)."""
        return self.audio(mel_BSM[:, None] / 4)

    def forward(self, frames_BFCHW: Tensor, mouth_maps_BF23: Tensor, mel_BSM: Tensor) -> tuple[Tensor, Tensor]:
        return self.embed_video(frames_BFCHW, mouth_maps_BF23), self.embed_audio(mel_BSM)
