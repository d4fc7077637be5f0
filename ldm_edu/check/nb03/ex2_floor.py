"""Exercise 3.2, the floor under the loss: how its answers are checked."""

from __future__ import annotations

import math

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.exercise import Exercise


def _of(share):
    """A number made of the signal's power, the noise's power in x_t, and the data's variance."""
    return lambda alpha_bar_t, variance: share(alpha_bar_t * variance, 1 - alpha_bar_t, variance)


_floor = _of(lambda signal, noise, variance: signal / (signal + noise))

_KNOWN = (
    Known(
        _of(lambda signal, noise, variance: noise / (signal + noise)),
        "You get {got:.4f}, and it rises with the noise: this share of ε can be known. The floor is the rest.",
    ),
    Known(
        _of(lambda signal, noise, variance: variance * noise / (signal + noise)),
        "You get {got:.4f}: this is Var[x_0 | x_t], the floor under a loss on x_0.",
    ),
    Known(
        _of(lambda signal, noise, variance: math.sqrt(signal / (signal + noise))),
        "You get {got:.4f}, a deviation: the loss is a squared error, so its floor is a variance.",
    ),
    Known(
        lambda alpha_bar_t, variance: alpha_bar_t,
        "You get {got:.4f} whatever the data's variance {variance} is: that is right for variance 1 only.",
    ),
    Known(
        _of(lambda signal, noise, variance: 1 - math.sqrt(noise) / (signal + noise)),
        "You get {got:.4f}: what is explained is covariance squared over variance; one factor √(1−ᾱ_t) is missing.",
    ),
    Known(
        lambda alpha_bar_t, variance: _floor(alpha_bar_t, math.sqrt(variance)),
        "You get {got:.4f}: {variance} is the variance s² already; no root is needed.",
    ),
    Known(
        lambda alpha_bar_t, variance: _floor(alpha_bar_t, variance**2),
        "You get {got:.4f}: {variance} is the variance s² already; it must not be squared.",
    ),
)  # fmt: skip


def _try(floor):
    pairs = [(0.6, 0.25), (0.2, 3.0), (0.999, 0.01), (0.5, 0.0), (1.0, 0.5), (1e-6, 2.0)]
    compare(floor, _floor, [{"alpha_bar_t": a, "variance": v} for a, v in pairs], _KNOWN, ("the floor",))


floor = Exercise(
    title="The floor under the loss",
    kind="derive",
    answers=("floor",),
    trial=_try,
    points=2,
    written=2,
    difficulty=2,
    minutes=20,
    hints=(
        "By (3.17) the floor is the mean of Var[ε | x_t]. ε and x_t are jointly normal: what is their covariance?",
        "For jointly normal variables Var[ε | x_t] = Var[ε] − Cov[ε, x_t]² / Var[x_t].",
        "Var[ε] = 1, Cov = √(1−ᾱ_t), Var[x_t] = ᾱ_t s² + 1 − ᾱ_t. Put them in and simplify.",
    ),
)
