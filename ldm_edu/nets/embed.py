"""The time t as a vector: sinusoids, then two layers. Derived in notebook 04."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def timestep_embedding(t: Tensor, dim: int, max_period: float = 10_000) -> Tensor:
    """Write each time as cosines and sines:  e = (cos(t ω_i), sin(t ω_i)),  ω_i = max_period^(−i / (dim/2)).

    Source: Vaswani et al. 2017 (arXiv 1706.03762), section 3.5, with the cosines first as in Stable
    Diffusion; notebook 04.

    Args:
        t: (B,) int or float; any real time, in steps.
        dim: length of the vector; even.
        max_period: 1/ω of the slowest wave, in steps.
    Returns:
        (B, dim) float32 in [-1, 1] on the device of t.
    Raises:
        ValueError: t has not one axis, or dim is odd or below 2.
    """
    if t.ndim != 1:
        raise ValueError(f"t has shape {tuple(t.shape)}; expected (B,). For a single time pass t.reshape(1).")
    if dim < 2 or dim % 2:
        raise ValueError(f"dim is {dim}; expected an even number >= 2, for half cosines and half sines.")
    half = dim // 2
    step = -math.log(max_period) / half
    omega = torch.exp(step * torch.arange(half, device=t.device, dtype=torch.float32))
    angle = t.float()[:, None] * omega
    return torch.cat((angle.cos(), angle.sin()), dim=1)


class TimeMLP(nn.Module):
    """Two layers on the sinusoids:  W_2 SiLU(W_1 e + b_1) + b_2."""

    def __init__(self, dim: int, out: int):
        super().__init__()
        self.dim = dim
        self.fc1 = nn.Linear(dim, out)
        self.fc2 = nn.Linear(out, out)

    def forward(self, t: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(B,) times to (B, out) vectors; the sinusoids are cast to `dtype` before the layers."""
        return self.fc2(F.silu(self.fc1(timestep_embedding(t, self.dim).to(dtype))))
