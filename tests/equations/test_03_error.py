"""Notebook 03, (3.10) to (3.18): from the bound to the squared error of ε, and the best answer."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ldm_edu.denoiser import mixture_denoiser
from ldm_edu.forward import q_posterior, q_sample
from ldm_edu.loss import diffusion_loss, elbo
from ldm_edu.schedule import from_betas
from ldm_edu.target import Prediction

f64 = torch.float64
each_seed = pytest.mark.parametrize("seed", [0, 1, 2])
T = 9


def setting(seed):
    """A random schedule, and x_0, ε, ε̂ of shape (4, 3)."""
    g = torch.Generator().manual_seed(seed)
    schedule = from_betas(0.05 + 0.4 * torch.rand(T, dtype=f64, generator=g))
    return schedule, *torch.randn(3, 4, 3, dtype=f64, generator=g)


def guessed(x_t, eps_hat, t, schedule):
    """x̂_0 that goes with ε̂."""
    bar = schedule.alpha_bar[t]
    return (x_t - (1 - bar).sqrt() * eps_hat) / bar.sqrt()


def step_kl(x_0, x0_hat, x_t, t, schedule):
    """KL(q(x_{t−1}|x_t, x_0) ‖ q(x_{t−1}|x_t, x̂_0)), summed over the entries, by torch's own formula."""
    mean, variance = q_posterior(x_0, x_t, t, schedule)
    mean_hat, variance_hat = q_posterior(x0_hat, x_t, t, schedule)
    return kl_divergence(Normal(mean, math.sqrt(variance)), Normal(mean_hat, math.sqrt(variance_hat))).sum(1)


@each_seed
@pytest.mark.equation("3.10")
def test_the_models_step_is_the_posterior_at_the_guess(seed):
    """The package's bound uses this step: its terms are the KL to it, for one fixed wrong guess."""
    schedule, x_0, _, x0_hat = setting(seed)
    seen = {}

    def denoise(x_t, t):
        seen[t] = x_t
        return Prediction(x0_hat, torch.full_like(x_t, math.nan))

    steps = elbo(denoise, x_0, schedule, generator=torch.Generator().manual_seed(seed)).steps
    for t in range(2, T + 1):
        torch.testing.assert_close(steps[:, t - 2], step_kl(x_0, x0_hat, seen[t], t, schedule))


@each_seed
@pytest.mark.equation("3.11", "3.13")
def test_a_step_is_a_weighted_squared_error(seed):
    schedule, x_0, eps, eps_hat = setting(seed)
    beta, alpha, bar = schedule.beta, schedule.alpha, schedule.alpha_bar
    snr = bar / (1 - bar)
    for t in range(2, T + 1):
        x_t = q_sample(x_0, t, eps, schedule)
        x0_hat = guessed(x_t, eps_hat, t, schedule)
        kl = step_kl(x_0, x0_hat, x_t, t, schedule)
        torch.testing.assert_close((snr[t - 1] - snr[t]) / 2 * (x_0 - x0_hat).square().sum(1), kl)
        tilde = (1 - bar[t - 1]) / (1 - bar[t]) * beta[t]
        weight = (snr[t - 1] / snr[t] - 1) / 2
        torch.testing.assert_close(weight, beta[t] ** 2 / (2 * tilde * alpha[t] * (1 - bar[t])))
        torch.testing.assert_close(weight * (eps - eps_hat).square().sum(1), kl)


@each_seed
@pytest.mark.equation("3.12")
def test_an_error_of_x_0_is_an_error_of_eps(seed):
    schedule, x_0, eps, eps_hat = setting(seed)
    for t in range(1, T + 1):
        bar = schedule.alpha_bar[t]
        x0_hat = guessed(q_sample(x_0, t, eps, schedule), eps_hat, t, schedule)
        torch.testing.assert_close(x_0 - x0_hat, -((1 - bar) / bar).sqrt() * (eps - eps_hat))
        snr = bar / (1 - bar)
        torch.testing.assert_close((x_0 - x0_hat).square().sum(1), (eps - eps_hat).square().sum(1) / snr)


@each_seed
@pytest.mark.equation("3.14")
def test_the_mean_written_with_eps(seed):
    schedule, x_t, _, eps_hat = setting(seed)
    for t in range(1, T + 1):
        beta, bar = schedule.beta[t], schedule.alpha_bar[t]
        mean, _ = q_posterior(guessed(x_t, eps_hat, t, schedule), x_t, t, schedule)
        torch.testing.assert_close(mean, (x_t - beta / (1 - bar).sqrt() * eps_hat) / (1 - beta).sqrt())


@each_seed
@pytest.mark.equation("3.15")
def test_the_reconstruction_is_half_the_squared_error(seed):
    schedule, x_0, eps, eps_hat = setting(seed)
    snr = schedule.snr[1]
    x0_hat = guessed(q_sample(x_0, 1, eps, schedule), eps_hat, 1, schedule)
    minus_log_p = -Normal(x0_hat, 1 / snr.sqrt()).log_prob(x_0).sum(1)
    constant = 3 / 2 * torch.log(2 * math.pi / snr)
    torch.testing.assert_close(minus_log_p, snr / 2 * (x_0 - x0_hat).square().sum(1) + constant)
    torch.testing.assert_close(minus_log_p, (eps - eps_hat).square().sum(1) / 2 + constant)


@each_seed
@pytest.mark.equation("3.16")
def test_the_simple_loss_is_the_mean_over_steps_without_weights(seed):
    """Every t once stands for the uniform draw; the package divides by the number of entries too."""
    schedule, x_0, eps, _ = setting(seed)
    t = torch.arange(1, T + 1).repeat_interleave(4)
    x_0, eps = x_0.repeat(T, 1), eps.repeat(T, 1)

    def net(x_t, t, cond=None):
        return torch.sin(3 * x_t) + t[:, None] / T

    by_hand = 0.0
    for one_x_0, one_t, one_eps in zip(x_0, t, eps, strict=True):
        bar = torch.prod(1 - schedule.beta[1 : one_t + 1])
        x_t = bar.sqrt() * one_x_0 + (1 - bar).sqrt() * one_eps
        by_hand += (one_eps - net(x_t[None], one_t[None])[0]).square().sum() / len(t)
    loss = diffusion_loss(net, x_0, t, eps, schedule) * 3
    torch.testing.assert_close(loss.double(), by_hand, rtol=1e-6, atol=0)  # the loss is float32


# Data on three points: every expectation given x_t is a finite sum.
POINTS = torch.tensor([-1.3, 0.2, 1.1], dtype=f64)
CHANCES = torch.tensor([0.2, 0.5, 0.3], dtype=f64)
LINE = torch.linspace(-12, 12, 4001, dtype=f64)


@each_seed
@pytest.mark.equation("3.17")
def test_loss_is_floor_and_own_error(seed):
    schedule, *_ = setting(seed)
    a, b = torch.randn(2, dtype=f64, generator=torch.Generator().manual_seed(seed))
    for t in (1, 4, T):
        signal, noise = schedule.signal[t], schedule.noise[t]
        eps = (LINE[:, None] - signal * POINTS) / noise  # (x_t, point)
        log_joint = CHANCES.log() + Normal(signal * POINTS, noise).log_prob(LINE[:, None])  # log q(x_t, x_0)
        joint = log_joint.exp()
        best = (torch.softmax(log_joint, 1) * eps).sum(1, keepdim=True)  # E[ε|x_t]
        answer = torch.sin(a * LINE + b)[:, None]

        def mean(values, joint=joint):
            return torch.trapezoid((joint * values).sum(1), LINE)

        loss, floor, own = mean((eps - answer) ** 2), mean((eps - best) ** 2), mean((best - answer) ** 2)
        torch.testing.assert_close(loss, floor + own)
        assert 0 < floor < loss


@each_seed
@pytest.mark.equation("3.18")
def test_the_best_answer_for_a_mixture(seed):
    """x̂_0 by the formula, by the package, and by integrating x_0 q(x_0|x_t) over a grid."""
    g = torch.Generator().manual_seed(seed)
    schedule, *_ = setting(seed)
    mu, x_t = torch.randn(3, dtype=f64, generator=g), torch.randn(4, dtype=f64, generator=g)
    v, pi = 0.05 + torch.rand(2, 3, dtype=f64, generator=g)
    pi = pi / pi.sum()
    density = (pi * Normal(mu, v.sqrt()).log_prob(LINE[:, None]).exp()).sum(1)
    for t in (1, 5, T):
        signal, noise = schedule.signal[t], schedule.noise[t]
        weight = density * Normal(signal * LINE, noise).log_prob(x_t[:, None]).exp()
        by_grid = torch.trapezoid(weight * LINE, LINE) / torch.trapezoid(weight, LINE)
        c = signal**2 * v + noise**2
        r = pi * Normal(signal * mu, c.sqrt()).log_prob(x_t[:, None]).exp()
        r = r / r.sum(1, keepdim=True)
        by_formula = (r * (mu + signal * v / c * (x_t[:, None] - signal * mu))).sum(1)
        torch.testing.assert_close(by_formula, by_grid)
        package = mixture_denoiser(mu[:, None], v, pi, schedule)(x_t[:, None], t)
        torch.testing.assert_close(package.x0[:, 0], by_grid)
