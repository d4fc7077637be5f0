"""Figures: grids of pictures, and a run's picture of real, reconstructed and drawn side by side."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm_edu.checkpoint import write_atomic
from ldm_edu.data.pictures import to_bytes
from ldm_edu.denoiser import Denoise
from ldm_edu.forward import q_posterior, q_sample
from ldm_edu.schedule import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def grid(pictures: Tensor, columns: int = 8, scale: int = 1, padding: int = 2) -> Tensor:
    """Lay pictures (N, C, H, W) in [-1, 1] out in rows: (3, H', W') uint8, each pixel `scale` wide, on white."""
    # Not torchvision's make_grid: importing torchvision costs as much as drawing four pictures.
    sheet = to_bytes(pictures.cpu()).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    sheet = sheet.expand(-1, 3, -1, -1)
    if len(sheet) == 1:
        return sheet[0]
    columns = min(columns, len(sheet))
    rows = math.ceil(len(sheet) / columns)
    cells = F.pad(sheet, (padding, 0, padding, 0, 0, 0, 0, rows * columns - len(sheet)), value=255)
    lines = cells.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)
    return F.pad(lines, (0, padding, 0, padding), value=255)


def save_png(pixels: Tensor, path: str | Path) -> None:
    """Write (C, H, W) uint8 as a PNG file, whole or not at all."""
    from PIL import Image

    buffer = io.BytesIO()
    array = pixels.cpu().permute(1, 2, 0).numpy()
    Image.fromarray(array[:, :, 0] if len(pixels) == 1 else array).save(buffer, format="png")
    write_atomic(path, buffer.getvalue())


def save_rows(rows: dict[str, Tensor], path: str | Path, columns: int = 20, title: str = "") -> None:
    """Write a figure of named rows of pictures, one name above each block.

    Args:
        rows: name -> (N, C, H, W) in [-1, 1].
        columns: pictures a line.
    """
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    sheets = {name: grid(pictures, columns) for name, pictures in rows.items()}
    widest = max(s.shape[2] for s in sheets.values())
    sheets = {name: F.pad(s, (0, widest - s.shape[2]), value=255) for name, s in sheets.items()}  # cells of one size
    width = 10.0
    heights = [width * s.shape[1] / s.shape[2] for s in sheets.values()]
    figure = Figure(figsize=(width, sum(heights) + 0.32 * len(heights) + (0.4 if title else 0)), layout="constrained")
    axes = figure.subplots(len(sheets), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (name, sheet) in zip(axes, sheets.items(), strict=True):
        ax.imshow(sheet.permute(1, 2, 0).numpy(), interpolation="nearest")
        ax.set_title(name, loc="left", fontsize=11)
        ax.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=13)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_atomic(path, buffer.getvalue())


# Figures of the notebooks: drawn with pyplot, so that a notebook shows them.


def course_style() -> None:
    """Set matplotlib's defaults for the notebooks: colours for the colour-blind, line styles that differ in grey."""
    from matplotlib import pyplot as plt

    colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00"]  # Okabe and Ito 2008
    styles = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1))]
    plt.rcParams.update(
        {
            "axes.prop_cycle": plt.cycler(color=colours, linestyle=styles),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 11,
            "figure.constrained_layout.use": True,
            "figure.dpi": 90,
            "font.size": 10,
            "legend.frameon": False,
            "lines.linewidth": 2,
        }
    )


def film(rows: dict[str, Tensor], columns: list[str], width: float = 9.5) -> None:
    """Draw rows of grey pictures: each row a process, each column a time.

    Args:
        rows: name -> (N, 1, H, W) in [-1, 1]; what lies outside is shown black or white.
        columns: N headings.
    Raises:
        ValueError: a row that has not one picture for each heading.
    """
    from matplotlib import pyplot as plt

    for name, pictures in rows.items():
        if len(pictures) != len(columns):
            raise ValueError(f"row {name!r} has {len(pictures)} pictures for {len(columns)} headings")
    height = (width - (0.9 if any(rows) else 0)) / len(columns) * len(rows) + 0.3
    _, axes = plt.subplots(len(rows), len(columns), figsize=(width, height), squeeze=False)
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        for ax, picture in zip(line, pictures, strict=True):
            ax.imshow(picture[0].cpu().numpy(), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(True)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, heading in zip(axes[0], columns, strict=True):
        ax.set_title(heading, loc="center", fontsize=10)


def noise_level(x_0: Tensor, eps: Tensor, t: int, schedule: Schedule, name: str) -> None:
    """Draw a picture (1, 1, H, W) at step t beside the schedule's signal-to-noise ratio, with t marked on it."""
    from matplotlib import pyplot as plt

    x_t = q_sample(x_0, t, eps, schedule)
    _, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.2), width_ratios=[1, 1.8])
    left.imshow(x_t[0, 0].cpu().numpy(), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    left.set(xticks=[], yticks=[], title=f"$x_t$ at t = {t}")
    snr = schedule.snr[1:].log10()
    right.plot(range(1, schedule.T + 1), snr, label=name)
    right.axhline(0, color="0.6", linewidth=1, linestyle=":")
    right.annotate(
        "as much signal as noise", (schedule.T, 0), (0, 3), textcoords="offset points", ha="right", color="0.4"
    )
    if t > 0:
        right.plot(t, snr[t - 1], "o", color="black", markersize=8)
    ratio = f"{schedule.snr[t].item():.3g}" if t > 0 else "infinite"
    formula = f"$x_t$ = {schedule.signal[t]:.3f} $x_0$ + {schedule.noise[t]:.3f} ε"
    right.set(xlabel="t", ylabel="log10 SNR", title=f"{name}, SNR {ratio}: {formula}")


def posterior(x_0: float, x_2: float, schedule: Schedule) -> None:
    """Draw q(x_1 | x_0), the likelihood of x_2 as a function of x_1, and the posterior q(x_1 | x_2, x_0)."""
    from matplotlib import pyplot as plt

    mean, variance = q_posterior(torch.tensor([x_0]), torch.tensor([x_2]), 2, schedule)
    alpha, beta = schedule.alpha.tolist(), schedule.beta.tolist()
    x_1 = torch.linspace(-3, 3, 601)

    def normal(m: float, v: float) -> Tensor:
        return torch.exp(-((x_1 - m) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)

    _, ax = plt.subplots(figsize=(9.5, 3.2))
    ax.plot(
        x_1,
        normal(alpha[1] ** 0.5 * x_0, beta[1]),
        linestyle="-.",
        label="$q(x_1|x_0)$: where $x_1$ may be, from $x_0$",
    )
    ax.plot(
        x_1,
        normal(x_2 / alpha[2] ** 0.5, beta[2] / alpha[2]),
        label="$q(x_2|x_1)$: which $x_1$ explain $x_2$ (area set to 1)",
    )
    ax.plot(x_1, normal(mean.item(), variance), color="black", linestyle="-", label="$q(x_1|x_2, x_0)$: both together")
    ax.axvline(mean.item(), color="0.6", linewidth=1, linestyle=":")
    ax.set(xlabel="$x_1$", ylabel="density", ylim=(0, None))
    ax.set_title(f"$x_0$ = {x_0:.2f}, $x_2$ = {x_2:.2f}: posterior mean {mean.item():.3f}, variance {variance:.4f}")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))


@torch.no_grad()
def best_guess(denoise: Denoise, x_0: Tensor, eps: Tensor, t: int, schedule: Schedule, axes: Sequence[Axes]) -> None:
    """Draw noisy 2-D points with their score, and the first sixty beside where x̂_0 takes them, on two axes.

    Args:
        denoise: an exact denoiser, or a trained one.
        x_0, eps: (N, 2).
        axes: two of matplotlib's.
    """
    x_t = q_sample(x_0, t, eps, schedule)
    guess = denoise(x_t[:60], t).x0.cpu()
    side = torch.linspace(-3, 3, 11)
    spots = torch.cartesian_prod(side, side)
    uphill = -denoise(spots.to(x_t), t).eps.cpu()  # the score, up to a positive factor
    x_t = x_t.cpu()
    arrows = uphill / (1 + uphill.norm(dim=1, keepdim=True))
    axes[0].plot(*x_t.T, ".", color="0.75", markersize=2.5)
    axes[0].quiver(*spots.T, *arrows.T, color="#0072B2", width=0.006, angles="xy", scale=15)
    axes[0].set_title(f"t = {t}: score of the noisy data")
    axes[1].plot(*x_0.cpu().T, ".", color="0.8", markersize=2.5)
    axes[1].quiver(
        *x_t[:60].T, *(guess - x_t[:60]).T, color="0.45", width=0.004, angles="xy", scale_units="xy", scale=1
    )
    axes[1].plot(*x_t[:60].T, "o", color="#0072B2", markersize=4.5, markerfacecolor="white")
    axes[1].plot(*guess.T, "x", color="#D55E00", markersize=6, markeredgewidth=1.6)
    axes[1].set_title(f"t = {t}: from $x_t$ (○) to $\\hat x_0$ (×)")
    for ax in axes:
        _square(ax, 3.4)


def point_clouds(clouds: dict[str, Tensor], centres: Tensor, columns: int = 3) -> None:
    """Draw named sets of 2-D points (N, 2), one panel each, with a cross at each centre (K, 2)."""
    from matplotlib import pyplot as plt

    rows = math.ceil(len(clouds) / columns)
    _, axes = plt.subplots(rows, columns, figsize=(3.2 * columns, 3.3 * rows), squeeze=False)
    for ax in axes.flat[len(clouds) :]:
        ax.set_axis_off()
    for ax, (name, cloud) in zip(axes.flat, clouds.items(), strict=False):
        ax.plot(*centres.cpu().T, "+", color="0.55", markersize=26)
        in_one_place = cloud.std(0).max() < 0.01  # a lone dot would be overlooked
        ax.plot(*cloud.cpu().T, ".", color="#0072B2", markersize=14 if in_one_place else 3)
        ax.set_title(f"{name}\n(all {len(cloud)} in one place)" if in_one_place else name)
        _square(ax, 3.0)


def _square(ax: Axes, reach: float) -> None:
    """Axes of equal scale from −reach to reach, framed, with few ticks."""
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    ax.set(xlabel="coordinate 1", ylabel="coordinate 2")
    ax.spines[:].set_visible(True)
