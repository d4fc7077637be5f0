"""Exercise 2.3, a step of DDPM: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import bars, betas, f64, normal
from ldm_edu.check.exercise import Exercise


def _made(of_eps=None, scale=None, deviation=None, at=0):
    """A step with another factor of ε̂, another scale or another deviation, from (α_t, β_t, ᾱ_t, ᾱ_{t−1})."""
    of_eps = of_eps or (lambda a, b, bar, before: b / (1 - bar).sqrt())
    scale = scale or (lambda a, b, bar, before: 1 / a.sqrt())
    deviation = deviation or (lambda a, b, bar, before: ((1 - before) / (1 - bar) * b).sqrt())

    def step(x_t, t, eps_hat, beta, z):
        bar, i = bars(beta), max(t + at, 0)
        table = 1 - beta[i], beta[i], bar[i], bar[max(i - 1, 0)]
        mean = scale(*table).item() * (x_t - of_eps(*table).item() * eps_hat)
        return mean + deviation(*table).item() * z

    return step


_step = _made()


def _off(say):
    return lambda case, got, want: say.format(
        t=case.t, z=f"{_along(got, case.z, case):.4f}", right=f"{_along(want, case.z, case):.4f}",
        eps=f"{-_along(got, case.eps_hat, case):.4f}", x=f"{_along(got, case.x_t, case):.4f}",
    )  # fmt: skip


def _along(x, direction, case):
    """The factor of x_t, eps_hat or z in a result that is a sum of the three."""
    basis = torch.stack([v.double().flatten() for v in (case.x_t, case.eps_hat, case.z)], 1)
    factors = torch.linalg.lstsq(basis, x.flatten()[:, None]).solution[:, 0]
    return factors[next(i for i, v in enumerate((case.x_t, case.eps_hat, case.z)) if v is direction)].item()


_KNOWN = (
    Known(
        _made(of_eps=lambda a, b, bar, before: b.sqrt()),
        _off(
            "At t = {t} you take away {eps} ε̂: √β_t goes with the noise of that one step, and ε̂ guesses the noise of "
            "the whole jump."
        ),
    ),
    Known(
        _made(of_eps=lambda a, b, bar, before: b / (1 - bar)),
        _off("At t = {t} you take away {eps} ε̂: a root is missing under the fraction, over 1 − ᾱ_t."),
    ),
    Known(
        _made(of_eps=lambda a, b, bar, before: -b / (1 - bar).sqrt()),
        _off("At t = {t} ε̂ enters with the factor {eps} taken away, so it is added: the step back removes noise."),
    ),
    Known(
        _made(scale=lambda a, b, bar, before: torch.ones_like(a)),
        _off("At t = {t} x_t has the factor {x}: the forward step shrank it, and nothing undoes that."),
    ),
    Known(
        _made(scale=lambda a, b, bar, before: a.sqrt()),
        _off("At t = {t} x_t has the factor {x}, below 1: it is shrunk a second time in place of being stretched."),
    ),
    Known(
        _made(scale=lambda a, b, bar, before: 1 / bar.sqrt()),
        _off("At t = {t} x_t has the factor {x}: that undoes the shrinking of all t steps at once; one is asked."),
    ),
    Known(
        _made(deviation=lambda a, b, bar, before: b.sqrt()),
        _off(
            "At t = {t} z has the factor {z}: that is √β_t. The exercise asks for β̃_t of (2.10), which is 0 at t = 1, "
            "where no noise must be left."
        ),
    ),
    Known(
        _made(deviation=lambda a, b, bar, before: b.sqrt() * (before < 1)),
        _off("At t = {t} z has the factor {z}: √β_t is DDPM's other choice. The exercise asks for β̃_t of (2.10)."),
    ),
    Known(
        _made(deviation=lambda a, b, bar, before: (1 - before) / (1 - bar) * b),
        _off("At t = {t} z has the factor {z}: that is the variance. A deviation multiplies z."),
    ),
    Known(
        _made(deviation=lambda a, b, bar, before: torch.zeros_like(b)),
        _off("At t = {t} z does not enter at all: you return the mean, and the spread is lost."),
    ),
    Known(
        _made(at=-1),
        _off(
            "At t = {t} x_t has the factor {x}: the tables were read at t − 1. Here beta[t] is the β of the step to t."
        ),
    ),
)


def _case(shape, t, T, seed, dtype=f64):
    x_t, eps_hat, z = (normal(*shape, seed=seed + i, dtype=dtype) for i in range(3))
    return {"x_t": x_t, "t": t, "eps_hat": eps_hat, "beta": betas(T, seed), "z": z}


def _try(ddpm_step):
    cases = [
        _case((5, 3), 6, 9, 1),
        _case((2, 1, 4, 6), 4, 4, 11),
        _case((3, 2), 1, 5, 21),  # the last step adds no noise
        _case((1, 4), 2, 3, 31, torch.float32),
        _case((1, 4), 1, 1, 41),
    ]
    compare(ddpm_step, _step, cases, _KNOWN, ("x_{t−1}",))


ddpm_step = Exercise(
    title="A step of DDPM",
    kind="implement",
    answers=("ddpm_step",),
    trial=_try,
    points=3,
    difficulty=1,
    minutes=15,
    hints=(
        "Three parts: undo the shrinking, take away this step's share of the noise, add fresh noise.",
        "The share of ε̂ is β_t/√(1−ᾱ_t), (2.12); the fresh noise has the variance β̃_t of (2.10), so z gets its root.",
        "((x_t − β_t/√(1−ᾱ_t) ε̂)/√α_t) + √((1−ᾱ_{t−1})/(1−ᾱ_t) β_t) z, with ᾱ from cumprod of 1 − beta.",
    ),
)
