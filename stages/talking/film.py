"""A talking portrait, made as it is walked through. T frames, H, W of the picture, K side of the network's pictures.

A frame depends on its own window of the sound, its eyes, its head's place and one noise that all frames share: length has no
limit, and there are no seams between batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from stages import media
from stages.base import devices
from stages.base.errors import InputError, ParameterError
from stages.base.lazy import LazyArray
from stages.base.params import Sample, Spectrogram
from stages.clips.corpus import Clip
from stages.clips.mel import Mel
from stages.faces import observed
from stages.faces.geometry import ClipMask, clip_mask, ear, mouth_opening, transform
from stages.faces.square import crop_square, to_crop
from stages.methods.generate import generate
from stages.pretrained.hifidiff import CONFIG, HifiDiff
from stages.store import atomic
from stages.talking import eyes, mark, portrait, voice
from stages.talking.paste import Paste

Picture = NDArray[np.uint8]

HEARD_HZ = 48_000  # of the result's sound
CRF, PRESET = 16, "veryfast"
BLINKS = 0.28  # a second, an adult's
BLUR = 3.0  # times the network's side: a larger face is blurred, and it is said
CHECKED_S, LARGE = 2.0, 4  # seconds that are measured; how many times dlib sees the network's pictures enlarged
STILL = 0.25  # a mouth that moves by less than this share of the training's opening hardly moves


@dataclass(frozen=True)
class Options:
    """How a portrait talks; None is what the model and the face say."""

    motion: float = 1.0  # of the head; 0 is none at all
    blink: float | None = None  # a second; 0 is none
    which: str = "one"  # face; see portrait.choose
    level: float | Literal["auto", "off"] = "auto"  # dB that the network is told the speech at
    gate: float | Literal["auto", "off"] = "auto"  # dB below which it is told silence
    jaw: float | None = None  # how far below the chin the mask reaches, distances of the eye corners
    paste: Literal["detail", "plain", "none"] = "detail"  # none: the network's face alone
    feather: float = 0.06  # of the crop's side
    sampler: Literal["ancestral", "ddim", "dpm_solver++"] = "ddim"
    steps: int | None = None
    guidance_audio: float = 1.0
    guidance_blink: float = 1.0
    batch: int = 25
    seed: int = 5
    start: float = 0.0  # seconds of the sound that are left out
    seconds: float | None = None  # of the sound that are used
    tail: float = 0.0  # seconds that go on in silence
    max_side: int = 1920  # a larger picture is scaled down
    check: bool = True
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"


@dataclass(frozen=True)
class Film:
    """A portrait that talks. Nothing is made before it is walked through or saved.

    Each walk gives the same frames, (H, W, 3) uint8 RGB.
    """

    model: HifiDiff
    clip: Clip  # the portrait as the test clips are; its frames are made when they are read
    sampling: Sample
    device: torch.device
    fps: float
    heard: NDArray[np.int16]  # the sound of the result, at HEARD_HZ
    paste: Paste | None
    mask: ClipMask
    pictures: Pictures
    facts: dict[str, Any]  # what was found and chosen
    check: bool  # whether a saved film's first seconds are measured
    progress: Callable[[int], None] = field(default=lambda frames: None)

    def __len__(self) -> int:
        return len(self.clip.frames_THWC)

    @property
    def seconds(self) -> float:
        return len(self) / self.fps

    @property
    def ear_T2(self) -> NDArray[np.float32]:
        """The eye aspect ratios that were asked for."""
        return self.clip.ear_T2

    def faces(self) -> Iterator[Picture]:
        """The network's own pictures, (K, K, 3)."""
        for batch in generate(self.model, self.clip, self.clip, self.sampling, self.device, self.progress):
            yield from batch

    def __iter__(self) -> Iterator[Picture]:
        return (self._whole(number, made) for number, made in enumerate(self.faces()))

    def _whole(self, number: int, made: Picture) -> Picture:
        if self.paste is None:
            return made
        return self.paste(self.pictures.take(number), made, self._hull(number))

    def _hull(self, number: int) -> NDArray[np.floating]:
        return transform(self.mask.hull_P2, self.mask.moves_T23[number])

    def save(self, out: Path) -> list[str]:
        """Write an MP4 with the sound and the mark that it is synthetic, whole or not at all; gives warnings.

        Raises:
            ParameterError: the file's ending is another.
        """
        if out.suffix.lower() != ".mp4":
            raise ParameterError(f"--out is {out}: the result is an MP4; give it the ending .mp4")
        first: list[Picture] = []
        checked = round(CHECKED_S * self.fps) if self.check else 0

        def pictures() -> Iterator[Picture]:
            for number, made in enumerate(self.faces()):
                if number < checked:
                    first.append(made)
                yield self._whole(number, made)

        with atomic.whole_file(out) as part:
            media.write_video(
                part, pictures(), fps=self.fps, audio=self.heard, sample_rate=HEARD_HZ, crf=CRF, preset=PRESET
            )
            mark.append(part, f"Synthetic: face and lips made by HifiDiff. {self.facts['made_by']}")
        hardly = self.hardly_speaks(np.stack(first)) if first else ""
        return [*self.facts["warnings"], *([hardly] if hardly else [])]

    def hardly_speaks(self, faces_THWC: Picture) -> str:
        """A warning where the mouth hardly moves though there is speech, by dlib on the network's pictures; empty otherwise."""
        opening = mouth_opening(observed.measure(faces_THWC, LARGE).landmarks_TL2)
        known = opening[np.isfinite(opening)]
        usual = self.model.config["corpus"]["mouth_opening"][1]
        spread = float(np.subtract(*np.percentile(known, [95, 5]))) if len(known) > len(opening) / 2 else 0.0
        if spread >= STILL * usual:
            return ""
        return (
            f"the mouth hardly moves (by {spread:.3f}; the training's opens by {usual:.3f}): this face or voice is unlike those "
            "that the model was trained on, which its card names"
        )


class Pictures:
    """The portrait with its head moved, made once for the network and for the paste."""

    def __init__(self, mover: portrait.Mover, moves_T23: NDArray[np.float64], most: int) -> None:
        self.mover, self.moves_T23, self.most = mover, moves_T23, most
        self._made: dict[int, Picture] = {}

    def __getitem__(self, frame: int) -> Picture:
        found = self._made.get(frame)
        if found is None:
            found = self._made[frame] = self.mover(self.moves_T23[frame])
            while len(self._made) > self.most:
                del self._made[next(iter(self._made))]
        return found

    def take(self, frame: int) -> Picture:
        """A frame that is not asked for again."""
        found = self[frame]
        del self._made[frame]
        return found


def talk(
    model: HifiDiff,
    face: Path,
    sound: Path,
    options: Options,
    *,
    named: str = "",
    progress: Callable[[int], None] = lambda frames: None,
) -> Film:
    """A portrait that says a sound. Reads and measures both; makes nothing yet. ``named``: the model, for the mark in the file.

    Raises:
        InputError: the picture shows no face, several, or one of no use; the sound is none; the model lacks what it needs.
        ParameterError: an option has no meaning for this model.
    """
    config = _complete(model)
    fps, size = float(config["mask"]["fps"]), int(config["network"]["size"])
    settings = Spectrogram.model_validate(config["spectrogram"])
    known: dict[str, list[float]] = config["corpus"]
    warnings: list[str] = []

    picture = portrait.read_picture(face, options.max_side)
    points = portrait.choose(face, picture, options.which)
    heard, remarks = voice.read(sound, HEARD_HZ, start=options.start, seconds=options.seconds)
    told, _ = voice.read(sound, settings.sample_rate, start=options.start, seconds=options.seconds)
    warnings.extend(remarks)
    frames = max(round((len(heard) / HEARD_HZ + options.tail) * fps), 1)
    rng = np.random.default_rng(options.seed)

    moves = portrait.motion(points, frames, fps, options.motion, rng)
    landmarks = np.asarray(transform(np.repeat(points[None], frames, 0), moves), np.float64)
    crop = crop_square(landmarks, config["mask"]["margin"])
    small = to_crop(landmarks, crop, size)
    jaw = known["jaw_drop"][1] if options.jaw is None else options.jaw
    mask = clip_mask(np.concatenate([small, portrait.lowered(small[0], jaw)[None]]), config["mask"]["dilation"])
    if crop[2] > BLUR * size:
        warnings.append(f"the face's square is {crop[2]} pixels wide and the model makes {size}: expect blur")

    own = ear(points)
    is_open = np.clip(own, known["open_ear"][0], known["open_ear"][2])
    if options.blink and "blink" in model.drop:
        raise ParameterError("--blink: the model was trained without the blink signal; leave it out")
    rate = 0.0 if "blink" in model.drop else BLINKS if options.blink is None else options.blink
    closed = known["closed_ear"][1] if "closed_ear" in known else 1.0
    trace, onsets = eyes.trace(is_open, closed, frames, fps, rate, rng)

    level: float | None = known["level_db"][1] if "level_db" in known else None
    if options.level != "auto":
        level = None if options.level == "off" else float(options.level)
    speech, gain = voice.levelled(told, settings.sample_rate, level)
    speech, gate = voice.gated(speech, settings.sample_rate, options.gate)
    samples = round(frames / fps * settings.sample_rate)
    speech = np.pad(speech[:samples], (0, max(samples - len(speech), 0)))
    if len(speech) <= settings.n_fft:
        raise InputError(
            sound, f"{len(told) / settings.sample_rate:.3f} s of sound are too short", "give more, or --tail"
        )

    pictures = Pictures(portrait.Mover.of(picture, points), moves, options.batch + 1)

    def cut(frame: int, into: Picture) -> None:
        into[...] = media.cut(pictures[frame], crop, size)

    clip = Clip(
        name="talk",
        speaker="portrait",
        frames_THWC=LazyArray((frames, size, size, 3), np.dtype(np.uint8), cut),
        landmarks_TL2=small.astype(np.float32),
        masks_THW=LazyArray((frames, size, size), np.dtype(np.bool_), mask),
        ear_T2=trace,
        mel_SM=Mel(settings)(speech),
        audio=media.to_int16(speech),
        blinks=[],
    )
    sampling = _sampling(model, options)
    wanted = round(frames / fps * HEARD_HZ)
    facts = {
        "made_by": f"{named + ', ' if named else ''}seed {options.seed}, {sampling.steps} steps",
        "face": [round(float(v), 1) for v in points.mean(0)],
        "crop": list(crop),
        "gain_db": round(float(gain), 2),
        "gate_db": None if gate is None else round(gate, 1),
        "blinks_s": [round(onset, 3) for onset in onsets],
        "warnings": warnings,
    }
    return Film(
        model=model,
        clip=clip,
        sampling=sampling,
        device=devices.choose(options.device, "--device"),
        fps=fps,
        heard=np.pad(heard[:wanted], (0, max(wanted - len(heard), 0))),
        paste=None if options.paste == "none" else Paste(crop, options.feather, options.paste == "detail"),
        mask=mask,
        pictures=pictures,
        facts=facts,
        check=options.check,
        progress=progress,
    )


def _complete(model: HifiDiff) -> dict[str, Any]:
    """The model's configuration, which says how faces and sound are prepared.

    Raises:
        InputError: it is of a version before, or was trained without the masked face.
    """
    if "masked_face" in model.drop:
        raise InputError(
            CONFIG, "the model was trained without the masked face and can't be put into a picture", "choose another"
        )
    missing = [name for name in ("mask", "spectrogram", "corpus") if name not in model.config]
    if missing:
        raise InputError(
            CONFIG, f"lacks {', '.join(missing)}: it is of an earlier version", "train it again: snakemake --cores all"
        )
    return model.config


def _sampling(model: HifiDiff, options: Options) -> Sample:
    """Two steps for a network that starts from the reference, as the demo's does; fifty otherwise, the paper's number."""
    steps = options.steps or (2 if model.config["network"]["prior"] > 0 else 50)
    return Sample(
        sampler=options.sampler,
        steps=steps,
        frames=None,
        shared_noise=1.0,
        interpolation=0.0,
        guidance_audio=options.guidance_audio,
        guidance_blink=options.guidance_blink,
        batch=options.batch,
        precision=options.precision,
        compile=False,
        crf=CRF,
        chroma="yuv420",
        threads=1,
        device=options.device,
        seed=options.seed,
    )
