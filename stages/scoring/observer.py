"""Everything that is measured on a video, in one place: the stages ``features`` and ``reference`` and a scored folder all ask it.

Four look at a video: the corpus's own judges, networks with public weights, dlib, and measures frame by frame. What they see
are columns, by their names in :mod:`stages.scoring.columns`; a measurement that is added here is in both tables and at hand for
folders. T frames, N windows or clips, E embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.base.params import Params
from stages.faces import observed
from stages.measures import traces
from stages.measures.traces import Seen

if TYPE_CHECKING:
    from stages.pretrained.judges import Judges
    from stages.pretrained.public_judges import Public

Columns = dict[str, NDArray[Any]]

SIDE = 256  # pixels that dlib sees of the shorter side, at least, where no setting says how far to enlarge


@dataclass(frozen=True)
class Observer:
    """The networks and settings that videos are measured with."""

    judges: Judges | None  # None where they are not asked for, as the public networks
    public: Public | None
    upscale: int | None  # times that dlib sees a frame enlarged; None: by its size, see SIDE

    @classmethod
    def of(cls, settings: Params, judges: Path | None, upscale: int | None) -> Observer:
        """An observer with the judges of a folder, if one is given, and the networks of ``metrics.public``.

        Raises:
            InputError: weights are missing, damaged, or can't be fetched.
            ParameterError: ``metrics.device`` names an accelerator, and there is none of the name.
        """
        own = public = None
        if judges is not None or settings.metrics.public:
            from stages.pretrained.judges import Judges, public_networks  # torch takes seconds to import

            own = Judges(judges, settings.metrics.batch) if judges is not None else None
            public = public_networks(settings)
        return cls(own, public, upscale)

    @property
    def digest(self) -> str:
        """The judges' digest: features of different weights don't compare; empty without judges."""
        return self.judges.digest if self.judges else ""

    def see(self, seen: Seen) -> Columns:
        """The columns that hold of a video by itself; of networks, those that there are."""
        upscale = self.upscale or max(1, math.ceil(SIDE / min(seen.frames_THWC.shape[1:3])))
        face = observed.measure(seen.frames_THWC, upscale)
        found: Columns = {
            "landmarks": face.landmarks_TL2,
            "detected": face.detected_T,
            "identity": face.identity_KD,
            "program_ear": observed.program_ear(seen.frames_THWC, face.boxes_T),
            **traces.measure(seen),
        }
        if self.judges:
            found |= self.judges.features(seen.frames_THWC, seen.masks_THW)
        if self.public:
            found |= self.public.alone(seen.frames_THWC)
        return found

    def compare(self, seen: Seen) -> Columns:
        """The columns that need the truth: PSNR, SSIM and LPIPS, (T,), and the sync judges' embeddings of the mouth.

        The sync judges see a video only where ``seen.face`` says where the true head is: the corpus's cuts mouths there, and
        SyncNet sees a folder's videos by itself, at its own rates (:mod:`stages.scoring.folder`).
        """
        found: Columns = dict(traces.beside(seen))
        if self.judges and seen.face:
            found["mouth_embeddings"] = self.judges.mouths(seen.frames_THWC, seen.face.landmarks_TL2)
        if self.public:
            found |= self.public.beside(seen.frames_THWC, seen.true_THWC, seen.masks_THW)
        if self.public and seen.face:
            found |= self.public.speaking(seen.frames_THWC)
        return found

    def hear(self, mel_SM: NDArray[np.float32], samples: NDArray[np.int16], frames: int) -> Columns:
        """The columns of the sound of a clip of so many frames: its spectrogram, and its samples at 16 kHz."""
        found: Columns = {}
        if self.judges:
            found["sound_embeddings"] = self.judges.sound(mel_SM, frames)
        if self.public:
            found |= self.public.sound(samples)
        return found
