"""A reverse process whose variance is learned: Nichol and Dhariwal 2021, *Improved DDPM*. N images; x_0, x_t, ν are (N, C, H, W).

p(x_s | x_t) = N(μ(x_t, x̂_0), Σ): its mean is the posterior's at the estimate x̂_0 (DDPM, eq. (7)), its variance lies between the
posterior's β̃ and the forward step's β, log Σ = ν log β + (1 − ν) log β̃ (eq. (15)), ν from the network. s is the timestep that is
stepped to: t − 1 in training, an earlier one in sampling on a subset of the timesteps; −1 is the clean frame.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stages.diffusion.samplers import Noise
from stages.diffusion.schedule import Diffusion

HALF_BIN = 1 / 255  # of a pixel's 256 values in [-1, 1]

Denoiser = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (x_t, t_N) → estimate of x_0, ν


class Posterior(NamedTuple):
    """q(x_s | x_t, x_0) = N(on_x_0 x_0 + on_x_t x_t, β̃), and β of the step; each (N, 1, 1, 1) and float32."""

    on_x_0: Tensor
    on_x_t: Tensor
    log_beta: Tensor
    log_beta_tilde: Tensor

    def mean(self, x_0: Tensor, x_t: Tensor) -> Tensor:
        return self.on_x_0 * x_0 + self.on_x_t * x_t

    def log_variance(self, nu: Tensor) -> Tensor:
        """Eq. (15)."""
        return nu * self.log_beta + (1 - nu) * self.log_beta_tilde


def posterior(diffusion: Diffusion, t_N: Tensor, s_N: Tensor) -> Posterior:
    """DDPM, eq. (6) and (7), for a step from t to any earlier s.

    The step to the clean frame has β̃ = 0, which has no logarithm; the schedule's smallest other one, from t = 1 to 0, stands for
    it, as in Nichol and Dhariwal's code. Nothing is drawn from it; the likelihood of x_0 needs it.
    """
    # float64, as 1 − ᾱ_t/ᾱ_s of neighbours cancels.
    alphas_bar = torch.cat([torch.ones(1, dtype=torch.float64), diffusion.alphas_bar_T])
    t, s = t_N.cpu(), s_N.cpu()
    of_t, of_s = alphas_bar[t + 1], alphas_bar[s + 1]
    beta = 1 - of_t / of_s
    of_0, of_1 = alphas_bar[1], alphas_bar[2]
    least = (1 - of_1 / of_0) * (1 - of_0) / (1 - of_1)
    beta_tilde = torch.where(s < 0, least, beta * (1 - of_s) / (1 - of_t))
    values = (
        of_s.sqrt() * beta / (1 - of_t),
        (of_t / of_s).sqrt() * (1 - of_s) / (1 - of_t),
        beta.log(),
        beta_tilde.log(),
    )
    return Posterior(*(value.float().to(t_N.device)[:, None, None, None] for value in values))


def variational_bound(
    diffusion: Diffusion, x_0: Tensor, x_t: Tensor, t_N: Tensor, x_0_hat: Tensor, nu: Tensor
) -> Tensor:
    """L_vlb of one timestep an image, (N,), in bits a pixel and channel: Nichol and Dhariwal, eq. (4) to (6).

    KL(q(x_{t−1} | x_t, x_0) ‖ p(x_{t−1} | x_t)), and −log p(x_0 | x_1) of the pixel's 256 values at t = 0. The estimate is
    cut to [-1, 1] and not learned from: L_vlb is there for ν.
    """
    step = posterior(diffusion, t_N, t_N - 1)
    mean, log_variance = step.mean(x_0_hat.detach().clamp(-1, 1), x_t), step.log_variance(nu)
    gap = step.log_beta_tilde - log_variance
    distance = (step.mean(x_0, x_t) - mean) ** 2
    divergence = (gap.exp() - 1 - gap + distance * (-log_variance).exp()) / 2
    surprise = -_log_probability(x_0, mean, log_variance)
    bits_NCHW = torch.where(t_N[:, None, None, None] == 0, surprise, divergence) / math.log(2)
    return bits_NCHW.mean((1, 2, 3))


def _log_probability(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log of a Gaussian's mass in each pixel value's bin, the outermost bins open; Ho et al. 2020, eq. (13)."""
    precision = (-log_variance / 2).exp()
    above = torch.special.ndtr(precision * (x - mean + HALF_BIN))
    below = torch.special.ndtr(precision * (x - mean - HALF_BIN))
    above = torch.where(x > 1 - HALF_BIN, 1.0, above)
    below = torch.where(x < HALF_BIN - 1, 0.0, below)
    return (above - below).clamp_min(1e-12).log()


def sample(diffusion: Diffusion, denoiser: Denoiser, x_T: Tensor, times: Sequence[int], noise: Noise) -> Tensor:
    """Draw x_s from p(x_s | x_t) along ``times``, falling from T − 1 or so, and then to x̂_0; Ho et al. 2020, algorithm 2.

    ``denoiser`` gives x̂_0, which is cut to [-1, 1] where it should be, and ν; ``noise(i)`` the standard normal of step i.
    """
    x = x_T
    for i, (t, s) in enumerate(itertools.pairwise([*times, -1])):
        t_N, s_N = (torch.full((len(x),), time, device=x.device) for time in (t, s))
        x_0, nu = denoiser(x, t_N)
        step = posterior(diffusion, t_N, s_N)
        x = step.mean(x_0, x)
        if s >= 0:
            x = x + (step.log_variance(nu) / 2).exp() * noise(i)
    return x
