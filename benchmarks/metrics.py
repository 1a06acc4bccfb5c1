"""The Fréchet solver against SciPy's matrix root, and the one pass over a video against running the metrics one by one.

    python -m benchmarks.metrics               # 2048 values: a minute a turn on one core, nearly all of it SciPy's
    python -m benchmarks.metrics --size 512    # seconds

The solver: tr (Σ₁ Σ₂)^½ of two covariances of full rank, the term that costs. The pass: a rendered clip as the stage ``features``
measures it, against the same measurements made by one small program each: every one decodes the video, and each that needs the
face asks dlib. The encoders have the demo's size and random weights.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy import linalg

from benchmarks import timing
from benchmarks.timing import Goal, Report, Result, Setting
from stages import features, media
from stages.base import params
from stages.clips.clip import Clip
from stages.corpora.rendered import speaker
from stages.faces import observed
from stages.faces.geometry import clip_masks, ear
from stages.faces.landmarks import FaceTracker, luma
from stages.measures import artefacts, frechet, image, smoothness
from stages.measures.networks.judges import FrameEncoder, SyncJudge, VideoEncoder
from stages.pretrained.judges import Judges
from stages.scoring.observer import Observer
from stages.store import tars, weights_file

WIDTH, EMBEDDING, SIDE = 16, 64, 64  # the demo's
Cases = dict[str, Callable[[], object]]


def covariances(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Two of full rank, of correlated values of unequal spread."""
    rng = np.random.default_rng(size)
    mix = rng.normal(size=(size, size)) / size**0.5 + np.eye(size)
    found = []
    for _ in range(2):
        x = (rng.normal(size=(2 * size, size)) @ mix) * rng.uniform(0.3, 2, size)
        found.append(frechet.moments(x)[1])
    return found[0], found[1]


def solvers(size: int) -> Cases:
    """Ours and SciPy's way to the same number, which is checked."""
    a, b = covariances(size)

    def ours() -> float:
        return frechet.trace_of_root(a, b)

    def scipys() -> float:
        return float(np.real(np.trace(linalg.sqrtm(a @ b))))

    return {"ours": ours, "scipy": scipys}


def judges(folder: Path) -> Judges:
    """Encoders of the demo's size with random weights."""
    torch.manual_seed(0)
    how = {"width": WIDTH, "embedding": EMBEDDING}
    heads = {"speaker": 10, "corruption": 6, "opening": 2}
    networks: dict[str, torch.nn.Module] = {"sync": SyncJudge(width=WIDTH, embedding=EMBEDDING)}
    networks["frame"] = FrameEncoder(width=WIDTH, embedding=EMBEDDING, heads=heads)
    networks["video"] = VideoEncoder(width=WIDTH, embedding=EMBEDDING, heads=heads)
    for name, network in networks.items():
        config = {"judge": name, **how, "size": SIDE} | ({} if name == "sync" else {"heads": heads})
        weights_file.write(folder / f"{name}.safetensors", network.state_dict(), config)
    return Judges(folder, 64)


def clip(folder: Path, frames: int) -> tuple[Clip, bytes]:
    """A rendered clip at the demo's size, and an mp4 of it."""
    settings = params.load("presets/demo.yaml")
    speaker.take(settings.corpus.rendered.model_copy(update={"sentences": 1}), "ada", folder / "ada.tar")
    name = tars.listing(folder / "ada.tar")[0]["file"]
    source = media.decode(tars.read(folder / "ada.tar", name), fps=25)[:frames, :, 60:420]
    points = np.stack([p for p in FaceTracker(10, 2).follow([luma(f) for f in source]) if p is not None])
    scale = SIDE / source.shape[1]
    small = np.stack([cv2.resize(f, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for f in source]).astype(np.uint8)
    media.write_video(folder / "ada.mp4", small, fps=25, audio=None, sample_rate=16000, crf=12)
    points = ((points + 0.5) * scale - 0.5).astype(np.float32)
    found = Clip(
        name="ada_s01",
        speaker="ada",
        frames_THWC=small,
        landmarks_TL2=points,
        masks_THW=clip_masks(points, SIDE, settings.mask.dilation),
        ear_T2=ear(points).astype(np.float32),
        mel_SM=np.zeros((len(small) * 16 // 5 + 1, 80), np.float32),
        audio=np.zeros(len(small) * 640, np.int16),
        blinks=[],
    )
    return found, (folder / "ada.mp4").read_bytes()


def passes(made: Clip, video: bytes, encoders: Judges, upscale: int) -> Cases:
    """One pass; and the same things one by one."""
    true, masks = np.asarray(made.frames_THWC), np.asarray(made.masks_THW)

    def decoded() -> np.ndarray:
        return media.decode(video, fps=25)

    def one_pass() -> None:
        features.row(features.Video(made, made.name, decoded()), Observer(encoders, None, upscale))

    singly: list[Callable[[], object]] = [
        lambda: encoders.features(
            decoded(), masks
        ),  # both pictures and windows: a Fréchet script of each would cost more
        lambda: encoders.mouths(decoded(), made.landmarks_TL2),
        lambda: observed.measure(decoded(), upscale),  # eyes: EAR and blinks
        lambda: observed.measure(decoded(), upscale),  # mouth
        lambda: observed.measure(decoded(), upscale),  # landmark distance
        lambda: observed.measure(decoded(), upscale),  # identity
        lambda: image.psnr(decoded(), true, masks),
        lambda: image.ssim(decoded(), true, masks),
        lambda: artefacts.grid_energy(decoded(), masks),
        lambda: artefacts.border_gradient(decoded(), masks),
        lambda: smoothness.f_mse(decoded(), masks),
        lambda: smoothness.ofm(decoded(), masks),
        lambda: smoothness.warp_error(decoded(), smoothness.flows(true, backward=True), masks),
    ]

    def one_by_one() -> None:
        for measure in singly:
            measure()

    return {"one_pass": one_pass, "one_by_one": one_by_one}


def measure(setting: Setting, *, size: int, frames: int, upscale: int) -> list[Result]:
    """The table's rows."""
    cases = solvers(size)
    values = {name: float(run()) for name, run in cases.items()}  # type: ignore[arg-type]
    apart = abs(values["ours"] / values["scipy"] - 1)
    solver = replace(setting, warmup=0).time(cases)
    with tempfile.TemporaryDirectory() as folder:
        made, video = clip(Path(folder), frames)
        videos = setting.time(passes(made, video, judges(Path(folder)), upscale))
    return [
        Result("solver", f"SciPy's seconds over ours, {size} values", solver.ratio("scipy", "ours"), Goal(least=10)),
        Result("solver_s", "seconds, ours", solver.median("ours")),
        Result("scipy_s", "seconds, SciPy's sqrtm", solver.median("scipy")),
        Result("apart", "relative difference of the two traces", apart, Goal(most=1e-9)),
        Result("pass", "metrics one by one, seconds over one pass", videos.ratio("one_by_one", "one_pass")),
        Result("pass_s", f"seconds of the pass, {frames} frames", videos.median("one_pass")),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--turns", type=int, default=3, help="timed calls of each case")
    parser.add_argument("--size", type=int, default=2048, help="values of a feature; FID's: 2048")
    parser.add_argument("--frames", type=int, default=50, help="of the clip, at most")
    args = parser.parse_args()
    setting = Setting.of(argparse.Namespace(**vars(args), device="cpu", dtype="fp32", warmup=1))
    upscale = params.load("presets/demo.yaml").metrics.upscale
    results = measure(setting, size=args.size, frames=args.frames, upscale=upscale)
    machine = {**setting.machine(), "numpy": np.__version__}
    timing.show(Report("metrics", machine, results), as_json=args.json)


if __name__ == "__main__":
    main()
