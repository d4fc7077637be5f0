"""Two-dimensional point sets, seen whole in one scatter plot. Used from notebook 01 on.

The mixtures come with their means, variances and weights, so `mixture_denoiser` is exact for them. Every set is
centred and has a variance near 1 in each coordinate, as the schedules expect.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ldm_edu.kinds import check_whole


class Mixture(NamedTuple):
    """x_0 ~ Σ_k weights_k N(means_k, variances_k I): means (K, 2), variances (K,), weights (K,) with sum 1."""

    means: Tensor
    variances: Tensor
    weights: Tensor


def eight_gaussians_mixture() -> Mixture:
    """Eight equal Gaussians of deviation 0.1 on a circle, of variance exactly 1 in each coordinate."""
    variance = 0.1**2
    angle = torch.arange(8) * (math.pi / 4)
    radius = math.sqrt(2 * (1 - variance))
    means = radius * torch.stack([angle.cos(), angle.sin()], 1)
    return Mixture(means, torch.full((8,), variance), torch.full((8,), 1 / 8))


def three_gaussians_mixture() -> Mixture:
    """Three Gaussians of unequal weight (0.5, 0.3, 0.2) and width (0.1, 0.2, 0.3), centred."""
    weights = torch.tensor([0.5, 0.3, 0.2])
    means = torch.tensor([[-1.0, 0.4], [1.2, 0.6], [0.7, -1.9]])  # their weighted mean is 0
    return Mixture(means, torch.tensor([0.1, 0.2, 0.3]) ** 2, weights)


def sample_mixture(mixture: Mixture, n: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw (n, 2) float32 points, n ≥ 1, from a mixture."""
    check_whole(1, n=n)
    which = torch.multinomial(mixture.weights, n, replacement=True, generator=generator)
    spread = mixture.variances.sqrt()[which, None]
    return mixture.means[which] + spread * torch.randn(n, 2, generator=generator)


def eight_gaussians(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw (n, 2) float32 points, n ≥ 1, from `eight_gaussians_mixture`."""
    return sample_mixture(eight_gaussians_mixture(), n, generator)


def three_gaussians(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw (n, 2) float32 points, n ≥ 1, from `three_gaussians_mixture`."""
    return sample_mixture(three_gaussians_mixture(), n, generator)


def moons(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw (n, 2) float32 points, n ≥ 1, from two interlocking half circles with a little noise."""
    check_whole(1, n=n)
    angle = math.pi * torch.rand(n, generator=generator)
    upper = torch.rand(n, generator=generator) < 0.5
    x = torch.where(upper, angle.cos(), 1 - angle.cos())
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    points = torch.stack([x, y], 1) + 0.05 * torch.randn(n, 2, generator=generator)
    # Mean and variance of the noise-free arcs: (1/2, 1/4) and (3/4, 9/16 − 1/π).
    variance = torch.tensor([0.75, 0.5625 - 1 / math.pi])
    return (points - torch.tensor([0.5, 0.25])) / variance.sqrt()


def spiral(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw (n, 2) float32 points, n ≥ 1, from two spiral arms of one and a half turns each."""
    check_whole(1, n=n)
    angle = 3 * math.pi * torch.rand(n, generator=generator).sqrt()  # the root spreads them evenly by area
    arm = torch.where(torch.rand(n, generator=generator) < 0.5, 1.0, -1.0)
    points = (arm * angle)[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    # The mean square radius is (3π)²/2, half of it for each coordinate.
    return points / (1.5 * math.pi) + 0.03 * torch.randn(n, 2, generator=generator)


def checkerboard(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw (n, 2) float32 points, n ≥ 1, uniform on the 8 dark squares of a 4×4 board of side 2√3."""
    check_whole(1, n=n)
    column = torch.randint(4, (n,), generator=generator)
    row = 2 * torch.randint(2, (n,), generator=generator) + column % 2
    corner = torch.stack([column, row], 1)
    return (corner + torch.rand(n, 2, generator=generator) - 2) * (math.sqrt(3) / 2)
