"""Real scanned digits that come with scikit-learn: 1,797 pictures of 8×8, no download."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ldm_edu.data.pictures import Pictures, to_bytes

HELD_OUT = 297


def digits(size: int = 32, *, train: bool = True) -> Pictures:
    """Load the digits, resampled from 8×8 by bicubic interpolation, grey, white ink on black.

    The 1,797 scans are shuffled once with a fixed seed: 1,500 for training, 297 held out.

    Source: the test part of E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998, CC BY 4.0.

    Args:
        size: height and width in pixels, 8 or more.
    Raises:
        ValueError: a size below 8.
    """
    if size < 8:
        raise ValueError(f"digits are 8×8 scans: size must be 8 or more, got {size}")
    from sklearn.datasets import load_digits

    scans, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(scans), generator=torch.Generator().manual_seed(0))
    order = order[HELD_OUT:] if train else order[:HELD_OUT]
    pixels = torch.from_numpy(scans).float().reshape(-1, 1, 8, 8)[order] / 8 - 1
    if size != 8:
        pixels = F.interpolate(pixels, (size, size), mode="bicubic", align_corners=False)
    return Pictures(to_bytes(pixels), torch.from_numpy(labels).long()[order], tuple("0123456789"))
