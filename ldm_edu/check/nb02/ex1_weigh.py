"""Exercise 2.1, two witnesses weighed for any β_1 and β_2: how its answers are checked."""

from __future__ import annotations

import math

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.exercise import Exercise


def _parts(beta_1, beta_2, power_2=None):
    """The two entries of B, and A, of (2.7); `power_2` is the factor of x_1² that the second step gives."""
    power_2 = (1 - beta_2) / beta_2 if power_2 is None else power_2
    return math.sqrt(1 - beta_1) / beta_1, math.sqrt(1 - beta_2) / beta_2, 1 / beta_1 + power_2


def _weigh(beta_1, beta_2):
    of_x_0, of_x_2, total = _parts(beta_1, beta_2)
    return of_x_0 / total, of_x_2 / total, 1 / total


def _with(change):
    return lambda beta_1, beta_2: change(*_parts(beta_1, beta_2))


def _no_alpha(beta_1, beta_2):
    of_x_0, of_x_2, total = _parts(beta_1, beta_2, 1 / beta_2)
    return of_x_0 / total, of_x_2 / total, 1 / total


def _jump_for_step(beta_1, beta_2):
    alpha, spread = 1 - beta_2, 1 - (1 - beta_1) * (1 - beta_2)
    total = alpha / spread + 1 / beta_1
    return math.sqrt(1 - beta_1) / beta_1 / total, math.sqrt(alpha) / spread / total, 1 / total


def _squared_roots(beta_1, beta_2):
    _, _, total = _parts(beta_1, beta_2)
    return (1 - beta_1) / beta_1 / total, (1 - beta_2) / beta_2 / total, 1 / total


def _variance(say):
    """A sentence with the variance that came out."""
    return lambda case, got, want: say.format(
        betas=f"({case.beta_1}, {case.beta_2})", variance=f"{got[2].item():.4f}", x_0=f"{got[0].item():.4f}",
        x_2=f"{got[1].item():.4f}",
    )  # fmt: skip


_KNOWN = (
    Known(
        _with(lambda a, b, total: (a / total, b / total, total)),
        _variance("For β = {betas} your variance is {variance}: that is how sure one is, the inverse of the variance."),
    ),
    Known(
        _with(lambda a, b, total: (a / total, b / total, math.sqrt(1 / total))),
        _variance("For β = {betas} you return {variance}, the deviation; the variance is asked."),
    ),
    Known(
        _with(lambda a, b, total: (b / total, a / total, 1 / total)),
        _variance("For β = {betas} x_0 gets the weight {x_0} and x_2 the weight {x_2}: they have changed places."),
    ),
    Known(
        _with(lambda a, b, total: (a, b, 1 / total)),
        _variance("For β = {betas} x_0 gets the weight {x_0}: B was not divided by A when the square was completed."),
    ),
    Known(
        _no_alpha,
        _variance(
            "For β = {betas} your variance is {variance}. "
            "In (x_2 − √α_2 x_1)² the x_1 has a factor, and x_1² its square."
        ),
    ),
    Known(
        _jump_for_step,
        _variance(
            "For β = {betas} your variance is {variance}: you gave the last step the noise of the jump, 1 − ᾱ_2. "
            "From x_1 to x_2 only β_2 is added."
        ),
    ),
    Known(
        _squared_roots,
        _variance("For β = {betas} x_0 gets the weight {x_0}: the cross terms of the squares hold √α, not α."),
    ),
)


def _try(weigh):
    pairs = [(0.2, 0.5), (0.1, 0.2), (0.9, 0.05), (0.001, 0.5), (0.5, 0.001)]
    cases = [{"beta_1": a, "beta_2": b} for a, b in pairs]
    compare(weigh, _weigh, cases, _KNOWN, ("the weight of x_0", "the weight of x_2", "the variance"))


weigh = Exercise(
    title="Two witnesses, weighed",
    kind="derive",
    answers=("weigh",),
    trial=_try,
    points=2,
    written=3,
    difficulty=2,
    minutes=25,
    hints=(
        "Follow (2.6) to (2.9) with letters. Which two squares stand in the exponent, and what is each divided by?",
        "Collect x_1²: its factor is A = α_2/β_2 + 1/β_1. Collect x_1: B = √α_2/β_2 x_2 + √α_1/β_1 x_0.",
        "The mean is B/A and the variance 1/A, so x_0 has the weight √α_1/β_1 / A and x_2 the weight √α_2/β_2 / A.",
    ),
)
