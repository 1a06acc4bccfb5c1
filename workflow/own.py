"""Parameters for one's own videos: looks at a folder of them, and writes ``params.yaml`` for what it finds.

make own VIDEOS=folder
make own VIDEOS=folder OPTIONS="--from data/demo/models/full"     # fine-tunes that model
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from stages import media
from stages.base import devices, params, presets
from stages.base.errors import ClipError, HifiDiffError, InputError, run, shown
from stages.base.params import PARAMS_FILE, Params
from stages.base.progress import Progress
from stages.corpora import folder
from stages.faces import landmarks
from stages.faces.square import crop_square
from stages.media.container import opened
from stages.networks.hifidiff import Conditions
from stages.pretrained.hifidiff import HifiDiff
from stages.training.prepared import configuration
from workflow.sources import ROOT
from workflow.use import edited

PRESET = "own"
UNTUNED = "start"  # the row of the model that a fine-tuning starts with
LOOKED_AT = 3  # videos of each speaker whose face is looked for
LATER = 12  # frames into a video, as many begin with a fade
FEWEST = 8  # clips: to learn from, to choose by and to test with
SHARE, FEWEST_TESTS = 0.15, 2  # of the clips that are the test
MINUTES = 30.0  # of training, unless told otherwise
SEEN = 40  # times that a step's random frames may show each frame of the footage
STEPS = (600, 20000)  # fewest, most
# Of a training from a trained model with less footage than this, seconds; with more it is trained like one from nothing.
LITTLE = 120.0
TUNED_SEEN, TUNED_STEPS, TUNED_RATE = 4, (200, 4000), 0.25  # as above; share of the preset's learning rate
SHORT_CLIPS = 12  # clips that little footage is cut into, if they are a second and a half or longer
ENOUGH = 60.0  # seconds of footage
SOFT = 1.5  # times the network's side, from which on faces lose detail that one sees
BESIDE = 1.4  # a training step over the network's part of it: losses, batches, optimiser


@dataclass
class Footage:
    """What lies in a folder of videos."""

    shards: dict[str, int]  # videos of each speaker
    seconds: float = 0.0  # of all videos that can be opened
    lengths: list[float] = field(default_factory=list)  # of those without a fault, seconds
    sides: list[int] = field(default_factory=list)  # of the faces' squares, pixels, in the videos that were looked at
    faults: list[str] = field(default_factory=list)  # a line for each video that can't be opened or shows no face

    @property
    def videos(self) -> int:
        return sum(self.shards.values())

    def clips(self, longest_s: float) -> int:
        """How many clips of so many seconds at most it may be cut into."""
        return sum(max(math.ceil(seconds / longest_s), 1) for seconds in self.lengths)


@dataclass(frozen=True)
class Plan:
    """The values for some footage on a machine, and what to expect."""

    steps: int
    test_fraction: float
    minutes: float  # of training
    longest_s: float  # of a clip
    clips: int  # that the footage is cut into, about

    @property
    def tests(self) -> int:
        """About so many clips are the test."""
        return max(round(self.test_fraction * self.clips), 1)


def look(settings: params.Folder, margin: float) -> Footage:
    """Open every video for its length, and some of each speaker for the face's size.

    Raises:
        InputError: there is no such folder, no video in it, or the table has a fault.
    """
    found = folder.speakers(settings)
    footage = Footage({shard: len(videos) for shard, videos in found.items()})
    progress = Progress("own", footage.videos, "videos")
    for videos in found.values():
        for number, video in enumerate(videos):
            try:
                seconds = _seconds(video.path)
                footage.seconds += seconds
                if number < LOOKED_AT:
                    footage.sides.append(_side(video.path, margin))
                footage.lengths.append(seconds)
            except ClipError as error:
                footage.faults.append(f"{video.file}: {error.reason}")
            progress.update(note=video.file)
    return footage


def _seconds(path: Path) -> float:
    with opened(path, path.name) as container:
        return float(container.duration or 0) / 1e6


def _side(path: Path, margin: float) -> int:
    """The side of the square that would be cut about the face, pixels of the source."""
    *_, picture = islice(media.pictures(path, fps=25), LATER + 1)
    image = picture.upright(media.Converter().rgb(picture))
    points = landmarks.detect_landmarks(image)
    if points is None:
        raise ClipError(path.name, f"no face in its frame {picture.number}")
    return crop_square(points[None].astype("float64"), margin)[2]


def step_seconds(settings: Params) -> float:
    """Seconds of a training step on this machine, by a few steps of the untrained network on noise."""
    torch.set_num_threads(settings.train.threads)
    network, side = settings.network, settings.train.crop or settings.network.size
    device = devices.choose(settings.train.device, "train.device")
    net = HifiDiff.from_config(configuration(settings, [])).net.to(device).train()
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as it is trained
    count = settings.train.batch * settings.loss.frames + settings.train.singles
    picture = torch.rand(count, 3, side, side, device=device)
    given = Conditions(
        reference_NCHW=picture,
        mel_NSM=torch.rand(count, network.audio_steps, settings.spectrogram.n_mels, device=device),
        ear_NK2=torch.rand(count, network.blink_frames, 2, device=device),
        masked_NCHW=picture,
        places_N4HW=torch.rand(count, 4, side, side, device=device) if network.places else None,
    )
    times = torch.zeros(count, dtype=torch.long, device=device)
    seconds = []
    on_cpu = device.type == "cpu"
    clock = (
        time.process_time if on_cpu else time.perf_counter
    )  # whatever else keeps the processors busy now is no part of it
    for _ in range(4):
        begun = clock()
        loss = F.mse_loss(net(picture, times, given), picture)
        loss.backward()
        loss.item()
        seconds.append((clock() - begun) / (settings.train.threads if on_cpu else 1))
    return BESIDE * min(seconds[1:])


def plan(footage: Footage, step_s: float, base: Params, minutes: float, *, tuned: bool = False) -> Plan:
    """Steps by the footage and by the time that a step takes; the test by the number of clips. Little footage is cut shorter.

    Raises:
        HifiDiffError: there is too little footage.
    """
    longest = base.mask.cut.longest_s if base.mask.cut else math.inf
    longest = round(min(longest, max(sum(footage.lengths) / SHORT_CLIPS, 1.5)), 1)
    usable = footage.clips(longest)
    if usable < FEWEST:
        raise HifiDiffError(
            f"{footage.seconds:.0f} seconds of usable footage make some {usable} clips; at least {FEWEST} are needed, to learn "
            "from and to test with: give twenty seconds or more, better a minute"
        )
    frames, images = footage.seconds * base.mask.fps, base.train.batch * base.loss.frames + base.train.singles
    seen, (fewest, most) = (TUNED_SEEN, TUNED_STEPS) if tuned else (SEEN, STEPS)
    steps = min(60 * minutes / step_s, seen * frames / images)
    steps = 100 * round(min(max(steps, fewest), most) / 100)
    return Plan(steps, round(max(SHARE, FEWEST_TESTS / usable), 2), steps * step_s / 60, longest, usable)


def start_from(folder: str, base: Params, *, little: bool) -> dict[str, dict[str, Any]]:
    """The sections of parameters of a training that starts from a model: it, its values where they are not the preset's, and for
    little footage a lower learning rate.

    Raises:
        InputError: there is no whole model in the folder, or it was trained without a condition.
    """
    config = HifiDiff.from_pretrained(folder).config
    if config["drop"]:
        raise InputError(folder, f"was trained without {', '.join(config['drop'])}", "start from another model")
    own = base.model_dump()
    sections: dict[str, dict[str, Any]] = {}
    for name in ("network", "diffusion", "mask", "spectrogram"):
        its = {
            key: value
            for key, value in config[name].items()
            if own[name][key] != value and (name, key) != ("mask", "size")
        }
        if its:
            sections[name] = its
    start = params.Start.of(folder).model_dump()
    slower = {"learning_rate": float(f"{TUNED_RATE * base.train.learning_rate:.3g}")} if little else {}
    return sections | {"train": {"start": start} | slower}


def overlay(
    base: Params,
    name: str,
    title: str,
    path: str,
    shards: Sequence[str],
    chosen: Plan,
    start: Mapping[str, dict[str, Any]] | None = None,
) -> str:
    """The preset's differences for this footage, as the text of a parameter file; ``start``: see :func:`start_from`."""
    sections = {section: dict(values) for section, values in (start or {}).items()}
    sections.setdefault("mask", {})["cut"] = (
        base.mask.cut.model_dump() | {"longest_s": chosen.longest_s} if base.mask.cut else None
    )
    sections.setdefault("train", {})["steps"] = chosen.steps
    if start:
        untuned = {"kind": "hifidiff", "title": "without fine-tuning", "drop": [], "made_from": f"models/{UNTUNED}"}
        shown = {
            "audio": "own",
            "splits": ["test_seen"],
            "sample": {},
            "settings": {"train": {"steps": 0}},
            "tables": ["table1"],
        }
        sections |= {"methods": {UNTUNED: untuned | shown}}
    return "\n".join(
        [
            f"# Own videos, in {path!r}: written by `make own`.",
            f"base: {PRESET}",
            f"run: {name} # names data/<run>/ and reports/<run>/",
            "corpus:",
            f"  {folder.line(shards)} # speakers; one file each in every data stage",
            "  folder:",
            f"    path: {_quoted(path)} # a sub-folder a speaker",
            "index:",
            f"  test_fraction: {chosen.test_fraction:g} # of the clips, drawn at random, are the test",
            *([f"trained: [full, {UNTUNED}]"] if start else []),
            *(line for section, values in sections.items() for line in _lines(section, values)),
            "report:",
            f"  title: {_quoted(title)}",
            *([f"  videos: {chosen.tests}"] if chosen.tests < base.report.videos else []),
            "",
        ]
    )


def _lines(section: str, values: Mapping[str, Any]) -> list[str]:
    """A section in YAML, its values in JSON, which YAML reads."""
    return [f"{section}:", *(f"  {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())]


def _quoted(text: str) -> str:
    """As YAML in double quotes, whose escapes are JSON's."""
    return json.dumps(text, ensure_ascii=False)


def described(footage: Footage, chosen: Plan, size: int) -> list[str]:
    """What was found and what will be done, line by line."""
    people = "1 speaker" if len(footage.shards) == 1 else f"{len(footage.shards)} speakers"
    each = ", ".join(f"{shard} ({count})" for shard, count in footage.shards.items())
    videos = "1 video" if footage.videos == 1 else f"{footage.videos} videos"
    lines = [f"found {videos} of {people}, {footage.seconds / 60:.1f} minutes, some {chosen.clips} clips: {each}"]
    if footage.seconds < ENOUGH:
        lines.append(f"  that is little: some {chosen.tests} clips are the test, and its scores will say little")
    lines += [f"  left out, should it stay so: {fault}" for fault in footage.faults]
    if footage.sides:
        middle = statistics.median(footage.sides)
        lines.append(f"faces are {min(footage.sides)} to {max(footage.sides)} pixels wide, the network makes {size}")
        if middle < size:
            lines.append("  they are smaller than that: the result will be soft")
        elif middle > SOFT * size:
            lines.append("  the result will be softer than the footage; a larger network.size takes a GPU")
    lines.append(
        f"{chosen.test_fraction:.0%} of the clips are kept for the test; {chosen.steps} steps, some {chosen.minutes:.0f} "
        "minutes of training on this machine, and five to fifteen more for all else"
    )
    return lines


def _digest(lines: str) -> str:
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def _marked(text: str) -> str:
    """A parameter file whose first line, a comment, ends with a digest of the others: so it is known while nobody edits it."""
    first, rest = text.split("\n", 1)
    return f"{first} {_digest(rest)}\n{rest}"


def _own(path: Path) -> bool:
    """Whether a parameter file is one that was written here, without a later edit."""
    first, _, rest = presets.read(path).partition("\n")
    return first.startswith("# Own videos") and first.endswith(_digest(rest))


def asked(question: str, answer: Callable[[str], str] = input) -> bool:
    """Yes or no by the keyboard; no where there is none."""
    return sys.stdin.isatty() and answer(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", help="folder of videos, a sub-folder a speaker")
    parser.add_argument(
        "--run", default=PRESET, help="name of the run: data/<run>/ and reports/<run>/ (default: %(default)s)"
    )
    parser.add_argument("--title", default="", help="of the report")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of training, at most (default: %(default)g)")
    parser.add_argument("--from", dest="start", default="", help="folder of a trained model to fine-tune")
    parser.add_argument("--yes", action="store_true", help="write over params.yaml without asking")
    args = parser.parse_args()
    preset = ROOT / "presets" / f"{PRESET}.yaml"
    if not args.videos:
        raise InputError("VIDEOS", "names no folder", "make own VIDEOS=<folder of videos, a sub-folder a speaker>")
    if not args.minutes > 0:
        raise InputError("--minutes", f"is {args.minutes:g}", "give minutes above 0")
    if not Path(args.videos).is_dir():
        problem = "is a file" if Path(args.videos).exists() else "no such folder"
        raise InputError(
            args.videos, problem, "give a folder of videos: make own VIDEOS=<folder, a sub-folder a speaker>"
        )
    base = params.validate(params.parse(presets.whole(preset), PARAMS_FILE))
    footage = look(base.corpus.folder.model_copy(update={"path": args.videos}), base.mask.margin)
    little = footage.seconds < LITTLE
    start = start_from(args.start, base, little=little) if args.start else None
    if start and "network" in start:
        base = base.model_copy(update={"network": base.network.model_copy(update=start["network"])})
    chosen = plan(footage, step_seconds(base), base, args.minutes, tuned=bool(start) and little)
    title = args.title or f"HifiDiff: {Path(args.videos).name}"
    text = presets.filled(overlay(base, args.run, title, args.videos, list(footage.shards), chosen, start), preset)
    settings = params.validate(params.parse(text, PARAMS_FILE))  # what can't work is refused before anything is written
    print(shown("\n".join(described(footage, chosen, settings.network.size))))
    target = ROOT / PARAMS_FILE
    lost = edited() and not _own(target)
    if lost and not args.yes and not asked(f"{PARAMS_FILE} has edits that no preset has; write over it?"):
        raise HifiDiffError(
            f"{PARAMS_FILE} has edits that no preset has, and was left as it is; keep them with 'cp {PARAMS_FILE} "
            "presets/<name>.yaml', or give --yes (make own VIDEOS=… OPTIONS=--yes)"
        )
    target.write_text(_marked(text), encoding="utf-8")
    print(f"wrote {PARAMS_FILE}; 'make reproduce' makes data/{args.run}/ and reports/{args.run}/")


if __name__ == "__main__":
    run(main)
