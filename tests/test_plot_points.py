"""Figures of 2-D points: what is drawn is what was computed."""

import pytest
import torch
from matplotlib import pyplot as plt

from ldm_edu.data.toy import sample_mixture, three_gaussians_mixture
from ldm_edu.denoiser import make_denoiser, mixture_denoiser
from ldm_edu.forward import q_sample
from ldm_edu.plot import best_guess, point_clouds
from ldm_edu.schedule import linear

pytestmark = pytest.mark.usefixtures("no_display")


def drawn(line):
    return torch.tensor(line.get_xydata())


def test_best_guess_draws_the_noisy_points_and_the_denoisers_answer():
    g, schedule, mixture = torch.Generator().manual_seed(0), linear(), three_gaussians_mixture()
    exact = mixture_denoiser(*mixture, schedule)
    x_0, eps, t = sample_mixture(mixture, 100, g), torch.randn(100, 2, generator=g), 300
    _, axes = plt.subplots(1, 2)
    best_guess(exact, x_0, eps, t, schedule, axes)
    x_t = q_sample(x_0, t, eps, schedule)
    clouds = [drawn(line) for ax in axes for line in ax.lines]
    expected = [x_t, x_0, x_t[:60], exact(x_t[:60], t).x0]
    for points, wanted in zip(clouds, expected, strict=True):
        torch.testing.assert_close(points, wanted.double())
    with torch.no_grad():
        net = torch.nn.Linear(2, 2)
    best_guess(make_denoiser(lambda x, t, c: net(x), schedule), x_0, eps, t, schedule, axes)  # needs no gradients
    arrows = axes[0].collections[0]  # the score is −ε̂ up to a positive factor
    spots = torch.tensor(arrows.get_offsets()).float()
    uphill = -exact(spots, t).eps
    length = torch.tensor(arrows.U**2 + arrows.V**2).sqrt()
    along = torch.tensor(arrows.U) * uphill[:, 0] + torch.tensor(arrows.V) * uphill[:, 1]
    torch.testing.assert_close(along, length * uphill.norm(dim=1), rtol=1e-4, atol=1e-4)
    assert (length < 1).all()


def test_point_clouds_says_when_all_points_fall_together():
    g = torch.Generator().manual_seed(0)
    clouds = {"spread": torch.randn(50, 2, generator=g), "collapsed": torch.ones(50, 2), "again": torch.randn(9, 2)}
    point_clouds(clouds, torch.zeros(3, 2), columns=2)
    axes = plt.gcf().axes
    assert [ax.get_title(loc="left") or ax.get_title() for ax in axes] == [
        "spread",
        "collapsed\n(all 50 in one place)",
        "again",
        "",
    ]
    assert not axes[3].axison
    torch.testing.assert_close(drawn(axes[0].lines[1]), clouds["spread"].double())
    assert axes[1].lines[1].get_markersize() > axes[0].lines[1].get_markersize()
