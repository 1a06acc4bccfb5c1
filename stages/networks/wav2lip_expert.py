"""The public lip-sync expert: Wav2Lip's ``SyncNet_color``, layer for layer (Prajwal et al. 2020, and their reference code).

Shapes: B windows, F = 5 frames, C = 3, H = W, S = 16 mel steps, M = 80 mel bins, E = 512. Frames in [0, 1].
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from stages.networks.lipsync_expert import FRAMES, ConvBlock, lower_halves

SIZE = 96  # pixels; the side that frames are resized to


class Wav2LipExpert(nn.Module):
    """Two towers of 17 and 14 convolutions, 16,435,072 parameters; its state dict has the 217 names of the public weights.

    The last layer is a ReLU, so that cosines lie in [0, 1]. It was trained on BGR frames (OpenCV's order); here they are given
    as RGB, like everywhere in this project, and turned.
    """

    size = SIZE

    def __init__(self) -> None:
        super().__init__()
        self.face_encoder = nn.Sequential(
            ConvBlock(3 * FRAMES, 32, 7, 1, 3),
            ConvBlock(32, 64, 5, (1, 2), 1),
            *_residuals(64, 2),
            ConvBlock(64, 128, 3, 2, 1),
            *_residuals(128, 3),
            ConvBlock(128, 256, 3, 2, 1),
            *_residuals(256, 2),
            ConvBlock(256, 512, 3, 2, 1),
            *_residuals(512, 2),
            ConvBlock(512, 512, 3, 2, 1),
            ConvBlock(512, 512, 3, 1, 0),
            ConvBlock(512, 512, 1, 1, 0),
        )
        self.audio_encoder = nn.Sequential(
            ConvBlock(1, 32, 3, 1, 1),
            *_residuals(32, 2),
            ConvBlock(32, 64, 3, (3, 1), 1),
            *_residuals(64, 2),
            ConvBlock(64, 128, 3, 3, 1),
            *_residuals(128, 2),
            ConvBlock(128, 256, 3, (3, 2), 1),
            *_residuals(256, 2),
            ConvBlock(256, 512, 3, 1, 0),
            ConvBlock(512, 512, 1, 1, 0),
        )

    def embed_video(self, frames_BFCHW: Tensor) -> Tensor:
        """Five RGB frames in [0, 1] → (B, E), of length 1: resized to 96, the lower half taken, BGR frame after frame."""
        return F.normalize(self.face_encoder(lower_halves(frames_BFCHW.flip(2), SIZE)).flatten(1), dim=-1)

    def embed_audio(self, mel_BSM: Tensor) -> Tensor:
        """Sixteen mel steps in [-4, 4] → (B, E), of length 1; the network takes (B, 1, M, S)."""
        return F.normalize(self.audio_encoder(mel_BSM.transpose(1, 2)[:, None]).flatten(1), dim=-1)

    def forward(self, frames_BFCHW: Tensor, mel_BSM: Tensor) -> tuple[Tensor, Tensor]:
        return self.embed_video(frames_BFCHW), self.embed_audio(mel_BSM)


def _residuals(channels: int, count: int) -> list[ConvBlock]:
    return [ConvBlock(channels, channels, 3, 1, 1, residual=True) for _ in range(count)]
