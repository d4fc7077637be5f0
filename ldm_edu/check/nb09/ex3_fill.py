"""Exercise 9.3, a hole that is filled once, at the end: how its answers are checked.

`step` is some sampler's step that lets every place see its neighbours; `draw(s)` gives the noise for the level s.
The known part of the start is noised with draw(ts[0]), so holding it once more before the first step changes nothing.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import alpha_bars, f64, normal
from ldm_edu.check.exercise import Exercise

_SEAM_KNOWN = (
    Known(
        lambda rho: 1 - rho,
        "At ρ = {rho} you get {got:.4f}: the data's step over the claim's. Asked is the other way round.",
    ),
    Known(
        lambda rho: 1 / (1 - rho**2),
        "At ρ = {rho} you get {got:.4f}: 1 − ρ² is what is uncertain in one number if the other is known. Asked is "
        "the square of their difference.",
    ),
    Known(
        lambda rho: 1 / math.sqrt(1 - rho),
        "At ρ = {rho} you get {got:.4f}, a ratio of root mean squares; asked is that of the mean squares.",
    ),
    Known(
        lambda rho: 2 / (1 - rho),
        "At ρ = {rho} you get {got:.4f}: the claim's two numbers were counted twice, and the data's once.",
    ),
    Known(
        lambda rho: 1 / (1 + rho),
        "At ρ = {rho} you get {got:.4f}: this is for the sum of two neighbours. A seam is their difference.",
    ),
    Known(
        lambda rho: 1.0,
        "At ρ = {rho} you get {got:.4f}: then the claim would leave no seam. What does its hole know of the rest?",
    ),
)  # fmt: skip


def _claimed_seam(rho):
    return 1 / (1 - rho)


def _noised(x, bar, z):
    return bar.sqrt().item() * x + (1 - bar).sqrt().item() * z


def _known_part(level=lambda t, s: s, which=lambda t, s, ts: s, noised=_noised):
    """The known part after the step from t to s, at another level, with another noise, or noised in another way."""

    def known(x_0, t, s, ts, alpha_bar, draw):
        return noised(x_0, alpha_bar[level(t, s)], draw(which(t, s, ts)))

    return known


def _made(known=None, before=False, choose=lambda free, x, known: torch.where(free, x, known)):
    """The loop with one thing done differently."""
    known = known or _known_part()

    def fill(step, x, x_0, free, ts, alpha_bar, draw):
        for t, s in pairwise(ts):
            if before:
                x = choose(free, x, known(x_0, t, t, ts, alpha_bar, draw))
            x = step(x, t, s)
            if not before:
                x = choose(free, x, known(x_0, t, s, ts, alpha_bar, draw))
        return x

    return fill


_fill = _made()


def _once(step, x, x_0, free, ts, alpha_bar, draw):
    """The claim."""
    for t, s in pairwise(ts):
        x = step(x, t, s)
    return torch.where(free, x, x_0)


def _all_noised(step, x, x_0, free, ts, alpha_bar, draw):
    for t, s in pairwise(ts):
        x = _noised(torch.where(free, step(x, t, s), x_0), alpha_bar[s], draw(s))
    return x


def _says(text):
    """A sentence with how far hole and known part are off (largest entry), and what the level of the first step has."""

    def sentence(case, got, want):
        s = case.ts[1]
        bar, end = case.alpha_bar[s].item(), case.alpha_bar[case.ts[-2]].item()
        apart = (got - want).abs()
        free = case.free.expand(apart.shape)
        hole, known = (f"{apart[place].max().item():.4f}" for place in (free, ~free))
        return text.format(
            hole=hole, known=known, levels=len(case.ts) - 1, s=s, t=case.ts[-2], bar=f"{bar:.4f}",
            signal=f"{math.sqrt(bar):.4f}", noise=f"{1 - bar:.4f}", end=f"{1 - end:.4f}",
        )  # fmt: skip

    return sentence


_KNOWN = (
    Known(
        _once,
        _says(
            "Your hole is off by up to {hole} and the known part by {known}: it was put in once, at the end, and the "
            "sampler never saw it."
        ),
    ),
    Known(
        _made(choose=lambda free, x, known: known),
        _says("Your hole is off by up to {hole}: the known x_0 was put in there as well, so the hole is not filled."),
    ),
    Known(
        _made(choose=lambda free, x, known: torch.where(free, known, x)),
        _says("Your known part is off by up to {known}: it was drawn, and the hole was held. True means hole."),
    ),
    Known(
        _made(_known_part(noised=lambda x, bar, z: x)),
        _says("At s = {s} the rest of x has noise of power {noise}, and your known part 0: clean values stand there."),
    ),
    Known(
        _made(_known_part(which=lambda t, s, ts: ts[0])),
        _says(
            "Your hole is off by up to {hole}: one z serves all {levels} levels, and with correlation 1 from level to "
            "level it looks like part of the picture. Fresh noise at each lets an unlucky draw be forgotten."
        ),
    ),
    Known(
        _made(_known_part(which=lambda t, s, ts: ts[-1])),
        _says(
            "Your hole is off by up to {hole}: you use the noise of the last time at all {levels} levels; each has its "
            "own draw."
        ),
    ),
    *(
        Known(
            _made(_known_part(level=lambda t, s: t, which=which)),
            _says(
                "Your known part keeps noise of power {end} at the end, that of t = {t}: after the step x is at s, and "
                "you noised it to t."
            ),
        )
        for which in (lambda t, s, ts: s, lambda t, s, ts: t)
    ),
    Known(
        _made(before=True),
        _says(
            "Your known part is off by up to {known} at the end: after the last step, to s = 0, it was left as drawn."
        ),
    ),
    Known(
        _all_noised,
        _says("Your hole is off by up to {hole}: it was noised along with the known part, and is at level s already."),
    ),
    Known(
        _made(_known_part(noised=lambda x, bar, z: bar.item() * x + (1 - bar).item() * z)),
        _says(
            "At s = {s} x_0 has the factor {bar} in your known part and {signal} in the rest: ᾱ_s and 1 − ᾱ_s are "
            "powers."
        ),
    ),
    Known(
        _made(_known_part(noised=lambda x, bar, z: bar.sqrt().item() * x)),
        _says("At s = {s} the rest has noise of power {noise}: your known part has shrunk, and got none of its noise."),
    ),
    Known(
        _made(_known_part(noised=lambda x, bar, z: x + (1 - bar).sqrt().item() * z)),
        _says(
            "At s = {s} x_0 has the factor 1 in your known part, which did not shrink for its noise, and {signal} in "
            "the rest."
        ),
    ),
)  # fmt: skip


def _step(x, t, s):
    """Some step: each place sees the next one, and both times."""
    mixed = 0.6 * x + 0.4 * torch.roll(x, 1, -1)
    return torch.tanh(mixed) * (1.2 - 0.02 * t) + 0.03 * s


def _case(shape, free, ts, seed, dtype=f64):
    alpha_bar, x_0 = alpha_bars(ts[0], seed), normal(*shape, seed=seed, dtype=dtype)

    def draw(s):
        return normal(*shape, seed=seed + 1000 + int(s), dtype=dtype)

    start = normal(*shape, seed=seed + 1, dtype=dtype)
    x = torch.where(free, start, _noised(x_0, alpha_bar[ts[0]], draw(ts[0])))
    return {"step": _step, "x": x, "x_0": x_0, "free": free, "ts": ts, "alpha_bar": alpha_bar, "draw": draw}


def _holes(*shape, seed):
    """About half of the places, at least one free and one known."""
    free = normal(*shape, seed=seed) > 0
    free.view(-1)[:2] = torch.tensor([True, False])
    return free


def _try(claimed_seam, fill):
    compare(claimed_seam, _claimed_seam, [{"rho": rho} for rho in (0.9, 0.5, -0.4, 0.0)], _SEAM_KNOWN, ("the ratio",))
    cases = [
        _case((3, 6), _holes(3, 6, seed=1), [9, 6, 4, 1, 0], 1),
        _case((2, 3, 4, 5), _holes(2, 1, 4, 5, seed=2), [7, 6, 5, 2, 0], 11),
        _case((1, 4), _holes(1, 4, seed=3), [3, 0], 21),  # one step
        _case((2, 5), _holes(2, 5, seed=4), [8, 5, 3, 0], 31, torch.float32),
    ]
    compare(fill, _fill, cases, _KNOWN, ("the filled x_0",))


fill = Exercise(
    title="Find the mistake: the mask, once, at the end",
    kind="find the mistake",
    answers=("claimed_seam", "fill"),
    trial=_try,
    points=4,
    difficulty=2,
    minutes=25,
    hints=(
        "In the claim, change x_0 outside the hole and draw again with the same noise. Does anything change inside?",
        "The difference of two numbers of variance v and correlation ρ has the mean square 2v(1 − ρ). For the loop: "
        "after each step the known part is put in, as noisy as the rest is then, (9.5).",
        "After x = step(x, t, s): known = √ᾱ_s x_0 + √(1−ᾱ_s) draw(s), and x = torch.where(free, x, known). In the "
        "claim neighbours are independent: ρ = 0 there.",
    ),
)  # fmt: skip
