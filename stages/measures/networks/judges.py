"""The encoders that score, and that no generator is trained against: sync, frame and video. Small, trained on the corpus.

Shapes: B items, T frames, C = 3, H, W, S = 16 mel steps, M = 80 mel bins, E embedding. Pictures are float in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

SYNC_FRAMES, MEL_STEPS = 5, 16
MOUTH_SIZE = 32  # side of the mouth cuts that the sync judge sees
VIDEO_FRAMES = 8


def _block(
    conv: Callable[..., nn.Module], norm: Callable[[int], nn.Module], c_in: int, c_out: int, **how: object
) -> nn.Sequential:
    return nn.Sequential(conv(c_in, c_out, bias=False, **how), norm(c_out), nn.SiLU())


class SyncJudge(nn.Module):
    """Five mouth cuts by 3-D convolutions against 0.2 s of sound by 1-D convolutions over time; unit embeddings.

    The expert of the loss stacks five lower halves on channels and reads the spectrogram as a picture: another view of the
    face, another structure, another seed.
    """

    def __init__(self, *, width: int, embedding: int) -> None:
        super().__init__()
        w, side = width, MOUTH_SIZE // 8
        self.mouth = nn.Sequential(
            _block(nn.Conv3d, nn.BatchNorm3d, 3, w, kernel_size=(3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2)),
            _block(nn.Conv3d, nn.BatchNorm3d, w, 2 * w, kernel_size=3, stride=(1, 2, 2), padding=(0, 1, 1)),
            _block(nn.Conv3d, nn.BatchNorm3d, 2 * w, 4 * w, kernel_size=3, stride=(1, 2, 2), padding=(0, 1, 1)),
            nn.Flatten(),
            nn.Linear(4 * w * side * side, embedding),
        )
        self.sound = nn.Sequential(
            _block(nn.Conv1d, nn.BatchNorm1d, 80, 4 * w, kernel_size=3, padding=1),
            _block(nn.Conv1d, nn.BatchNorm1d, 4 * w, 4 * w, kernel_size=3, stride=2, padding=1),
            _block(nn.Conv1d, nn.BatchNorm1d, 4 * w, 4 * w, kernel_size=3, stride=2, padding=1),
            nn.Flatten(),
            nn.Linear(4 * w * MEL_STEPS // 4, embedding),
        )

    def embed_video(self, mouths_BTCHW: Tensor) -> Tensor:
        """Five mouth cuts → (B, E), of unit length."""
        return F.normalize(self.mouth(rearrange(mouths_BTCHW, "b t c h w -> b c t h w")), dim=-1)

    def embed_audio(self, mel_BSM: Tensor) -> Tensor:
        """Sixteen mel steps in [-4, 4] → (B, E), of unit length."""
        return F.normalize(self.sound(rearrange(mel_BSM, "b s m -> b m s") / 4), dim=-1)


class _Encoder(nn.Module):
    """A trunk to E features, heads that it is trained by, and the training data's mean and deviation of each feature."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, trunk: nn.Module, channels: int, embedding: int, heads: dict[str, int]) -> None:
        super().__init__()
        self.trunk = nn.Sequential(trunk, nn.Linear(channels, embedding))
        self.heads = nn.ModuleDict({name: nn.Linear(embedding, size) for name, size in heads.items()})
        self.register_buffer("mean", torch.zeros(embedding))
        self.register_buffer("deviation", torch.ones(embedding))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The output of each head."""
        h = F.silu(self.trunk(x))
        return {name: head(h) for name, head in self.heads.items()}

    def features(self, x: Tensor) -> Tensor:
        """(B, E), of mean 0 and deviation 1 on the clean training frames, so that distances have a scale."""
        return (self.trunk(x) - self.mean) / self.deviation

    @torch.no_grad()
    def standardise(self, x: Tensor) -> None:
        """Take mean and deviation of the features from clean training data."""
        h = self.trunk(x)
        self.mean.copy_(h.mean(0))
        self.deviation.copy_(h.std(0).clamp_min(1e-6))


class FrameEncoder(_Encoder):
    """One frame (B, C, H, W) → features that see who it is, how sharp, and what eyes and mouth do."""

    def __init__(self, *, width: int, embedding: int, heads: dict[str, int]) -> None:
        w = width
        trunk = nn.Sequential(
            _block(nn.Conv2d, nn.BatchNorm2d, 3, w, kernel_size=3, padding=1, stride=1),
            _block(nn.Conv2d, nn.BatchNorm2d, w, 2 * w, kernel_size=4, padding=1, stride=2),
            _block(nn.Conv2d, nn.BatchNorm2d, 2 * w, 4 * w, kernel_size=4, padding=1, stride=2),
            _block(nn.Conv2d, nn.BatchNorm2d, 4 * w, 4 * w, kernel_size=4, padding=1, stride=2),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
        )
        super().__init__(trunk, 64 * w, embedding, heads)


class VideoEncoder(_Encoder):
    """Eight frames (B, T, C, H, W) → features that see who it is, how sharp, and how it moves."""

    def __init__(self, *, width: int, embedding: int, heads: dict[str, int]) -> None:
        w = width
        trunk = nn.Sequential(
            _ChannelsFirst(),
            _block(nn.Conv3d, nn.BatchNorm3d, 3, w, kernel_size=(3, 4, 4), stride=(1, 2, 2), padding=(1, 1, 1)),
            _block(nn.Conv3d, nn.BatchNorm3d, w, 2 * w, kernel_size=(3, 4, 4), stride=(2, 2, 2), padding=1),
            _block(nn.Conv3d, nn.BatchNorm3d, 2 * w, 4 * w, kernel_size=(3, 4, 4), stride=(2, 2, 2), padding=1),
            nn.AdaptiveAvgPool3d((2, 4, 4)),
            nn.Flatten(),
        )
        super().__init__(trunk, 128 * w, embedding, heads)


class _ChannelsFirst(nn.Module):
    def forward(self, x_BTCHW: Tensor) -> Tensor:
        return rearrange(x_BTCHW, "b t c h w -> b c t h w")


def build(config: dict) -> SyncJudge | FrameEncoder | VideoEncoder:
    """The network that a judge's configuration describes: ``judge`` is sync, frame or video."""
    sizes = {"width": int(config["width"]), "embedding": int(config["embedding"])}
    if config["judge"] == "sync":
        return SyncJudge(**sizes)
    kinds: dict[str, type[FrameEncoder] | type[VideoEncoder]] = {"frame": FrameEncoder, "video": VideoEncoder}
    return kinds[config["judge"]](**sizes, heads=dict(config["heads"]))
