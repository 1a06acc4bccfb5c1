"""Make a face talk: a trained model, a picture or a video of a face, any sound → a video.

    python -m stages.talk data/demo/models/full portrait.jpg speech.mp3
    python -m stages.talk hifidiff-demo-full interview.mp4 dubbed.wav --out dubbed.mp4
    python -m stages.talk hifidiff-demo-full portrait.png speech.wav --motion 0 --blink 0.4
    python -m stages.talk hifidiff-demo-full --list jobs.csv

MODEL is a folder that ``python -m stages.export`` wrote, or one of a run; nothing else of the run is read. The whole picture is
kept at its own size. The result carries a mark that it is synthetic. A list has the columns face, sound, out, and any option's
name; files are sought beside it. From Python: :class:`stages.talking.HifiDiff`.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from stages.base import memory
from stages.base.errors import HifiDiffError, InputError, ParameterError, run
from stages.base.progress import Progress
from stages.talking import HifiDiff
from stages.talking.jobs import Job, read_jobs
from stages.talking.options import FLAGS, LABEL, SAID, Options, flag, read

if TYPE_CHECKING:
    from stages.talking.signed import Signer


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("model", type=Path, metavar="MODEL", help="folder with model.safetensors and config.json")
    made.add_argument(
        "face", type=Path, nargs="?", metavar="FACE", help="a picture (PNG, JPEG, WebP, TIFF, BMP) or a video"
    )
    made.add_argument(
        "sound", type=Path, nargs="?", metavar="SOUND", help="anything with sound: WAV, MP3, FLAC, a video"
    )
    made.add_argument("--out", type=Path, help="MP4 to write, or a folder of PNGs; <face>-<sound>.mp4 where not given")
    made.add_argument("--list", type=Path, metavar="CSV", help="many: a row a film")
    made.add_argument(
        "--c2pa",
        type=Path,
        nargs=2,
        metavar=("CERT", "KEY"),
        help="sign the video after the C2PA standard, by a chain of certificates and its key (PEM); needs c2pa-python",
    )
    made.add_argument("--threads", type=int, default=1, help="of the CPU")
    for option in fields(Options):
        name, said = option.name, SAID[option.name]
        how: dict[str, Any] = {"dest": name, "help": said.help, "default": option.default}
        if name in FLAGS:
            shown = f"--no-{name}" if option.default else flag(name)
            made.add_argument(shown, **how | {"action": "store_false" if option.default else "store_true"})
        elif said.words and not said.number and not said.other:
            made.add_argument(flag(name), choices=said.words, **how)
        elif name == "label":
            made.add_argument(flag(name), nargs="?", const=LABEL, metavar="WORD", **how)
        else:
            made.add_argument(flag(name), metavar="N" if said.number and not said.words else "WHAT", **how)
    return made


def options(args: argparse.Namespace) -> Options:
    """The options of a command line.

    Raises:
        ParameterError: a value is none that its option may have.
    """
    given = {name: getattr(args, name) for name in SAID}
    return Options(**{name: read(name, value) if isinstance(value, str) else value for name, value in given.items()})


def jobs(args: argparse.Namespace) -> list[Job]:
    """The videos to make."""
    chosen = options(args)
    if args.list:
        if args.face or args.sound or args.out:
            raise ParameterError("--list says faces, sounds and outs; leave FACE, SOUND and --out away")
        return read_jobs(args.list, chosen)
    if not (args.face and args.sound):
        raise ParameterError("name a FACE and a SOUND, or a --list of them")
    return [Job(args.face, args.sound, args.out or Path(f"{args.face.stem}-{args.sound.stem}.mp4"), chosen)]


def signer(files: Sequence[Path] | None) -> Signer | None:
    """The signer, from the files of --c2pa: a chain of certificates and a key.

    Raises:
        ParameterError: the package c2pa-python is not installed.
        InputError: nothing can be signed with these files.
    """
    if not files:
        return None
    try:
        from stages.talking.signed import Signer  # the package is optional
    except ImportError as error:
        raise ParameterError(f"--c2pa: {error}; run: python -m pip install c2pa-python") from None
    return Signer.from_files(*files)


def make(model: HifiDiff, job: Job, begun: float, signer: Signer | None = None) -> None:
    """Make one film and say how long it took; ``begun``: since when, by the monotonic clock."""
    first: list[float] = []
    progress: list[Progress] = []

    def made(frames: int) -> None:
        if not first:
            first.append(time.monotonic())
            print(f"{job.out}: first frames after {first[0] - begun:.1f} s", file=sys.stderr, flush=True)
        progress[0].update(frames)

    film = model.talk(job.face, job.sound, job.options, progress=made)
    progress.append(Progress("talk", len(film), "frames"))
    warnings = film.save(job.out, signer)
    whole = time.monotonic() - begun
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    print(
        f"{job.out}: {len(film)} frames, {film.seconds:.2f} s; first frames after {first[0] - begun:.1f} s, "
        f"{len(film) / whole:.1f} frames a second in all"
    )


def _there(job: Job) -> None:
    """Name what is missing before the model is read; raises :class:`InputError`."""
    for path, what in ((job.face, "a picture or a video of a face"), (job.sound, "a file with sound")):
        if not path.is_file():
            raise InputError(path, "no such file", f"name {what}")


def main() -> None:
    args = parser().parse_args()
    begun = time.monotonic()
    torch.set_num_threads(args.threads)
    memory.keep_freed()
    signal.signal(signal.SIGTERM, _interrupt)  # so that what is half-written goes, as it does at Ctrl-C
    wanted, signs = jobs(args), signer(args.c2pa)
    if not args.list:  # a list's films are made one by one, and those that can't be are told
        _there(wanted[0])
    failed = 0
    try:
        model = HifiDiff.from_pretrained(args.model)
        for job in wanted:
            try:
                make(model, job, begun, signs)
            except HifiDiffError as error:
                if not args.list:
                    raise
                failed += 1
                print(f"error: {error}", file=sys.stderr, flush=True)
            begun = time.monotonic()
    except KeyboardInterrupt:
        out = wanted[0].out if len(wanted) == 1 else args.list
        raise InputError(out, "interrupted, and nothing half-written is left", "run the same command again") from None
    if failed:
        raise InputError(args.list, f"{failed} of {len(wanted)} films were not made", "see the errors above")


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    run(main)
