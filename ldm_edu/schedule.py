"""Noise schedules: how much signal and how much noise is left at each step.

A schedule is a pair of arrays, and every x_t is signal[t] · x_0 + noise[t] · ε. Variance preserving,
variance exploding and straight paths are three ways to fill the pair. Derived in notebook 01.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ldm_edu.kinds import check_whole


@dataclass(frozen=True, eq=False)
class Schedule:
    """The pair (signal, noise) with x_t = signal[t] · x_0 + noise[t] · ε for t = 0 … T.

    Args:
        signal: (T+1,) float64, starts at exactly 1, never rises, never negative.
        noise: (T+1,) float64, starts at exactly 0; noise / signal rises strictly.

    Raises:
        ValueError: the arrays break one of these rules.
    """

    signal: Tensor
    noise: Tensor

    def __post_init__(self):
        signal, noise = self.signal, self.noise
        if signal.ndim != 1 or signal.shape != noise.shape or len(signal) < 2:
            raise ValueError(
                "signal and noise must be 1-D of one length T+1 ≥ 2, "
                f"got {tuple(signal.shape)} and {tuple(noise.shape)}"
            )
        if signal.dtype != torch.float64 or noise.dtype != torch.float64:
            raise ValueError(f"signal and noise must be float64, got {signal.dtype} and {noise.dtype}")
        if signal[0] != 1 or noise[0] != 0:
            raise ValueError(
                "index 0 is clean data: signal[0] must be 1 and noise[0] 0, "
                f"got {signal[0].item()} and {noise[0].item()}"
            )
        if not (torch.isfinite(signal).all() and torch.isfinite(noise).all()) or (signal < 0).any():
            raise ValueError("signal and noise must be finite, and signal must not be negative")
        if (signal[1:] > signal[:-1]).any():
            raise ValueError("signal must never rise from one step to the next")
        still = noise[1:] * signal[:-1] <= noise[:-1] * signal[1:]
        if still.any():
            t = still.nonzero()[0].item() + 1
            raise ValueError(
                f"noise / signal must rise strictly from each step to the next; at t = {t} signal is "
                f"{signal[t]:.3g} and noise {noise[t]:.3g}, just before {signal[t - 1]:.3g} and {noise[t - 1]:.3g}"
            )

    @property
    def T(self) -> int:
        """The number of steps; t runs over 0 … T."""
        return len(self.signal) - 1

    @property
    def sigma(self) -> Tensor:
        """EDM's σ = noise / signal, (T+1,); infinite where signal is 0."""
        return self.noise / self.signal

    @property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio signal² / noise², (T+1,); infinite at t = 0."""
        return (self.signal / self.noise) ** 2

    @property
    def is_variance_preserving(self) -> bool:
        """Whether signal² + noise² = 1 at every t, to rounding."""
        return bool(((self.signal**2 + self.noise**2 - 1).abs() < 1e-9).all())

    @property
    def alpha_bar(self) -> Tensor:
        """ᾱ_t = signal², (T+1,), with ᾱ_0 = 1. Variance-preserving schedules only: ValueError for others."""
        if not self.is_variance_preserving:
            raise ValueError("alpha_bar, alpha and beta exist only where signal² + noise² = 1; use signal and noise")
        return self.signal**2

    @property
    def alpha(self) -> Tensor:
        """α_t = ᾱ_t / ᾱ_{t−1}, (T+1,), with α_0 = 1. Variance-preserving schedules only."""
        first = self.alpha_bar[:1]  # which refuses other schedules
        return torch.cat([first, (self.signal[1:] / self.signal[:-1]) ** 2])  # ᾱ itself may be too small for float64

    @property
    def beta(self) -> Tensor:
        """β_t = 1 − α_t, (T+1,), with β_0 = 0. Variance-preserving schedules only."""
        return 1 - self.alpha

    def to(self, device: torch.device | str) -> Schedule:
        """The same schedule with its arrays on another device."""
        return Schedule(self.signal.to(device), self.noise.to(device))


def from_betas(betas: Tensor) -> Schedule:
    """Build the variance-preserving schedule with ᾱ_t = Π_{s≤t} (1 − β_s).

    Source: Ho et al. 2020 (arXiv 2006.11239), Eq. 4; notebook 01.

    Args:
        betas: (T,) β_1 … β_T, each in (0, 1); a sequence of numbers is taken too.
    Raises:
        ValueError: not 1-D, empty, a β outside (0, 1), or so much noise that float64 has no number for the signal left.
    """
    betas = torch.as_tensor(betas, dtype=torch.float64)
    if betas.ndim != 1 or len(betas) == 0:
        raise ValueError(f"betas must be 1-D with at least one entry, got shape {tuple(betas.shape)}")
    if not ((betas > 0) & (betas < 1)).all():
        raise ValueError(
            f"each beta must lie strictly between 0 and 1, got {betas.min().item()} … {betas.max().item()}"
        )
    log_alpha_bar = torch.cat([betas.new_zeros(1), torch.log1p(-betas).cumsum(0)])
    signal = torch.exp(log_alpha_bar / 2)
    if (lost := signal < torch.finfo(signal.dtype).tiny).any():
        raise ValueError(
            f"these betas leave e^{log_alpha_bar[-1].item() / 2:.0f} of the signal at T = {len(betas)}, which "
            f"is nothing to float64 from t = {lost.nonzero()[0].item()} on; give fewer or smaller betas"
        )
    return Schedule(signal, torch.sqrt(0 - torch.expm1(log_alpha_bar)))


def linear(T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Schedule:
    """β_t rises linearly from beta_start at t = 1 to beta_end at t = T.

    Source: Ho et al. 2020 (arXiv 2006.11239), §4; notebook 01.
    Raises:
        ValueError: T is not a whole number of at least 1, or a β lies outside (0, 1).
    """
    check_whole(1, T=T)
    return from_betas(torch.linspace(beta_start, beta_end, T, dtype=torch.float64))


def scaled_linear(T: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012) -> Schedule:
    """√β_t rises linearly, β_t from beta_start at t = 1 to beta_end at t = T: Stable Diffusion's.

    Source: Rombach et al. 2022 (arXiv 2112.10752), code.
    Raises:
        ValueError: T is not a whole number of at least 1, or a β lies outside (0, 1).
    """
    check_whole(1, T=T)
    return from_betas(torch.linspace(beta_start**0.5, beta_end**0.5, T, dtype=torch.float64) ** 2)


def cosine(T: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> Schedule:
    """ᾱ_t = f(t) / f(0), f(t) = cos²(((t/T + s) / (1 + s)) · π/2), each β_t held below max_beta.

    Source: Nichol and Dhariwal 2021 (arXiv 2102.09672), Eq. 17; notebook 01.
    Raises:
        ValueError: T is not a whole number of at least 1, or a β lies outside (0, 1).
    """
    check_whole(1, T=T)
    f = torch.cos((torch.arange(T + 1, dtype=torch.float64) / T + s) / (1 + s) * math.pi / 2) ** 2
    return from_betas((1 - f[1:] / f[:-1]).clamp(max=max_beta))


def variance_exploding(T: int = 1000, sigma_min: float = 0.01, sigma_max: float = 50.0) -> Schedule:
    """x_t = x_0 + σ_t ε, with σ_t geometric from sigma_min at t = 1 to sigma_max at t = T.

    Source: Song et al. 2021 (arXiv 2011.13456), §3.4; notebook 01.
    Raises:
        ValueError: T is not a whole number of at least 1, or not 0 < sigma_min < sigma_max.
    """
    check_whole(1, T=T)
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"need 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}")
    sigma = torch.logspace(math.log10(sigma_min), math.log10(sigma_max), T, dtype=torch.float64)
    return Schedule(torch.ones(T + 1, dtype=torch.float64), torch.cat([sigma.new_zeros(1), sigma]))


def straight(T: int = 1000) -> Schedule:
    """x_t = (1 − t/T) x_0 + (t/T) ε, the straight path of flow matching (whose velocity is ε − x_0, not our v).

    Source: Lipman et al. 2023 (arXiv 2210.02747), Eq. 22 with time reversed and σ_min = 0; notebook 12.
    Raises:
        ValueError: T is not a whole number of at least 1.
    """
    check_whole(1, T=T)
    noise = torch.arange(T + 1, dtype=torch.float64) / T
    return Schedule(1 - noise, noise)


def timesteps(
    schedule: Schedule,
    steps: int,
    *,
    spacing: Literal["uniform", "karras"] = "uniform",
    max_sigma: float = 200.0,
) -> list[int]:
    """Choose the times a sampler walks over: strictly decreasing integers that end in 0.

    Solvers in σ = noise / signal break down where σ is huge (a cosine schedule reaches 2·10⁴), so the walk
    starts at the last t with σ_t ≤ max_sigma. Signal of relative size 1 / σ_t is left there, which is little where
    σ_t is near the bound; a schedule of few steps may jump far over it, and then math.inf is the better bound.

    Args:
        schedule: the schedule whose T and σ are used.
        steps: how many steps, 1 or more; the list has steps + 1 entries.
        spacing: "uniform" in t, or "karras": σ^(1/7) uniform (Karras et al. 2022, arXiv 2206.00364, Eq. 5).
            Karras times are rounded to integers; where two fall together one is dropped, so the list may be
            shorter.
        max_sigma: bound on noise / signal at the start; math.inf starts at T.
    Raises:
        ValueError: steps is not in 1 … the last t with σ_t ≤ max_sigma, no t ≥ 1 has such a σ_t, an unknown
            spacing, or "karras" from an infinite σ.
    """
    sigma = schedule.sigma.cpu()
    usable = int((sigma <= max_sigma).sum()) - 1
    if usable < 1:
        raise ValueError(f"no step has noise / signal ≤ max_sigma = {max_sigma}; the least is {sigma[1].item():.3g}")
    if not hasattr(steps, "__index__") or not 1 <= steps <= usable:
        raise ValueError(f"steps must lie between 1 and {usable} (whole; those with σ ≤ {max_sigma}), got {steps}")
    if spacing == "uniform":
        ts = torch.linspace(usable, 0, steps + 1, dtype=torch.float64).round().long()
    elif spacing == "karras":
        if sigma[usable] == math.inf:
            raise ValueError(f"signal[{usable}] is 0 and σ infinite: Karras spacing needs a finite max_sigma")
        root = torch.linspace(sigma[usable] ** (1 / 7), sigma[1] ** (1 / 7), steps, dtype=torch.float64)
        at = torch.bucketize(root**7, sigma[: usable + 1].contiguous()).clamp(1, usable)
        nearer_below = (root**7 - sigma[at - 1]) < (sigma[at] - root**7)
        ts = torch.cat([(at - nearer_below.long()).clamp(min=1), torch.zeros(1, dtype=torch.long)])
    else:
        raise ValueError(f'spacing must be "uniform" or "karras", got {spacing!r}')
    return sorted(set(ts.tolist()), reverse=True)


def at(values: Tensor, t: Tensor | int, like: Tensor) -> Tensor:
    """Look up values[t] in the dtype and device of `like`, shaped to broadcast over its batch.

    Args:
        values: (T+1,).
        t: (B,) int64 in [0, T], or one whole number.
        like: (B, *D).
    Returns:
        (B, 1, …, 1) with as many axes as `like`; for one number, ().
    """
    if not isinstance(t, Tensor):  # one number: left on the CPU, where it mixes with any device without a copy
        return values[t].to(like.dtype)
    picked = values.to(like.device, like.dtype)[t]
    return picked.view(-1, *[1] * (like.ndim - 1))
