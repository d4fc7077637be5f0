"""The figure of paths in the plane: it draws the sampler's own x at every step."""

import pytest
import torch
from matplotlib import pyplot as plt

from ldm_edu.data.toy import sample_mixture, three_gaussians_mixture
from ldm_edu.denoiser import mixture_denoiser
from ldm_edu.plot_sampling import trajectories
from ldm_edu.samplers import ddim
from ldm_edu.schedule import linear, timesteps

SCHEDULE = linear(100, 1e-3, 0.2)
MIXTURE = three_gaussians_mixture()


@pytest.fixture
def ax():
    backend = plt.get_backend()
    plt.switch_backend("agg")
    yield plt.subplots()[1]
    plt.close("all")
    plt.switch_backend(backend)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_lines_are_the_samplers_path(ax, eta):
    denoise, ts = mixture_denoiser(*MIXTURE, SCHEDULE), timesteps(SCHEDULE, 5)
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    data = sample_mixture(MIXTURE, 20, torch.Generator().manual_seed(1))

    def fresh():
        return torch.Generator().manual_seed(2)

    path = trajectories(denoise, x, ts, SCHEDULE, data, ax, eta=eta, generator=fresh())
    assert path.shape == (6, 3, 2)
    assert torch.equal(path[0], x)
    assert torch.equal(path[1:], torch.stack(list(ddim(denoise, x, ts, SCHEDULE, eta=eta, generator=fresh()))))
    points, *lines, starts, ends = [torch.tensor(line.get_xydata(), dtype=torch.float32) for line in ax.lines]
    assert torch.equal(points, data)
    assert torch.equal(torch.stack(lines, 1), path)
    assert torch.equal(starts, path[0])
    assert torch.equal(ends, path[-1])
    assert ax.get_title(loc="left") + ax.get_title() == f"5 steps, η = {eta:g}"
    ax.figure.canvas.draw()


@pytest.mark.parametrize(("x", "data"), [((3, 3), (4, 2)), ((3, 2), (4,))])
def test_points_of_the_plane_are_needed(ax, x, data):
    denoise = mixture_denoiser(*MIXTURE, SCHEDULE)
    with pytest.raises(ValueError, match="must be points of the plane"):
        trajectories(denoise, torch.zeros(x), [100, 0], SCHEDULE, torch.zeros(data), ax)
