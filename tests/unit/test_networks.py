"""The networks: shapes, what they depend on, sizes counted by hand or published."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from stages.diffusion.schedule import Diffusion
from stages.networks import perceptual, seeded
from stages.networks.hifidiff import SHARE_AT_START, SHOWN_SCALE, Conditions, HifiDiffNet
from stages.networks.lipsync_expert import LipSyncExpert
from stages.networks.unet import timestep_embedding

SMALL = {
    "size": 32,
    "patch": 2,
    "channels": 8,
    "multipliers": [1, 2],
    "res_blocks": 1,
    "attention": [8],
    "head_channels": 8,
    "dropout": 0.0,
    "audio_channels": 8,
    "audio_steps": 16,
    "blink_frames": 3,
    "places": False,
    "prior": 0.0,
    "condition_gain": 1.0,
    "residual": "reference",
    "groups": 8,
    "mel_bins": 80,
}


def conditions(n: int, size: int, *, blink: bool = True, mask: bool = True) -> Conditions:
    g = torch.Generator().manual_seed(3)
    return Conditions(
        reference_NCHW=torch.randn(n, 3, size, size, generator=g),
        mel_NSM=torch.randn(n, 16, 80, generator=g),
        ear_NK2=torch.rand(n, 3, 2, generator=g) if blink else None,
        masked_NCHW=torch.randn(n, 3, size, size, generator=g) if mask else None,
    )


def net(**over) -> HifiDiffNet:
    return seeded(0, lambda: HifiDiffNet(**{**SMALL, "uses_blink": True, "uses_mask": True, **over}))


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize(("blink", "mask"), [(True, True), (False, True), (True, False)])
def test_a_new_network_predicts_the_reference(patch, blink, mask):
    given = conditions(2, 32, blink=blink, mask=mask)
    output = net(patch=patch, uses_blink=blink, uses_mask=mask)(
        torch.randn(2, 3, 32, 32), torch.tensor([0, 999]), given
    )
    torch.testing.assert_close(output, given.reference_NCHW)


def trained_a_little(network: HifiDiffNet) -> HifiDiffNet:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(
                0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
    return network.eval()


@pytest.mark.parametrize("name", ["reference_NCHW", "mel_NSM", "ear_NK2", "masked_NCHW"])
def test_every_condition_reaches_the_output(name):
    network, given = trained_a_little(net()), conditions(1, 32)
    x_t, t = torch.randn(1, 3, 32, 32), torch.tensor([500])
    changed = Conditions(**{**vars(given), name: getattr(given, name) + 0.5})
    assert not torch.allclose(network(x_t, t, given), network(x_t, t, changed), atol=1e-4)


def test_time_reaches_the_output_and_images_do_not_mix():
    network, given = trained_a_little(net()), conditions(2, 32)
    x_t = torch.randn(2, 3, 32, 32)
    both = network(x_t, torch.tensor([10, 900]), given)
    other = network(x_t, torch.tensor([10, 100]), given)
    torch.testing.assert_close(both[0], other[0])
    assert not torch.allclose(both[1], other[1], atol=1e-4)


def test_a_new_blend_is_near_the_reference_and_a_trained_one_reaches_black_and_white():
    """At first a little of half the mean colour of 5 × 5 pixels (of 32) is drawn; black can become white, and white black."""
    network, given = net(residual="blended"), conditions(2, 32)
    x_t, t = torch.randn(2, 3, 32, 32), torch.tensor([0, 999])
    share = torch.sigmoid(torch.tensor(SHARE_AT_START))
    mean = given.reference_NCHW[..., 10:15, 20:25].mean((2, 3))
    here = given.reference_NCHW[..., 12, 22]
    torch.testing.assert_close(network(x_t, t, given)[..., 12, 22], (1 - share) * here + share * mean / 2)
    with torch.no_grad():
        for drawn in (-1.0, 1.0):
            opposite = replace(given, reference_NCHW=torch.full_like(given.reference_NCHW, -drawn))
            network.out.bias.copy_(torch.tensor([9 * drawn] * 3 + [5.0, 5.0]))
            assert (drawn * network(x_t, t, opposite)).min() > 0.99
            network.out.bias.copy_(torch.tensor([2 * drawn] * 3 + [-5.0, 5.0]))
            assert (drawn * network(x_t, t, opposite)).min() > 0.99, "whatever the reference"


def test_where_nothing_is_drawn_the_reference_stays_as_it_is():
    network, given = trained_a_little(net(residual="blended")), conditions(1, 32)
    with torch.no_grad():
        network.out.bias[4] = -20.0
    torch.testing.assert_close(network(torch.randn(1, 3, 32, 32), torch.tensor([3]), given), given.reference_NCHW)


def test_places_reach_the_output():
    network, plain = trained_a_little(net(places=True)), conditions(1, 32)
    x_t, t = torch.randn(1, 3, 32, 32), torch.tensor([500])
    outputs = [network(x_t, t, replace(plain, places_N4HW=torch.full((1, 4, 32, 32), value))) for value in (0.0, 0.5)]
    assert not torch.allclose(*outputs, atol=1e-4)


def test_a_prior_shows_the_posterior_of_the_difference_and_of_noise_nothing():
    """x_t is shown as SHOWN_SCALE times the mean of x_0 − reference given x_t, where that is N(0, prior²) a priori."""
    diffusion = Diffusion(1000, "cosine", "x0")
    times = torch.arange(1000)
    rates = torch.stack([rate.flatten() for rate in diffusion.rates(times)])
    network = net(prior=0.2, rates_2T=rates)
    g = torch.Generator().manual_seed(1)
    reference = torch.randn(4000, 3, 1, 1, generator=g)
    difference = 0.2 * torch.randn(4000, 3, 1, 1, generator=g)
    for t in (20, 300, 600):
        t_N = torch.full((4000,), t)
        x_t = diffusion.q_sample(reference + difference, t_N, torch.randn(4000, 3, 1, 1, generator=g))
        shown = (network._shown(x_t, t_N, reference) / SHOWN_SCALE).flatten()
        # The posterior mean is the best linear estimate: its error has nothing in common with itself.
        error = difference.flatten() - shown
        assert abs(float((error * shown).mean())) < 0.05 * float((difference**2).mean())
        assert float((error**2).mean()) <= float((difference**2).mean())
    last = network._shown(torch.randn(4000, 3, 1, 1, generator=g), torch.full((4000,), 999), reference)
    assert float(last.abs().max()) < 0.01


def test_the_gain_multiplies_the_conditions_embedding_alone():
    given, x_t, t = conditions(1, 32), torch.randn(1, 3, 32, 32), torch.tensor([500])
    one, four = trained_a_little(net()), trained_a_little(net(condition_gain=4.0))
    with torch.no_grad():
        for name, parameter in four.named_parameters():
            if ".from_condition.weight" in name:
                parameter /= 4
    torch.testing.assert_close(one(x_t, t, given), four(x_t, t, given))


def test_timestep_embedding_is_the_transformers():
    found = timestep_embedding(torch.tensor([0.0, 3.0]), 4)
    expected = torch.tensor([[1.0, 1, 0, 0], [torch.tensor(3.0).cos(), torch.tensor(0.03).cos(), 0.14112, 0.0299955]])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.fixture(scope="module", params=[(32, 16), (16,)], ids=["attention at 32 and 16", "attention at 16"])
def paper_scale(request):
    """Attention's resolutions, and the paper-size network with its inputs on the meta device: shapes without numbers."""
    with torch.device("meta"):
        network = HifiDiffNet(
            size=128,
            patch=1,
            channels=128,
            multipliers=[1, 2, 2, 4],
            res_blocks=2,
            attention=list(request.param),
            head_channels=64,
            dropout=0.0,
            audio_channels=32,
            audio_steps=16,
            blink_frames=1,
            places=False,
            prior=0.0,
            condition_gain=1.0,
            residual="none",
            groups=32,
            mel_bins=80,
            uses_blink=True,
            uses_mask=True,
        )
        picture = torch.empty(1, 3, 128, 128)
        given = Conditions(picture, torch.empty(1, 16, 80), torch.empty(1, 1, 2), picture)
        return request.param, network, (picture, torch.zeros(1), given)


def test_paper_scale_has_the_counted_size(paper_scale):
    """Counted for ADM at these sizes: 78.5 and 77.1 million. The audio encoder and each block's second modulation come on top.

    Without these two it is 0.5 % less than counted: how the counted network embeds its conditions is not known.
    """
    attention, network, _ = paper_scale
    sizes = {name: p.numel() / 1e6 for name, p in network.named_parameters()}
    second = sum(millions for name, millions in sizes.items() if ".from_condition." in name)
    audio = sum(millions for name, millions in sizes.items() if name.startswith("audio."))
    counted, ours = {(32, 16): (78.5, 86.58), (16,): (77.1, 85.26)}[attention]
    assert sum(sizes.values()) == pytest.approx(ours, abs=0.005)
    assert sum(sizes.values()) - second - audio == pytest.approx(counted, rel=0.007)
    assert second == pytest.approx(6.96, abs=0.005)
    assert audio == pytest.approx(1.55, abs=0.005)


def test_paper_scale_has_the_counted_operations(paper_scale):
    """Counted for ADM: 214.9 and 206.8 GFLOP a forward, two a multiplication and addition.

    0.05 is the rounding of the counted numbers. The audio encoder's 0.033 and the second modulation's 0.014 come on top.
    """
    attention, network, inputs = paper_scale
    with FlopCounterMode(display=False) as counter:
        network(*inputs)
    parts = {name: sum(flops.values()) / 1e9 for name, flops in counter.get_flop_counts().items()}
    second = sum(flops for name, flops in parts.items() if name.endswith(".from_condition"))
    counted = {(32, 16): 214.9, (16,): 206.8}[attention]
    assert parts["Global"] - parts["HifiDiffNet.audio"] - second == pytest.approx(counted, abs=0.06)
    assert parts["Global"] == pytest.approx(counted, rel=5e-4)
    # Attention itself, which the counter misses where a device fuses it: 4 P² C; three levels' worth goes up, two down.
    blocks = [(32**2, 256)] * 5 * (32 in attention) + [(16**2, 512)] * (5 + 1)
    products = counter.get_flop_counts()["Global"][torch.ops.aten.bmm]
    assert products == sum(4 * positions**2 * channels for positions, channels in blocks)


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = net(), net()
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("sees", ["mouth", "lower_half"])
def test_the_experts_cosines_lie_between_0_and_1(sees):
    expert = LipSyncExpert(width=4, embedding=8, size=32, sees=sees).eval()
    video, audio = expert(torch.rand(3, 5, 3, 64, 64), torch.eye(2, 3).repeat(3, 5, 1, 1), torch.randn(3, 16, 80))
    assert video.shape == audio.shape == (3, 8)
    assert video.min().item() >= 0
    assert audio.min().item() >= 0


def test_an_expert_sees_what_it_is_said_to_see():
    frames, maps = torch.rand(1, 5, 3, 32, 32), (0.5 * torch.eye(2, 3)).repeat(1, 5, 1, 1)  # the middle quarter
    upper, outside = frames.clone(), frames.clone()
    upper[..., :16, :] = 0
    outside[..., :4, :] = 0
    half = LipSyncExpert(width=4, embedding=8, size=32, sees="lower_half").eval()
    assert torch.equal(half.embed_video(frames, maps), half.embed_video(upper, maps))
    mouth = LipSyncExpert(width=4, embedding=8, size=32, sees="mouth").eval()
    assert torch.equal(mouth.embed_video(frames, maps), mouth.embed_video(outside, maps))
    assert not torch.equal(mouth.embed_video(frames, maps), mouth.embed_video(upper, maps))


@pytest.fixture(scope="module", params=["vgg16", "vgg19"])
def trunk(request):
    import torchvision

    make = getattr(torchvision.models, request.param)
    state = seeded(1, lambda: make(weights=None)).state_dict()
    return request.param, {name: value for name, value in state.items() if name.startswith("features.")}


def test_perceptual_distances_take_torchvisions_trunks(trunk):
    name, weights = trunk
    network = {"vgg16": perceptual.lpips_from_trunk, "vgg19": perceptual.VggDistance}[name](weights)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = torch.cat([x[:1], -x[1:]])
    same, other = network(x, y).flatten().tolist()
    assert same == 0
    assert other > 0
    if name == "vgg16":
        torch.testing.assert_close(network.net.slice5[1].weight, weights["features.24.weight"])


@pytest.mark.parametrize("trunk", ["vgg19"], indirect=True)
def test_eq_4_by_hand(trunk):
    """Against torchvision's own trunk, a layer at a time."""
    import torchvision

    _, weights = trunk
    network = perceptual.VggDistance(weights)
    whole = torchvision.models.vgg19(weights=None).features
    whole.load_state_dict({key.removeprefix("features."): value for key, value in weights.items()})
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 1, 3, 32, 32, generator=g).unbind()
    mean, std = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]

    def before_pooling(picture):
        h, kept = (picture - mean) / std, []
        for layer in whole:
            if isinstance(layer, torch.nn.MaxPool2d):
                kept.append(h)
            h = layer(h)
        return kept

    expected = sum(((a - b) ** 2).mean().item() for a, b in zip(before_pooling(x), before_pooling(y), strict=True)) / 5
    assert network(2 * x - 1, 2 * y - 1).item() == pytest.approx(expected, rel=1e-4)
