"""Notebook 03, (3.19) to (3.27): the score, the targets and weightings, the tightness of the bound, a step's noise."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ldm_edu.denoiser import mixture_denoiser
from ldm_edu.forward import posterior_variance, q_posterior, q_sample
from ldm_edu.loss import elbo_weights, kl_gaussian, min_snr_weights
from ldm_edu.schedule import from_betas
from ldm_edu.target import to_prediction, training_target

f64 = torch.float64
each_seed = pytest.mark.parametrize("seed", [0, 1, 2])
T = 9


def setting(seed):
    """A random schedule, and a generator for the rest."""
    g = torch.Generator().manual_seed(seed)
    return from_betas(0.05 + 0.4 * torch.rand(T, dtype=f64, generator=g)), g


@each_seed
@pytest.mark.equation("3.19", "3.20")
def test_the_best_answer_is_the_score(seed):
    """The gradient of log q_t, with q_t an integral over x_0 on a grid and the gradient by autograd."""
    schedule, g = setting(seed)
    grid = torch.linspace(-8, 8, 3001, dtype=f64)
    log_data = torch.randn(3, dtype=f64, generator=g) @ torch.stack([grid.sin(), (2 * grid).cos(), grid / 4])
    log_data = log_data - grid**2 / 2  # a density with no Gaussian form
    for t in (1, 5, T):
        bar = schedule.alpha_bar[t]
        x_t = torch.randn(4, dtype=f64, generator=g).requires_grad_()
        log_joint = log_data + Normal(bar.sqrt() * grid, (1 - bar).sqrt()).log_prob(x_t[:, None])
        score = torch.autograd.grad(torch.logsumexp(log_joint, 1).sum(), x_t)[0]
        chance = torch.softmax(log_joint.detach(), 1)  # q(x_0|x_t)
        best_eps = (chance * (x_t.detach()[:, None] - bar.sqrt() * grid) / (1 - bar).sqrt()).sum(1)
        best_x_0 = (chance * grid).sum(1)
        torch.testing.assert_close(score, -best_eps / (1 - bar).sqrt())
        torch.testing.assert_close((x_t.detach() + (1 - bar) * score) / bar.sqrt(), best_x_0)


@each_seed
@pytest.mark.equation("3.21", "3.22")
def test_x_t_and_v_are_a_rotation_of_x_0_and_eps(seed):
    schedule, g = setting(seed)
    pair = torch.randn(2, 5, dtype=f64, generator=g)
    for t in range(1, T + 1):
        root, rest = schedule.alpha_bar[t].sqrt(), (1 - schedule.alpha_bar[t]).sqrt()
        turn = torch.stack([torch.stack([root, rest]), torch.stack([-rest, root])])
        x_t, v = turn @ pair
        torch.testing.assert_close(x_t, q_sample(pair[0], t, pair[1], schedule))
        torch.testing.assert_close(v, training_target(pair[0], t, pair[1], schedule, "v"))
        torch.testing.assert_close(turn.T @ torch.stack([x_t, v]), pair)
        torch.testing.assert_close(torch.stack(to_prediction(v, x_t, t, schedule, "v")), pair)
        torch.testing.assert_close(torch.linalg.det(turn), torch.ones((), dtype=f64))


@each_seed
@pytest.mark.equation("3.23", "3.24")
def test_errors_and_weights_in_one_currency(seed):
    schedule, g = setting(seed)
    gamma = 0.3 + 2 * torch.rand((), dtype=f64, generator=g).item()
    x_0, eps, wrong = torch.randn(3, 5, dtype=f64, generator=g)
    capped = 0
    for t in range(1, T + 1):
        x_t = q_sample(x_0, t, eps, schedule)
        snr = schedule.alpha_bar[t] / (1 - schedule.alpha_bar[t])
        right = {name: training_target(x_0, t, eps, schedule, name) for name in ("eps", "x0", "v")}
        guess = to_prediction(wrong, x_t, t, schedule, "x0")
        error = {
            name: (right[name] - training_target(guess.x0, t, guess.eps, schedule, name)).square().sum()
            for name in right
        }
        torch.testing.assert_close(error["eps"], snr * error["x0"])
        torch.testing.assert_close(error["v"], (snr + 1) * error["x0"])
        for name, scale in (("x0", 1.0), ("eps", snr), ("v", snr + 1)):
            weight = min(snr.item(), gamma) / scale
            assert min_snr_weights(schedule, name, gamma)[t].item() == pytest.approx(float(weight), rel=1e-9)
            torch.testing.assert_close(weight * error[name], min(snr.item(), gamma) * error["x0"])
        capped += snr.item() > gamma
    assert 0 < capped <= T


def gaussian_data(schedule, g):
    """Mean and variance of Gaussian data, and Var[x_0|x_t] for t = 0 … T by conditioning jointly Gaussian numbers."""
    mean, variance = torch.randn((), dtype=f64, generator=g), 0.1 + torch.rand((), dtype=f64, generator=g)
    signal, noise = schedule.signal, schedule.noise
    return mean, variance, variance - (signal * variance) ** 2 / (signal**2 * variance + noise**2)


@each_seed
@pytest.mark.equation("3.25")
def test_the_variance_of_a_step_that_does_not_know_x_0(seed):
    """Against the covariance of (x_{t−1}, x_t) for Gaussian data, built step by step from the chain."""
    schedule, g = setting(seed)
    _, variance, unsure = gaussian_data(schedule, g)
    of_x_s = variance
    for t in range(1, T + 1):
        alpha, beta = schedule.alpha[t], schedule.beta[t]
        of_x_t = alpha * of_x_s + beta
        true = of_x_s - alpha * of_x_s**2 / of_x_t  # Var[x_{t−1}|x_t]
        if t > 1:
            bar = schedule.alpha_bar
            tilde = posterior_variance(t - 1, t, schedule)
            from_x_0 = bar[t - 1] * beta**2 / (1 - bar[t]) ** 2
            torch.testing.assert_close(tilde + from_x_0 * unsure[t], true)
            u = (schedule.snr[t - 1] - schedule.snr[t]) * unsure[t]
            torch.testing.assert_close(tilde * (1 + u), true)
        of_x_s = of_x_t


@each_seed
@pytest.mark.equation("3.26")
def test_the_gap_of_the_bound_for_gaussian_data(seed):
    """E L from the bound's own terms, with E (x_0 − x̂_0)² = Var[x_0|x_t], less the entropy."""
    schedule, g = setting(seed)
    mean, variance, unsure = gaussian_data(schedule, g)
    signal, noise, snr = schedule.signal[T], schedule.noise[T], schedule.snr
    prior = kl_gaussian(signal * mean, noise**2, 0 * mean, noise**2) + snr[T] / 2 * variance  # mean over x_0
    steps = (elbo_weights(schedule, "x0") * unsure)[2:].sum()
    first = (snr[1] * unsure[1] + torch.log(2 * math.pi / snr[1])) / 2
    entropy = torch.log(2 * math.pi * math.e * variance) / 2
    u = torch.cat([(snr[1] * unsure[1] - 1)[None], (snr[1:-1] - snr[2:]) * unsure[2:]])
    end = kl_divergence(
        Normal(signal * mean, (signal**2 * variance + noise**2).sqrt()), Normal(torch.zeros((), dtype=f64), noise)
    )
    torch.testing.assert_close(prior + steps + first - entropy, end + (u - torch.log1p(u)).sum() / 2)


@each_seed
@pytest.mark.equation("3.27")
def test_a_steps_own_noise_given_x_t(seed):
    """E[ε_t|x_t] through x_{t−1} instead of x_0, for a mixture: √β_t ε_t = x_t − √α_t x_{t−1}."""
    schedule, g = setting(seed)
    mu, x_t = torch.randn(3, dtype=f64, generator=g), torch.randn(4, dtype=f64, generator=g)
    v, pi = 0.05 + torch.rand(2, 3, dtype=f64, generator=g)
    x_s = torch.linspace(-12, 12, 4001, dtype=f64)
    denoise = mixture_denoiser(mu[:, None], v, pi, schedule)
    for t in range(1, T + 1):
        alpha, beta, bar = schedule.alpha[t], schedule.beta[t], schedule.alpha_bar
        c = bar[t - 1] * v + 1 - bar[t - 1]
        density = (pi * Normal(bar[t - 1].sqrt() * mu, c.sqrt()).log_prob(x_s[:, None]).exp()).sum(1)
        weight = density * Normal(alpha.sqrt() * x_s, beta.sqrt()).log_prob(x_t[:, None]).exp()
        mean_x_s = torch.trapezoid(weight * x_s, x_s) / torch.trapezoid(weight, x_s)
        own_noise = (x_t - alpha.sqrt() * mean_x_s) / beta.sqrt()
        prediction = denoise(x_t[:, None], t)
        torch.testing.assert_close(own_noise, (beta / (1 - bar[t])).sqrt() * prediction.eps[:, 0])
        # So the mean of the step is the posterior's at the best guess.
        torch.testing.assert_close(mean_x_s, q_posterior(prediction.x0, x_t[:, None], t, schedule)[0][:, 0])
