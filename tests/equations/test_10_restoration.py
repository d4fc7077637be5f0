"""Each equation of notebook 10, tested by itself in float64."""

import math

import pytest
import pywt
import torch
import torch.nn.functional as F

from ldm_edu.denoiser import mixture_denoiser
from ldm_edu.measurement import gaussian_blur, with_measurement
from ldm_edu.schedule import cosine, linear

f64 = torch.float64
SCHEDULE = cosine()


def seed(number):
    return torch.Generator().manual_seed(number)


def normal(*shape, number):
    return torch.randn(*shape, dtype=f64, generator=seed(number))


def mixture(D=2, number=0):
    """Means (3, D), one variance each, weights: data that are not Gaussian, with everything known."""
    return (
        normal(3, D, number=number),
        torch.tensor([0.2, 0.5, 0.1], dtype=f64),
        torch.tensor([0.5, 0.3, 0.2], dtype=f64),
    )


def log_normal(x, mean, covariance):
    return torch.distributions.MultivariateNormal(mean, covariance).log_prob(x)


def draw_posterior(y, level, data, n, g):
    """Exact draws (n, B, D) of x_0 given y = x_0 + level · noise, for a mixture."""
    means, variances, weights = data
    total = variances + level**2
    away = y[:, None] - means
    logits = -(away.square().sum(2) / total + y.shape[1] * total.log()) / 2 + weights.log()
    k = torch.multinomial(logits.softmax(1), n, replacement=True, generator=g).T  # (n, B)
    share = (variances / total)[k][..., None]
    spread = (variances * level**2 / total)[k].sqrt()[..., None]
    return means[k] + share * (y - means[k]) + spread * torch.randn(*k.shape, y.shape[1], dtype=f64, generator=g)


def noisy_mixture(n, level, number):
    """Data and their noisy versions, with the mixture they are from and the exact posterior mean."""
    data, g = mixture(number=number), seed(number)
    means, variances, weights = data
    k = torch.multinomial(weights, n, replacement=True, generator=g)
    x_0 = means[k] + variances[k].sqrt()[:, None] * torch.randn(n, 2, dtype=f64, generator=g)
    y = x_0 + level * torch.randn(n, 2, dtype=f64, generator=g)
    t = int((SCHEDULE.sigma - level).abs().argmin())
    mean = mixture_denoiser(*data, SCHEDULE)(SCHEDULE.signal[t] * y, t).x0
    return data, x_0, y, mean


LEVEL = SCHEDULE.sigma[400].item()


@pytest.mark.equation("10.1")
def test_the_measurement_has_the_mean_and_the_noise_it_says():
    x_0 = normal(1, 1, 12, 12, number=1)
    seen = gaussian_blur(x_0, 1.0)
    y = seen + 0.3 * normal(20_000, 1, 12, 12, number=2)
    assert (y.mean(0) - seen[0]).abs().max() < 0.012
    assert abs((y - seen).std() / 0.3 - 1) < 0.01


@pytest.mark.equation("10.2")
def test_bayes_rule_gives_the_posterior_of_a_mixture():
    """p(x_0) p(y|x_0), normalised on a grid, against the known posterior."""
    means, variances, weights = (part[:, :1] if part.ndim == 2 else part for part in mixture(1))
    y, level = torch.tensor(0.4, dtype=f64), 0.6
    x = torch.linspace(-8, 8, 20_001, dtype=f64)

    def density(x, m, v):
        return torch.exp(-((x - m) ** 2) / (2 * v)) / (2 * math.pi * v).sqrt()

    prior = (weights * density(x[:, None], means[:, 0], variances)).sum(1)
    unscaled = prior * torch.exp(-((y - x) ** 2) / (2 * level**2))
    posterior = unscaled / torch.trapezoid(unscaled, x)
    chance = weights * density(y, means[:, 0], variances + level**2)
    chance = chance / chance.sum()
    spread = variances * level**2 / (variances + level**2)
    centre = means[:, 0] + variances / (variances + level**2) * (y - means[:, 0])
    torch.testing.assert_close(posterior, (chance * density(x[:, None], centre, spread)).sum(1), rtol=1e-6, atol=1e-9)


@pytest.mark.equation("10.3")
def test_psnr_is_that_of_torchmetrics_and_half_the_error_is_3_db():
    from torchmetrics.functional.image import peak_signal_noise_ratio

    a, b = (torch.rand(3, 1, 8, 8, dtype=f64, generator=seed(k)) * 2 - 1 for k in (3, 4))
    mse = (a - b).square().mean().item()
    ours = 10 * math.log10(2**2 / mse)
    assert math.isclose(ours, peak_signal_noise_ratio(a, b, data_range=2.0).item(), rel_tol=1e-6)
    assert math.isclose(10 * math.log10(4 / (mse / 2)) - ours, 3.0103, abs_tol=1e-4)


@pytest.mark.equation("10.4")
def test_ssim_is_that_of_torchmetrics():
    from torchmetrics.functional.image import structural_similarity_index_measure

    a = torch.rand(2, 1, 24, 24, dtype=f64, generator=seed(5)) * 2 - 1
    b = a + 0.3 * normal(2, 1, 24, 24, number=6)
    offset = torch.arange(-5, 6, dtype=f64)
    line = torch.exp(-(offset**2) / (2 * 1.5**2))
    window = (line[:, None] * line / line.sum() ** 2)[None, None]

    def local(x):
        return F.conv2d(F.pad(x, (5, 5, 5, 5), mode="reflect"), window)

    mu_a, mu_b = local(a), local(b)
    var_a, var_b, cov = local(a * a) - mu_a**2, local(b * b) - mu_b**2, local(a * b) - mu_a * mu_b
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    score = (2 * mu_a * mu_b + c1) * (2 * cov + c2) / ((mu_a**2 + mu_b**2 + c1) * (var_a + var_b + c2))
    reference = structural_similarity_index_measure(a, b, data_range=2.0)
    assert math.isclose(score.mean().item(), reference.item(), rel_tol=1e-4)


@pytest.mark.equation("10.5")
@pytest.mark.parametrize("schedule", [cosine(), linear()])
def test_a_noisy_picture_scaled_is_an_x_t(schedule):
    x_0, eps = normal(2, 4, 3, number=7)
    for t in (1, 100, 500, 900):
        y = x_0 + schedule.sigma[t] * eps
        torch.testing.assert_close(schedule.signal[t] * y, schedule.signal[t] * x_0 + schedule.noise[t] * eps)
        other = schedule.signal[t] * (x_0 + 1.1 * schedule.sigma[t] * eps)
        assert not torch.allclose(other, schedule.signal[t] * x_0 + schedule.noise[t] * eps)


@pytest.mark.equation("10.6")
def test_errors_split_at_the_posterior_mean():
    _, x_0, y, mean = noisy_mixture(400_000, LEVEL, 8)
    for a in (y, 0.5 * y, y.sin(), mean + 0.3):
        left = (x_0 - a).square().sum(1).mean()
        right = (x_0 - mean).square().sum(1).mean() + (mean - a).square().sum(1).mean()
        assert abs(left / right - 1) < 0.01
        assert left > (x_0 - mean).square().sum(1).mean()


@pytest.mark.equation("10.7")
def test_the_gaussian_filter_is_a_weighted_mean():
    y, width = normal(1, 1, 13, 13, number=9), 1.2
    rows, columns = torch.meshgrid(torch.arange(13), torch.arange(13), indexing="ij")
    for i, j in ((6, 6), (5, 7)):
        inside = ((rows - i).abs() <= 4) & ((columns - j).abs() <= 4)  # the kernel reaches to three widths
        weight = torch.exp(-((rows - i) ** 2 + (columns - j) ** 2) / (2 * width**2)) * inside
        expected = (weight * y[0, 0]).sum() / weight.sum()
        torch.testing.assert_close(gaussian_blur(y, width)[0, 0, i, j], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.equation("10.8")
def test_soft_threshold_is_the_least_of_the_penalised_square():
    threshold = 0.7
    d = 3 * normal(200, number=10)
    s = torch.linspace(-10, 10, 40_001, dtype=f64)
    least = s[((s - d[:, None]) ** 2 / 2 + threshold * s.abs()).argmin(1)]
    shrunk = d.sign() * (d.abs() - threshold).clamp(min=0)
    assert (least - shrunk).abs().max() < 6e-4  # the grid's step
    torch.testing.assert_close(torch.from_numpy(pywt.threshold(d.numpy(), threshold, "soft")), shrunk)


@pytest.mark.equation("10.9")
def test_a_draw_has_twice_the_squared_error():
    data, x_0, y, mean = noisy_mixture(200_000, LEVEL, 11)
    draw = draw_posterior(y, LEVEL, data, 1, seed(12))[0]
    least = (x_0 - mean).square().sum(1).mean()
    assert abs((x_0 - draw).square().sum(1).mean() / least - 2) < 0.02
    assert abs((mean - draw).square().sum(1).mean() / least - 1) < 0.02


@pytest.mark.equation("10.10")
def test_a_mean_of_K_draws_has_1_plus_1_over_K_times_the_error():
    data, x_0, y, mean = noisy_mixture(100_000, LEVEL, 13)
    draws = draw_posterior(y, LEVEL, data, 8, seed(14))
    least = (x_0 - mean).square().sum(1).mean()
    for K in (1, 2, 4, 8):
        assert abs((x_0 - draws[:K].mean(0)).square().sum(1).mean() / least - (1 + 1 / K)) < 0.02


@pytest.mark.equation("10.11")
def test_posterior_means_vary_less_by_what_is_left_open():
    data, x_0, y, mean = noisy_mixture(400_000, LEVEL, 15)
    open_variance = draw_posterior(y, LEVEL, data, 16, seed(16)).var(0).mean(0)
    torch.testing.assert_close(x_0.var(0), mean.var(0) + open_variance, rtol=0.01, atol=0.0)


@pytest.mark.equation("10.12")
def test_the_residual_and_back():
    x_0, up = normal(2, 3, 1, 4, 4, number=17)
    rho = (x_0 - up).std()
    r = (x_0 - up) / rho
    assert math.isclose(r.std().item(), 1.0, rel_tol=1e-9)
    torch.testing.assert_close(up + rho * r, x_0)


@pytest.mark.equation("10.13")
def test_the_best_answer_knows_y_and_at_T_nothing_else():
    """r and y jointly Gaussian: regress r on (x_t, y), and compare with E[r|x_t, y] and, at T, with E[r|y]."""
    n, g = 400_000, seed(18)
    y = torch.randn(n, dtype=f64, generator=g)
    r = 0.8 * y + 0.6 * torch.randn(n, dtype=f64, generator=g)  # variance 1
    eps = torch.randn(n, dtype=f64, generator=g)
    for t, tolerance in ((300, 0.01), (SCHEDULE.T, 0.01)):
        signal, noise = SCHEDULE.signal[t], SCHEDULE.noise[t]
        x_t = signal * r + noise * eps
        fit = torch.linalg.lstsq(torch.stack([x_t, y], 1), r[:, None]).solution[:, 0]
        precision = 1 / 0.36 + signal**2 / noise**2
        exact = torch.stack([signal / noise**2, torch.tensor(0.8 / 0.36, dtype=f64)]) / precision
        torch.testing.assert_close(fit, exact, rtol=0.0, atol=tolerance)
    assert abs(fit[0]) < 0.01
    assert abs(fit[1] - 0.8) < 0.01  # E[r|y] = 0.8 y


def gaussian_with_measurement(number):
    """x_0 ~ N(m, Σ) in three dimensions, x_t of it, y = A x_0 + noise in two; all densities are Gaussian."""
    L, m, A = normal(3, 3, number=number), normal(3, number=number + 1), normal(2, 3, number=number + 2)
    Sigma = L @ L.T / 3 + 0.1 * torch.eye(3, dtype=f64)
    t, level = 450, 0.3
    signal, noise = SCHEDULE.signal[t], SCHEDULE.noise[t]

    def denoised(x_t):
        """E[x_0|x_t] and Cov[x_0|x_t]."""
        gain = signal * Sigma @ torch.linalg.inv(signal**2 * Sigma + noise**2 * torch.eye(3, dtype=f64))
        return m + (x_t - signal * m) @ gain.T, Sigma - signal * gain @ Sigma

    def log_y(x_t, y):
        """log p(y|x_t)."""
        mean, C = denoised(x_t)
        return log_normal(y, mean @ A.T, A @ C @ A.T + level**2 * torch.eye(2, dtype=f64))

    x_t, y = normal(3, number=number + 3), normal(2, number=number + 4)
    return m, Sigma, A, signal, noise, level, denoised, log_y, x_t, y


def given_both(m, Sigma, A, signal, noise, level, x_t, y):
    """E[x_0|x_t, y], with x_t and y as one measurement of x_0."""
    both = torch.cat([signal * torch.eye(3, dtype=f64), A])
    cover = torch.diag(torch.cat([noise**2 * torch.ones(3, dtype=f64), level**2 * torch.ones(2, dtype=f64)]))
    gain = Sigma @ both.T @ torch.linalg.inv(both @ Sigma @ both.T + cover)
    return m + gain @ (torch.cat([x_t, y]) - both @ m)


@pytest.mark.equation("10.14")
def test_the_score_given_y_is_the_sum_of_two():
    m, Sigma, A, signal, noise, level, _, log_y, x_t, y = gaussian_with_measurement(20)
    x = x_t.clone().requires_grad_()
    cov_x = signal**2 * Sigma + noise**2 * torch.eye(3, dtype=f64)
    (prior,) = torch.autograd.grad(log_normal(x, signal * m, cov_x), x)
    (told,) = torch.autograd.grad(log_y(x, y), x)
    # p(x_t|y) directly: condition the joint Gaussian of (x_t, y)
    cross, cov_y = signal * Sigma @ A.T, A @ Sigma @ A.T + level**2 * torch.eye(2, dtype=f64)
    gain = cross @ torch.linalg.inv(cov_y)
    (joint,) = torch.autograd.grad(log_normal(x, signal * m + gain @ (y - A @ m), cov_x - gain @ cross.T), x)
    torch.testing.assert_close(joint, prior + told)


@pytest.mark.equation("10.15")
def test_conditioning_moves_the_pair_by_one_gradient():
    m, Sigma, A, signal, noise, level, denoised, log_y, x_t, y = gaussian_with_measurement(30)
    x = x_t.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(log_y(x, y), x)
    x0_hat = denoised(x_t)[0]
    eps_hat = (x_t - signal * x0_hat) / noise
    told_x0 = given_both(m, Sigma, A, signal, noise, level, x_t, y)
    torch.testing.assert_close(x0_hat + noise**2 / signal * gradient, told_x0)
    torch.testing.assert_close(eps_hat - noise * gradient, (x_t - signal * told_x0) / noise)


@pytest.mark.equation("10.16")
@pytest.mark.parametrize("t", [200, 500, 800])
def test_the_derivative_of_the_denoiser_is_the_covariance(t):
    """For a mixture, whose covariance given x_t is known by the law of total variance."""
    means, variances, weights = mixture(2, 40)
    exact = mixture_denoiser(means, variances, weights, SCHEDULE)
    signal, noise = SCHEDULE.signal[t], SCHEDULE.noise[t]
    x_t = normal(1, 2, number=41)
    jacobian = torch.autograd.functional.jacobian(lambda x: exact(x, t).x0[0], x_t)[:, 0]
    total = signal**2 * variances + noise**2
    away = x_t - signal * means
    chance = (weights.log() - away.square().sum(1) / (2 * total) - total.log()).softmax(0)
    centre = means + (signal * variances / total)[:, None] * away
    within = (chance * variances * noise**2 / total).sum() * torch.eye(2, dtype=f64)
    mean = (chance[:, None] * centre).sum(0)
    between = (chance[:, None] * (centre - mean)).T @ (centre - mean)
    torch.testing.assert_close(noise**2 / signal * jacobian, within + between, rtol=1e-8, atol=1e-10)


@pytest.mark.equation("10.17")
def test_y_given_x_t_has_the_misfit_and_two_variances():
    """Draw x_0 from p(x_0|x_t) and measure it: exactly so for a linear A, nearly so where A bends little."""
    _, _, A, _, _, level, denoised, _, x_t, _ = gaussian_with_measurement(50)
    mean, C = denoised(x_t)
    n, g = 400_000, seed(51)
    x_0 = mean + torch.randn(n, 3, dtype=f64, generator=g) @ torch.linalg.cholesky(C).T
    y = x_0 @ A.T + level * torch.randn(n, 2, dtype=f64, generator=g)
    torch.testing.assert_close(y.mean(0), A @ mean, rtol=0.0, atol=0.01)
    torch.testing.assert_close(torch.cov(y.T), A @ C @ A.T + level**2 * torch.eye(2, dtype=f64), rtol=0.02, atol=0.01)

    def bent(x):
        return (0.05 * x @ A.T).sin()

    J = torch.autograd.functional.jacobian(bent, mean)
    seen = bent(x_0)
    torch.testing.assert_close(torch.cov(seen.T), J @ C @ J.T, rtol=0.05, atol=1e-5)


@pytest.mark.equation("10.18")
def test_the_kalman_step_is_exact_for_gaussian_data():
    m, Sigma, A, signal, noise, level, denoised, _, x_t, y = gaussian_with_measurement(60)
    x0_hat, C = denoised(x_t)
    step = C @ A.T @ torch.linalg.inv(level**2 * torch.eye(2, dtype=f64) + A @ C @ A.T) @ (y - A @ x0_hat)
    torch.testing.assert_close(x0_hat + step, given_both(m, Sigma, A, signal, noise, level, x_t, y))


@pytest.mark.equation("10.19")
def test_one_number_is_the_least_of_the_quadratic_along_e_and_what_the_package_takes():
    means, variances, weights = mixture(16, 70)
    exact = mixture_denoiser(means.view(3, 1, 4, 4), variances, weights, SCHEDULE)
    matrix, t, level = normal(5, 16, number=71) / 4, 480, 0.2
    signal, noise = SCHEDULE.signal[t], SCHEDULE.noise[t]
    x_t, y = normal(1, 1, 4, 4, number=72), normal(1, 5, number=73)
    x0_hat = exact(x_t, t).x0
    C = noise**2 / signal * torch.autograd.functional.jacobian(lambda x: exact(x, t).x0, x_t).reshape(16, 16)
    e = (y - x0_hat.flatten(1) @ matrix.T)[0]
    p = matrix.T @ e
    gamma_squared = level**2 + p @ C @ p / (e @ e)
    S = level**2 * torch.eye(5, dtype=f64) + matrix @ C @ matrix.T

    def objective(c):
        return c**2 * (e @ S @ e) / 2 - c * (e @ e)

    best = 1 / gamma_squared
    assert all(objective(best) < objective(best * k) for k in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0))
    moved = with_measurement(exact, y, lambda x: x.flatten(1) @ matrix.T, SCHEDULE, noise_level=level)(x_t, t)
    torch.testing.assert_close(moved.x0.flatten(), x0_hat.flatten() + C @ p / gamma_squared)


@pytest.mark.equation("10.20")
def test_the_best_linear_estimate_is_the_gaussian_posterior_mean():
    """Against the point where the posterior's density is largest, found by setting its gradient to 0."""
    m, Sigma, A, _, _, level, _, _, _, y = gaussian_with_measurement(80)
    cov_y = A @ Sigma @ A.T + level**2 * torch.eye(2, dtype=f64)
    mean = m + Sigma @ A.T @ torch.linalg.inv(cov_y) @ (y - A @ m)
    covariance = Sigma - Sigma @ A.T @ torch.linalg.inv(cov_y) @ A @ Sigma
    precision = torch.linalg.inv(Sigma) + A.T @ A / level**2
    torch.testing.assert_close(covariance, torch.linalg.inv(precision))
    x = mean.clone().requires_grad_()
    log_density = log_normal(x, m, Sigma) - (y - A @ x).square().sum() / (2 * level**2)
    (gradient,) = torch.autograd.grad(log_density, x)
    assert gradient.abs().max() < 1e-9
