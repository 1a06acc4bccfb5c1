"""Samplers: free functions from noise to frames. N images; x are (N, C, H, W)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stages.diffusion.schedule import Diffusion

Denoiser = Callable[[Tensor, Tensor], Tensor]  # (x_t, t_N) → estimate of x_0


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
    eta: float = 0.0,
    noise: Callable[[int], Tensor] | None = None,
) -> Tensor:
    """DDIM, Song et al. 2021, eq. (12): from x_T to an estimate of x_0.

    x_s = √ᾱ_s x̂_0 + √(1 − ᾱ_s − σ²) ε̂ + σ z, with σ = η √((1 − ᾱ_s)/(1 − ᾱ_t)) √(1 − ᾱ_t/ᾱ_s).

    ``denoiser`` gives x̂_0, where wanted with the visible pixels put in. ``eta`` 0 is deterministic, 1 ancestral; ``noise(i)``
    gives z of step i and is needed where eta > 0.
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
