"""Notebook 06, (6.1) to (6.13): the family of steps that keep the marginals, η, the step of a model."""

import math
from itertools import pairwise

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ldm_edu.denoiser import mixture_denoiser
from ldm_edu.forward import posterior_variance, q_posterior, q_sample
from ldm_edu.samplers import ddim, last
from ldm_edu.schedule import Schedule, from_betas
from ldm_edu.target import Prediction

f64 = torch.float64
each_seed = pytest.mark.parametrize("seed", [0, 1, 2])
T = 9
PAIRS = [(9, 8), (9, 4), (5, 4), (4, 1), (3, 0)]


def uniform(g, low, high, *shape):
    return low + (high - low) * torch.rand(shape, dtype=f64, generator=g)


def setting(seed, preserving=True):
    """A random schedule, variance preserving or not, and a generator for the rest."""
    g = torch.Generator().manual_seed(seed)
    if preserving:
        return from_betas(uniform(g, 0.05, 0.45, T)), g
    zero = torch.zeros(1, dtype=f64)
    signal = torch.cat([zero + 1, uniform(g, 0.8, 1.0, T)]).cumprod(0)
    return Schedule(signal, torch.cat([zero, uniform(g, 0.1, 0.6, T)]).cumsum(0)), g


def coefficients(schedule, t, s, c):
    """a and b of (6.4)."""
    a = (schedule.noise[s] ** 2 - c**2).sqrt() / schedule.noise[t]
    return a, schedule.signal[s] - a * schedule.signal[t]


def ddpm_c(schedule, t, s):
    """c_1 of (6.8)."""
    ratio = schedule.signal[t] / schedule.signal[s]
    rest = schedule.noise[t] ** 2 - ratio**2 * schedule.noise[s] ** 2
    return schedule.noise[s] / schedule.noise[t] * rest.sqrt()


def always(prediction):
    """A denoiser with one answer."""
    return lambda x_t, t: prediction


def push(mean, variance, a, shift, c):
    """Mean and variance of a x + shift + c z for x ~ N(mean, variance)."""
    return a * mean + shift, a**2 * variance + c**2


@each_seed
@pytest.mark.equation("6.1")
def test_the_marginals_are_what_one_noise_gives(seed):
    """Every step of the chain, one after the other, gives the mean and variance of one jump."""
    schedule, g = setting(seed)
    x_0 = torch.randn(3, dtype=f64, generator=g)
    mean, variance = x_0, torch.zeros((), dtype=f64)
    for t in range(1, T + 1):
        beta = schedule.beta[t]
        mean, variance = push(mean, variance, (1 - beta).sqrt(), 0, beta.sqrt())
        bar = schedule.alpha_bar[t]
        torch.testing.assert_close(mean, bar.sqrt() * x_0)
        torch.testing.assert_close(variance, 1 - bar)
        torch.testing.assert_close(q_sample(x_0, t, torch.zeros_like(x_0), schedule), mean)
        torch.testing.assert_close(q_sample(0 * x_0, t, torch.ones_like(x_0), schedule), variance.sqrt().expand(3))


@each_seed
@pytest.mark.equation("6.2", "6.3")
def test_two_conditions_decide_about_the_marginal(seed):
    """Mean and variance of a x_t + b x_0 + c z by a quadrature over ε and z, for any a, b, c."""
    schedule, g = setting(seed, preserving=False)
    a, b, c, x_0 = uniform(g, 0.1, 1.0, 4)
    line = torch.linspace(-9, 9, 361, dtype=f64)
    weight = Normal(torch.zeros((), dtype=f64), 1.0).log_prob(line).exp() * (line[1] - line[0])
    both = weight[:, None] * weight
    for t, s in PAIRS:
        signal_t, noise_t = schedule.signal[t], schedule.noise[t]
        x_s = a * (signal_t * x_0 + noise_t * line[:, None]) + b * x_0 + c * line
        mean = (both * x_s).sum()
        variance = (both * (x_s - mean) ** 2).sum()
        torch.testing.assert_close(mean, (a * signal_t + b) * x_0)
        torch.testing.assert_close(variance, a**2 * noise_t**2 + c**2)
        # The two sides of (6.3) differ exactly where the marginal is missed.
        good = coefficients(schedule, t, s, 0.5 * schedule.noise[s])
        torch.testing.assert_close(good[0] * signal_t + good[1], schedule.signal[s])
        torch.testing.assert_close(good[0] ** 2 * noise_t**2 + 0.25 * schedule.noise[s] ** 2, schedule.noise[s] ** 2)


@each_seed
@pytest.mark.parametrize("preserving", [True, False])
@pytest.mark.equation("6.4", "6.6")
def test_the_family_keeps_the_marginals_over_any_times(seed, preserving):
    schedule, g = setting(seed, preserving)
    x_0 = torch.randn(3, dtype=f64, generator=g)
    inner = torch.randperm(T - 1, generator=g)[:4] + 1
    times = [T, *sorted(inner.tolist(), reverse=True), 0]
    mean, variance = schedule.signal[T] * x_0, schedule.noise[T] ** 2
    for t, s in pairwise(times):
        c = uniform(g, 0.0, 1.0) * schedule.noise[s]
        a, b = coefficients(schedule, t, s, c)
        assert a >= 0
        mean, variance = push(mean, variance, a, b * x_0, c)
        torch.testing.assert_close(mean, schedule.signal[s] * x_0)
        torch.testing.assert_close(variance, schedule.noise[s] ** 2, atol=1e-12, rtol=1e-9)


@each_seed
@pytest.mark.equation("6.5")
def test_the_step_reads_as_signal_and_two_noises(seed):
    schedule, g = setting(seed, preserving=False)
    x_0, x_t, z = torch.randn(3, 4, dtype=f64, generator=g)
    for t, s in PAIRS:
        c = uniform(g, 0.0, 1.0) * schedule.noise[s]
        a, b = coefficients(schedule, t, s, c)
        eps = (x_t - schedule.signal[t] * x_0) / schedule.noise[t]
        keep = (schedule.noise[s] ** 2 - c**2).sqrt()
        torch.testing.assert_close(schedule.signal[s] * x_0 + keep * eps + c * z, a * x_t + b * x_0 + c * z)


@each_seed
@pytest.mark.equation("6.7")
def test_fresh_noise_lowers_the_correlation(seed):
    """By the covariance matrix of the linear map (ε, z) -> (x_t, x_s)."""
    schedule, g = setting(seed)
    for t, s in PAIRS[:-1]:  # at s = 0 nothing varies
        c = uniform(g, 0.0, 1.0) * schedule.noise[s]
        a, _ = coefficients(schedule, t, s, c)
        zero = torch.zeros((), dtype=f64)
        rows = torch.stack(
            [torch.stack([schedule.noise[t], zero]), torch.stack([a * schedule.noise[t], c])]
        )  # x_t and x_s in ε and z
        covariance = rows @ rows.T
        correlation = covariance[0, 1] / (covariance[0, 0] * covariance[1, 1]).sqrt()
        torch.testing.assert_close(correlation, (1 - c**2 / schedule.noise[s] ** 2).sqrt())


@each_seed
@pytest.mark.parametrize("preserving", [True, False])
@pytest.mark.equation("6.8", "6.9")
def test_ddpms_posterior_is_in_the_family(seed, preserving):
    """Its mean and variance by Bayes' rule for Gaussians: precisions add."""
    schedule, g = setting(seed, preserving)
    x_0, x_t = torch.randn(2, 4, dtype=f64, generator=g)
    for t, s in PAIRS:
        c = ddpm_c(schedule, t, s)
        a, b = coefficients(schedule, t, s, c)
        ratio = schedule.signal[t] / schedule.signal[s]
        rest = schedule.noise[t] ** 2 - ratio**2 * schedule.noise[s] ** 2
        torch.testing.assert_close(a, ratio * schedule.noise[s] ** 2 / schedule.noise[t] ** 2)
        torch.testing.assert_close(b, schedule.signal[s] / schedule.noise[t] ** 2 * rest)
        mean, variance = q_posterior(x_0, x_t, t, schedule, s)
        torch.testing.assert_close(a * x_t + b * x_0, mean)
        assert math.isclose(c**2, variance, abs_tol=1e-15)
        if s > 0:
            precision = 1 / schedule.noise[s] ** 2 + ratio**2 / rest
            torch.testing.assert_close(c**2, 1 / precision)
            by_bayes = (schedule.signal[s] * x_0 / schedule.noise[s] ** 2 + ratio * x_t / rest) / precision
            torch.testing.assert_close(a * x_t + b * x_0, by_bayes)


@each_seed
@pytest.mark.equation("6.10")
def test_eta_in_alpha_bar(seed):
    schedule, g = setting(seed)
    eta = uniform(g, 0.0, 1.0)
    for t, s in PAIRS:
        bar_t, bar_s = schedule.alpha_bar[t], schedule.alpha_bar[s]
        c = eta * ((1 - bar_s) / (1 - bar_t)).sqrt() * (1 - bar_t / bar_s).sqrt()
        torch.testing.assert_close(c, eta * ddpm_c(schedule, t, s))
        torch.testing.assert_close(c**2, eta**2 * posterior_variance(s, t, schedule), check_dtype=False)


@each_seed
@pytest.mark.parametrize("preserving", [True, False])
@pytest.mark.equation("6.11")
def test_the_packages_step_is_the_family_at_the_guess(seed, preserving):
    schedule, g = setting(seed, preserving)
    x_t, eps_hat, z = (
        torch.randn(2, 4, dtype=f64, generator=g),
        torch.randn(2, 4, dtype=f64, generator=g),
        torch.randn(2, 4, dtype=f64, generator=torch.Generator().manual_seed(seed + 10)),
    )
    eta = uniform(g, 0.0, 1.0).item()
    for t, s in PAIRS:
        x0_hat = (x_t - schedule.noise[t] * eps_hat) / schedule.signal[t]
        generator = torch.Generator().manual_seed(seed + 10)
        step = ddim(always(Prediction(x0_hat, eps_hat)), x_t, [t, s], schedule, eta=eta, generator=generator)
        c = eta * ddpm_c(schedule, t, s)
        a, b = coefficients(schedule, t, s, c)
        torch.testing.assert_close(last(step), a * x_t + b * x0_hat + c * z)
        written = schedule.signal[s] * x0_hat + (schedule.noise[s] ** 2 - c**2).sqrt() * eps_hat + c * z
        torch.testing.assert_close(written, a * x_t + b * x0_hat + c * z)


@each_seed
@pytest.mark.equation("6.12")
def test_the_bounds_terms_are_weighted_squared_errors_of_eps(seed):
    schedule, g = setting(seed, preserving=False)
    x_0, eps, eps_hat = torch.randn(3, 5, dtype=f64, generator=g)
    for t, s in PAIRS[:-1]:
        c = uniform(g, 0.1, 1.0) * schedule.noise[s]
        a, b = coefficients(schedule, t, s, c)
        x_t = q_sample(x_0, t, eps, schedule)
        x0_hat = (x_t - schedule.noise[t] * eps_hat) / schedule.signal[t]
        kl = kl_divergence(Normal(a * x_t + b * x_0, c), Normal(a * x_t + b * x0_hat, c)).sum()
        torch.testing.assert_close(kl, b**2 / (2 * c**2) * (x_0 - x0_hat).square().sum())
        weight = b**2 / (2 * c**2) * (schedule.noise[t] / schedule.signal[t]) ** 2
        torch.testing.assert_close(kl, weight * (eps - eps_hat).square().sum())


@each_seed
@pytest.mark.parametrize("preserving", [True, False])
@pytest.mark.equation("6.13")
def test_the_variance_of_a_gaussian_through_a_step(seed, preserving):
    """The package's step with the exact denoiser of N(0, v): its slope is the bracket, and c z is added."""
    schedule, g = setting(seed, preserving)
    v, eta = uniform(g, 0.1, 2.0), uniform(g, 0.0, 1.0).item()
    one = torch.ones(1, dtype=f64)
    denoise = mixture_denoiser(0 * one[:, None], v * one, one, schedule)
    x = torch.tensor([[0.0], [1.0]], dtype=f64)
    for t, s in PAIRS:
        z = torch.randn(2, 1, dtype=f64, generator=torch.Generator().manual_seed(3))
        step = last(ddim(denoise, x, [t, s], schedule, eta=eta, generator=torch.Generator().manual_seed(3)))
        c = eta * ddpm_c(schedule, t, s)
        total = schedule.signal[t] ** 2 * v + schedule.noise[t] ** 2
        keep = (schedule.noise[s] ** 2 - c**2).sqrt()
        slope = (schedule.signal[s] * schedule.signal[t] * v + keep * schedule.noise[t]) / total
        torch.testing.assert_close(step, slope * x + c * z)
        torch.testing.assert_close(push(0.0, total, slope, 0.0, c)[1], slope**2 * total + c**2)
