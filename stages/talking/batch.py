"""Some consecutive frames of a film as a clip, as test clips are, and what the network is given for them. N frames."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from stages import media
from stages.base.lazy import LazyArray
from stages.clips import conditions
from stages.clips.clip import Clip
from stages.faces.geometry import draw_mask
from stages.networks.hifidiff import Conditions

if TYPE_CHECKING:
    from stages.talking.film import Film

Picture = NDArray[np.uint8]

AROUND = 2  # frames before and after that a frame's own place on the head is measured by


class Batch:
    """Consecutive frames as a clip, with what lies around them; their pictures are made once."""

    def __init__(self, film: Film, frames: range) -> None:
        self.film, self.frames, self.pictures = film, frames, dict[int, Picture]()
        subject = film.subject
        last = len(subject) - 1
        self.numbers = np.clip(np.arange(frames.start - AROUND, frames.stop + AROUND), 0, last)
        self.shown, shown_52L2 = subject.reference()
        self.before = len(shown_52L2)  # landmarks of the reference and around it come first
        points = np.concatenate([shown_52L2, subject.landmarks(self.numbers)])
        self.points = subject.small(points)
        self.hulls = subject.hulls(self.points)

    @property
    def local(self) -> range:
        """The frames' places in the clip."""
        return range(self.before + AROUND, self.before + AROUND + len(self.frames))

    @property
    def clip(self) -> Clip:
        """The reference, two frames of its surroundings on either side, and the batch with its own."""
        size = self.film.subject.frame.size
        count = len(self.points)
        crop = self.film.subject.crop

        def cut(item: int, into: Picture) -> None:
            if item < self.before:
                into[...] = media.cut(self.shown, crop, size)
                return
            number = int(self.numbers[item - self.before])
            if number not in self.pictures:
                self.pictures[number] = self.film.subject.picture(number)
            into[...] = media.cut(self.pictures[number], crop, size)

        def mask(item: int, into: NDArray[np.bool_]) -> None:
            draw_mask(self.hulls[item], into)

        return Clip(
            name="talk",
            speaker="face",
            frames_THWC=LazyArray((count, size, size, 3), np.dtype(np.uint8), cut),
            landmarks_TL2=self.points.astype(np.float32),
            masks_THW=LazyArray((count, size, size), np.dtype(np.bool_), mask),
            ear_T2=np.zeros((count, 2), np.float32),
            mel_SM=np.empty((0, self.film.told.mel.n_mels), np.float32),
            audio=np.empty(0, np.int16),
            blinks=[],
        )

    def given(self) -> Conditions:
        """The network's conditions; sound and eyes are taken on the film's own time base."""
        film, network = self.film, self.film.model.config["network"]
        found = conditions.conditions(
            clip := self.clip,
            clip,
            self.local,
            self.before // 2,
            align=network["reference"] == "aligned",
            places_too=network["places"],
            audio_steps=network["audio_steps"],
            blink_frames=network["blink_frames"],
            ear=network["ear"],
            drop=film.model.drop,
        )
        mel = film.told.mel
        per_frame = film.told.sound.rate / mel.hop / film.fps
        starts = [round(per_frame * number) - network["audio_steps"] // 2 for number in self.frames]
        found = replace(found, mel_NSM=torch.from_numpy(film.told.windows(starts, network["audio_steps"])))
        if "blink" in film.model.drop:
            return found
        ratio = film.fps / float(film.model.config["mask"]["fps"])
        beside = np.round((np.arange(network["blink_frames"]) - network["blink_frames"] // 2) * ratio).astype(int)
        around = (np.asarray(self.frames)[:, None] + beside).clip(0, len(film) - 1)
        return replace(found, ear_NK2=torch.from_numpy(film.ear_condition_T2[around]))

    def masks(self) -> torch.Tensor:
        return conditions.masks(self.clip, self.local)

    def hull(self, number: int) -> NDArray[np.float64]:
        """The mask's outline in a frame, (P, 2)."""
        return self.hulls[number - self.frames.start + self.before + AROUND]
