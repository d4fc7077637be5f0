"""The three formulas of notebook 00."""

import pytest
import torch

from ldm_edu.denoiser import make_denoiser
from ldm_edu.forward import q_sample
from ldm_edu.loss import diffusion_loss
from ldm_edu.samplers import ddim
from ldm_edu.schedule import cosine, linear

f64 = torch.float64
schedules = pytest.mark.parametrize("schedule", [linear(200), cosine(200)], ids=["linear", "cosine"])


def inputs():
    generator = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 6, 3, 4, dtype=f64, generator=generator)
    return x_0, eps, torch.randint(1, 200, (6,), generator=generator)


@pytest.mark.equation("0.1")
@schedules
def test_noisy_data_are_a_mixture_whose_squares_add_to_one(schedule):
    x_0, eps, t = inputs()
    signal, noise = (a[t].view(-1, 1, 1) for a in (schedule.signal, schedule.noise))
    torch.testing.assert_close(q_sample(x_0, t, eps, schedule), signal * x_0 + noise * eps, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(schedule.signal**2 + schedule.noise**2, torch.ones(201, dtype=f64))


@pytest.mark.equation("0.2")
@schedules
def test_the_loss_is_the_mean_square_of_what_is_missing_in_the_noise(schedule):
    x_0, eps, t = inputs()

    def net(x_t, t, cond=None):
        return x_t.tanh() + t.view(-1, 1, 1) / 100

    by_hand = (eps - net(q_sample(x_0, t, eps, schedule), t)).square().mean()
    torch.testing.assert_close(diffusion_loss(net, x_0, t, eps, schedule, target="eps"), by_hand.float())


@pytest.mark.equation("0.3")
@pytest.mark.parametrize(("t", "s"), [(199, 150), (60, 59), (3, 0)])
@schedules
def test_a_step_mixes_both_guesses_anew(schedule, t, s):
    x_t, _, _ = inputs()
    denoise = make_denoiser(lambda x, t, cond=None: 0.7 * x + 0.1, schedule, "eps")
    guess = denoise(x_t, t)
    x0_hat = (x_t - schedule.noise[t] * guess.eps) / schedule.signal[t]
    (x_s,) = ddim(denoise, x_t, [t, s], schedule)
    by_hand = schedule.signal[s] * x0_hat + schedule.noise[s] * guess.eps
    torch.testing.assert_close(x_s, by_hand, rtol=1e-10, atol=1e-10)
