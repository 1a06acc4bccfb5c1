"""The memory that sampling a clip takes, as JSON; run by test_generate.py in a process of its own.

python memory_of_sampling.py <folder with the clip's tables> <file to write>
"""

import json
import resource
import sys
import tracemalloc
from pathlib import Path

import pyarrow as pa
import torch

from stages.base import params
from stages.clips import corpus
from stages.diffusion.schedule import Diffusion
from stages.methods.generate import generate
from stages.pretrained.hifidiff import HifiDiff
from stages.sample import write


def main() -> None:
    torch.set_num_threads(1)
    settings = params.load("presets/smoke.yaml")
    own = settings.sample.model_copy(
        update={"sampler": "ancestral", "shared_noise": 0.5, "interpolation": 0.5, "batch": 25}
    )
    network = {"reference": "aligned", "audio_steps": 16, "blink_frames": 1, "ear": "raw", "places": True}
    model = HifiDiff(
        lambda x, t, given: 0 * x + given.reference_NCHW, Diffusion(1000, "cosine", "x0"), (), {"network": network}
    )  # type: ignore[arg-type]
    tracemalloc.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clip = corpus.load(Path(sys.argv[1]), "ada", "ada_long", size=64, dilation=0.12, stream=True)
    batches = generate(model, clip, clip, own, torch.device("cpu"), lambda count: None)
    write(Path(sys.argv[2]), batches, len(clip.frames_THWC), clip.audio, settings, own)
    found = {
        "numpy": tracemalloc.get_traced_memory()[1],
        "arrow": pa.default_memory_pool().max_memory(),
        "process": 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
