"""Random windows of consecutive frames for training. B windows, F frames each, N = B·F images; pictures in [-1, 1].

What a step sees depends on (seed, step, index of the window in the global batch) alone, so that resuming, and any number of
processes, see what one uninterrupted process would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.base import devices
from stages.clips import conditions
from stages.clips.clip import Clip, sync_window
from stages.faces.geometry import LEFT_EYE, MOUTH, RIGHT_EYE, grown_hull
from stages.networks.hifidiff import Conditions

EYE_GROWTH, MOUTH_GROWTH = 0.35, 0.3  # the zones' margin over the landmarks, as a share of their width
BESIDE_MOUTH = 3  # pixels that a part of a frame holds on each side of the mouth
EYE_EDGE, MOUTH_EDGE = 1 / 60, 1 / 42  # deviation of the blur of the zones' edges, as a share of the frame's side

MIRRORED_MAP = torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0]])  # changes the sign of x in the cut and in the frame


@dataclass(frozen=True)
class Batch:
    """One step's training data."""

    x_0: Tensor  # (N, C, H, W) clean frames
    noise: Tensor  # (N, C, H, W) standard normal
    t_N: Tensor  # (N,) timesteps in 0 … T−1, one for each frame: a lower variance than one a window
    weight_N1HW: Tensor  # loss weight of each pixel
    given: Conditions
    sync_mel_BSM: (
        Tensor  # the expert's 16 mel steps of each window of consecutive frames; these come first among the images
    )
    mouth_maps_BF23: Tensor  # where these windows' mouths lie in their frames
    clips: tuple[str, ...]  # of each image

    def mirrored(self) -> Batch:
        """The same moments of a mirrored person; the noise is as likely either way and stays."""
        return replace(
            self,
            x_0=self.x_0.flip(-1),
            weight_N1HW=self.weight_N1HW.flip(-1),
            given=self.given.mirrored(),
            mouth_maps_BF23=self.mouth_maps_BF23 * MIRRORED_MAP,
        )

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device; the copy of a pinned batch is not waited for."""
        return self._with(lambda x: devices.moved(x, device), self.given.to(device))

    def pin_memory(self) -> Batch:
        """The same batch in memory that a GPU copies from without the CPU; what ``DataLoader`` calls."""
        return self._with(Tensor.pin_memory, self.given.pin_memory())

    def _with(self, change: Callable[[Tensor], Tensor], given: Conditions) -> Batch:
        tensors = ("x_0", "noise", "t_N", "weight_N1HW", "sync_mel_BSM", "mouth_maps_BF23")
        return replace(self, given=given, **{name: change(getattr(self, name)) for name in tensors})  # type: ignore[arg-type]


def pixel_weights(clip: Clip, frames: Sequence[int], *, mouth: float, eyes: float, everywhere: bool) -> Tensor:
    """(N, 1, H, W): 1 in the face mask (``everywhere``: in the whole frame), ``mouth`` and ``eyes`` in their zones.

    The zones fade out: what is drawn just beside the mouth would cost next to nothing otherwise.
    """
    size = clip.frames_THWC.shape[1]
    shape = (len(frames), size, size)
    weights = np.ones(shape, np.float32) if everywhere else clip.masks_THW[list(frames)].astype(np.float32)
    for weight, frame in zip(weights, frames, strict=True):
        landmarks, generated = clip.landmarks_TL2[frame], weight > 0
        most = np.ones_like(weight)
        for part, growth, edge, share in (
            (MOUTH, MOUTH_GROWTH, MOUTH_EDGE, mouth),
            (LEFT_EYE, EYE_GROWTH, EYE_EDGE, eyes),
            (RIGHT_EYE, EYE_GROWTH, EYE_EDGE, eyes),
        ):
            inside = cv2.GaussianBlur(grown_hull(landmarks[part], size, growth).astype(np.float32), (0, 0), edge * size)
            most = np.maximum(most, 1 + (share - 1) * inside)
        weight[generated] = most[generated]
    return torch.from_numpy(weights)[:, None]


def part(landmarks_L2: NDArray[np.floating], size: int, side: int, rng: np.random.Generator) -> tuple[int, int]:
    """Top and left of a random square of ``side`` pixels that holds the mouth, each such square as likely as any other."""
    mouth = np.asarray(landmarks_L2, np.float64)[MOUTH]
    first = np.clip(np.ceil(mouth.max(0)) + BESIDE_MOUTH - side, 0, size - side).astype(int)
    last = np.maximum(np.clip(np.floor(mouth.min(0)) - BESIDE_MOUTH, 0, size - side).astype(int), first)
    left, top = (int(rng.integers(low, high + 1)) for low, high in zip(first, last, strict=True))
    return top, left


def _near_a_blink(clip: Clip, count: int, frames: int) -> NDArray[np.bool_]:
    """For each of ``count`` starts whether ``frames`` frames from there on hold one of a blink."""
    near = np.zeros(count, bool)
    for start, end in clip.blinks:
        near[max(start - frames + 1, 0) : max(end, 0)] = True
    return near


class Source(Protocol):
    """What training draws windows of ``frames`` frames from."""

    frames: int

    def at(self, step: int) -> Windows:
        """The windows that a step draws from."""


class Windows:
    """Draws windows of consecutive frames from clips, each start as likely as any other; some around a blink."""

    def __init__(self, clips: Sequence[Clip], frames: int) -> None:
        self.clips, self.frames = list(clips), frames
        counts = [max(len(clip.frames_THWC) - frames + 1, 0) for clip in self.clips]
        if not any(counts):
            raise ValueError(f"no clip has {frames} frames")
        numbers = np.repeat(np.arange(len(counts)), counts)
        self.starts = np.column_stack([numbers, np.concatenate([np.arange(count) for count in counts])])
        near = [_near_a_blink(clip, count, frames) for clip, count in zip(self.clips, counts, strict=True)]
        self.blink_starts = self.starts[np.concatenate(near)]

    def at(self, step: int) -> Windows:
        """The windows that a step draws from: these, whichever the step. Those of a pool (:mod:`stages.clips.pool`) change."""
        return self

    def draw(self, rng: np.random.Generator, blink_share: float = 0.0) -> tuple[Clip, int]:
        """A clip and the first frame of a window; with probability ``blink_share`` one that holds a blink."""
        from_blinks = rng.random() < blink_share and len(self.blink_starts) > 0
        pool = self.blink_starts if from_blinks else self.starts
        clip, start = pool[rng.integers(len(pool))]
        return self.clips[clip], int(start)

    def reference(self, rng: np.random.Generator, clip: Clip, start: int, first: float = 0.0) -> int:
        """A frame of the clip outside the window: with probability ``first`` the first one, else any.

        The first frame where the window is the whole clip; any where it begins the clip.
        """
        outside = [t for t in range(len(clip.frames_THWC)) if not start <= t < start + self.frames]
        if not outside or (first and start and rng.random() < first):
            return 0
        return int(rng.choice(outside))


@dataclass(frozen=True)
class TrainingSet:
    """Makes the batch of any step, from the windows and the settings that shape it.

    A batch is ``batch`` windows, for the loss terms that need consecutive frames, and then ``singles`` frames of their own.
    """

    windows: Source
    frames: Source  # of one frame
    seed: int
    batch: int
    singles: int
    timesteps: int
    latest_of: int  # a timestep is the largest of so many uniform draws
    crop: int  # side of a random part of each frame that is trained on; 0: whole frames
    align: bool
    places: bool
    audio_steps: int
    blink_frames: int
    ear: str  # raw, normalised
    drop: tuple[str, ...]
    blink_share: float
    first_reference: float  # share of windows and frames whose reference is the clip's first frame, as in sampling
    mirror: bool  # half of the windows and frames, at random
    condition_dropout: float  # share of windows and frames without audio, and by another draw without blink signal
    mouth_weight: float
    eye_weight: float

    @property
    def images(self) -> int:
        """Images of a whole batch."""
        return self.batch * self.windows.frames + self.singles

    def window(self, step: int, index: int) -> Batch:
        """Window ``index`` of the global batch at ``step``; the single frames come after the windows."""
        rng = np.random.default_rng([self.seed, step, index])
        source = (self.windows if index < self.batch else self.frames).at(step)
        clip, start = source.draw(rng, 0.0 if "blink" in self.drop else self.blink_share)
        frames = range(start, start + source.frames)
        reference = source.reference(rng, clip, start, self.first_reference)
        clip = clip.holding([*frames, reference])
        x_0 = conditions.to_tensor(clip.frames_THWC[list(frames)])
        given = conditions.conditions(
            clip,
            clip,
            frames,
            reference,
            align=self.align,
            places_too=self.places,
            audio_steps=self.audio_steps,
            blink_frames=self.blink_frames,
            ear=self.ear,
            drop=self.drop,
        )
        if self.condition_dropout > 0:
            audio, blink = (rng.random(2) >= self.condition_dropout).astype(np.float32)
            blink_kept_N = None if "blink" in self.drop else torch.full((len(x_0),), float(blink))
            given = replace(given, audio_kept_N=torch.full((len(x_0),), float(audio)), blink_kept_N=blink_kept_N)
        weight = pixel_weights(
            clip, frames, mouth=self.mouth_weight, eyes=self.eye_weight, everywhere="masked_face" in self.drop
        )
        noise = torch.from_numpy(rng.standard_normal(x_0.shape, dtype=np.float32))
        if self.crop:
            top, left = part(clip.landmarks_TL2[start], x_0.shape[-1], self.crop, rng)
            cut = (..., slice(top, top + self.crop), slice(left, left + self.crop))
            x_0, noise, weight, given = x_0[cut], noise[cut], weight[cut], given.part(top, left, self.crop)
        batch = Batch(
            x_0=x_0,
            noise=noise,
            t_N=torch.from_numpy(rng.integers(self.timesteps, size=(self.latest_of, len(x_0))).max(0)),
            weight_N1HW=weight,
            given=given,
            sync_mel_BSM=torch.from_numpy(sync_window(clip.mel_SM, start))[None][: index < self.batch],
            mouth_maps_BF23=conditions.mouth_maps(clip, range(start, start + self.windows.frames))[None]
            if index < self.batch
            else torch.zeros(0, self.windows.frames, 2, 3),
            clips=(clip.name,) * len(x_0),
        )
        return batch.mirrored() if self.mirror and rng.random() < 0.5 else batch

    def step(self, step: int, indices: Sequence[int] | None = None) -> Batch:
        """The batch of ``step``; ``indices`` picks the windows of one process out of the global batch."""
        parts = [self.window(step, i) for i in (range(self.batch + self.singles) if indices is None else indices)]
        given = [part.given for part in parts]

        def joined(name: str) -> Tensor | None:
            values = [getattr(g, name) for g in given]
            return None if values[0] is None else torch.cat(values)

        return Batch(
            x_0=torch.cat([p.x_0 for p in parts]),
            noise=torch.cat([p.noise for p in parts]),
            t_N=torch.cat([p.t_N for p in parts]),
            weight_N1HW=torch.cat([p.weight_N1HW for p in parts]),
            given=Conditions(**{field.name: joined(field.name) for field in fields(Conditions)}),  # type: ignore[arg-type]
            sync_mel_BSM=torch.cat([p.sync_mel_BSM for p in parts]),
            mouth_maps_BF23=torch.cat(
                [p.mouth_maps_BF23 for p in parts if len(p.mouth_maps_BF23)] or [parts[0].mouth_maps_BF23]
            ),
            clips=tuple(name for p in parts for name in p.clips),
        )
