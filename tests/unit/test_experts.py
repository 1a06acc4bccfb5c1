"""The public lip-sync expert: its layout, its conversion from a hashed file, and how the expert stage takes it over."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_run
import pytest
import torch
from torch import nn

from stages import convert
from stages.base.errors import InputError
from stages.expert import take_over
from stages.fetching.public_files import PublicFile
from stages.networks import seeded
from stages.networks.lipsync_expert import LipSyncExpert
from stages.networks.wav2lip_expert import Wav2LipExpert
from stages.pretrained import lipsync_expert
from stages.store import schemas, tables, weights_file
from workflow.sources import ROOT

# The layers as published, (channels in, out, kernel, residual): written here apart from the code that builds them.
FACE = [(15, 32, 7, 0), (32, 64, 5, 0), *[(64, 64, 3, 1)] * 2, (64, 128, 3, 0), *[(128, 128, 3, 1)] * 3, (128, 256, 3, 0),
        *[(256, 256, 3, 1)] * 2, (256, 512, 3, 0), *[(512, 512, 3, 1)] * 2, (512, 512, 3, 0), (512, 512, 3, 0),
        (512, 512, 1, 0)]  # fmt: skip
AUDIO = [(1, 32, 3, 0), *[(32, 32, 3, 1)] * 2, (32, 64, 3, 0), *[(64, 64, 3, 1)] * 2, (64, 128, 3, 0),
         *[(128, 128, 3, 1)] * 2, (128, 256, 3, 0), *[(256, 256, 3, 1)] * 2, (256, 512, 3, 0), (512, 512, 1, 0)]  # fmt: skip


def public_state() -> dict[str, torch.Tensor]:
    """Random weights under the public file's names and shapes."""
    generator = torch.Generator().manual_seed(4)
    state = {}
    for tower, layers in (("face_encoder", FACE), ("audio_encoder", AUDIO)):
        for number, (c_in, c_out, kernel, _) in enumerate(layers):
            block = f"{tower}.{number}.conv_block"
            scale = (2 / (c_in * kernel**2)) ** 0.5
            state[f"{block}.0.weight"] = scale * torch.randn(c_out, c_in, kernel, kernel, generator=generator)
            for name in ("0.bias", "1.bias", "1.running_mean"):
                state[f"{block}.{name}"] = 0.1 * torch.randn(c_out, generator=generator)
            for name in ("1.weight", "1.running_var"):
                state[f"{block}.{name}"] = 0.5 + torch.rand(c_out, generator=generator)
            state[f"{block}.1.num_batches_tracked"] = torch.tensor(7)
    return state


@pytest.fixture(scope="module")
def expert() -> Wav2LipExpert:
    network = Wav2LipExpert()
    network.load_state_dict(public_state(), strict=True)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like the public one: from DataParallel, with the training's other things beside the weights."""
    path = tmp_path_factory.mktemp("public") / convert.WAV2LIP.file
    state = {f"module.{name}": value for name, value in public_state().items()}
    torch.save({"state_dict": state, "optimizer": {"state": {}}, "global_step": 3, "global_epoch": 1}, path)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_layout_is_the_public_one(expert: Wav2LipExpert) -> None:
    assert sum(p.numel() for p in expert.parameters()) == 16_435_072
    assert len(expert.state_dict()) == 217
    strides = [m.stride for m in expert.modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
    assert strides == [(1, 2), (2, 2), (2, 2), (2, 2), (2, 2), (3, 1), (3, 3), (3, 2)]
    residual = [[block.residual for block in tower] for tower in (expert.face_encoder, expert.audio_encoder)]
    assert residual == [[bool(layer[3]) for layer in layers] for layers in (FACE, AUDIO)]


def test_embeddings_have_length_1_and_cosines_lie_between_0_and_1(expert: Wav2LipExpert) -> None:
    torch.manual_seed(0)
    video, audio = expert(torch.rand(3, 5, 3, 64, 64), torch.rand(3, 16, 80) * 8 - 4)
    assert video.shape == audio.shape == (3, 512)
    assert torch.allclose(torch.stack([video.norm(dim=-1), audio.norm(dim=-1)]), torch.ones(2, 3))
    cosines = video @ audio.T
    assert cosines.min().item() >= 0
    assert cosines.max().item() <= 1 + 1e-6


def test_frames_go_in_as_bgr_lower_halves_one_after_another(expert: Wav2LipExpert) -> None:
    """Against the reference's own way: five BGR pictures beside one another on the last axis, the lower half, channels first."""
    frames = torch.rand(1, 5, 3, 96, 96)
    pictures = [frame.permute(1, 2, 0).flip(-1) for frame in frames[0]]  # (96, 96, 3), BGR
    x = torch.cat(pictures, -1).permute(2, 0, 1)[None, :, 48:]
    assert x.shape == (1, 15, 48, 96)
    expected = nn.functional.normalize(expert.face_encoder(x).flatten(1), dim=-1)
    assert torch.equal(expert.embed_video(frames), expected)
    assert not torch.allclose(expert.embed_video(frames.flip(2)), expected)
    upper = frames.clone()
    upper[..., :48, :] = 0
    assert torch.equal(expert.embed_video(upper), expected)


def test_sound_goes_in_as_bins_times_steps(expert: Wav2LipExpert) -> None:
    mel = torch.rand(2, 16, 80) * 8 - 4
    expected = nn.functional.normalize(expert.audio_encoder(mel.permute(0, 2, 1)[:, None]).flatten(1), dim=-1)
    assert torch.equal(expert.embed_audio(mel), expected)


def test_the_gradient_reaches_the_lower_halves(expert: Wav2LipExpert) -> None:
    frames = torch.rand(1, 5, 3, 64, 64, requires_grad=True)
    video, audio = expert(frames, torch.rand(1, 16, 80))
    (video * audio).sum().backward()
    gradient = frames.grad
    assert gradient is not None
    assert gradient[..., 32:, :].abs().amax((-1, -2)).min() > 0
    assert gradient[..., :30, :].abs().max() == 0


def test_a_file_of_the_hash_is_converted_and_loads(public: Path, expert: Wav2LipExpert, tmp_path: Path) -> None:
    out = tmp_path / "weights" / "expert.safetensors"
    convert.wav2lip_expert(public, out, sha256=sha256(public))
    found = lipsync_expert.load(out)
    assert isinstance(found, Wav2LipExpert)
    assert not found.training
    frames = torch.rand(1, 5, 3, 96, 96)
    assert torch.equal(found.embed_video(frames), expert.embed_video(frames))
    again = tmp_path / "again.safetensors"
    convert.wav2lip_expert(public, again, sha256=sha256(public))
    assert again.read_bytes() == out.read_bytes()


def test_another_file_is_refused_before_it_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpickle(*_: Any, **__: Any) -> None:
        raise AssertionError("read a file of another hash")

    monkeypatch.setattr(torch, "load", unpickle)
    path = tmp_path / "expert.pth"
    path.write_bytes(b"another")
    with pytest.raises(InputError) as caught:
        convert.wav2lip_expert(path, tmp_path / "out.safetensors")
    message = str(caught.value)
    for part in (str(path), sha256(path), convert.WAV2LIP.sha256, "pickle", "fetch the public file"):
        assert part in message
    assert not (tmp_path / "out.safetensors").exists()
    with pytest.raises(InputError, match="can't be read"):
        convert.wav2lip_expert(tmp_path / "absent.pth", tmp_path / "out.safetensors")


def test_the_command_has_no_way_round_the_hash(tmp_path: Path) -> None:
    path = tmp_path / "expert.pth"
    path.write_bytes(b"another")
    command = [sys.executable, "-m", "stages.convert", "wav2lip-expert", str(path), "--out", str(tmp_path / "x")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "a pickle from elsewhere" in done.stdout
    assert done.stderr.startswith(f"error: {path}: sha256 is ")


def test_without_a_file_the_command_takes_that_of_the_folder(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[PublicFile, Path]] = []

    def ensure(file: PublicFile, folder: Path) -> Path:
        asked.append((file, folder))
        return public

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(convert.public_files, "ensure", ensure)
    monkeypatch.setattr(sys, "argv", ["convert", "wav2lip-expert", "--out", str(tmp_path / "x")])
    with pytest.raises(InputError, match="sha256 is"):  # that of the test, not the published one
        convert.main()
    assert asked == [(convert.WAV2LIP, Path("weights"))]


@pytest.mark.parametrize("damage", ["key", "shape", "no state"])
def test_another_layout_is_refused(tmp_path: Path, damage: str) -> None:
    state = public_state()
    name = "face_encoder.0.conv_block.0.bias"
    if damage == "key":
        state["extra"] = state.pop(name)
    elif damage == "shape":
        state[name] = state[name][:5]
    path = tmp_path / "expert.pth"
    torch.save(state if damage == "no state" else {"state_dict": state}, path)
    with pytest.raises(InputError, match="no 'state_dict'" if damage == "no state" else "not the layout"):
        convert.wav2lip_expert(path, tmp_path / "out.safetensors", sha256=sha256(path))


@pytest.mark.parametrize(
    "config",
    [{"architecture": "other"}, {"width": 4}, {"architecture": "lipsync", "depth": 4}, {"architecture": "wav2lip"}],
)
def test_weights_of_another_network_are_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    path = tmp_path / "expert.safetensors"
    weights_file.write(path, {"x": torch.zeros(1)}, config)
    with pytest.raises(InputError, match="not an expert of this version"):
        lipsync_expert.load(path)


def test_the_stage_takes_the_public_expert_over(public: Path, tmp_path: Path) -> None:
    settings = fake_run.settings()
    source, data = tmp_path / "wav2lip.safetensors", tmp_path / "data" / "fake"
    own = settings.expert.model_copy(update={"source": "wav2lip", "path": str(source)})
    settings = settings.model_copy(update={"expert": own})
    fake_run.make(data, settings, record=False)
    rows = tables.read(data / "index.parquet", schemas.INDEX).to_pylist()
    rows = [{**row, "split": "validation"} if row["split"] == "train" else row for row in rows]
    tables.write(data / "index.parquet", schemas.INDEX, rows)
    out = data / "expert" / "expert.safetensors"
    with pytest.raises(InputError, match=r"no such file; run 'python -m stages\.convert"):
        take_over(data, out, settings)
    small = seeded(1, lambda: LipSyncExpert(width=4, embedding=8, size=32, sees="mouth"))
    layout = {"architecture": "lipsync", "width": 4, "embedding": 8, "size": 32, "sees": "mouth"}
    weights_file.write(source, small.state_dict(), layout)
    assert isinstance(lipsync_expert.load(source), LipSyncExpert)
    with pytest.raises(InputError, match="not the public expert"):
        take_over(data, out, settings)
    convert.wav2lip_expert(public, source, sha256=sha256(public))
    take_over(data, out, settings)
    assert out.read_bytes() == source.read_bytes()
    with open(out.with_name("curves.csv"), newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row)[:2] == ["step", "loss"]
    assert row.pop("step") == "0"
    assert float(row.pop("loss")) > 0
    assert row
    assert all(0 <= float(accuracy) <= 1 for accuracy in row.values())
