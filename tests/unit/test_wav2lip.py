"""Wav2Lip: the published layout, what the generator is given, its loss, and the conversion of official weights."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from stages import convert
from stages.base import params, presets
from stages.base.errors import InputError, ParameterError
from stages.clips import conditions
from stages.clips.clip import Clip, mel_window
from stages.methods import systems
from stages.methods.kinds import wav2lip
from stages.methods.systems import Data, Facts
from stages.networks import seeded
from stages.pretrained import lipsync_expert
from workflow.sources import ROOT

# The layers as published, (channels in, out, kernel), written here apart from the code that builds them: the blocks of
# face_encoder_blocks and face_decoder_blocks, and audio_encoder.
ENCODER = [
    [(6, 16, 7)],
    [(16, 32, 3), (32, 32, 3), (32, 32, 3)],
    [(32, 64, 3), (64, 64, 3), (64, 64, 3), (64, 64, 3)],
    [(64, 128, 3), (128, 128, 3), (128, 128, 3)],
    [(128, 256, 3), (256, 256, 3), (256, 256, 3)],
    [(256, 512, 3), (512, 512, 3)],
    [(512, 512, 3), (512, 512, 1)],
]
AUDIO = [(1, 32, 3), (32, 32, 3), (32, 32, 3), (32, 64, 3), (64, 64, 3), (64, 64, 3), (64, 128, 3), (128, 128, 3),
         (128, 128, 3), (128, 256, 3), (256, 256, 3), (256, 512, 3), (512, 512, 1)]  # fmt: skip
DECODER = [
    [(512, 512, 1)],
    [(1024, 512, 3), (512, 512, 3)],
    [(1024, 512, 3), (512, 512, 3), (512, 512, 3)],
    [(768, 384, 3), (384, 384, 3), (384, 384, 3)],
    [(512, 256, 3), (256, 256, 3), (256, 256, 3)],
    [(320, 128, 3), (128, 128, 3), (128, 128, 3)],
    [(160, 64, 3), (64, 64, 3), (64, 64, 3)],
]
FACTS = Facts(size=64, fps=25.0, sample_rate=16000, mel_bins=80)
SAMPLE = params.load("presets/smoke.yaml").sample
TINY = yaml.safe_load((ROOT / "tests/contract/tiny_systems.yaml").read_text())["wav2lip"]
CPU = torch.device("cpu")


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Name and shape of each of the official generator's tensors."""
    blocks = [
        (f"face_encoder_blocks.{n}.{m}", layer) for n, block in enumerate(ENCODER) for m, layer in enumerate(block)
    ]
    blocks += [(f"audio_encoder.{n}", layer) for n, layer in enumerate(AUDIO)]
    blocks += [
        (f"face_decoder_blocks.{n}.{m}", layer) for n, block in enumerate(DECODER) for m, layer in enumerate(block)
    ]
    blocks += [("output_block.0", (80, 32, 3))]
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (c_in, c_out, kernel) in blocks:
        transposed = name.startswith("face_decoder_blocks") and name.endswith(".0") and c_in != c_out
        shapes[f"{name}.conv_block.0.weight"] = (*((c_in, c_out) if transposed else (c_out, c_in)), kernel, kernel)
        for part in ("0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
            shapes[f"{name}.conv_block.{part}"] = (c_out,)
        shapes[f"{name}.conv_block.1.num_batches_tracked"] = ()
    return {**shapes, "output_block.1.weight": (3, 32, 1, 1), "output_block.1.bias": (3,)}


def public_state() -> dict[str, Tensor]:
    """Random weights under the official names and shapes."""
    generator = torch.Generator().manual_seed(4)
    state = {}
    for name, shape in published_shapes().items():
        if len(shape) == 4:
            value = torch.randn(shape, generator=generator) * (2 / math.prod(shape[1:])) ** 0.5
        elif name.endswith("num_batches_tracked"):
            value = torch.tensor(7)
        elif name.endswith(("1.weight", "running_var")) and name != "output_block.1.weight":
            value = 0.5 + torch.rand(shape, generator=generator)
        else:
            value = 0.1 * torch.randn(shape, generator=generator)
        state[name] = value
    return state


def system(facts: Facts = FACTS, **overrides: Any) -> wav2lip.System:
    settings = wav2lip.Settings.model_validate({**TINY, "steps": 4, **overrides})
    return seeded(3, lambda: wav2lip.System(settings, facts))


def trainer(clips: list[Clip], **overrides: Any) -> wav2lip.Trainer:
    layout = {"architecture": "lipsync", "width": 4, "embedding": 8, "sees": "lower_half", "size": 32}
    expert = seeded(1, lambda: lipsync_expert.build(layout)).eval().requires_grad_(False)
    data = Data(train=clips, validation=clips, expert=expert, seed=5, device=CPU)
    return seeded(4, lambda: wav2lip.Trainer(system(**overrides), data))


def sampled(made: wav2lip.System, clip: Clip, sound: Clip | None = None) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        return np.concatenate(list(made.eval().generate(clip, sound or clip, SAMPLE, lambda count: None)))


def smoke_with(**rows: dict[str, Any]) -> dict[str, Any]:
    """Preset smoke with rows of converted weights, by name their settings."""
    raw = yaml.safe_load(presets.whole(ROOT / "presets/smoke.yaml"))
    for name, settings in rows.items():
        raw["methods"][name] = {
            "kind": "wav2lip", "title": name, "drop": [], "made_from": "models/official", "audio": "own",
            "splits": ["test_seen"], "sample": {}, "settings": settings, "tables": [],
        }  # fmt: skip
    return raw


# The layout


def test_the_generator_is_the_published_one() -> None:
    with torch.device("meta"):
        generator = wav2lip.Generator(width=16, size=96)
    assert {name: tuple(value.shape) for name, value in generator.state_dict().items()} == published_shapes()
    assert sum(p.numel() for p in generator.parameters()) == 36_298_035
    strides = [
        m.stride for m in generator.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) and m.stride != (1, 1)
    ]
    assert strides == [(2, 2)] * 5 + [(3, 1), (3, 3), (3, 2)] + [(2, 2)] * 5
    added = [m.residual for m in generator.audio_encoder]
    assert added == [c_in == c_out and kernel == 3 for c_in, c_out, kernel in AUDIO]


def test_the_discriminator_is_the_published_one() -> None:
    with torch.device("meta"):
        discriminator = wav2lip.Discriminator(width=32, size=96)
    assert sum(p.numel() for p in discriminator.parameters()) == 14_113_793
    kernels = [m.kernel_size[0] for m in discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [7, 5, 5, 5, 5, 5, 5, 3, 3, 3, 3, 3, 1, 1]
    assert "face_encoder_blocks.6.1.conv_block.0.weight" in discriminator.state_dict()
    assert "binary_pred.0.weight" in discriminator.state_dict()


@pytest.mark.parametrize(("size", "patch", "kernel"), [(64, 1, 2), (96, 1, 3), (128, 1, 4), (64, 2, 1), (128, 2, 2)])
def test_other_sizes_go_by_the_same_rule(size: int, patch: int, kernel: int) -> None:
    generator = wav2lip.Generator(width=2, size=size, patch=patch)
    for block in (generator.face_encoder_blocks[6][0], generator.face_decoder_blocks[1][0]):
        assert block.conv_block[0].kernel_size == (kernel, kernel)
    assert len(generator.state_dict()) == len(published_shapes())
    made = generator(torch.zeros(2, 16, 80), torch.rand(2, 6, size, size))
    assert made.shape == (2, 3, size, size)
    assert 0 < made.min() < made.max() < 1
    assert wav2lip.Discriminator(width=2, size=size)(made).shape == (2,)


def test_a_size_that_does_not_halve_five_times_is_refused() -> None:
    with pytest.raises(ValueError, match="size 80 is no multiple of 32"):
        wav2lip.Generator(width=2, size=80)


def test_at_paper_scale_a_row_has_the_published_width() -> None:
    settings = wav2lip.Settings.model_validate({**wav2lip.PUBLISHED, "steps": 1})
    with torch.device("meta"):
        made = wav2lip.System(settings, replace(FACTS, size=128))
        discriminator = wav2lip.Discriminator(width=settings.discriminator_width, size=128)
    # 3 × 3 became 4 × 4 in one convolution and one transposed one: 7 × (512² + 1024 · 512) more than at 96
    assert sum(p.numel() for p in made.parameters()) == 36_298_035 + 7 * (512**2 + 1024 * 512) == 41_803_059
    assert sum(p.numel() for p in discriminator.parameters()) == 14_113_793 + 7 * 512**2 == 15_948_801


# What it is given


def test_the_driver_loses_its_lower_half_and_the_reference_nothing() -> None:
    driver, reference = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    face = wav2lip.faces(driver, reference)
    assert torch.equal(face[:, :3, :4], driver[:, :, :4])
    assert face[:, :3, 4:].abs().max() == 0
    assert torch.equal(face[:, 3:], reference)
    assert torch.equal(wav2lip.given(face), torch.cat([driver[:, :, :4], reference[:, :, 4:]], 2))


def test_a_residual_of_zero_gives_what_was_given() -> None:
    generator = wav2lip.Generator(width=2, size=64, patch=2, residual=True)
    nn.init.zeros_(generator.output_block[1].weight)
    nn.init.zeros_(generator.output_block[1].bias)
    face = wav2lip.faces(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64))
    made = generator(torch.zeros(2, 16, 80), face)
    torch.testing.assert_close(made, wav2lip.given(face).clamp(0.02, 0.98))


def test_a_frame_hears_the_sound_from_the_frame_before_on(make_clip: Any) -> None:
    clip = make_clip(frames=20)
    heard = wav2lip.sounds(clip, [0, 1, 10], -1)
    assert heard.shape == (3, 16, 80)
    assert np.array_equal(heard[2], mel_window(clip.mel_SM, 28, 16))  # 3.2 · 9 = 28.8, as int() of the published code
    assert np.array_equal(heard[1], clip.mel_SM[:16])
    assert (heard[0][:4] == -4).all()
    assert np.array_equal(heard[0][4:], clip.mel_SM[:12])


def test_bgr_is_rgb_turned() -> None:
    rgb, bgr = system(colours="rgb").eval(), system(colours="bgr").eval()
    mel, driver, reference = torch.zeros(2, 16, 80), torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        turned = rgb(mel, driver.flip(1), reference.flip(1)).flip(1)
        assert torch.equal(bgr(mel, driver, reference), turned)


def test_driven_by_the_video_it_sees_each_frame_and_no_landmark(make_clip: Any) -> None:
    made, clip, other = system(driver="video"), make_clip(frames=7, size=64), make_clip("bel_1", frames=7, size=64)
    own = sampled(made, clip)
    later = np.concatenate([clip.frames_THWC[:4], other.frames_THWC[4:]])
    changed = sampled(made, replace(clip, frames_THWC=later))
    assert [np.array_equal(a, b) for a, b in zip(own, changed, strict=True)] == [True] * 4 + [False] * 3
    blind = replace(
        clip, landmarks_TL2=other.landmarks_TL2, masks_THW=~clip.masks_THW, ear_T2=other.ear_T2 + 1, blinks=[]
    )
    assert np.array_equal(own, sampled(made, blind))
    first = replace(clip, frames_THWC=np.repeat(clip.frames_THWC[:1], 7, 0))
    assert np.array_equal(sampled(made, first), sampled(system(), clip)), "both drivers are one network"


def test_the_report_is_told_what_the_video_shows() -> None:
    methods = params.validate(smoke_with(official={}, official_video={"driver": "video"})).methods
    assert wav2lip.sees(methods["official"]) == "the first frame, the audio"
    assert "true mouth" in wav2lip.sees(methods["official_video"])


def test_a_row_says_its_driver_itself(tmp_path: Path) -> None:
    systems.save(system(driver="video"), tmp_path, kind="wav2lip", facts={})
    drivers = [wav2lip.System.from_pretrained(tmp_path, own, CPU).settings.driver for own in ({}, {"driver": "video"})]
    assert drivers == ["first_frame", "video"]


def test_a_row_of_converted_weights_needs_no_settings() -> None:
    """A row of converted weights is checked for the settings it has; a row that is trained here needs them all."""
    raw = smoke_with(official={}, official_video={"driver": "video"})
    systems.check(params.validate(raw))
    raw["methods"]["official_video"]["settings"]["driver"] = "nobody"
    with pytest.raises(ParameterError, match=r"methods\.official_video\.settings\.driver is 'nobody'"):
        systems.check(params.validate(raw))
    del raw["methods"]["official_video"]
    raw["baselines"]["official"] = "wav2lip"
    with pytest.raises(ParameterError, match=r"methods\.official\.settings\.steps is missing"):
        systems.check(params.validate(raw))


# The loss


def test_a_step_adds_the_terms_up(make_clip: Any) -> None:
    made = trainer([make_clip(size=64)], sync=0.3, sync_below=99.0, adversarial=0.07)
    first, second, third = (made.step(step) for step in range(3))
    assert (first["sync_weight"], second["sync_weight"], third["sync_weight"]) == (0, 0, 0.3)
    for terms in (first, third):
        s_w = terms["sync_weight"]
        expected = (1 - s_w - 0.07) * terms["recon"] + s_w * terms["sync"] + 0.07 * terms["adversarial"]
        assert terms["total"] == pytest.approx(expected, rel=1e-5)
    assert first["adversarial"] == pytest.approx(math.log(2), abs=0.1)
    assert first["discriminator"] == pytest.approx(2 * math.log(2), abs=0.2)


def test_the_sync_weight_rises_once_and_is_restored() -> None:
    weight = wav2lip.SyncWeight(system(sync=0.03, sync_below=0.75).settings)
    for validation, step, expected in [(0.1, 0, 0), (0.76, 10, 0), (0.74, 20, 0.03), (0.9, 30, 0.03)]:
        weight.look(validation, step)
        assert weight.value == expected
    again = wav2lip.SyncWeight(weight.settings)
    again.load_state_dict(weight.state_dict())
    assert (again.value, again.validation) == (0.03, 0.9)


def test_the_discriminator_judges_lower_halves_by_the_papers_loss() -> None:
    discriminator = wav2lip.Discriminator(width=2, size=64)
    frames = torch.rand(3, 3, 64, 64)
    logits = discriminator(frames)
    upper = frames.clone()
    upper[:, :, :32] = 0
    assert torch.equal(discriminator(upper), logits)
    probability = torch.sigmoid(logits)
    torch.testing.assert_close(
        F.softplus(-logits), F.binary_cross_entropy(probability, torch.ones(3), reduction="none")
    )
    torch.testing.assert_close(
        F.softplus(logits), F.binary_cross_entropy(probability, torch.zeros(3), reduction="none")
    )


def test_examples_pair_frames_with_other_frames_of_their_clip(make_clip: Any) -> None:
    clip = make_clip(frames=9, size=64)
    batch = trainer([clip], windows=2, singles=3, mouth_weight=1.0, align=False).batch(0)
    assert batch.frames_NCHW.shape == batch.reference_NCHW.shape == (13, 3, 64, 64)
    assert batch.sync_mel_BSM.shape == (2, 16, 80)
    assert (batch.weight_N1HW == 1).all()
    known = conditions.to_unit(clip.frames_THWC).flatten(1)
    own, others = ([int((known == x.flatten()).all(1).nonzero()) for x in part] for part in batch[:2])
    assert all(a != b for a, b in zip(own, others, strict=True))
    assert np.diff(own[:5]).tolist() == np.diff(others[:5]).tolist() == [1] * 4


def test_aligned_references_lie_on_their_frames(make_clip: Any) -> None:
    clip = make_clip(frames=9, size=64)
    settings = system(align=True, mouth_weight=4.0).settings
    moved = wav2lip.example(clip, 2, 4, 5, settings)
    for number, picture in enumerate(moved.reference_NCHW):
        expected = conditions.to_unit(conditions.aligned(clip, [2 + number], 4 + number))[0]
        assert torch.equal(picture, expected)
    still = replace(clip, landmarks_TL2=np.repeat(clip.landmarks_TL2[:1], 9, 0))
    assert torch.equal(
        wav2lip.example(still, 2, 4, 5, settings).reference_NCHW, conditions.to_unit(clip.frames_THWC[4:9])
    )
    assert float(moved.weight_N1HW.min()) == 1
    assert float(moved.weight_N1HW.max()) == pytest.approx(4, rel=0.01)


def test_the_generator_gets_gradients_from_the_expert_and_leaves_it_as_it_was(make_clip: Any) -> None:
    made = trainer([make_clip(size=64)])
    before = {name: value.clone() for name, value in made.data.expert.state_dict().items()}
    batch = made.batch(0)
    frames = batch.frames_NCHW.clone().requires_grad_()
    wav2lip.sync_loss(made.data.expert, frames, batch).backward()
    gradient = frames.grad
    assert gradient is not None
    assert gradient[:5, :, 34:].abs().amax((1, 2, 3)).min() > 0
    assert gradient[5:].abs().max() == 0  # single frames have no expert
    made.step(0)
    assert all(value.equal(before[name]) for name, value in made.data.expert.state_dict().items())


# Official weights


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file like the official ones: from DataParallel, with the training's other things beside the weights."""
    path = tmp_path_factory.mktemp("public") / "wav2lip_gan.pth"
    state = {f"module.{name}": value for name, value in public_state().items()}
    torch.save({"state_dict": state, "optimizer": None, "global_step": 3, "global_epoch": 1}, path)
    yield path
    path.unlink()  # 140 MB


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_official_weights_make_frames_of_a_clips_size(public: Path, tmp_path: Path, make_clip: Any) -> None:
    folder = tmp_path / "models" / "official"
    convert.wav2lip(public, folder, sha256=[sha256(public)])
    made = wav2lip.System.from_pretrained(folder, {}, CPU)
    assert (made.facts, made.settings.colours) == (Facts(96, 25.0, 16000, 80), "bgr")
    config = json.loads((folder / "config.json").read_text())
    assert (config["kind"], config["parameters"]) == ("wav2lip", 36_298_035)
    assert config["source_sha256"] == sha256(public)
    state = public_state()
    assert all(value.equal(state[name]) for name, value in made.generator.state_dict().items())

    clip = make_clip(frames=3, size=96)
    frames = sampled(made, clip)
    # The published program's own way: BGR in [0, 1], the lower half black, masked frame first, (80, 16) of sound.
    picture = torch.from_numpy(clip.frames_THWC[0].copy()).permute(2, 0, 1).flip(0).float()[None] / 255
    masked = torch.cat([picture[:, :, :48], torch.zeros(1, 3, 48, 96)], 2)
    mel = torch.from_numpy(mel_window(clip.mel_SM, 3, 16))[None]  # of frame 2: from frame 1 on
    expected = (made.generator(mel, torch.cat([masked, picture], 1)).flip(1) * 255)[0].permute(1, 2, 0)
    # Frames are rounded to whole grey levels, and another processor or batch gives the last bits of a float otherwise. Another
    # order of colours, or the other picture first, is off by far more.
    assert np.abs(frames[2] - expected.detach().numpy().clip(0, 255)).max() < 1
    swapped = (made.generator(mel, torch.cat([picture, masked], 1)).flip(1) * 255)[0].permute(1, 2, 0)
    assert np.abs(frames[2] - swapped.detach().numpy()).max() > 2
    assert np.abs(frames[2] - expected.detach().flip(-1).numpy()).max() > 2

    raw = smoke_with(official={})
    row = systems.Row(params.validate(raw), tmp_path, "official", lambda count: None)
    (small,) = wav2lip.renderer(row)(make_clip(frames=2, size=64), clip)
    assert small.shape == (2, 64, 64, 3)
    raw["spectrogram"]["f_max"] = 7000
    with pytest.raises(ParameterError, match="the spectrogram that they were trained on"):
        wav2lip.renderer(replace(row, settings=params.validate(raw)))


def test_another_file_than_the_official_is_refused_before_it_is_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpickle(*_: Any, **__: Any) -> None:
        raise AssertionError("read a file of another hash")

    monkeypatch.setattr(torch, "load", unpickle)
    path = tmp_path / "mine.pth"
    path.write_bytes(b"another")
    with pytest.raises(InputError) as caught:
        convert.wav2lip(path, tmp_path / "out")
    for part in (str(path), sha256(path), *convert.GENERATORS, "pickle", "wav2lip_gan.pth"):
        assert part in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_another_layout_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"state_dict": {"module.face_encoder_blocks.0.0.conv_block.0.bias": torch.zeros(16)}}, path)
    with pytest.raises(InputError, match="not the layout of Wav2Lip's generator"):
        convert.wav2lip(path, tmp_path / "out", sha256=[sha256(path)])


def test_the_command_warns_of_the_pickle(tmp_path: Path) -> None:
    path = tmp_path / "wav2lip.pth"
    path.write_bytes(b"another")
    command = [sys.executable, "-m", "stages.convert", "wav2lip", str(path), "--out", str(tmp_path / "x")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "a pickle from elsewhere" in done.stdout
    assert done.stderr.startswith(f"error: {path}: sha256 is ")
