"""Exercise 1.1, the jump: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import along, bars, betas, f64, normal
from ldm_edu.check.exercise import Exercise


def _jump(x_0, t, eps, beta):
    bar = along(bars(beta), t, x_0)
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * eps


def _jump_with(signal, noise):
    """The jump with other factors, made from the ᾱ table and the β table."""

    def wrong(x_0, t, eps, beta):
        bar = bars(beta)
        return along(signal(bar, beta), t, x_0) * x_0 + along(noise(bar, beta), t, x_0) * eps

    return wrong


def _spread(say):
    """A sentence about the variance of the example with the largest t; the data and the noise have variance 1."""
    return lambda case, got, want: say.format(
        t=int(case.t.max()), variance=f"{got[case.t.argmax()].var(correction=0).item():.2f}"
    )


def _shifted(table, by):
    return table[(torch.arange(len(table)) + by).clamp(0, len(table) - 1)]


def _one_axis_off(x_0, t, eps, beta):
    bar = bars(beta)[t].to(x_0.dtype)  # (B,) times (B, *D) lines up with the last axis
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * eps


def _first_t_only(x_0, t, eps, beta):
    return _jump(x_0, t[:1].expand_as(t), eps, beta)


_JUMP_KNOWN = (
    Known(
        _jump_with(lambda bar, beta: bar, lambda bar, beta: 1 - bar),
        _spread("Your x_t has variance {variance} at t = {t}, from data of variance 1: are the square roots missing?"),
    ),
    Known(
        _jump_with(lambda bar, beta: bar.sqrt(), lambda bar, beta: 1 - bar),
        _spread("Your x_t has variance {variance} at t = {t}. Signal looks right: is a root missing on the noise?"),
    ),
    Known(
        _jump_with(lambda bar, beta: bar, lambda bar, beta: (1 - bar).sqrt()),
        _spread("Your x_t has variance {variance} at t = {t}. Noise looks right: is a root missing on the signal?"),
    ),
    Known(
        _jump_with(lambda bar, beta: bar.sqrt(), lambda bar, beta: 1 - bar.sqrt()),
        _spread(
            "Your x_t has variance {variance} at t = {t}: your two factors add up to 1; it is their squares that must."
        ),
    ),
    Known(
        _jump_with(lambda bar, beta: (1 - beta).sqrt(), lambda bar, beta: beta.sqrt()),
        lambda case, got, want: (
            f"At t = {int(case.t.max())} your x_t still follows x_0 with the factor "
            f"{_slope(case, got):.2f}: these are the factors of one single step, not of the jump over all t."
        ),
    ),
    Known(
        _jump_with(lambda bar, beta: (1 - bar).sqrt(), lambda bar, beta: bar.sqrt()),
        lambda case, got, want: (
            f"At t = {int(case.t.max())} your x_t follows x_0 with the factor {_slope(case, got):.2f}, which rises "
            "with t: signal and noise have changed places."
        ),
    ),
    Known(
        _jump_with(lambda bar, beta: _shifted(bar, -1).sqrt(), lambda bar, beta: (1 - _shifted(bar, -1)).sqrt()),
        lambda case, got, want: (
            f"At t = {int(case.t.max())} you use the table's entry of t − 1: x_t follows x_0 with the factor "
            f"{_slope(case, got):.4f}. Here index 0 is clean data, so the entry of t stands at [t]."
        ),
    ),
    Known(
        _jump_with(lambda bar, beta: _shifted(bar, 1).sqrt(), lambda bar, beta: (1 - _shifted(bar, 1)).sqrt()),
        lambda case, got, want: (
            f"At t = {int(case.t.max())} you use an entry one too late: x_t follows x_0 with the factor "
            f"{_slope(case, got):.4f}. beta[0] is 0 and belongs to the product, so no index has to be shifted."
        ),
    ),
    Known(
        _jump_with(lambda bar, beta: beta.cumprod(0).sqrt(), lambda bar, beta: (1 - beta.cumprod(0)).sqrt()),
        lambda case, got, want: (
            f"At t = {int(case.t.max())} your x_t follows x_0 with the factor {_slope(case, got):.2f}, and so at every "
            "t: you multiplied the β's. ᾱ is a product of something else."
        ),
    ),
    Known(
        _first_t_only,
        lambda case, got, want: (
            f"All examples get the noise of t = {int(case.t[0])}, though t = {case.t.tolist()[:4]}: each has its own t."
        ),
    ),
    Known(
        _one_axis_off,
        lambda case, got, want: (
            f"Your factors, shape {tuple(case.t.shape)}, were lined up with the last axis of x_0, shape "
            f"{tuple(case.x_0.shape)}. It went unnoticed because both are {len(case.t)} long: every pixel column got "
            "another t."
        ),
    ),
)


def _slope(case, got):
    """How much of x_0 is in the example with the largest t."""
    i = case.t.argmax()
    x_0 = case.x_0[i].double().flatten()
    return (got[i].flatten() @ x_0 / (x_0 @ x_0)).item()


def _jump_case(shape, t, T, seed, dtype=f64):
    return {
        "x_0": normal(*shape, seed=seed, dtype=dtype),
        "t": torch.tensor(t),
        "eps": normal(*shape, seed=seed + 1, dtype=dtype),
        "beta": betas(T, seed),
    }


def _try_jump(jump):
    cases = [
        _jump_case((2, 4000), [3, 9], 12, 1),
        _jump_case((3, 1, 5, 7), [0, 4, 6], 6, 2),  # the ends, and pictures that are not square
        _jump_case((4, 4), [1, 3, 2, 4], 5, 3),  # as many examples as entries
        _jump_case((1, 2, 3), [1], 1, 4),
        _jump_case((2, 3), [8, 5], 8, 5, torch.float32),
    ]
    compare(jump, _jump, cases, _JUMP_KNOWN, ("x_t",))


jump = Exercise(
    title="The jump, with a time for each example",
    kind="implement",
    answers=("jump",),
    trial=_try_jump,
    points=3,
    difficulty=1,
    minutes=10,
    hints=(
        "Which equation of the notebook goes from x_0 to x_t at once, and what table does it need besides β?",
        "ᾱ is the running product of 1 − β: torch has cumprod. Entry 0 is 1 because β_0 = 0.",
        "alpha_bar[t] has shape (B,). Give it the shape (B, 1, …, 1) with view, then take √ᾱ x_0 + √(1−ᾱ) ε.",
    ),
)
