"""Figures of sampling: the paths from noise to data in the plane. Used in notebook 06."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ldm_edu.denoiser import Denoise
from ldm_edu.samplers import ddim
from ldm_edu.schedule import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@torch.no_grad()
def trajectories(
    denoise: Denoise,
    x: Tensor,
    ts: Sequence[int],
    schedule: Schedule,
    data: Tensor,
    ax: Axes,
    *,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw the paths that `ddim` takes from starts x (B, 2) at time ts[0], over grey data points (N, 2).

    Returns:
        the paths, (len(ts), B, 2): x at each of the times.
    Raises:
        ValueError: x or data are not points of the plane; else as `ddim`.
    """
    for name, points in (("x", x), ("data", data)):
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"{name} must be points of the plane, shape (N, 2), got {tuple(points.shape)}")
    path = torch.stack([x, *ddim(denoise, x, ts, schedule, eta=eta, generator=generator)]).cpu()
    ax.plot(*data.cpu().T, ".", color="0.8", markersize=2.5)
    for line in path.unbind(1):
        ax.plot(*line.T, color="#0072B2", linestyle="-", linewidth=0.9, marker=".", markersize=2.5)
    ax.plot(*path[0].T, "o", color="#0072B2", markersize=5, markerfacecolor="white")
    ax.plot(*path[-1].T, "x", color="#D55E00", markersize=6, markeredgewidth=1.6, zorder=3)
    ax.set(xlim=(-3.6, 3.6), ylim=(-3.6, 3.6), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    ax.set(xlabel="coordinate 1", ylabel="coordinate 2", title=f"{len(ts) - 1} steps, η = {eta:g}")
    ax.spines[:].set_visible(True)
    return path
