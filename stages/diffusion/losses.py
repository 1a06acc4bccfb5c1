"""The four terms of eq. (5). B windows, F frames of a window, N images, C, H, W; pictures in [-1, 1].

Each term gives one value an image (L_sync: one a window), so that a batch can be cut into parts, over micro-batches or processes,
and the parts' sums add up to the whole's. In a term on pixels each image is a weighted mean: ``weight_N1HW`` is 0 outside the
generated region, so that visible pixels, which are put back after sampling, cost nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def weighted_mean(x_NCHW: Tensor, weight_N1HW: Tensor) -> Tensor:
    """Σ w x / Σ w over the channels and pixels of each image, (N,): the plain mean where w is the same throughout."""
    return (weight_N1HW * x_NCHW).sum((1, 2, 3)) / (weight_N1HW.sum((1, 2, 3)) * x_NCHW.shape[1])


def simple_loss(output: Tensor, target: Tensor, weight_N1HW: Tensor) -> Tensor:
    """Eq. (1), (N,): the squared error of the network's own target. paper: the noise; here: as ``diffusion.prediction`` says."""
    return weighted_mean((output - target) ** 2, weight_N1HW)


def l2_loss(x_0_hat: Tensor, x_0: Tensor, weight_N1HW: Tensor) -> Tensor:
    """Eq. (2), (N,): the squared error of the estimate of the clean frame. Under x_0 prediction it is the same as eq. (1)."""
    return weighted_mean((x_0_hat - x_0) ** 2, weight_N1HW)


def sync_loss(video_BE: Tensor, audio_BE: Tensor) -> Tensor:
    """Eq. (3), (B,): −log of the cosine similarity of the expert's embeddings; Wav2Lip (Prajwal et al. 2020), eq. (1) and (2).

    paper: 'minimising the cosine similarity', which would push lips and audio apart; here: its negative logarithm.
    The embeddings have no negative component, so the cosine lies in [0, 1]; below 1e-3 the loss is flat.
    """
    return -F.cosine_similarity(video_BE, audio_BE, dim=-1).clamp(1e-3, 1.0).log()


def pyramid_distance(x: Tensor, target: Tensor, weight_N1HW: Tensor, levels: int = 3) -> Tensor:
    """Distance of Laplacian pyramids, (N,): mean over ``levels`` of the weighted L1 of each band.

    Eq. (4)'s stated alternative to LPIPS where VGG's weights are absent: like it, it asks for edges at several scales and not for
    the average of all plausible pictures; unlike it, nothing in it is learned. After Bojanowski et al. 2018, eq. (4).
    """
    total = x.new_zeros(len(x))
    for _ in range(levels):
        smaller_x, smaller_target = F.avg_pool2d(x, 2), F.avg_pool2d(target, 2)
        band = (x - _enlarge(smaller_x)) - (target - _enlarge(smaller_target))
        total = total + weighted_mean(band.abs(), weight_N1HW)
        x, target, weight_N1HW = smaller_x, smaller_target, F.avg_pool2d(weight_N1HW, 2)
    return total / levels


def _enlarge(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def windows(x_NCHW: Tensor, frames: int) -> Tensor:
    """(B·F, C, H, W) → (B, F, C, H, W)."""
    return rearrange(x_NCHW, "(b f) c h w -> b f c h w", f=frames)


def info_nce(video_BE: Tensor, audio_BE: Tensor, temperature: float, group_B: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE over a batch of pairs; Oord et al. 2018, eq. (4). Row i's audio is the positive of row i's video.

    With ``group_B`` a pair's negatives are those of its own group alone.
    """
    logits_BB = F.normalize(video_BE, dim=-1) @ F.normalize(audio_BE, dim=-1).T / temperature
    if group_B is not None:
        logits_BB = logits_BB.masked_fill(group_B[:, None] != group_B, -torch.inf)
    labels = torch.arange(len(logits_BB), device=logits_BB.device)
    return (F.cross_entropy(logits_BB, labels) + F.cross_entropy(logits_BB.T, labels)) / 2
