"""Exercise 4.1, the hands of the clock: how its answers are checked."""

from __future__ import annotations

import math

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import f64
from ldm_edu.check.exercise import Exercise


def _made(power=lambda i, half: -i / half, turn=1.0, join=lambda c, s: torch.cat([c, s], 1)):
    """The embedding with another exponent of the base, another unit of angle, or other places for its entries."""

    def embed(t, d, base):
        i = torch.arange(d // 2, dtype=f64)
        angle = turn * t.to(f64)[:, None] * base ** power(i, d // 2)
        return join(angle.cos(), angle.sin())

    return embed


_embed = _made()


def _slowest(say, power):
    """A sentence with the speeds of the first and the last hand, in radians a step, that a mistake makes."""

    def sentence(case, got, want):
        half = case.d // 2
        first, last = (case.base ** power(i, half) for i in (0, half - 1))
        return say.format(
            d=case.d, first=f"{first:.4g}", last=f"{last:.4g}", right=f"{case.base ** (1 / half - 1):.4g}"
        )

    return sentence


def _power(power, say):
    return Known(_made(power), _slowest(say, power))


_KNOWN = (
    Known(
        _made(join=lambda c, s: torch.cat([s, c], 1)),
        lambda case, got, want: (
            f"At t = 0 your first entry is {abs(got[0, 0].item()):.0f} and your last {got[0, -1].item():.0f}: "
            "the two halves have changed places."
        ),
    ),
    Known(
        _made(join=lambda c, s: torch.stack([c, s], 2).flatten(1)),
        lambda case, got, want: (
            f"At t = 0 you begin with {', '.join(f'{v:.0f}' for v in got[0, :4].tolist())}: cosines and sines take "
            "turns. In (4.7) each kind has a half of its own."
        ),
    ),
    Known(
        _made(join=lambda c, s: torch.stack([s, c], 2).flatten(1)),
        lambda case, got, want: (
            f"At t = 0 you begin with {', '.join(f'{abs(v):.0f}' for v in got[0, :4].tolist())}: sines and cosines "
            "take turns, as in Vaswani et al. In (4.7) each kind has a half of its own."
        ),
    ),
    Known(
        _made(join=lambda c, s: c),
        lambda case, got, want: (
            f"You return {got.shape[1]} entries where d = {case.d}: with the cosines alone t and −t look the same."
        ),
    ),
    Known(
        _made(join=lambda c, s: s),
        lambda case, got, want: (
            f"You return {got.shape[1]} entries where d = {case.d}: the sines alone are half of the embedding."
        ),
    ),
    _power(
        lambda i, half: i / half,
        "Your last hand turns {last} radians a step, and the first {first}: hands should get slower. Look at a sign.",
    ),
    _power(
        lambda i, half: -(half - 1 - i) / half,
        "Your first hand turns {first} radians a step and your last {last}: the right hands, but the slow one first.",
    ),
    _power(
        lambda i, half: -i / (2 * half),
        "Your slowest hand turns {last} radians a step, not {right}: you spread the exponents over d = {d} hands, and "
        "there are not so many.",
    ),
    _power(
        lambda i, half: -i / (half - 1 + 1e-300),
        "Your slowest hand turns {last} radians a step, not {right}: you let the last exponent reach −1. Some programs "
        "do, (4.7) does not.",
    ),
    _power(
        lambda i, half: -2 * i / half,
        "Your slowest hand turns {last} radians a step, not {right}: 2i/d is i/(d/2) already; the 2 is there twice.",
    ),
    Known(
        _made(turn=math.pi / 180),
        lambda case, got, want: (
            f"From t = 0 to 1 your fastest hand turns by {math.atan2(got[1, case.d // 2], got[1, 0]):.4f} radians: "
            "these are degrees."
        ),
    ),
    Known(
        _made(turn=2 * math.pi),
        lambda case, got, want: (
            f"Your fastest hand turns by 2π a step: at t = 0 and t = 1 it has the same cosine, {got[1, 0].item():.1f}. "
            "ω is an angular frequency, so ω t is the angle."
        ),
    ),
    Known(
        lambda t, d, base: _embed(t.long(), d, base),
        lambda case, got, want: (
            f"t = {case.t[0].item():g} gives you the embedding of {int(case.t[0])}: t need not be whole, since a "
            "sampler may stop between two steps."
        ),
    ),
    Known(
        lambda t, d, base: _embed(t / t.max(), d, base),
        lambda case, got, want: (
            f"You divided t by {case.t.max().item():g} first: from t = 0 to 1 your fastest hand turns by "
            f"{math.atan2(got[1, case.d // 2], got[1, 0]):.4f} radians only, so neighbours look alike."
        ),
    ),
)


def _try(time_embedding):
    cases = [
        {"t": torch.tensor([0, 1, 7, 40]), "d": 8, "base": 10000.0},
        {"t": torch.tensor([100, 2, 55]), "d": 16, "base": 100.0},
        {"t": torch.tensor([5]), "d": 2, "base": 10000.0},
        {"t": torch.tensor([0.5, 12.25]), "d": 6, "base": 1000.0},  # samplers may stop between two steps
    ]
    compare(time_embedding, _embed, cases, _KNOWN, ("e(t)",))


time_embedding = Exercise(
    title="The hands of the clock",
    kind="implement",
    answers=("time_embedding",),
    trial=_try,
    points=2,
    difficulty=1,
    minutes=10,
    hints=(
        "It is (4.7) with `base` in the place of 10000. How many different ω are there for d entries?",
        "There are d/2 of them: base ** (−i / (d/2)) for i = 0 … d/2 − 1. All angles at once are t[:, None] * omega.",
        "angle = t[:, None] * omega, of shape (B, d/2); then cosines and sines side by side with cat along dimension "
        "1.",
    ),
)
