"""MakeItTalk: Zhou, Han, Shechtman, Echevarria, Kalogerakis and Li, "MakeItTalk: Speaker-Aware Talking-Head Animation", SIGGRAPH
Asia 2020; layers and settings as in the authors' code (yzhou359/MakeItTalk, fad2fe4).

Sound moves landmarks, and landmarks are drawn and turned into a picture. Three networks, trained apart from each other:

- the content branch hears a window of the sound from the frame on and tells how far the landmarks lie from the still face's, with
  the head's motion taken out: lips and jaw;
- the speaker branch follows the sound, 512 frames at once, and the voice, by an LSTM and a transformer, and tells how far they
  lie with the head's motion: L1 of content + speaker branch against the true landmarks, the content branch held;
- the picture network, a UNet with residual blocks, is given the still picture beside a drawing of the landmarks, lines of
  one colour a part, and gives the frame.

Both branches' losses are L1 and the L1 of each point's difference from the mean of its two neighbours on its line; in the content
branch's lips weigh 1 / (4 w + 0.1), w being the true inner gap. The blinks are a script: the first begins after 0.48 s, each
shuts in 0.16 s and opens in 0.24 s, the next one comes 1.44 to 2.4 s later. At paper scale a row's settings are ``PAPER``, plus
``steps``.

Landmarks are in the still face's own frame where nothing else is said: the origin between its eyes, one unit the
distance of its outer eye corners, x across and y down the face. T frames of a sequence, B windows of the sound, N images, L = 68
landmarks, S mel steps of a window, M mel bands, V of the voice, C = 3 channels, H = W = size.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from stages.base import params
from stages.base.errors import ParameterError
from stages.clips import conditions
from stages.clips.clip import MEL_STEPS_PER_FRAME, Clip, mel_window
from stages.clips.windows import pixel_weights
from stages.diffusion.losses import pyramid_distance, weighted_mean
from stages.faces.geometry import MOUTH, RIGID, head_axes, mouth_opening, similarity, transform
from stages.methods import systems
from stages.methods.systems import Data, Facts, Render, Row
from stages.training.loop import Average, set_rate, share_of_rate

Array = NDArray[np.float64]

POINTS = 68
CODE = 161  # of a mel step, as published
VOICE = (256, 128, 128)  # layers of the voice's perceptron, the z that stands beside it has the last one's length
WIDTH, INNER_WIDTH, HEADS, LAYERS = 64, 2048, 2, 2  # of the speaker branch's transformer
SEGMENT = 512  # frames that it sees at once
# Lines: points, whether closed, and colour (RGB); the published one is BGR.
JAW, BROWS, NOSE, EYES, LIPS, INNER_LIPS = (
    (0, 255, 0),
    (255, 0, 0),
    (0, 255, 0),
    (0, 255, 0),
    (255, 255, 0),
    (0, 255, 255),
)
LINES: tuple[tuple[range, bool, tuple[int, int, int]], ...] = (
    (range(17), False, JAW),
    (range(17, 22), False, BROWS),
    (range(22, 27), False, BROWS),
    (range(27, 31), False, NOSE),
    (range(31, 36), False, NOSE),
    (range(36, 42), True, EYES),
    (range(42, 48), True, EYES),
    (range(48, 60), True, LIPS),
    (range(60, 68), True, INNER_LIPS),
)
LINE = 2 / 256  # width of a line, share of the picture's side
UPPER_LIDS, LOWER_LIDS = [37, 38, 43, 44], [41, 40, 47, 46]
UPPER_LIPS, LOWER_LIPS = [49, 50, 51, 52, 53, 61, 62, 63], [59, 58, 57, 56, 55, 67, 66, 65]
FIRST_BLINK_S, SHUT_S, OPEN_S, NEXT_BLINK_S = 0.48, 0.16, 0.24, (1.44, 2.4)
SHUT = 0.75  # of a lid's way: dlib sees shut eyes so, and a frame's drawing is made of its landmarks
# Windows of Savitzky and Golay's filter, seconds: 31, 15 and, for the mouth, 5 of 62.5 frames a second; of third order.
SMOOTH_HEAD_S, SMOOTH_FACE_S, SMOOTH_MOUTH_S, ORDER = 31 / 62.5, 15 / 62.5, 5 / 62.5, 3


class Settings(systems.SystemSettings):
    """``methods.<row>.settings``; the paper's values are in :data:`PAPER`."""

    lstm: params.Natural = Field(description="width of both branches' LSTMs; paper: 256")
    lstm_layers: params.Natural = Field(description="their layers; paper: 3")
    dropout: params.Fraction = Field(description="between the content branch's layers; paper: 0.5")
    audio_steps: params.Natural = Field(description="mel steps from the frame on; paper: 23, 0.288 s")
    context: params.Count = Field(description="mel steps before the frame; paper: 0")
    pooled: params.Natural = Field(description="mel steps that are averaged; paper: 1")
    lip_gain: Annotated[float, Field(ge=0)] = Field(
        description="loss weight of a lip point; 0 (paper): 1 / (4 w + 0.1), w the inner gap"
    )
    amplify_lips: params.Positive = Field(description="what the lips' displacements are multiplied by; paper: 2")
    amplify_head: Annotated[float, Field(ge=0)] = Field(description="what the speaker branch's are; paper: 0.5")
    calibrate: bool = Field(
        description="take the mean of the smaller half of a clip's values away, a coordinate; paper: yes"
    )
    width: params.Natural = Field(description="first level of the picture network; paper: 64")
    levels: params.Natural = Field(ge=2, description="its levels; paper: 6")
    res_blocks: params.Natural = Field(description="residual blocks of a level, down and up; paper: 2")
    patch: params.Natural = Field(description="side of the squares of pixels that become channels; paper: 1")
    drawing: params.Natural = Field(description="side of the drawing over the picture's; paper: 1")
    residual: bool = Field(
        description="add the picture to the still one, moved onto the drawing by a similarity; paper: no"
    )
    mouth_weight: params.Positive = Field(description="picture loss's weight of the mouth; paper: 1")
    eye_weight: params.Positive = Field(description="and of the eyes; paper: 1")
    perceptual: Annotated[float, Field(ge=0)] = Field(
        description="weight of the Laplacian pyramid's distance; paper: VGG-19's features and their Gram matrices"
    )
    images: params.Natural = Field(description="of a step; paper: 8")
    windows: params.Natural = Field(ge=2, description="of the sound, of a step; paper: a clip's, up to 512")
    speaker_frames: params.Natural = Field(
        description="of a clip, of a step of the speaker branch; paper: all, up to 512"
    )
    learning_rate: params.Positive = Field(description="of content and picture; paper: 1e-4")
    speaker_rate: params.Positive = Field(description="of the speaker branch; paper: 1e-3")
    beta_1: params.Fraction = Field(description="Adam's, of the picture network; paper: 0.5")
    warmup: params.Count = Field(description="steps of linear warm-up; paper: 0")
    decay: Literal["constant", "cosine"] = Field(description="of all learning rates; paper: constant")
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(description="running average of all weights; 0 (paper): none")


PAPER: dict[str, Any] = {
    "lstm": 256,
    "lstm_layers": 3,
    "dropout": 0.5,
    "audio_steps": 23,
    "context": 0,
    "pooled": 1,
    "lip_gain": 0.0,
    "amplify_lips": 2.0,
    "amplify_head": 0.5,
    "calibrate": True,
    "width": 64,
    "levels": 6,
    "res_blocks": 2,
    "patch": 1,
    "drawing": 1,
    "residual": False,
    "mouth_weight": 1.0,
    "eye_weight": 1.0,
    "perceptual": 1.0,
    "images": 8,
    "windows": 512,
    "speaker_frames": 512,
    "learning_rate": 1e-4,
    "speaker_rate": 1e-3,
    "beta_1": 0.5,
    "warmup": 0,
    "decay": "constant",
    "ema": 0.0,
}


# --- networks --------------------------------------------------------------------------------------------------------


class ContentBranch(nn.Module):
    """Windows of the sound and a still face → displacements: (B, S, M) and (B, P) → (B, P), P coordinates.

    The last layer starts at zero: from random weights the lips stay still for hundreds of steps.
    """

    def __init__(self, *, mel_bins: int, points: int, lstm: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.step = nn.Sequential(
            nn.Linear(mel_bins, 256), nn.BatchNorm1d(256), nn.LeakyReLU(0.2), nn.Linear(256, CODE)
        )
        self.follow = nn.LSTM(CODE, lstm, layers, dropout=dropout if layers > 1 else 0.0, batch_first=True)
        hidden: list[nn.Module] = []
        for wide, narrow in ((lstm + points, 512), (512, 256)):
            hidden += [nn.Linear(wide, narrow), nn.BatchNorm1d(narrow), nn.LeakyReLU(0.2)]
        last = nn.Linear(256, points)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.tell = nn.Sequential(*hidden, last)

    def forward(self, mel_BSM: Tensor, still_BP: Tensor) -> Tensor:
        code = self.step(mel_BSM.flatten(0, 1)).unflatten(0, mel_BSM.shape[:2])
        return self.tell(torch.cat([self.follow(code)[0][:, -1], still_BP], 1))


class SpeakerBranch(nn.Module):
    """A sequence of windows and a voice → displacements: (T, S, M) and (V,) → (T, P). The paper's z is 0, as published."""

    def __init__(self, *, mel_bins: int, points: int, voice: int, lstm: int, layers: int) -> None:
        super().__init__()
        self.follow = nn.LSTM(mel_bins, lstm, layers, batch_first=True)
        spoken: list[nn.Module] = []
        for wide, narrow in zip((voice, *VOICE), VOICE):
            spoken += [nn.Linear(wide, narrow), nn.LeakyReLU(0.02)]
        self.voice = nn.Sequential(*spoken[:-1])
        self.z = VOICE[-1]
        self.join = nn.Linear(lstm + VOICE[-1] + self.z, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, INNER_WIDTH, dropout=0.1, batch_first=True, norm_first=True)
        self.attend = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.tell = nn.Sequential(
            nn.Linear(WIDTH + self.z, 512),
            nn.LeakyReLU(0.02),
            nn.Linear(512, 256),
            nn.LeakyReLU(0.02),
            nn.Linear(256, points),
        )

    def forward(self, mel_TSM: Tensor, voice_V: Tensor) -> Tensor:
        count = len(mel_TSM)
        heard_TE = self.follow(mel_TSM)[0][:, -1]
        z_TE = heard_TE.new_zeros(count, self.z)
        voice_TE = self.voice(voice_V[None]).expand(count, -1)
        joined_TE = self.join(torch.cat([heard_TE, voice_TE, z_TE], 1)) * math.sqrt(WIDTH) + sines(count).to(heard_TE)
        return self.tell(torch.cat([self.attend(joined_TE[None])[0], z_TE], 1))


def sines(count: int) -> Tensor:
    """Places in a sequence, (T, WIDTH): Vaswani et al. 2017, section 3.5."""
    rate_E = torch.exp(torch.arange(0, WIDTH, 2) * (-math.log(10000.0) / WIDTH))
    angle_TE = torch.arange(count)[:, None] * rate_E
    return torch.stack([angle_TE.sin(), angle_TE.cos()], -1).flatten(1)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with batch norm, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return F.relu(x_NCHW + self.layers(x_NCHW))


class PictureNetwork(nn.Module):
    """A UNet with residual blocks: (N, c_in, H, W) → (N, c_out, H, W), not squashed.

    Each level halves the resolution by a convolution and doubles the width, up to eight times the first; neither the
    outermost nor the innermost halving has a norm, as in the published code.
    """

    def __init__(self, *, c_in: int, c_out: int, width: int, levels: int, blocks: int) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(levels)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (a, b) in enumerate(zip([c_in, *widths], widths)):
            norm = [] if level in (0, levels - 1) else [nn.BatchNorm2d(b)]
            self.down.append(
                nn.Sequential(
                    nn.Conv2d(a, b, 3, 2, 1, bias=False),
                    *norm,
                    nn.ReLU(),
                    *(ResidualBlock(b) for _ in range(blocks)),
                )
            )
        for level in reversed(range(1, levels)):
            a, b = widths[level] * (1 if level == levels - 1 else 2), widths[level - 1]
            self.up.append(
                nn.Sequential(
                    nn.Conv2d(a, b, 3, padding=1, bias=False),
                    nn.BatchNorm2d(b),
                    nn.ReLU(),
                    *(ResidualBlock(b) for _ in range(blocks)),
                )
            )
        self.picture = nn.Conv2d(2 * widths[0], c_out, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        for layer in self.down:
            x = layer(x)
            maps.append(x)
        x = maps.pop()
        for layer in self.up:
            x = torch.cat([layer(F.interpolate(x, scale_factor=2.0)), maps.pop()], 1)
        return self.picture(F.interpolate(x, scale_factor=2.0))


class System(systems.System):
    """All three networks; see the module."""

    Settings = Settings
    deviations = (
        "Landmarks are this pipeline’s 68 in the plane, registered by nose and eye corners; the published ones are 3-D, and "
        "registered by ICP.",
        "The sound is the spectrogram that the other rows hear; no AutoVC brings it to one speaker’s voice, and the voice is "
        "told by mean and deviation of the clip’s spectrogram in place of Resemblyzer’s vector.",
        "The speaker branch has no discriminator, as in the published script, where it is commented out.",
        "The picture’s loss is L1 and a Laplacian pyramid’s distance, in place of VGG-19’s features and their Gram matrices.",
        "The lids’ script shuts them by three quarters, where this pipeline’s landmarks of shut eyes lie; the portrait’s own "
        "lips and eyes are not retouched before.",
        "Filters over time span the published seconds at 25 frames a second in place of 62.5; those of five frames, of the mouth "
        "and of all points, would span two frames here and are none.",
        "Pictures are learnt in [-1, 1], which tanh gives, in place of [0, 1].",
        "At demo scale: small networks, pixels unshuffled, a drawing of twice the side, a picture that is added to the still "
        "one moved onto the drawing by a similarity, mouth and eyes that weigh more, the lips’ landmarks by one weight, sound "
        "from before the frame as well, two mel steps averaged, lips that are neither exaggerated nor calibrated, a higher "
        "learning rate with warm-up and decay, averaged weights, because it is trained for minutes.",
    )

    mel_mean_M: Tensor
    mel_std_M: Tensor

    def __init__(self, settings: Any, facts: Facts) -> None:
        super().__init__(settings, facts)
        s = settings
        if (s.context + s.audio_steps) % s.pooled:
            raise ParameterError(
                f"settings.context {s.context} + audio_steps {s.audio_steps} must be a multiple of pooled, {s.pooled}"
            )
        if facts.size % (s.patch * 2**s.levels):
            raise ParameterError(
                f"network.size is {facts.size}; settings.patch {s.patch} and levels {s.levels} need a multiple of "
                f"{s.patch * 2**s.levels}"
            )
        shape = {"mel_bins": facts.mel_bins, "points": 2 * POINTS, "lstm": s.lstm, "layers": s.lstm_layers}
        self.content = ContentBranch(**shape, dropout=s.dropout)
        self.speaker = SpeakerBranch(**shape, voice=2 * facts.mel_bins)
        given = 3 * s.patch**2 * (1 + s.drawing**2)
        self.picture = PictureNetwork(
            c_in=given, c_out=3 * s.patch**2, width=s.width, levels=s.levels, blocks=s.res_blocks
        )
        if s.residual:
            nn.init.zeros_(self.picture.picture.weight)  # it starts as the still picture
        self.picture.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("mel_mean_M", torch.zeros(facts.mel_bins))
        self.register_buffer("mel_std_M", torch.ones(facts.mel_bins))

    def windows(self, sound: Clip, frames: Sequence[int]) -> Tensor:
        """The sound of each frame for the branches, (N, S, M), normalised."""
        s = self.settings
        starts = [round(MEL_STEPS_PER_FRAME * frame) - s.context for frame in frames]
        mel = np.stack([mel_window(sound.mel_SM, start, s.context + s.audio_steps) for start in starts])
        pooled = torch.from_numpy(mel).to(self.device).unflatten(1, (-1, s.pooled)).mean(2)
        return (pooled - self.mel_mean_M) / self.mel_std_M

    def voice(self, sound: Clip) -> Tensor:
        """Mean and deviation of each band over the clip, (2 M,), normalised."""
        mel = (torch.tensor(sound.mel_SM, device=self.device) - self.mel_mean_M) / self.mel_std_M
        return torch.cat([mel.mean(0), mel.std(0, correction=0)])

    def draw(self, still_NCHW: Tensor, drawing_NCHW: Tensor) -> Tensor:
        """Frames from still pictures, all in [-1, 1], and drawings in [0, 1] of ``drawing`` times their side.

        Where nothing is added, as published: the network sees the still picture in [0, 1], and the tangent's positive half is the
        frame in [0, 1].
        """
        s = self.settings
        still = still_NCHW if s.residual else (still_NCHW + 1) / 2
        given = torch.cat([F.pixel_unshuffle(still, s.patch), F.pixel_unshuffle(drawing_NCHW, s.patch * s.drawing)], 1)
        made = F.pixel_shuffle(self.picture(given.contiguous(memory_format=torch.channels_last)), s.patch)
        return still_NCHW + made if s.residual else 2 * torch.tanh(made) - 1

    def displacements(self, sound: Clip, count: int, still_P: Tensor) -> tuple[Array, Array]:
        """The displacements of the two branches for a clip's frames, (T, L, 2) each."""
        content, speaker, voice = [], [], self.voice(sound)
        for first in range(0, count, SEGMENT):
            heard = self.windows(sound, range(first, min(first + SEGMENT, count)))
            content.append(self.content(heard, still_P.expand(len(heard), -1)))
            speaker.append(self.speaker(heard, voice))
        return tuple(  # type: ignore[return-value]
            torch.cat(parts).unflatten(1, (POINTS, 2)).cpu().numpy().astype(np.float64) for parts in (content, speaker)
        )

    def landmarks(self, clip: Clip, sound: Clip, seed: int) -> Array:
        """The place of the landmarks in each frame, pixels: (T, L, 2)."""
        s, count, fps = self.settings, len(clip.frames_THWC), self.facts.fps
        at = Place.of(clip.landmarks_TL2[0])
        still = at.inward(clip.landmarks_TL2[0])
        content, speaker = self.displacements(sound, count, _flat(still[None]).to(self.device))
        if s.calibrate:
            half = max(count // 2, 1)
            content = content - np.partition(content, half - 1, 0)[:half].mean(0)
        content[:, MOUTH] *= s.amplify_lips
        speaker = smoothed(speaker, SMOOTH_HEAD_S * fps)
        middle = (speaker[:, UPPER_LIPS] + speaker[:, LOWER_LIPS]) / 2
        speaker[:, UPPER_LIPS] = speaker[:, LOWER_LIPS] = middle
        found = upright_lips(still + content + s.amplify_head * speaker)
        found = np.concatenate(
            [smoothed(found[:, : MOUTH.start], SMOOTH_FACE_S * fps), smoothed(found[:, MOUTH], SMOOTH_MOUTH_S * fps)], 1
        )
        rng = np.random.default_rng([seed, zlib.crc32(clip.name.encode())])
        shut = scripted_blinks(count, fps, rng)[:, None, None] * SHUT
        found[:, UPPER_LIDS] += shut * (found[:, LOWER_LIDS] - found[:, UPPER_LIDS])
        return at.outward(found)

    def trainer(self, data: Data) -> Trainer:
        return Trainer(self, data)

    def generate(
        self, clip: Clip, sound: Clip, sampling: params.Sample, progress: Callable[[int], None]
    ) -> Iterator[NDArray[np.uint8]]:
        points = self.landmarks(clip, sound, sampling.seed)
        for first in range(0, len(points), sampling.batch):
            part = points[first : first + sampling.batch]
            stills = [self.still(clip, 0, onto) for onto in part]
            drawings = [lines(onto, self.facts.size, self.settings.drawing) for onto in part]
            still, drawing = conditions.to_tensor(np.stack(stills)), conditions.to_unit(np.stack(drawings))
            yield conditions.to_frames(self.draw(still.to(self.device), drawing.to(self.device)))
            progress(len(part))

    def still(self, clip: Clip, frame: int, onto_L2: NDArray[np.floating]) -> NDArray[np.uint8]:
        """A frame of the clip as the picture network is given it; with ``residual`` moved onto other landmarks' pose."""
        picture = clip.frames_THWC[frame]
        if not self.settings.residual:
            return picture
        move = similarity(clip.landmarks_TL2[frame][RIGID], onto_L2[RIGID])
        size = (picture.shape[1], picture.shape[0])
        moved = cv2.warpAffine(picture, move, size, flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101)
        return moved.astype(np.uint8, copy=False)


class Place(NamedTuple):
    """A still face's own frame: landmarks in pixels become (x across, y down the face) from between its eyes, in distances of its
    outer eye corners.
    """

    eyes_2: Array
    axes_22: Array
    distance: float

    @classmethod
    def of(cls, points_L2: NDArray[np.floating]) -> Place:
        eyes, axes, distance, _ = head_axes(points_L2)
        return cls(np.asarray(eyes, np.float64), np.asarray(axes, np.float64), float(distance))

    def inward(self, points_L2: NDArray[np.floating]) -> Array:
        return np.asarray((points_L2 - self.eyes_2) @ self.axes_22.T / self.distance, np.float64)

    def outward(self, points_L2: Array) -> Array:
        return self.eyes_2 + self.distance * points_L2 @ self.axes_22


def smoothed(values_TL2: Array, window: float) -> Array:
    """Savitzky and Golay's filter of third order over time; as it is where the window holds no more points than the order."""
    from scipy.signal import savgol_filter  # takes half a second to import

    odd = 2 * (min(round(window), len(values_TL2)) // 2) + 1
    odd -= 2 * (odd > len(values_TL2))
    return np.array(savgol_filter(values_TL2, odd, ORDER, axis=0) if odd > ORDER else values_TL2)


def upright_lips(points_TL2: Array) -> Array:
    """The same with upper inner lips that are not below the lower ones: both lie in their middle there."""
    upper, lower = [61, 62, 63], [67, 66, 65]
    below = points_TL2[:, upper, 1] > points_TL2[:, lower, 1]
    middle = (points_TL2[:, upper, 1] + points_TL2[:, lower, 1]) / 2
    points_TL2[:, upper, 1] = np.where(below, middle, points_TL2[:, upper, 1])
    points_TL2[:, lower, 1] = np.where(below, middle, points_TL2[:, lower, 1])
    return points_TL2


def scripted_blinks(count: int, fps: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """The closure of the lids in each frame, (T,), 0 to 1: the published script, whose pauses are drawn."""
    times_T, shut_T = np.arange(count) / fps, np.zeros(count)
    onset = FIRST_BLINK_S
    while onset < count / fps:
        closing = (times_T - onset) / SHUT_S
        opening = 1 - (times_T - onset - SHUT_S) / OPEN_S
        shut_T = np.maximum(shut_T, np.clip(np.minimum(closing, opening), 0, 1))
        onset += SHUT_S + OPEN_S + rng.uniform(*NEXT_BLINK_S)
    return shut_T


def lines(points_L2: NDArray[np.floating], size: int, times: int) -> NDArray[np.uint8]:
    """Landmarks, in pixels of a picture of side ``size``, drawn as lines on white, (times·size, times·size, 3) RGB."""
    side = times * size
    drawn = np.full((side, side, 3), 255, np.uint8)
    places = np.round(((np.asarray(points_L2, np.float64) + 0.5) * times - 0.5) * 16).astype(np.int32)
    for numbers, closed, colour in LINES:
        line = [places[numbers.start : numbers.stop, None]]
        cv2.polylines(drawn, line, closed, colour, max(round(LINE * side), 1), cv2.LINE_AA, shift=4)
    return drawn


def _flat(points_NL2: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(points_NL2, np.float32)).flatten(1)


def renderer(row: Row) -> Render:
    """The trained networks."""
    return systems.trained(System, row)


def sees(entry: params.Method) -> str:
    """The parts of a test clip given to the row."""
    return "the first frame, the audio; its blinks are a script"


# --- training --------------------------------------------------------------------------------------------------------


class Told(NamedTuple):
    """Landmarks of a clip as the branches learn them, in its still face's frame."""

    still_P: Tensor
    registered_TP: Tensor  # the head's motion taken out
    moving_TP: Tensor  # as they lie
    gap_T: Tensor  # between the inner lips

    @classmethod
    def of(cls, clip: Clip) -> Told:
        """The still face is the frame whose mouth is most shut."""
        points = clip.landmarks_TL2.astype(np.float64)
        still = points[int(mouth_opening(points).argmin())]
        at = Place.of(still)
        registered = transform(points, similarity(points[:, RIGID], np.repeat(still[None, RIGID], len(points), 0)))
        inner = at.inward(registered)
        gap = np.abs(inner[:, 61:64, 1] - inner[:, [67, 66, 65], 1]).mean(1)
        return cls(
            _flat(at.inward(still)[None])[0],
            _flat(inner),
            _flat(at.inward(points)),
            torch.from_numpy(gap).float(),
        )


def neighbours() -> Tensor:
    """(L, L): what takes the mean of a point's two neighbours on its line away from it; nothing of a line's ends."""
    apart_LL = torch.zeros(POINTS, POINTS)
    for numbers, closed, _ in LINES:
        points = list(numbers)
        for n, point in enumerate(points):
            if closed or 0 < n < len(points) - 1:
                apart_LL[point, point] += 1
                for other in (points[n - 1], points[(n + 1) % len(points)]):
                    apart_LL[point, other] -= 0.5
    return apart_LL


def landmark_loss(told_NP: Tensor, true_NP: Tensor, weight_NL: Tensor, apart_LL: Tensor) -> Tensor:
    """Weighted L1 of the points and L1 of their differences from their neighbours."""
    error_NL2 = (told_NP - true_NP).unflatten(1, (POINTS, 2))
    return (weight_NL[..., None] * error_NL2.abs()).mean() + (apart_LL @ error_NL2).abs().mean()


def lip_weights(gap_N: Tensor, gain: float) -> Tensor:
    """(N, L): 1, of the lips ``gain`` or, where that is 0, 1 / (4 w + 0.1)."""
    weight_NL = torch.ones(len(gap_N), POINTS, device=gap_N.device)
    weight_NL[:, MOUTH] = torch.full_like(gap_N, gain)[:, None] if gain else (1 / (4 * gap_N + 0.1))[:, None]
    return weight_NL


class Trainer(systems.Trainer):
    """A step of each part. They share nothing but that the speaker branch adds to what the content branch says."""

    def __init__(self, system: System, data: Data) -> None:
        s: Settings = system.settings
        self.system, self.data, self.images, self.one = system, data, s.images, data.windows(1)
        self.told = {clip.name: Told.of(clip) for clip in data.train}
        mel = np.concatenate([clip.mel_SM for clip in data.train])
        system.mel_mean_M.copy_(torch.from_numpy(mel.mean(0)))
        system.mel_std_M.copy_(torch.from_numpy(mel.std(0).clip(1e-3)))
        self.apart_LL = neighbours().to(data.device)
        self.optimisers = {
            "content": torch.optim.Adam(system.content.parameters(), s.learning_rate),
            "speaker": torch.optim.Adam(system.speaker.parameters(), s.speaker_rate, weight_decay=1e-6),
            "picture": torch.optim.Adam(system.picture.parameters(), s.learning_rate, (s.beta_1, 0.999)),
        }
        self.rates = {name: optimiser.param_groups[0]["lr"] for name, optimiser in self.optimisers.items()}
        self.average = Average(system)

    def states(self) -> dict[str, Any]:
        return {"system": self.system, "average": self.average, **self.optimisers}

    def step(self, step: int) -> dict[str, float]:
        s, rng = self.system.settings, self.data.random(step)
        share = share_of_rate(step, steps=s.steps, warmup=s.warmup, decay=s.decay)
        terms = {"content": self.content(rng), "speaker": self.speaker(rng), "picture": self.picture(rng)}
        for name, loss in terms.items():
            optimiser = self.optimisers[name]
            set_rate(optimiser, share * self.rates[name])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        self.average.update(self.system, step, s.ema)
        return {name: loss.item() for name, loss in terms.items()}

    def content(self, rng: np.random.Generator) -> Tensor:
        """The content branch's loss on windows of any clips."""
        s, device = self.system.settings, self.data.device
        drawn = [self.one.draw(rng) for _ in range(s.windows)]
        told = [self.told[clip.name] for clip, _ in drawn]
        heard = torch.cat([self.system.windows(clip, [t]) for clip, t in drawn])
        still_BP = torch.stack([each.still_P for each in told]).to(device)
        true_BP = torch.stack([each.registered_TP[t] for each, (_, t) in zip(told, drawn, strict=True)]).to(device)
        gap_B = torch.stack([each.gap_T[t] for each, (_, t) in zip(told, drawn, strict=True)]).to(device)
        made_BP = still_BP + self.system.content.train()(heard, still_BP)
        return landmark_loss(made_BP, true_BP, lip_weights(gap_B, s.lip_gain), self.apart_LL)

    def speaker(self, rng: np.random.Generator) -> Tensor:
        """The speaker branch's loss on a stretch of a clip, the content branch held."""
        s, device = self.system.settings, self.data.device
        clip, middle = self.one.draw(rng)
        told, count = self.told[clip.name], len(clip.frames_THWC)
        first = min(max(middle - s.speaker_frames // 2, 0), max(count - s.speaker_frames, 0))
        frames = slice(first, min(first + s.speaker_frames, count))
        heard = self.system.windows(clip, range(frames.start, frames.stop))
        still_P = told.still_P.to(device)
        with torch.no_grad():
            content_TP = self.system.content.eval()(heard, still_P.expand(len(heard), -1))
        made_TP = still_P + content_TP + self.system.speaker.train()(heard, self.system.voice(clip))
        weight_TL = torch.ones(len(heard), POINTS, device=device)
        return landmark_loss(made_TP, told.moving_TP[frames].to(device), weight_TL, self.apart_LL)

    def picture(self, rng: np.random.Generator) -> Tensor:
        """The picture network's loss on frames drawn by their own landmarks, beside another frame of the clip."""
        system, s, size = self.system, self.system.settings, self.system.facts.size
        true, stills, drawings, weights = [], [], [], []
        for _ in range(s.images):
            clip, t = self.one.draw(rng)
            points = clip.landmarks_TL2[t]
            clip = clip.holding([t, still := self.one.reference(rng, clip, t)])
            true.append(clip.frames_THWC[t])
            stills.append(system.still(clip, still, points))
            drawings.append(lines(points, size, s.drawing))
            weights.append(pixel_weights(clip, [t], mouth=s.mouth_weight, eyes=s.eye_weight, everywhere=True))
        still_NCHW, true_NCHW = (conditions.to_tensor(np.stack(x)).to(self.data.device) for x in (stills, true))
        drawing_NCHW = conditions.to_unit(np.stack(drawings)).to(self.data.device)
        weight_N1HW = torch.cat(weights).to(self.data.device)
        system.picture.train()
        made = system.draw(still_NCHW, drawing_NCHW)
        apart = weighted_mean((made - true_NCHW).abs(), weight_N1HW)
        return (apart + s.perceptual * pyramid_distance(made, true_NCHW, weight_N1HW)).mean()

    def finish(self) -> None:
        self.system.load_state_dict(self.average.weights)
