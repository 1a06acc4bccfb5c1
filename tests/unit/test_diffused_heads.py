"""The traits of Diffused Heads: its input, the double modulation, the lip box, the learned variance, its size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stages.base import params
from stages.base.errors import ParameterError
from stages.diffusion import learned_variance
from stages.diffusion.samplers import sample_ancestral, spaced_timesteps
from stages.diffusion.schedule import Diffusion
from stages.methods.kinds import diffused_heads
from stages.methods.kinds.diffused_heads import Settings, System
from stages.methods.systems import Data, Facts
from stages.networks import seeded
from stages.networks.unet import ResBlock
from tests.contract.test_baselines import clip

TINY: dict[str, Any] = yaml.safe_load(Path("tests/contract/tiny_systems.yaml").read_text())["diffused_heads"]
# The authors' published training settings; batch is that of their eight GPUs, and what they have no word for is off.
PAPER: dict[str, Any] = {
    "steps": 1_000_000,
    "batch": 80,
    "learning_rate": 5e-5,
    "lr_schedule": "step",
    "warmup": 0,
    "weight_decay": 0.0,
    "clip_norm": 0.0,
    "ema": 0.0,
    "precision": "fp32",
    "channels": 256,
    "multipliers": [1, 2, 3],
    "res_blocks": 2,
    "attention": [32],
    "head_channels": 64,
    "dropout": 0.1,
    "groups": 32,
    "resample": "residual",
    "patch": 1,
    "residual": "none",
    "audio_channels": 64,
    "audio_embedding": 256,
    "audio_steps": 16,
    "audio_neighbours": 2,
    "motion_frames": 2,
    "motion_grey": True,
    "motion_noise": 0.0,
    "motion_own": 0.0,
    "timesteps": 1000,
    "schedule": "cosine",
    "prediction": "epsilon",
    "latest_of": 1,
    "vlb": 1e-4,
    "lip": 0.2,
    "lip_margin": 5,
}


def build(**overrides: Any) -> System:
    settings = Settings.model_validate({**TINY, "steps": 3, **overrides})
    return seeded(1, lambda: System(settings, Facts(size=64, fps=25.0, sample_rate=16000, mel_bins=80)))


def trainer(system: System) -> diffused_heads.Trainer:
    data = Data(train=[clip("ada_1"), clip("bel_1")], validation=[], expert=None, seed=5, device=torch.device("cpu"))  # type: ignore[arg-type]
    return diffused_heads.Trainer(system, data)


@pytest.mark.parametrize(("channels", "parameters", "gflops"), [(256, 215.7e6, 1037), (128, 54.3e6, 264)])
def test_the_paper_scale_network_has_the_published_size(channels: int, parameters: float, gflops: float) -> None:
    """All but the audio encoder, which the paper's training does not hold; the counts are of the authors' network."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        system = System(Settings.model_validate({**PAPER, "channels": channels}), Facts(128, 25.0, 16000, 80)).eval()
        shapes = [(1, 3, 128, 128), (1, 2, 128, 128), (1, 3, 128, 128), (1, 4 * channels)]
        x_t, motion, identity, y = (torch.zeros(shape) for shape in shapes)
        assert system(x_t, torch.zeros(1, dtype=torch.long), motion, identity, y).shape == (1, 6, 128, 128)
    ear = sum(p.numel() for p in system.ear.parameters())
    assert sum(p.numel() for p in system.parameters()) - ear == pytest.approx(parameters, rel=1e-3)
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflops, rel=2e-3)


def test_time_modulates_first_and_then_the_sound() -> None:
    block = ResBlock(4, 4, 2, 2, 0.0)
    with torch.no_grad():
        for layer, values in ((block.from_time, (2.0, 3.0)), (block.from_condition, (4.0, 5.0))):
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor(values).repeat_interleave(4))
        nn.init.dirac_(block.conv_out.weight)
    x = torch.randn(1, 4, 6, 6)
    normal = block.norm_out(block.conv_in(nn.functional.silu(block.norm_in(x))))
    expected = x + nn.functional.silu((1 + 4) * ((1 + 2) * normal + 3) + 5)
    torch.testing.assert_close(block(x, torch.zeros(1, 2), torch.zeros(1, 2)), expected)


def test_times_are_embedded_at_the_authors_frequencies() -> None:
    """Their code, by hand for 8 channels: 10000^(−i/16) for i = 0 … 3. The usual frequencies are 1, 0.1, 0.01, 0.001."""
    found = diffused_heads.time_features(torch.tensor([0, 1, 10]), 8)
    frequencies = torch.tensor([1.0, 0.562341325, 0.316227766, 0.177827941])
    assert found[0].tolist() == [1.0] * 4 + [0.0] * 4
    torch.testing.assert_close(torch.atan2(found[1, 4:], found[1, :4]), frequencies, atol=1e-6, rtol=0)
    angles = 10 * frequencies
    torch.testing.assert_close(found[2], torch.cat([angles.cos(), angles.sin()]), atol=1e-5, rtol=0)
    slowest = diffused_heads.time_features(torch.tensor([1]), 256)[
        0, 255
    ]  # of the paper's 256 channels: 10000^(−127/512)
    assert float(slowest) == pytest.approx(math.sin(10_000 ** (-127 / 512)), abs=1e-6)


def test_the_network_is_told_the_time_by_them() -> None:
    system, seen = build().eval(), []
    own, times = system.settings, torch.tensor([7, 40])
    system.time.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    rest = own.picture_channels - 6
    with torch.no_grad():
        x_t, motion = torch.zeros(2, 3, 64, 64), torch.zeros(2, rest, 64, 64)
        system(x_t, times, motion, x_t, torch.zeros(2, 4 * own.channels))
    assert torch.equal(seen[0], diffused_heads.time_features(times, own.channels))


def test_a_block_between_levels_pools_both_its_ways() -> None:
    system = build()
    down = next(level for level in system.unet.down if isinstance(level, diffused_heads.Resampling))
    x = torch.randn(1, 8, 8, 8)
    emb = torch.zeros(1, 32)
    torch.testing.assert_close(down(x, emb, emb), nn.functional.avg_pool2d(x, 2))  # its last convolution starts at zero


def test_the_frames_before_the_first_are_the_identity_frame() -> None:
    assert diffused_heads.before(5, 2, 9) == [3, 4]
    assert diffused_heads.before(1, 2, 9) == [9, 0]
    assert diffused_heads.before(0, 2, 9) == [9, 9]


def test_the_sound_of_the_ends_is_repeated() -> None:
    assert diffused_heads.neighbours(5, 10, 2) == [3, 4, 5, 6, 7]
    assert diffused_heads.neighbours(0, 10, 2) == [0, 0, 0, 1, 2]
    assert diffused_heads.neighbours(1, 2, 2) == [0, 0, 1, 1, 1]


def test_the_lip_box_is_that_of_the_landmarks_and_five_pixels_more() -> None:
    landmarks = np.zeros((68, 2), np.float32)
    landmarks[48:] = (20.3, 30.8)
    landmarks[54] = (28.6, 30.8)
    landmarks[57] = (20.3, 34.2)
    box = diffused_heads.lip_box(landmarks, 64, 5)
    rows, columns = np.nonzero(box)
    assert (columns.min(), columns.max()) == (20 - 5, 29 + 5 - 1)
    assert (rows.min(), rows.max()) == (30 - 5, 35 + 5 - 1)
    assert box.sum() == len(set(rows)) * len(set(columns))
    assert diffused_heads.lip_box(landmarks + 100, 64, 5).sum() > 0, "never an empty mean"


def test_motion_frames_are_grey() -> None:
    colours = torch.eye(3)[..., None, None]
    assert build().motion(colours).flatten().tolist() == pytest.approx([0.2989, 0.587, 0.114])
    assert build(motion_grey=False).motion(colours) is colours


def test_a_batch_holds_the_frame_its_past_and_another_frame_of_its_clip() -> None:
    made = trainer(build(batch=40))
    batch = made.batch(0)
    clips = [
        torch.stack([diffused_heads.conditions.to_tensor(c.frames_THWC[[t]])[0] for t in range(14)])
        for c in made.data.train
    ]

    def place(picture: torch.Tensor) -> tuple[int, int]:
        return next((c, t) for c, frames in enumerate(clips) for t in range(14) if frames[t].equal(picture))

    firsts = 0
    for x_0, identity, past in zip(batch.x_0, batch.identity_NCHW, batch.before_NKCHW):
        (own, frame), (other, reference) = place(x_0), place(identity)
        assert own == other
        assert frame != reference
        assert [place(p) for p in past] == [(own, t) for t in diffused_heads.before(frame, 4, reference)]
        firsts += frame < 2
    assert firsts > 0


def test_a_share_of_the_images_has_motion_frames_of_the_networks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(build(batch=4, motion_own=0.5, motion_noise=0.0))
    batch, shown = made.batch(0), []

    def forward(x_t, t_N, motion, identity, y):  # type: ignore[no-untyped-def]
        shown.append((t_N.tolist(), motion))
        return torch.full_like(x_t, 0.1 * len(shown))

    monkeypatch.setattr(made.system, "forward", forward)
    true = [made.system.motion(frame) for frame in batch.before_NKCHW.unbind(1)]
    own = [torch.full_like(true[0], value * sum(diffused_heads.LUMA)) for value in (0.1, 0.2)]
    found = made.motion(batch)
    assert [times for times, _ in shown] == [[49, 49], [49, 49]]
    torch.testing.assert_close(shown[0][1], torch.cat(true[:2], 1)[:2])
    torch.testing.assert_close(shown[1][1], torch.cat([true[1][:2], own[0][:2]], 1))
    torch.testing.assert_close(found[:2], torch.cat(own, 1)[:2])
    torch.testing.assert_close(found[2:], torch.cat(true[2:], 1)[2:])
    assert made.batch(0).windows_NLASM.shape == (4, 3, 5, 16, 80)


def test_each_frame_is_made_from_those_made_before(monkeypatch: pytest.MonkeyPatch) -> None:
    system = build(vlb=0.0).eval()
    shown: list[torch.Tensor] = []

    def forward(x_t, t_N, motion, identity, y):  # type: ignore[no-untyped-def]
        shown.append(motion)
        return torch.full_like(x_t, 0.1 * len(shown))

    monkeypatch.setattr(system, "forward", forward)
    sampling = params.load("presets/smoke.yaml").sample.model_copy(update={"steps": 1})
    given = clip("cle_1", 4)
    list(system.generate(given, given, sampling, lambda frames: None))
    first = system.motion(diffused_heads.conditions.to_tensor(given.frames_THWC[:1]))
    made = [torch.full_like(first, value * sum(diffused_heads.LUMA)) for value in (0.1, 0.2, 0.3)]
    for motion, expected in zip(shown, [(first, first), (first, made[0]), (made[0], made[1]), (made[1], made[2])]):
        torch.testing.assert_close(motion, torch.cat(expected, 1))


def test_ancestral_sampling_draws_from_the_learned_variance() -> None:
    given = clip("cle_1", 3)
    sampling = params.load("presets/smoke.yaml").sample.model_copy(update={"steps": 3, "sampler": "ancestral"})
    system = build(vlb=1e-4).eval()
    nn.init.normal_(system.out.weight, std=0.1)

    def made() -> np.ndarray[Any, Any]:
        with torch.no_grad():
            return np.concatenate(list(system.generate(given, given, sampling, lambda frames: None)))

    before = made()
    with torch.no_grad():
        system.out.bias[3:] += 1.0
    assert not np.array_equal(made(), before)


def test_blotches_are_the_same_on_all_motion_frames_and_of_all_sizes() -> None:
    torch.manual_seed(0)
    found = diffused_heads.blotches(torch.zeros(200, 2, 32, 32), 2)
    assert found[:, 0].equal(found[:, 1])
    assert found.mean().item() == pytest.approx(0, abs=0.05)
    broad = nn.functional.avg_pool2d(found, 16)
    assert 0.2 < broad.std().item() < found.std().item() < 1.2, "white noise would leave a sixteenth of its deviation"
    assert diffused_heads.blotches(torch.zeros(1, 6, 8, 8), 2).shape == (1, 6, 8, 8)


def test_the_sound_of_a_clip_is_embedded_as_in_training() -> None:
    system, given = build().eval(), clip("cle_1", 9)
    own = system.settings
    with torch.no_grad():
        swift = torch.cat(list(system._sound(given, 9, batch=4)))
        around = [diffused_heads.neighbours(frame, 9, own.audio_neighbours) for frame in range(9)]
        windows = torch.stack([diffused_heads.conditions.mel_windows(given, part, own.audio_steps) for part in around])
        torch.testing.assert_close(swift, system.heard(windows))


def test_the_learning_rate_falls_eighteen_times() -> None:
    settings = Settings.model_validate({**TINY, "steps": 180, "learning_rate": 1.0})
    rates = [diffused_heads.learning_rate(step, settings) for step in range(180)]
    assert rates[9:11] == pytest.approx([1.0, 0.8])
    assert rates[-1] == pytest.approx(0.8**17)
    smooth = settings.model_copy(update={"lr_schedule": "cosine", "warmup": 10})
    assert diffused_heads.learning_rate(4, smooth) == pytest.approx(0.5)
    assert diffused_heads.learning_rate(95, smooth) == pytest.approx(0.51)


def test_the_posterior_is_that_of_two_gaussians() -> None:
    """q(x_s | x_t, x_0) is proportional to q(x_t | x_s) q(x_s | x_0): precisions add, means are weighted by them."""
    diffusion = Diffusion(1000, "cosine", "epsilon")
    t, s = 700, 640
    found = learned_variance.posterior(diffusion, torch.tensor([t]), torch.tensor([s]))
    of_t, of_s = (float(diffusion.alphas_bar_T[time]) for time in (t, s))
    alpha = of_t / of_s
    precision = alpha / (1 - alpha) + 1 / (1 - of_s)
    assert found.log_beta_tilde.item() == pytest.approx(-math.log(precision), rel=1e-5)
    assert found.log_beta.item() == pytest.approx(math.log(1 - alpha), rel=1e-5)
    assert found.on_x_t.item() == pytest.approx(math.sqrt(alpha) / (1 - alpha) / precision, rel=1e-5)
    assert found.on_x_0.item() == pytest.approx(math.sqrt(of_s) / (1 - of_s) / precision, rel=1e-5)


def test_the_bound_is_zero_at_the_truth_and_by_hand_elsewhere() -> None:
    diffusion = Diffusion(1000, "cosine", "epsilon")
    x_0, t_N = torch.rand(2, 3, 4, 4) * 2 - 1, torch.tensor([300, 600])
    x_t = diffusion.q_sample(x_0, t_N, torch.randn_like(x_0))
    exact = learned_variance.variational_bound(diffusion, x_0, x_t, t_N, x_0, torch.zeros_like(x_0))
    torch.testing.assert_close(exact, torch.zeros(2), atol=1e-6, rtol=0)
    # With ν = 1 the variances are β̃ and β: KL = (β̃/β − 1 − log(β̃/β)) / 2.
    wide = learned_variance.variational_bound(diffusion, x_0, x_t, t_N, x_0, torch.ones_like(x_0))
    step = learned_variance.posterior(diffusion, t_N, t_N - 1)
    gap = (step.log_beta_tilde - step.log_beta).flatten()
    torch.testing.assert_close(wide, (gap.exp() - 1 - gap) / 2 / math.log(2))


def test_the_bound_at_the_last_step_is_the_pixels_likelihood() -> None:
    """The step to the clean frame has so little variance that a right estimate is nearly sure."""
    diffusion = Diffusion(1000, "cosine", "epsilon")
    x_0 = (torch.randint(0, 256, (1, 3, 4, 4)) / 127.5 - 1).float()
    t_N = torch.zeros(1, dtype=torch.long)
    x_t = diffusion.q_sample(x_0, t_N, torch.randn_like(x_0))
    nu = torch.zeros_like(x_0)
    deviation = math.exp(learned_variance.posterior(diffusion, t_N, t_N - 1).log_beta_tilde.item() / 2)
    within = math.erf(1 / 255 / deviation / math.sqrt(2))
    found = learned_variance.variational_bound(diffusion, x_0, x_t, t_N, x_0, nu).item()
    assert found == pytest.approx(-math.log2(within), abs=0.02)
    assert learned_variance.variational_bound(diffusion, x_0, x_t, t_N, (x_0 + 0.1).clamp(-1, 1), nu).item() > 5


def test_the_bound_trains_the_variance_alone() -> None:
    diffusion = Diffusion(1000, "cosine", "epsilon")
    x_0, t_N = torch.rand(2, 3, 4, 4), torch.tensor([0, 600])
    guess, nu = (torch.rand_like(x_0).requires_grad_() for _ in range(2))
    learned_variance.variational_bound(diffusion, x_0, x_0, t_N, guess, nu).sum().backward()
    assert guess.grad is None
    assert nu.grad is not None
    assert nu.grad.abs().sum() > 0


def test_the_least_variance_is_ddpms_own_sampler() -> None:
    diffusion = Diffusion(100, "cosine", "x0")
    noises = torch.randn(11, 1, 3, 4, 4)
    target = torch.rand(1, 3, 4, 4)

    def denoise(x_t: torch.Tensor, t_N: torch.Tensor) -> torch.Tensor:
        return (0.9 * target + 0.1 * x_t).clamp(-1, 1)

    given = sample_ancestral(diffusion, denoise, noises[10], 10, lambda i: noises[i])
    times = spaced_timesteps(100, 10)
    found = learned_variance.sample(
        diffusion, lambda x, t: (denoise(x, t), torch.zeros_like(x)), noises[10], times, lambda i: noises[i]
    )
    torch.testing.assert_close(found, given, atol=1e-5, rtol=1e-4)
    other = learned_variance.sample(
        diffusion, lambda x, t: (denoise(x, t), torch.ones_like(x)), noises[10], times, lambda i: noises[i]
    )
    assert not torch.allclose(other, given, atol=1e-3)


def test_the_lip_box_weighs_in_the_loss() -> None:
    made = trainer(build(batch=2, vlb=0.0, motion_noise=0.0, motion_own=0.0, dropout=0.0))
    batch = made.batch(0)
    torch.manual_seed(0)
    found = made.losses(batch)
    error = (batch.identity_NCHW - batch.x_0) ** 2  # a new network gives the identity frame
    assert found["simple"].item() == pytest.approx(error.mean().item(), rel=1e-4)
    boxes = [e[:, box[0] > 0].mean().item() for e, box in zip(error, batch.lips_N1HW)]
    assert found["lip"].item() == pytest.approx(sum(boxes) / 2, rel=1e-4)
    assert found["vlb"].item() == 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"prediction": "epsilon"}, "residual 'identity' needs prediction 'x0'"),
        ({"head_channels": 16}, r"head_channels 16 must divide channels 8 times \[1\]"),
    ],
)
def test_settings_that_do_not_agree_are_refused(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Settings.model_validate({**TINY, "steps": 3, **overrides})


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        ParameterError, match=r"size is 64; settings.patch 3 and 2 settings.multipliers need a multiple of 6"
    ):
        build(patch=3)
    with pytest.raises(ParameterError, match=r"settings.attention names \[5\]"):
        build(attention=[5, 16])
    sampling = params.load("presets/smoke.yaml").sample.model_copy(update={"steps": 51})
    with pytest.raises(ParameterError, match=r"sample.steps is 51; settings.timesteps allows at most 50"):
        next(build().generate(clip("cle_1"), clip("cle_1"), sampling, lambda frames: None))


def test_bf16_reaches_all_weights_with_motion_frames_of_its_own() -> None:
    system = build(batch=4, precision="bf16", motion_own=0.5, vlb=1e-4)
    nn.init.normal_(system.out.weight, std=0.1)
    for module in system.modules():
        if isinstance(module, ResBlock):
            nn.init.normal_(module.conv_out.weight, std=0.1)
    made = trainer(system)
    made.step(0)
    assert [name for name, value in system.named_parameters() if value.grad is None] == []
    given = clip("cle_1", 3)
    sampling = params.load("presets/smoke.yaml").sample.model_copy(update={"precision": "bf16"})
    with torch.no_grad():
        assert len(list(system.eval().generate(given, given, sampling, lambda frames: None))) == 3
