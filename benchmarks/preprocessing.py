"""Clip to faces shard against the direct way, with its accuracy; the spectrogram, random windows and start-up beside it.

    python -m benchmarks.preprocessing [--speakers 3 --sentences 2] [--json]

The clips are rendered, as the demo's are (``--params``). The direct way: OpenCV decodes, dlib's HOG detector sees every frame
in RGB, its landmarks are measured once, OpenCV cuts, resizes and encodes. Both take the same frames, those nearest to k / 25 s,
and write one Parquet file a speaker. The spectrogram's peer is Wav2Lip's recipe with librosa, where that is installed
(``requirements-bench.lock``); else the same written out in NumPy and SciPy, which is leaner. The report names which it was.

Accuracy is the distance to a reference, the detector on the luma of every full-size frame with one look at its landmarks. It is
held against the reference's own noise: its distance to itself on the same pictures shifted by :data:`SHIFT` pixels.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import dlib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.signal
import simplejpeg
import torch
from numpy.typing import NDArray

from benchmarks import timing
from benchmarks.timing import Goal, Report, Result, Setting, Turns
from stages import mask, media
from stages.base import params
from stages.base.errors import run
from stages.clips.corpus import HeldJpegs, decoded
from stages.clips.mel import FLOOR, LIMIT, RANGE_DB, REFERENCE_DB, Mel
from stages.corpora.rendered import speaker as rendered
from stages.faces import square
from stages.faces.geometry import ear
from stages.faces.landmarks import model_file
from stages.store import schemas, tables, tars

SHIFT = 3  # pixels to the right
WINDOW = 5  # frames
CLIP = 64  # frames of the clips that windows are drawn from: 2.54 s, the mean of CREMA-D's clips
AGAIN = 20  # times that a turn goes through the clips' sound, which takes 3 ms
FASTER, FRAME_MS, WITHIN_NOISE = Goal(least=10), Goal(most=2.5), Goal(most=1.0)
MEL_FASTER, MEL_ERROR, OVER_NPZ, OVER_TAR = Goal(least=2), Goal(most=1e-4), Goal(least=28), Goal(least=5)

ONE_THREAD = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Image = NDArray[np.uint8]
Points = NDArray[np.float64]  # (68, 2), pixels of the picture


@dataclass(frozen=True)
class Media:
    """The rendered speakers: their tars, and each clip as a file of its own, which is what OpenCV reads."""

    folder: Path
    paths: list[Path]
    files: dict[str, Path]  # by clip

    @classmethod
    def render(cls, folder: Path, settings: params.Rendered, speakers: Sequence[str]) -> Media:
        paths = [folder / f"{speaker}.tar" for speaker in speakers]
        files = {}
        for speaker, tar in zip(speakers, paths, strict=True):
            rendered.take(settings, speaker, tar)
            for clip in tars.listing(tar):
                files[clip["clip"]] = folder / clip["file"]
                files[clip["clip"]].write_bytes(tars.read(tar, clip["file"]))
        return cls(folder, paths, files)

    def clips(self, tar: Path) -> list[str]:
        return [clip["clip"] for clip in tars.listing(tar)]

    def lids(self, fps: float) -> dict[str, NDArray[np.float64]]:
        """The rendered opening of the eyes on the time base, by clip, (T,) in [0, 1]; T as the source has it."""
        found = {}
        for tar in self.paths:
            table = pq.read_table(io.BytesIO(tars.read(tar, "truth.parquet")))
            for row in table.to_pylist():
                times = np.array(row["time_s"])
                lids = np.mean([row["eyelid_left"], row["eyelid_right"]], 0)
                found[row["clip"]] = np.interp(np.arange(int(times[-1] * fps) + 1) / fps, times, lids)
        return found


# --- the two ways ----------------------------------------------------------------------------------------------------


def ours(source: Media, settings: params.Mask) -> list[Path]:
    """The mask stage's own work, a speaker after the other: the shards' paths."""
    shards = []
    for tar in source.paths:
        shards.append(source.folder / f"{tar.stem}_ours.parquet")
        with tables.writer(shards[-1], schemas.FACES) as write:
            for clip in tars.listing(tar):
                for row in mask.rows(tar, clip["file"], clip["clip"], settings):
                    write(row)
    return shards


class Direct:
    """The peer: the detector on every frame in RGB, everything else by OpenCV."""

    def __init__(self, settings: params.Mask) -> None:
        self.settings = settings
        self.detector, self.predictor = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(model_file()))

    def find(self, image: Image) -> Points | None:
        """The landmarks of the largest face of a picture, (H, W) or (H, W, 3)."""
        boxes = self.detector(image, 0)
        if not boxes:
            return None
        box = max(boxes, key=lambda box: box.area())
        return np.array([(p.x, p.y) for p in self.predictor(image, box).parts()], np.float64)

    def images(self, path: Path) -> Iterator[Image]:
        """RGB frames nearest to k / fps, by their number."""
        video = cv2.VideoCapture(str(path))
        rate, count, number = video.get(cv2.CAP_PROP_FPS), 0, 0
        while video.grab():
            while round(number / self.settings.fps * rate) == count:
                image = cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB)
                yield image.astype(np.uint8, copy=False)
                number += 1
            count += 1
        video.release()

    def clip(self, path: Path) -> tuple[list[bytes], list[Points | None]]:
        """JPEGs of the face in each frame, empty where there is none, and the landmarks."""
        jpegs, found = [], []
        for image in self.images(path):
            points = self.find(image)
            found.append(points)
            jpegs.append(b"" if points is None else self.jpeg(image, points))
        return jpegs, found

    def jpeg(self, image: Image, points: Points) -> bytes:
        crop = square.crop_square(points[None], self.settings.margin)
        face = cv2.cvtColor(media.cut(image, crop, self.settings.size), cv2.COLOR_RGB2BGR)
        return cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, self.settings.jpeg_quality])[1].tobytes()

    def shards(self, source: Media) -> dict[str, list[Points | None]]:
        """All speakers, a Parquet file each: the landmarks by clip."""
        landmarks = {}
        for tar in source.paths:
            table: dict[str, list[Any]] = {"clip": [], "frames": [], "landmarks": []}
            for clip in source.clips(tar):
                jpegs, landmarks[clip] = self.clip(source.files[clip])
                flat = [value for points in landmarks[clip] if points is not None for value in points.ravel().tolist()]
                for name, value in (("clip", clip), ("frames", jpegs), ("landmarks", flat)):
                    table[name].append(value)
            pq.write_table(pa.table(table), source.folder / f"{tar.stem}_direct.parquet")
        return landmarks


# --- accuracy --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Distance:
    """The distance of landmarks from the reference, over all frames that have both."""

    rms: float  # median over the frames of the root mean square over the points, pixels
    p95: float  # 95th percentile of the same
    ear: float  # mean absolute difference of the eyes' aspect ratio

    @classmethod
    def between(cls, found: Sequence[Points | None], reference: Sequence[Points | None]) -> Distance:
        pairs = [(a, b) for a, b in zip(found, reference, strict=False) if a is not None and b is not None]
        a_N, b_N = (np.array(points) for points in zip(*pairs, strict=True))
        rms_N = np.sqrt(((a_N - b_N) ** 2).sum(-1).mean(-1))
        return cls(float(np.median(rms_N)), float(np.percentile(rms_N, 95)), float(np.abs(ear(a_N) - ear(b_N)).mean()))


def shifted(image: Image) -> Image:
    """The picture :data:`SHIFT` pixels further right, its left edge repeated."""
    wider = cv2.copyMakeBorder(image, 0, 0, SHIFT, 0, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(wider[:, :-SHIFT], np.uint8)


def stored(shards: Sequence[Path]) -> dict[str, list[Points | None]]:
    """The landmarks that the mask stage wrote, in source pixels, by clip; None where they were interpolated."""
    found: dict[str, list[Points | None]] = {}
    for shard in shards:
        for row in tables.read(shard, schemas.FACES).to_pylist():
            x, y, side = row["crop"]
            size = simplejpeg.decode_jpeg_header(row["frames"][0])[0]
            points = (np.array(row["landmarks"]).reshape(-1, 68, 2) + 0.5) * (side / size) - 0.5 + [x, y]
            seen = zip(points, row["detected"], strict=True)
            found.setdefault(row["clip"], []).extend(p if detected else None for p, detected in seen)
    return found


def accuracy(
    source: Media, found: dict[str, list[Points | None]], direct: dict[str, list[Points | None]], peer: Direct
) -> list[Result]:
    """The gates, and how well the eyes' aspect ratio follows the rendered lids."""
    reference: list[Points | None] = []
    moved: list[Points | None] = []
    measured: list[Points | None] = []
    for clip, points in found.items():
        with source.files[clip].open("rb") as file:
            converter = media.Converter()
            for picture in media.pictures(file, fps=peer.settings.fps, clip=clip):
                luma = converter.luma(picture)
                there = peer.find(shifted(luma))
                reference.append(peer.find(luma))
                moved.append(None if there is None else there - [SHIFT, 0])
        measured.extend(points)
    error, noise = Distance.between(measured, reference), Distance.between(moved, reference)
    frames = sum(map(len, direct.values()))
    recall = sum(p is not None for p in measured) / len(measured)
    peers = sum(p is not None for points in direct.values() for p in points) / frames
    lids = source.lids(peer.settings.fps)
    return [
        Result("rms_ratio", "landmarks' median RMS over the noise", error.rms / noise.rms, WITHIN_NOISE),
        Result("p95_ratio", "the 95th percentile over the noise's", error.p95 / noise.p95, WITHIN_NOISE),
        Result("ear_ratio", "error of the eyes' aspect ratio over the noise's", error.ear / noise.ear, WITHIN_NOISE),
        Result("recall", "share of the frames with a face; the goal is the direct way's", recall, Goal(least=peers)),
        Result("rms_px", "median RMS to the reference, pixels", error.rms),
        Result("p95_px", "95th percentile, pixels", error.p95),
        Result("ear_error", "mean error of the eyes' aspect ratio", error.ear),
        Result("noise_rms_px", f"median RMS of the reference to itself, shifted by {SHIFT} pixels", noise.rms),
        Result("noise_p95_px", "its 95th percentile, pixels", noise.p95),
        Result("noise_ear_error", "its error of the eyes' aspect ratio", noise.ear),
        Result("lids_r", "correlation of the eyes' aspect ratio with the rendered lids", follows(found, lids)),
        Result("lids_r_direct", "the same of the direct way", follows(direct, lids)),
    ]


def follows(found: dict[str, list[Points | None]], lids: dict[str, NDArray[np.float64]]) -> float:
    """Mean over the clips of the correlation between the mean EAR and the rendered lids."""
    correlations = []
    for clip, points in found.items():
        pairs = [(ear(p).mean(), lid) for p, lid in zip(points, lids[clip], strict=False) if p is not None]
        correlations.append(np.corrcoef(np.array(pairs).T)[0, 1])
    return float(np.mean(correlations))


# --- the other stages ------------------------------------------------------------------------------------------------


Recipe = Callable[[NDArray[np.float32]], NDArray[np.floating]]


def mel_peer(settings: params.Spectrogram) -> tuple[str, Recipe]:
    """The spectrogram's peer and its name: librosa where it is installed, else :func:`recipe`."""
    if importlib.util.find_spec("librosa") is None:
        return "librosa's recipe in NumPy and SciPy (librosa is not installed)", recipe(settings)
    import librosa

    return f"Wav2Lip's recipe with librosa {librosa.__version__}", librosa_recipe(settings)


def librosa_recipe(settings: params.Spectrogram) -> Recipe:
    """Wav2Lip's ``audio.melspectrogram`` by the functions of librosa that it calls: (N,) → (S, M) in [-4, 4].

    Filters are made once, as there. Edges are reflected, which was librosa's default when Wav2Lip was written.
    """
    import librosa

    basis = librosa.filters.mel(
        sr=settings.sample_rate, n_fft=settings.n_fft, n_mels=settings.n_mels, fmin=settings.f_min, fmax=settings.f_max
    )

    def mel(audio_N: NDArray[np.float32]) -> NDArray[np.floating]:
        emphasised = scipy.signal.lfilter([1, -settings.preemphasis], [1], audio_N)
        spectrum = librosa.stft(
            y=emphasised, n_fft=settings.n_fft, hop_length=settings.hop, win_length=settings.n_fft, pad_mode="reflect"
        )
        return normalised(np.dot(basis, np.abs(spectrum))).T

    return mel


def normalised(magnitude_MS: NDArray[np.floating]) -> NDArray[np.floating]:
    """Mel magnitudes in decibels, spread over [-4, 4]."""
    decibels = 20 * np.log10(np.maximum(FLOOR, magnitude_MS)) - REFERENCE_DB
    return np.clip(2 * LIMIT * ((decibels + RANGE_DB) / RANGE_DB) - LIMIT, -LIMIT, LIMIT)


def recipe(settings: params.Spectrogram) -> Recipe:
    """Wav2Lip's ``audio.melspectrogram`` as librosa computes it, written out: (N,) → (S, M) in [-4, 4].

    ``lfilter`` for the pre-emphasis, reflected edges, a Hann window, ``rfft`` in single precision, Slaney's filters (made once).
    """
    from torchaudio.functional import melscale_fbanks

    n_fft, hop = settings.n_fft, settings.hop
    window = scipy.signal.get_window("hann", n_fft).astype(np.float32)
    filters = melscale_fbanks(
        n_fft // 2 + 1, settings.f_min, settings.f_max, settings.n_mels, settings.sample_rate, "slaney", "slaney"
    )
    basis = np.ascontiguousarray(filters.numpy().T)

    def mel(audio_N: NDArray[np.float32]) -> NDArray[np.floating]:
        emphasised = scipy.signal.lfilter([1, -settings.preemphasis], [1], audio_N)
        padded = np.pad(emphasised, n_fft // 2, mode="reflect").astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
        magnitude = np.abs(scipy.fft.rfft((windows * window).T, axis=0))
        return normalised(basis @ magnitude).T

    return mel


def clips_of(shards: Sequence[Path]) -> list[list[bytes]]:
    """The shards' JPEGs as clips of :data:`CLIP` frames: a speaker's own, one after another, for they are shorter.

    An npz is decompressed whole, so that what a window costs there depends on the clip's length.
    """
    clips: list[list[bytes]] = []
    for shard in shards:
        frames = [jpeg for row in tables.read(shard, schemas.FACES)["frames"].to_pylist() for jpeg in row]
        length = min(CLIP, len(frames))
        clips += [frames[start : start + length] for start in range(0, len(frames) - length + 1, length)]
    return clips


def windows(shards: Sequence[Path], folder: Path, count: int) -> dict[str, Callable[[], list[Image]]]:
    """``count`` random windows of five frames, by three ways: the shard in memory, compressed npz files, a tar of JPEGs."""
    rows = clips_of(shards)
    size = simplejpeg.decode_jpeg_header(rows[0][0])[0]
    held = [decoded(HeldJpegs(pa.array(jpegs, pa.binary())), len(jpegs), size) for jpegs in rows]
    npz = [folder / f"{number}.npz" for number in range(len(held))]
    for path, jpegs in zip(npz, rows, strict=True):
        np.savez_compressed(path, frames=np.stack([simplejpeg.decode_jpeg(jpeg) for jpeg in jpegs]))
    paths = [folder / f"{number}_frames.tar" for number in range(len(held))]
    for path, jpegs in zip(paths, rows, strict=True):
        tars.write(path, [(f"{t:05d}.jpg", jpeg) for t, jpeg in enumerate(jpegs)])
    rng = np.random.default_rng(0)
    chosen = [(clip, int(rng.integers(len(rows[clip]) - WINDOW + 1))) for clip in rng.integers(len(rows), size=count)]

    def from_tar(clip: int, start: int) -> Image:
        parts = (tars.read(paths[clip], f"{t:05d}.jpg") for t in range(start, start + WINDOW))
        return np.stack([simplejpeg.decode_jpeg(jpeg) for jpeg in parts])

    return {
        "shard": lambda: [held[clip][start : start + WINDOW] for clip, start in chosen],
        "npz": lambda: [np.load(npz[clip])["frames"][start : start + WINDOW] for clip, start in chosen],
        "tar": lambda: [from_tar(clip, start) for clip, start in chosen],
    }


def start_up() -> float:
    """CPU seconds of a job before its first clip: the interpreter, the imports, the detector and the landmark model.

    With one thread, as Snakemake starts it.
    """
    code = "from stages import mask; from stages.faces import landmarks; landmarks._detector(); landmarks._cascade()"

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = spent()
    subprocess.run([sys.executable, "-c", code], check=True, env=ONE_THREAD)
    return spent() - before


def scaling(source: Media, settings_file: Path, jobs: int) -> float:
    """The work of ``jobs`` jobs side by side in the time of one, counted in jobs, by the wall clock."""

    def seconds(paths: Sequence[Path]) -> float:
        begun = time.perf_counter()
        commands = [
            ["--raw", str(tar), "--out", str(tar.with_suffix(".scaled")), "--params", str(settings_file)]
            for tar in paths
        ]
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "stages.mask", *command],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=ONE_THREAD,
            )
            for command in commands
        ]
        if sum(process.wait() != 0 for process in running):  # waits for all
            raise RuntimeError("a job of the mask stage failed")
        return time.perf_counter() - begun

    alone = sum(seconds([tar]) for tar in source.paths[:jobs])
    return alone / seconds(source.paths[:jobs])


def results(turns: Turns, frames: int, started: float) -> list[Result]:
    """The lines of the report on speed."""
    each = turns.median("ours") / frames
    return [
        Result("speedup", "clip to faces shard, over the direct way", turns.ratio("direct", "ours"), FASTER),
        Result("ms_per_frame", "ms a frame", 1e3 * each, FRAME_MS),
        Result("ms_per_frame_direct", "ms a frame, the direct way", 1e3 * turns.median("direct") / frames),
        Result("startup_s", "start-up of a job, CPU seconds", started),
        Result("startup_frames", "frames that take as long", started / each),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params", type=Path, default=Path("presets/demo.yaml"), help="sections corpus, mask, spectrogram"
    )
    parser.add_argument("--speakers", type=int, default=3, help="the first so many of corpus.shards")
    parser.add_argument("--sentences", type=int, default=2, help="clips of each")
    parser.add_argument("--windows", type=int, default=50, help="random windows a turn")
    parser.add_argument("--jobs", type=int, default=1, help="2 or more: also time so many mask jobs side by side")
    parser.add_argument("--turns", type=int, default=5, help="timed calls of each case")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    given = params.load(args.params)
    setting = Setting(torch.device("cpu"), bf16=False, turns=args.turns, warmup=1)
    with tempfile.TemporaryDirectory() as folder:
        clips = given.corpus.rendered.model_copy(update={"sentences": args.sentences, "long_speakers": []})
        source = Media.render(Path(folder), clips, given.corpus.shards[: args.speakers])
        shards = ours(source, given.mask)  # first, so that what it does to its memory does not help the peer
        peer = Direct(given.mask)
        direct = peer.shards(source)
        found = stored(shards)
        turns = Setting(setting.device, False, args.turns, 0).time(
            {"ours": lambda: ours(source, given.mask), "direct": lambda: peer.shards(source)}
        )
        lines = results(turns, sum(map(len, found.values())), start_up())
        lines += accuracy(source, found, direct, peer)
        audio = [media.decode_audio(path, given.spectrogram.sample_rate) for path in source.files.values()]
        lines += spectrograms(audio, given.spectrogram, setting)
        lines += reading(setting.time(windows(shards, Path(folder), args.windows)), args.windows)
        if args.jobs > 1:
            lines.append(
                Result(
                    "scaling",
                    f"{args.jobs} mask jobs side by side, over one (wall clock)",
                    scaling(source, args.params, args.jobs),
                )
            )
    machine = setting.machine() | {
        "clips": f"{args.speakers} speakers, {args.sentences} each",
        "dlib": dlib.__version__,
    }
    timing.show(Report("preprocessing", machine, lines), as_json=args.json)


def spectrograms(audio: Sequence[NDArray[np.float32]], given: params.Spectrogram, setting: Setting) -> list[Result]:
    """The mel spectrogram of all clips against the recipe."""
    mel, (name, peer) = Mel(given), mel_peer(given)
    again = list(audio) * AGAIN
    turns = setting.time({"mel": lambda: [mel(x) for x in again], "recipe": lambda: [peer(x) for x in again]})
    error = max(float(np.abs(mel.exact(x) - peer(x)).max()) for x in audio)
    return [
        Result(
            "mel_speedup",
            f"mel spectrogram, over {name}",
            turns.ratio("recipe", "mel"),
            MEL_FASTER,
        ),
        Result("mel_error", "largest difference of the two before ours is rounded", error, MEL_ERROR),
    ]


def reading(turns: Turns, count: int) -> list[Result]:
    """Random windows by each way."""
    return [
        Result("windows_over_npz", "random windows, over compressed npz", turns.ratio("npz", "shard"), OVER_NPZ),
        Result("windows_over_tar", "over a tar of JPEGs a clip", turns.ratio("tar", "shard"), OVER_TAR),
        Result("rate_windows", f"random windows of {WINDOW} frames a CPU second", count / turns.median("shard")),
    ]


if __name__ == "__main__":
    run(main)
