"""The notebooks' figures: they show the numbers they are given."""

import pytest
import torch
from matplotlib import pyplot as plt

from ldm_edu.forward import q_posterior, q_sample
from ldm_edu.plot import course_style, film, noise_level, posterior
from ldm_edu.schedule import from_betas, linear


@pytest.fixture(autouse=True)
def _no_display():
    backend, settings = plt.get_backend(), plt.rcParams.copy()
    plt.switch_backend("agg")
    yield
    plt.close("all")
    plt.rcParams.update(settings)
    plt.switch_backend(backend)


def test_lines_differ_in_grey_too():
    course_style()
    _, ax = plt.subplots()
    lines = [ax.plot([0, 1])[0] for _ in range(4)]
    assert len({str(line.get_linestyle()) for line in lines}) == 4
    assert len({line.get_color() for line in lines}) == 4


def test_a_film_shows_every_picture_under_its_heading():
    rows = {"a": torch.rand(3, 1, 4, 4), "b": torch.rand(3, 1, 4, 4)}
    film(rows, ["x", "y", "z"])
    axes = plt.gcf().axes
    assert [ax.get_title() for ax in axes[:3]] == ["x", "y", "z"]
    assert [axes[0].get_ylabel(), axes[3].get_ylabel()] == ["a", "b"]
    for ax, picture in zip(axes, torch.cat(list(rows.values())), strict=True):
        assert torch.equal(torch.from_numpy(ax.images[0].get_array().data), picture[0])
    plt.gcf().canvas.draw()


def test_a_film_needs_a_heading_for_each_picture():
    with pytest.raises(ValueError, match="row 'a' has 2 pictures for 3 headings"):
        film({"a": torch.rand(2, 1, 4, 4)}, ["x", "y", "z"])


@pytest.mark.parametrize("t", [0, 40, 100])
def test_the_noise_level_is_marked_on_the_curve(t):
    path, x_0, eps = linear(100), torch.rand(1, 1, 4, 4), torch.randn(1, 1, 4, 4)
    noise_level(x_0, eps, t, path, "linear")
    left, right = plt.gcf().axes
    shown = torch.from_numpy(left.images[0].get_array().data)
    torch.testing.assert_close(shown, q_sample(x_0, t, eps, path)[0, 0])
    dots = [line for line in right.lines if line.get_marker() == "o"]
    assert len(dots) == (t > 0)
    for dot in dots:
        assert dot.get_xdata()[0] == t
        assert dot.get_ydata()[0] == pytest.approx(path.snr[t].log10().item())
    plt.gcf().canvas.draw()


def test_the_posterior_curve_peaks_at_its_mean_and_has_area_one():
    path = from_betas([0.1, 0.2])
    posterior(1.0, 0.5, path)
    mean, _ = q_posterior(torch.tensor([1.0]), torch.tensor([0.5]), 2, path)
    curves = plt.gcf().axes[0].lines[:3]
    x, y = (torch.as_tensor(v) for v in curves[2].get_data())
    assert x[y.argmax()] == pytest.approx(mean.item(), abs=0.01)
    for curve in curves:
        x, y = (torch.as_tensor(v) for v in curve.get_data())
        assert torch.trapezoid(y, x) == pytest.approx(1, abs=1e-3)
    product = torch.as_tensor(curves[0].get_ydata()) * torch.as_tensor(curves[1].get_ydata())
    ratio = (product / torch.as_tensor(curves[2].get_ydata()))[200:401]  # Bayes: constant in x_1
    torch.testing.assert_close(ratio, ratio[0].expand(201), rtol=1e-3, atol=0)
    plt.gcf().canvas.draw()
