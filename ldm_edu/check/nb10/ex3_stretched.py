"""Exercise 10.3, as much contrast as pictures have: how its answers are checked."""

from __future__ import annotations

import math

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.exercise import Exercise


def _made(factor=lambda V, M: math.sqrt(V / (V - M)), mse=lambda V, M, k: M + (k - 1) ** 2 * (V - M)):
    """The factor and the error that it leads to, with one of them from another formula."""

    def stretched(variance, least):
        k = factor(variance, least)
        return k, mse(variance, least, k)

    return stretched


_stretched = _made()


def _says(text):
    """A sentence with k, the variance that a then has, the MSE, and its ratio to the least one."""

    def sentence(case, got, want):
        k, mse = (value.item() for value in got)
        V, M = case.variance, case.least
        return text.format(
            k=f"{k:.4f}", spread=f"{k * k * (V - M):.4f}", V=V, M=M, mse=f"{mse:.4f}", times=f"{mse / M:.3f}"
        )

    return sentence


_WIDTH = "With your k = {k} the variance of a is {spread}, and pictures have {V}: "
_COST = "Your k is right. Your MSE is {mse}, {times} times the least: "

_KNOWN = (
    Known(
        lambda variance, least: _stretched(variance, least)[::-1],
        "For V = {variance} and M = {least} your two results have changed places: k comes first.",
    ),
    Known(_made(lambda V, M: 1.0), _says(_WIDTH + "this is the posterior mean itself, unstretched.")),
    Known(_made(lambda V, M: V / (V - M)), _says(_WIDTH + "a variance grows with the square of a factor.")),
    Known(_made(lambda V, M: math.sqrt((V - M) / V)), _says(_WIDTH + "posterior means were made paler still.")),
    Known(
        _made(lambda V, M: math.sqrt(V / M)),
        _says(_WIDTH + "the variance of x̂_0 is not the error that is left; (10.11) ties the two."),
    ),
    Known(
        _made(lambda V, M: math.sqrt((V + M) / V)),
        _says(_WIDTH + "the error was added to the variance of x_0. Do posterior means vary more or less than x_0?"),
    ),
    Known(
        _made(lambda V, M: math.sqrt(V / (V + M))),
        _says(_WIDTH + "x̂_0 was taken to vary by V + M, which is more than x_0 does."),
    ),
    Known(_made(lambda V, M: 1 + M / V), _says(_WIDTH + "this is the first term of a series for small M.")),
    Known(
        _made(mse=lambda V, M, k: 2 * M),
        _says(
            _COST + "that is what a draw costs. The same comes out if k² − 1 stands where the square of k − 1 should."
        ),
    ),
    Known(_made(mse=lambda V, M, k: M), _says(_COST + "only the posterior mean has that, and k = {k} is not 1.")),
    Known(
        _made(mse=lambda V, M, k: (k - 1) ** 2 * (V - M)),
        _says(_COST + "this is the distance from a to the posterior mean alone; (10.6) has two terms."),
    ),
    Known(
        _made(mse=lambda V, M, k: M + (k - 1) ** 2 * V),
        _says(_COST + "k − 1 multiplies x̂_0 − m, whose variance is not {V}."),
    ),
    Known(
        _made(mse=lambda V, M, k: M + (k - 1) * (V - M)),
        _says(_COST + "k − 1 stands there without its square."),
    ),
    Known(
        _made(mse=lambda V, M, k: k**2 * M),
        _says(_COST + "stretching a does not scale its error, as x_0 stays where it is."),
    ),
    Known(
        _made(mse=lambda V, M, k: M + k**2 * (V - M)),
        _says(_COST + "this is the sum of the variances of a and of what is left. How far is a from x̂_0?"),
    ),
)


def _try(stretched):
    cases = [{"variance": V, "least": M} for V, M in ((1.0, 0.36), (0.3, 0.05), (4.0, 3.5), (0.25, 0.2))]
    compare(stretched, _stretched, cases, _KNOWN, ("the factor", "the MSE"))


stretched = Exercise(
    title="As much contrast as pictures have",
    kind="derive",
    answers=("stretched",),
    trial=_try,
    points=2,
    written=3,
    difficulty=2,
    minutes=25,
    hints=(
        "(10.11) gives the variance of x̂_0 from V and M. What does the factor k do to it?",
        "Var[a] = k² (V − M). For the error, split x_0 − a at x̂_0, as (10.6) does; a − x̂_0 = (k − 1)(x̂_0 − m).",
        "k = √(V/(V − M)), and the MSE is M + (k − 1)² (V − M), which is M + (√V − √(V − M))².",
    ),
)
