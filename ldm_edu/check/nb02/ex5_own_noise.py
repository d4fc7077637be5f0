"""Exercise 2.5, the noise of the step and that of the jump: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import bars, betas, f64, normal
from ldm_edu.check.exercise import Exercise


def _ratio(of):
    """A number made of β_t and 1 − ᾱ_t."""
    return lambda beta, t: of(beta[t], 1 - bars(beta)[t]).item()


_too_much = _ratio(lambda b, rest: (rest / b).sqrt())

_RATIO_KNOWN = (
    Known(
        _ratio(lambda b, rest: rest / b),
        "At t = {t} you get {got:.4f}, the square of the ratio: compare the factors √β_t and β_t/√(1−ᾱ_t) themselves.",
    ),
    Known(
        _ratio(lambda b, rest: (b / rest).sqrt()),
        "At t = {t} you get {got:.4f}, less than 1: the claim takes too much, so its factor is the one on top.",
    ),
    Known(
        _ratio(lambda b, rest: b.sqrt()),
        "At t = {t} you get {got:.4f}: that is the claim's own factor. By how many times is it too large?",
    ),
    Known(
        _ratio(lambda b, rest: b.sqrt() - b / rest.sqrt()),
        "At t = {t} you get {got:.4f}, the difference of the factors; how many times is asked.",
    ),
    Known(
        lambda beta, t: ((1 - bars(beta)[t - 1]) / beta[t]).sqrt().item(),
        "At t = {t} you get {got:.4f} with ᾱ_{{t−1}}: the network's ε leads from x_0 to x_t, so ᾱ is that of t.",
    ),
)


def _scaled(factor):
    return lambda eps_hat, t, beta: factor(beta[t], 1 - bars(beta)[t]).item() * eps_hat


_own = _scaled(lambda b, rest: (b / rest).sqrt())


def _factor(say):
    return lambda case, got, want: say.format(t=case.t, got=f"{(got / case.eps_hat).flatten()[0].item():.4f}")


_OWN_KNOWN = (
    Known(
        _scaled(lambda b, rest: torch.ones_like(b)),
        _factor("At t = {t} you multiply ε̂ by {got}: of the noise of the jump only a part is this step's."),
    ),
    Known(
        _scaled(lambda b, rest: b / rest),
        _factor("At t = {t} you multiply ε̂ by {got}: this is the step's share of the variance, not of the noise."),
    ),
    Known(
        _scaled(lambda b, rest: (rest / b).sqrt()),
        _factor("At t = {t} you multiply ε̂ by {got}, more than 1, but a part is less than the whole."),
    ),
    Known(
        _scaled(lambda b, rest: b.sqrt()),
        _factor("At t = {t} you multiply ε̂ by {got}: √β_t is how ε_t enters x_t; ε_t itself is asked."),
    ),
    Known(
        _scaled(lambda b, rest: b / rest.sqrt()),
        _factor("At t = {t} you multiply ε̂ by {got}: this is √β_t ε_t, as it stands in (2.12); ε_t itself is asked."),
    ),
    Known(
        lambda eps_hat, t, beta: (beta[t] / (1 - bars(beta)[t - 1])).sqrt().item() * eps_hat,
        _factor("At t = {t} you multiply ε̂ by {got}, with ᾱ of t − 1: the jump that ε̂ is about ends at t."),
    ),
)  # fmt: skip


def _try(too_much, own_noise):
    cases = [{"beta": betas(9, 1), "t": 6}, {"beta": betas(9, 1), "t": 1}, {"beta": betas(4, 2), "t": 4}]
    compare(too_much, _too_much, cases, _RATIO_KNOWN, ("the ratio",))
    cases = [
        {"eps_hat": normal(*shape, seed=7, dtype=dtype), "t": t, "beta": betas(9, 3)}
        for shape, t, dtype in (((4, 3), 5, f64), ((1, 2, 3, 5), 9, f64), ((2, 2), 1, f64), ((1, 1), 2, torch.float32))
    ]
    compare(own_noise, _own, cases, _OWN_KNOWN, ("the guess of ε_t",))


own_noise = Exercise(
    title="Find the mistake: which noise?",
    kind="find the mistake",
    answers=("too_much", "own_noise"),
    trial=_try,
    points=3,
    difficulty=2,
    minutes=15,
    hints=(
        "Both formulas divide by √α_t. Compare what stands in front of the noise.",
        "The claim takes √β_t ε̂ and DDPM β_t/√(1−ᾱ_t) ε̂. For the second part, read (2.16).",
        "The ratio is √((1−ᾱ_t)/β_t), and the best guess of ε_t is ε̂ divided by it.",
    ),
)
