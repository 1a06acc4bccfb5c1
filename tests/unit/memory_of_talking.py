"""The memory of an hour of sound beyond a minute, bytes, as JSON; run by test_talking_memory.py in a process of its own.

python memory_of_talking.py <folder to write to>

The network is replaced by its input, and of the hour's film only the first and the last frames are made: a frame leaves nothing
behind, which films of one and of six minutes show that are written whole, at a frame a second.
"""

import json
import resource
import sys
import wave
from collections import deque
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from stages.base import params
from stages.diffusion.schedule import Diffusion
from stages.pretrained.hifidiff import HifiDiff
from stages.talking import film, portrait
from stages.talking.batch import Batch
from stages.talking.film import Options, talk

HZ, MINUTE = 8000, 60


def sound(path: Path, seconds: int) -> Path:
    """Noise that swells four times a second."""
    rng = np.random.default_rng(0)
    swell = np.sin(4 * np.pi * np.arange(HZ) / HZ) ** 2
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, HZ, 0, "NONE", ""))
        for _ in range(seconds):
            file.writeframes((3000 * swell * rng.standard_normal(HZ)).clip(-32768, 32767).astype("<i2").tobytes())
    return path


def model() -> HifiDiff:
    demo = params.load("presets/demo.yaml")
    config: dict[str, Any] = {
        "network": demo.network.model_dump() | {"size": 16},
        "mask": demo.mask.model_dump(),
        "spectrogram": demo.spectrogram.model_dump(),
        "corpus": {"open_ear": [0.4, 0.43, 0.47], "jaw_drop": [0.1, 0.2, 0.3], "mouth_opening": [0.1, 0.2, 0.3],
                   "level_db": [-19.0, -18.0, -17.0]},
    }  # fmt: skip
    net = torch.nn.Module()
    net.forward = lambda x, t, given: 0 * x + given.reference_NCHW  # type: ignore[method-assign]
    return HifiDiff(net, Diffusion(1000, "cosine", "x0"), (), config)  # type: ignore[arg-type]


def points() -> np.ndarray:
    """68 points where a face's are, in a picture of 64 pixels."""
    x, y = np.meshgrid(np.linspace(16, 48, 17), np.linspace(14, 54, 4))
    found = np.stack([x.ravel(), y.ravel()], -1)
    found[[36, 45, 33]] = [22, 26], [42, 26], [32, 38]
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    Image.new("RGB", (64, 64), (90, 120, 60)).save(folder / "face.png")
    portrait.choose = lambda *args, **more: points()  # dlib's own memory is no matter of length

    def made(seconds: int, **more: Any) -> film.Film:
        path = sound(folder / f"{seconds}.wav", seconds)
        return talk(model(), folder / "face.png", path, Options(check=False, steps=1, **more))

    def both_ends(seconds: int) -> None:
        whole = made(seconds)
        assert len(whole) == 25 * seconds
        deque(islice(whole, 50), maxlen=0)
        last = Batch(whole, range(len(whole) - 25, len(whole)))
        assert last.given().mel_NSM.shape == (25, 16, 80)
        whole.heard[len(whole.heard) - HZ :]

    def written(seconds: int) -> None:
        made(seconds, fps=1.0).save(folder / f"{seconds}.mp4")

    def peak() -> int:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    both_ends(MINUTE)
    written(MINUTE)
    peaks = [peak()]
    written(6 * MINUTE)
    peaks.append(peak())
    both_ends(60 * MINUTE)
    peaks.append(peak())
    print(json.dumps({"written": peaks[1] - peaks[0], "hour": peaks[2] - peaks[0]}))


if __name__ == "__main__":
    main()
