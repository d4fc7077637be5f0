"""Mixing two latents: what lies between two codes, and the content of one with the statistics of another.

Derived in notebooks 06 (slerp) and 09 (statistics).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ldm_edu.forward import check_same_shape


def slerp(a: Tensor, b: Tensor, u: float) -> Tensor:
    """Mix codes along the shell where noise lies:  sin((1−u)θ)/sin θ · a + sin(uθ)/sin θ · b, θ their angle.

    Source: Shoemake 1985; Song et al. 2021 (arXiv 2010.02502), §5.3; notebook 06, (6.22).

    Args:
        a, b: (B, *D); where they point the same way, or opposite ways, they are mixed on the straight line.
        u: in [0, 1]; 0 gives a, 1 gives b.
    Returns:
        (B, *D).
    Raises:
        ValueError: shapes differ, or whole numbers instead of floats.
    """
    check_same_shape("a", a, "b", b)
    flat_a, flat_b = a.flatten(1), b.flatten(1)
    theta = torch.cosine_similarity(flat_a, flat_b).clamp(-1, 1).arccos().view(-1, *[1] * (a.ndim - 1))
    sine = theta.sin()
    safe = torch.where(sine < 1e-4, 1.0, sine)
    weight_a = torch.where(sine < 1e-4, 1 - u, ((1 - u) * theta).sin() / safe)
    weight_b = torch.where(sine < 1e-4, u, (u * theta).sin() / safe)
    return weight_a * a + weight_b * b


def match_statistics(latent: Tensor, style: Tensor) -> Tensor:
    """Shift and scale each channel to the style's mean and deviation:  σ_style (x − μ_x) / σ_x + μ_style.

    Source: Huang and Belongie 2017 (arXiv 1703.06868), Eq. 8 (AdaIN); notebook 09.

    Args:
        latent: (B, c, h, w).
        style: (B, c, *, *) or (1, c, *, *); its size may differ.
    Returns:
        (B, c, h, w).
    Raises:
        ValueError: shapes that do not fit.
    """
    if latent.ndim != 4 or style.ndim != 4 or style.shape[1] != latent.shape[1] or len(style) not in (1, len(latent)):
        raise ValueError(
            f"style must be (B, c, h, w) with the latents' c and their B or 1, "
            f"got {tuple(style.shape)} for {tuple(latent.shape)}"
        )
    std_x, mean_x = torch.std_mean(latent, (2, 3), keepdim=True)
    std_s, mean_s = torch.std_mean(style, (2, 3), keepdim=True)
    return std_s * (latent - mean_x) / std_x.clamp(min=1e-6) + mean_s
