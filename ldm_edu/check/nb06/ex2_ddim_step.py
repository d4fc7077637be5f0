"""Exercise 6.2, a step of DDIM with any η: how its answers are checked."""

from __future__ import annotations

import math

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import alpha_bars, f64, normal
from ldm_edu.check.exercise import Exercise


def _root(x):
    return math.sqrt(max(x, 0.0))


def _c1(t, s):
    """The deviation of DDPM's fresh noise, from ᾱ_t and ᾱ_s."""
    return _root((1 - s) / (1 - t) * (1 - t / s))


def _made(x0=None, size=math.sqrt, keep=None, fresh=None, read=lambda table, t, s: (table[t], table[s])):
    """A step with one part made differently, from ᾱ_t, ᾱ_s and η."""
    x0 = x0 or (lambda x, eps, t: (x - _root(1 - t) * eps) / _root(t))
    keep = keep or (lambda t, s, eta: _root(1 - s - (eta * _c1(t, s)) ** 2))
    fresh = fresh or (lambda t, s, eta: eta * _c1(t, s))

    def step(x_t, eps_hat, t, s, eta, alpha_bar, z):
        bar_t, bar_s = (bar.item() for bar in read(alpha_bar, t, s))
        old = keep(bar_t, bar_s, eta) * eps_hat
        return size(bar_s) * x0(x_t, eps_hat, bar_t) + old + fresh(bar_t, bar_s, eta) * z

    return step


_step = _made()


def _forward(t, s, eta):
    return eta * _root(1 - t / s)


def _own_alpha(table, t, s):
    return table[t] / table[t - 1], table[s] / table[max(s - 1, 0)]


def _says(text):
    """A sentence with the factors of x_t, ε̂ and z, and the noise power of x_s beside that of level s."""

    def sentence(case, got, want):
        basis = torch.stack([v.double().flatten() for v in (case.x_t, case.eps_hat, case.z)], 1)
        x, eps, z = torch.linalg.lstsq(basis, got.flatten()[:, None]).solution[:, 0].tolist()
        old = eps + x * _root(1 - case.alpha_bar[case.t].item())  # what ε̂ gets beside its part in x̂_0
        return text.format(
            t=case.t, s=case.s, eta=case.eta, x=f"{x:.4f}", eps=f"{eps:.4f}", z=f"{z:.4f}", old=f"{old:.4f}",
            power=f"{old**2 + z**2:.4f}", level=f"{1 - case.alpha_bar[case.s].item():.4f}",
        )  # fmt: skip

    return sentence


_KNOWN = (
    Known(
        _made(read=_own_alpha),
        _says("Noise of power {power} in x_s, and level s has {level}: you read the paper's α as the α of one step."),
    ),
    Known(
        _made(read=lambda table, t, s: (table[t], table[t - 1])),
        _says("From t = {t} you go to t − 1, with noise of power {power}: s is {s}, and its level has {level}."),
    ),
    Known(
        _made(read=lambda table, t, s: (table[s], table[t])),
        _says("x_t enters with the factor {x}: s and t have changed places, so the step goes up."),
    ),
    Known(
        _made(size=lambda s: s),
        _says("x_t enters with the factor {x}: x̂_0 is multiplied by ᾱ_s, without its root."),
    ),
    Known(
        _made(x0=lambda x, eps, t: (x - _root(1 - t) * eps) / t),
        _says("x_t enters with the factor {x}: in x̂_0 you divide by ᾱ_t. Which factor does x_0 have in x_t?"),
    ),
    Known(
        _made(x0=lambda x, eps, t: (x + _root(1 - t) * eps) / _root(t)),
        _says("ε̂ enters with the factor {eps}: in x̂_0 the noise is added once more, not taken away."),
    ),
    Known(
        _made(x0=lambda x, eps, t: (x - (1 - t) * eps) / _root(t)),
        _says("ε̂ enters with the factor {eps}: in x̂_0 you take away 1 − ᾱ_t of it, a variance."),
    ),
    Known(
        _made(x0=lambda x, eps, t: x),
        _says("x_t enters with the factor {x}: it stands where its guess of clean data, x̂_0, should."),
    ),
    Known(
        _made(keep=lambda t, s, eta: _root(1 - s - eta * _c1(t, s))),
        _says("Noise of power {power} in x_s, and level s has {level}: under the root stands c, a deviation."),
    ),
    Known(
        _made(
            keep=lambda t, s, eta: _root(1 - s - eta * _c1(t, s) ** 2),
            fresh=lambda t, s, eta: _root(eta) * _c1(t, s),
        ),
        _says("z enters with the factor {z} at η = {eta}: you scale the variance by η. η scales the deviation."),
    ),
    Known(
        _made(keep=lambda t, s, eta: _root(1 - s - eta * _c1(t, s) ** 2)),
        _says("Noise of power {power} in x_s, and level s has {level}: under the root η = {eta} has lost its square."),
    ),
    Known(
        _made(fresh=lambda t, s, eta: (eta * _c1(t, s)) ** 2),
        _says("z enters with the factor {z}, a variance; x_s has noise of power {power}, and level s has {level}."),
    ),
    Known(
        _made(keep=lambda t, s, eta: _root(1 - s)),
        _says("Noise of power {power} in x_s, and level s has {level}: fresh noise comes on top of all of ε̂."),
    ),
    Known(
        _made(keep=lambda t, s, eta: 0.0),
        _says("Noise of power {power} in x_s, and level s has {level}: the direction to x_t, the old noise, is gone."),
    ),
    Known(
        _made(fresh=_forward),
        _says("z enters with the factor {z}: this is σ̂, the forward step's noise. x_s has {power}, level s {level}."),
    ),
    Known(
        _made(keep=lambda t, s, eta: _root(1 - s - _forward(t, s, eta) ** 2), fresh=_forward),
        _says("z enters with the factor {z}: this is the noise of the forward step from s to t, and not 0 at s = 0."),
    ),
    Known(
        _made(fresh=lambda t, s, eta: 0.0),
        _says("Noise of power {power} in x_s, and level s has {level}: room was made for z, and z never comes."),
    ),
    Known(
        _made(keep=lambda t, s, eta: _root(1 - s - _c1(t, s) ** 2), fresh=lambda t, s, eta: _c1(t, s)),
        _says("z enters with the factor {z} whatever η = {eta} says: this is DDPM."),
    ),
    Known(
        _made(keep=lambda t, s, eta: _root(1 - s), fresh=lambda t, s, eta: 0.0),
        _says("z enters with the factor {z} whatever η = {eta} says: this is DDIM."),
    ),
)  # fmt: skip


def _case(shape, t, s, eta, T, seed, dtype=f64):
    x_t, eps_hat, z = (normal(*shape, seed=seed + i, dtype=dtype) for i in range(3))
    return {"x_t": x_t, "eps_hat": eps_hat, "t": t, "s": s, "eta": eta, "alpha_bar": alpha_bars(T, seed), "z": z}


def _try(ddim_step):
    cases = [
        _case((6, 4), 9, 4, 0.3, 12, 5),
        _case((2, 1, 3, 5), 7, 6, 1.0, 7, 11),
        _case((3, 2), 5, 2, 0.0, 8, 21),
        _case((1, 5), 3, 0, 0.7, 4, 31),  # no noise is left at s = 0, and none is fresh
        _case((2, 4), 6, 1, 0.5, 6, 41, torch.float32),
    ]
    compare(ddim_step, _step, cases, _KNOWN, ("x_s",))


ddim_step = Exercise(
    title="A step of DDIM, with any η",
    kind="implement",
    answers=("ddim_step",),
    trial=_try,
    points=4,
    difficulty=2,
    minutes=20,
    hints=(
        "Three parts as in (6.11): the guess of clean data at its new size, the old noise, fresh noise.",
        "c = η c_1 with (6.10). The old noise gets √(1 − ᾱ_s − c²), so that both together have the power of level s.",
        "√ᾱ_s x̂_0 + √(1 − ᾱ_s − c²) ε̂ + c z, with x̂_0 = (x_t − √(1−ᾱ_t) ε̂)/√ᾱ_t and "
        "c = η √((1−ᾱ_s)/(1−ᾱ_t) · (1 − ᾱ_t/ᾱ_s)).",
    ),
)
