"""Generate a clip's frames with a trained model. N frames, C, H, W; pictures in [-1, 1] or uint8 RGB."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.base import devices
from stages.base.params import Sample
from stages.clips import conditions
from stages.clips.clip import Clip
from stages.clips.conditions import REFERENCE
from stages.diffusion.samplers import SAMPLERS
from stages.networks.hifidiff import Conditions
from stages.pretrained.hifidiff import HifiDiff


class Noise:
    """The noise of a clip's frames, standard normal, from (seed, clip), the draw and the frame's number.

    A draw is x_T (0), or what a sampler adds after step i (1 + i): each has a stream of its own. Of a draw's variance, ``shared``
    is common to all frames, which keeps texture from flickering. The rest mixes the predecessor's with new noise,
    ``interpolation`` the predecessor's share of the variance; DDPM's interpolation of latents (Ho et al. 2020, section 4.3)
    along the clip.

    Where there is interpolation, the last frame's own noise of each draw is kept, and nothing otherwise: a clip's length costs
    no memory.
    """

    def __init__(
        self, clip: str, shape: tuple[int, int, int], seed: int, *, shared: float, interpolation: float
    ) -> None:
        self.key, self.shape = (seed, zlib.crc32(clip.encode())), shape
        self.shared, self.interpolation = shared, interpolation
        self.last: dict[int, tuple[int, NDArray[np.float32]]] = {}  # by draw: the last frame and its own noise

    def frames(self, draw: int, frames: range) -> NDArray[np.float32]:
        """(N, C, H, W) of consecutive frames; with interpolation, each draw's frames are asked for in order, from 0 on."""
        common = self._normal(0, draw) if self.shared > 0 else None
        return np.stack([self._mixed(common, draw, frame) for frame in frames])

    def _mixed(self, common: NDArray[np.float32] | None, draw: int, frame: int) -> NDArray[np.float32]:
        if common is not None and self.shared == 1:
            return common
        own = self._own(draw, frame)
        if common is None:
            return own
        return (np.sqrt(self.shared) * common + np.sqrt(1 - self.shared) * own).astype(np.float32)

    def _own(self, draw: int, frame: int) -> NDArray[np.float32]:
        own = self._normal(1 + frame, draw)
        if self.interpolation == 0:
            return own
        if frame > 0:
            number, before = self.last[draw]
            assert number == frame - 1, f"frame {frame} after {number}"
            own = (np.sqrt(self.interpolation) * before + np.sqrt(1 - self.interpolation) * own).astype(np.float32)
        self.last[draw] = frame, own
        return own

    def _normal(self, number: int, draw: int) -> NDArray[np.float32]:
        return np.random.default_rng([*self.key, number, draw]).standard_normal(self.shape, dtype=np.float32)


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
) -> Iterator[NDArray[np.uint8]]:
    """The frames of ``clip``, speaking with the audio of ``sound``: ``settings.batch`` at a time, (N, H, W, 3).

    The visible pixels are put into x̂_0 at each step, and so into the result, unless the method is not given the masked face.
    """
    count, size = len(clip.frames_THWC), clip.frames_THWC.shape[1]
    shares = {"shared": settings.shared_noise, "interpolation": settings.interpolation}
    noise = Noise(clip.name, (3, size, size), settings.seed, **shares)
    network = model.config["network"]
    for first in range(0, count, settings.batch):
        frames = range(first, min(first + settings.batch, count))
        given = conditions.conditions(
            clip,
            sound,
            frames,
            REFERENCE,
            align=network["reference"] == "aligned",
            places_too=network["places"],
            audio_steps=network["audio_steps"],
            blink_frames=network["blink_frames"],
            ear=network["ear"],
            drop=model.drop,
        )
        yield sampled(model, given, conditions.masks(clip, frames), frames, noise, settings, device)
        progress(len(frames))


@torch.no_grad()
def sampled(
    model: HifiDiff,
    given: Conditions,
    mask_N1HW: Tensor,
    frames: range,
    noise: Noise,
    settings: Sample,
    device: torch.device,
) -> NDArray[np.uint8]:
    """The frames with these numbers, (N, H, W, 3), by their conditions and masks; ``noise`` is that of their clip."""
    given, mask = given.to(device), mask_N1HW.to(device)

    def denoise(x_t: Tensor, t_N: Tensor) -> Tensor:
        with devices.bf16(device, settings.precision == "bf16"):
            x_0 = guided(model, x_t, t_N, given, settings.guidance_audio, settings.guidance_blink)
        x_0 = x_0.float().clamp(-1, 1)
        return x_0 if given.masked_NCHW is None else with_visible_pixels(x_0, given.masked_NCHW, mask)

    def step_noise(step: int) -> Tensor:
        return torch.from_numpy(noise.frames(1 + step, frames)).to(device)

    x_T = torch.from_numpy(noise.frames(0, frames)).to(device)
    x_T = x_T.contiguous(memory_format=torch.channels_last)
    return conditions.to_frames(SAMPLERS[settings.sampler](model.diffusion, denoise, x_T, settings.steps, step_noise))
