"""Exercise 6.4, a step up the ODE: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import alpha_bars, f64, normal
from ldm_edu.check.exercise import Exercise


def _made(ask=lambda s, t: max(s, 1), move=None, roots=True):
    """A step up, from (signal_s, noise_s), (signal_t, noise_t), x_s and ε̂."""
    move = move or (lambda s, t, x, eps: t[0] * (x / s[0] + (t[1] / t[0] - s[1] / s[0]) * eps))

    def step_up(predict, x_s, s, t, alpha_bar):
        pairs = [
            (bar.sqrt().item(), (1 - bar).sqrt().item()) if roots else (bar.item(), (1 - bar).item())
            for bar in (alpha_bar[s], alpha_bar[t])
        ]
        return move(*pairs, x_s, predict(x_s, ask(s, t)))

    return step_up


_step_up = _made()


def _says(text):
    """A sentence with the factors of x_s and of ε̂(x_s, s), or with how far the result is off."""

    def sentence(case, got, want):
        basis = torch.stack([v.double().flatten() for v in (case.x_s, case.predict(case.x_s, max(case.s, 1)))], 1)
        x, eps = torch.linalg.lstsq(basis, got.flatten()[:, None]).solution[:, 0].tolist()
        off = (got - want).square().mean().sqrt().item()
        return text.format(s=case.s, t=case.t, x=f"{x:.4f}", eps=f"{eps:.4f}", off=f"{off:.4f}")

    return sentence


_KNOWN = (
    Known(
        _made(ask=lambda s, t: t),
        _says("Your result is off by {off}: predict is asked about t = {t}, but the x that it sees is one of s = {s}."),
    ),
    Known(
        _made(ask=lambda s, t: s),
        _says("Your result is off by {off} at s = {s}: the network was never trained there; see §9 for what to ask."),
    ),
    Known(
        _made(move=lambda s, t, x, eps: s[0] * (x / t[0] + (s[1] / s[0] - t[1] / t[0]) * eps)),
        _says("x_s has the factor {x}: s and t have changed places, and this is the step down."),
    ),
    Known(
        _made(move=lambda s, t, x, eps: t[0] * (x / s[0] + (s[1] / s[0] - t[1] / t[0]) * eps)),
        _says("ε̂ has the factor {eps}, below 0: on the way up σ grows, and so does the noise in x."),
    ),
    Known(
        _made(move=lambda s, t, x, eps: x / s[0] + (t[1] / t[0] - s[1] / s[0]) * eps),
        _says("x_s has the factor {x}: you return x_t/signal_t, the ODE's own variable."),
    ),
    Known(
        _made(move=lambda s, t, x, eps: x + (t[1] / t[0] - s[1] / s[0]) * eps),
        _says("x_s has the factor {x}: (6.18) is about x/signal, and you moved x itself."),
    ),
    Known(
        _made(move=lambda s, t, x, eps: t[0] * (x / s[0] + (t[1] - s[1]) * eps)),
        _says("ε̂ has the factor {eps}: the width of the step is measured in σ = noise/signal, not in noise."),
    ),
    Known(
        _made(move=lambda s, t, x, eps: t[0] / s[0] * x + (1 - (t[0] / s[0]) ** 2) ** 0.5 * eps),
        _says("ε̂ has the factor {eps}: this adds it as fresh noise, beside what x_s holds; it is the same noise."),
    ),
    Known(
        _made(move=lambda s, t, x, eps: t[0] * x + t[1] * eps),
        _says("x_s has the factor {x}: you treat x_s as clean data; part of its noise is counted twice."),
    ),
    Known(
        _made(roots=False),
        _says("x_s has the factor {x} and ε̂ {eps}: ᾱ and 1 − ᾱ stand where their roots should."),
    ),
)  # fmt: skip


def _predict(x, t):
    """Some network: it looks at x and at t."""
    return torch.tanh(x) * (0.6 + 0.1 * t) + 0.05 * t


def _case(shape, s, t, T, seed, dtype=f64):
    x_s = normal(*shape, seed=seed, dtype=dtype)
    return {"predict": _predict, "x_s": x_s, "s": s, "t": t, "alpha_bar": alpha_bars(T, seed)}


def _try(step_up):
    cases = [
        _case((5, 4), 3, 7, 9, 1),
        _case((2, 1, 3, 4), 5, 6, 6, 2),
        _case((3, 2), 0, 2, 4, 3),  # clean data: asked at 1
        _case((1, 6), 2, 5, 5, 4, torch.float32),
    ]
    compare(step_up, _step_up, cases, _KNOWN, ("x_t",))


step_up = Exercise(
    title="A step up: encoding",
    kind="implement",
    answers=("step_up",),
    trial=_try,
    points=3,
    difficulty=2,
    minutes=15,
    hints=(
        "(6.18) is Euler's step for x/signal, with σ = noise/signal as time. At x_s, which slope can you ask for?",
        "Ask predict(x_s, s), and predict(x_s, 1) where s is 0. Divide x_s by signal_s, add width · slope, rescale.",
        "signal_t · (x_s/signal_s + (σ_t − σ_s) ε̂), with ε̂ = predict(x_s, max(s, 1)), signal = √ᾱ, σ = √(1/ᾱ − 1).",
    ),
)
