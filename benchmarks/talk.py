"""A talking video: the cost of all but the network, against Wav2Lip's way of decoding, pasting and writing; the paste's quality.

    python -m benchmarks.talk [--model data/demo/models/full] [--json]

The video is a rendered speaker's, and its truth another rendering: the same head, eyes and brows, whose mouth says another
sentence. Both sides are given the truth's faces, reduced to 64 pixels, as a network that makes no error would make them, and
write the same frames and sound; finding the face is timed on neither side. Wav2Lip's way, its ``inference.py``: every frame read
by OpenCV and kept, the face enlarged (bilinear) into its box, MPEG-4 written by OpenCV, then encoded again, with the sound, by
FFmpeg at its defaults (libx264, medium, crf 23). With ``--model`` the whole path is run, too, by the command in a process of its
own.
"""

from __future__ import annotations

import argparse
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks import timing
from benchmarks.timing import Goal, Report, Result, Setting, Turns
from stages import media
from stages.base import params
from stages.base.errors import run
from stages.clips.mel import Mel
from stages.corpora.rendered import face, identity, portrait, speaker
from stages.faces.geometry import transform
from stages.talking import footage, heads
from stages.talking.paste import Paste
from stages.talking.subject import Frame, Moving, Still, Subject

Pictures = list[NDArray[np.uint8]]

SIZE, FEATHER, JAW = 64, 0.06, 0.16
HZ = 48_000
REPEATED, RUNS = 8, 3  # times that the sound is said for the whole path, and runs of each length
SPEAKING = ("mouth_open", "jaw_open", "spread", "round", "tongue", "tuck", "press")  # of a rendered motion
GAIN = Goal(least=2)
OVER_PEER, REST = Goal(least=3), Goal(most=15)
FIRST, RATE = Goal(most=5), Goal(least=15)


@dataclass(frozen=True)
class Scene:
    """A rendered video, the face in it, and what it is to look like."""

    video: Path
    still: Path
    sound: NDArray[np.floating]  # 48 kHz
    fps: float
    truth: Pictures  # the same frames with another mouth
    moving: Moving  # the video's own frames
    portrait: Still  # its first frame, whose head is moved
    faces: Pictures  # the truth's, reduced

    @classmethod
    def render(cls, folder: Path, frames: int, *, size: int = SIZE) -> Scene:
        """A speaker's first frames, 480×360 at 30 a second."""
        given = params.load("presets/demo.yaml")
        settings = given.corpus.rendered
        who = identity.draw(settings.seed, "ada")
        moves, _, sound = speaker.perform(settings, who, 0)
        other, _, _ = speaker.perform(settings, who, 1)
        frames = min(frames, len(moves.yaw), len(other.yaw))
        spoken = replace(moves, **{name: getattr(other, name) for name in SPEAKING})
        draw = face.Renderer(portrait.paint(who, settings.width, settings.height), settings.width, settings.height)
        fps = float(media.rate(settings.fps))
        truth, source = (
            [np.asarray(draw.frame(m, number), np.uint8) for number in range(frames)] for m in (moves, spoken)
        )
        sound = sound[: round(len(truth) / fps * HZ)]
        media.write_video(folder / "face.mp4", source, fps=fps, audio=sound, sample_rate=HZ, crf=10, preset="veryfast")
        Image.fromarray(source[0]).save(folder / "face.png")
        filmed = footage.read(
            folder / "face.mp4", fps=None, seconds=len(truth) / fps, max_side=settings.width, which="one"
        )
        cut = Frame(size, given.mask.margin, given.mask.dilation, JAW)
        moving = Moving(filmed, heads.order(len(filmed), len(truth), "hold"), 0, cut)
        poses = heads.wandering(len(truth), fps, 1.0, np.random.default_rng(5))
        still = Still(source[0], filmed.landmarks_TL2[0], poses, cut)
        faces = [media.cut(picture, moving.crop, size) for picture in truth]
        return cls(folder / "face.mp4", folder / "face.png", sound, fps, truth, moving, still, faces)


def pasted(subject: Subject, faces: Pictures, paste: Paste) -> Pictures:
    """Faces put into a subject's pictures."""
    small = subject.small(subject.landmarks(np.arange(len(faces))))
    hulls = subject.hulls(small)
    return [paste(subject.picture(n), made, hull) for n, (made, hull) in enumerate(zip(faces, hulls, strict=True))]


def ours(scene: Scene, subject: Subject, out: Path) -> None:
    """As :mod:`stages.talking` does all but finding the face and asking the network."""
    size = subject.frame.size
    paste = Paste(subject.crop, FEATHER, True)

    def frames() -> Pictures:
        made = []
        small = subject.small(subject.landmarks(np.arange(len(scene.faces))))
        for number, hull in enumerate(subject.hulls(small)):
            picture = subject.picture(number)
            media.cut(picture, subject.crop, size)  # for the network
            made.append(paste(picture, scene.faces[number], hull))
        return made

    media.write_video(out, frames(), fps=scene.fps, audio=scene.sound, sample_rate=HZ, crf=16, preset="veryfast")


def cases(scene: Scene, folder: Path) -> dict[str, Callable[[], object]]:
    """``video`` and ``still`` are ours, ``wav2lip`` is the peer on the video; each writes a file of its own."""

    def video() -> None:
        film = footage._Film(scene.video, scene.fps, len(scene.faces) / scene.fps, 1920)
        for _ in film.pictures():  # decoded, and kept to be read again
            pass
        ours(scene, scene.moving, folder / "video.mp4")

    settings = params.load("presets/demo.yaml").spectrogram

    def still() -> None:
        Mel(settings)(media.decode_audio(scene.video, settings.sample_rate))
        ours(scene, scene.portrait, folder / "still.mp4")

    return {"video": video, "still": still, "wav2lip": lambda: wav2lip(scene, folder)}


def wav2lip(scene: Scene, folder: Path) -> None:
    """The same frames in Wav2Lip's way."""
    reader, kept = cv2.VideoCapture(str(scene.video)), []
    while True:
        more, picture = reader.read()
        if not more:
            break
        kept.append(picture)
    height, width = kept[0].shape[:2]
    raw = folder / "wav2lip.avi"
    writer = cv2.VideoWriter(str(raw), cv2.VideoWriter.fourcc(*"DIVX"), scene.fps, (width, height))
    x, y, side = scene.moving.crop
    top, left, bottom, right = max(y, 0), max(x, 0), min(y + side, height), min(x + side, width)
    for picture, made in zip(kept, scene.faces, strict=False):
        picture = picture.copy()
        large = cv2.resize(made[..., ::-1].astype(np.float32).astype(np.uint8), (side, side))
        picture[top:bottom, left:right] = large[top - y : bottom - y, left - x : right - x]
        writer.write(picture)
    writer.release()
    with av.open(str(raw)) as source, av.open(str(folder / "wav2lip.mp4"), "w") as out:
        video = out.add_stream("libx264", rate=media.rate(scene.fps), options={"preset": "medium", "crf": "23"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.thread_count = 1
        heard = out.add_stream("aac", rate=HZ, layout="mono")
        for frame in source.decode(video=0):
            frame.pict_type = av.video.frame.PictureType.NONE
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        samples = av.AudioFrame.from_ndarray(np.asarray(scene.sound, np.float32)[None], format="fltp", layout="mono")
        samples.sample_rate = HZ
        out.mux(heard.encode(samples))
        out.mux(heard.encode(None))


@dataclass(frozen=True)
class Quality:
    """The likeness of pasted pictures to the truth, in the mask."""

    psnr_db: float
    border: float  # gradient on the mask's border, over the truth's
    sharpness: float  # variance of the Laplacian in the mask, over the truth's

    @classmethod
    def of(cls, made: Pictures, truth: Pictures, subject: Subject) -> Quality:
        hulls = subject.hulls(subject.small(subject.landmarks(np.arange(len(made)))))
        error, border, sharp = [], [], []
        for one, true, hull in zip(made, truth, hulls, strict=True):
            drawn = _drawn(hull, subject, one.shape[:2])
            ring = cv2.morphologyEx(drawn, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
            inside = drawn > 0
            error.append(((one.astype(np.float64) - true)[inside] ** 2).mean())
            border.append([_gradient(picture)[ring].mean() for picture in (one, true)])
            sharp.append([_laplacian(picture)[inside].var() for picture in (one, true)])
        (border_made, border_true), (sharp_made, sharp_true) = np.mean(border, 0), np.mean(sharp, 0)
        return cls(
            float(10 * np.log10(255**2 / np.mean(error))),
            float(border_made / border_true),
            float(sharp_made / sharp_true),
        )


def _drawn(hull_P2: NDArray[np.floating], subject: Subject, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    x, y, side = subject.crop
    scale = side / subject.frame.size
    large = transform(hull_P2, np.array([[scale, 0, 0.5 * scale - 0.5 + x], [0, scale, 0.5 * scale - 0.5 + y]]))
    drawn = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(drawn, np.round(large * 16).astype(np.int32), 1, shift=4)
    return drawn


def _grey(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    return picture.astype(np.float64).mean(-1)


def _gradient(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    along, across = np.gradient(_grey(picture))
    return np.hypot(along, across)


def _laplacian(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(cv2.Laplacian(_grey(picture), cv2.CV_64F), np.float64)


def rectangle(subject: Subject, faces: Pictures) -> Pictures:
    """Faces enlarged into their squares with a hard edge, as Wav2Lip pastes them."""
    x, y, side = subject.crop
    made = []
    for number, small in enumerate(faces):
        picture = subject.picture(number).copy()
        height, width = picture.shape[:2]
        top, left, bottom, right = max(y, 0), max(x, 0), min(y + side, height), min(x + side, width)
        large = cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)
        picture[top:bottom, left:right] = large[top - y : bottom - y, left - x : right - x]
        made.append(picture)
    return made


def results(turns: Turns, frames: int) -> list[Result]:
    """The lines of the report on speed."""
    return [
        Result("over_peer", "Wav2Lip's decoding, pasting, writing over ours", turns.ratio("wav2lip", "video"), OVER_PEER),
        Result("ms_still", "ms a frame of a portrait: head moved, pasted, written", 1e3 * turns.median("still") / frames, REST),
        Result("ms_video", "ms a frame of a video: decoded, kept, pasted, written", 1e3 * turns.median("video") / frames, REST),
        Result("ms_peer", "ms a frame of Wav2Lip's way", 1e3 * turns.median("wav2lip") / frames),
    ]  # fmt: skip


def whole(model: Path, scene: Scene, folder: Path, steps: int) -> list[Result]:
    """The command on the portrait with the video's sound, cold: CPU seconds by the system's own count, the median of some runs.

    To the first frame: a film of two frames, where the sound is loudest. Frames a second: what more frames cost, and what
    they cost with the start; the sound is repeated, as a start's seconds differ by as much as a short film takes.
    """
    long = folder / "long.wav"
    with wave.open(str(long), "wb") as file:
        file.setparams((1, 2, HZ, 0, "NONE", ""))
        file.writeframes(np.tile(media.to_int16(scene.sound), REPEATED).tobytes())

    def cpu(sound: Path, *more: str) -> tuple[float, int]:
        given = [str(model), str(scene.still), str(sound), "--out", str(folder / "whole.mp4")]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "stages.talk", *given, "--no-check", "--steps", str(steps), *more],
            stdout=subprocess.PIPE,
            encoding="utf-8",
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        frames = re.search(r": (\d+) frames", done.stdout)
        assert frames, done.stdout
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, int(frames[1])

    loudest = f"{np.abs(scene.sound).argmax() / HZ:.2f}"
    short = [cpu(scene.video, "--from", loudest, "--seconds", "0.1", "--batch", "1") for _ in range(RUNS)]
    whole_films = [cpu(long) for _ in range(RUNS)]
    (first, one), (all_s, every) = (
        (statistics.median(seconds for seconds, _ in runs), runs[0][1]) for runs in (short, whole_films)
    )
    return [
        Result("first_s", "CPU s to the first frame, cold", first, FIRST),
        Result(
            "rate",
            f"frames a CPU second, whole path, {steps} steps, without the start",
            (every - one) / (all_s - first),
            RATE,
        ),
        Result("rate_cold", f"the same with the start, {every} frames", every / all_s),
    ]


def quality(scene: Scene) -> Sequence[Result]:
    """The lines on the paste."""
    subject = scene.moving
    found = {
        name: Quality.of(pasted(subject, scene.faces, Paste(subject.crop, FEATHER, detail)), scene.truth, subject)
        for name, detail in (("detail", True), ("plain", False))
    }
    source = [subject.picture(number) for number in range(len(scene.faces))]
    seam = found["detail"].border / Quality.of(source, scene.truth, subject).border
    hard = Quality.of(rectangle(subject, scene.faces), scene.truth, subject)
    return [
        Result("psnr_gain", "PSNR in the mask over a rectangle's, dB", found["detail"].psnr_db - hard.psnr_db, GAIN),
        Result("border", "gradient on the mask's border over the source's own", seam, Goal(0.98, 1.02)),
        Result("sharpness", "sharpness in the mask over the truth's", found["detail"].sharpness, Goal(least=0.3)),
        Result("psnr", "PSNR in the mask, dB", found["detail"].psnr_db),
        Result("psnr_plain", "the same without detail", found["plain"].psnr_db),
        Result("border_truth", "the same over the truth's, whose chin moves otherwise", found["detail"].border),
        Result("border_rectangle", "the rectangle's over the truth's", hard.border),
        Result("sharpness_plain", "sharpness without detail", found["plain"].sharpness),
        Result("sharpness_rectangle", "the same of the rectangle", hard.sharpness),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a trained model: the whole path is run, too")
    parser.add_argument("--steps", type=int, default=2, help="of the model's sampler")
    parser.add_argument("--frames", type=int, default=60, help="of the video")
    parser.add_argument("--turns", type=int, default=5, help="timed calls of each case")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    setting = Setting(torch.device("cpu"), bf16=False, turns=args.turns, warmup=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = Scene.render(folder, args.frames)
        turns = setting.time(cases(scene, folder))
        lines = [*results(turns, len(scene.faces)), *quality(scene)]
        if args.model:
            lines += whole(args.model, scene, folder, args.steps)
    machine = setting.machine() | {"scale": f"480x360, {len(scene.faces)} frames, crop {scene.moving.crop[2]}"}
    timing.show(Report("talk", machine, lines), as_json=args.json)


if __name__ == "__main__":
    run(main)
