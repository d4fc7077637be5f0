"""Exercise 1.4, from preserving to exploding: how its answers are checked."""

from __future__ import annotations

import math

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import normal
from ldm_edu.check.exercise import Exercise


def _to_exploding(x_t, alpha_bar_t):
    return x_t / math.sqrt(alpha_bar_t), math.sqrt(1 / alpha_bar_t - 1)


def _sigma(say):
    return lambda case, got, want: say.format(
        bar=case.alpha_bar_t, sigma=f"{got[1].item():.4f}", ratio=f"{(got[0] / case.x_t).flatten()[0].item():.4f}"
    )


_EXPLODING_KNOWN = (
    Known(
        lambda x_t, alpha_bar_t: (x_t / alpha_bar_t, _to_exploding(x_t, alpha_bar_t)[1]),
        _sigma("At ᾱ_t = {bar} you multiply x_t by {ratio}, so that x_0 does not get the factor 1: which does it get?"),
    ),
    Known(
        lambda x_t, alpha_bar_t: (x_t * math.sqrt(alpha_bar_t), _to_exploding(x_t, alpha_bar_t)[1]),
        _sigma(
            "At ᾱ_t = {bar} you multiply x_t by {ratio}: that shrinks it once more, in place of undoing the shrinking."
        ),
    ),
    Known(
        lambda x_t, alpha_bar_t: (x_t, _to_exploding(x_t, alpha_bar_t)[1]),
        _sigma(
            "σ = {sigma} is right, but x_t is as it was: it must be brought to the scale on which x_0 has the factor 1."
        ),
    ),
    Known(
        lambda x_t, alpha_bar_t: (_to_exploding(x_t, alpha_bar_t)[0], math.sqrt(1 - alpha_bar_t)),
        _sigma("Your σ = {sigma} is the noise's factor before the rescaling; it is rescaled with the rest."),
    ),
    Known(
        lambda x_t, alpha_bar_t: (_to_exploding(x_t, alpha_bar_t)[0], 1 / alpha_bar_t - 1),
        _sigma("Your σ = {sigma} at ᾱ_t = {bar} is a variance, 1/SNR; σ is a deviation."),
    ),
    Known(
        lambda x_t, alpha_bar_t: (_to_exploding(x_t, alpha_bar_t)[0], math.sqrt(alpha_bar_t / (1 - alpha_bar_t))),
        _sigma("Your σ = {sigma} at ᾱ_t = {bar} falls as the noise grows: it is √SNR, upside down."),
    ),
    Known(
        lambda x_t, alpha_bar_t: tuple(reversed(_to_exploding(x_t, alpha_bar_t))),
        lambda case, got, want: "You return σ first: the order is x, then σ.",
    ),
)


def _try_to_exploding(to_exploding):
    cases = [
        {"x_t": normal(3, 4, seed=1), "alpha_bar_t": 0.3},
        {"x_t": normal(1, 2, 5, 3, seed=2), "alpha_bar_t": 0.85},
        {"x_t": normal(2, 1, seed=3, dtype=torch.float32), "alpha_bar_t": 0.04},
        {"x_t": normal(2, 2, seed=4), "alpha_bar_t": 1.0},
    ]
    compare(to_exploding, _to_exploding, cases, _EXPLODING_KNOWN, ("x", "sigma"))


to_exploding = Exercise(
    title="From variance preserving to variance exploding",
    kind="implement",
    answers=("to_exploding",),
    trial=_try_to_exploding,
    points=2,
    difficulty=1,
    minutes=10,
    hints=(
        "In the exploding process x_0 has the factor 1. What must you divide (1.8) by?",
        "Divide by √ᾱ_t, both terms. The factor that ε has then is σ_t.",
        "x = x_t / √ᾱ_t and σ = √((1 − ᾱ_t)/ᾱ_t), as in (1.20).",
    ),
)
