"""The training loss, its weightings, and the bound on −log p(x_0) it comes from. Derived in notebook 03."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ldm_edu.denoiser import Denoise
from ldm_edu.forward import check_same_shape, posterior_variance, q_posterior, q_sample
from ldm_edu.samplers import normal_like
from ldm_edu.schedule import Schedule, at
from ldm_edu.target import Target, check_target, training_target


def diffusion_loss(
    net: Callable[..., Tensor],
    x_0: Tensor,
    t: Tensor,
    eps: Tensor,
    schedule: Schedule,
    *,
    target: Target = "eps",
    cond: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean squared error of the network's answer at x_t:  E w_t ‖target − net(x_t, t)‖² / D.

    Source: Ho et al. 2020 (arXiv 2006.11239), Eq. 14; notebook 03.

    Args:
        net: net(x_t, t, cond) -> (B, *D).
        x_0: (B, *D) clean data.
        t: (B,) int64, drawn uniformly from 1 … T.
        eps: (B, *D) standard normal.
        target: what the network predicts: "eps", "x0" or "v".
        cond: labels or context for the network.
        weights: (T+1,) table w_t, as `min_snr_weights` and `elbo_weights` make; all 1 unless given.
    Returns:
        scalar, float32.
    Raises:
        ValueError: shapes differ, t out of range, an unknown target.
    """
    wanted = training_target(x_0, t, eps, schedule, target)
    out = net(q_sample(x_0, t, eps, schedule), t, cond)
    check_same_shape("the network's answer", out, "the target", wanted)
    error = (out.float() - wanted.float()).square()
    if weights is not None:
        if weights.shape != (schedule.T + 1,):
            raise ValueError(f"weights must be a table of shape ({schedule.T + 1},), got {tuple(weights.shape)}")
        error = at(weights, t, error) * error
    return error.mean()


def min_snr_weights(schedule: Schedule, target: Target, gamma: float = 5.0) -> Tensor:
    """Min-SNR-γ: weigh the error of x̂_0 by min(SNR_t, γ), expressed for the target; (T+1,), 0 at t = 0.

    Source: Hang et al. 2023 (arXiv 2303.09556), §3.4; notebook 03.
    Raises:
        ValueError: an unknown target, or "eps" where the signal-to-noise ratio at T is 0.
    """
    return _from_x0_weights(schedule.snr.clamp(max=gamma), schedule, target)


def elbo_weights(schedule: Schedule, target: Target) -> Tensor:
    """The bound's own weights, ½ (SNR_{t−1} − SNR_t) on the error of x̂_0, expressed for the target; (T+1,).

    Entry 0 is 0. Entry 1 is the reconstruction's: ½ SNR_1 on the error of x̂_0, with the width that `elbo` gives it.

    Source: Kingma et al. 2021 (arXiv 2107.00630), Eq. 13; Ho et al. 2020 (arXiv 2006.11239), Eq. 12;
    notebook 03, (3.11), (3.13) and (3.15).
    Raises:
        ValueError: an unknown target, or "eps" where the signal-to-noise ratio at T is 0.
    """
    snr = schedule.snr
    on_x0 = torch.zeros_like(snr)
    on_x0[1] = snr[1] / 2
    on_x0[2:] = (snr[1:-1] - snr[2:]) / 2
    return _from_x0_weights(on_x0, schedule, target)


def _from_x0_weights(on_x0: Tensor, schedule: Schedule, target: Target) -> Tensor:
    """Divide by how many times larger the target's squared error is than that of x̂_0."""
    check_target(target)
    if target == "eps":
        if schedule.snr[-1] == 0:  # signal² may be too small for float64 where signal is not
            raise ValueError(f"SNR is 0 at t = {schedule.T}: an error of ε has no size in x_0; use x0 or v instead")
        weights = on_x0 / schedule.snr
    elif target == "v":
        weights = on_x0 * schedule.noise**2 / (schedule.signal**2 + schedule.noise**2) ** 2
    else:
        weights = on_x0.clone()
    weights[0] = 0  # SNR is infinite at t = 0, and training never draws it
    return weights


class Bound(NamedTuple):
    """The bound's terms in nats, unbiased estimates:  −log p(x_0) ≤ E[prior + steps.sum(1) + reconstruction]."""

    prior: Tensor
    steps: Tensor
    reconstruction: Tensor

    @property
    def total(self) -> Tensor:
        """(B,) the estimate of the bound; the inequality holds for its mean over many draws."""
        return self.prior + self.steps.sum(1) + self.reconstruction


def elbo(denoise: Denoise, x_0: Tensor, schedule: Schedule, *, generator: torch.Generator | None = None) -> Bound:
    """The variational bound term by term, each expectation by one draw of x_t.

    L_T = KL(q(x_T|x_0) ‖ N(0, noise_T² I)); L_{t−1} = KL(q(x_{t−1}|x_t,x_0) ‖ p(x_{t−1}|x_t)) for t = 2 … T,
    where p has the posterior's variance and its mean at x̂_0; L_0 = −log N(x_0; x̂_0(x_1), σ_1² I). The prior's variance
    is noise_T², so that all kinds of schedule have one; DDPM's is 1, which is the same where signal_T vanishes.

    Source: Ho et al. 2020 (arXiv 2006.11239), Eq. 5; notebook 03.

    Args:
        denoise: denoise(x_t, t) -> Prediction.
        x_0: (B, *D) float.
        generator: where the noise comes from.
    Returns:
        Bound: prior (B,), steps (B, T−1) for t = 2 … T, reconstruction (B,).
    """

    def noised(t: int) -> Tensor:
        return q_sample(x_0, t, normal_like(x_0, generator), schedule)

    T = schedule.T
    last_variance = (schedule.noise[T] ** 2).item()
    mean_T = schedule.signal[T].item() * x_0
    prior = kl_gaussian(mean_T, last_variance, torch.zeros_like(x_0), last_variance).flatten(1).sum(1)

    x_1 = noised(1)
    variance = (schedule.sigma[1] ** 2).item()
    squared = (x_0 - denoise(x_1, 1).x0).square()
    reconstruction = (squared / variance + math.log(2 * math.pi * variance)).flatten(1).sum(1) / 2

    steps = []
    for t in range(2, T + 1):
        x_t = noised(t)
        variance = posterior_variance(t - 1, t, schedule)
        true_mean, _ = q_posterior(x_0, x_t, t, schedule)
        mean, _ = q_posterior(denoise(x_t, t).x0, x_t, t, schedule)
        steps.append(kl_gaussian(true_mean, variance, mean, variance).flatten(1).sum(1))
    return Bound(prior, torch.stack(steps, 1) if steps else prior.new_zeros(len(x_0), 0), reconstruction)


def kl_gaussian(mean_a: Tensor, var_a: Tensor | float, mean_b: Tensor, var_b: Tensor | float) -> Tensor:
    """KL(N(m_a, a) ‖ N(m_b, b)) of each entry, in nats:  ½ (log b/a + (a + (m_a − m_b)²)/b − 1).

    Source: Kingma and Welling 2014 (arXiv 1312.6114), Appendix B; notebook 03.

    Args:
        mean_a, mean_b: of one shape, any.
        var_a, var_b: positive, numbers or of a shape that broadcasts with the means.
    Returns:
        of the means' shape, 0 or more.
    """
    var_a, var_b = (torch.as_tensor(v, dtype=mean_a.dtype, device=mean_a.device) for v in (var_a, var_b))
    return (torch.log(var_b / var_a) + (var_a + (mean_a - mean_b).square()) / var_b - 1) / 2
