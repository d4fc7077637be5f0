"""Exercise 6.1, a step of the family by its correlation: how its answers are checked."""

from __future__ import annotations

import math

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.exercise import Exercise


def _made(a=None, b=None, c=None, roots=True):
    """The coefficients with one of them made differently, from ρ, (signal_s, noise_s) and (signal_t, noise_t)."""
    a = a or (lambda rho, s, t: rho * s[1] / t[1])
    b = b or (lambda a, s, t: s[0] - a * t[0])
    c = c or (lambda rho, s: s[1] * math.sqrt(1 - rho**2))

    def coefficients(rho, alpha_bar_s, alpha_bar_t):
        s, t = (_pair(bar) if roots else (bar, 1 - bar) for bar in (alpha_bar_s, alpha_bar_t))
        of_x_t = a(rho, s, t)
        return of_x_t, b(of_x_t, s, t), c(rho, s)

    return coefficients


def _pair(bar):
    return math.sqrt(bar), math.sqrt(1 - bar)


_coefficients = _made()


def _says(text):
    """A sentence with what x_s gets of x_0, and how much noise power, beside what it should get."""

    def sentence(case, got, want):
        a, b, c = (x.item() for x in got)
        (signal_s, _), (signal_t, noise_t) = _pair(case.alpha_bar_s), _pair(case.alpha_bar_t)
        return text.format(
            of=f"{a * signal_t + b:.4f}", right=f"{signal_s:.4f}", power=f"{(a * noise_t) ** 2 + c**2:.4f}",
            level=f"{1 - case.alpha_bar_s:.4f}", a=f"{a:.4f}", b=f"{b:.4f}", c=f"{c:.4f}", rho=case.rho,
        )  # fmt: skip

    return sentence


_KNOWN = (
    Known(
        _made(roots=False),
        _says("Your x_s gets {of} times x_0 and noise of power {power}, not {level}: signal and noise are roots."),
    ),
    Known(
        _made(a=lambda rho, s, t: rho),
        _says("Your a is ρ, so x_s has noise of power {power}, not {level}: a correlation is a covariance over what?"),
    ),
    Known(
        _made(a=lambda rho, s, t: rho * t[1] / s[1] if s[1] else math.inf),
        _says("Your a = {a} gives x_s noise of power {power}, where level s has {level}: the ratio is upside down."),
    ),
    Known(
        _made(b=lambda a, s, t: s[0]),
        _says("Your x_s gets {of} times x_0 in all, not {right}: a x_t brings some of x_0 along."),
    ),
    Known(
        _made(b=lambda a, s, t: s[0] + a * t[0]),
        _says("Your x_s gets {of} times x_0 in all, not {right}: what a x_t brings is counted with the wrong sign."),
    ),
    Known(
        _made(b=lambda a, s, t: s[0] - t[0]),
        _says("Your x_s gets {of} times x_0 in all, not {right}: x_t does not enter with the factor 1."),
    ),
    Known(
        _made(c=lambda rho, s: s[1] * (1 - rho)),
        _says("Noise of power {power} in x_s, where level s has {level}: you let deviations add up; variances do."),
    ),
    Known(
        _made(c=lambda rho, s: s[1] ** 2 * (1 - rho**2)),
        _says("Your c = {c} is a variance, so x_s has noise of power {power}, not {level}: z is multiplied by a root."),
    ),
    Known(
        _made(c=lambda rho, s: s[1] * math.sqrt(1 - rho)),
        _says("Noise of power {power} in x_s, not {level}: (6.7) holds the square of the correlation {rho}."),
    ),
    Known(
        _made(c=lambda rho, s: s[1]),
        _says("Noise of power {power} in x_s, where level s has {level}: the old noise needs room as well."),
    ),
)  # fmt: skip


def _try(coefficients):
    triples = [(0.6, 0.8, 0.3), (0.99, 0.7, 0.2), (0.0, 0.5, 0.4), (0.3, 1.0, 0.5), (0.8, 0.2, 0.19)]
    cases = [{"rho": r, "alpha_bar_s": s, "alpha_bar_t": t} for r, s, t in triples]
    compare(coefficients, _coefficients, cases, _KNOWN, ("a", "b", "c"))


coefficients = Exercise(
    title="A step of the family, by its correlation",
    kind="derive",
    answers=("coefficients",),
    trial=_try,
    points=2,
    written=3,
    difficulty=2,
    minutes=20,
    hints=(
        "(6.3) gives two equations. The third is the correlation: write down Cov[x_s, x_t] for given x_0 first.",
        "The covariance is a noise_t², and the correlation is it over noise_s noise_t. Solve for a, then use (6.3).",
        "a = ρ noise_s/noise_t, b = signal_s − a signal_t, c = noise_s √(1 − ρ²).",
    ),
)
