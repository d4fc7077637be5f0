"""Exercise 5.4, the water level for a budget: how its answers are checked."""

from __future__ import annotations

import math

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import f64
from ldm_edu.check.exercise import Exercise


def _level(eigenvalues, rate):
    """(θ, how many are above water) for a rate in nats."""
    high = eigenvalues.double().sort(descending=True).values
    for count in range(len(high), 0, -1):
        theta = math.exp(high[:count].log().mean().item() - 2 * rate / count)
        if theta <= high[count - 1].item() or count == 1:
            return theta, count
    raise AssertionError("no eigenvalues")


def _least(eigenvalues, rate):
    return eigenvalues.clamp(max=_level(eigenvalues, rate)[0]).sum()


def _everything_sent(eigenvalues, rate):
    return len(eigenvalues) * _flat_level(eigenvalues, rate)


def _flat_level(eigenvalues, rate):
    """θ that would spend the rate if every component were sent, however small."""
    return math.exp(eigenvalues.log().mean().item() - 2 * rate / len(eigenvalues))


def _above(eigenvalues, rate):
    theta, count = _level(eigenvalues, rate)
    return theta * count


def _says(say):
    def sentence(case, got, want):
        _, count = _level(case.eigenvalues, case.rate)
        flat, least = _flat_level(case.eigenvalues, case.rate), case.eigenvalues.min().item()
        return say.format(
            got=f"{got.item():.4f}", rate=f"{case.rate:.4g}", d=len(case.eigenvalues), flat=f"{flat:.4f}",
            least=f"{least:.4f}", negative=f"{math.log(least / flat) / 2:.4f}", whole=f"{case.eigenvalues.sum():.4f}",
            under=len(case.eigenvalues) - count, count=count,
        )  # fmt: skip

    return sentence


_KNOWN = (
    Known(
        _everything_sent,
        _says(
            "You get {got} with the water at {flat}. That is above the eigenvalue {least}, whose rate would be "
            "{negative} nats: none can be negative."
        ),
    ),
    Known(
        lambda eigenvalues, rate: eigenvalues.clamp(max=_flat_level(eigenvalues, rate)).sum(),
        _says(
            "You get {got} with the water at {flat}: the level was found as if every component were sent, and "
            "the smallest had the rate {negative}."
        ),
    ),
    Known(
        lambda eigenvalues, rate: _least(eigenvalues, rate * math.log(2)),
        _says("You get {got}: so much remains with {rate} bits. The rate is given in nats, as in (5.13)."),
    ),
    Known(
        lambda eigenvalues, rate: _least(eigenvalues, rate / 2),
        _says("You get {got}, and half of {rate} nats would do for that: the ½ of (5.13) is missing."),
    ),
    Known(
        lambda eigenvalues, rate: _least(eigenvalues, 2 * rate),
        _says("You get {got}, for which the rate {rate} is not enough: it is as if the ½ of (5.13) were there twice."),
    ),
    Known(
        lambda eigenvalues, rate: _level(eigenvalues, rate)[0],
        _says("Your {got} is the water level θ. The distortion adds up what all {d} components lose."),
    ),
    Known(
        _above,
        _says("You get {got} from the {count} components that are sent: the {under} others are lost, all of them."),
    ),
    Known(
        lambda eigenvalues, rate: _least(eigenvalues, rate) - _above(eigenvalues, rate),
        _says("You get {got} from the {under} components under water: what is sent keeps an error too."),
    ),
    Known(
        lambda eigenvalues, rate: eigenvalues.sum() - _least(eigenvalues, rate),
        _says("You get {got}: so much of the variance {whole} comes back. The distortion is the rest."),
    ),
    Known(
        lambda eigenvalues, rate: eigenvalues.sum() * math.exp(-2 * rate / len(eigenvalues)),
        _says("You get {got} by giving each of the {d} components an equal share of the rate. There is a better way."),
    ),
    Known(
        lambda eigenvalues, rate: (eigenvalues * math.exp(-2 * rate)).sum(),
        _says("You get {got} by spending {rate} nats on each of the {d} components: they share them."),
    ),
    Known(
        lambda eigenvalues, rate: _least(eigenvalues, rate) / len(eigenvalues),
        _says("You get {got}, a mean over {d} components; (5.13) has the sum."),
    ),
)  # fmt: skip


def _try(least_distortion):
    def case(eigenvalues, rate):
        return {"eigenvalues": torch.tensor(eigenvalues, dtype=f64), "rate": rate}

    cases = [
        case([0.3, 2.0, 0.05, 0.9], 1.2),
        case([0.3, 2.0, 0.05, 0.9], 6.0),  # all are sent
        case([1.5, 0.2, 0.2], 0.0),  # none is
        case([0.7], 0.4),
        case([1.0, 1.0, 1.0, 0.01, 0.5, 0.02, 3.0], 2.5),
    ]
    compare(least_distortion, _least, cases, _KNOWN, ("the distortion",))


least_distortion = Exercise(
    title="The water level for a budget",
    kind="implement",
    answers=("least_distortion",),
    trial=_try,
    points=3,
    difficulty=3,
    minutes=25,
    hints=(
        "The rate of (5.13) falls as θ rises, so there is one level for each rate. Look for it, then take D at it.",
        "Either halve an interval again and again: 0 < θ ≤ the largest eigenvalue, and R(θ) too large means that θ "
        "must rise. Or suppose that the k largest are sent, solve for θ, and see which k fits.",
        "If the k largest are sent, log θ = mean of their log λ − 2R/k, and it fits if θ is at most the k-th. Begin "
        "with k = all. The distortion is the sum of min(λ, θ).",
    ),
)
