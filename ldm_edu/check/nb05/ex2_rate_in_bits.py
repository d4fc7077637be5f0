"""Exercise 5.2, how many bits is a code: how its answers are checked."""

from __future__ import annotations

import math

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import f64, normal
from ldm_edu.check.exercise import Exercise

BIT = math.log(2)


def _nats(mean, logvar):
    """Of each component."""
    return (mean.square() + logvar.exp() - 1 - logvar) / 2


def _made(each=_nats, reduce=lambda nats: nats.flatten(1).sum(1), unit=BIT):
    """The rate with other components, another reduction or another unit."""
    return lambda mean, logvar: reduce(each(mean, logvar)) / unit


_rate = _made()


def _says(say):
    """A sentence with the first picture's number, and what a code that is the prior would get."""

    def sentence(case, got, want):
        first = got.flatten()[0].item()
        d = case.mean[0].numel()
        return say.format(
            got=f"{first:.2f}",
            right=f"{want[0].item():.2f}",
            share=f"{first / want[0].item():.4f}",
            d=d,
            B=len(case.mean),
        )

    return sentence


def _unit(unit, say):
    return Known(_made(unit=unit), _says("Your first picture has {got}, {share} times its bits: " + say))


def _each(each, say):
    return Known(_made(each), _says(say))


_KNOWN = (
    _unit(1, "these are nats."),
    _unit(1 / BIT, "a bit is less than a nat, so there must be more of them than nats."),
    _unit(math.log(10), "that is the logarithm to 10."),
    _unit(BIT / 2, "the ½ of (5.5) is missing."),
    Known(_made(unit=-BIT), _says("Your first picture has {got} bits: a rate is never negative.")),
    Known(
        _made(reduce=lambda nats: nats.flatten(1).mean(1)),
        _says("Your first picture has {got} bits, {d} times too few: that is the mean over its {d} components."),
    ),
    Known(
        _made(reduce=lambda nats: nats.sum()),
        _says("You return one number, {got}: that is the sum over all {B} pictures. One number for each is asked."),
    ),
    Known(
        _made(reduce=lambda nats: nats.flatten(1).sum(1).mean()),
        _says("You return one number, {got}: the mean over {B} pictures. One number for each is asked."),
    ),
    Known(
        _made(reduce=lambda nats: nats.mean()),
        _says("You return one number, {got}: the mean over all pictures and components."),
    ),
    _each(
        lambda mean, logvar: (mean**2 + (2 * logvar).exp() - 1 - 2 * logvar) / 2,
        "Your first picture has {got} bits in place of {right}: logvar is log s², and you took it for log s.",
    ),
    _each(
        lambda mean, logvar: (mean**2 + (2 * logvar).exp() - 1 - logvar) / 2,
        "Your first picture has {got} bits in place of {right}: exp(logvar) was squared, and it is the variance "
        "already.",
    ),
    _each(
        lambda mean, logvar: (mean**2 + (logvar / 2).exp() - 1 - logvar) / 2,
        "Your first picture has {got} bits in place of {right}: the deviation stands where (5.5) has s².",
    ),
    _each(
        lambda mean, logvar: (mean**2 + logvar - 1 - logvar.abs().log()) / 2,
        "Your first picture has {got} bits in place of {right}: logvar was used as if it were the variance.",
    ),
    _each(
        lambda mean, logvar: (mean**2 + logvar.exp() - 1 + logvar) / 2,
        "Your first picture has {got} bits in place of {right}: the logarithm has the wrong sign, and a small s must "
        "cost.",
    ),
    _each(
        lambda mean, logvar: (mean**2 + logvar.exp() - 1 - logvar / 2) / 2,
        "Your first picture has {got} bits in place of {right}: log s stands where (5.5) has log s².",
    ),
    _each(
        lambda mean, logvar: (mean**2 + logvar.exp() - logvar) / 2,
        "Your first picture has {got} bits in place of {right}: a code that equals the prior must cost 0, and with "
        "yours it would cost something. What is missing?",
    ),
    _each(
        lambda mean, logvar: (logvar.exp() - 1 - logvar) / 2,
        "Your first picture has {got} bits in place of {right}: the mean of the code does not enter.",
    ),
    _each(
        lambda mean, logvar: (mean + logvar.exp() - 1 - logvar) / 2,
        "Your first picture has {got} bits in place of {right}: the mean enters without its square.",
    ),
    _each(
        lambda mean, logvar: ((1 + mean**2) / logvar.exp() - 1 + logvar) / 2,
        "Your first picture has {got} bits in place of {right}: the divergence the other way round, averaged over "
        "N(0, I).",
    ),
)  # fmt: skip


def _case(shape, seed, dtype=f64):
    mean, logvar = (normal(*shape, seed=seed + i, dtype=dtype) for i in range(2))
    return {"mean": 0.8 * mean + 0.3, "logvar": 0.6 * logvar - 1.5}


def _try(rate_in_bits):
    cases = [
        _case((3, 2, 4, 5), 1),
        _case((2, 7), 11),
        _case((1, 4, 2, 2), 21, torch.float32),
        {"mean": torch.zeros(2, 3, dtype=f64), "logvar": torch.tensor([[0.0] * 3, [1.0, -1.0, 0.0]], dtype=f64)},
    ]
    compare(rate_in_bits, _rate, cases, _KNOWN, ("the bits",))


rate_in_bits = Exercise(
    title="How many bits is a code?",
    kind="implement",
    answers=("rate_in_bits",),
    trial=_try,
    points=2,
    difficulty=1,
    minutes=10,
    hints=(
        "(5.5) has m and s². What does the network give in the place of s²?",
        "s² = exp(logvar), and log s² is logvar itself. Add over everything but the batch: flatten(1).sum(1).",
        "((mean² + exp(logvar) − 1 − logvar)/2).flatten(1).sum(1) are nats; divide by log 2.",
    ),
)
