import math
from functools import partial

import pytest
import torch

from ldm_edu.denoiser import mixture_denoiser
from ldm_edu.measurement import downsample, enlarge, gaussian_blur, masked, with_measurement
from ldm_edu.samplers import ddim, last, prior_sample
from ldm_edu.schedule import cosine, linear, straight, timesteps

f64 = torch.float64
SHAPE = (1, 8, 8)
MASK = torch.ones(SHAPE, dtype=f64)
MASK[:, 2:5, 2:5] = 0
MEASURES = {"mask": masked(MASK), "down": partial(downsample, factor=2), "blur": partial(gaussian_blur, width=1.0)}


def seed(number):
    return torch.Generator().manual_seed(number)


def gaussian(schedule, mean=0.2, variance=0.25):
    """The exact denoiser of pixels that are independent and Gaussian."""
    means = torch.full((1, *SHAPE), mean, dtype=f64)
    return mixture_denoiser(means, torch.full((1,), variance, dtype=f64), torch.ones(1), schedule)


def matrix(measure):
    """A linear measurement as a matrix."""
    identity = torch.eye(64, dtype=f64).view(64, *SHAPE)
    return measure(identity).flatten(1).T


def posterior(y, measure, mean, covariance, noise_level):
    """Mean and covariance of x_0 ~ N(mean, covariance), given y = A x_0 + noise, in closed form."""
    A = matrix(measure)
    gain = covariance @ A.T @ torch.linalg.inv(A @ covariance @ A.T + noise_level**2 * torch.eye(len(A), dtype=f64))
    return mean + gain @ (y.flatten() - A @ mean), covariance - gain @ A @ covariance


def test_blur_is_the_convolution_with_a_gaussian_and_keeps_what_is_constant():
    x = torch.zeros(1, 2, 15, 15, dtype=f64)
    x[0, 0, 7, 7] = 1
    blurred = gaussian_blur(x, 1.5)
    offset = torch.arange(-5, 6, dtype=f64)
    line = torch.exp(-(offset**2) / (2 * 1.5**2))
    line = line / line.sum()
    torch.testing.assert_close(blurred[0, 0, 2:13, 2:13], line[:, None] * line)
    assert blurred[0, 1].abs().max() == 0
    torch.testing.assert_close(gaussian_blur(torch.full((1, 1, 9, 9), 0.3), 0.7), torch.full((1, 1, 9, 9), 0.3))


def test_downsampling_takes_means_and_enlarging_keeps_size_and_level():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    torch.testing.assert_close(downsample(x, 2), torch.tensor([[[[2.5, 4.5], [10.5, 12.5]]]]))
    assert enlarge(x, 2).shape == (1, 1, 8, 8)
    torch.testing.assert_close(enlarge(torch.full((1, 1, 4, 4), 0.3), 4), torch.full((1, 1, 16, 16), 0.3))


def test_a_mask_keeps_what_is_seen():
    x = torch.randn(3, *SHAPE, generator=seed(0))
    seen = masked(MASK)(x)
    assert seen.dtype == x.dtype
    assert torch.equal(seen, torch.where(MASK == 1, x, 0.0))


@pytest.mark.parametrize("name", ["mask", "down"])
@pytest.mark.parametrize("t", [1, 300, 700, 990])
@pytest.mark.parametrize("make_schedule", [cosine, linear])
def test_the_moved_mean_is_the_exact_posterior_mean_where_pixels_are_independent(name, t, make_schedule):
    """E[x_0 | x_t, y] in closed form: x_0 given x_t is Gaussian, and y is one more linear observation of it."""
    schedule, measure, noise_level = make_schedule(), MEASURES[name], 0.1
    x_t = torch.randn(2, *SHAPE, dtype=f64, generator=seed(1))
    y = measure(torch.randn(2, *SHAPE, dtype=f64, generator=seed(2)))
    exact = gaussian(schedule)
    moved = with_measurement(exact, y, measure, schedule, noise_level=noise_level)(x_t, t)
    signal, noise = schedule.signal[t].item(), schedule.noise[t].item()
    covariance = 0.25 * noise**2 / (signal**2 * 0.25 + noise**2) * torch.eye(64, dtype=f64)
    for i in range(2):
        mean, _ = posterior(y[i], measure, exact(x_t, t).x0[i].flatten(), covariance, noise_level)
        torch.testing.assert_close(moved.x0[i].flatten(), mean, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(signal * moved.x0 + noise * moved.eps, x_t)


def test_the_step_is_the_gradient_of_the_fit():
    """For any denoiser and a curved measurement: x̂_0 moves by (noise²/signal) ∇ of −‖y − A(x̂_0)‖²/(2 s²)."""
    schedule, t, noise_level = cosine(), 400, 0.1
    means = torch.randn(3, *SHAPE, dtype=f64, generator=seed(3))
    exact = mixture_denoiser(means, torch.tensor([0.3, 0.5, 0.2], dtype=f64), torch.ones(3), schedule)
    x_t = torch.randn(4, *SHAPE, dtype=f64, generator=seed(4))

    def curved(x):
        return torch.tanh(gaussian_blur(x, 0.8)) * x

    y = curved(torch.randn(4, *SHAPE, dtype=f64, generator=seed(5)))
    plain, moved = exact(x_t, t), with_measurement(exact, y, curved, schedule, noise_level=noise_level)(x_t, t)
    x = x_t.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((y - curved(exact(x, t).x0)).square().sum() / 2, x)
    step = (moved.x0 - plain.x0).flatten(1)
    along = -gradient.flatten(1)
    ratio = (step * along).sum(1) / along.square().sum(1)
    torch.testing.assert_close(step, ratio[:, None] * along)
    signal, noise = schedule.signal[t].item(), schedule.noise[t].item()
    variance = noise**2 / signal / ratio  # s²
    residual = y - curved(plain.x0)
    assert (variance > noise_level**2).all()
    # s² − noise_level² is the variance of A(x̂_0) along the residual: pᵀCp / eᵀe with C p = (noise²/signal) · gradient
    guess = plain.x0.clone().requires_grad_()
    (p,) = torch.autograd.grad((curved(guess) * residual).sum(), guess)
    spread = noise**2 / signal * (p.flatten(1) * along).sum(1) / residual.flatten(1).square().sum(1)
    torch.testing.assert_close(variance, noise_level**2 + spread)


def guided_ends(name, noise_level, steps, eta, count=1500):
    """Ends of the guided sampler for one y, with the exact posterior's mean and covariance."""
    schedule, measure, g = cosine(), MEASURES[name], seed(6)
    x_0 = 0.2 + 0.5 * torch.randn(1, *SHAPE, dtype=f64, generator=g)
    y = measure(x_0)
    y = y + noise_level * torch.randn(y.shape, dtype=f64, generator=g)
    y = measure(y) if name == "mask" else y  # no noise where nothing is seen
    denoise = with_measurement(
        gaussian(schedule), y.expand(count, *y.shape[1:]), measure, schedule, noise_level=noise_level
    )
    ts = timesteps(schedule, steps)
    start = prior_sample((count, *SHAPE), ts[0], schedule, generator=g).to(f64)
    ends = last(ddim(denoise, start, ts, schedule, eta=eta, generator=g)).flatten(1)
    mean, covariance = posterior(
        y, measure, torch.full((64,), 0.2, dtype=f64), 0.25 * torch.eye(64, dtype=f64), noise_level
    )
    return ends, mean, covariance


@pytest.mark.parametrize(("name", "eta"), [("mask", 0.0), ("mask", 1.0), ("down", 1.0)])
def test_the_guided_sampler_draws_from_the_exact_posterior(name, eta):
    ends, mean, covariance = guided_ends(name, 0.1, 100, eta)
    deviation = covariance.diag().mean().sqrt()
    assert (ends.mean(0) - mean).square().mean().sqrt() < 0.06 * deviation  # chance alone: 0.026
    assert abs(ends.var(0).mean().sqrt() / deviation - 1) < 0.05  # long steps lose a little, (6.13)
    prior = (mean - 0.2).square().mean().sqrt()
    assert prior > 5 * (ends.mean(0) - mean).square().mean().sqrt()  # y said something


def test_what_the_approximation_costs_where_directions_are_seen_unequally():
    """A blur shows fine detail less: one s² for all directions is a compromise, and more steps do not mend it."""
    ends, mean, covariance = guided_ends("blur", 0.05, 200, 1.0, 500)
    deviation = covariance.diag().mean().sqrt()
    off = (ends.mean(0) - mean).square().mean().sqrt()
    assert 0.15 * deviation < off < 0.4 * deviation
    assert off < 0.9 * (mean - 0.2).square().mean().sqrt()  # still nearer than the prior's mean


def test_clipping_holds_the_moved_picture_and_keeps_the_pair_together():
    schedule = cosine()
    x_t = 2 * torch.randn(2, *SHAPE, dtype=f64, generator=seed(7))
    y = torch.full((2, *SHAPE), 3.0, dtype=f64)
    moved = with_measurement(gaussian(schedule), y, lambda x: x, schedule, noise_level=0.1, clip=1.0)(x_t, 500)
    assert moved.x0.abs().max() == 1
    torch.testing.assert_close(schedule.signal[500] * moved.x0 + schedule.noise[500] * moved.eps, x_t)


def test_it_works_without_gradients_outside_leaves_none_behind_and_answers_t_0():
    schedule = cosine()
    x_t, y = torch.randn(2, *SHAPE, generator=seed(8)), torch.zeros(2, *SHAPE)
    exact = gaussian(schedule)
    denoise = with_measurement(exact, y, lambda x: x, schedule, noise_level=0.1)
    with torch.no_grad():
        quiet = denoise(x_t, 500)
    assert not quiet.x0.requires_grad
    assert not quiet.eps.requires_grad
    assert torch.equal(denoise(x_t, 500).x0, quiet.x0)
    assert torch.equal(denoise(x_t, 0).x0, exact(x_t, 0).x0)


def test_each_picture_is_moved_by_its_own_measurement():
    schedule, measure = cosine(), MEASURES["blur"]
    x_t, x_0 = torch.randn(2, 3, *SHAPE, dtype=f64, generator=seed(9))
    y = measure(x_0)
    exact = gaussian(schedule)
    together = with_measurement(exact, y, measure, schedule, noise_level=0.1)(x_t, 400).x0
    for i in range(3):
        alone = with_measurement(exact, y[i : i + 1], measure, schedule, noise_level=0.1)(x_t[i : i + 1], 400).x0
        torch.testing.assert_close(together[i : i + 1], alone)


def test_a_picture_that_fits_exactly_is_left_alone():
    schedule = cosine()
    x_t = torch.randn(2, *SHAPE, dtype=f64, generator=seed(10))
    exact = gaussian(schedule)
    plain = exact(x_t, 300)
    moved = with_measurement(exact, plain.x0, lambda x: x, schedule, noise_level=0.1)(x_t, 300)
    assert torch.equal(moved.x0, plain.x0)


def test_bad_input_is_refused_with_a_reason():
    schedule = cosine()
    exact, y = gaussian(schedule), torch.zeros(1, *SHAPE)
    for level in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match="noise_level must be positive"):
            with_measurement(exact, y, lambda x: x, schedule, noise_level=level)
    with pytest.raises(ValueError, match="clip must be positive"):
        with_measurement(exact, y, lambda x: x, schedule, noise_level=0.1, clip=0.0)
    denoise = with_measurement(exact, y, MEASURES["down"], schedule, noise_level=0.1)
    with pytest.raises(ValueError, match="one shape"):
        denoise(torch.zeros(1, *SHAPE), 500)
    path = straight(10)
    with pytest.raises(ValueError, match=r"signal\[10\] is 0 to torch\.float32: .*; start at a smaller t"):
        with_measurement(gaussian(path), y, lambda x: x, path, noise_level=0.1)(y, 10)
    with pytest.raises(ValueError, match="width must be a positive"):
        gaussian_blur(y, 0.0)
    with pytest.raises(ValueError, match="too far"):
        gaussian_blur(y, 3.0)
    with pytest.raises(ValueError, match="multiples of factor 3"):
        downsample(y, 3)
    with pytest.raises(ValueError, match="threshold it first"):
        masked(torch.tensor([0.5]))
