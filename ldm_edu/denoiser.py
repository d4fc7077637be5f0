"""Denoisers: closures denoise(x_t, t) -> Prediction, all that a sampler sees.

One is made from a network, with its target, condition, guidance and clipping; others are exact, for data
whose distribution is known. Derived in notebooks 03, 04 and 08.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ldm_edu.forward import check_t
from ldm_edu.schedule import Schedule, at
from ldm_edu.target import Prediction, Target, check_target, to_prediction

Denoise = Callable[[Tensor, int], Prediction]


def make_denoiser(
    net: Callable[..., Tensor],
    schedule: Schedule,
    target: Target = "eps",
    *,
    cond: Tensor | None = None,
    uncond: Tensor | None = None,
    guidance: float = 1.0,
    interval: tuple[int, int] | None = None,
    clip: float | None = None,
) -> Denoise:
    """Make denoise(x_t, t) -> Prediction from a network.

    With guidance w ≠ 1 the answer is uncond + w · (cond − uncond), both halves in one call of the network.

    Source: Ho and Salimans 2022 (arXiv 2207.12598), Eq. 6, whose w is our w − 1; the interval is that of
    Kynkäänniemi et al. 2024 (arXiv 2404.07724); notebook 08.

    Args:
        net: net(x_t, t, cond) -> (B, *D), t as (B,) int64.
        target: what the network predicts.
        cond: (B, …) labels or context, or None.
        uncond: what stands for "no condition", of cond's shape; needed where guidance ≠ 1.
        guidance: w; 1 is plain conditioning, 0 ignores the condition.
        interval: (low, high): w counts where low ≤ t ≤ high, and is 1 elsewhere. None: everywhere.
        clip: bound on |x̂_0| (1 for images in [-1, 1]); ε̂ is made to agree. None: no bound.
    Raises:
        ValueError: an unknown target, a guidance that is no number, or is not 1 without uncond, shapes that differ, an
            empty interval, a bound that is not positive.
    """
    check_target(target)
    if not math.isfinite(guidance):
        raise ValueError(f"guidance must be a finite number, got {guidance}")
    if guidance != 1 and (cond is None or uncond is None):
        raise ValueError(f"guidance = {guidance} mixes two answers: give both cond and uncond")
    if guidance != 1 and cond.shape != uncond.shape:
        raise ValueError(f"cond and uncond must have one shape, got {tuple(cond.shape)} and {tuple(uncond.shape)}")
    if interval is not None and not interval[0] <= interval[1]:
        raise ValueError(f"interval must be (low, high) with low ≤ high, got {interval}")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip must be positive or None, got {clip}")
    one = {0: uncond, 1: cond}  # weights that need one answer only
    both = None if guidance in one else torch.cat([uncond, cond])

    def denoise(x_t: Tensor, t: int) -> Prediction:
        w = guidance if interval is None or interval[0] <= t <= interval[1] else 1
        if w in one:
            out = net(x_t, _batch(t, x_t), one[w])
        else:
            x_twice = torch.cat([x_t, x_t])
            without, with_cond = net(x_twice, _batch(t, x_twice), both).to(x_t.dtype).chunk(2)
            out = without + w * (with_cond - without)
        prediction = to_prediction(out.to(x_t.dtype), x_t, t, schedule, target)
        return prediction if clip is None or t == 0 else _clipped(prediction.x0, x_t, t, schedule, clip)

    return denoise


def mixture_denoiser(means: Tensor, variances: Tensor, weights: Tensor, schedule: Schedule) -> Denoise:
    """The exact denoiser of x_0 ~ Σ_k weights_k N(means_k, variances_k):  x̂_0 = E[x_0 | x_t], ε̂ = E[ε | x_t].

    Given component k, x_t ~ N(signal μ_k, signal² v_k + noise²), so x̂_0 and ε̂ are linear in x_t; the
    components are then averaged by their probability given x_t. One component gives the denoiser of a Gaussian.

    Source: Karras et al. 2022 (arXiv 2206.00364), Appendix B.3 for points; notebook 03.

    Args:
        means: (K, *D).
        variances: (K,) or (K, *D), not negative; 0 is a point, and then the denoiser needs t ≥ 1.
        weights: (K,), positive, any sum.
    Raises:
        ValueError: shapes that do not fit, a negative variance, or a weight that is not positive; of the denoiser, an
            x_t that is not (B, *D), or a t that is not one whole number in [0, T].
    """
    K = len(means)
    if means.ndim < 2 or variances.shape not in ((K,), means.shape) or weights.shape != (K,):
        raise ValueError(
            f"means (K, *D), variances (K,) or (K, *D) and weights (K,) do not fit: "
            f"{tuple(means.shape)}, {tuple(variances.shape)}, {tuple(weights.shape)}"
        )
    if (variances < 0).any() or not (weights > 0).all():
        raise ValueError("variances must not be negative and weights must be positive")
    if variances.ndim == 1:
        variances = variances.view(-1, *[1] * (means.ndim - 1)).expand_as(means)
    log_weights = weights.log()

    def denoise(x_t: Tensor, t: int) -> Prediction:
        if x_t.shape[1:] != means.shape[1:]:
            expected = ", ".join(["B", *map(str, means.shape[1:])])
            raise ValueError(f"x_t must have shape ({expected}), as the means have, got {tuple(x_t.shape)}")
        if isinstance(t, Tensor):
            raise ValueError(f"t must be one int for all of x_t, got a tensor of shape {tuple(t.shape)}")
        check_t(t, x_t, schedule)
        mu, v = means.to(x_t), variances.to(x_t)
        signal, noise = at(schedule.signal, t, x_t), at(schedule.noise, t, x_t)
        total = signal**2 * v + noise**2  # (K, *D), the variance of x_t in each component
        away = x_t[:, None] - signal * mu  # (B, K, *D)
        log_density = -(away**2 / total + total.log()).flatten(2).sum(2) / 2
        chance = torch.softmax(log_density + log_weights.to(x_t), 1)
        chance = chance.view(*chance.shape, *[1] * (x_t.ndim - 1))
        x0_hat = (chance * (mu + signal * v / total * away)).sum(1)
        return Prediction(x0_hat, (chance * (noise / total * away)).sum(1))

    return denoise


def _batch(t: int, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, device=x.device)


def _clipped(x0_hat: Tensor, x_t: Tensor, t: int, schedule: Schedule, clip: float) -> Prediction:
    """x̂_0 held inside the bound, and the ε̂ that goes with it."""
    return to_prediction(x0_hat.clamp(-clip, clip), x_t, t, schedule, "x0")
