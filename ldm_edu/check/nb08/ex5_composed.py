"""Exercise 8.5, two conditions at once: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import f64, normal
from ldm_edu.check.exercise import Exercise


def _mix(factors):
    """Three answers added up with factors made of the two weights."""

    def mix(untold, first, second, w_first, w_second):
        a, b, c = factors(w_first, w_second)
        return a * untold + b * first + c * second

    return mix


_composed = _mix(lambda w, u: (1 - w - u, w, u))


def _says(say):
    """A sentence with the factors that the three answers have in what was returned."""

    def sentence(case, got, want):
        given = torch.stack([x.flatten().double() for x in (case.untold, case.first, case.second)], 1)
        factors = torch.linalg.lstsq(given, got.flatten()[:, None]).solution.flatten().tolist()
        shown = ", ".join(f"{round(f, 2) + 0.0:.2f}" for f in factors)
        return (
            f"Your factors of ε̂(∅), ε̂(c_1) and ε̂(c_2) are {shown}, for w_1 = {case.w_first} and w_2 = {case.w_second}: "
            + (say.format(total=f"{round(sum(factors), 2) + 0.0:.2f}"))
        )

    return sentence


_KNOWN = (
    Known(
        _mix(lambda w, u: (1 + w + u, -w, -u)),
        _says("both differences have the wrong sign, which leads away from the conditions."),
    ),
    Known(
        _mix(lambda w, u: (0, w, u)), _says("their sum is {total}. What is left if both conditions say nothing new?")
    ),
    Known(
        _mix(lambda w, u: (2 - w - u, w, u)),
        _says("two guided answers were added, so ∇log p(x_t) is there {total} times."),
    ),
    Known(
        _mix(lambda w, u: (1 - (w + u) / 2, w / 2, u / 2)),
        _says("the two guided answers were averaged. Logarithms of a product's factors add up."),
    ),
    Known(
        _mix(lambda w, u: (1 - w - u - 2, 1 + w, 1 + u)),
        _says("this is the w' of Ho and Salimans. With ours 1 is off."),
    ),
    Known(
        _mix(lambda w, u: ((1 - w) * (1 - u), w * (1 - u), u)),
        _says("the second guidance started from the guided answer, and took part of the first away."),
    ),
    Known(
        _mix(lambda w, u: ((1 - w) * (1 - u), w, u * (1 - w))),
        _says("the first guidance started from the guided answer, and took part of the second away."),
    ),
    Known(
        _mix(lambda w, u: (1 - w - u, (w + u) / 2, (w + u) / 2)),
        _says("each condition has its own weight, and both got the mean of the two."),
    ),
    Known(_mix(lambda w, u: (1 - w - u, u, w)), _says("the weights have changed places.")),
    Known(
        _mix(lambda w, u: (-1, w, u)),
        _says("their sum is {total}. This is right for w_1 = w_2 = 1 only: how often is ε̂(∅) in the two differences?"),
    ),
    Known(
        _mix(lambda w, u: (1 - w * u, w * u / 2, w * u / 2)),
        _says("the weights were multiplied. Each is an exponent of its own factor."),
    ),
    Known(
        _mix(lambda w, u: (-w - u, w, u)),
        _says("their sum is {total}: the two differences are there, and what they are added to is missing."),
    ),
)


def _case(shape, w_first, w_second, seed, dtype=f64):
    untold, first, second = (normal(*shape, seed=seed + i, dtype=dtype) for i in range(3))
    return {"untold": untold, "first": first, "second": second, "w_first": w_first, "w_second": w_second}


def _try(composed):
    cases = [
        _case((3, 4), 3.0, 2.0, 1),
        _case((1, 2, 3, 5), 1.0, 1.0, 11),
        _case((2, 6), 2.0, -1.0, 21),  # the second is something to avoid
        _case((5, 1), 0.0, 4.0, 31, torch.float32),
        _case((2, 3), 1.0, 0.0, 41),
    ]
    compare(composed, _composed, cases, _KNOWN, ("the composed answer",))


composed = Exercise(
    title="Two conditions at once",
    kind="derive",
    answers=("composed",),
    trial=_try,
    points=2,
    written=3,
    difficulty=2,
    minutes=25,
    hints=(
        "Take the logarithm and the gradient of p(x_t) p(c_1|x_t)^{w_1} p(c_2|x_t)^{w_2}, as from (8.10) to (8.12).",
        "Each ∇log p(c_i|x_t) is the difference that (8.11) gives, for that condition alone. How many differences are "
        "there, and to what are they added?",
        "ε̂(∅) + w_1 (ε̂(c_1) − ε̂(∅)) + w_2 (ε̂(c_2) − ε̂(∅)).",
    ),
)
