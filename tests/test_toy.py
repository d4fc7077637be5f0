"""Two-dimensional sets: shape, scale, where the points lie, and the mixtures that are known exactly."""

import math

import pytest
import torch

from ldm_edu.data import toy
from ldm_edu.denoiser import mixture_denoiser
from ldm_edu.forward import q_sample
from ldm_edu.schedule import linear

SETS = [toy.moons, toy.spiral, toy.checkerboard, toy.eight_gaussians, toy.three_gaussians]
N = 20000


@pytest.mark.parametrize("draw", SETS)
def test_points_are_centred_and_near_unit_variance(draw):
    x = draw(N, torch.Generator().manual_seed(0))
    assert x.shape == (N, 2)
    assert x.dtype == torch.float32
    assert (x.mean(0).abs() < 5 * x.std(0) / math.sqrt(N)).all()
    assert ((x.var(0) > 0.9) & (x.var(0) < 1.25)).all()


@pytest.mark.parametrize("draw", SETS)
def test_the_generator_decides_the_points(draw):
    first, again, other = (draw(50, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("draw", SETS)
def test_no_points_is_an_error(draw):
    with pytest.raises(ValueError, match="n must be a whole number, 1 or more, got 0"):
        draw(0)


def test_checkerboard_fills_the_dark_squares_evenly():
    x = toy.checkerboard(N, torch.Generator().manual_seed(0))
    cell = (x / (math.sqrt(3) / 2) + 2).floor().long().clamp(0, 3)
    count = torch.zeros(4, 4).index_put_((cell[:, 0], cell[:, 1]), torch.ones(N), accumulate=True)
    dark = (torch.arange(4)[:, None] + torch.arange(4)) % 2 == 0
    assert count[~dark].sum() == 0
    assert (count[dark] - N / 8).abs().max() < 5 * math.sqrt(N * (1 / 8) * (7 / 8))


def test_moons_lie_on_two_half_circles():
    x = toy.moons(N, torch.Generator().manual_seed(0)).double()
    raw = x * torch.tensor([0.75, 0.5625 - 1 / math.pi]).sqrt() + torch.tensor([0.5, 0.25])
    to_upper = (raw.norm(dim=1) - 1).abs()
    to_lower = ((raw - torch.tensor([1.0, 0.5])).norm(dim=1) - 1).abs()
    assert torch.minimum(to_upper, to_lower).max() < 5 * 0.05
    assert 0.45 < (to_upper < to_lower).double().mean() < 0.55


def test_spiral_radius_is_its_angle():
    x = toy.spiral(N, torch.Generator().manual_seed(0)) * 1.5 * math.pi
    radius, angle = x.norm(dim=1), torch.atan2(x[:, 1], x[:, 0])
    off = torch.remainder(radius - angle, math.pi)  # the second arm is turned by π
    off = torch.minimum(off, math.pi - off)
    # The noise has deviation 0.03 · 1.5π = 0.14 along the radius, and 0.14 / radius in the angle.
    assert off[radius > 2].max() < 6 * 0.03 * 1.5 * math.pi * math.sqrt(1 + 1 / 4)


@pytest.mark.parametrize("mixture", [toy.eight_gaussians_mixture(), toy.three_gaussians_mixture()])
def test_samples_have_the_mixtures_moments(mixture):
    assert mixture.weights.sum() == pytest.approx(1)
    torch.testing.assert_close(mixture.weights @ mixture.means, torch.zeros(2), atol=1e-6, rtol=0)
    x = toy.sample_mixture(mixture, N, torch.Generator().manual_seed(0))
    second = torch.einsum("k,ki,kj->ij", mixture.weights, mixture.means, mixture.means)
    second += (mixture.weights * mixture.variances).sum() * torch.eye(2)
    products = x[:, :, None] * x[:, None]
    assert ((products.mean(0) - second).abs() < 5 * products.std(0) / math.sqrt(N)).all()
    nearest = (x[:, None] - mixture.means).norm(dim=2).argmin(1)
    share = torch.bincount(nearest, minlength=len(mixture.means)) / N
    assert (share - mixture.weights).abs().max() < 5 * 0.5 / math.sqrt(N)


def test_the_mixture_goes_straight_into_the_exact_denoiser():
    """The conditional mean leaves an error that is uncorrelated with what it is a function of."""
    schedule, t = linear(100), 50
    g = torch.Generator().manual_seed(0)
    x_0 = toy.three_gaussians(N, g)
    x_t = q_sample(x_0, t, torch.randn(N, 2, generator=g), schedule)
    left = x_0 - mixture_denoiser(*toy.three_gaussians_mixture(), schedule)(x_t, t).x0
    for product in (left, left * x_t, left * x_t.tanh()):
        assert (product.mean(0).abs() < 5 * product.std(0) / math.sqrt(N)).all()
