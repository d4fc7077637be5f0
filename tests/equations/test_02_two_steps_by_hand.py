"""The equations of notebook 02: exact numbers for β = (0.1, 0.2), and their general forms on random numbers."""

import math
from itertools import pairwise

import pytest
import sympy as sp
import torch
from torch.distributions import Normal

from ldm_edu.denoiser import mixture_denoiser
from ldm_edu.forward import posterior_variance, q_posterior, q_sample, q_step
from ldm_edu.samplers import ddim, last
from ldm_edu.schedule import from_betas, linear

f64 = torch.float64
close = torch.testing.assert_close
TWO = from_betas([0.1, 0.2])
N = 200_000


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def normal(*shape, generator):
    return torch.randn(shape, generator=generator, dtype=f64)


def random_schedule(generator, T=6):
    return from_betas(0.02 + 0.4 * torch.rand(T, generator=generator, dtype=f64))


def bracket(x_0, x_1, x_2):
    """Twice the negative exponent of (2.6)."""
    return (x_2 - math.sqrt(0.8) * x_1) ** 2 / 0.2 + (x_1 - math.sqrt(0.9) * x_0) ** 2 / 0.1


@pytest.mark.equation("2.1")
def test_the_numbers_of_the_chain():
    close(TWO.alpha, torch.tensor([1.0, 0.9, 0.8], dtype=f64))
    close(TWO.alpha_bar, torch.tensor([1.0, 0.9, 0.72], dtype=f64))


@pytest.mark.equation("2.2", "2.3")
def test_the_two_steps(generator):
    x, eps = normal(2, 7, generator=generator)
    close(q_step(x, 1, eps, TWO), math.sqrt(0.9) * x + math.sqrt(0.1) * eps)
    close(q_step(x, 2, eps, TWO), math.sqrt(0.8) * x + math.sqrt(0.2) * eps)


@pytest.mark.equation("2.4", "2.5")
def test_two_steps_are_one_jump_with_mixed_noise(generator):
    x_0, eps_1, eps_2 = normal(3, 7, generator=generator)
    chained = q_step(q_step(x_0, 1, eps_1, TWO), 2, eps_2, TWO)
    close(chained, math.sqrt(0.72) * x_0 + math.sqrt(0.08) * eps_1 + math.sqrt(0.2) * eps_2)
    eps = math.sqrt(2 / 7) * eps_1 + math.sqrt(5 / 7) * eps_2
    close(chained, math.sqrt(0.72) * x_0 + math.sqrt(0.28) * eps)
    close(chained, q_sample(x_0, 2, eps, TWO))
    assert sp.sqrt(sp.Rational(28, 100)) * sp.sqrt(sp.Rational(2, 7)) == sp.sqrt(sp.Rational(8, 100))


@pytest.mark.equation("2.6")
def test_posterior_is_proportional_to_prior_times_likelihood(generator):
    """The logarithm of the left side and the exponent differ by the same constant for every x_1."""
    x_0, x_2 = 0.4, -1.1
    x_1 = normal(20, generator=generator)
    mean, variance = q_posterior(torch.full((1,), x_0, dtype=f64), torch.full((1,), x_2, dtype=f64), 2, TWO)
    left = Normal(mean, math.sqrt(variance)).log_prob(x_1)
    gap = left + bracket(x_0, x_1, x_2) / 2
    close(gap, gap[0].expand(20))
    # The constant is that of Bayes' rule, with q(x_2 | x_0) below the line.
    seen = torch.full((20,), x_2, dtype=f64)
    bayes = Normal(math.sqrt(0.8) * x_1, math.sqrt(0.2)).log_prob(seen)
    bayes = bayes + Normal(math.sqrt(0.9) * x_0, math.sqrt(0.1)).log_prob(x_1)
    evidence = Normal(torch.full((20,), math.sqrt(0.72) * x_0, dtype=f64), math.sqrt(0.28)).log_prob(seen)
    close(left, bayes - evidence)


@pytest.mark.equation("2.7")
def test_the_bracket_sorted_by_powers(generator):
    x_0, x_2 = normal(2, generator=generator)
    x_1 = normal(20, generator=generator)
    B = 2 * math.sqrt(5) * x_2 + 3 * math.sqrt(10) * x_0
    rest = bracket(x_0, x_1, x_2) - (14 * x_1**2 - 2 * B * x_1)
    close(rest, bracket(x_0, torch.zeros(20, dtype=f64), x_2))  # no x_1 is left in it


@pytest.mark.equation("2.8")
def test_the_square_completed():
    x, B = sp.symbols("x B")
    assert sp.expand(14 * x**2 - 2 * B * x - (14 * (x - B / 14) ** 2 - B**2 / 14)) == 0


@pytest.mark.equation("2.9")
def test_posterior_of_the_two_steps(generator):
    x_0, x_2 = normal(2, 7, generator=generator)
    mean, variance = q_posterior(x_0, x_2, 2, TWO)
    close(mean, 3 * math.sqrt(10) / 14 * x_0 + math.sqrt(5) / 7 * x_2)
    assert variance == pytest.approx(1 / 14, rel=1e-12)
    assert q_posterior(x_0, x_2, 1, TWO)[1] == 0


@pytest.mark.equation("2.10")
def test_posterior_in_letters(generator):
    """Against the conditional mean and variance of the jointly normal (x_{t−1}, x_t) given x_0."""
    path = random_schedule(generator)
    x_0, x_t = normal(2, 5, generator=generator)
    for t in range(1, 7):
        alpha, beta, bar, before = path.alpha[t], path.beta[t], path.alpha_bar[t], path.alpha_bar[t - 1]
        mean, variance = q_posterior(x_0, x_t, t, path)
        close(mean, before.sqrt() * beta / (1 - bar) * x_0 + alpha.sqrt() * (1 - before) / (1 - bar) * x_t)
        assert variance == pytest.approx(((1 - before) / (1 - bar) * beta).item())
        covariance = alpha.sqrt() * (1 - before)
        close(mean, before.sqrt() * x_0 + covariance / (1 - bar) * (x_t - bar.sqrt() * x_0))
        assert variance == pytest.approx((1 - before - covariance**2 / (1 - bar)).item(), abs=1e-12)


@pytest.mark.equation("2.11")
def test_noise_gives_the_start(generator):
    x_0, eps = normal(2, 7, generator=generator)
    close((q_sample(x_0, 2, eps, TWO) - math.sqrt(0.28) * eps) / math.sqrt(0.72), x_0)


@pytest.mark.equation("2.12")
def test_posterior_mean_in_the_noise(generator):
    path = random_schedule(generator)
    x_t, eps_hat = normal(2, 5, generator=generator)
    for p, t in [(TWO, 2), *((path, t) for t in range(1, 7))]:
        x0_hat = (x_t - p.noise[t] * eps_hat) / p.signal[t]
        mu = (x_t - p.beta[t] / (1 - p.alpha_bar[t]).sqrt() * eps_hat) / p.alpha[t].sqrt()
        close(q_posterior(x0_hat, x_t, t, p)[0], mu)
    close(
        q_posterior((x_t - math.sqrt(0.28) * eps_hat) / math.sqrt(0.72), x_t, 2, TWO)[0],
        (x_t - 0.2 / math.sqrt(0.28) * eps_hat) / math.sqrt(0.8),
    )


@pytest.mark.equation("2.13", "2.14")
def test_the_reverse_steps_are_the_packages(generator):
    denoise = mixture_denoiser(torch.tensor([[-1.0], [1.0]], dtype=f64), 0.04 * torch.ones(2), torch.ones(2), TWO)
    x_2 = normal(9, 1, generator=generator)
    first = next(ddim(denoise, x_2, [2, 1, 0], TWO, eta=1.0, generator=torch.Generator().manual_seed(3)))
    z = torch.randn(9, 1, generator=torch.Generator().manual_seed(3), dtype=f64)
    mu = (x_2 - 0.2 / math.sqrt(0.28) * denoise(x_2, 2).eps) / math.sqrt(0.8)
    close(first, mu + math.sqrt(1 / 14) * z)
    whole = last(ddim(denoise, x_2, [2, 1, 0], TWO, eta=1.0, generator=torch.Generator().manual_seed(3)))
    close(whole, (first - math.sqrt(0.1) * denoise(first, 1).eps) / math.sqrt(0.9))
    assert posterior_variance(0, 1, TWO) == 0


@pytest.mark.equation("2.15")
def test_a_steps_own_noise_undoes_it_and_the_jumps_does_not(generator):
    x_0, eps_1, eps_2 = normal(3, 7, generator=generator)
    x_1 = q_step(x_0, 1, eps_1, TWO)
    x_2 = q_step(x_1, 2, eps_2, TWO)
    close((x_2 - math.sqrt(0.2) * eps_2) / math.sqrt(0.8), x_1)
    eps = math.sqrt(2 / 7) * eps_1 + math.sqrt(5 / 7) * eps_2
    assert ((x_2 - math.sqrt(0.2) * eps) / math.sqrt(0.8) - x_1).abs().max() > 0.05


@pytest.mark.equation("2.16")
def test_a_steps_share_of_the_jumps_noise(generator):
    """ε_t minus its share of ε is uncorrelated with ε, exactly; regression on samples finds the same slope."""
    path = random_schedule(generator)
    for p, t in [(TWO, 2), *((path, t) for t in range(1, 7))]:
        bar = p.alpha_bar
        weights = (bar[t] / bar[1 : t + 1] * p.beta[1 : t + 1] / (1 - bar[t])).sqrt()  # ε = Σ weights_s ε_s
        close(weights.square().sum(), torch.ones((), dtype=f64))
        close(weights[-1], (p.beta[t] / (1 - bar[t])).sqrt())
    eps_1, eps_2 = normal(2, N, generator=generator)
    eps = math.sqrt(2 / 7) * eps_1 + math.sqrt(5 / 7) * eps_2
    assert (eps_2 * eps).mean() / (eps**2).mean() == pytest.approx(math.sqrt(5 / 7), abs=5 / math.sqrt(N))


@pytest.mark.equation("2.17")
def test_best_noise_guess_for_standard_normal_data(generator):
    denoise = mixture_denoiser(torch.zeros(1, 1), torch.ones(1), torch.ones(1), TWO)
    x_2 = normal(9, 1, generator=generator)
    close(denoise(x_2, 2).eps, math.sqrt(0.28) * x_2)


@pytest.mark.equation("2.18")
def test_true_reverse_step_for_standard_normal_data(generator):
    """By Bayes' rule on densities: q(x_1 | x_2) q(x_2) = q(x_2 | x_1) q(x_1)."""
    x_1, x_2 = normal(2, 20, generator=generator)
    standard = Normal(torch.zeros(20, dtype=f64), torch.ones(20, dtype=f64))
    forward = Normal(math.sqrt(0.8) * x_1, math.sqrt(0.2)).log_prob(x_2) + standard.log_prob(x_1)
    backward = Normal(math.sqrt(0.8) * x_2, math.sqrt(1 - 0.8)).log_prob(x_1) + standard.log_prob(x_2)
    close(forward, backward)


@pytest.mark.equation("2.19")
def test_variance_of_mean_plus_mean_of_variance(generator):
    x_2 = normal(N, generator=generator)
    mean_part = math.sqrt(0.8) * x_2
    x_1 = mean_part + math.sqrt(0.2) * normal(N, generator=generator)
    assert mean_part.var() == pytest.approx(0.8, abs=5 * 0.8 * math.sqrt(2 / N))
    assert (x_1 - mean_part).var() == pytest.approx(0.2, abs=5 * 0.2 * math.sqrt(2 / N))
    assert x_1.var() == pytest.approx(1, abs=5 * math.sqrt(2 / N))


@pytest.mark.equation("2.20")
def test_variance_that_the_claim_gives_gaussian_data(generator):
    """Run the claimed step itself on x_T ~ N(0, 1) with the exact ε̂: it is linear, so one number shows its factor."""
    results = []
    for path in (TWO, linear(50, 1e-3, 0.1), linear(500, 1e-4, 0.01)):
        denoise = mixture_denoiser(torch.zeros(1, 1), torch.ones(1), torch.ones(1), path)
        x = torch.ones(1, 1, dtype=f64)
        for t in range(path.T, 0, -1):
            x = (x - path.beta[t].sqrt() * denoise(x, t).eps) / path.alpha[t].sqrt()
        beta, bar = path.beta[1:], path.alpha_bar[1:]
        close((x**2).squeeze(), ((1 - (beta * (1 - bar)).sqrt()) ** 2 / path.alpha[1:]).prod())
        results.append((x**2).item())
    assert results[0] == pytest.approx(0.6556, abs=1e-4)
    assert all(b < a < 1 for a, b in pairwise(results))  # the more steps, the less variance is left
