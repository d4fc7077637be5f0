"""Exercise 9.4, RePaint's jumps back up: how its answers are checked."""

from __future__ import annotations

import math

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import alpha_bars, f64, normal
from ldm_edu.check.exercise import Exercise


def _factors(s, t, alpha_bar):
    """Those of x_s and z on the way up from s to t."""
    ratio = (alpha_bar[t] / alpha_bar[s]).item()
    return math.sqrt(ratio), math.sqrt(1 - ratio)


def _made(
    factors=_factors,
    walks=lambda jumps: jumps,
    of=lambda start, x: x,
    which=lambda k: k,
    keep=lambda free, x, up: up,
    first=True,
    last=False,
):
    """The walks with one thing done differently: factors on the way up, how often, from what, with which noise."""

    def walk_again(down, x, s, t, jumps, free, alpha_bar, draw):
        a, b = factors(s, t, alpha_bar)
        start, x = x, down(x) if first else x
        for k in range(1, walks(jumps) + 1):
            up = a * of(start, x) + b * draw(which(k))
            x = down(keep(free, x, up))
        return a * x + b * draw(walks(jumps) + 1) if last else x

    return walk_again


_walk_again = _made()


def _one_step(s, t, alpha_bar):
    return _factors(t - 1, t, alpha_bar)


def _as_if_clean(s, t, alpha_bar):
    return math.sqrt(alpha_bar[t]), math.sqrt(1 - alpha_bar[t])


def _altered(a=lambda r, s, t: math.sqrt(r), b=lambda r, s, t: math.sqrt(1 - r)):
    """Other factors, from ᾱ_t/ᾱ_s, ᾱ_s and ᾱ_t."""

    def factors(s, t, alpha_bar):
        low, high = alpha_bar[s].item(), alpha_bar[t].item()
        return a(high / low, low, high), b(high / low, low, high)

    return factors


def _power(factors, s, t, alpha_bar):
    """What x_t gets of x_0, and its noise power, if the way up has these factors."""
    a, b = factors(s, t, alpha_bar)
    bar = alpha_bar[s].item()
    return a * math.sqrt(bar), a**2 * (1 - bar) + b**2


def _up(factors, text):
    """A mistake on the way up, with a sentence that holds what x_t gets of x_0 and of noise, and what level t has."""

    def sentence(case, got, want):
        signal, power = _power(factors, case.s, case.t, case.alpha_bar)
        right, level = _power(_factors, case.s, case.t, case.alpha_bar)
        return text.format(
            t=case.t, s=case.s, signal=f"{signal:.4f}", power=f"{power:.4f}", right=f"{right:.4f}", level=f"{level:.4f}"
        )

    return Known(_made(factors), sentence)


def _says(text):
    """A sentence with how far the result is off (largest entry), and the number of jumps."""

    def sentence(case, got, want):
        apart = (got - want).abs()
        return text.format(
            off=f"{apart.max().item():.4f}", jumps=case.jumps,
            walks=case.jumps + 1, s=case.s, t=case.t,
        )  # fmt: skip

    return sentence


_KNOWN = (
    _up(
        _as_if_clean,
        "Up at t = {t} x_0 has the factor {signal}, not {right}: you noise x_s as if it were clean, and it is at {s}.",
    ),
    _up(
        _altered(b=lambda r, low, high: math.sqrt(1 - high)),
        "Up at t = {t} the noise has the power {power}, not {level}: the noise that x_s holds already is forgotten.",
    ),
    _up(
        _altered(b=lambda r, low, high: math.sqrt(low - high)),
        "Up at t = {t} the noise has the power {power}, not {level}: what x_s holds shrinks on the way up, so more "
        "than the difference of the two levels is missing.",
    ),
    _up(
        _altered(a=lambda r, low, high: r),
        "Up at t = {t} x_0 has the factor {signal}, not {right}: ᾱ_t/ᾱ_s is a ratio of powers.",
    ),
    _up(
        _altered(b=lambda r, low, high: 1 - r),
        "Up at t = {t} the noise has the power {power}, not {level}: z got a variance for its factor.",
    ),
    _up(
        _one_step,
        "Up at t = {t} the noise has the power {power}, not {level}: you go up one step, and from s = {s} there are "
        "more.",
    ),
    _up(
        _altered(b=lambda r, low, high: 0.0),
        "Up at t = {t} the noise has the power {power}, not {level}: without fresh noise the walks are one walk.",
    ),
    _up(
        _altered(a=lambda r, low, high: 1.0),
        "Up at t = {t} x_0 has the factor {signal}, not {right}: noise was added and nothing made room for it.",
    ),
    _up(
        _altered(a=lambda r, low, high: math.sqrt(1 / r)),
        "Up at t = {t} x_0 has the factor {signal}, not {right}: the ratio is upside down, and x grows.",
    ),
    Known(
        _made(keep=lambda free, x, up: torch.where(free, up, x)),
        _says("You are off by up to {off}: only the hole went up to {t}, and what is known stayed at {s}, too clean."),
    ),
    Known(
        _made(keep=lambda free, x, up: torch.where(free, x, up)),
        _says(
            "You are off by up to {off}: what is known went up to {t}, and the hole, which must change, stayed at {s}."
        ),
    ),
    Known(
        _made(of=lambda start, x: start),
        _says(
            "You are off by up to {off}: each jump starts from the x given, so the hole forgets what the {walks} walks "
            "found."
        ),
    ),
    Known(
        _made(which=lambda k: 1),
        _says("You are off by up to {off} with {jumps} jumps: all of them use one noise."),
    ),
    Known(
        _made(which=lambda k: k - 1),
        _says("You are off by up to {off}: the first jump takes draw(0). Jumps are numbered from 1."),
    ),
    Known(
        _made(walks=lambda jumps: max(0, jumps - 1)),
        _says("You are off by up to {off}: with jumps = {jumps} there are {walks} walks, and you make one fewer."),
    ),
    Known(
        _made(walks=lambda jumps: jumps + 1),
        _says("You are off by up to {off}: with jumps = {jumps} there are {walks} walks, and you make one more."),
    ),
    Known(
        _made(first=False),
        _says("You are off by up to {off}: you jump before the first walk, from an x that is at {t} already."),
    ),
    Known(
        _made(last=True),
        _says("You are off by up to {off}: the last thing you do is a jump up to {t}; the caller expects x at {s}."),
    ),
)


def _down(x):
    """Some walk down: each place sees the next one."""
    return torch.tanh(0.7 * x + 0.5 * torch.roll(x, 1, -1)) + 0.1 * x


def _case(shape, free, s, t, jumps, T, seed, dtype=f64):
    def draw(k):
        return normal(*shape, seed=seed + 500 + int(k), dtype=dtype)

    return {
        "down": _down, "x": normal(*shape, seed=seed, dtype=dtype), "s": s, "t": t, "jumps": jumps,
        "free": normal(*free, seed=seed + 1) > 0, "alpha_bar": alpha_bars(T, seed), "draw": draw,
    }  # fmt: skip


def _try(walk_again):
    cases = [
        _case((4, 6), (4, 6), 3, 7, 1, 9, 1),
        _case((2, 3, 4, 5), (2, 1, 4, 5), 5, 6, 3, 6, 11),  # one step up, three times
        _case((2, 5), (2, 5), 4, 8, 0, 8, 21),  # no jump: one walk
        _case((1, 8), (1, 8), 0, 4, 2, 5, 31),  # from clean data
        _case((3, 4), (3, 4), 2, 5, 2, 7, 41, torch.float32),
    ]
    compare(walk_again, _walk_again, cases, _KNOWN, ("x_s",))


walk_again = Exercise(
    title="RePaint's way back up",
    kind="implement",
    answers=("walk_again",),
    trial=_try,
    points=3,
    difficulty=2,
    minutes=20,
    hints=(
        "How many walks do `jumps` jumps make, and what is x's time at the end? Then the way up: which forward process "
        "leads from s to t, and whom does it spare?",
        "q(x_t|x_s) shrinks x_s by r = signal_t/signal_s and adds noise of variance noise_t² − r² noise_s², (9.10). "
        "It does so at every place.",
        "x = down(x); then for k = 1 … jumps: x = down(r x + √(1 − r²) draw(k)), with r² = ᾱ_t/ᾱ_s.",
    ),
)  # fmt: skip
