"""Exercise 3.4, from v to x_0 and ε: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import along, alpha_bars, f64, normal
from ldm_edu.check.exercise import Exercise


def _made(pair, roots=True, shift=0):
    """(x̂_0, ε̂) from signal, noise, x_t and v̂."""

    def from_v(v_hat, x_t, t, alpha_bar):
        bar = along(alpha_bar, (t + shift).clamp(min=0), x_t)
        signal, noise = (bar.sqrt(), (1 - bar).sqrt()) if roots else (bar, 1 - bar)
        return pair(signal, noise, x_t, v_hat)

    return from_v


_from_v = _made(lambda s, n, x, v: (s * x - n * v, n * x + s * v))


def _back(case, got):
    """How far the pair is from making x_t again: its mean square distance."""
    bar = along(case.alpha_bar, case.t, case.x_t).double()
    return (bar.sqrt() * got[0] + (1 - bar).sqrt() * got[1] - case.x_t).square().mean().item()


def _says(text):
    return lambda case, got, want: text.format(back=f"{_back(case, got):.4f}")


_KNOWN = (
    Known(
        _made(lambda s, n, x, v: (s * x + n * v, -n * x + s * v)),
        _says("Your pair misses x_t by {back} (mean square): (3.21) is applied once more, not undone."),
    ),
    Known(
        _made(lambda s, n, x, v: (n * x + s * v, s * x - n * v)),
        _says("Your pair misses x_t by {back} (mean square), but not the other way round: return x̂_0 first, then ε̂."),
    ),
    Known(
        _made(lambda s, n, x, v: (s * x - n * v, n * x + s * v), roots=False),
        _says("Your pair misses x_t by {back} (mean square): ᾱ and 1−ᾱ stand where their roots should."),
    ),
    Known(
        _made(lambda s, n, x, v: (s * x - n * v, v)),
        _says("Your pair misses x_t by {back} (mean square): v̂ is returned as ε̂. They are equal only without noise."),
    ),
    Known(
        _made(lambda s, n, x, v: ((x - n * v) / s, v)),
        _says("Your pair makes x_t again (distance {back}), but v̂ was read as ε̂: solve (3.21) for both unknowns."),
    ),
    Known(
        _made(lambda s, n, x, v: (s * x - n * v, n * x - s * v)),
        _says("Your pair misses x_t by {back} (mean square): x̂_0 is right, the sign of v̂ in ε̂ is not."),
    ),
    Known(
        _made(lambda s, n, x, v: (n * x - s * v, s * x + n * v)),
        _says("Your pair misses x_t by {back} (mean square): signal and noise have changed places."),
    ),
    Known(
        _made(lambda s, n, x, v: (s * x - n * v, n * x + s * v), shift=-1),
        _says("Your pair misses x_t by {back} (mean square): the table was read at t − 1; index 0 is clean data here."),
    ),
)  # fmt: skip


def _case(shape, t, T, seed, dtype=f64):
    v_hat, x_t = normal(*shape, seed=seed, dtype=dtype), normal(*shape, seed=seed + 1, dtype=dtype)
    return {"v_hat": v_hat, "x_t": x_t, "t": torch.tensor(t), "alpha_bar": alpha_bars(T, seed)}


def _try(from_v):
    cases = [
        _case((4, 3), [2, 5, 9, 7], 9, 1),
        _case((2, 1, 3, 5), [1, 6], 6, 2),
        _case((1, 2), [0], 3, 3),  # no noise: x_0 is x_t, and ε is v
        _case((1, 2), [4], 4, 4, torch.float32),
    ]
    compare(from_v, _from_v, cases, _KNOWN, ("x0_hat", "eps_hat"))


from_v = Exercise(
    title="From v to x_0 and ε",
    kind="implement",
    answers=("from_v",),
    trial=_try,
    points=2,
    difficulty=1,
    minutes=10,
    hints=(
        "(3.21) makes x_t and v out of x_0 and ε. You have x_t and v, and want the others.",
        "The matrix is a rotation, so its inverse is its transpose, (3.22). Mind that each example has its own t.",
        "With signal = √ᾱ_t and noise = √(1−ᾱ_t): signal · x_t − noise · v̂, and noise · x_t + signal · v̂.",
    ),
)
