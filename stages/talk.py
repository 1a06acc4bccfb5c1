"""Make a portrait talk: a trained model, a picture of a face, any sound → a video.

    python -m stages.talk data/demo/models/full portrait.jpg speech.mp3
    python -m stages.talk hifidiff-demo-full portrait.png speech.wav --out talk.mp4 --motion 0 --blink 0.4

MODEL is a folder that ``python -m stages.export`` wrote, or one of a run; nothing else of the run is read. The whole picture is
kept at its own size. The result carries a mark that it is synthetic. From Python: :func:`stages.talking.film.talk`.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from stages.base import memory
from stages.base.errors import ParameterError, run
from stages.base.progress import Progress
from stages.pretrained.hifidiff import WEIGHTS, HifiDiff
from stages.talking.film import Film, Options, talk

PREVIEW_S = 3.0


def number_or(*words: str) -> Any:
    """A type of argparse: one of some words, or a number."""

    def read(text: str) -> float | str:
        return text if text in words else float(text)

    return read


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("model", type=Path, metavar="MODEL", help="folder with model.safetensors and config.json")
    made.add_argument("face", type=Path, metavar="FACE", help="a picture: PNG, JPEG, WebP, TIFF, BMP")
    made.add_argument(
        "sound", type=Path, metavar="SOUND", help="anything with sound: WAV, MP3, M4A, OGG, FLAC, a video"
    )
    made.add_argument("--out", type=Path, help="MP4 to write; <face>-<sound>.mp4 where not given")
    made.add_argument("--motion", type=float, help="of the head: 1 as the training's, 0 none at all")
    made.add_argument("--blink", type=number_or("off"), help="blinks a second, or off; 0.28 where not given")
    made.add_argument("--which", help="face: one, largest, left, right, a number from the left, or x,y")
    made.add_argument("--level", type=number_or("auto", "off"), help="dB that the network is told the speech at; "
                      "auto: the training's; off: as it is. What is heard is never changed")  # fmt: skip
    made.add_argument("--gate", type=number_or("auto", "off"), help="dB below which it is told silence")
    made.add_argument("--jaw", type=float, help="how far below the chin the mask reaches, distances of the eye corners")
    made.add_argument("--paste", choices=("detail", "plain", "none"),
                      help="detail: the source's fine detail where nothing changed; none: the network's face alone")  # fmt: skip
    made.add_argument("--feather", type=float, help="width of the blend, a share of the face's square; 0: hard")
    made.add_argument("--sampler", choices=("ddim", "ancestral", "dpm_solver++"))
    made.add_argument("--steps", type=int, help="of the sampler; 2 for a model like the demo's, else 50")
    made.add_argument("--guidance-audio", type=float, help="1: none")
    made.add_argument("--guidance-blink", type=float, help="1: none")
    made.add_argument("--batch", type=int, help="frames at a time")
    made.add_argument("--seed", type=int, help="of noise, motion and blinks")
    made.add_argument("--from", dest="start", type=float, metavar="S", help="begin so many seconds into the sound")
    made.add_argument("--seconds", type=float, help="use so many seconds of it")
    made.add_argument("--tail", type=float, metavar="S", help="go on in silence for so long")
    made.add_argument("--preview", action="store_true", help=f"{PREVIEW_S:g} seconds, one step")
    made.add_argument("--max-side", type=int, help="pixels; a larger picture is scaled down")
    made.add_argument("--no-check", dest="check", action="store_false", help="don't measure whether the mouth moves")
    made.add_argument("--device", choices=("auto", "cpu", "cuda"))
    made.add_argument("--precision", choices=("fp32", "bf16"))
    made.add_argument("--threads", type=int)
    made.set_defaults(threads=1, **{option.name: option.default for option in fields(Options)})
    return made


def options(args: argparse.Namespace) -> Options:
    """The options of a command line.

    Raises:
        ParameterError: a number is out of its range.
    """
    given = {f.name: getattr(args, f.name) for f in fields(Options)}
    if args.blink == "off":
        given["blink"] = 0.0
    if args.preview:
        given |= {"seconds": PREVIEW_S, "steps": 1}
    least = {
        "motion": 0,
        "blink": 0,
        "feather": 0,
        "jaw": 0,
        "start": 0,
        "tail": 0,
        "steps": 1,
        "batch": 1,
        "seconds": 0.04,
    }
    least |= {"max_side": 64, "seed": 0, "guidance_audio": 0, "guidance_blink": 0}
    for name, bound in least.items():
        if given[name] is not None and not given[name] >= bound:
            shown = {"start": "from"}.get(name, name.replace("_", "-"))
            raise ParameterError(f"--{shown} is {given[name]}; give {bound} or more")
    return Options(**given)


def main() -> None:
    args = parser().parse_args()
    begun = time.monotonic()
    torch.set_num_threads(args.threads)
    memory.keep_freed()
    chosen = options(args)
    out = args.out or Path(f"{args.face.stem}-{args.sound.stem}.mp4")
    model = HifiDiff.from_pretrained(args.model)
    model.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    first: list[float] = []
    progress: list[Progress] = []

    def made(frames: int) -> None:
        first.append(time.monotonic())
        progress[0].update(frames)

    with (args.model / WEIGHTS).open("rb") as file:
        named = f"Model {args.model.name}, sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
    film = talk(model, args.face, args.sound, chosen, named=named, progress=made)
    model.net.to(film.device)
    progress.append(Progress("talk", len(film), "frames"))
    warnings = film.save(out)
    done = time.monotonic()
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    print(_summary(film, out, first[0] - begun, done - begun))


def _summary(film: Film, out: Path, first: float, whole: float) -> str:
    return (
        f"{out}: {len(film)} frames, {film.seconds:.2f} s; first frames after {first:.1f} s, "
        f"{len(film) / whole:.1f} frames a second in all"
    )


if __name__ == "__main__":
    run(main)
