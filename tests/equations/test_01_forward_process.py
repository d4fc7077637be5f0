"""The equations of notebook 01, on random numbers in float64."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ldm_edu.forward import q_sample, q_step
from ldm_edu.schedule import Schedule, cosine, from_betas, linear, variance_exploding

f64 = torch.float64
close = torch.testing.assert_close
N = 200_000


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def normal(*shape, generator):
    return torch.randn(shape, generator=generator, dtype=f64)


def random_betas(T, generator):
    return 0.02 + 0.3 * torch.rand(T, generator=generator, dtype=f64)


def assert_moments(x, mean, variance):
    """Check mean and variance to within five standard errors of a normal sample's."""
    assert abs(x.mean() - mean) < 5 * math.sqrt(variance / len(x))
    assert abs(x.var() / variance - 1) < 5 * math.sqrt(2 / len(x))


@pytest.mark.equation("1.1")
def test_one_step_has_the_mean_and_variance_of_its_normal(generator):
    path = from_betas(random_betas(3, generator))
    for t, x in [(1, 0.7), (3, -2.0)]:
        beta = path.beta[t].item()
        after = q_step(torch.full((N,), x, dtype=f64), t, normal(N, generator=generator), path)
        assert_moments(after, math.sqrt(1 - beta) * x, beta)


@pytest.mark.equation("1.2")
def test_shifted_and_scaled_noise_has_the_density_of_its_normal(generator):
    mu, sigma, eps = -0.8, 1.7, normal(50, generator=generator)
    assert_moments(mu + sigma * normal(N, generator=generator), mu, sigma**2)
    # Change of variables: density of μ + σε at x is the density of ε there, divided by σ.
    zero, one = torch.zeros(50, dtype=f64), torch.ones(50, dtype=f64)
    close(Normal(mu * one, sigma).log_prob(mu + sigma * eps), Normal(zero, one).log_prob(eps) - math.log(sigma))


@pytest.mark.equation("1.3")
def test_the_step_in_letters_is_the_packages_step(generator):
    path = from_betas(random_betas(5, generator))
    x, eps = normal(2, 4, 3, generator=generator)
    for t in range(1, 6):
        close(q_step(x, t, eps, path), (1 - path.beta[t]).sqrt() * x + path.beta[t].sqrt() * eps)


@pytest.mark.equation("1.4")
def test_the_product_of_steps_is_the_density_of_the_path(generator):
    """The path given x_0 is jointly normal; its mean and covariance come from the recursion's matrix."""
    T, x_0 = 4, 0.6
    path = from_betas(random_betas(T, generator))
    alpha, beta = path.alpha[1:], path.beta[1:]
    # x = M x + D ε + first  ⇒  x = (I − M)⁻¹ (D ε + first)
    M = torch.diag(alpha[1:].sqrt(), -1)
    inverse = torch.linalg.inv(torch.eye(T, dtype=f64) - M)
    first = torch.zeros(T, dtype=f64)
    first[0] = alpha[0].sqrt() * x_0
    joint = torch.distributions.MultivariateNormal(inverse @ first, inverse @ torch.diag(beta) @ inverse.T)
    x = normal(T, generator=generator)
    before = torch.cat([torch.tensor([x_0], dtype=f64), x[:-1]])
    close(joint.log_prob(x), Normal(alpha.sqrt() * before, beta.sqrt()).log_prob(x).sum())


@pytest.mark.equation("1.5")
def test_variance_after_a_step(generator):
    path = from_betas([0.3])
    x = 1.9 * normal(N, generator=generator) + 4
    assert_moments(q_step(x, 1, normal(N, generator=generator), path), math.sqrt(0.7) * 4, 0.7 * 1.9**2 + 0.3)


@pytest.mark.equation("1.6")
def test_alpha_bar_is_the_product_of_one_minus_beta(generator):
    betas = random_betas(30, generator)
    path = from_betas(betas)
    assert path.alpha_bar[0] == 1
    close(path.alpha[1:], 1 - betas)
    close(path.alpha_bar[1:], (1 - betas).cumprod(0))


@pytest.mark.equation("1.7")
def test_distance_of_the_variance_from_one(generator):
    path = from_betas(random_betas(30, generator))
    for start in (0.0, 0.4, 5.0):
        variance = start
        for t in range(1, 31):
            variance = (1 - path.beta[t].item()) * variance + path.beta[t].item()
            assert variance - 1 == pytest.approx(path.alpha_bar[t].item() * (start - 1))


@pytest.mark.equation("1.8")
def test_the_chain_has_the_jumps_distribution(generator):
    path, x_0 = from_betas(random_betas(6, generator)), 1.3
    x = torch.full((N,), x_0, dtype=f64)
    for t in range(1, 7):
        x = q_step(x, t, normal(N, generator=generator), path)
    bar = path.alpha_bar[6].item()
    assert_moments(x, math.sqrt(bar) * x_0, 1 - bar)
    start, eps = normal(2, 5, generator=generator)
    close(q_sample(start, 6, eps, path), math.sqrt(bar) * start + math.sqrt(1 - bar) * eps)


@pytest.mark.equation("1.9")
def test_two_noises_add_to_one_of_summed_squares(generator):
    a, b = 0.9, -1.6
    total = a * normal(N, generator=generator) + b * normal(N, generator=generator)
    assert_moments(total, 0, a**2 + b**2)
    one = total / math.hypot(a, b)
    assert (one**4).mean() == pytest.approx(3, abs=5 * math.sqrt(96 / N))  # a normal's fourth moment
    assert (one.abs() < 1).double().mean() == pytest.approx(math.erf(math.sqrt(0.5)), abs=0.005)


@pytest.mark.equation("1.10")
def test_the_induction_step(generator):
    path = from_betas(random_betas(8, generator))
    x_0, eps_bar, eps_t = normal(3, 6, generator=generator)
    for t in range(1, 9):
        alpha, bar = path.alpha[t], path.alpha_bar[t]
        two = (alpha - bar).clamp(min=0).sqrt() * eps_bar + (1 - alpha).sqrt() * eps_t
        close(q_step(q_sample(x_0, t - 1, eps_bar, path), t, eps_t, path), bar.sqrt() * x_0 + two)
        close((alpha - bar) + (1 - alpha), 1 - bar)


@pytest.mark.equation("1.11")
def test_the_chain_unrolled(generator):
    path = from_betas(random_betas(7, generator))
    x_0, eps = normal(4, generator=generator), normal(8, 4, generator=generator)
    x = x_0
    for t in range(1, 8):
        x = q_step(x, t, eps[t], path)
        total = sum((path.alpha_bar[t] / path.alpha_bar[s] * path.beta[s]).sqrt() * eps[s] for s in range(1, t + 1))
        close(x, path.alpha_bar[t].sqrt() * x_0 + total)


@pytest.mark.equation("1.12")
def test_the_variances_telescope(generator):
    path = from_betas(random_betas(9, generator))
    bar, beta = path.alpha_bar, path.beta
    for t in range(1, 10):
        close((bar[t] / bar[1 : t + 1] * beta[1 : t + 1]).sum(), 1 - bar[t])
        close(beta[1 : t + 1] / bar[1 : t + 1], 1 / bar[1 : t + 1] - 1 / bar[:t])


@pytest.mark.equation("1.13")
def test_linear_schedule():
    T, first, last = 37, 3e-4, 0.05
    expected = [first + (t - 1) / (T - 1) * (last - first) for t in range(1, T + 1)]
    close(linear(T, first, last).beta[1:], torch.tensor(expected, dtype=f64))


@pytest.mark.equation("1.14")
def test_cosine_schedule():
    T, s = 41, 0.02
    f = [math.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2 for t in range(T + 1)]
    path = cosine(T, s)
    close(path.beta[1:], torch.tensor([min(1 - f[t] / f[t - 1], 0.999) for t in range(1, T + 1)], dtype=f64))
    close(path.alpha_bar[:T], torch.tensor(f[:T], dtype=f64) / f[0])  # the bound only touches the last step


@pytest.mark.equation("1.15")
@pytest.mark.parametrize("path", [linear(), cosine()], ids=["linear", "cosine"])
def test_snr_is_signal_power_over_noise_power(path, generator):
    close(path.snr[1:], path.alpha_bar[1:] / (1 - path.alpha_bar[1:]))
    assert (path.snr[1:].diff() < 0).all()
    eps = normal(N, generator=generator)
    x_0 = torch.where(normal(N, generator=generator) > 0, 1.0, -1.0).double()  # mean square 1
    noise = q_sample(x_0, 400, eps, path) - path.signal[400] * x_0
    measured = (path.signal[400] * x_0).square().mean() / noise.square().mean()
    assert measured / path.snr[400] == pytest.approx(1, abs=5 * math.sqrt(2 / N))


@pytest.mark.equation("1.16")
def test_divergence_from_the_standard_normal(generator):
    mu, sigma = normal(20, generator=generator), 0.1 + torch.rand(20, generator=generator, dtype=f64)
    ours = -sigma.square().log() / 2 - 0.5 + (sigma**2 + mu**2) / 2
    close(ours, kl_divergence(Normal(mu, sigma), Normal(torch.zeros_like(mu), torch.ones_like(sigma))))
    x = torch.linspace(-15, 15, 60_001, dtype=f64)  # and by its definition, as an integral
    q, p = Normal(mu[0], sigma[0]).log_prob(x), Normal(0 * mu[0], 1.0).log_prob(x)
    close(torch.trapezoid(q.exp() * (q - p), x), ours[0], rtol=1e-6, atol=1e-9)


@pytest.mark.equation("1.17")
@pytest.mark.parametrize("path", [linear(100), cosine(20)], ids=["linear", "cosine"])
def test_divergence_of_the_chains_end(path, generator):
    x_0 = normal(12, generator=generator)
    bar = path.alpha_bar[-1]
    end = Normal(bar.sqrt() * x_0, (1 - bar).sqrt())
    standard = Normal(torch.zeros(12, dtype=f64), torch.ones(12, dtype=f64))
    ours = (bar * (x_0.square().sum() - 12) - 12 * torch.log1p(-bar)) / 2
    close(kl_divergence(end, standard).sum(), ours)


@pytest.mark.equation("1.18")
def test_variance_exploding_adds_noise_and_never_shrinks(generator):
    path = variance_exploding(50, 0.02, 30.0)
    x_0, eps = normal(2, 5, generator=generator)
    for t in (0, 1, 20, 50):
        close(q_sample(x_0, t, eps, path), x_0 + path.sigma[t] * eps)
    assert path.sigma[0] == 0
    assert (path.sigma.diff() > 0).all()


@pytest.mark.equation("1.19")
def test_one_step_of_variance_exploding(generator):
    path = variance_exploding(50, 0.02, 30.0)
    x, eps = normal(2, 5, generator=generator)
    for t in (1, 2, 50):
        added = path.sigma[t] ** 2 - path.sigma[t - 1] ** 2
        close(q_step(x, t, eps, path), x + added.sqrt() * eps)
    close((path.sigma[1:] ** 2 - path.sigma[:-1] ** 2).sum(), path.sigma[-1] ** 2)


@pytest.mark.equation("1.20")
def test_preserving_divided_by_its_signal_is_exploding(generator):
    path = from_betas(random_betas(20, generator))
    exploding = Schedule(torch.ones(21, dtype=f64), path.sigma)
    x_0, eps = normal(2, 5, generator=generator)
    for t in range(1, 21):
        bar = path.alpha_bar[t]
        close(q_sample(x_0, t, eps, path) / bar.sqrt(), x_0 + ((1 - bar) / bar).sqrt() * eps)
        close(q_sample(x_0, t, eps, path) / bar.sqrt(), q_sample(x_0, t, eps, exploding))
        close(((1 - bar) / bar).sqrt(), 1 / path.snr[t].sqrt())
        close(exploding.snr[t], path.snr[t])
        x = normal(5, generator=generator)  # step by step too
        before, after = path.signal[t - 1], path.signal[t]
        close(q_step(x, t, eps, path) / after, q_step(x / before, t, eps, exploding))


@pytest.mark.equation("1.21")
def test_covariance_of_a_linear_step(generator):
    A, root, start = normal(3, 2, 2, generator=generator)
    x = normal(N, 2, generator=generator) @ start.T
    after = x @ A.T + normal(N, 2, generator=generator) @ root.T
    expected = A @ (start @ start.T) @ A.T + root @ root.T
    scale = torch.outer(expected.diagonal(), expected.diagonal()).sqrt()
    assert ((after.T.cov() - expected).abs() / scale < 5 * math.sqrt(2 / N)).all()
    beta, eye = 0.3, torch.eye(2, dtype=f64)
    close(math.sqrt(1 - beta) * eye @ eye @ (math.sqrt(1 - beta) * eye).T + beta * eye, eye)
