"""Exercise 9.6, up with one guidance and down with another: how its answers are checked."""

from __future__ import annotations

import math

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.exercise import Exercise


def _base(v, sigma):
    """How much more a number of N(0, v) grows on the way up to σ than one of N(0, 1), squared."""
    return (1 + sigma**2 / v) / (1 + sigma**2)


def _made(exponent=lambda up, down: (up - down) / 2, base=_base):
    """The factor with another exponent or another base."""

    def comes_back(v, w_up, w_down, sigma):
        return base(v, sigma) ** exponent(w_up, w_down)

    return comes_back


_comes_back = _made()


def _first_order(v, w_up, w_down, sigma):
    return 1 + (w_up - w_down) / 2 * math.log(_base(v, sigma))


def _case(v, w_up, w_down, sigma):
    return {"v": v, "w_up": w_up, "w_down": w_down, "sigma": sigma}


_WHERE = "For v = {v}, w_up = {w_up}, w_down = {w_down}, σ = {sigma} you get {got:.4f}"

_KNOWN = (
    Known(
        lambda v, w_up, w_down, sigma: 1.0,
        _WHERE + ": as if short steps brought everything back. Are the two ways one equation?",
    ),
    Known(
        _made(lambda up, down: (down - up) / 2),
        _WHERE + ": the ways have changed places. On the way up a number grows by exp ∫ of its own slope.",
    ),
    Known(
        _made(lambda up, down: up - down),
        _WHERE + ", the factor of the variance: the integral of σ/(v + σ²) has a factor that got lost.",
    ),
    Known(
        _made(base=lambda v, sigma: 1 + sigma**2 / v),
        _WHERE + ": the part of ε̂(∅) is missing. Which differences does the guidance multiply?",
    ),
    Known(
        _made(base=lambda v, sigma: 1 / v),
        _WHERE + ": this is what σ → ∞ gives, and the walk turns round at a finite σ.",
    ),
    Known(
        _made(base=lambda v, sigma: (v + sigma**2) / (1 + sigma**2)),
        _WHERE + ": the integral was not taken off at its lower end, σ = 0, where it is not zero.",
    ),
    Known(
        _made(base=lambda v, sigma: _base(v**2, sigma)),
        _WHERE + ": v is squared as if it were a deviation; it is a variance.",
    ),
    Known(
        _made(base=lambda v, sigma: (1 + sigma / v) / (1 + sigma)),
        _WHERE + ": noise adds its variance σ² to v, not σ.",
    ),
    Known(
        _first_order,
        _WHERE + ": the first order of (9.13). Here the slopes are linear, and the whole answer can be had.",
    ),
    Known(
        lambda v, w_up, w_down, sigma: math.log(_comes_back(v, w_up, w_down, sigma)),
        _WHERE + ", a logarithm; the factor itself is asked.",
    ),
    Known(
        _made(lambda up, down: up / 2),
        _WHERE + ": the guidance of the way down is not in it.",
    ),
    Known(
        _made(lambda up, down: -down / 2),
        _WHERE + ": the guidance of the way up is not in it.",
    ),
    Known(
        _made(lambda up, down: -up * down / 2),
        _WHERE + ": the two weights are multiplied. Logarithms of the two ways add up.",
    ),
    Known(
        _made(lambda up, down: up / down / 2),
        _WHERE + ": the two weights are divided. Logarithms of the two ways add up.",
    ),
)


def _try(comes_back):
    cases = [
        _case(0.25, 1.0, 3.0, 2.0),
        _case(0.5, 4.0, 1.0, 1.5),
        _case(3.0, 1.0, 2.0, 10.0),  # the condition widens
        _case(0.2, 2.5, 2.5, 5.0),  # one equation
        _case(1.0, 1.0, 5.0, 3.0),  # the condition says nothing
        _case(0.04, 0.0, 1.0, 0.1),
    ]
    compare(comes_back, _comes_back, cases, _KNOWN, ("the factor",))


comes_back = Exercise(
    title="Up with one guidance, down with another",
    kind="derive",
    answers=("comes_back",),
    trial=_try,
    points=2,
    written=4,
    difficulty=3,
    minutes=30,
    hints=(
        "For N(0, v) the exact answer is linear: ε̂ = σ x̄/(v + σ²). With guidance it is a_w(σ) x̄; write down a_w.",
        "dx̄/dσ = a_w(σ) x̄ multiplies x̄ by exp ∫ a_w dσ from 0 to σ. Going down with another w divides by the same with "
        "that w. What is left in the exponent?",
        "(w_up − w_down) ∫ (σ/(v+σ²) − σ/(1+σ²)) dσ, and each integral is half a logarithm: ½ log(1 + σ²/v) and "
        "½ log(1 + σ²).",
    ),
)
