"""A training by two processes, of one node or of two, as torchrun starts them, follows that of one with the same batch."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Fitted = tuple[list[dict[str, float]], dict[str, float]]  # curve, and the sum of each weight's sizes
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


def start(
    tmp_path: Path, processes: int, steps: int = 4, accumulate: int = 1, meeting: Sequence[str] = ()
) -> subprocess.Popen:
    """Start a training; ``meeting`` are torchrun's options where it isn't alone."""
    folder = tmp_path / f"{processes}_{accumulate}"
    folder.mkdir(exist_ok=True)
    script = folder / "script.py"
    script.write_text(SCRIPT.format(root=str(ROOT)))
    shape = meeting or ["--standalone", "--nproc-per-node", str(processes)]
    launcher = ["-m", "torch.distributed.run", *shape]
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


def finished(tmp_path: Path, processes: int, accumulate: int = 1) -> Fitted:
    process = start(tmp_path, processes, accumulate=accumulate)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return read(tmp_path / f"{processes}_{accumulate}")


def read(folder: Path) -> Fitted:
    return json.loads((folder / "fitted.json").read_text())


def assert_the_same(one: Fitted, two: Fitted) -> None:
    for row, other in zip(one[0], two[0], strict=True):
        assert other == pytest.approx(row, rel=2e-4)
    assert two[1] == pytest.approx(one[1], rel=1e-3, abs=1e-3)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("alone"), 1)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_follow_the_curve_of_one(alone, tmp_path, accumulate):
    assert_the_same(alone, finished(tmp_path, 2, accumulate))


def test_two_nodes_follow_the_curve_of_one_process(alone, tmp_path):
    """Two agents of torchrun, which meet at an address, as on two machines."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{door.getsockname()[1]}"
    meeting = ["--nnodes", "2", "--rdzv-id", "test", "--rdzv-backend", "c10d", "--rdzv-endpoint", place]
    agents = [start(tmp_path, 2, meeting=[*meeting, "--nproc-per-node", "1"]) for _ in range(2)]
    for agent in agents:
        output, _ = agent.communicate(timeout=300)
        assert agent.returncode == 0, output
    assert_the_same(alone, read(tmp_path / "2_1"))


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
