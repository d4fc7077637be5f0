"""Exercise 2.2, the posterior over several steps at once: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import alpha_bars, f64, normal
from ldm_edu.check.exercise import Exercise


def _made(x_0, x_t, s, t, alpha_bar, ratio=None, before=None):
    """The posterior with another α of the step, or another ᾱ_s, put in its place."""
    before = alpha_bar[s] if before is None else before
    ratio = alpha_bar[t] / before if ratio is None else ratio
    rest = 1 - alpha_bar[t]
    mean = (before.sqrt() * (1 - ratio) / rest).item() * x_0 + (ratio.sqrt() * (1 - before) / rest).item() * x_t
    return mean, ((1 - before) / rest * (1 - ratio)).item()


def _posterior(x_0, x_t, s, t, alpha_bar):
    return _made(x_0, x_t, s, t, alpha_bar)


def _with_factors(factors):
    """Other factors of x_0 and x_t, from (ᾱ_s, ᾱ_t, α of the step)."""

    def wrong(x_0, x_t, s, t, alpha_bar):
        of_x_0, of_x_t = factors(alpha_bar[s], alpha_bar[t], alpha_bar[t] / alpha_bar[s])
        return of_x_0.item() * x_0 + of_x_t.item() * x_t, _posterior(x_0, x_t, s, t, alpha_bar)[1]

    return wrong


def _with_variance(variance):
    def wrong(x_0, x_t, s, t, alpha_bar):
        right = _posterior(x_0, x_t, s, t, alpha_bar)
        return right[0], variance(right[1], (1 - alpha_bar[t] / alpha_bar[s]).item())

    return wrong


def _says(text):
    return lambda case, got, want: text.format(s=case.s, t=case.t, variance=f"{got[1].item():.4f}")


_KNOWN = (
    Known(
        lambda x_0, x_t, s, t, alpha_bar: _posterior(x_0, x_t, t - 1, t, alpha_bar),
        _says("For s = {s}, t = {t} your variance is {variance}, that of the posterior at t − 1: s was not used."),
    ),
    Known(
        lambda x_0, x_t, s, t, alpha_bar: _made(x_0, x_t, s, t, alpha_bar, ratio=alpha_bar[t] / alpha_bar[t - 1]),
        _says(
            "For s = {s}, t = {t} your variance is {variance}: you took the α of one step, but from s to t are several."
        ),
    ),
    Known(
        _with_variance(lambda right, beta: beta),
        _says(
            "For s = {s}, t = {t} your variance is {variance}: so much noise the steps from s to t add, seen from x_s. "
            "Whoever also knows x_0 is surer than that."
        ),
    ),
    Known(
        _with_variance(lambda right, beta: right**0.5),
        _says("For s = {s}, t = {t} you return {variance}, the deviation; the variance is asked."),
    ),
    Known(
        _with_factors(lambda a, b, r: (r.sqrt() * (1 - a) / (1 - b), a.sqrt() * (1 - r) / (1 - b))),
        lambda case, got, want: (
            f"For s = {case.s}, t = {case.t} your mean is off by {_off(got, want):.4f}: the factors of x_0 and x_t "
            "have changed places. At s = 0 all the weight must be on x_0."
        ),
    ),
    Known(
        _with_factors(lambda a, b, r: (b.sqrt() * (1 - r) / (1 - b), r.sqrt() * (1 - a) / (1 - b))),
        lambda case, got, want: (
            f"For s = {case.s}, t = {case.t} your mean is off by {_off(got, want):.4f}: x_0 stands with √ᾱ_t. The "
            "mean is one of x_s, so what belongs to it is √ᾱ at s."
        ),
    ),
    Known(
        _with_factors(lambda a, b, r: (a * (1 - r) / (1 - b), r * (1 - a) / (1 - b))),
        lambda case, got, want: (
            f"For s = {case.s}, t = {case.t} your mean is off by {_off(got, want):.4f}: the factors lack square roots."
        ),
    ),
    Known(
        _with_factors(lambda a, b, r: (a.sqrt() * (1 - r), r.sqrt() * (1 - a))),
        lambda case, got, want: (
            f"For s = {case.s}, t = {case.t} your mean is off by {_off(got, want):.4f}: both factors lack the "
            "denominator 1 − ᾱ_t."
        ),
    ),
)


def _off(got, want):
    return (got[0] - want[0]).abs().max().item()


def _case(shape, s, t, T, seed, dtype=f64):
    x_0, x_t = normal(*shape, seed=seed, dtype=dtype), normal(*shape, seed=seed + 50, dtype=dtype)
    return {"x_0": x_0, "x_t": x_t, "s": s, "t": t, "alpha_bar": alpha_bars(T, seed)}


def _try(posterior):
    cases = [
        _case((4, 3), 3, 7, 10, 1),
        _case((2, 1, 3, 5), 4, 5, 8, 2),
        _case((1, 2), 0, 6, 6, 3),  # to clean data, from the end
        _case((1, 2), 0, 1, 1, 4),
        _case((2, 2), 2, 9, 9, 5, torch.float32),
    ]
    compare(posterior, _posterior, cases, _KNOWN, ("the mean", "the variance"))


posterior = Exercise(
    title="The posterior over several steps",
    kind="implement",
    answers=("posterior",),
    trial=_try,
    points=3,
    difficulty=2,
    minutes=20,
    hints=(
        "The steps from s to t are together one Gaussian step. What are its α and its β?",
        "Its α is ᾱ_t/ᾱ_s, its β is 1 − ᾱ_t/ᾱ_s. Now (2.10) holds with s in the place of t − 1.",
        "mean: √ᾱ_s β/(1−ᾱ_t) x_0 + √α (1−ᾱ_s)/(1−ᾱ_t) x_t; variance: (1−ᾱ_s)/(1−ᾱ_t) β, with that α and β.",
    ),
)
