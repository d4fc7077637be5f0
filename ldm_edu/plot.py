"""Figures: grids of pictures, and a run's picture of real, reconstructed and drawn side by side."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor

from ldm_edu.checkpoint import write_atomic
from ldm_edu.data.pictures import to_bytes


def grid(pictures: Tensor, columns: int = 8, scale: int = 1, padding: int = 2) -> Tensor:
    """Lay pictures (N, C, H, W) in [-1, 1] out in rows: (3, H', W') uint8, each pixel `scale` wide, on white."""
    from torchvision.utils import make_grid

    sheet = to_bytes(pictures.cpu()).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    return make_grid(sheet, nrow=columns, padding=padding, pad_value=255)


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


def mosaic(pictures: Tensor, count: int) -> Tensor:
    """The first `count` pictures, repeated where there are fewer: keeps a figure's rows full."""
    return pictures[torch.arange(count) % len(pictures)]
