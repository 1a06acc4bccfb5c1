"""A resumed loop ends with the bits of one that never stopped; foreign and damaged states are left aside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stages.base.errors import InputError
from stages.store import weights_file
from stages.training import resume


def _train(path: Path, until: int, *, key: str = "k") -> torch.nn.Module:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    found = resume.load(path, key=key)
    first = 0
    if found:
        first, states = found
        network.load_state_dict(states["network"])
        optimiser.load_state_dict(states["optimiser"])
    for step in range(first, until):
        batch = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        network(batch).square().mean().backward()
        optimiser.step()
        if resume.due(step, 3, until):
            resume.save(path, step + 1, {"network": network.state_dict(), "optimiser": optimiser.state_dict()}, key=key)
    return network


def test_resumed_training_equals_uninterrupted(tmp_path: Path) -> None:
    whole = _train(tmp_path / "a.pt", 10)
    _train(tmp_path / "b.pt", 6)
    resumed = _train(tmp_path / "b.pt", 10)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_state_of_other_parameters_is_left_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "state.pt"
    resume.save(path, 3, {"network": {}}, key="one")
    assert resume.load(path, key="two") is None
    assert "other parameters" in capsys.readouterr().err
    assert resume.load(path, key="one") == (3, {"network": {}})


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04 cut"])
def test_damaged_state_is_left_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    path = tmp_path / "state.pt"
    path.write_bytes(content)
    assert resume.load(path, key="one") is None
    assert "starting from step 0" in capsys.readouterr().err


def test_fingerprint_sees_settings_and_files(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"1")
    before = resume.fingerprint({"steps": 3}, [data])
    assert before == resume.fingerprint({"steps": 3}, [data])
    assert before != resume.fingerprint({"steps": 4}, [data])
    data.write_bytes(b"2")
    assert before != resume.fingerprint({"steps": 3}, [data])


def test_lock_waits_for_the_other_process(tmp_path: Path) -> None:
    child = "\n".join(
        [
            "import sys; from pathlib import Path; from stages.training import resume",
            "with resume.lock(Path(sys.argv[1])): print('mine')",
        ]
    )
    with resume.lock(tmp_path):
        process = subprocess.Popen([sys.executable, "-c", child, tmp_path], stdout=-1, stderr=-1, text=True)
        assert process.stderr is not None
        assert "waiting" in process.stderr.readline()
        assert process.poll() is None
    out, _ = process.communicate(timeout=30)
    assert out.strip() == "mine"


def test_weights_round_trip_with_the_same_bytes(tmp_path: Path) -> None:
    tensors = {"b": torch.randn(3, generator=torch.Generator().manual_seed(1)), "a": torch.zeros(2, 2)}
    for name in ("one", "two"):
        weights_file.write(tmp_path / name, tensors, {"width": 4, "name": "x"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    back, config = weights_file.read(tmp_path / "one")
    assert config == {"width": 4, "name": "x"}
    assert all(torch.equal(back[k], tensors[k]) for k in tensors)


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 64, b"short"])
def test_weights_that_are_none_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="snakemake"):
        weights_file.read(path)
