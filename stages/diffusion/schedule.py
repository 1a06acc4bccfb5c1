"""The forward process and the parametrisations of its reverse. N images; x_0, x_t, ε are (N, C, H, W); t counts 0 … T−1.

q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) I); DDPM (Ho et al. 2020), eq. (4).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def linear_alphas_bar(timesteps: int) -> Tensor:
    """ᾱ_t for β linear from 1e-4 to 0.02 at T = 1000 (DDPM, section 4), scaled by 1000/T for another T."""
    scale = 1000 / timesteps
    betas = torch.linspace(scale * 1e-4, min(scale * 0.02, 0.999), timesteps, dtype=torch.float64)
    return torch.cumprod(1 - betas, 0)


def cosine_alphas_bar(timesteps: int, s: float = 0.008) -> Tensor:
    """ᾱ_t of the cosine schedule with β ≤ 0.999; Nichol and Dhariwal 2021, eq. (17)."""
    f = [math.cos((t / timesteps + s) / (1 + s) * math.pi / 2) ** 2 for t in range(timesteps + 1)]
    betas = [min(1 - f[t + 1] / f[t], 0.999) for t in range(timesteps)]
    return torch.cumprod(1 - torch.tensor(betas, dtype=torch.float64), 0)


class Diffusion:
    """A schedule and what the network predicts: ``epsilon``, ``v`` (Salimans and Ho 2022) or ``x0``."""

    def __init__(self, timesteps: int, schedule: str, prediction: str) -> None:
        make = {"linear": linear_alphas_bar, "cosine": cosine_alphas_bar}[schedule]
        if prediction not in ("epsilon", "v", "x0"):
            raise ValueError(f"prediction is {prediction!r}; allowed: epsilon, v, x0")
        self.timesteps, self.prediction = timesteps, prediction
        self.alphas_bar_T = make(timesteps)
        padded = torch.cat([torch.ones(1, dtype=torch.float64), self.alphas_bar_T])  # t = −1 comes first
        self._rates_2T = torch.stack([padded.sqrt(), (1 - padded).sqrt()]).float()

    def rates(self, t_N: Tensor) -> tuple[Tensor, Tensor]:
        """√ᾱ_t and √(1 − ᾱ_t), each (N, 1, 1, 1) and float32; t = −1 is the clean frame: 1 and 0."""
        if self._rates_2T.device != t_N.device:
            self._rates_2T = self._rates_2T.to(t_N.device)  # once: a copy at each call would make the GPU wait
        signal, sigma = self._rates_2T[:, t_N + 1, None, None, None]
        return signal, sigma

    def q_sample(self, x_0: Tensor, t_N: Tensor, noise: Tensor) -> Tensor:
        """x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε; DDPM, eq. (4)."""
        signal, sigma = self.rates(t_N)
        return signal * x_0 + sigma * noise

    def target(self, x_0: Tensor, t_N: Tensor, noise: Tensor) -> Tensor:
        """The network's target at x_t."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "x0":
            return x_0
        signal, sigma = self.rates(t_N)
        return signal * noise - sigma * x_0

    def x_0(self, x_t: Tensor, t_N: Tensor, output: Tensor) -> Tensor:
        """The estimate of x_0 from the network's output; DDPM, eq. (15), for ε; Salimans and Ho 2022, appendix D, for v."""
        if self.prediction == "x0":
            return output
        signal, sigma = self.rates(t_N)
        if self.prediction == "epsilon":
            return (x_t - sigma * output) / signal
        return signal * x_t - sigma * output

    def estimate_weight(self, t_N: Tensor) -> Tensor:
        """The weight of a loss on the estimate of x_0 at each timestep, (N,): ᾱ_t under ε prediction, else 1.

        The network's error is multiplied by √(1 − ᾱ_t)/√ᾱ_t in DDPM's eq. (15), which at the last timesteps of the cosine
        schedule exceeds 10⁴: unweighted, eq. (2) would be those timesteps and nothing else. paper: no weight is mentioned.
        With ᾱ_t, eq. (2) is (1 − ᾱ_t) times the squared error of the noise. The estimates under x_0 and v prediction are
        bounded and need none.
        """
        if self.prediction != "epsilon":
            return torch.ones(len(t_N), device=t_N.device)
        return self.rates(t_N)[0][:, 0, 0, 0] ** 2

    def epsilon(self, x_t: Tensor, t_N: Tensor, x_0: Tensor) -> Tensor:
        """The noise that leads from x_0 to x_t."""
        signal, sigma = self.rates(t_N)
        return (x_t - signal * x_0) / sigma
