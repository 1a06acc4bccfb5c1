"""PC-AVS: sizes as published, the modulated convolution, what each code may tell, and what learns when."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose
from torch import Tensor, nn

from stages.base import params
from stages.base.errors import ParameterError
from stages.clips.clip import Clip
from stages.methods.kinds import pc_avs
from stages.methods.systems import Data, Facts
from stages.networks import seeded

FACTS = Facts(size=32, fps=25.0, sample_rate=16000, mel_bins=80)
SMALL: dict[str, Any] = {
    **pc_avs.PAPER,
    "steps": 4,
    "identity_width": 4,
    "identity_layers": [1],
    "identity_groups": 2,
    "frame_width": 8,
    "frame_depth": 1,
    "code": 12,
    "pose_code": 4,
    "sound_widths": [2, 4, 4, 8],
    "sound_layers": [1, 1, 1, 1],
    "channels": [8, 8],
    "patch": 2,
    "images": 3,
    "moments": 4,
    "clips": 2,
    "learning_rate": 0.01,
}
SAMPLE = params.load("presets/smoke.yaml").sample


def system(**over: Any) -> pc_avs.System:
    return seeded(1, lambda: pc_avs.System(pc_avs.Settings.model_validate({**SMALL, **over}), FACTS))


def clip(frames: int = 12) -> Clip:
    rng = np.random.default_rng(7)
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    face = np.stack([np.cos(angle), np.sin(angle)], -1) * 8 + 16
    face[48:] = np.stack([np.cos(angle[:20] * 3.4), np.sin(angle[:20] * 3.4)], -1) * 2 + [16, 22]
    return Clip(
        name="ada_1",
        speaker="ada",
        frames_THWC=rng.integers(0, 256, (frames, 32, 32, 3), dtype=np.uint8),
        landmarks_TL2=(face + rng.normal(0, 0.1, (frames, 68, 2))).astype(np.float32),
        masks_THW=np.ones((frames, 32, 32), bool),
        ear_T2=np.full((frames, 2), 0.3, np.float32),
        mel_SM=rng.uniform(-4, 4, (int(3.2 * frames), 80)).astype(np.float32),
        audio=np.zeros(640 * frames, np.int16),
        blinks=[],
    )


def trainer(made: pc_avs.System) -> pc_avs.Trainer:
    data = Data(train=[clip()], validation=[], expert=None, seed=5, device=torch.device("cpu"))  # type: ignore[arg-type]
    return seeded(2, lambda: pc_avs.Trainer(made, data))


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_networks_are_of_the_published_sizes() -> None:
    """Counted on the authors' classes at 224 pixels: the networks that their inference uses."""
    with torch.device("meta"):
        frame = pc_avs.FrameEncoder(width=256, depth=4, maps=1, dropout=0.5, size=224, code=512, pose=12, normed=False)
        assert count(frame.layers) == 6_652_337
        assert count(frame.to_mouth) == count(frame.to_pose) == 525_312
        assert (count(frame.embed_mouth), count(frame.embed_pose)) == (256_500, 6_156)
        sound = pc_avs.SoundEncoder(widths=[32, 64, 128, 256], layers=[3, 4, 6, 3], mel_bins=80, code=512)
        assert count(sound) == 7_373_644
        who = pc_avs.IdentityEncoder(width=64, layers=[3, 4, 6, 3], groups=32, map_channels=512, map_side=7)
        assert (count(who.layers), count(who.map), who.values) == (22_979_904, 1_049_088, 2048)
        drawing = pc_avs.Generator(channels=[512, 512, 512, 512, 256, 128], style=2560, out=3, pixels=0)
        assert count(drawing) == 37_095_837


def test_the_published_224_pixels_are_taken() -> None:
    channels = [512, 512, 512, 512, 256, 128]
    with torch.device("meta"):
        facts = Facts(size=224, fps=25.0, sample_rate=16000, mel_bins=80)
        settings = pc_avs.Settings.model_validate({**pc_avs.PAPER, "channels": channels, "steps": 1})
        made = pc_avs.System(settings, facts)
        assert made.identity.map_side == 7
        assert made.frame.mouth(torch.rand(2, 3, 224, 224)).shape == (2, 512)  # the hourglass goes down to 3 pixels


def test_paper_settings_make_a_network_for_128_pixels() -> None:
    with torch.device("meta"):
        facts = Facts(size=128, fps=25.0, sample_rate=16000, mel_bins=80)
        made = pc_avs.System(pc_avs.Settings.model_validate({**pc_avs.PAPER, "steps": 1}), facts)
    assert made.identity.map_side == 4
    assert [convolution.conv.weight.shape[0] for convolution in made.generator.ups] == [512, 512, 512, 512, 256]


@pytest.mark.parametrize("demodulate", [True, False])
def test_a_modulated_convolution_is_one_of_weights_of_each_images_own(demodulate: bool) -> None:
    made = seeded(3, lambda: pc_avs.Modulated(3, 5, 3, 4, demodulate=demodulate))
    x, style = torch.randn(2, 3, 6, 6), torch.randn(2, 4)
    expected = []
    for image, values in zip(x, style, strict=True):
        weight = made.weight * made.scale * (made.style @ values / 2 + made.style_bias)[None, :, None, None]
        if demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        expected.append(F.conv2d(image[None], weight, padding=1))
    assert_allclose(made(x, style).detach(), torch.cat(expected).detach(), rtol=1e-4, atol=1e-5)


def test_frames_follow_the_sound_and_not_how_many_are_made_at_once() -> None:
    made, own, other = system().eval().requires_grad_(False), clip(), clip(20)
    made.sound.tell.weight.mul_(2000)

    def frames(sound: Clip, batch: int) -> np.ndarray:
        sampling = SAMPLE.model_copy(update={"batch": batch})
        return np.concatenate(list(made.generate(own, sound, sampling, lambda n: None)))

    whole = frames(own, 50)
    assert whole.shape == own.frames_THWC.shape
    assert np.abs(frames(own, 5).astype(int) - whole).max() <= 1
    assert np.abs(frames(other, 50).astype(int) - whole).max() > 3


@pytest.mark.parametrize("align", [True, False])
def test_the_pose_is_the_first_frames_or_the_videos(align: bool) -> None:
    own = clip()
    still = system(amplify=1e-9, align=align).eval().requires_grad_(False)
    moving = system(amplify=1e-9, align=align, pose="video").eval().requires_grad_(False)
    for made in (still, moving):  # a code that is the same in all frames: what moves is the pose
        nn.init.normal_(made.frame.embed_pose[1].weight, std=20.0, generator=torch.Generator().manual_seed(1))
    held, moved = (np.concatenate(list(made.generate(own, own, SAMPLE, lambda n: None))) for made in (still, moving))
    assert np.abs(held.astype(int) - held[:1]).max() <= 1
    assert np.abs(moved.astype(int) - moved[:1]).max() > 3


def test_the_poses_encoder_does_not_see_the_mouth() -> None:
    own, made = clip(3), system(cover=True).eval()
    box = pc_avs.mouth_box(own.landmarks_TL2[1], 32)
    ys, _ = np.nonzero(box)
    assert 4 < len(ys) < 400
    assert ys.min() <= own.landmarks_TL2[1, 48:, 1].min() <= own.landmarks_TL2[1, 48:, 1].max() <= ys.max() + 1
    before = made.posing(own, [1])
    changed = np.array(own.frames_THWC)
    changed[1][box] = 255 - changed[1][box]
    other = Clip(**{**own.__dict__, "frames_THWC": changed})
    assert made.posing(other, [1]).equal(before)
    assert not system(cover=False).posing(other, [1]).equal(system(cover=False).posing(own, [1]))


def test_changed_frames_keep_their_range_and_no_strength_keeps_their_shape() -> None:
    ramp = torch.linspace(-1, 1, 32).expand(4, 3, 32, 32).contiguous()
    found = pc_avs.changed(ramp, np.random.default_rng(1), 1.0)
    assert found.shape == ramp.shape
    assert found.abs().max() <= 1
    assert (found - ramp).abs().mean() > 0.05
    grey = torch.full((4, 3, 32, 32), -1.0)  # black stays black under gains, and flat under blur
    assert_allclose(pc_avs.changed(grey, np.random.default_rng(2), 1.0), -1, atol=1e-5)
    zoomed = [pc_avs.changed(ramp, np.random.default_rng(seed), 3.0)[:, :, 16].diff().abs().mean() for seed in range(3)]
    assert len({round(float(x), 4) for x in zoomed}) == 3


def test_the_contrast_by_hand() -> None:
    codes = torch.eye(3)
    right = pc_avs.contrast(codes, 5 * codes)
    assert right == pytest.approx(np.log(1 + 2 * np.exp(-10)), rel=1e-3)
    assert pc_avs.contrast(codes, codes.roll(1, 0)) == pytest.approx(10 + float(right), rel=1e-3)
    told, true = torch.randn(4, 8, requires_grad=True), torch.randn(4, 8, requires_grad=True)
    pc_avs.contrast(told, true).backward()
    assert told.grad is not None
    assert true.grad is None


def weights(network: nn.Module) -> list[Tensor]:
    return [value.detach().clone() for value in network.state_dict().values()]


def moved(network: nn.Module, before: list[Tensor]) -> bool:
    return any(not a.equal(b) for a, b in zip(network.state_dict().values(), before, strict=True))


def test_pictures_learn_first_and_the_sound_alone_where_the_rest_is_held() -> None:
    made = system(first=0.5, hold=True, residual=True, align=True, cover=True)
    own = trainer(made)
    sound, drawing = weights(made.sound), weights(made.generator)
    first = own.step(0)
    assert first["picture"] > 0
    assert first["who"] >= 0
    assert first["contrast"] == first["cross_modal"] == first["spoken"] == 0
    assert moved(made.generator, drawing)
    assert not moved(made.sound, sound)
    own.step(1)
    own.step(2)
    drawing, frame, who = weights(made.generator), weights(made.frame), weights(made.identity)
    last = own.step(3)
    assert last["picture"] == last["spoken"] == 0
    assert last["contrast"] > 0
    assert last["cross_modal"] > 0
    assert moved(made.sound, sound)
    assert not moved(made.generator, drawing)
    assert not moved(made.frame, frame)
    assert not moved(made.identity, who)


def test_as_published_all_learn_at_once() -> None:
    made = system(first=0.0)
    own = trainer(made)
    before = {name: weights(getattr(made, name)) for name in ("sound", "frame", "identity", "generator")}
    found = own.step(0)
    assert all(found[name] > 0 for name in ("picture", "spoken", "contrast", "cross_modal"))
    assert all(moved(getattr(made, name), values) for name, values in before.items())


def test_a_training_takes_its_losses_down() -> None:
    made = system(steps=60, first=0.6, hold=True, residual=True, images=4, who=0.0, generator_rate=5.0)
    own = trainer(made)
    found = [own.step(step) for step in range(60)]
    assert np.mean([x["picture"] for x in found[26:36]]) < 0.95 * np.mean([x["picture"] for x in found[:5]])
    assert np.mean([x["cross_modal"] for x in found[50:]]) < 0.9 * np.mean([x["cross_modal"] for x in found[36:39]])


def test_settings_that_can_not_be_are_named() -> None:
    with pytest.raises(ParameterError, match=r"network\.size is 32; it must be a multiple of 64, by settings\.patch"):
        system(channels=[8] * 6)
    with pytest.raises(ParameterError, match=r"network\.size is 32; .* at least 64, by frame_depth"):
        system(frame_depth=4)
    with pytest.raises(ParameterError, match=r"settings\.pose_code is 12, code 12"):
        system(pose_code=12)
    with pytest.raises(ParameterError, match=r"settings\.channels has one level; with settings\.residual"):
        system(channels=[8], residual=True)
    with pytest.raises(ParameterError, match=r"settings\.moments is 13, and the shortest training clip has 12 frames"):
        trainer(system(moments=13))


def test_the_parts_that_it_sees_are_named() -> None:
    entry = params.Method.model_construct(settings={"pose": "video"})
    assert "each frame of the test video for its pose" in pc_avs.sees(entry)
    still = params.Method.model_construct(settings={"pose": "first_frame"})
    assert pc_avs.sees(still) == "the first frame, the audio; head and eyes stay as in the first frame"
