"""Exercise 5.3, a gradient through a draw: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import f64, normal
from ldm_edu.check.exercise import Exercise


def _made(
    deviation=lambda logvar: (logvar / 2).exp(),
    of_logvar=lambda s, logvar: s / 2,
    at=lambda mean, s, z: mean + s * z,
    over=lambda x: x.mean(0),
    weigh=lambda slope, z: slope * z,
    order=lambda a, b: (a, b),
):
    """The two derivatives with one thing done differently."""

    def slopes(slope, mean, logvar, z):
        s = deviation(logvar)
        there = slope(at(mean, s, z))
        return order(over(there), over(weigh(there, z) * of_logvar(s, logvar)))

    return slopes


_slopes = _made()


def _says(say):
    """A sentence about the first component. For f = (ℓ − 1)² the exact derivatives are 2(m − 1) and s²."""

    def sentence(case, got, want):
        by_mean, by_logvar = (v.flatten()[0].item() for v in got)
        return say.format(
            m=f"{by_mean:.3f}", v=f"{by_logvar:.3f}", K=len(case.z),
            exact_m=f"{2 * (case.mean[0].item() - 1):.3f}", exact_v=f"{case.logvar[0].exp().item():.3f}",
        )  # fmt: skip

    return sentence


_KNOWN = (
    Known(
        _made(of_logvar=lambda s, logvar: torch.ones_like(s)),
        _says(
            "For f = (ℓ − 1)² the exact ∂/∂logvar of the first component is {exact_v}; yours is {v}: the derivative "
            "by s, and s is still to be differentiated."
        ),
    ),
    Known(
        _made(of_logvar=lambda s, logvar: s),
        _says(
            "For f = (ℓ − 1)² the exact ∂/∂logvar of the first component is {exact_v}; yours is {v}: a half is lost."
        ),
    ),
    Known(
        _made(of_logvar=lambda s, logvar: s**2 / 2),
        _says(
            "For f = (ℓ − 1)² the exact ∂/∂logvar of the first component is {exact_v}; yours is {v}: the inner "
            "derivative has s² where s belongs."
        ),
    ),
    Known(
        _made(of_logvar=lambda s, logvar: 1 / (2 * s)),
        _says(
            "For f = (ℓ − 1)² the exact ∂/∂logvar of the first component is {exact_v}; yours is {v}: that is ∂/∂s², "
            "and the network gives the logarithm of s²."
        ),
    ),
    Known(
        _made(weigh=lambda slope, z: slope),
        _says(
            "For f = (ℓ − 1)² the exact ∂/∂logvar of the first component is {exact_v}; yours is {v}: the derivative of "
            "m + s z by s is not 1."
        ),
    ),
    Known(
        _made(deviation=lambda logvar: logvar.exp()),
        _says(
            "For f = (ℓ − 1)² the exact ∂/∂logvar of the first component is {exact_v}; yours is {v}: exp(logvar) is "
            "the variance, and z is multiplied by a deviation."
        ),
    ),
    Known(
        _made(deviation=lambda logvar: logvar.exp(), of_logvar=lambda s, logvar: s),
        _says(
            "For f = (ℓ − 1)² the exact ∂/∂logvar of the first component is {exact_v}; yours is {v}: logvar was taken "
            "for log s."
        ),
    ),
    Known(
        _made(deviation=lambda logvar: logvar, of_logvar=lambda s, logvar: torch.ones_like(s)),
        _says("Your derivatives are {m} and {v}: logvar was used as the deviation itself. It may be negative."),
    ),
    Known(
        _made(at=lambda mean, s, z: mean + 0 * z),
        _says(
            "Your ∂/∂logvar of the first component is {v}, and {exact_v} is exact for f = (ℓ − 1)²: f′ was taken at "
            "the mean of the code, so that no draw enters it."
        ),
    ),
    Known(
        _made(at=lambda mean, s, z: mean + s * z[:1].expand_as(z)),
        _says(
            "Your derivatives are {m} and {v}, where {exact_m} and {exact_v} are exact: all {K} draws used the first z."
        ),
    ),
    Known(
        lambda slope, mean, logvar, z: _slopes(slope, mean, logvar, z[:1]),
        _says("Your derivatives are {m} and {v}, where {exact_m} and {exact_v} are exact: one draw of {K} was used."),
    ),
    Known(
        _made(over=lambda x: x.sum(0)),
        _says("Your derivatives are {m} and {v}, {K} times too large: a sum over the draws. An expectation is a mean."),
    ),
    Known(
        _made(over=lambda x: x.mean()),
        _says("You return two single numbers, {m} and {v}: the mean is over the draws; each component has its own."),
    ),
    Known(
        _made(order=lambda a, b: (b, a)),
        _says("You return {m} first, and {exact_m} is exact for ∂/∂mean: the order is ∂/∂mean, then ∂/∂logvar."),
    ),
)


def _square(latent):
    return 2 * (latent - 1)


def _wave(latent):
    return latent.cos()


def _case(slope, K, d, seed, dtype=f64):
    mean, logvar = normal(2, d, seed=seed, dtype=dtype)
    return {"slope": slope, "mean": mean, "logvar": 0.5 * logvar - 1.6, "z": normal(K, d, seed=seed + 1, dtype=dtype)}


def _try(code_slopes):
    cases = [
        _case(_square, 4000, 3, 1),
        _case(_wave, 50, 4, 11),
        _case(_wave, 5, 5, 21, torch.float32),
        _case(_square, 1, 2, 31),
    ]
    compare(code_slopes, _slopes, cases, _KNOWN, ("∂/∂mean", "∂/∂logvar"))


code_slopes = Exercise(
    title="A gradient through a draw",
    kind="implement",
    answers=("code_slopes",),
    trial=_try,
    points=3,
    difficulty=2,
    minutes=15,
    hints=(
        "Write the draw as ℓ = m + s z with s made of logvar. (5.4) has the derivatives by m and by s.",
        "For logvar the chain rule goes on: ∂/∂logvar = ∂s/∂logvar · ∂/∂s, and s = exp(logvar/2). Average over the "
        "draws.",
        "s = exp(logvar/2), f′ = slope(mean + s z); then f′.mean(0) and (f′ z).mean(0) · s/2.",
    ),
)
