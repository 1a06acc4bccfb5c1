"""Samplers: free functions from noise to frames. N images; x are (N, C, H, W).

All take (diffusion, denoiser, x_T, steps, noise). ``denoiser`` gives x̂_0, where wanted with the visible pixels put in;
``noise(i)`` gives the standard normal z that step i adds, and is asked for by samplers that add some.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from stages.diffusion.schedule import Diffusion

Denoiser = Callable[[Tensor, Tensor], Tensor]  # (x_t, t_N) → estimate of x_0
Noise = Callable[[int], Tensor]


def spaced_timesteps(timesteps: int, steps: int) -> list[int]:
    """``steps`` timesteps from T−1 down, evenly spaced, the last one T/steps − 1 or so above the clean frame."""
    if not 1 <= steps <= timesteps:
        raise ValueError(f"{steps} sampling steps of {timesteps} timesteps; allowed: 1 to {timesteps}")
    return [round(timesteps * (steps - i) / steps) - 1 for i in range(steps)]


def sample_ddim(
    diffusion: Diffusion,
    denoiser: Denoiser,
    x_T: Tensor,
    steps: int,
    noise: Noise | None = None,
    *,
    eta: float = 0.0,
) -> Tensor:
    """DDIM, Song et al. 2021, eq. (12): from x_T to an estimate of x_0.

    x_s = √ᾱ_s x̂_0 + √(1 − ᾱ_s − σ²) ε̂ + σ z, with σ = η √((1 − ᾱ_s)/(1 − ᾱ_t)) √(1 − ᾱ_t/ᾱ_s).

    ``eta`` 0 is deterministic, 1 ancestral.
    """
    times = spaced_timesteps(diffusion.timesteps, steps)
    x = x_T
    for i, t in enumerate(times):
        s = times[i + 1] if i + 1 < steps else -1
        t_N = torch.full((len(x),), t, device=x.device)
        s_N = torch.full((len(x),), s, device=x.device)
        x_0 = denoiser(x, t_N)
        eps = diffusion.epsilon(x, t_N, x_0)
        signal_t, sigma_t = diffusion.rates(t_N)
        signal_s, sigma_s = diffusion.rates(s_N)
        spread = eta * (sigma_s / sigma_t) * (1 - (signal_t / signal_s) ** 2).clamp_min(0).sqrt()
        x = signal_s * x_0 + (sigma_s**2 - spread**2).clamp_min(0).sqrt() * eps
        if eta > 0 and s >= 0:
            assert noise is not None, "ancestral sampling needs a source of noise"
            x = x + spread * noise(i)
    return x


def sample_ancestral(
    diffusion: Diffusion, denoiser: Denoiser, x_T: Tensor, steps: int, noise: Noise | None = None
) -> Tensor:
    """DDPM's own sampler, Ho et al. 2020, algorithm 2, on a subset of the timesteps: DDIM with η = 1.

    Each step draws from the posterior q(x_s | x_t, x̂_0), whose variance is (1 − ᾱ_s)/(1 − ᾱ_t) · (1 − ᾱ_t/ᾱ_s).
    """
    return sample_ddim(diffusion, denoiser, x_T, steps, noise, eta=1.0)


def sample_dpm_solver(
    diffusion: Diffusion, denoiser: Denoiser, x_T: Tensor, steps: int, noise: Noise | None = None
) -> Tensor:
    """DPM-Solver++(2M), Lu et al. 2022, algorithm 2: the probability-flow ODE to second order, one network call a step.

    With λ = log(√ᾱ / √(1 − ᾱ)), h = λ_s − λ_t and r = h_before / h:
    D = x̂_0 + (x̂_0 − x̂_0 of the step before) / (2 r), and x_s = √(1 − ᾱ_s)/√(1 − ᾱ_t) · x_t − √ᾱ_s (e^−h − 1) D.
    The first step has no step before it, and the last one, to the clean frame, has an infinite h: both are of first order.
    """
    times = [*spaced_timesteps(diffusion.timesteps, steps), -1]
    x = x_T
    before: tuple[Tensor, Tensor] | None = None  # x̂_0 and h of the last step
    for t, s in itertools.pairwise(times):
        t_N, s_N = (torch.full((len(x),), time, device=x.device) for time in (t, s))
        x_0 = denoiser(x, t_N)
        if s < 0:
            return x_0
        (signal_t, sigma_t), (signal_s, sigma_s) = diffusion.rates(t_N), diffusion.rates(s_N)
        h = (signal_s / sigma_s).log() - (signal_t / sigma_t).log()
        ahead = x_0 if before is None else x_0 + (x_0 - before[0]) * h / (2 * before[1])
        x = sigma_s / sigma_t * x - signal_s * torch.expm1(-h) * ahead
        before = x_0, h
    raise AssertionError("the last timestep is −1")


SAMPLERS = {"ancestral": sample_ancestral, "ddim": sample_ddim, "dpm_solver++": sample_dpm_solver}
