"""Exercise 6.3, the times of a short sampler: how its answers are checked."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from ldm_edu.check.calls import Mistake, attempt
from ldm_edu.check.compare import Known, compare, tidy
from ldm_edu.check.draw import alpha_bars
from ldm_edu.check.exercise import Exercise


def _first(T, steps):
    """The first time that the claim's sampler uses."""
    return range(0, T, T // steps)[-1]


def _told(T, steps, alpha_bar):
    return alpha_bar[_first(T, steps)].sqrt()


_TOLD_KNOWN = (
    Known(
        lambda T, steps, alpha_bar: alpha_bar[_first(T, steps)],
        "You get {got:.4f}: that is ᾱ, the signal's power; its factor is asked.",
    ),
    Known(
        lambda T, steps, alpha_bar: alpha_bar[T].sqrt(),
        "You get {got:.4f}, the factor at T = {T}. Does the claim's list hold T?",
    ),
    Known(
        lambda T, steps, alpha_bar: (1 - alpha_bar[_first(T, steps)]).sqrt(),
        "You get {got:.4f}, the factor of ε at the claim's first time; that of x_0 is asked.",
    ),
    Known(
        lambda T, steps, alpha_bar: alpha_bar[T - T // steps].sqrt(),
        "You get {got:.4f}, the factor at T − T // steps: for T = {T} and {steps} steps, print the claim's list.",
    ),
    Known(
        lambda T, steps, alpha_bar: alpha_bar[T - 1].sqrt(),
        "You get {got:.4f}, the factor at T − 1. For T = {T} and {steps} steps, print the claim's list.",
    ),
    Known(
        lambda T, steps, alpha_bar: alpha_bar[0].sqrt(),
        "You get {got:.4f}, the factor at t = 0: the claim turns its list round, so 0 is its last time.",
    ),
)


def _try(told_signal, times):
    pairs = [(12, 4), (13, 5), (20, 3), (9, 9), (5, 1)]
    cases = [{"T": T, "steps": steps, "alpha_bar": alpha_bars(T, T)} for T, steps in pairs]
    compare(told_signal, _told, cases, _TOLD_KNOWN, ("the factor",))
    for T, steps in [*pairs, (1000, 50), (1000, 12), (7, 7), (10, 6), (3, 1)]:
        _look(attempt(times, {"T": T, "steps": steps}), T, steps)


def _look(made, T, steps):
    """All that can be seen of one list."""
    asked = f"for T = {T} and {steps} steps"
    if isinstance(made, range):
        made = list(made)
    if not isinstance(made, torch.Tensor | np.ndarray | tuple | list):
        raise Mistake(f"times must return a list of whole numbers, got {type(made).__name__} ({asked})")
    ts = tidy(made, ("the list",)).tolist()
    if not isinstance(ts, list) or len(ts) < 2 or not all(isinstance(t, float) for t in ts):
        raise Mistake(f"a step needs two times, from and to; yours are {ts} ({asked})")
    if any(t % 1 for t in ts):
        raise Mistake(f"{asked} your list holds {next(t for t in ts if t % 1):g}: a schedule has whole times only")
    ts = [int(t) for t in ts]
    if ts[0] < ts[-1]:
        raise Mistake(f"{asked} your times rise from {ts[0]} to {ts[-1]}: a sampler starts with noise and goes down")
    if ts[0] == T - 1:
        raise Mistake(f"{asked} your list starts at {T - 1}: counting from 0 is a library's habit; noise is at T")
    if ts[0] != T:
        raise Mistake(f"{asked} your list starts at {ts[0]}, and the sampler at noise of time {T}")
    if ts[-1] == 1:
        raise Mistake(f"{asked} your list ends at 1: the result keeps the noise of the first step")
    if ts[-1] != 0:
        raise Mistake(f"{asked} your list ends at {ts[-1]}, where data still hold noise: it must reach clean data")
    again = [t for t, s in pairwise(ts) if t <= s]
    if again:
        raise Mistake(f"{asked} your list does not fall after {again[0]}: that step takes away no noise")
    if len(ts) == steps:
        raise Mistake(f"{asked} your list has {len(ts)} times: between them lie only {len(ts) - 1} steps")
    if len(ts) != steps + 1:
        raise Mistake(f"{asked} your list makes {len(ts) - 1} steps: rounding the width down makes room for more")
    gaps = [t - s for t, s in pairwise(ts)]
    if max(gaps) - min(gaps) > 1:
        raise Mistake(f"{asked} your steps are between {min(gaps)} and {max(gaps)} wide: spread what is left over")


times = Exercise(
    title="Find the mistake: every k-th time",
    kind="find the mistake",
    answers=("told_signal", "times"),
    trial=_try,
    points=3,
    difficulty=1,
    minutes=15,
    may_use=(),
    hints=(
        "Print the claim's list for T = 1000 and 4 steps, and again for 7 steps. Where does it start? How long is it?",
        "steps + 1 times make `steps` steps. Both ends are fixed, T and 0; T/steps is the width, rounded at the end.",
        "[round(T * k / steps) for k in range(steps, −1, −1)]. For the claim take √ᾱ at the last entry of its range.",
    ),
)  # fmt: skip
