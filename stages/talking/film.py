"""A talking face, made as it is walked through. T frames, H, W of the picture, K side of the network's pictures.

A frame depends on its own window of the sound, its eyes, its head's place and one noise that all frames share: length has no
limit, there are no seams between batches, and any rate is exact.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages import media
from stages.base import devices
from stages.base.errors import InputError, ParameterError
from stages.base.params import Sample, Spectrogram
from stages.faces import observed
from stages.faces.geometry import mouth_opening
from stages.methods.generate import Noise, sampled
from stages.pretrained.hifidiff import CONFIG, HifiDiff
from stages.store import atomic
from stages.talking import mark, voice
from stages.talking import pictures as as_pictures
from stages.talking.batch import Batch
from stages.talking.label import Label
from stages.talking.options import BLINKS, Options
from stages.talking.paste import Paste
from stages.talking.seen import Seen, eyes_of
from stages.talking.subject import Frame, Subject

if TYPE_CHECKING:
    from stages.talking.signed import Signer

__all__ = ["BLINKS", "Film", "Options", "talk"]

Picture = NDArray[np.uint8]

CRF, PRESET = 16, "veryfast"
BLUR = 3.0  # times the network's side: a larger face is blurred, and it is said
CHECKED_S = 2.0  # seconds of speech that are measured
LARGE = 4  # times that dlib sees the network's pictures enlarged
STILL = 0.25  # a mouth that moves by less than this share of the training's opening hardly moves
MUCH_DISK = 2**30  # bytes of temporary files that are said


@dataclass(frozen=True)
class Film:
    """A face that talks. Nothing is made before it is walked through or saved.

    Each walk gives the same frames, (H, W, 3) uint8 RGB.
    """

    model: HifiDiff
    subject: Subject
    told: voice.Told
    ear_T2: NDArray[np.float32]  # the eye aspect ratios that are asked for
    ear_condition_T2: NDArray[np.float32]  # the same as the network is told them
    sampling: Sample
    device: torch.device
    fps: float
    heard: voice.Stored  # the sound of the result
    paste: Paste | None
    label: Label | None
    facts: dict[str, Any]  # what was found and chosen
    check: bool  # whether a saved film's first seconds of speech are measured
    progress: Callable[[int], None] = field(default=lambda frames: None)

    def __len__(self) -> int:
        return len(self.subject)

    @property
    def seconds(self) -> float:
        return len(self) / self.fps

    @property
    def landmarks_TL2(self) -> NDArray[np.float64]:
        """The place of the face in each frame, pixels of the network's pictures, (T, 68, 2)."""
        return self.subject.small(self.subject.landmarks(np.arange(len(self))))

    def faces(self) -> Iterator[Picture]:
        """The network's own pictures, (K, K, 3)."""
        return (made for made, _ in self._made())

    def __iter__(self) -> Iterator[Picture]:
        return (self._whole(number, made, pictures) for number, (made, pictures) in enumerate(self._made()))

    def _made(self) -> Iterator[tuple[Picture, Batch]]:
        size = self.subject.frame.size
        shares = {"shared": self.sampling.shared_noise, "interpolation": self.sampling.interpolation}
        noise = Noise("talk", (3, size, size), self.sampling.seed, **shares)
        first, most = 0, self.sampling.batch
        while first < len(self):
            batch = Batch(self, range(first, min(first + most, len(self))))
            try:
                made = sampled(
                    self.model, batch.given(), batch.masks(), batch.frames, noise, self.sampling, self.device
                )
            except torch.OutOfMemoryError:
                if len(batch.frames) == 1:
                    raise ParameterError("the device's memory does not hold one frame: take --device cpu") from None
                most = len(batch.frames) // 2
                print(f"the device's memory is full: {most} frames at a time from here on", flush=True)
                continue
            yield from ((picture, batch) for picture in made)
            first = batch.frames.stop
            self.progress(len(batch.frames))

    def _whole(self, number: int, made: Picture, batch: Batch) -> Picture:
        if self.paste is None:
            return self.label(made) if self.label else made
        share = self.subject.shown(number)
        picture = batch.pictures[number]
        if share > 0:
            picture = self.paste(picture, made, batch.hull(number), share)
        return self.label(picture) if self.label else picture

    def save(self, out: str | Path, signer: Signer | None = None) -> list[str]:
        """Write an MP4 with the sound and the mark that it is synthetic, whole or not at all; gives warnings.

        A name without an ending is a folder of PNGs; see :func:`stages.talking.pictures.write`. ``signer`` signs a video (C2PA).

        Raises:
            ParameterError: the file's ending is another, or a folder should be signed.
            InputError: it can't be written, for want of room or of the right to.
        """
        out = Path(out)
        if out.suffix.lower() not in (".mp4", ""):
            raise ParameterError(
                f"--out is {out}: the result is an MP4, or a folder of pictures; give it the ending .mp4, or none"
            )
        if signer and not out.suffix:
            raise ParameterError(f"--out is {out}, a folder of pictures: --c2pa signs a video; give it the ending .mp4")
        first: list[Picture] = []
        from_frame = int(self.told.first_speech_s * self.fps)
        checked = range(from_frame, from_frame + round(CHECKED_S * self.fps) if self.check else from_frame)

        def pictures() -> Iterator[Picture]:
            for number, (made, batch) in enumerate(self._made()):
                if number in checked:
                    first.append(made)
                yield self._whole(number, made, batch)

        words = f"Synthetic: face and lips made by HifiDiff. {self.facts['made_by']}"
        try:
            if out.suffix:
                self._video(out, pictures(), words, signer)
            else:
                as_pictures.write(out, pictures(), self.heard, words)
        except OSError as error:
            problem = f"can't be written ({error.strerror or error})"
            raise InputError(out, problem, "nothing is left of it: make room, or name another place by --out") from None
        hardly = self.hardly_speaks(np.stack(first)) if first else ""
        return [*self.facts["warnings"], *([hardly] if hardly else [])]

    def _video(self, out: Path, pictures: Iterator[Picture], words: str, signer: Signer | None) -> None:
        with atomic.whole_file(out) as part:
            media.write_video(
                part,
                pictures,
                fps=self.fps,
                audio=self.heard,
                sample_rate=voice.HEARD_HZ,
                crf=CRF,
                preset=PRESET,
                metadata={"comment": words, "description": mark.SOURCE_TYPE},
            )
            mark.append(part, words)
            if signer:
                signer.sign(part, words)

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


def talk(
    model: HifiDiff,
    face: Path,
    sound: Path,
    options: Options,
    *,
    named: str = "",
    progress: Callable[[int], None] = lambda frames: None,
) -> Film:
    """A face that says a sound. Reads and measures both; makes nothing yet. ``named``: the model, for the mark in the file.

    Raises:
        InputError: picture or video show no face, several, or one of no use; the sound is none; the model lacks what it needs.
        ParameterError: an option has no meaning for this model or face.
    """
    try:
        return _film(model, face, sound, options.settled, named, progress)
    except OSError as error:  # of the temporary files that sound and video lie in
        problem = f"no temporary file can be written ({error.strerror or error})"
        raise InputError(tempfile.gettempdir(), problem, "make room, or name another folder by TMPDIR") from None


def _film(
    model: HifiDiff, face: Path, sound: Path, options: Options, named: str, progress: Callable[[int], None]
) -> Film:
    config = _complete(model)
    settings = Spectrogram.model_validate(config["spectrogram"])
    known: dict[str, list[float]] = config["corpus"]
    device = devices.choose(options.device, "--device")
    if options.blink not in (None, "off", 0) and "blink" in model.drop:
        raise ParameterError("--blink: the model was trained without the blink signal; leave it out")
    seen = Seen.of(face, options)

    heard, told, remarks = voice.read(sound, settings.sample_rate, start=options.start, seconds=options.seconds)
    length = len(heard) / voice.HEARD_HZ + options.tail
    if len(told) <= settings.n_fft:
        raise InputError(sound, f"{len(told) / settings.sample_rate:.3f} s of sound are too short", "give more")
    level: float | None = known["level_db"][1] if "level_db" in known else None
    if options.level != "auto":
        level = None if options.level == "off" else float(options.level)
    speech = voice.Told.of(told, settings, level_db=level, gate=options.gate)

    jaw = known["jaw_drop"][1] if options.jaw is None else options.jaw
    frame = Frame(int(config["network"]["size"]), config["mask"]["margin"], config["mask"]["dilation"], jaw)
    subject, fps, filmed = seen.subject(options, length, frame)
    looks = eyes_of(model, options, subject, filmed, fps)
    crop, warnings = subject.crop, [*remarks, *seen.warnings]
    if crop[2] > BLUR * frame.size:
        warnings.append(f"the face's square is {crop[2]} pixels wide and the model makes {frame.size}: expect blur")
    stored = speech.sound.nbytes + heard.nbytes + (0 if filmed is None else filmed.nbytes)
    if stored > MUCH_DISK:
        warnings.append(f"{stored / 1e9:.1f} GB of temporary files lie in {tempfile.gettempdir()} until it is done")
    sampling = _sampling(model, options)
    model.net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Film(
        model=model,
        subject=subject,
        told=speech,
        ear_T2=looks.ear_T2,
        ear_condition_T2=looks.condition_T2,
        sampling=sampling,
        device=device,
        fps=fps,
        heard=heard.padded(len(subject) / fps),
        paste=None if options.paste == "none" else Paste(crop, options.feather, options.paste == "detail"),
        label=Label(options.label) if options.label else None,
        facts={
            "made_by": f"{named + ', ' if named else ''}seed {options.seed}, {sampling.steps} steps",
            "face": [round(float(v), 1) for v in subject.landmarks(np.arange(1))[0].mean(0)],
            "crop": list(crop),
            "gain_db": round(speech.gain_db, 2),
            "gate_db": None if speech.gate_db is None else round(speech.gate_db, 1),
            "blinks_s": None if looks.onsets is None else [round(onset, 3) for onset in looks.onsets],
            "as_it_is_s": [] if filmed is None else [[round(t, 3) for t in gap] for gap in filmed.gaps()],
            "warnings": warnings,
        },
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
