"""Samplers: from noise back to data, one step for each pair (t, s) of a decreasing list of times.

Each is a generator that yields x after every step, the last one x_0, and sees the model only through
denoise(x_t, t) -> Prediction. `encode` goes the other way, from data to noise. Derived in notebooks 04 (DDPM),
06 (DDIM, encode) and 11 (Heun, DPM-Solver++).
"""

from __future__ import annotations

import math
import operator
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ldm_edu.denoiser import Denoise
from ldm_edu.forward import check_t, posterior_variance
from ldm_edu.kinds import check_whole
from ldm_edu.schedule import Schedule

AfterStep = Callable[[Tensor, int], Tensor]


def ddim(
    denoise: Denoise,
    x: Tensor,
    ts: Sequence[int],
    schedule: Schedule,
    *,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
    after_step: AfterStep | None = None,
) -> Iterator[Tensor]:
    """DDIM:  x_s = signal_s x̂_0 + √(noise_s² − v) ε̂ + √v z,  v = η² times the variance of q(x_s | x_t, x_0).

    η = 0 is deterministic; η = 1 over every step is DDPM's ancestral sampling.

    Source: Song et al. 2021 (arXiv 2010.02502), Eqs. 12 and 16; notebook 06.

    Args:
        denoise: denoise(x_t, t) -> Prediction.
        x: (B, *D) the start at time ts[0].
        ts: strictly decreasing times in [0, T], as `timesteps` makes.
        eta: η in [0, 1].
        generator: where z comes from.
        after_step: after_step(x_s, s) -> x_s, applied after each step (inpainting uses it).
    Raises:
        ValueError: at the first step: times that do not decrease or lie outside [0, T], or η outside [0, 1].
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta}")
    for t, s in _pairs(ts, schedule):
        x0_hat, eps_hat = denoise(x, t)
        variance = eta**2 * posterior_variance(s, t, schedule)
        keep = math.sqrt(max(schedule.noise[s].item() ** 2 - variance, 0.0))  # rounding may dip below 0
        x = schedule.signal[s].item() * x0_hat + keep * eps_hat
        if variance > 0:
            x = x + math.sqrt(variance) * normal_like(x, generator)
        x = x if after_step is None else after_step(x, s)
        yield x


def heun(
    denoise: Denoise,
    x: Tensor,
    ts: Sequence[int],
    schedule: Schedule,
    *,
    generator: torch.Generator | None = None,
    after_step: AfterStep | None = None,
) -> Iterator[Tensor]:
    """Heun's method on d(x/signal)/dσ = ε̂: step with ε̂ at t, look at ε̂ at s, step again with their mean.

    Euler's step is DDIM's. Second order, two calls of the network a step; a step to t = 0, where there is no
    ε̂, or from signal 0, where σ is infinite, stays Euler's.
    Deterministic: the generator is taken for one signature among samplers and not used.

    Source: Karras et al. 2022 (arXiv 2206.00364), Algorithm 1; notebook 11. Args and Raises as for `ddim`.
    """
    for t, s in _pairs(ts, schedule):
        x0_hat, eps_hat = denoise(x, t)
        signal_s, noise_s = schedule.signal[s].item(), schedule.noise[s].item()
        x = signal_s * x0_hat + noise_s * eps_hat
        if noise_s > 0 and schedule.signal[t] > 0:
            width = noise_s - signal_s * schedule.sigma[t].item()  # signal_s · (σ_s − σ_t)
            x = x + width * (denoise(x, s).eps - eps_hat) / 2
        x = x if after_step is None else after_step(x, s)
        yield x


def dpmpp_2m(
    denoise: Denoise,
    x: Tensor,
    ts: Sequence[int],
    schedule: Schedule,
    *,
    generator: torch.Generator | None = None,
    after_step: AfterStep | None = None,
) -> Iterator[Tensor]:
    """DPM-Solver++(2M):  x_s = (noise_s/noise_t) x_t + signal_s (1 − e^{−h}) D,  h = λ_s − λ_t.

    λ = log(signal/noise); D = (1 + 1/(2r)) x̂_0(t) − 1/(2r) x̂_0 of the step before, r = h_before / h. Second
    order with one call of the network a step; the first step, and the one to t = 0 (where h is infinite), take
    D = x̂_0.
    Deterministic: the generator is taken for one signature among samplers and not used.

    Source: Lu et al. 2022 (arXiv 2211.01095), Algorithm 2; notebook 11. Args and Raises as for `ddim`.
    """
    x0_before, h_before = None, None
    for t, s in _pairs(ts, schedule):
        x0_hat = denoise(x, t).x0
        ratio = (schedule.sigma[s] / schedule.sigma[t]).item()  # e^{−h}
        h = -math.log(ratio) if ratio > 0 else math.inf
        mixed = x0_hat
        if x0_before is not None and h < math.inf:
            mixed = x0_hat + h / (2 * h_before) * (x0_hat - x0_before)
        noise_ratio = (schedule.noise[s] / schedule.noise[t]).item()
        x = noise_ratio * x + schedule.signal[s].item() * (1 - ratio) * mixed
        x = x if after_step is None else after_step(x, s)
        x0_before, h_before = x0_hat, h
        yield x


def encode(denoise: Denoise, x: Tensor, ts: Sequence[int], schedule: Schedule, *, rounds: int = 0) -> Iterator[Tensor]:
    """DDIM upwards, from data to the noise that names them:  x_t = r x_s + (noise_t − r noise_s) ε̂(x_s, s).

    With r = signal_t / signal_s; over x/signal and σ this is Euler's step upwards on the equation of `ddim`. ε̂ is
    taken at s and not at t, so `ddim` over the same times comes back only up to an error of the order of a step.
    Each round puts the x_t found into ε̂(x_t, t) instead, which is the slope of the step down, and solves again.

    Source: Song et al. 2021 (arXiv 2010.02502), §4.3, Eq. 13; notebook 06, (6.18).

    Args:
        denoise: denoise(x_t, t) -> Prediction. It is asked at t = 1 for s = 0, where there is no noise to estimate.
        x: (B, *D) the data, at time ts[-1].
        ts: strictly decreasing times in [0, T], the same list as for the way down; it is walked from its end.
        rounds: how often each step is solved again, one call of the network each; they bring the code nearer to the
            one that `ddim` takes back to x, if the steps are short enough for the rounds to converge.
    Returns:
        an iterator over x after each step; the last one is the code, at time ts[0].
    Raises:
        ValueError: at the first step: times that do not decrease or lie outside [0, T], or rounds that
            are not 0 or more.
    """
    check_whole(0, rounds=rounds)
    for t, s in reversed(_pairs(ts, schedule)):
        ratio = (schedule.signal[t] / schedule.signal[s]).item()
        width = schedule.noise[t].item() - ratio * schedule.noise[s].item()
        x_s, x = x, ratio * x + width * denoise(x, max(s, 1)).eps
        for _ in range(rounds):
            x = ratio * x_s + width * denoise(x, t).eps
        yield x


def last(steps: Iterator[Tensor]) -> Tensor:
    """Run a sampler to its end and keep only the last x, (B, *D)."""
    return deque(steps, maxlen=1).pop()


def prior_sample(
    shape: Sequence[int],
    t: int,
    schedule: Schedule,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Where a sampler starts: noise_t · ε of the shape (B, *D), float32, made on the generator's device.

    Raises:
        ValueError: t is not a whole number in [0, T].
    """
    x = torch.empty(tuple(shape), device=device)
    check_t(t, x, schedule)
    return schedule.noise[t].item() * normal_like(x, generator)


def normal_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise like x (B, *D), made on the generator's device so that a seed means one thing."""
    device = x.device if generator is None else generator.device
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=device).to(x.device)


def _pairs(ts: Sequence[int], schedule: Schedule) -> list[tuple[int, int]]:
    try:
        ts = [operator.index(t) for t in ts]  # NumPy's and a tensor's whole numbers too
    except TypeError:
        raise ValueError(f"ts must be whole numbers, got {list(ts)}") from None
    pairs = list(pairwise(ts))
    if not pairs or any(s >= t for t, s in pairs) or ts[0] > schedule.T or ts[-1] < 0:
        raise ValueError(f"ts must be two or more strictly decreasing times in [0, {schedule.T}], got {ts}")
    return pairs
