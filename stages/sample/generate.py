"""Generate a clip's frames with a trained model. N frames, C, H, W; pictures in [-1, 1] or uint8 RGB."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages import conditions
from stages.corpus import Clip
from stages.diffusion.samplers import SAMPLERS
from stages.networks.hifidiff import Conditions
from stages.params import Sample
from stages.pretrained import HifiDiff

REFERENCE = 0  # at inference the reference frame is the clip's first


def initial_noise(
    clip: str, shape: tuple[int, int, int], seed: int, *, shared: float, interpolation: float
) -> Iterator[NDArray[np.float32]]:
    """x_T of a clip's frames, one (C, H, W) after another without end, standard normal, from (seed, clip) and the frame's number.

    Of its variance, ``shared`` is common to all frames, which keeps texture from flickering. The rest mixes the predecessor's
    latent with new noise, ``interpolation`` the predecessor's share of the variance; DDPM's interpolation of latents (Ho et al.
    2020, section 4.3) along the clip.
    """
    name = zlib.crc32(clip.encode())
    common = np.random.default_rng([seed, name]).standard_normal(shape, dtype=np.float32)
    before: NDArray[np.float32] | None = None
    for t in itertools.count():
        own = np.random.default_rng([seed, name, 1 + t]).standard_normal(shape, dtype=np.float32)
        if before is not None:
            own = (np.sqrt(interpolation) * before + np.sqrt(1 - interpolation) * own).astype(np.float32)
        yield (np.sqrt(shared) * common + np.sqrt(1 - shared) * own).astype(np.float32)
        before = own


def with_visible_pixels(x_0: Tensor, masked_NCHW: Tensor, mask_N1HW: Tensor) -> Tensor:
    """The generated face with the visible pixels put back around it."""
    return mask_N1HW * x_0 + masked_NCHW


def guided(model: HifiDiff, x_t: Tensor, t_N: Tensor, given: Conditions, audio: float, blink: float) -> Tensor:
    """x̂_0 with classifier-free guidance, Ho and Salimans 2022, each condition by itself.

    x̂_0 + (s_a − 1)(x̂_0 − x̂_0 without audio) + (s_b − 1)(x̂_0 − x̂_0 without blink signal); scales of 1 cost no further call.
    """

    def x_0(given: Conditions) -> Tensor:
        return model.diffusion.x_0(x_t, t_N, model.net(x_t, t_N, given))

    full = result = x_0(given)
    none = torch.zeros(len(x_t), device=x_t.device)
    if audio != 1:
        result = result + (audio - 1) * (full - x_0(replace(given, audio_kept_N=none)))
    if blink != 1 and given.ear_NK2 is not None:
        result = result + (blink - 1) * (full - x_0(replace(given, blink_kept_N=none)))
    return result


@torch.no_grad()
def generate(
    model: HifiDiff, clip: Clip, sound: Clip, settings: Sample, device: torch.device, progress: Callable[[int], None]
) -> NDArray[np.uint8]:
    """All frames of ``clip``, (T, H, W, 3), speaking with the audio of ``sound``.

    The visible pixels are put into x̂_0 at each step, and so into the result, unless the method is not given the masked face.
    """
    count, size = len(clip.frames_THWC), clip.frames_THWC.shape[1]
    shares = {"shared": settings.shared_noise, "interpolation": settings.interpolation}
    noise = initial_noise(clip.name, (3, size, size), settings.seed, **shares)
    network = model.config["network"]
    made = []
    for first in range(0, count, settings.batch):
        frames = range(first, min(first + settings.batch, count))
        given = conditions.conditions(
            clip,
            sound,
            frames,
            REFERENCE,
            align=network["reference"] == "aligned",
            audio_steps=network["audio_steps"],
            blink_frames=network["blink_frames"],
            drop=model.drop,
        ).to(device)
        mask = conditions.masks(clip, frames).to(device)

        def denoise(x_t: Tensor, t_N: Tensor, given=given, mask=mask) -> Tensor:
            x_0 = guided(model, x_t, t_N, given, settings.guidance_audio, settings.guidance_blink).clamp(-1, 1)
            return x_0 if given.masked_NCHW is None else with_visible_pixels(x_0, given.masked_NCHW, mask)

        def step_noise(step: int, frames=frames) -> Tensor:
            seed = [settings.seed, zlib.crc32(clip.name.encode())]
            z = [
                np.random.default_rng([*seed, 1 + t, 1 + step]).standard_normal((3, size, size), dtype=np.float32)
                for t in frames
            ]
            return torch.from_numpy(np.stack(z)).to(device)

        x_T = torch.from_numpy(np.stack(list(itertools.islice(noise, len(frames))))).to(device)
        x_T = x_T.contiguous(memory_format=torch.channels_last)
        x_0 = SAMPLERS[settings.sampler](model.diffusion, denoise, x_T, settings.steps, step_noise)
        made.append(conditions.to_frames(x_0))
        progress(len(frames))
    return np.concatenate(made)
