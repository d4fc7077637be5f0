"""What a network may be trained to predict: ε, x_0 or v, and how each gives the other two.

Given x_t = signal · x_0 + noise · ε, any one of the three fixes the rest. Derived in notebook 03.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ldm_edu.forward import check_same_shape, check_t
from ldm_edu.schedule import Schedule, at

Target = Literal["eps", "x0", "v"]


class Prediction(NamedTuple):
    """Estimates of the clean data and of the noise in x_t, both (B, *D): x_t = signal · x0 + noise · eps."""

    x0: Tensor
    eps: Tensor


def training_target(x_0: Tensor, t: Tensor | int, eps: Tensor, schedule: Schedule, target: Target) -> Tensor:
    """What the network should answer at x_t: ε, x_0, or v = signal · ε − noise · x_0.

    On a straight path v is not the velocity ε − x_0 of flow matching; either gives the other.

    Source: Ho et al. 2020 (arXiv 2006.11239), Eq. 14; Salimans and Ho 2022 (arXiv 2202.00512), §4;
    notebook 03.

    Args:
        x_0, eps: (B, *D).
        t: (B,) int64 in [0, T], or one int.
        target: "eps", "x0" or "v".
    Raises:
        ValueError: shapes differ, t out of range, or an unknown target.
    """
    check_same_shape("x_0", x_0, "eps", eps)
    check_t(t, x_0, schedule)
    check_target(target)
    if target == "eps":
        return eps
    if target == "x0":
        return x_0
    return at(schedule.signal, t, x_0) * eps - at(schedule.noise, t, x_0) * x_0


def to_prediction(out: Tensor, x_t: Tensor, t: Tensor | int, schedule: Schedule, target: Target) -> Prediction:
    """Turn a network's answer at x_t into x̂_0 and ε̂.

    ε: x̂_0 = (x_t − noise ε̂) / signal.  x_0: ε̂ = (x_t − signal x̂_0) / noise.
    v: x̂_0 = (signal x_t − noise v̂) / (signal² + noise²), ε̂ = (noise x_t + signal v̂) / (signal² + noise²).

    Source: Salimans and Ho 2022 (arXiv 2202.00512), §4 and Appendix D; notebook 03.

    Args:
        out, x_t: (B, *D).
        t: (B,) int64, or one int; t ≥ 1 for target "x0" (at t = 0 there is no noise to recover).
        target: what `out` is: "eps", "x0" or "v".
    Returns:
        x̂_0 and ε̂, both (B, *D).
    Raises:
        ValueError: shapes differ, t out of range, an unknown target, t = 0 with "x0", or with "eps" a signal[t] that is
            0, or nothing to the type of x_t.
    """
    check_same_shape("out", out, "x_t", x_t)
    check_t(t, x_t, schedule)
    check_target(target)
    signal, noise = at(schedule.signal, t, x_t), at(schedule.noise, t, x_t)
    if target == "eps":
        if _vanishes(signal, t):
            raise ValueError(
                f"signal[t] is 0 to {x_t.dtype} at t = {_shown(t)}: ε does not determine x_0 there; predict x0 or v "
                "instead, or start at a smaller t"
            )
        return Prediction((x_t - noise * out) / signal, out)
    if target == "x0":
        if _vanishes(noise, t):
            raise ValueError(
                f"noise[t] is 0 to {x_t.dtype} at t = {_shown(t)}, so x_0 does not determine ε there; give t ≥ 1"
            )
        return Prediction(out, (x_t - signal * out) / noise)
    norm = signal**2 + noise**2
    return Prediction((signal * x_t - noise * out) / norm, (noise * x_t + signal * out) / norm)


def check_target(target: str) -> None:
    """Raise ValueError for a target that is none of the three."""
    if target not in get_args(Target):
        raise ValueError(f'target must be "eps", "x0" or "v", got {target!r}')


def _vanishes(scale: Tensor, t: Tensor | int) -> bool:
    """Whether signal or noise, in the type of x_t, is too small to divide by somewhere.

    Not asked of times on a GPU, where the call would wait for the device, or while compiling.
    """
    if torch.compiler.is_compiling() or (isinstance(t, Tensor) and t.device.type != "cpu"):
        return False
    return bool((scale < torch.finfo(scale.dtype).tiny).any())


def _shown(t: Tensor | int) -> list[int] | int:
    return t.tolist() if isinstance(t, Tensor) else t
