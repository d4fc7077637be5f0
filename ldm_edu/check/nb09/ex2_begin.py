"""Exercise 9.2, strength from the wrong end: how its answers are checked."""

from __future__ import annotations

import math

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import alpha_bars, f64, normal
from ldm_edu.check.exercise import Exercise


def _sigma(bar):
    return math.sqrt(1 / bar - 1)


def _claimed_place(strength, N):
    return int(strength * N)


def _ratio(of=lambda has, wants: has / wants, sigma=_sigma, place=_claimed_place):
    """A number made of the claim's σ and the σ that the sampler expects."""

    def ratio(strength, ts, alpha_bar):
        bar = alpha_bar[ts[place(strength, len(ts) - 1)]].item()
        return of(strength / (1 - strength), sigma(bar))

    return ratio


_claimed_ratio = _ratio()

_RATIO_KNOWN = (
    Known(
        _ratio(lambda has, wants: wants / has),
        "You get {got:.4f}: the σ that is expected over the one that is there; asked is the other way round.",
    ),
    Known(
        _ratio(lambda has, wants: has),
        "You get {got:.4f}, the σ of the claim's start. How large is it beside that of the first time of its list?",
    ),
    Known(
        _ratio(lambda has, wants: wants),
        "You get {got:.4f}, the σ that the sampler expects. How large is that of the claim's start beside it?",
    ),
    Known(
        _ratio(lambda has, wants: (has / wants) ** 2),
        "You get {got:.4f}, a ratio of variances; σ is noise over signal, without squares.",
    ),
    Known(
        _ratio(sigma=lambda bar: 1 / bar - 1),
        "You get {got:.4f}: on one side stands σ, on the other (1 − ᾱ)/ᾱ, which is its square.",
    ),
    Known(
        _ratio(place=lambda strength, N: N - max(1, round(strength * N))),
        "You get {got:.4f}: this is for the time at which a mended list begins. The claim's list begins elsewhere.",
    ),
    Known(
        lambda strength, ts, alpha_bar: strength / math.sqrt(1 - alpha_bar[ts[_claimed_place(strength, len(ts) - 1)]]),
        "You get {got:.4f}, a ratio of the noise alone; the picture beside it has shrunk as well.",
    ),
)


def _roots(bar):
    return math.sqrt(bar), math.sqrt(1 - bar)


def _made(
    first=lambda N, count, strength: N - count,
    count=lambda strength, N: max(1, round(strength * N)),
    level=lambda ts, first, count, strength: ts[first],
    mix=lambda bar, strength: _roots(bar),
    rest=lambda ts, first: ts[first:],
):
    """A start with one thing done differently: where the list begins, what level x has, how it is mixed."""

    def begin(x_0, eps, strength, ts, alpha_bar):
        N = len(ts) - 1
        steps = count(strength, N)
        start = first(N, steps, strength)
        a, b = mix(alpha_bar[level(ts, start, steps, strength)].item(), strength)
        return a * x_0 + b * eps, rest(ts, start)

    return begin


_begin = _made()


def _says(text):
    """A sentence with the factors of x_0 and ε in the start, and the times of the walk."""

    def sentence(case, got, want):
        start, times = got
        basis = torch.stack([case.x_0.double().flatten(), case.eps.double().flatten()], 1)
        a, b = torch.linalg.lstsq(basis, start.flatten()[:, None]).solution[:, 0].tolist()
        N, t = len(case.ts) - 1, int(want[1][0])
        walked = times.tolist()
        return text.format(
            strength=case.strength, N=N, a=f"{a:.4f}", b=f"{b:.4f}", t=t,
            begins=f"{walked[0]:g}" if walked else "nothing", steps=len(walked) - 1, T=case.ts[0],
            right=len(want[1]) - 1,
        )  # fmt: skip

    return sentence


def _wrong_end(N, count, strength):
    return int(strength * N)


def _straight(bar, strength):
    return 1 - strength, strength


_KNOWN = (
    Known(
        _made(first=_wrong_end, mix=_straight),
        _says("For strength {strength} you take {steps} of {N} steps from x = {a} x_0 + {b} ε: it is the claim still."),
    ),
    Known(
        _made(first=_wrong_end),
        _says("Strength {strength} takes {steps} of {N} steps, from t = {begins}: it is counted from the noisy end."),
    ),
    Known(
        _made(mix=_straight),
        _says("x_0 and ε have the factors {a} and {b} at t = {t}: the times are right, and the mix is the claim's."),
    ),
    Known(
        _made(mix=lambda bar, strength: (bar, 1 - bar)),
        _says("x_0 and ε have the factors {a} and {b} at t = {t}: these are ᾱ and 1 − ᾱ, and they are powers."),
    ),
    Known(
        _made(rest=lambda ts, first: ts),
        _says("The walk takes {steps} of {N} steps, from t = {begins}: x is noised to {t}, with too little noise."),
    ),
    Known(
        _made(level=lambda ts, first, count, strength: ts[0]),
        _says("x_0 has the factor {a}, and the walk begins at t = {begins}: x was noised to T = {T}, all the way."),
    ),
    Known(
        _made(mix=lambda bar, strength: (1.0, 0.0)),
        _says("x_0 and ε have the factors {a} and {b}: x is the picture itself, and t = {t} is expected."),
    ),
    Known(
        _made(mix=lambda bar, strength: (_roots(bar)[0], 0.0)),
        _says("x_0 and ε have the factors {a} and {b}: the picture has shrunk and no noise has come."),
    ),
    Known(
        _made(mix=lambda bar, strength: (1.0, _roots(bar)[1])),
        _says("x_0 and ε have the factors {a} and {b}: the noise was added and the picture did not make room for it."),
    ),
    Known(
        _made(mix=lambda bar, strength: _roots(bar)[::-1]),
        _says("x_0 and ε have the factors {a} and {b}: the two have changed places."),
    ),
    Known(
        _made(level=lambda ts, first, count, strength: ts[first + 1]),
        _says("x_0 has the factor {a} and the walk begins at t = {begins}: x is noised to the walk's second time."),
    ),
    Known(
        _made(rest=lambda ts, first: ts[first + 1 :]),
        _says("x is noised to t = {t} and the walk begins at {begins}: its first step is missing."),
    ),
    Known(
        _made(level=lambda ts, first, count, strength: count),
        _says("x_0 has the factor {a} and the walk begins at t = {begins}: the table was read at a number of steps."),
    ),
    Known(
        _made(level=lambda ts, first, count, strength: round(strength * ts[0])),
        _says("x_0 has the factor {a} and the walk begins at t = {begins}: strength · T need not be in the list."),
    ),
    Known(
        _made(count=lambda strength, N: max(1, int(strength * N))),
        _says("For strength {strength} of {N} steps you take {steps}, not {right}: the count was cut, not rounded."),
    ),
    Known(
        _made(count=lambda strength, N: round(strength * N)),
        _says("For strength {strength} of {N} steps you take {steps}, and a walk needs two times: at least one step."),
    ),
)  # fmt: skip


def _case(shape, strength, ts, seed, dtype=f64):
    x_0, eps = (normal(*shape, seed=seed + i, dtype=dtype) for i in range(2))
    return {"x_0": x_0, "eps": eps, "strength": strength, "ts": ts, "alpha_bar": alpha_bars(ts[0], seed)}


def _try(claimed_ratio, begin):
    cases = [
        _case((3, 4), 0.3, [20, 19, 17, 14, 12, 10, 8, 5, 3, 1, 0], 1),
        _case((2, 1, 3, 5), 0.7, [9, 7, 6, 4, 0], 11),
        _case((1, 6), 1.0, [7, 5, 2, 0], 21),  # the whole walk
        _case((2, 5), 0.05, [12, 8, 3, 1, 0], 31),  # less than one step
        _case((4, 3), 0.85, [15, 11, 8, 6, 2, 0], 41, torch.float32),
    ]
    numbers = [{name: case[name] for name in ("strength", "ts", "alpha_bar")} for case in cases]
    ratios = [case for case in numbers if case["strength"] < 1]
    compare(claimed_ratio, _claimed_ratio, ratios, _RATIO_KNOWN, ("the ratio",))
    compare(begin, _begin, cases, _KNOWN, ("the start", "the times"))


begin = Exercise(
    title="Find the mistake: the strength and its end",
    kind="find the mistake",
    answers=("claimed_ratio", "begin"),
    trial=_try,
    points=4,
    difficulty=1,
    minutes=20,
    hints=(
        "Print the claim's list for strength 0.1 and for 0.9. Which of the two walks should be the longer one?",
        "Count the steps to take first. They are the last ones of the list; at the first time of what is left, x must "
        "be what the network has met in training, (9.1).",
        "n = max(1, round(strength · N)); times = ts[N − n:]; √ᾱ_t x_0 + √(1−ᾱ_t) ε at t = times[0]. The ratio is "
        "strength/(1−strength) over √(1/ᾱ_t − 1) at t = ts[int(strength · N)].",
    ),
)  # fmt: skip
