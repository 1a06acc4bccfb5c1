"""Diffused Heads' published files by their authors' call, with small scripted modules of the same signature in their place."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from stages.base import params
from stages.base.errors import InputError
from stages.methods import systems
from stages.methods.kinds import diffused_heads_script as official
from stages.methods.systems import Row
from tests.contract.test_baselines import clip


class Unet(nn.Module):
    """Noise that leads to a mix of what it is given; refuses other shapes, as a traced file would."""

    def forward(self, x: Tensor, timesteps: Tensor, x_cond: Tensor, motion_frames: Tensor, audio_emb: Tensor) -> Tensor:
        assert x.shape == [1, 3, 128, 128]
        assert x_cond.shape == [1, 3, 128, 128]
        assert motion_frames.shape == [1, 6, 128, 128]
        assert audio_emb.shape == [1, 5, 256]
        assert timesteps.dtype == torch.int64
        latest = motion_frames[:, 3:]
        wanted = 0.4 * x_cond + 0.4 * latest + 0.2 * torch.tanh(audio_emb[:, 2, :3, None, None])
        angle = (timesteps[:, None, None, None] / 1000 + 0.008) / 1.008 * 1.5707963
        eps = (x - torch.cos(angle) * wanted) / torch.sin(angle).clamp(min=0.01)
        return torch.cat([eps, torch.zeros_like(eps)], 1)


class Encoder(nn.Module):
    """The window's loudness, a count of windows, and the length it was told."""

    def forward(self, x: Tensor, lengths: Tensor, init_state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        assert x.shape == [1, 1, 3200]
        assert lengths.item() == 3200
        state = init_state + 1
        embedding = torch.zeros(1, 256)
        embedding[0, 0] = 10 * x.abs().mean()
        embedding[0, 1] = state[0, 0, 0]
        return embedding, lengths, state


def save(module: nn.Module, path: Path) -> str:
    torch.jit.script(module).save(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def row(tmp_path: Path) -> Row:
    folder = tmp_path / "models" / "official"
    folder.mkdir(parents=True)
    hashes = {
        "script_sha256": save(Unet(), folder / official.UNET),
        "encoder_sha256": save(Encoder(), folder / official.ENCODER),
    }
    return build(tmp_path, {**hashes, "steps": 4})


def build(data: Path, settings: dict[str, Any]) -> Row:
    found = params.load("presets/smoke.yaml")
    entry = found.methods["truth"].model_copy(
        update={"kind": "diffused_heads_script", "made_from": "models/official", "settings": settings}
    )
    return Row(found.model_copy(update={"methods": {"official": entry}}), data, "official", lambda frames: None)


def other(row: Row, **settings: Any) -> Row:
    return build(row.data, {**row.entry.settings, **settings})


def frames(row: Row, own: Any, sound: Any) -> np.ndarray[Any, Any]:
    return np.concatenate(list(official.renderer(row)(own, sound)))


def test_it_makes_each_frame_from_the_first_the_sound_and_those_before(
    row: Row, capfd: pytest.CaptureFixture[str]
) -> None:
    own = clip("cle_1", 5)
    made = frames(row, own, own)
    assert made.shape == own.frames_THWC.shape
    assert np.array_equal(made, frames(row, own, own)), "the same again"
    assert not np.array_equal(made, frames(row, own, clip("dar_1", 5)))
    assert capfd.readouterr().err.count("TorchScript, a program from elsewhere, which now runs with your rights") == 6
    # At the last step x̂_0 is what is given: 0.4 of the identity, 0.4 of the frame before, and the sound.
    identity = official.conditions.to_tensor(official.crops.resized(own.frames_THWC[:1], 128))
    program = official.Program(None, torch.jit.script(Encoder()), Path("."), torch.device("cpu"))
    sound = 0.2 * torch.tanh(program.embed(own.audio, 5))[:, :3, None, None]
    before = identity
    for number in range(5):
        before = (0.4 * identity + 0.4 * before + sound[number]).clamp(-1, 1)
        wanted = official.crops.resized(official.conditions.to_frames(before), 64)[0]
        assert np.abs(made[number].astype(int) - wanted).mean() < 3


def test_the_sound_lies_around_each_frames_middle() -> None:
    audio = np.arange(1, 640 * 4 + 1).astype(np.int16)
    windows = official.sound_windows(audio[:-100], 4)
    assert windows.shape == (4, 1, 1, 3200)
    assert windows[0, 0, 0, 1279:1281].tolist() == [0, 1 / 32768]
    assert windows[2, 0, 0, 0].item() == pytest.approx(1 / 32768)
    assert windows[3, 0, 0, 1280 + 640 - 100 - 1].item() == pytest.approx((640 * 4 - 100) / 32768)
    assert windows[3, 0, 0, 1280 + 640 - 100 :].abs().sum() == 0
    assert official.sound_windows(np.zeros(10_000, np.int16), 2).shape == (2, 1, 1, 3200)


def test_the_encoder_goes_on_from_window_to_window() -> None:
    program = official.Program(None, torch.jit.script(Encoder()), Path("."), torch.device("cpu"))
    assert program.embed(np.zeros(640 * 3, np.int16), 3)[:, 1].tolist() == [1, 2, 3]


def test_the_timesteps_are_the_authors() -> None:
    """Both ends; for 100 steps a stride of 999/99."""
    times = official.spread_timesteps(100)
    assert (times[0], times[1], times[50], times[-2], times[-1]) == (999, 989, 494, 10, 0)
    assert official.spread_timesteps(1000) == list(range(999, -1, -1))


def test_another_file_is_not_run(row: Row) -> None:
    found = row.entry.settings["script_sha256"]
    with pytest.raises(InputError, match=f"crema_script.pt: sha256 is {found}, the row's settings state {'0' * 64}"):
        official.renderer(other(row, script_sha256="0" * 64))
    with pytest.raises(InputError, match=r"audio_encoder.pt: sha256 is .*if you trust the file"):
        official.renderer(other(row, encoder_sha256="0" * 64))


def test_files_that_do_not_fit_are_named(row: Row) -> None:
    path = row.made_from / official.UNET
    own = clip("cle_1", 2)

    class Narrow(nn.Module):
        def forward(
            self, x: Tensor, timesteps: Tensor, x_cond: Tensor, motion_frames: Tensor, audio_emb: Tensor
        ) -> Tensor:
            return x

    class Otherwise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    for module, message in (
        (Narrow(), r"gives \(1, 3, 128, 128\), not \(1, 6"),
        (Otherwise(), "does not answer the call"),
    ):
        with pytest.raises(InputError, match=rf"crema_script.pt: {message}"):
            frames(other(row, script_sha256=save(module, path)), own, own)
    path.write_bytes(b"no script")
    with pytest.raises(InputError, match=r"crema_script.pt: no TorchScript"):
        official.renderer(other(row, script_sha256=hashlib.sha256(b"no script").hexdigest()))
    path.unlink()
    with pytest.raises(InputError, match=r"crema_script.pt: can't be read \(No such file or directory\)"):
        official.renderer(row)


def test_it_is_no_system_and_its_settings_are_checked() -> None:
    assert not hasattr(systems.module("diffused_heads_script"), "System")
    with pytest.raises(ValidationError, match="script_sha256"):
        official.Settings.model_validate({"script_sha256": "abc", "encoder_sha256": "0" * 64, "steps": 100})
