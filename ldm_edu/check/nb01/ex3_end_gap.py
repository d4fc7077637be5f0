"""Exercise 1.3, the distance of the end from N(0, 1): how its answers are checked."""

from __future__ import annotations

import math

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.exercise import Exercise


def _end_gap(alpha_bar_T, mean, variance):
    return _kl(alpha_bar_T * mean**2, alpha_bar_T * variance + 1 - alpha_bar_T)


def _kl(mean_square, variance):
    return (variance + mean_square - 1 - math.log(variance)) / 2


_GAP_KNOWN = (
    Known(
        lambda alpha_bar_T, mean, variance: _kl(alpha_bar_T * mean**2, 1 - alpha_bar_T),
        (
            "For ᾱ_T = {alpha_bar_T} you get {got:.4f}, whatever the data's variance is. That is for one "
            "fixed x_0; the data's own variance {variance} comes through too, shrunk."
        ),
    ),
    Known(
        lambda alpha_bar_T, mean, variance: _kl(0.0, alpha_bar_T * variance + 1 - alpha_bar_T),
        "Your answer, {got:.4f}, does not depend on the data's mean {mean}: what is the mean of x_T?",
    ),
    Known(
        lambda alpha_bar_T, mean, variance: _kl(mean**2, alpha_bar_T * variance + 1 - alpha_bar_T),
        "You get {got:.4f} with the mean {mean} of x_0 in full: x_T has less of it left.",
    ),
    Known(
        lambda alpha_bar_T, mean, variance: _kl(
            alpha_bar_T**2 * mean**2, alpha_bar_T**2 * variance + (1 - alpha_bar_T) ** 2
        ),
        "You get {got:.4f}: at the end you take ᾱ_T for √ᾱ_T, so that the variance of x_T is too small.",
    ),
    Known(
        lambda alpha_bar_T, mean, variance: _end_gap(alpha_bar_T, mean, variance) / math.log(2),
        "Your {got:.4f} is the right number in bits, 1.44 times that in nats: use the natural logarithm.",
    ),
    Known(
        lambda alpha_bar_T, mean, variance: (
            (
                math.log(alpha_bar_T * variance + 1 - alpha_bar_T)
                + (1 + alpha_bar_T * mean**2) / (alpha_bar_T * variance + 1 - alpha_bar_T)
                - 1
            )
            / 2
        ),
        "Your {got:.4f} is KL(N(0, 1) ‖ q(x_T)): the divergence the other way round averages over q(x_T).",
    ),
    Known(
        lambda alpha_bar_T, mean, variance: 2 * _end_gap(alpha_bar_T, mean, variance),
        "Your {got:.4f} is twice the divergence: the ½ of the Gaussian's exponent is missing.",
    ),
    Known(
        lambda alpha_bar_T, mean, variance: _kl(
            alpha_bar_T * mean**2, math.sqrt(alpha_bar_T * variance + 1 - alpha_bar_T)
        ),
        "You get {got:.4f} with the deviation of x_T where its variance σ² belongs.",
    ),
)


def _try_end_gap(end_gap):
    cases = [
        {"alpha_bar_T": 0.4, "mean": 0.7, "variance": 0.25},
        {"alpha_bar_T": 0.36, "mean": -1.2, "variance": 2.5},
        {"alpha_bar_T": 0.9, "mean": 0.0, "variance": 0.5},
        {"alpha_bar_T": 0.2, "mean": 1.5, "variance": 1.0},
        {"alpha_bar_T": 1.0, "mean": 0.5, "variance": 0.5},  # no noise at all
        {"alpha_bar_T": 1e-9, "mean": 2.0, "variance": 3.0},  # nothing but noise
    ]
    compare(end_gap, _end_gap, cases, _GAP_KNOWN, ("the divergence",))


end_gap = Exercise(
    title="How far is the end from N(0, 1)?",
    kind="derive",
    answers=("end_gap",),
    trial=_try_end_gap,
    points=2,
    written=2,
    difficulty=2,
    minutes=20,
    hints=(
        "First find the distribution of x_T. It is normal; mean and variance follow from (1.8), with x_0 random now.",
        "The two terms of (1.8) are independent, so their variances add: ᾱ_T times the data's, plus 1 − ᾱ_T.",
        "Put mean √ᾱ_T m and variance v = ᾱ_T s² + 1 − ᾱ_T into (1.16): ½ (v + ᾱ_T m² − 1 − log v).",
    ),
)
