"""Random arguments for the checks' cases, the same in every run.

Used by every check; no notebook derives it.
"""

from __future__ import annotations

import torch
from torch import Tensor

f64 = torch.float64


def normal(*shape: int, seed: int, dtype: torch.dtype = f64) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def betas(T: int, seed: int = 0, low: float = 0.02, high: float = 0.3) -> Tensor:
    """(T+1,) a β table with β_0 = 0 and the others drawn between low and high, in no order."""
    drawn = torch.rand(T, generator=torch.Generator().manual_seed(seed), dtype=f64)
    return torch.cat([torch.zeros(1, dtype=f64), low + (high - low) * drawn])


def bars(beta: Tensor) -> Tensor:
    """(T+1,) ᾱ of a β table."""
    return (1 - beta).cumprod(0)


def alpha_bars(T: int, seed: int = 0) -> Tensor:
    """(T+1,) an ᾱ table with ᾱ_0 = 1."""
    return bars(betas(T, seed))


def along(table: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """table[t] with one entry an example, shaped to multiply x."""
    return table[t].to(x.dtype).view(-1, *[1] * (x.ndim - 1))
