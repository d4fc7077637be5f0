"""The forward process: the closed form against the chain, and the posterior against Bayes' rule."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch

from ldm_edu.forward import posterior_variance, q_posterior, q_sample, q_step
from ldm_edu.schedule import cosine, from_betas, linear, scaled_linear, straight, variance_exploding

f64 = torch.float64
SCHEDULES = {
    "linear": linear(100, 1e-3, 0.2),
    "scaled_linear": scaled_linear(),
    "cosine": cosine(100),
    "exploding": variance_exploding(100),
    "straight": straight(100),
}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())


def chain(schedule, times):
    """Scale of x_0 and variance of the noise after the given steps, read off q_step itself."""
    scale, variance = torch.ones(1, dtype=f64), torch.zeros(1, dtype=f64)
    one, none = torch.ones(1, dtype=f64), torch.zeros(1, dtype=f64)
    for s, t in pairwise(times):
        kept = q_step(one, t, none, schedule, s)
        added = q_step(none, t, one, schedule, s)
        scale, variance = kept * scale, kept**2 * variance + added**2
    return scale, variance


def test_whole_numbers_are_refused_where_signal_and_noise_would_be_0_or_1():
    bytes_, eps = torch.full((1, 2), 200, dtype=torch.uint8), torch.zeros(1, 2)
    for x_0, e in ((bytes_, eps), (eps, bytes_)):
        with pytest.raises(ValueError, match=r"must hold floats .*, got torch\.uint8"):
            q_sample(x_0, 5, e, SCHEDULES["cosine"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_noise_of_another_width_leaves_the_datas_type(dtype):
    schedule, x_0 = linear(10), torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    coarser = 2 * max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)  # one rounding of numbers below 4
    eps = torch.tensor([[0.5, -1.0, 2.0], [0.0, 1.0, -0.25]])  # exact in every type
    for t in (5, torch.tensor([5, 9])):
        x_t = q_sample(x_0, t, eps.to(dtype), schedule)
        assert x_t.dtype == torch.float32
        torch.testing.assert_close(x_t, q_sample(x_0, t, eps, schedule), rtol=0, atol=coarser)
    x_t = q_step(x_0, 5, eps.to(dtype), schedule)
    assert x_t.dtype == torch.float32
    torch.testing.assert_close(x_t, q_step(x_0, 5, eps, schedule), rtol=0, atol=coarser)


@every_schedule
@pytest.mark.parametrize("stride", [1, 7])
def test_the_chains_mean_and_variance_are_the_closed_forms(schedule, stride):
    times = list(range(0, schedule.T + 1, stride))
    scale, variance = chain(schedule, times)
    end = times[-1]
    torch.testing.assert_close(scale, schedule.signal[end : end + 1], rtol=1e-11, atol=1e-15)
    torch.testing.assert_close(variance, schedule.noise[end : end + 1] ** 2, rtol=1e-11, atol=0)


def test_one_step_is_eq_2():
    schedule = linear(50)
    g = torch.Generator().manual_seed(0)
    x, eps = torch.randn(2, 4, 3, dtype=f64, generator=g)
    for t in (1, 20, 50):
        beta = schedule.beta[t]
        torch.testing.assert_close(
            q_step(x, t, eps, schedule), (1 - beta).sqrt() * x + beta.sqrt() * eps, rtol=1e-12, atol=0
        )


@every_schedule
def test_the_chain_and_the_closed_form_have_one_distribution(schedule):
    """Two-sample Kolmogorov-Smirnov at level 1e-3: D < √(−ln(0.0005) · 2N / (2N²)) = 1.95 √(2/N)."""
    n, g = 20000, torch.Generator().manual_seed(0)
    x_0 = torch.where(torch.rand(n, dtype=f64, generator=g) < 0.3, -1.0, 0.5)
    walked, t = x_0, 30
    for step in range(1, t + 1):
        walked = q_step(walked, step, torch.randn(n, dtype=f64, generator=g), schedule)
    jumped = q_sample(x_0, t, torch.randn(n, dtype=f64, generator=g), schedule)
    both = torch.cat([walked, jumped]).sort().values
    cdf_walked = torch.searchsorted(walked.sort().values, both, right=True) / n
    cdf_jumped = torch.searchsorted(jumped.sort().values, both, right=True) / n
    assert (cdf_walked - cdf_jumped).abs().max() < 1.95 * math.sqrt(2 / n)


@every_schedule
def test_q_sample_at_t_0_and_with_a_batch_of_times(schedule):
    g = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 3, 2, 4, generator=g)
    assert torch.equal(q_sample(x_0, 0, eps, schedule), x_0)
    t = torch.tensor([0, 5, schedule.T])
    x_t = q_sample(x_0, t, eps, schedule)
    assert x_t.dtype == torch.float32
    for i in range(3):
        assert torch.equal(x_t[i : i + 1], q_sample(x_0[i : i + 1], int(t[i]), eps[i : i + 1], schedule))
        expected = schedule.signal[t[i]] * x_0[i] + schedule.noise[t[i]] * eps[i]
        torch.testing.assert_close(x_t[i], expected.float())


@every_schedule
@pytest.mark.parametrize(("s", "t"), [(0, 1), (0, 60), (1, 2), (29, 30), (40, 60), (5, 90)])
def test_the_posterior_is_gaussian_conditioning_of_the_joint(schedule, s, t):
    """(x_s, x_t) given x_0 is Gaussian; its covariance follows from x_t = r x_s + fresh noise."""
    r = schedule.signal[t] / schedule.signal[s]
    var_s, var_t, cov = schedule.noise[s] ** 2, schedule.noise[t] ** 2, r * schedule.noise[s] ** 2
    g = torch.Generator().manual_seed(0)
    x_0, x_t = torch.randn(2, 5, 3, dtype=f64, generator=g)
    mean, variance = q_posterior(x_0, x_t, t, schedule, s)
    expected = schedule.signal[s] * x_0 + cov / var_t * (x_t - schedule.signal[t] * x_0)
    torch.testing.assert_close(mean, expected, rtol=1e-10, atol=1e-12)
    assert variance == pytest.approx((var_s - cov**2 / var_t).item(), rel=1e-9, abs=1e-13)


@every_schedule
@pytest.mark.parametrize(("s", "t"), [(29, 30), (40, 60)])
def test_the_posterior_is_bayes_rule_on_a_grid(schedule, s, t):
    """q(x_s | x_t, x_0) ∝ q(x_t | x_s) q(x_s | x_0), normalised by summing over a grid of x_s.

    The trapezium sum of a smooth density that vanishes at both ends converges faster than any power of the spacing.
    """
    x_0, x_t = torch.tensor([0.7], dtype=f64), torch.tensor([-0.4], dtype=f64)
    mean, variance = q_posterior(x_0, x_t, t, schedule, s)
    grid = mean + math.sqrt(variance) * torch.linspace(-12, 12, 4001, dtype=f64)
    one, none = torch.ones(1, dtype=f64), torch.zeros(1, dtype=f64)
    r, spread = q_step(one, t, none, schedule, s), q_step(none, t, one, schedule, s)
    log_density = -(((grid - schedule.signal[s] * x_0) / schedule.noise[s]) ** 2) / 2
    log_density -= ((x_t - r * grid) / spread) ** 2 / 2
    chance = torch.softmax(log_density, 0)
    grid_mean = (chance * grid).sum()
    torch.testing.assert_close(mean[0], grid_mean, rtol=1e-9, atol=1e-12)
    assert variance == pytest.approx((chance * (grid - grid_mean) ** 2).sum().item(), rel=1e-8)


def test_the_posterior_of_one_step_is_eqs_6_and_7():
    schedule = linear(100, 1e-3, 0.2)
    g = torch.Generator().manual_seed(0)
    x_0, x_t = torch.randn(2, 5, dtype=f64, generator=g)
    for t in (2, 50, 100):
        beta, alpha, bar = schedule.beta[t], schedule.alpha[t], schedule.alpha_bar[t]
        before = schedule.alpha_bar[t - 1]
        mean, variance = q_posterior(x_0, x_t, t, schedule)
        expected = before.sqrt() * beta / (1 - bar) * x_0 + alpha.sqrt() * (1 - before) / (1 - bar) * x_t
        torch.testing.assert_close(mean, expected, rtol=1e-10, atol=1e-14)
        assert variance == pytest.approx(((1 - before) / (1 - bar) * beta).item(), rel=1e-10)


@every_schedule
def test_the_step_to_0_is_certain(schedule):
    x_0, x_t = torch.tensor([0.7], dtype=f64), torch.tensor([-0.4], dtype=f64)
    mean, variance = q_posterior(x_0, x_t, 30, schedule, 0)
    assert variance == 0
    torch.testing.assert_close(mean, x_0, rtol=1e-12, atol=0)


def test_two_steps_by_hand():
    """T = 2, β = (1/10, 1/5): every number as a fraction, and roots where the formulas have them."""
    schedule = from_betas([0.1, 0.2])
    beta_1, beta_2 = Fraction(1, 10), Fraction(1, 5)
    bar_1, bar_2 = 1 - beta_1, (1 - beta_1) * (1 - beta_2)
    assert bar_2 == Fraction(18, 25)
    assert schedule.alpha_bar.tolist() == pytest.approx([1, float(bar_1), 0.72], rel=1e-15)

    # x_2 = √(18/25) x_0 + √(7/25) ε
    one, none = torch.ones(1, dtype=f64), torch.zeros(1, dtype=f64)
    assert q_sample(one, 2, none, schedule).item() == pytest.approx(math.sqrt(18) / 5, rel=1e-14)
    assert q_sample(none, 2, one, schedule).item() == pytest.approx(math.sqrt(7) / 5, rel=1e-14)

    # q(x_1 | x_2, x_0): variance (1/10)/(7/25) · 1/5 = 1/14; x_0 gets √(9/10)·(1/5)/(7/25) = (5/7)√(9/10),
    # x_2 gets √(4/5)·(1/10)/(7/25) = (5/14)√(4/5).
    variance = (1 - bar_1) / (1 - bar_2) * beta_2
    assert variance == Fraction(1, 14)
    from_x_0, got = q_posterior(one, none, 2, schedule)
    from_x_2, _ = q_posterior(none, one, 2, schedule)
    assert got == pytest.approx(float(variance), rel=1e-14)
    assert from_x_0.item() == pytest.approx(5 / 7 * math.sqrt(9 / 10), rel=1e-14)
    assert from_x_2.item() == pytest.approx(5 / 14 * math.sqrt(4 / 5), rel=1e-14)


def test_shapes_must_agree():
    a, b, schedule = torch.zeros(2, 3), torch.zeros(2, 1), linear(10)
    for call in (
        lambda: q_sample(a, 1, b, schedule),
        lambda: q_step(a, 1, b, schedule),
        lambda: q_posterior(a, b, 1, schedule),
    ):
        with pytest.raises(ValueError, match=r"one shape, got \(2, 3\) and \(2, 1\)"):
            call()


@pytest.mark.parametrize(
    ("t", "message"),
    [
        (-1, "lie in"),
        (11, "lie in"),
        (2.5, r"lie in \[0, 10\] and be whole, got 2\.5"),
        (True, "be whole, got True"),
        (torch.tensor([0, 11]), "lie in"),
        (torch.tensor([-1, 3]), "lie in"),
        (torch.tensor([1.0, 2.0]), "int64 tensor"),
        (torch.tensor([True, False]), "int64 tensor"),
        (torch.tensor([1]), r"shape \(2,\)"),
        (torch.tensor([[1], [2]]), r"shape \(2,\)"),
    ],
)
def test_bad_t(t, message):
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=message):
        q_sample(x, t, x, linear(10))


@pytest.mark.parametrize(("s", "t"), [(None, 0), (None, 11), (3, 3), (4, 3), (-1, 3)])
def test_bad_pairs(s, t):
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="need 0 ≤ s < t ≤ T = 10"):
        q_step(x, t, x, linear(10), s)
    with pytest.raises(ValueError, match="need 0 ≤ s < t ≤ T = 10"):
        q_posterior(x, x, t, linear(10), s)


@pytest.mark.parametrize(("s", "t"), [(None, 2.5), (1.0, 3), (1, torch.tensor([2, 3])), (torch.tensor(1.0), 3)])
def test_pairs_that_are_not_whole_numbers(s, t):
    x, schedule = torch.zeros(2, 3), linear(10)
    for call in (
        lambda: q_step(x, t, x, schedule, s),
        lambda: q_posterior(x, x, t, schedule, s),
        lambda: posterior_variance(1.5, t, schedule),
    ):
        with pytest.raises(ValueError, match=r"s and t must be one whole number each, got s = .* and t = "):
            call()


@pytest.mark.parametrize("number", [np.int64, torch.tensor])
def test_the_whole_numbers_of_other_libraries_are_taken(number):
    x, schedule = torch.ones(2, 3), linear(10)
    assert torch.equal(q_step(x, number(5), x, schedule, number(3)), q_step(x, 5, x, schedule, 3))
    assert torch.equal(q_sample(x, np.int64(5), x, schedule), q_sample(x, 5, x, schedule))
