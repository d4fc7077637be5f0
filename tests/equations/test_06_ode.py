"""Notebook 06, (6.14) to (6.23): the ODE behind η = 0, orders, encoding, the shell of noise, parallel steps."""

import math
from itertools import pairwise

import pytest
import torch

from ldm_edu.denoiser import mixture_denoiser
from ldm_edu.samplers import ddim, dpmpp_2m, heun, last
from ldm_edu.schedule import from_betas, linear

f64 = torch.float64
each_seed = pytest.mark.parametrize("seed", [0, 1, 2])
T = 9
PAIRS = [(9, 8), (9, 4), (5, 4), (4, 1), (3, 0)]


def setting(seed):
    """A random schedule, the exact denoiser of a random mixture in the plane, and a generator for the rest."""
    g = torch.Generator().manual_seed(seed)
    schedule = from_betas(0.05 + 0.4 * torch.rand(T, dtype=f64, generator=g))
    means = torch.randn(3, 2, dtype=f64, generator=g)
    variances, weights = 0.1 + torch.rand(2, 3, dtype=f64, generator=g)
    return schedule, mixture_denoiser(means, variances, weights, schedule), g


def step_down(denoise, x, t, s, schedule):
    return last(ddim(denoise, x, [t, s], schedule))


@each_seed
@pytest.mark.equation("6.14")
def test_a_step_without_noise_is_eulers(seed):
    schedule, denoise, g = setting(seed)
    x = torch.randn(4, 2, dtype=f64, generator=g)
    for t, s in PAIRS:
        euler = x / schedule.signal[t] + (schedule.sigma[s] - schedule.sigma[t]) * denoise(x, t).eps
        torch.testing.assert_close(step_down(denoise, x, t, s, schedule) / schedule.signal[s], euler)


@pytest.mark.equation("6.15")
def test_the_steps_slope_tends_to_eps_hat():
    """(x̄_s − x̄_t)/(σ_s − σ_t) of the solution, over ever shorter steps, against ε̂; the solution by fine steps."""
    fine = linear(4096, 0.1 / 4096, 20 / 4096)
    means = torch.tensor([[-1.0], [0.7]], dtype=f64)
    denoise = mixture_denoiser(means, torch.tensor([0.09, 0.16], dtype=f64), torch.tensor([0.4, 0.6]).double(), fine)
    x, t = torch.linspace(-2, 2, 9, dtype=f64)[:, None], 2048
    slope = denoise(x, t).eps
    gaps = []
    for width in (256, 128, 64):
        s = t - width
        end = last(heun(denoise, x, range(t, s - 1, -1), fine))
        rise = (end / fine.signal[s] - x / fine.signal[t]) / (fine.sigma[s] - fine.sigma[t])
        gaps.append((rise - slope).abs().max().item())
    assert gaps[0] > 1e-3
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.3)
    assert gaps[1] / gaps[2] == pytest.approx(2, abs=0.3)


@each_seed
@pytest.mark.equation("6.16")
def test_the_flow_of_a_gaussian(seed):
    """Its derivative in σ, by autograd, is the exact denoiser's ε̂."""
    schedule, _, g = setting(seed)
    mu, bar_T = torch.randn(2, dtype=f64, generator=g)
    v = 0.1 + torch.rand((), dtype=f64, generator=g)
    one = torch.ones(1, dtype=f64)
    denoise = mixture_denoiser(mu * one[:, None], v * one, one, schedule)
    for s in range(1, T + 1):
        sigma = schedule.sigma[s].clone().requires_grad_()
        bar_x = mu + (bar_T - mu) * ((v + sigma**2) / (v + schedule.sigma[T] ** 2)).sqrt()
        (slope,) = torch.autograd.grad(bar_x, sigma)
        x = (schedule.signal[s] * bar_x.detach()).view(1, 1)
        torch.testing.assert_close(slope, denoise(x, s).eps[0, 0])


@pytest.mark.equation("6.17")
@pytest.mark.parametrize(("solver", "order"), [(ddim, 1), (heun, 2), (dpmpp_2m, 2)])
def test_orders_on_a_gaussian(solver, order):
    """The error against the exact flow (6.16) falls by 2^p where the step is halved."""
    fine = linear(8192, 0.1 / 8192, 20 / 8192)
    one = torch.ones(1, dtype=f64)
    v, mu, top, end = 0.25, 0.3, 6144, 1024
    denoise = mixture_denoiser(mu * one[:, None], v * one, one, fine)
    x = torch.linspace(-2, 2, 9, dtype=f64)[:, None]
    shrink = ((v + fine.sigma[end] ** 2) / (v + fine.sigma[top] ** 2)).sqrt()
    exact = fine.signal[end] * (mu + shrink * (x / fine.signal[top] - mu))
    errors = []
    for steps in (128, 256):
        ts = range(top, end - 1, -(top - end) // steps)
        errors.append((last(solver(denoise, x, ts, fine)) - exact).abs().max().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


@each_seed
@pytest.mark.equation("6.18", "6.19")
def test_up_and_down_again_leaves_the_difference_of_two_slopes(seed):
    schedule, denoise, g = setting(seed)
    x_s = torch.randn(4, 2, dtype=f64, generator=g)
    for t, s in PAIRS[:-1]:
        rise = schedule.sigma[t] - schedule.sigma[s]
        eps_s = denoise(x_s, s).eps
        x_t = schedule.signal[t] * (x_s / schedule.signal[s] + rise * eps_s)  # (6.18)
        # x_t is what the straight line through x_s with the slope at s reaches: the same x̂_0, noised to t.
        torch.testing.assert_close(x_t, schedule.signal[t] * denoise(x_s, s).x0 + schedule.noise[t] * eps_s)
        left = (step_down(denoise, x_t, t, s, schedule) - x_s) / schedule.signal[s]
        torch.testing.assert_close(left, rise * (eps_s - denoise(x_t, t).eps))
        assert left.abs().max() > 1e-6


@each_seed
@pytest.mark.equation("6.20")
def test_the_length_of_noise(seed):
    """Moments of z² by quadrature give d and 2d; a draw agrees."""
    line = torch.linspace(-12, 12, 4001, dtype=f64)
    weight = torch.exp(-(line**2) / 2) / math.sqrt(2 * math.pi) * (line[1] - line[0])
    second, fourth = (weight * line**2).sum().item(), (weight * line**4).sum().item()
    g = torch.Generator().manual_seed(seed)
    d, n = 50 + 10 * seed, 20000
    squared = torch.randn(n, d, dtype=f64, generator=g).square().sum(1)
    mean, variance = d * second, d * (fourth - second**2)
    assert mean == pytest.approx(d)
    assert variance == pytest.approx(2 * d)
    assert abs(squared.mean() - mean) < 4 * math.sqrt(2 * d / n)
    assert abs(squared.var() / variance - 1) < 4 * math.sqrt((2 + 12 / d) / n)  # the kurtosis of χ² is 3 + 12/d


@each_seed
@pytest.mark.equation("6.21")
def test_the_straight_line_leaves_the_shell(seed):
    g = torch.Generator().manual_seed(seed)
    d, n = 64, 20000
    z_1, z_2 = torch.randn(2, n, d, dtype=f64, generator=g)
    for u in (0.0, 0.2, 0.5, 0.9):
        squared = ((1 - u) * z_1 + u * z_2).square().sum(1)
        expected = ((1 - u) ** 2 + u**2) * d
        assert abs(squared.mean() - expected) < 4 * squared.std() / math.sqrt(n)
    assert expected > d / 2
    assert ((1 - 0.5) ** 2 + 0.5**2) * d == d / 2


@each_seed
@pytest.mark.equation("6.22")
def test_slerp_stays_on_the_shell_and_turns_evenly(seed):
    g = torch.Generator().manual_seed(seed)
    z_1, z_2 = torch.randn(2, 7, dtype=f64, generator=g)
    z_2 = z_2 * z_1.norm() / z_2.norm()  # equal lengths
    theta = (z_1 @ z_2 / (z_1.norm() * z_2.norm())).arccos()
    for u in torch.rand(5, dtype=f64, generator=g):
        mixed = ((1 - u) * theta).sin() / theta.sin() * z_1 + (u * theta).sin() / theta.sin() * z_2
        torch.testing.assert_close(mixed.norm(), z_1.norm())
        angle = (mixed @ z_1 / (mixed.norm() * z_1.norm())).arccos()
        torch.testing.assert_close(angle, u * theta)


@each_seed
@pytest.mark.equation("6.23")
def test_steps_with_one_slope_are_one_step(seed):
    schedule, denoise, g = setting(seed)
    x_T = torch.randn(4, 2, dtype=f64, generator=g)
    slope = denoise(x_T, T).eps
    bar_x = x_T / schedule.signal[T]
    for t, s in pairwise([T, 6, 5, 2, 0]):
        bar_x = bar_x + (schedule.sigma[s] - schedule.sigma[t]) * slope
    torch.testing.assert_close(bar_x, x_T / schedule.signal[T] - schedule.sigma[T] * slope)
    torch.testing.assert_close(bar_x, denoise(x_T, T).x0)
    torch.testing.assert_close(bar_x, step_down(denoise, x_T, T, 0, schedule))
