"""EAMM: Ji, Zhou, Wang, Wu, Wu, Xu and Cao, "EAMM: One-Shot Emotional Talking Face via Audio-Based Emotion-Aware Motion Model",
SIGGRAPH 2022; layers and settings as in the authors' code (jixinya/EAMM, e176a79) and in the first-order motion model that it
keeps (Siarohin et al., NeurIPS 2019).

Three parts, trained one after the other:

- the **first-order model** (``first_order.py``) tells any frame's motion by ten key points, each with a 2×2 Jacobian, found
  without labels: a softmax over a map for each gives its place. Between a source and a driving frame each key point's affine map
  says where the pixels near it come from; a network weighs these maps, and tells what is uncovered; the source's features are
  warped so and drawn anew;
- **sound to motion** (``speech.py``) gives a frame's key points from a still frame, the sound around it and the head's pose, by
  an LSTM over the frames. It learns the first-order model's own key points, which is held. In sampling the sound's code is
  multiplied by 1.6, as published;
- the **emotion's displacement** (``emotion.py``) adds to four of them what a face's expression, its mouth covered, tells beside
  the sound: what is left of the first-order model's key points, with the other parts held. ``emotion`` says whose expression;
  with none the eyes never move.

At paper scale a row's settings are ``PAPER``, plus ``steps``. T frames of a sequence, S mel steps, M mel bands; pictures are in
[0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from stages.base import params
from stages.base.errors import ParameterError
from stages.clips import conditions
from stages.clips.clip import MEL_STEPS_PER_FRAME, Clip, mel_window
from stages.methods import systems
from stages.methods.kinds.eamm.emotion import MOVED, Displacement, covered
from stages.methods.kinds.eamm.first_order import DenseMotion, Detector, Generator
from stages.methods.kinds.eamm.settings import Settings
from stages.methods.kinds.eamm.speech import SoundToMotion, poses
from stages.methods.kinds.eamm.training import GROUPS, Trainer
from stages.methods.systems import Data, Facts, Render, Row

MEL_BEFORE = 10  # mel steps before a frame's own beginning: 0.125 s; published: 0.12


class System(systems.System):
    """Both parts; see the module."""

    Settings = Settings
    deviations = (
        "The emotion’s displacement, where a row has one: the four key points are those that the sound tells worst, because the "
        "published four belong to one checkpoint; the still frame in its training is of any clip of the person, not a "
        "neutral one, so that no label is needed, nor the classifier of eight emotions; all of it is added, where the program "
        "takes 0.2 of one point’s, two others’ whole, and leaves the fourth out; the cover of the mouth reaches over the chin.",
        "Key points are not smoothed over time, where the program has 1€ filters.",
        "The sound is windows of the spectrogram that the other rows hear, averaged, in place of MFCC.",
        "The head’s pose is six values of this pipeline’s landmarks, in place of 3DDFA’s; the default row holds the first "
        "frame’s.",
        "Faces are this pipeline’s crops, not aligned with a template.",
        "The losses of pictures are a Laplacian pyramid’s distance and L1, in place of VGG-19’s features; equivariance is asked "
        "of affine maps alone, without thin-plate splines; sound to motion is not fine-tuned through the generator.",
        "At paper scale the rate is constant, where the published one falls to a tenth twice.",
        "At demo scale: small networks, maps of half the side, key points that are pulled to groups of landmarks (lips, corners "
        "of the mouth, jaw, nose), a picture that is added to the warped source, a mouth that weighs more, key points told as "
        "differences from the still frame’s, a higher learning rate with warm-up and decay, averaged weights, because it is "
        "trained for minutes.",
    )

    def __init__(self, settings: Any, facts: Facts) -> None:
        super().__init__(settings, facts)
        s: Settings = settings
        side = facts.size // s.shrunk
        if facts.size % s.shrunk or side % 2**s.levels or side < 8 or facts.size % 2**s.halvings:
            raise ParameterError(
                f"network.size is {facts.size}; settings.shrunk {s.shrunk}, levels {s.levels} and halvings {s.halvings} must "
                f"divide it: its maps are to be 8 pixels wide or more, and a multiple of {2**s.levels}"
            )
        if facts.size & (facts.size - 1):
            raise ParameterError(f"network.size is {facts.size}; rows of kind eamm need a power of 2")
        if s.pull and s.points != len(GROUPS):
            raise ParameterError(
                f"settings.points is {s.points}; with settings.pull there are {len(GROUPS)} groups of landmarks"
            )
        if s.emotion != "none" and not s.emotion_share:
            raise ParameterError(
                f"settings.emotion is {s.emotion}; a model whose emotion_share is 0 has no displacement to add"
            )
        if s.first_order + s.emotion_share >= 1:
            raise ParameterError(
                f"settings.first_order is {s.first_order} and emotion_share {s.emotion_share}; together they must leave steps to "
                "sound to motion: below 1"
            )
        if s.emotion_share and s.points < MOVED:
            raise ParameterError(f"settings.points is {s.points}; an expression moves {MOVED} of them: {MOVED} or more")
        if s.audio_steps % s.pooled[0] or facts.mel_bins % s.pooled[1]:
            raise ParameterError(
                f"settings.pooled is {list(s.pooled)}, which does not divide audio_steps {s.audio_steps} and "
                f"{facts.mel_bins} mel bands"
            )
        shape = {"points": s.points, "levels": s.levels, "widest": s.widest, "shrunk": s.shrunk}
        self.detector = Detector(width=s.width, **shape)
        self.generator = Generator(
            width=s.generator_width,
            halvings=s.halvings,
            blocks=s.blocks,
            residual=s.residual,
            dense=DenseMotion(width=s.motion_width, **shape),
        )
        self.speech = SoundToMotion(s, size=facts.size, mel_bins=facts.mel_bins)
        self.displacement = Displacement(hourglass=s.width, width=s.emotion_width, **shape) if s.emotion_share else None
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def windows(self, sound: Clip, frames: Sequence[int]) -> Tensor:
        """The sound of each frame, (N, S, M), scaled to [-1, 1]."""
        s = self.settings
        starts = [round(MEL_STEPS_PER_FRAME * frame) - MEL_BEFORE for frame in frames]
        mel = torch.from_numpy(np.stack([mel_window(sound.mel_SM, start, s.audio_steps) for start in starts]))
        return F.avg_pool2d(mel[:, None], s.pooled)[:, 0].to(self.device) / 4

    def trainer(self, data: Data) -> Trainer:
        return Trainer(self, data)

    def generate(
        self, clip: Clip, sound: Clip, sampling: params.Sample, progress: Callable[[int], None]
    ) -> Iterator[NDArray[np.uint8]]:
        """The LSTM goes on from one part to the next, so that the parts' length changes nothing."""
        count, state = len(clip.frames_THWC), None
        still = conditions.to_unit(clip.frames_THWC[:1]).to(self.device)
        known, _ = self.detector(still)
        for first in range(0, count, sampling.batch):
            frames = range(first, min(first + sampling.batch, count))
            shown = list(frames) if self.settings.pose == "video" else [0] * len(frames)
            pose = poses(clip.landmarks_TL2[shown], self.facts.size).to(self.device)
            heard = self.windows(sound, frames)
            driving, _, state = self.speech(still, known, heard[None], pose[None], state, self.settings.amplify)
            if self.displacement is not None and self.settings.emotion != "none":
                expressive = list(frames) if self.settings.emotion == "video" else [0] * len(frames)
                hidden = covered(clip.frames_THWC[expressive], clip.landmarks_TL2[expressive])
                driving = self.displacement(conditions.to_unit(hidden).to(self.device), driving)
            made = self.generator(still.expand(len(frames), -1, -1, -1), known.repeated(len(frames)), driving)
            yield conditions.to_frames(2 * made - 1)
            progress(len(frames))


def renderer(row: Row) -> Render:
    """The trained networks."""
    return systems.trained(System, row)


def sees(entry: params.Method) -> str:
    """The parts of a test clip given to the row."""
    own = entry.settings
    video = own.get("emotion") == "video"
    given = [
        "the first frame",
        *(["the head’s pose in each frame of the test video"] if own.get("pose") == "video" else []),
        *(["each frame of the test video for its expression, the mouth covered"] if video else []),
        "the audio",
    ]
    return ", ".join(given) + ("" if video else "; its eyes never move")
