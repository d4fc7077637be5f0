"""Exercise 1.2, a schedule from its SNR: how its answers are checked."""

from __future__ import annotations

import math

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import f64
from ldm_edu.check.exercise import Exercise


def _even_snr(T, first, last):
    return torch.cat([torch.ones(1, dtype=f64), torch.sigmoid(torch.linspace(first, last, T, dtype=f64))])


def _even_with(bar_of, points=0, base=1.0):
    """Another map from log SNR to ᾱ; `points` more points in the line than there should be."""

    def wrong(T, first, last):
        line = torch.linspace(first, last, T + points, dtype=f64) * base
        return torch.cat([torch.ones(1, dtype=f64), bar_of(line)]) if points == 0 else bar_of(line)

    return wrong


def _snr_of(bar):
    return (bar / (1 - bar)).log()


_EVEN_KNOWN = (
    Known(
        _even_with(torch.exp),
        lambda case, got, want: (
            f"Your ᾱ_1 is {got[1].item():.4g}, and ᾱ lies between 0 and 1: this is the SNR itself. Solve "
            "SNR = ᾱ / (1 − ᾱ) for ᾱ."
        ),
    ),
    Known(
        _even_with(lambda line: torch.sigmoid(-line)),
        lambda case, got, want: (
            f"Your ᾱ rises, from {got[1].item():.4f} at t = 1 to {got[-1].item():.4f} at T: this is 1 − ᾱ, the noise."
        ),
    ),
    Known(
        _even_with(torch.sigmoid, base=2.0),
        lambda case, got, want: (
            f"The log SNR of your ᾱ_1 is {_snr_of(got[1]).item():.3f}, twice what was asked: SNR is a ratio of powers, "
            "ᾱ over 1 − ᾱ, and not of their roots."
        ),
    ),
    Known(
        _even_with(torch.sigmoid, base=0.5),
        lambda case, got, want: (
            f"The log SNR of your ᾱ_1 is {_snr_of(got[1]).item():.3f}, half of what was asked: "
            "signal over noise in place of signal² over noise²."
        ),
    ),
    Known(
        _even_with(lambda line: torch.sigmoid(line).sqrt()),
        lambda case, got, want: (
            f"Your last entry, {got[-1].item():.4f}, is √ᾱ_T: its square has the log SNR that was asked for."
        ),
    ),
    Known(
        _even_with(torch.sigmoid, base=math.log(10)),
        lambda case, got, want: (
            f"The log SNR of your ᾱ_1 is {_snr_of(got[1]).item():.3f}: a power of 10 in place of e. The logarithm here "
            "is the natural one."
        ),
    ),
    Known(
        _even_with(torch.sigmoid, points=1),
        lambda case, got, want: (
            f"Your ᾱ_0 is {got[0].item():.4f}: clean data have ᾱ_0 = 1, and the line of log SNR begins at t = 1."
        ),
    ),
    Known(
        lambda T, first, last: _even_snr(T, first, last)[1:],
        lambda case, got, want: f"You return {len(got)} entries for T = {case.T}: t runs over 0 … T, and ᾱ_0 = 1.",
    ),
    Known(
        lambda T, first, last: _even_snr(T, last, first),
        lambda case, got, want: (
            f"Your SNR rises with t: its log is {_snr_of(got[1]).item():.2f} at t = 1 and "
            f"{_snr_of(got[-1]).item():.2f} at T. Small t is little noise."
        ),
    ),
)


def _try_even_snr(even_snr):
    cases = [
        {"T": 10, "first": 5.0, "last": -4.0},
        {"T": 37, "first": 2.5, "last": -3.5},
        {"T": 2, "first": 1.0, "last": 0.5},
        {"T": 1, "first": -1.0, "last": -1.0},
    ]
    compare(even_snr, _even_snr, cases, _EVEN_KNOWN, ("alpha_bar",))


even_snr = Exercise(
    title="A schedule with even steps in log SNR",
    kind="implement",
    answers=("even_snr",),
    trial=_try_even_snr,
    points=3,
    difficulty=2,
    minutes=15,
    hints=(
        "Write SNR = ᾱ / (1 − ᾱ), and solve it for ᾱ with pencil and paper.",
        "ᾱ = SNR / (1 + SNR) = 1 / (1 + 1/SNR). With SNR = e^λ this function of λ has a name, and torch has it.",
        "ᾱ_t = sigmoid(λ_t), with λ from torch.linspace(first, last, T) for t = 1 … T; put a 1 before it for t = 0.",
    ),
)
