"""SDA: sizes counted, the sound's windows, the unmoving head, what each discriminator is asked."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.utils.flop_counter import FlopCounterMode

from stages.base.errors import ParameterError
from stages.clips.clip import Clip
from stages.faces.geometry import MOUTH, RIGID
from stages.methods.kinds import sda
from stages.methods.systems import Data, Facts
from stages.networks import seeded
from stages.pretrained import lipsync_expert

FACTS = Facts(size=32, fps=25.0, sample_rate=16000, mel_bins=80)
SMALL = {
    **sda.PAPER,
    "steps": 10,
    "channels": 4,
    "identity": 8,
    "audio_channels": 2,
    "audio": 8,
    "noise": 3,
    "discriminator_channels": 2,
    "frames": 6,
    "batch": 2,
}


def system(facts: Facts = FACTS, **over: Any) -> sda.System:
    return seeded(1, lambda: sda.System(sda.Settings.model_validate({**SMALL, **over}), facts))


def clip(frames: int = 16, size: int = FACTS.size) -> Clip:
    rng = np.random.default_rng(7)
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    face = np.stack([np.cos(angle), np.sin(angle)], -1) * size / 4 + size / 2
    return Clip(
        name="ada_1",
        speaker="ada",
        frames_THWC=rng.integers(0, 256, (frames, size, size, 3), dtype=np.uint8),
        landmarks_TL2=np.repeat(face[None], frames, 0).astype(np.float32),
        masks_THW=np.ones((frames, size, size), bool),
        ear_T2=np.full((frames, 2), 0.3, np.float32),
        mel_SM=np.zeros((int(3.2 * frames), 80), np.float32),
        audio=np.arange(640 * frames - 100, dtype=np.int16),
        blinks=[],
    )


def trainer(made: sda.System, *clips: Clip) -> sda.Trainer:
    layout = {"architecture": "lipsync", "width": 4, "embedding": 8, "sees": "lower_half", "size": 32}
    expert = seeded(1, lambda: lipsync_expert.build(layout))
    data = Data(train=clips or [clip()], validation=[clip()], expert=expert, seed=5, device=torch.device("cpu"))
    return seeded(2, lambda: made.trainer(data))


@pytest.fixture(scope="module")
def at_paper_scale() -> sda.System:
    settings = sda.Settings.model_validate({"steps": 1, **sda.PAPER})
    with torch.device("meta"):
        return sda.System(settings, Facts(size=128, fps=25.0, sample_rate=16000, mel_bins=80))


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_it_has_the_published_size(at_paper_scale):
    sound = 16 * 81 + 32 * 65 + 64 * 129 + 128 * 257 + 256 * 1281 + 256 * 1281 + 2 * (16 + 32 + 64 + 128 + 256)
    assert count(at_paper_scale.sound) == sound
    assert count(at_paper_scale) == 57_411_684
    # At 128 × 96 two kernels are 4 × 3 instead of 4 × 4: from the latent, and to the identity code.
    narrower = 4 * (394 * 1024 + 1024 * 128)
    assert (count(at_paper_scale) - narrower) / 1e6 == pytest.approx(55.3, abs=0.05)


def test_it_costs_what_is_published(at_paper_scale):
    def cost(frames: int) -> float:
        with FlopCounterMode(display=False) as counter, torch.device("meta"):
            still, sound = torch.empty(1, 3, 128, 128), torch.empty(1, frames, 3200)
            x = at_paper_scale.eval()(still, sound, torch.empty(1, frames, 10))
        assert x.shape == (1, frames, 3, 128, 128)
        return counter.get_total_flops() / frames / 1e9

    assert cost(1) == pytest.approx(4.6, abs=0.05)
    # Of a clip the identity is encoded once, and its part of each level's convolution is made once.
    assert cost(10) == pytest.approx(2.6, abs=0.05)


def test_the_sound_of_a_frame_lies_around_its_own_time():
    audio = np.arange(1, 2001, dtype=np.int16)
    heard = (sda.sound_windows(audio, [0, 2, 9], 3200, FACTS) * 32768).numpy()
    assert_allclose(heard[0], [*[0] * 1280, *range(1, 1921)])
    assert_allclose(heard[1], [*range(1, 2001), *[0] * 1200])
    assert not heard[2].any(), "beyond the clip is silence"


def test_a_window_is_shortened_as_published():
    encoder = system(audio_s=0.2).sound
    lengths, h = [], torch.zeros(1, 1, 3200)
    for layer in encoder.layers.eval():
        h = layer(h)
        if isinstance(layer, torch.nn.Conv1d):
            lengths.append(h.shape[-1])
    assert lengths == [200, 100, 50, 25, 5, 1]


def test_parts_of_a_clip_make_the_same_frames_as_the_whole():
    made = system().eval()
    still, sound, noise = torch.rand(1, 3, 32, 32), torch.randn(1, 7, 3200), torch.randn(1, 7, 3)
    with torch.no_grad():
        whole = made(still, sound, noise)
        seen = made.see(still)
        first, states = made.speak(seen, sound[:, :3], noise[:, :3], None)
        second, _ = made.speak(seen, sound[:, 3:], noise[:, 3:], states)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)


@pytest.mark.parametrize("part", ["still", "sound", "noise"])
def test_a_frame_comes_of_identity_sound_and_noise_up_to_it(part):
    made = system().eval()
    given = {"still": torch.rand(1, 3, 32, 32), "sound": torch.randn(1, 5, 3200), "noise": torch.randn(1, 5, 3)}
    changed = {name: value.clone() for name, value in given.items()}
    if part == "still":
        changed[part] += 0.5
    else:
        changed[part][:, 2] *= 100
    with torch.no_grad():
        differ = (made(*given.values()) - made(*changed.values())).abs().amax((0, 2, 3, 4)) > 0
    assert differ.tolist() == ([True] * 5 if part == "still" else [False, False, True, True, True])


def test_a_new_residual_network_shows_the_given_frame():
    still = torch.rand(2, 3, 32, 32)
    x = system(residual=True)(still, torch.randn(2, 4, 3200), torch.randn(2, 4, 3))
    torch.testing.assert_close(x, still[:, None].expand_as(x))


def test_the_targets_heads_are_in_the_identity_frames_place():
    size, at = 32, np.mgrid[:32, :32]
    spot = (255 * np.exp(-((at[0] - 15) ** 2 + (at[1] - 14) ** 2) / 8)).astype(np.uint8)
    moved = np.roll(spot, (2, 3), (0, 1))
    own = clip(2)
    points = own.landmarks_TL2.copy()
    points[1] += (3, 2)
    own = replace(own, frames_THWC=np.stack([spot, moved])[..., None].repeat(3, -1), landmarks_TL2=points)
    pictures, still = sda.steady(own, [0, 1], 0)
    assert_allclose(still[1][RIGID], points[0][RIGID], atol=1e-4)
    assert_allclose(pictures[1][4:-4, 4:-4].astype(int), pictures[0][4:-4, 4:-4], atol=1)
    assert pictures.shape == (2, size, size, 3)


def test_the_l1_loss_looks_at_the_lower_half_and_more_at_the_mouth():
    points = np.zeros((1, 68, 2))
    points[0, MOUTH] = np.stack([np.linspace(12, 20, 20), np.full(20, 24)], -1)
    weight = sda.l1_weights(points, 32, upper=0.0, mouth=5.0)[0, 0]
    assert not weight[:16].any()
    assert weight[24, 16] == 5
    assert weight[31, 0] == weight[16, 16] == 1


def test_the_discriminators_losses_at_even_odds():
    even = torch.zeros(3)
    assert sda.two_sided_loss(even, even).item() == pytest.approx(2 * math.log(2))
    assert sda.sync_loss(even, even, even).item() == pytest.approx(2 * math.log(2))
    sure = torch.full((3,), 40.0)
    assert sda.sync_loss(sure, -sure, -sure).item() == pytest.approx(0, abs=1e-6)
    assert sda.sync_loss(sure, sure, -sure).item() == pytest.approx(20), "half of what a true pair called false costs"


def test_sync_is_read_from_the_distance_of_the_codes():
    made = trainer(system())
    judge = made.sync.judge
    with torch.no_grad():
        made.sync.lips[-3].weight.zero_(), made.sync.lips[-3].bias.zero_()
        made.sync.sound.layers[-2].weight.zero_(), made.sync.sound.layers[-2].bias.fill_(math.atanh(0.5))
        logits = made.sync(torch.rand(2, 5, 3, 32, 32), torch.randn(2, 3200))
    distance = 0.5 * math.sqrt(8)
    expected = (judge.weight * distance + judge.bias).item()
    assert_allclose(logits.numpy(), [expected] * 2, rtol=1e-5)


def test_sync_looks_at_the_lower_half_alone():
    made = trainer(system()).sync.eval()
    x, sound = torch.rand(1, 5, 3, 32, 32), torch.randn(1, 3200)
    above, below = x.clone(), x.clone()
    above[..., :16, :] = 0
    below[..., 16:, :] = 0
    with torch.no_grad():
        assert torch.equal(made(x, sound), made(above, sound))
        assert not torch.equal(made(x, sound), made(below, sound))


def test_a_snippets_own_sound_is_its_frames_and_the_other_is_apart():
    own = clip(16)
    made = trainer(system(mirror=False), own)
    for index in range(20):
        rng = np.random.default_rng(index)
        drawn = sda.Sequences(*made.sequence_of(rng))
        first = int(drawn.snippet_BK[0, 0])
        assert drawn.snippet_BK.tolist() == [list(range(first, first + 5))]
        heard, other = ((sound[0, 0] * 32768).item() for sound in (drawn.in_BL, drawn.out_BL))
        assert heard % 640 == other % 640 == 0
        assert abs(heard - other) >= 5 * 640
        # The window of the snippet's middle frame, 0.2 s, is the snippet's sound.
        assert torch.equal(drawn.sound_BFL[0, first + 2], drawn.in_BL[0])


def test_a_step_teaches_the_discriminators_and_the_generator_but_not_before_their_time():
    made = trainer(system(adversarial_from=0.5, norm="group", critic_rate=1e-3))
    start = [p.clone() for p in made.discriminators.parameters()]
    early = made.step(0)
    assert early["d_sync"] == early["g_frame"] == 0
    assert all(torch.equal(a, b) for a, b in zip(start, made.discriminators.parameters()))
    late = made.step(5)
    assert sorted(early) == sorted(late)
    assert min(late.values()) > 0
    assert not any(torch.equal(a, b) for a, b in zip(start, made.discriminators.parameters()))


def test_frames_that_do_not_fit_are_refused():
    with pytest.raises(ParameterError, match="the shortest training clip has 13 frames"):
        trainer(system(), clip(13))
    for over in ({"frames": 4}, {"frame_samples": 7}, {"frames": 17}):
        with pytest.raises(ParameterError, match="the shortest training clip has 16 frames"):
            trainer(system(**over))


def test_a_size_that_cannot_be_halved_to_four_is_refused():
    with pytest.raises(ParameterError, match=r"network\.size is 48; .* 32, 64, 128"):
        system(replace(FACTS, size=48))
