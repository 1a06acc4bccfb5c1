"""SyncNet, version 2 (Chung and Zisserman 2016, and their reference code): the network of LSE-C and LSE-D.

Shapes: B windows, F = 5 frames, H = W = 224, K = 13 cepstral coefficients, S = 20 steps of 10 ms, E = 1024.
"""

from __future__ import annotations

from torch import Tensor, nn

FRAMES, SIDE = 5, 224
STEPS, COEFFICIENTS = 20, 13
EMBEDDING = 1024


def _conv2d(c_in: int, c_out: int, kernel: int | tuple[int, int] = 3, padding: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, kernel, padding=padding), nn.BatchNorm2d(c_out), nn.ReLU()]


def _conv3d(c_in: int, c_out: int, kernel: tuple[int, int, int], stride: int = 1, padding: int = 0) -> list[nn.Module]:
    conv = nn.Conv3d(c_in, c_out, kernel, stride=(1, stride, stride), padding=(0, padding, padding))
    return [conv, nn.BatchNorm3d(c_out), nn.ReLU()]


def _pool3d(padding: int = 0) -> nn.Module:
    return nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, padding, padding))


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING))


class SyncNet(nn.Module):
    """Two towers to embeddings whose distance says how well lips and sound fit. Names and shapes are the public file's."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_conv2d(1, 64),
            nn.MaxPool2d(1, stride=1),  # does nothing; the public file's numbering counts it
            *_conv2d(64, 192),
            nn.MaxPool2d(3, stride=(1, 2)),
            *_conv2d(192, 384),
            *_conv2d(384, 256),
            *_conv2d(256, 256),
            nn.MaxPool2d(3, stride=2),
            *_conv2d(256, 512, (5, 4), 0),
        )
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = nn.Sequential(
            *_conv3d(3, 96, (FRAMES, 7, 7), 2),
            _pool3d(),
            *_conv3d(96, 256, (1, 5, 5), 2, 1),
            _pool3d(1),
            *_conv3d(256, 256, (1, 3, 3), 1, 1),
            *_conv3d(256, 256, (1, 3, 3), 1, 1),
            *_conv3d(256, 256, (1, 3, 3), 1, 1),
            _pool3d(),
            *_conv3d(256, 512, (1, 6, 6)),
        )

    def embed_video(self, frames_B3FHW: Tensor) -> Tensor:
        """Five whole BGR frames of 224×224 pixels in [0, 255] → (B, E)."""
        return self.netfclip(self.netcnnlip(frames_B3FHW).flatten(1))

    def embed_audio(self, mfcc_B1KS: Tensor) -> Tensor:
        """0.2 s of :func:`stages.measures.mfcc.mfcc`, (B, 1, 13, 20) → (B, E)."""
        return self.netfcaud(self.netcnnaud(mfcc_B1KS).flatten(1))

    def forward(self, frames_B3FHW: Tensor, mfcc_B1KS: Tensor) -> tuple[Tensor, Tensor]:
        return self.embed_video(frames_B3FHW), self.embed_audio(mfcc_B1KS)
