"""Notebook 05: the bound of a variational autoencoder, rate and distortion, the scale of latents, three losses.

Where an expectation over a latent is needed, it is a sum over a fine grid or Gauss–Hermite quadrature, exact to
rounding for the smooth functions here.
"""

import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from ldm_edu.loss import kl_gaussian
from ldm_edu.nets.autoencoder import Autoencoder, AutoencoderConfig, Gaussian
from ldm_edu.objectives import AutoencoderObjective
from ldm_edu.schedule import cosine, linear

f64 = torch.float64
each_seed = pytest.mark.parametrize("seed", [0, 1, 2])
LINE = torch.linspace(-16, 16, 6401, dtype=f64)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def uniform(generator, low, high, *shape):
    return low + (high - low) * torch.rand(shape, dtype=f64, generator=generator)


def log_normal(x, mean, variance):
    return Normal(mean, torch.as_tensor(variance, dtype=f64).sqrt()).log_prob(torch.as_tensor(x, dtype=f64))


def integral(values):
    return torch.trapezoid(values, LINE)


class OneNumber:
    """p(ℓ) = N(0, 1), p(x|ℓ) = N(w ℓ + c, ν), and some code q(ℓ|x) = N(m, s²), on one number x, all drawn."""

    def __init__(self, seed):
        g = seeded(seed)
        self.w, self.c, self.x, self.m = uniform(g, -1.5, 1.5, 4)
        self.nu, self.s = uniform(g, 0.3, 1.2, 2)
        self.log_prior = log_normal(LINE, torch.zeros((), dtype=f64), 1.0)
        self.log_likelihood = log_normal(self.x, self.w * LINE + self.c, self.nu)
        self.log_q = log_normal(LINE, self.m, self.s**2)
        self.log_evidence = log_normal(self.x, self.c, self.w**2 + self.nu)  # a sum of two Gaussians

    def bound(self):
        q = self.log_q.exp()
        return -integral(q * self.log_likelihood) + integral(q * (self.log_q - self.log_prior))


@each_seed
@pytest.mark.equation("5.1")
def test_the_evidence_is_the_integral_over_latents(seed):
    it = OneNumber(seed)
    torch.testing.assert_close(integral((it.log_prior + it.log_likelihood).exp()), it.log_evidence.exp())


@each_seed
@pytest.mark.equation("5.2")
def test_the_bound_holds_for_every_code_and_is_equal_at_the_posterior(seed):
    it = OneNumber(seed)
    assert -it.log_evidence < it.bound()
    variance = 1 / (1 + it.w**2 / it.nu)
    it.log_q = log_normal(LINE, variance * it.w * (it.x - it.c) / it.nu, variance)
    torch.testing.assert_close(-it.log_evidence, it.bound())


@each_seed
@pytest.mark.equation("5.3")
def test_the_gap_is_the_divergence_from_the_posterior(seed):
    it = OneNumber(seed)
    log_posterior = it.log_prior + it.log_likelihood - it.log_evidence
    gap = integral(it.log_q.exp() * (it.log_q - log_posterior))
    torch.testing.assert_close(-it.log_evidence, it.bound() - gap)


@each_seed
@pytest.mark.equation("5.4")
def test_the_gradient_goes_through_the_sample(seed):
    """Both sides by quadrature, for a random cubic f."""
    g = seeded(seed)
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    z, weights = torch.from_numpy(nodes), torch.from_numpy(weights / math.sqrt(2 * math.pi))
    f = np.polynomial.Polynomial(uniform(g, -1, 1, 4).numpy())
    m, s = uniform(g, -1, 1, 1).item(), uniform(g, 0.3, 1.5, 1).item()

    def mean_f(m, s):
        return (weights * torch.from_numpy(f(m + s * z.numpy()))).sum().item()

    slope = torch.from_numpy(f.deriv()(m + s * z.numpy()))
    h = 1e-5
    assert (mean_f(m + h, s) - mean_f(m - h, s)) / (2 * h) == pytest.approx((weights * slope).sum().item(), abs=1e-8)
    by_s = (weights * slope * z).sum().item()
    assert (mean_f(m, s + h) - mean_f(m, s - h)) / (2 * h) == pytest.approx(by_s, abs=1e-8)


@each_seed
@pytest.mark.equation("5.5")
def test_divergence_of_a_code_from_the_standard_normal(seed):
    g = seeded(seed)
    m, s = uniform(g, -2, 2, 2, 3), uniform(g, 0.2, 2, 2, 3)
    formula = ((m**2 + s**2 - 1) / 2 - s.log()).sum(1)
    one = kl_divergence(Normal(m, s), Normal(torch.zeros_like(m), torch.ones_like(s))).sum(1)
    torch.testing.assert_close(formula, one)
    torch.testing.assert_close(formula, kl_gaussian(m, s**2, torch.zeros_like(m), 1.0).sum(1))
    torch.testing.assert_close(formula, Gaussian(m, (s**2).log()).kl())


@each_seed
@pytest.mark.equation("5.6")
def test_a_gaussian_likelihood_is_a_squared_error(seed):
    g = seeded(seed)
    x, guess, nu = uniform(g, -1, 1, 7), uniform(g, -1, 1, 7), uniform(g, 0.01, 2, 1).item()
    formula = (x - guess).square().sum() / (2 * nu) + 7 / 2 * math.log(2 * math.pi * nu)
    torch.testing.assert_close(formula, -log_normal(x, guess, nu).sum())


@each_seed
@pytest.mark.equation("5.7")
def test_the_training_loss_is_a_weighted_bound(seed):
    """J of the package's objective against 2ν/n (reconstruction + β KL) − ν log 2πν with βν = kl · n / 2d."""
    torch.manual_seed(seed)
    config = AutoencoderConfig(in_channels=1, latent_channels=2, width=8, multipliers=(1, 1), groups=4)
    autoencoder = Autoencoder(config).double()
    g = seeded(seed)
    x, z = uniform(g, -1, 1, 3, 1, 8, 8), torch.randn(3, 2, 4, 4, dtype=f64, generator=g)
    kl, nu = uniform(g, 1e-3, 1, 1).item(), uniform(g, 1e-3, 1, 1).item()
    n, d = 64, 32
    beta = kl * n / (2 * d * nu)
    code = autoencoder.encode(x)
    guess = autoencoder.decode(code.mean + torch.exp(code.logvar / 2) * z)
    reconstruction = -log_normal(x, guess, nu).flatten(1).sum(1)
    right = 2 * nu / n * (reconstruction + beta * code.kl()).mean() - nu * math.log(2 * math.pi * nu)
    torch.testing.assert_close(AutoencoderObjective(autoencoder, 0.0, kl)(x, z), right)


@each_seed
@pytest.mark.equation("5.8")
def test_the_best_variance_of_the_decoder_is_the_mean_squared_error(seed):
    g = seeded(seed)
    error = torch.randn(50, 9, dtype=f64, generator=g) * uniform(g, 0.1, 2, 1)
    best = error.square().mean()

    def nats(nu):
        return -log_normal(error, torch.zeros_like(error), nu).sum(1).mean()

    assert all(nats(best) < nats(best * factor) for factor in (0.5, 0.9, 0.999, 1.001, 1.1, 2.0))


@each_seed
@pytest.mark.equation("5.9")
def test_the_rate_is_mutual_information_and_the_distance_of_all_codes_from_the_prior(seed):
    g = seeded(seed)
    weight = torch.softmax(torch.randn(4, dtype=f64, generator=g), 0)  # of four pictures
    log_q = log_normal(LINE, uniform(g, -2, 2, 4, 1), uniform(g, 0.1, 1, 4, 1) ** 2)
    log_prior = log_normal(LINE, torch.zeros((), dtype=f64), 1.0)
    log_all = torch.logsumexp(weight.log()[:, None] + log_q, 0)
    rate = (weight * integral(log_q.exp() * (log_q - log_prior))).sum()
    information = (weight * integral(log_q.exp() * (log_q - log_all))).sum()
    away = integral(log_all.exp() * (log_all - log_prior))
    torch.testing.assert_close(rate, information + away)
    assert 0 < information < -(weight * weight.log()).sum()  # no more than the pictures' own entropy
    assert away > 0


def linear_cost(a, s, w, lam, theta):
    """E‖x − wℓ‖² + 2θ E KL for x ~ N(0, λ), q(ℓ|x) = N(ax, s²)."""
    distortion = lam * (1 - w * a) ** 2 + w**2 * s**2
    return distortion + theta * (a**2 * lam + s**2 - 1 - (s**2).log())


@each_seed
@pytest.mark.equation("5.10")
def test_only_the_ratio_of_variances_is_left_to_choose(seed):
    """For each ratio ρ no other scale and decoder is cheaper, and the best has the cost λρ − θ log ρ."""
    g = seeded(seed)
    lam, theta = uniform(g, 0.1, 4, 2)
    for rho in uniform(g, 0.05, 0.95, 5):
        cost = lam * rho - theta * rho.log()
        s, a = rho.sqrt(), ((1 - rho) / lam).sqrt()
        torch.testing.assert_close(linear_cost(a, s, a * lam, lam, theta), cost)
        scale, w = uniform(g, 0.3, 3, 200), uniform(g, -3, 3, 200)
        assert (linear_cost(a * scale, s * scale, w, lam, theta) >= cost).all()


@each_seed
@pytest.mark.equation("5.11")
def test_distortion_and_rate_of_the_best_linear_code(seed):
    g = seeded(seed)
    for lam, theta in uniform(g, 0.1, 3, 20, 2):
        rho = torch.linspace(1e-4, 1, 100_001, dtype=f64)
        best = rho[(lam * rho - theta * rho.log()).argmin()]
        torch.testing.assert_close(lam * best, torch.minimum(lam, theta), rtol=0, atol=1e-4)
        rate = (lam / theta).clamp(min=1).log() / 2
        torch.testing.assert_close(-best.log() / 2, rate, rtol=0, atol=1e-3)


@each_seed
@pytest.mark.equation("5.12")
def test_the_best_linear_code_itself(seed):
    """Its gradient vanishes, its codes have variance 1 over all data, and its rate and distortion are (5.11)."""
    g = seeded(seed)
    theta = uniform(g, 0.1, 1, 1)[0]
    lam = theta + uniform(g, 0.1, 3, 1)[0]
    s = (theta / lam).sqrt().requires_grad_()
    a = ((1 - theta / lam) / lam).sqrt().requires_grad_()
    w = (lam - theta).sqrt().requires_grad_()
    slopes = torch.autograd.grad(linear_cost(a, s, w, lam, theta), (a, s, w))
    torch.testing.assert_close(torch.stack(slopes), torch.zeros(3, dtype=f64), atol=1e-12, rtol=0)
    torch.testing.assert_close(a**2 * lam + s**2, torch.ones((), dtype=f64))
    torch.testing.assert_close(lam * (1 - w * a) ** 2 + w**2 * s**2, theta)
    torch.testing.assert_close((a**2 * lam + s**2 - 1 - (s**2).log()) / 2, (lam / theta).log() / 2)


@each_seed
@pytest.mark.equation("5.13")
def test_water_filling_is_the_cheapest_way_to_a_distortion(seed):
    g = seeded(seed)
    lam = uniform(g, 0.05, 3, 6)
    theta = uniform(g, 0.1, 1.5, 1)
    least = torch.minimum(lam, theta)
    rate = (lam / theta).clamp(min=1).log().sum() / 2
    torch.testing.assert_close(rate, (lam / least).log().sum() / 2)
    other = least * torch.exp(torch.randn(20_000, 6, dtype=f64, generator=g) / 2)
    other = other * least.sum() / other.sum(1, keepdim=True)  # other ways to spend the same distortion
    allowed = (other <= lam).all(1)
    assert allowed.sum() > 50
    assert ((lam / other[allowed]).log().sum(1) / 2 >= rate).all()


@each_seed
@pytest.mark.equation("5.14")
def test_a_gaussian_of_the_same_moments_wastes_at_most_as_much(seed):
    """Latents of four pictures: on one axis by quadrature, and for a Gaussian in three dimensions with equality."""
    g = seeded(seed)
    weight = torch.softmax(torch.randn(4, dtype=f64, generator=g), 0)
    m, s = uniform(g, -2, 2, 4), uniform(g, 0.1, 1, 4)
    log_all = torch.logsumexp(weight.log()[:, None] + log_normal(LINE, m[:, None], s[:, None] ** 2), 0)
    waste = integral(log_all.exp() * (log_all - log_normal(LINE, torch.zeros((), dtype=f64), 1.0)))
    mean = (weight * m).sum()
    variance = (weight * (s**2 + (m - mean) ** 2)).sum()
    assert waste > (mean**2 + variance - 1 - variance.log()) / 2

    mean, root = torch.randn(3, dtype=f64, generator=g), torch.randn(3, 5, dtype=f64, generator=g)
    covariance = root @ root.T
    bound = (mean.square().sum() + covariance.trace() - 3 - torch.logdet(covariance)) / 2
    prior = MultivariateNormal(torch.zeros(3, dtype=f64), torch.eye(3, dtype=f64))
    torch.testing.assert_close(bound, kl_divergence(MultivariateNormal(mean, covariance), prior))


@pytest.mark.parametrize("schedule", [linear(), cosine()])
@each_seed
@pytest.mark.equation("5.15")
def test_the_scale_of_the_latents_shifts_the_log_snr(seed, schedule):
    """The power of signal over that of noise, of latents of deviation k, drawn and by formula."""
    g = seeded(seed)
    k = uniform(g, 0.2, 5, 1).item()
    t = torch.randint(1, 900, (5,), generator=g)
    signal_power = (schedule.signal[t] * k) ** 2
    torch.testing.assert_close((signal_power / schedule.noise[t] ** 2).log(), schedule.snr[t].log() + 2 * math.log(k))


@each_seed
@pytest.mark.equation("5.16")
def test_the_mean_is_best_under_squared_error(seed):
    g = seeded(seed)
    x, weight = uniform(g, -2, 2, 5), torch.softmax(torch.randn(5, dtype=f64, generator=g), 0)
    mean = (weight * x).sum()
    spread = (weight * (x - mean) ** 2).sum()
    for c in uniform(g, -3, 3, 20):
        torch.testing.assert_close((weight * (x - c) ** 2).sum(), spread + (mean - c) ** 2)


@each_seed
@pytest.mark.equation("5.17")
def test_the_median_is_best_under_absolute_error(seed):
    g = seeded(seed)
    x, weight = uniform(g, -2, 2, 5), torch.softmax(torch.randn(5, dtype=f64, generator=g), 0)

    def cost(c):
        return (weight * (x - c).abs()).sum()

    for c in uniform(g, -2, 2, 20):
        h = 1e-7
        slope = weight[x < c].sum() - weight[x > c].sum()
        torch.testing.assert_close((cost(c + h) - cost(c - h)) / (2 * h), slope, atol=1e-6, rtol=0)
    order = x.argsort()
    median = x[order][torch.searchsorted(weight[order].cumsum(0), 0.5)]
    assert all(cost(median) <= cost(c) for c in uniform(g, -3, 3, 200))


def two_densities(seed):
    g = seeded(seed)
    return [log_normal(LINE, uniform(g, -2, 2, 1), uniform(g, 0.3, 2, 1)).exp() for _ in range(2)]


def value(p, q, answer):
    return integral(p * answer.clamp(min=1e-300).log() + q * (1 - answer).clamp(min=1e-300).log())


@each_seed
@pytest.mark.equation("5.18")
def test_the_best_discriminator_is_the_share_of_the_real_density(seed):
    p, q = two_densities(seed)
    best = p / (p + q)
    g = seeded(seed)
    for _ in range(20):
        slope, shift = uniform(g, -1, 1, 2)
        other = torch.sigmoid(torch.logit(best.clamp(1e-12, 1 - 1e-12)) + slope * LINE.tanh() + shift)
        assert value(p, q, other) < value(p, q, best)


@each_seed
@pytest.mark.equation("5.19")
def test_the_best_discriminators_value_is_a_jensen_shannon_divergence(seed):
    p, q = two_densities(seed)
    half = (p + q) / 2
    js = (integral(torch.xlogy(p, p / half)) + integral(torch.xlogy(q, q / half))) / 2
    torch.testing.assert_close(value(p, q, p / (p + q)), 2 * js - math.log(4))
    torch.testing.assert_close(value(p, p, p / (p + p)), torch.tensor(-math.log(4), dtype=f64))
