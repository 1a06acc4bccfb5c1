"""The diffusion process against analytic truth."""

import math

import pytest
import torch

from stages.diffusion import losses
from stages.diffusion.samplers import SAMPLERS, sample_ddim, sample_dpm_solver, spaced_timesteps
from stages.diffusion.schedule import Diffusion, cosine_alphas_bar, linear_alphas_bar

PREDICTIONS = ["epsilon", "v", "x0"]


def test_linear_schedule_has_ddpms_betas():
    alphas_bar = linear_alphas_bar(1000)
    betas = 1 - alphas_bar[1:] / alphas_bar[:-1]
    assert 1 - alphas_bar[0] == pytest.approx(1e-4)
    assert betas[-1] == pytest.approx(0.02)
    assert alphas_bar[-1] == pytest.approx(4.0e-5, rel=0.02)


def test_cosine_schedule_follows_its_definition():
    alphas_bar = cosine_alphas_bar(1000)
    expected = math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert alphas_bar[499] == pytest.approx(expected, rel=1e-9)
    assert (alphas_bar[1:] < alphas_bar[:-1]).all()


def test_moments_of_q():
    diffusion = Diffusion(1000, "cosine", "epsilon")
    generator = torch.Generator().manual_seed(0)
    t = torch.tensor([300])
    x_t = diffusion.q_sample(torch.full((1, 1, 400, 400), 0.7), t, torch.randn(1, 1, 400, 400, generator=generator))
    alpha_bar = float(diffusion.alphas_bar_T[300])
    assert float(x_t.mean()) == pytest.approx(0.7 * math.sqrt(alpha_bar), abs=0.01)
    assert float(x_t.var()) == pytest.approx(1 - alpha_bar, rel=0.02)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_target_gives_back_the_clean_frame(prediction):
    diffusion = Diffusion(1000, "linear", prediction)
    generator = torch.Generator().manual_seed(1)
    x_0, noise = torch.randn(4, 3, 8, 8, generator=generator), torch.randn(4, 3, 8, 8, generator=generator)
    t = torch.tensor([0, 10, 500, 900])
    x_t = diffusion.q_sample(x_0, t, noise)
    torch.testing.assert_close(diffusion.x_0(x_t, t, diffusion.target(x_0, t, noise)), x_0, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(diffusion.epsilon(x_t, t, x_0), noise, atol=1e-3, rtol=1e-3)


def oracle(diffusion, mean, std):
    """The best estimate of x_0 for data from N(mean, std²): E[x_0 | x_t], in closed form."""

    def denoise(x_t, t_N):
        signal, sigma = diffusion.rates(t_N)
        gain = signal * std**2 / (signal**2 * std**2 + sigma**2)
        return mean + gain * (x_t - signal * mean)

    return denoise


@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 200), ("ancestral", 500), ("dpm_solver++", 30)])
def test_samples_of_an_oracle_have_the_datas_distribution(sampler, steps):
    diffusion = Diffusion(1000, "cosine", "x0")
    generator = torch.Generator().manual_seed(2)
    x_T = torch.randn(1, 1, 300, 300, generator=generator)
    noise = lambda i: torch.randn(x_T.shape, generator=generator)  # noqa: E731
    x_0 = SAMPLERS[sampler](diffusion, oracle(diffusion, 0.4, 0.25), x_T, steps, noise)
    assert float(x_0.mean()) == pytest.approx(0.4, abs=0.005)
    assert float(x_0.std()) == pytest.approx(0.25, rel=0.03)


def solution(diffusion, x_T, mean, std):
    """The end of the probability-flow ODE from x_T, for Gaussian data: (x_0 − m) / s = (x_T − √ᾱ_T m) / √(ᾱ_T s² + 1 − ᾱ_T)."""
    alpha_bar = float(diffusion.alphas_bar_T[-1])
    return mean + std * (x_T - math.sqrt(alpha_bar) * mean) / math.sqrt(alpha_bar * std**2 + 1 - alpha_bar)


def test_ddim_with_all_steps_solves_the_probability_flow_ode():
    diffusion = Diffusion(1000, "linear", "x0")
    x_T = torch.linspace(-2, 2, 9)[None, None, None]
    found = sample_ddim(diffusion, oracle(diffusion, 0.3, 0.5), x_T, 1000)
    torch.testing.assert_close(found, solution(diffusion, x_T, 0.3, 0.5), atol=0.01, rtol=0.0)


def test_dpm_solver_needs_fewer_steps_than_ddim():
    """DDIM is of first order: twice the steps, half the error. The solver of second order is ahead of that by far."""
    diffusion = Diffusion(1000, "linear", "x0")
    x_T = torch.linspace(-2, 2, 9)[None, None, None]

    def error(sampler, steps):
        return float(
            (sampler(diffusion, oracle(diffusion, 0.3, 0.5), x_T, steps) - solution(diffusion, x_T, 0.3, 0.5))
            .abs()
            .max()
        )

    assert error(sample_ddim, 40) == pytest.approx(error(sample_ddim, 20) / 2, rel=0.1)
    assert error(sample_dpm_solver, 20) < error(sample_ddim, 40)
    assert error(sample_dpm_solver, 50) < 0.05 * error(sample_ddim, 50)
    torch.testing.assert_close(
        sample_dpm_solver(diffusion, oracle(diffusion, 0.3, 0.5), x_T, 1000),
        solution(diffusion, x_T, 0.3, 0.5),
        atol=0.01,
        rtol=0,
    )


def test_timesteps_are_spaced_from_the_last_to_near_the_first():
    assert spaced_timesteps(1000, 5) == [999, 799, 599, 399, 199]
    assert spaced_timesteps(1000, 1000) == list(range(999, -1, -1))
    assert len(set(spaced_timesteps(1000, 50))) == 50
    with pytest.raises(ValueError, match="allowed: 1 to 1000"):
        spaced_timesteps(1000, 1001)


def test_errors_of_each_image_by_hand():
    x, target = torch.zeros(2, 2, 1, 2), torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]], [[[0.0, 0.0]], [[0.0, 2.0]]]])
    weight = torch.tensor([[[[1.0, 3.0]]], [[[0.0, 5.0]]]])
    by_hand = [(1 + 9 + 3 * (4 + 16)) / (4 * 2), 5 * 4 / (5 * 2)]
    assert losses.simple_loss(x, target, weight).tolist() == pytest.approx(by_hand)
    assert losses.l2_loss(target, x, weight).tolist() == pytest.approx(by_hand)
    assert losses.simple_loss(x, target, torch.ones_like(weight)).tolist() == pytest.approx([7.5, 1.0])


def test_sync_loss_by_hand():
    video = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    audio = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    expected = [0.0, -math.log(math.sqrt(0.5)), -math.log(1e-3)]  # in time, by half a right angle, and where it is flat
    assert losses.sync_loss(video, audio).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_weight_of_the_estimate_takes_the_schedules_end_out():
    """An error δ of the predicted noise is an error δ √(1 − ᾱ)/√ᾱ of x̂_0; weighted, its square is (1 − ᾱ) δ²."""
    diffusion = Diffusion(1000, "cosine", "epsilon")
    t = torch.tensor([0, 500, 999])
    x_0, noise = torch.full((3, 1, 2, 2), 0.3), torch.full((3, 1, 2, 2), -0.7)
    x_0_hat = diffusion.x_0(diffusion.q_sample(x_0, t, noise), t, noise + 0.1)
    plain = losses.l2_loss(x_0_hat, x_0, torch.ones(3, 1, 2, 2))
    alphas_bar = diffusion.alphas_bar_T[t].float()
    assert float(plain[2]) > 1e5
    torch.testing.assert_close(diffusion.estimate_weight(t) * plain, (1 - alphas_bar) * 0.01, rtol=2e-3, atol=1e-6)
    for prediction in ("v", "x0"):
        assert Diffusion(1000, "cosine", prediction).estimate_weight(t).tolist() == [1, 1, 1]


def test_pyramid_distance_sees_detail_and_not_what_lies_outside_the_weight():
    flat, weight = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    chequered = flat.clone()
    chequered[..., ::2, ::2] = chequered[..., 1::2, 1::2] = 1
    assert float(losses.pyramid_distance(flat, flat, weight)) == 0
    # The finest band of a chequerboard about its mean is ±1/2; the coarser ones see a flat picture.
    assert float(losses.pyramid_distance(chequered, flat, weight)) == pytest.approx(0.5 / 3)
    assert float(losses.pyramid_distance(chequered, flat, torch.cat([weight[..., :4] * 0, weight[..., 4:]], -1))) > 0
    half = chequered.clone()
    half[..., 4:] = 0.5
    inside = torch.zeros_like(weight)
    inside[..., 4:] = 1
    assert float(losses.pyramid_distance(half, torch.full_like(flat, 0.5), inside, levels=1)) == pytest.approx(
        0, abs=1e-6
    )


def test_info_nce_of_perfect_and_of_useless_embeddings():
    eye = torch.eye(4)
    assert float(losses.info_nce(eye, eye, 0.05)) == pytest.approx(math.log(1 + 3 * math.exp(-20)), abs=1e-6)
    assert float(losses.info_nce(torch.ones(4, 4), torch.ones(4, 4), 0.05)) == pytest.approx(math.log(4))


def test_info_nce_within_groups_knows_no_other_group():
    video, audio = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    groups = torch.tensor([0, 0, 0, 1, 1, 1])
    parts = [losses.info_nce(video[part], audio[part], 0.1) for part in (slice(3), slice(3, 6))]
    torch.testing.assert_close(losses.info_nce(video, audio, 0.1, groups), sum(parts) / 2)
    assert float(losses.info_nce(video, audio, 0.1)) > float(losses.info_nce(video, audio, 0.1, groups))
