"""A training by two processes, as torchrun starts them, follows the one of a single process with the same batch."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import dataclasses, json, sys
from pathlib import Path

import torch

sys.path[:0] = [{root!r}, {root!r} + "/tests", {root!r} + "/tests/unit"]
import test_training as t
from conftest import clip_of
from stages.diffusion.losses import pyramid_distance
from stages.networks import seeded
from stages.networks.lipsync_expert import LipSyncExpert
from stages.pretrained.hifidiff import HifiDiff
from stages.training import processes
from stages.training.objective import Objective

torch.set_num_threads(1)
steps, folder = int(sys.argv[1]), Path(sys.argv[2])
settings = t.TRAIN.model_copy(update=dict(steps=steps, batch=2, log_every=1, accumulate=int(sys.argv[3])))
data = dataclasses.replace(t.training_data([clip_of("ada_s01"), clip_of("bela_s01")]), batch=2, singles=2)
model = seeded(1, lambda: HifiDiff.from_config(t.CONFIG))
expert = seeded(2, lambda: LipSyncExpert(width=4, embedding=8, size=32, sees="mouth")).eval().requires_grad_(False)
objective = Objective(model.diffusion, expert, pyramid_distance, t.SETTINGS.loss, composite=True)
with processes.joined(torch.device("cpu")) as world:
    say = lambda step: world.first and print("step", step, flush=True)
    fitted = t.fit(model.net, objective, data, settings, state=folder / "state.pt", on_step=say, world=world)
    if world.first:
        sums = {{name: float(value.double().abs().sum()) for name, value in fitted.weights.items()}}
        (folder / "fitted.json").write_text(json.dumps([fitted.curves, sums]))
"""


def start(tmp_path: Path, processes: int, steps: int = 4, accumulate: int = 1) -> subprocess.Popen:
    folder = tmp_path / f"{processes}_{accumulate}"
    folder.mkdir(exist_ok=True)
    script = folder / "script.py"
    script.write_text(SCRIPT.format(root=str(ROOT)))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [
        sys.executable,
        *(launcher if processes > 1 else []),
        str(script),
        str(steps),
        str(folder),
        str(accumulate),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def finished(tmp_path: Path, processes: int, accumulate: int = 1) -> tuple[list[dict[str, float]], dict[str, float]]:
    process = start(tmp_path, processes, accumulate=accumulate)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return json.loads((tmp_path / f"{processes}_{accumulate}" / "fitted.json").read_text())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("alone"), 1)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_follow_the_curve_of_one(alone, tmp_path, accumulate):
    curve, weights = finished(tmp_path, 2, accumulate)
    for one, two in zip(alone[0], curve, strict=True):
        assert two == pytest.approx(one, rel=2e-4)
    assert weights == pytest.approx(alone[1], rel=1e-3, abs=1e-3)


def test_sigterm_saves_the_state_of_all_processes_and_the_same_command_goes_on(alone, tmp_path):
    process = start(tmp_path, 2, steps=100_000)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 2"):
            break
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 60
    output, _ = process.communicate(timeout=deadline - time.monotonic())
    assert process.returncode != 0
    assert "stopped by SIGTERM after step" in output
    assert (tmp_path / "2_1" / "state.pt").exists()
    again = start(tmp_path, 2, steps=100_000)
    assert again.stdout is not None
    first = next(line for line in again.stdout if line.startswith("step"))
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=60)
    assert int(first.split()[1]) >= 3
