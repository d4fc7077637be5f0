"""Exercise 5.1, the gap of the bound: how its answers are checked."""

from __future__ import annotations

import math

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.exercise import Exercise


def _kl(m, a, mean, b):
    """KL(N(m, a) ‖ N(mean, b)), a and b being variances."""
    return ((a + (m - mean) ** 2) / b - 1 - math.log(a / b)) / 2


def _posterior(x, w, nu):
    """Mean and variance of ℓ given x."""
    return w * x / (w**2 + nu), nu / (w**2 + nu)


def _bound_gap(x, w, nu, m, s):
    return _kl(m, s**2, *_posterior(x, w, nu))


def _log_normal(x, variance):
    return -(x**2) / (2 * variance) - math.log(2 * math.pi * variance) / 2


def _bound(x, w, nu, m, s):
    reconstruction = ((x - w * m) ** 2 + w**2 * s**2) / (2 * nu) + math.log(2 * math.pi * nu) / 2
    return reconstruction + _kl(m, s**2, 0.0, 1.0)


_KNOWN = (
    Known(
        lambda x, w, nu, m, s: _kl(*_posterior(x, w, nu), m, s**2),
        "You get {got:.4f}: the divergence the other way round, which averages over the posterior.",
    ),
    Known(
        lambda x, w, nu, m, s: _kl(m, s**2, 0.0, 1.0),
        "You get {got:.4f}: this is the rate, measured from the prior. The gap is measured from what x leaves likely.",
    ),
    Known(
        _bound,
        "You get {got:.4f}: this is the whole bound L(x). The gap is what it has too much.",
    ),
    Known(
        lambda x, w, nu, m, s: _kl(m, s**2, w * x / (w**2 + nu), nu),
        "You get {got:.4f} with the decoder's variance {nu} for the posterior's: the prior makes ℓ more certain, and w "
        "changes the scale.",
    ),
    Known(
        lambda x, w, nu, m, s: _kl(m, s**2, x / w, nu / w**2),
        "You get {got:.4f} with the posterior's mean at x/w, where only the decoder is asked: the prior pulls it to 0.",
    ),
    Known(
        lambda x, w, nu, m, s: _kl(m, s**2, x / w, nu / (w**2 + nu)),
        "You get {got:.4f}: the variance of the posterior is right, its mean is not x/w. The prior pulls it to 0.",
    ),
    Known(
        lambda x, w, nu, m, s: _kl(m, s**2, w * x / (w**2 + nu), math.sqrt(nu / (w**2 + nu))),
        "You get {got:.4f} with the deviation of the posterior where its variance belongs.",
    ),
    Known(
        lambda x, w, nu, m, s: _kl(m, s, *_posterior(x, w, nu)),
        "You get {got:.4f} with s = {s} where the variance of the encoder belongs.",
    ),
    Known(
        lambda x, w, nu, m, s: _kl(m, s**2, *_posterior(x, w, nu**2)),
        "You get {got:.4f} with ν² for ν: ν = {nu} is a variance already.",
    ),
    Known(
        lambda x, w, nu, m, s: 2 * _bound_gap(x, w, nu, m, s),
        "Your {got:.4f} is twice the gap: a ½ is lost.",
    ),
    Known(
        lambda x, w, nu, m, s: -_bound_gap(x, w, nu, m, s),
        "Your {got:.4f} is negative, and a divergence never is.",
    ),
    Known(
        lambda x, w, nu, m, s: _bound_gap(x, w, nu, m, s) / math.log(2),
        "Your {got:.4f} is the gap in bits; the bound is in nats.",
    ),
)


def _try(bound_gap):
    cases = [
        {"x": 1.3, "w": 0.8, "nu": 0.3, "m": 0.4, "s": 0.5},
        {"x": -0.7, "w": 2.0, "nu": 0.09, "m": 0.1, "s": 0.3},
        {"x": 0.0, "w": -1.1, "nu": 1.7, "m": -0.6, "s": 1.4},
        {"x": 0.9, "w": 0.0, "nu": 0.5, "m": 0.3, "s": 0.8},  # the decoder ignores ℓ: the posterior is the prior
    ]
    compare(bound_gap, _bound_gap, cases, _KNOWN, ("the gap",))


bound_gap = Exercise(
    title="How far off is the bound?",
    kind="derive",
    answers=("bound_gap",),
    trial=_try,
    points=2,
    written=3,
    difficulty=2,
    minutes=25,
    hints=(
        "(5.3) says what the gap is a divergence between. First find p(ℓ|x): collect ℓ and ℓ² in log p(x|ℓ) + log "
        "p(ℓ).",
        "The exponent is −½ (w²/ν + 1) ℓ² + (w x/ν) ℓ + …: normal, with the variance ν/(w²+ν) and the mean w x/(w²+ν).",
        "With a = s², b = ν/(w²+ν) and μ = w x/(w²+ν): ½ ((a + (m − μ)²)/b − 1 − log(a/b)).",
    ),
)
