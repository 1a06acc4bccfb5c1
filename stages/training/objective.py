"""Eq. (5) on a batch. B windows, F frames of a window, N images, C, H, W; pictures in [-1, 1]."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.base import devices
from stages.base.params import Loss
from stages.clips.windows import Batch
from stages.diffusion import losses
from stages.diffusion.schedule import Diffusion
from stages.pretrained import lipsync_expert
from stages.pretrained.lipsync_expert import Expert

PerceptualDistance = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, target, weight) → (N,)
Terms = Mapping[str, Tensor]  # each loss term's value for every image, (N,); that of ``sync`` for every window, (B,)


@dataclass(frozen=True)
class Objective:
    """The four terms of eq. (5) and their weights. The expert and the perceptual network are frozen.

    A fifth, ``change``, is not the paper's: what is made should differ from the reference only where it must (GANimation's
    penalty on what it draws; Pumarola et al. 2018, eq. (3)). It counts beyond the mask, too, where no other term does: what a
    network draws there, unseen, it draws beside the face as well.

    ``composite`` puts the visible pixels back into x̂_0 before L_sync and L_lpips see it. ``bf16`` computes all networks in
    bfloat16 (autocast); weights and losses are float32.
    """

    diffusion: Diffusion
    expert: Expert
    perceptual: PerceptualDistance
    weights: Loss
    composite: bool
    bf16: bool = False

    @property
    def shares(self) -> dict[str, float]:
        """λ of each term that is computed. Under x_0 prediction eq. (1) and (2) are one number, logged once as ``simple``."""
        w = self.weights
        if self.diffusion.prediction == "x0":
            shares = {"simple": w.simple + w.l2}
        else:
            shares = {"simple": w.simple, "l2": w.l2}
        others = {"sync": w.sync, "lpips": w.lpips, "change": w.change}
        return shares | {name: share for name, share in others.items() if share > 0}

    def __call__(self, net: Callable[..., Tensor], batch: Batch) -> Terms:
        """The unweighted terms of each image or window."""
        x_t = self.diffusion.q_sample(batch.x_0, batch.t_N, batch.noise)
        with self._autocast(x_t):
            output = net(x_t, batch.t_N, batch.given)
        output = output.float()
        target = self.diffusion.target(batch.x_0, batch.t_N, batch.noise)
        x_0_hat = self.diffusion.x_0(x_t, batch.t_N, output)
        counts_N = self.diffusion.estimate_weight(batch.t_N)

        terms = {"simple": losses.simple_loss(output, target, batch.weight_N1HW)}
        if "l2" in self.shares:
            terms["l2"] = counts_N * losses.l2_loss(x_0_hat, batch.x_0, batch.weight_N1HW)
        if "change" in self.shares:
            terms["change"] = (x_0_hat - batch.given.reference_NCHW).abs().mean((1, 2, 3))
        picture = x_0_hat.clamp(-1, 1)  # as in sampling; and the frozen networks never saw what lies outside
        if self.composite:
            generated = (batch.weight_N1HW > 0).float()
            picture = generated * picture + (1 - generated) * batch.x_0
        if "sync" in self.shares:
            terms["sync"] = self._sync(picture, counts_N, batch)
        if "lpips" in self.shares:
            # Eq. (4); paper: the text says the 'reference' frame's features, the formula, as here, the target's.
            with self._autocast(picture):
                distance_N = self.perceptual(picture, batch.x_0, batch.weight_N1HW)
            terms["lpips"] = counts_N * distance_N.float()
        return terms

    def total(self, terms: Terms, images: int, windows: int) -> Tensor:
        """L_total of a batch of so many images and windows, of which ``terms`` may be a part; the parts' totals add up."""
        counts = {"sync": windows}
        sums = [self.shares[name] * values.sum() / counts.get(name, images) for name, values in terms.items()]
        return torch.stack(sums).sum()

    def _sync(self, picture: Tensor, counts_N: Tensor, batch: Batch) -> Tensor:
        """Eq. (3) of each window, (B,); 0 where the network was not given the audio."""
        windows, frames, kept_N = len(batch.sync_mel_BSM), self.weights.frames, batch.given.audio_kept_N
        if windows == 0:  # a part of a batch that holds single frames alone
            return picture.new_zeros(0)
        consecutive = slice(windows * frames)
        with self._autocast(picture):
            seen = (losses.windows(picture[consecutive], frames) + 1) / 2
            video = lipsync_expert.embed_video(self.expert, seen, batch.mouth_maps_BF23)
            audio = self.expert.embed_audio(batch.sync_mel_BSM)
        loss_B = losses.sync_loss(video.float(), audio.float())
        if kept_N is not None:
            loss_B = loss_B * kept_N[consecutive].view(windows, frames)[:, 0]
        return loss_B * counts_N[consecutive].view(windows, frames).mean(1)

    def _autocast(self, x: Tensor) -> AbstractContextManager[object]:
        return devices.bf16(x.device, self.bf16)
