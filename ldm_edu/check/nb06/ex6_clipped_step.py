"""Exercise 6.6, clipped data and old noise: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import alpha_bars, f64, normal
from ldm_edu.check.exercise import Exercise


def _pair(alpha_bar, t):
    return alpha_bar[t].sqrt().item(), (1 - alpha_bar[t]).sqrt().item()


def _guess(x_t, eps_hat, t, alpha_bar):
    signal, noise = _pair(alpha_bar, t)
    return (x_t - noise * eps_hat) / signal


def _missed(reduce, weigh=lambda signal, noise: signal, cut=lambda x: x.clamp(-1, 1)):
    """A number made of how far clipping moves x̂_0."""

    def misfit(x_t, eps_hat, t, alpha_bar):
        free = _guess(x_t, eps_hat, t, alpha_bar)
        return reduce(weigh(*_pair(alpha_bar, t)) * (free - cut(free)))

    return misfit


def _rms(x):
    return x.square().mean().sqrt()


_misfit = _missed(_rms)

_MISFIT_KNOWN = (
    Known(_missed(lambda x: x.square().mean()), "Your {got:.4f} is the mean square; its root is asked."),
    Known(
        _missed(_rms, lambda signal, noise: 1.0),
        "Your {got:.4f} is how far clipping moves x̂_0; in x_t it stands with a factor.",
    ),
    Known(_missed(lambda x: x.abs().mean()), "Your {got:.4f} is the mean of absolute values, not root mean square."),
    Known(_missed(lambda x: x.abs().max()), "Your {got:.4f} is the largest miss of an entry, not root mean square."),
    Known(
        _missed(lambda x: x.square().sum().sqrt()),
        "Your {got:.4f} is the length of the whole miss, which grows with the number of entries: take the mean.",
    ),
    Known(
        _missed(_rms, lambda signal, noise: signal**2),
        "Your {got:.4f} has ᾱ_t where its root belongs.",
    ),
    Known(
        _missed(_rms, cut=lambda x: x),
        "You get {got:.4f}: without the clip the pair does make x_t again. The claim clips.",
    ),
)


def _made(cut=lambda x: x.clamp(-1, 1), again=None, end=lambda x: x, of_eps=lambda eps: eps):
    """A step with another way to clip, or another ε̂ afterwards."""
    again = again or (lambda x, x0, eps, at_t, at_s: (x - at_t[0] * x0) / at_t[1])

    def step(x_t, eps_hat, t, s, alpha_bar):
        at_t, at_s = _pair(alpha_bar, t), _pair(alpha_bar, s)
        x0 = cut(_guess(x_t, of_eps(eps_hat), t, alpha_bar))
        return end(at_s[0] * x0 + at_s[1] * again(x_t, x0, eps_hat, at_t, at_s))

    return step


_step = _made()


def _says(text):
    """A sentence with how far x_s is off, and how large its largest entry is."""

    def sentence(case, got, want):
        off = _rms(got - want).item()
        return text.format(off=f"{off:.4f}", s=case.s, t=case.t, most=f"{got.abs().max().item():.3f}")

    return sentence


_STEP_KNOWN = (
    Known(
        _made(again=lambda x, x0, eps, at_t, at_s: eps),
        _says("Your x_s is off by {off} (root mean square): ε̂ is still the one from before the clip."),
    ),
    Known(
        _made(cut=lambda x: x),
        _says("Your x_s is off by {off} (root mean square): nothing was clipped."),
    ),
    Known(
        _made(cut=lambda x: x, end=lambda x: x.clamp(-1, 1)),
        _says("Your x_s is off by {off}, and at most {most}: you clip x_s, which is noisy and may leave [−1, 1]."),
    ),
    Known(
        _made(end=lambda x: x.clamp(-1, 1)),
        _says("Your x_s is off by {off}, and at most {most}: x̂_0 is clipped, and then x_s once more."),
    ),
    Known(
        _made(cut=lambda x: x, of_eps=lambda eps: eps.clamp(-1, 1)),
        _says("Your x_s is off by {off}: ε̂ is clipped. Noise has no bounds; data have."),
    ),
    Known(
        _made(cut=lambda x: x.clamp(0, 1)),
        _says("Your x_s is off by {off}: you clip to [0, 1], and pictures lie in [−1, 1] here."),
    ),
    Known(
        _made(again=lambda x, x0, eps, at_t, at_s: (x - at_s[0] * x0) / at_s[1] if at_s[1] else torch.zeros_like(x)),
        _says("Your x_s is off by {off}: ε̂ is computed with the factors of s = {s}, but x_t is of t = {t}."),
    ),
    Known(
        _made(again=lambda x, x0, eps, at_t, at_s: x - at_t[0] * x0),
        _says("Your x_s is off by {off}: x_t − signal_t x̂_0 is noise_t ε̂, not ε̂ yet."),
    ),
    Known(
        _made(again=lambda x, x0, eps, at_t, at_s: (at_t[0] * x0 - x) / at_t[1]),
        _says("Your x_s is off by {off}: the new ε̂ has the wrong sign."),
    ),
    Known(
        _made(again=lambda x, x0, eps, at_t, at_s: (x - x0) / at_t[1]),
        _says("Your x_s is off by {off}: in x_t, x̂_0 has the factor signal_t; you took away all of it."),
    ),
)  # fmt: skip


def _case(shape, t, s, T, seed, dtype=f64):
    x_t, eps_hat = (normal(*shape, seed=seed + i, dtype=dtype) for i in range(2))
    return {"x_t": x_t, "eps_hat": eps_hat, "t": t, "s": s, "alpha_bar": alpha_bars(T, seed)}


def _try(misfit, clipped_step):
    cases = [
        _case((5, 6), 6, 3, 8, 1),
        _case((2, 1, 4, 3), 5, 4, 5, 2),
        _case((3, 5), 2, 0, 4, 3),  # at the end x_s is the clipped x̂_0
        _case((1, 20), 7, 1, 7, 4, torch.float32),
    ]
    known = [{name: case[name] for name in ("x_t", "eps_hat", "t", "alpha_bar")} for case in cases]
    compare(misfit, _misfit, known, _MISFIT_KNOWN, ("the misfit",))
    compare(clipped_step, _step, cases, _STEP_KNOWN, ("x_s",))


clipped_step = Exercise(
    title="Find the mistake: clipped data, old noise",
    kind="find the mistake",
    answers=("misfit", "clipped_step"),
    trial=_try,
    points=4,
    difficulty=2,
    minutes=20,
    hints=(
        "x̂_0 and ε̂ are two readings of one x_t: signal_t x̂_0 + noise_t ε̂ = x_t. What does the clip do to this?",
        "If x̂_0 moves and x_t stays, which ε̂ makes x_t again? Use that one for the step to s.",
        "After the clip: ε̂ = (x_t − signal_t x̂_0)/noise_t, then signal_s x̂_0 + noise_s ε̂. The misfit is signal_t times "
        "the root mean square of what the clip cut off.",
    ),
)
