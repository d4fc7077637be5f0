"""Pictures: a set of pictures of one size held in memory as bytes, with labels or captions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Pictures:
    """A picture set.

    Args:
        pixels: (N, C, H, W) uint8, C = 1 or 3, H = W.
        labels: (N,) int64 in [0, len(classes)), or None.
        classes: the names of the labels.
        captions: N sentences, or empty.

    Raises:
        ValueError: no pictures, or shapes, dtypes and counts that do not fit together.
    """

    pixels: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()

    def __post_init__(self):
        if self.pixels.ndim != 4 or self.pixels.dtype != torch.uint8 or len(self.pixels) == 0:
            raise ValueError(
                f"pixels must be (N, C, H, W) uint8 with N ≥ 1, got {self.pixels.dtype} {tuple(self.pixels.shape)}"
            )
        if self.pixels.shape[1] not in (1, 3) or self.pixels.shape[2] != self.pixels.shape[3]:
            raise ValueError(f"pixels must be square with 1 or 3 channels, got {tuple(self.pixels.shape[1:])}")
        if self.labels is not None:
            if self.labels.shape != (len(self),) or self.labels.dtype != torch.int64:
                raise ValueError(
                    f"labels must be ({len(self)},) int64, got {self.labels.dtype} {tuple(self.labels.shape)}"
                )
            if self.labels.min() < 0 or self.labels.max() >= len(self.classes):
                raise ValueError(
                    f"labels must lie in [0, {len(self.classes)}), the number of class names, "
                    f"got {self.labels.min().item()} … {self.labels.max().item()}"
                )
        if self.captions and len(self.captions) != len(self):
            raise ValueError(f"{len(self)} pictures but {len(self.captions)} captions")

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return self.pixels.shape[1]

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return self.pixels.shape[-1]


def to_float(pixels: Tensor) -> Tensor:
    """Bytes 0 … 255 to float32 in [-1, 1], of the same shape, which is any."""
    return pixels.float() / 127.5 - 1


def at_once(most: int, shape: Sequence[int]) -> int:
    """How many pictures of a shape (…, H, W) to compute with at once: `most`, but of large ones fewer, 1 at least.

    Memory grows with their area: together they have no more pixels than 500 pictures of 64×64.
    """
    return max(1, min(most, 500 * 64**2 // math.prod(shape[-2:])))


def mirrored(pictures: Pictures) -> Pictures:
    """The pictures, and after them each one's mirror image, with its label or caption.

    Not for digits, nor for captions that name sides, which would be wrong of the mirror image.
    """
    return Pictures(
        torch.cat([pictures.pixels, pictures.pixels.flip(-1)]),
        None if pictures.labels is None else pictures.labels.repeat(2),
        pictures.classes,
        2 * pictures.captions,
    )


def to_bytes(pictures: Tensor) -> Tensor:
    """Floats in [-1, 1] of any shape to the nearest of 0 … 255, uint8; what lies outside is clipped."""
    return ((pictures.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def spread(count: int, n: int) -> list[int]:
    """`count` indices into n things: evenly over them all, for they may be sorted, or in turn where they are fewer."""
    return [i * n // count if n > count else i % n for i in range(count)]
