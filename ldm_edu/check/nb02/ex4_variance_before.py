"""Exercise 2.4, the variance after a step back: how its answers are checked."""

from __future__ import annotations

import math

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.exercise import Exercise

ARGUMENTS = ("alpha_t", "alpha_bar_t", "data_variance", "step_variance")


def _parts(alpha_t, alpha_bar_t, data_variance, step_variance, of_eps=None, best=None):
    """Var[x_t], and the factor k of x_t in the mean, for a factor of ε̂ and a factor of x_t in ε̂."""
    total = alpha_bar_t * data_variance + 1 - alpha_bar_t
    root = math.sqrt(1 - alpha_bar_t)
    of_eps = (1 - alpha_t) / root if of_eps is None else of_eps
    best = root / total if best is None else best
    return total, (1 - of_eps * best) / math.sqrt(alpha_t)


def _variance(alpha_t, alpha_bar_t, data_variance, step_variance):
    total, k = _parts(alpha_t, alpha_bar_t, data_variance, step_variance)
    return k**2 * total + step_variance


def _with(result):
    """Another way to put Var[x_t], k and the step's variance together."""

    def wrong(**case):
        return result(*_parts(**case), case["step_variance"])

    return wrong


def _standard(**case):
    return case["alpha_t"] + case["step_variance"]


def _standard_guess(**case):
    total, k = _parts(**case, best=math.sqrt(1 - case["alpha_bar_t"]))
    return k**2 * total + case["step_variance"]


def _claim(**case):
    total, k = _parts(**case, of_eps=math.sqrt(1 - case["alpha_t"]))
    return k**2 * total + case["step_variance"]


_KNOWN = (
    Known(
        _standard,
        "You get {got:.4f} for data of variance {data_variance}, and the same for any other: this is (2.19), which "
        "holds for variance 1.",
    ),
    Known(
        _standard_guess,
        "You get {got:.4f} with the guess ε̂ = √(1−ᾱ_t) x_t. It is the best one for data of variance 1 only; these "
        "have {data_variance}.",
    ),
    Known(
        _with(lambda total, k, v: k**2 * total),
        "You get {got:.4f} without the fresh noise, which adds its variance {step_variance}.",
    ),
    Known(
        _with(lambda total, k, v: k**2 * total + v**2),
        "You get {got:.4f}: {step_variance} is a variance already and must not be squared.",
    ),
    Known(
        _with(lambda total, k, v: k**2 * total + math.sqrt(v)),
        "You get {got:.4f}: the root of {step_variance} was added, a deviation. Variances add.",
    ),
    Known(
        _with(lambda total, k, v: abs(k) * total + v),
        "You get {got:.4f}: a factor in front of x_t comes out of its variance squared.",
    ),
    Known(
        _with(lambda total, k, v: k**2 + v),
        "You get {got:.4f} as if x_t had variance 1; for data of variance {data_variance} it has another.",
    ),
    Known(_claim, "You get {got:.4f} with √β_t as the factor of ε̂: that is the claim's step, (2.15), not DDPM's."),
)


def _try(variance_before):
    rows = [
        (0.8, 0.72, 0.25, 0.1),
        (0.9, 0.3, 4.0, 0.05),
        (0.7, 0.5, 0.0, 0.3),  # all data are one point
        (0.6, 0.6, 2.0, 0.0),  # the last step
        (0.99, 0.01, 1.0, 0.01),
    ]
    cases = [dict(zip(ARGUMENTS, row, strict=True)) for row in rows]
    compare(variance_before, _variance, cases, _KNOWN, ("the variance",))


variance_before = Exercise(
    title="How wide is x after a step back?",
    kind="derive",
    answers=("variance_before",),
    trial=_try,
    points=2,
    written=3,
    difficulty=3,
    minutes=30,
    hints=(
        "First find Var[x_t]. Then the best guess ε̂ = E[ε | x_t]: it is linear in x_t, with the factor covariance over "
        "variance.",
        "Var[x_t] = c = ᾱ_t s² + 1 − ᾱ_t, and Cov[ε, x_t] = √(1−ᾱ_t), so ε̂ = √(1−ᾱ_t)/c · x_t. Put it into (2.12).",
        "The mean is k x_t with k = (1 − β_t/c)/√α_t. The variance after the step is k² c + v.",
    ),
)
