"""Exercise 3.3, the score of a noisy training set: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import alpha_bars, f64, normal
from ldm_edu.check.exercise import Exercise


def _made(shrink=torch.sqrt, width=2.0, over=lambda noise: noise, sign=1.0, dim=1, hard=False):
    """The score with one thing done differently; `noise` is 1 − ᾱ_t."""

    def score(x_t, t, points, alpha_bar):
        bar = alpha_bar[t].to(x_t.dtype)
        away = shrink(bar) * points[None] - x_t[:, None]
        logits = -away.square().sum(2) / (width * (1 - bar))
        chance = torch.softmax(logits, dim)
        if hard:
            chance = torch.nn.functional.one_hot(logits.argmax(1), len(points)).to(x_t.dtype)
        return sign * (chance[..., None] * away).sum(1) / over(1 - bar)

    return score


_score = _made()


def _equal_shares(x_t, t, points, alpha_bar):
    bar = alpha_bar[t].to(x_t.dtype)
    return (bar.sqrt() * points.mean(0) - x_t) / (1 - bar)


def _underflows(x_t, t, points, alpha_bar):
    """Right, but with exponentials that are not kept from 0."""
    bar = alpha_bar[t].to(x_t.dtype)
    away = bar.sqrt() * points[None] - x_t[:, None]
    chance = torch.exp(-away.square().sum(2) / (2 * (1 - bar)))
    return ((chance / chance.sum(1, keepdim=True))[..., None] * away).sum(1) / (1 - bar)


def _as_noise(x_t, t, points, alpha_bar):
    return -_score(x_t, t, points, alpha_bar) * (1 - alpha_bar[t]).sqrt().to(x_t.dtype)


def _says(text):
    """A sentence with how much longer than it should be the typical arrow is."""
    return lambda case, got, want: text.format(
        t=case.t, times=f"{(got.norm(dim=1).median() / want.norm(dim=1).median()).item():.3f}",
        off=f"{(got - want).abs().max().item():.4f}", noise=f"{(1 - case.alpha_bar[case.t]).item():.4f}",
    )  # fmt: skip


_KNOWN = (
    Known(
        _as_noise,
        _says("At t = {t} your arrows are {times} times as long as they should be and point away: this is E[ε | x_t]."),
    ),
    Known(
        _made(sign=-1.0),
        _says(
            "At t = {t} your arrows have the right length ({times}), and point away from the data: the sign is wrong."
        ),
    ),
    Known(
        _made(over=torch.ones_like),
        _says("At t = {t} your arrows are {times} times as long as they should be: the variance {noise} must divide."),
    ),
    Known(
        _made(over=torch.sqrt),
        _says(
            "At t = {t} your arrows are {times} times as long as they should be: you divide by √(1−ᾱ_t), a deviation, "
            "where the Gaussian's exponent has the variance."
        ),
    ),
    Known(
        _made(shrink=torch.ones_like),
        _says(
            "At t = {t} you are off by {off}: in x_t the points are shrunk by √ᾱ_t, and yours stand where they were."
        ),
    ),
    Known(
        _made(shrink=lambda bar: bar),
        _says("At t = {t} you are off by {off}: the points are shrunk by ᾱ_t in place of its root."),
    ),
    Known(
        _made(width=1.0),
        _says("At t = {t} you are off by {off}: the exponent of a Gaussian is distance² over TWICE the variance."),
    ),
    Known(
        _made(dim=0),
        _says("At t = {t} you are off by {off}: the shares must add up to 1 over the points, yours do over the batch."),
    ),
    Known(
        _made(hard=True),
        _says("At t = {t} you are off by {off}: you follow the nearest point only; each point has its share."),
    ),
    Known(
        _underflows,
        _says(
            "At t = {t} you return nan: far from all points every exponential is 0, and 0/0 is no share. Shares do not "
            "change when the largest exponent is taken off all of them first."
        ),
    ),
    Known(
        _equal_shares,
        _says("At t = {t} you are off by {off}: all points have the same share; a near one must have a larger share."),
    ),
)


def _case(B, K, D, t, T, seed, dtype=f64):
    x_t, points = normal(B, D, seed=seed, dtype=dtype), normal(K, D, seed=seed + 1, dtype=dtype)
    return {"x_t": x_t, "t": t, "points": points, "alpha_bar": alpha_bars(T, seed)}


def _try(score):
    cases = [
        _case(40, 5, 2, 4, 9, 1),
        _case(3, 7, 4, 6, 6, 2),
        _case(1, 1, 3, 2, 5, 3),  # one point: a Gaussian
        _case(2, 3, 1, 1, 4, 4, torch.float32),
        _case(4, 5, 64, 1, 9, 1),  # far from every point: each exponential by itself is 0
    ]
    compare(score, _score, cases, _KNOWN, ("the score",))


score = Exercise(
    title="The score of a noisy training set",
    kind="implement",
    answers=("score",),
    trial=_try,
    points=4,
    difficulty=3,
    minutes=30,
    hints=(
        "Write down the density of x_t: a mean of Gaussians, one around each shrunk point. Then ∇ log q = ∇q / q.",
        "The gradient is a weighted mean of (√ᾱ_t μ_k − x_t)/(1−ᾱ_t). The weights: how likely is each point?",
        "The weights are softmax over k of −‖x_t − √ᾱ_t μ_k‖² / (2 (1−ᾱ_t)); the differences have shape (B, K, D).",
    ),
)  # fmt: skip
