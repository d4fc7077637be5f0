"""Exercise 4.5, a step with clipping: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import bars, betas, f64, normal
from ldm_edu.check.exercise import Exercise


def _tables(t, beta, at=0):
    """α_t, β_t, ᾱ_t, ᾱ_{t−1} as plain numbers."""
    bar, i = bars(beta), max(t + at, 0)
    return tuple(v.item() for v in (1 - beta[i], beta[i], bar[i], bar[max(i - 1, 0)]))


def _guess(x_t, eps_hat, bar):
    return (x_t - (1 - bar) ** 0.5 * eps_hat) / bar**0.5


def _clip(x):
    return x.clamp(-1, 1)


def _posterior(guess, x_t, a, b, bar, before):
    return (before**0.5 * b * guess + a**0.5 * (1 - before) * x_t) / (1 - bar)


def _tilde(a, b, bar, before):
    return (1 - before) / (1 - bar) * b


def _made(believe=None, mean=_posterior, deviation=lambda *table: _tilde(*table) ** 0.5, after=lambda x: x, at=0):
    """A step with another guess, mean or deviation, from x_t, ε̂ and the tables."""
    believe = believe or (lambda x_t, eps_hat, bar: _clip(_guess(x_t, eps_hat, bar)))

    def step(x_t, t, eps_hat, beta, z):
        table = _tables(t, beta, at)
        return after(mean(believe(x_t, eps_hat, table[2]), x_t, *table) + deviation(*table) * z)

    return step


_step = _made()


def _kept_eps(x_t, t, eps_hat, beta, z):
    """Clips x̂_0 and goes on with the old ε̂."""
    a, b, bar, before = _tables(t, beta)
    tilde = _tilde(a, b, bar, before)
    guess = _clip(_guess(x_t, eps_hat, bar))
    return before**0.5 * guess + max(1 - before - tilde, 0.0) ** 0.5 * eps_hat + tilde**0.5 * z


def _noised_afresh(x_t, t, eps_hat, beta, z):
    """Noises x̂_0 to t − 1 with fresh noise alone."""
    _, _, bar, before = _tables(t, beta)
    return before**0.5 * _clip(_guess(x_t, eps_hat, bar)) + (1 - before) ** 0.5 * z


def _swapped(guess, x_t, a, b, bar, before):
    return _posterior(x_t, guess, a, b, bar, before)


def _rootless(guess, x_t, a, b, bar, before):
    return (before * b * guess + a * (1 - before) * x_t) / (1 - bar)


def _says(say):
    def sentence(case, got, want):
        table = _tables(case.t, case.beta)
        z = case.z.double()
        off = got - want
        factor = _tilde(*table) ** 0.5 + ((off * z).sum() / z.square().sum()).item()
        rest = got - _tilde(*table) ** 0.5 * z - _posterior(0, case.x_t.double(), *table)
        believed = rest / _posterior(1, 0, *table)
        return say.format(
            t=case.t, off=f"{off.abs().max().item():.4f}", z=f"{factor:.4f}", right=f"{_tilde(*table) ** 0.5:.4f}",
            believed=f"{believed.abs().max().item():.3f}", count=got.numel(),
            most=f"{want.abs().max().item():.3f}",
        )  # fmt: skip

    return sentence


_KNOWN = (
    Known(
        _made(believe=_guess),
        _says("At t = {t} your x̂_0 reaches {believed}: pixels end at 1, and nothing was cut off."),
    ),
    Known(
        _made(believe=lambda x_t, eps_hat, bar: _guess(_clip(x_t), eps_hat, bar)),
        _says("At t = {t} your x̂_0 reaches {believed}: you cut off x_t, which is noisy and may leave [−1, 1]."),
    ),
    Known(
        _made(believe=lambda x_t, eps_hat, bar: _guess(x_t, _clip(eps_hat), bar)),
        _says("At t = {t} your x̂_0 reaches {believed}: you cut off ε̂, which is normal noise and has no bounds."),
    ),
    Known(
        _made(believe=_guess, after=_clip),
        _says(
            "At t = {t} no entry of your x_{{t−1}} exceeds 1, though one should be {most}: it is noisy. Cut off x̂_0."
        ),
    ),
    Known(
        _made(believe=lambda x_t, eps_hat, bar: _guess(x_t, eps_hat, bar).clamp(0, 1)),
        _says("At t = {t} none of the {count} entries of your x̂_0 is negative: pixels go from −1 to 1."),
    ),
    Known(
        _made(believe=lambda x_t, eps_hat, bar: _clip(_guess(x_t, eps_hat, bar) * bar**0.5)),
        _says("At t = {t} your step is off by up to {off}: x̂_0 was cut off before it was brought to its scale."),
    ),
    Known(
        _kept_eps,
        _says(
            "At t = {t} your step is off by up to {off}: x̂_0 was cut off, but ε̂ is still the old one, and the two no "
            "longer make x_t."
        ),
    ),
    Known(
        _noised_afresh,
        _says(
            "At t = {t} z has the factor {z}, not {right}: you noise x̂_0 with fresh noise alone, and what x_t knew "
            "besides is lost."
        ),
    ),
    Known(
        _made(mean=_swapped),
        _says("At t = {t} your step is off by up to {off}: x̂_0 and x_t have each other's factors."),
    ),
    Known(
        _made(mean=lambda guess, x_t, a, b, bar, before: _posterior(guess, x_t, a, b, bar, bar)),
        _says("At t = {t} your mean is off by up to {off}: in its factors stands ᾱ_t where ᾱ_{{t−1}} belongs."),
    ),
    Known(
        _made(mean=_rootless),
        _says("At t = {t} your mean is off by up to {off}: are the two roots in the factors missing?"),
    ),
    Known(
        _made(deviation=lambda a, b, bar, before: b**0.5),
        _says("At t = {t} z has the factor {z}, not {right}: that is √β_t. At t = 1 it would add noise to the result."),
    ),
    Known(
        _made(deviation=lambda a, b, bar, before: b**0.5 * (before < 1)),
        _says("At t = {t} z has the factor {z}, not {right}: √β_t is DDPM's other choice; (4.20) has β̃_t."),
    ),
    Known(
        _made(deviation=_tilde),
        _says("At t = {t} z has the factor {z}, not {right}: that is the variance; a deviation multiplies z."),
    ),
    Known(
        _made(deviation=lambda *table: 0.0),
        _says("At t = {t} z has the factor {z}, not {right}: you return the mean of the step."),
    ),
    Known(
        _made(at=-1),
        _says(
            "At t = {t} your step is off by up to {off}: the tables were read at t − 1. Here beta[t] is the step to t."
        ),
    ),
)


def _case(shape, t, T, seed, dtype=f64):
    """x_t and ε̂ such that about half of x̂_0 lies outside [−1, 1]."""
    x_t, eps_hat, z = (normal(*shape, seed=seed + i, dtype=dtype) for i in range(3))
    return {"x_t": 1.5 * x_t, "t": t, "eps_hat": 1.5 * eps_hat, "beta": betas(T, seed), "z": z}


def _try(clipped_step):
    cases = [
        _case((5, 40), 6, 9, 1),
        _case((2, 1, 4, 6), 4, 4, 11),
        _case((3, 2), 1, 5, 21),  # the last step adds no noise
        _case((1, 7), 2, 3, 31, torch.float32),
        _case((1, 4), 1, 1, 41),
    ]
    compare(clipped_step, _step, cases, _KNOWN, ("x_{t−1}",))


clipped_step = Exercise(
    title="A step with clipping",
    kind="implement",
    answers=("clipped_step",),
    trial=_try,
    points=3,
    difficulty=2,
    minutes=20,
    hints=(
        "Three parts: what the network believes x_0 to be, cut off; the mean of the posterior there; fresh noise.",
        "x̂_0 = (x_t − √(1−ᾱ_t) ε̂)/√ᾱ_t, then clamp(−1, 1). With (4.20) ε̂ is not needed any more; with (4.21) it "
        "must be computed again, (4.22).",
        "(√ᾱ_{t−1} β_t x̂_0 + √α_t (1−ᾱ_{t−1}) x_t)/(1−ᾱ_t) + √((1−ᾱ_{t−1})/(1−ᾱ_t) β_t) z.",
    ),
)
