"""Pictures of any size for models of one size: windows out of a mirrored plane, tiles and how they are joined.

Used by the commands that edit and restore given pictures, which notebooks 09 and 10 show.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def window(pictures: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """Cut (B, C, height, width) out of pictures (B, C, H, W) that are mirrored at their borders without end."""
    for dim, first, count in ((2, top, height), (3, left, width)):
        n = pictures.shape[dim]
        there = torch.arange(first, first + count, device=pictures.device) % (2 * n)
        pictures = pictures.index_select(dim, torch.minimum(there, 2 * n - 1 - there))
    return pictures


def resized(pictures: Tensor, height: int, width: int) -> Tensor:
    """Bicubic interpolation of (B, C, H, W) to another size, smoothed before it shrinks, held in [-1, 1]."""
    if pictures.shape[2:] == (height, width):
        return pictures
    new = F.interpolate(pictures, (height, width), mode="bicubic", antialias=True, align_corners=False)
    return new.clamp(-1, 1)


def tile_corners(size: tuple[int, int], side: int, overlap: int) -> list[tuple[int, int]]:
    """(top, left) of the tiles that cover a picture, evenly spread, overlapping by `overlap` pixels or more.

    A picture smaller than a tile gets one, which reaches beyond its end.

    Args:
        size: (height, width) of the picture.
        side: height and width of a tile; overlap is less.
    """

    def starts(length: int) -> list[int]:
        count = max(1, -(-(length - overlap) // (side - overlap)))
        return torch.linspace(0, max(0, length - side), count).round().long().tolist()

    return [(top, left) for top in starts(size[0]) for left in starts(size[1])]


def joined(tiles: Tensor, corners: list[tuple[int, int]], size: tuple[int, int], overlap: int) -> Tensor:
    """Tiles laid on a plane and averaged where they overlap, each with a weight that falls to its border.

    Args:
        tiles: (N, C, side, side).
        corners: N of (top, left), as `tile_corners` gives.
        size: (height, width) of the result; what tiles have beyond it is left out.
        overlap: over how many pixels the weight rises.
    Returns:
        (1, C, height, width).
    """
    height, width = size
    side = tiles.shape[-1]
    inwards = torch.arange(side, device=tiles.device)
    rise = (torch.minimum(inwards, side - 1 - inwards) + 1).clamp(max=overlap + 1).to(tiles.dtype)
    weight = rise[:, None] * rise
    plane = tiles.new_zeros(1, tiles.shape[1], max(height, side), max(width, side))
    total = torch.zeros_like(plane[:, :1])
    for tile, (top, left) in zip(tiles, corners, strict=True):
        there = (..., slice(top, top + side), slice(left, left + side))
        plane[there] += weight * tile
        total[there] += weight
    return (plane / total.clamp(min=1))[..., :height, :width]
