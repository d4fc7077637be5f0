"""Exercise 1.6, fewer steps with the same betas: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import bars, betas, f64
from ldm_edu.check.exercise import Exercise


def _kept(beta, times):
    return torch.cat([torch.ones(1, dtype=f64), bars(beta)[torch.as_tensor(times)]])


def _claimed_end(beta, times):
    return (1 - beta[torch.as_tensor(times)]).prod()


def _respaced(beta, times):
    kept = _kept(beta, times)
    return 1 - kept[1:] / kept[:-1]


_END_KNOWN = (
    Known(
        lambda beta, times: bars(beta)[-1],
        lambda case, got, want: (
            f"Your {got.item():.4f} is ᾱ_T of all {len(case.beta) - 1} steps; the claim walks {len(case.times)}."
        ),
    ),
    Known(
        lambda beta, times: 1 - _claimed_end(beta, times),
        lambda case, got, want: (
            f"Your {got.item():.4f} is the share of noise at the claim's end, 1 − ᾱ; the signal's share ᾱ is asked."
        ),
    ),
    Known(
        lambda beta, times: _claimed_end(beta, times).sqrt(),
        lambda case, got, want: f"Your {got.item():.4f} is the signal's factor √ᾱ; ᾱ itself is asked.",
    ),
    Known(
        lambda beta, times: beta[torch.as_tensor(times)].prod(),
        lambda case, got, want: f"Your {got.item():.2g} is the product of the β's: ᾱ is the product of the α's.",
    ),
    Known(
        lambda beta, times: 1 - beta[torch.as_tensor(times)].sum(),
        lambda case, got, want: (
            f"You get {got.item():.4f} by subtracting a sum; shares multiply, and cannot fall below 0."
        ),
    ),
)


def _end_of(beta):
    return (1 - beta).prod().item()


_RESPACED_KNOWN = (
    Known(
        lambda beta, times: beta[torch.as_tensor(times)],
        lambda case, got, want: (
            f"Your chain ends at ᾱ = {_end_of(got):.4f}, the long one at {bars(case.beta)[case.times[-1]].item():.4f}: "
            "these are still the claim's β's."
        ),
    ),
    Known(
        lambda beta, times: beta[torch.as_tensor(times)] * ((len(beta) - 1) / len(times)),
        lambda case, got, want: (
            f"Your chain ends at ᾱ = {_end_of(got):.4f}, the long one at {bars(case.beta)[case.times[-1]].item():.4f}: "
            "multiplying β by the number of skipped steps is right for tiny β only."
        ),
    ),
    Known(
        lambda beta, times: torch.stack(
            [beta[a + 1 : b + 1].sum() for a, b in zip([0, *times[:-1]], times, strict=True)]
        ),
        lambda case, got, want: (
            f"Your chain ends at ᾱ = {_end_of(got):.4f}, the long one at {bars(case.beta)[case.times[-1]].item():.4f}: "
            "sums of β are right for tiny β only; it is the α's that multiply."
        ),
    ),
    Known(
        lambda beta, times: 1 - _kept(beta, times)[1:],
        lambda case, got, want: (
            f"Your last β is {got[-1].item():.4f}: 1 − ᾱ is the noise of the jump from x_0, and a step starts where "
            "the one before it ended."
        ),
    ),
    Known(
        lambda beta, times: _kept(beta, times)[1:] / _kept(beta, times)[:-1],
        lambda case, got, want: f"Your first entry is {got[0].item():.4f}: these are the new α's. β is 1 − α.",
    ),
    Known(
        lambda beta, times: 1 - (_kept(beta, times)[1:] / _kept(beta, times)[:-1]).sqrt(),
        lambda case, got, want: (
            f"Your chain ends at ᾱ = {_end_of(got):.4f}, the root of what it should be: the ratio of ᾱ's is α already."
        ),
    ),
    Known(
        lambda beta, times: _respaced(beta, [*times[:-1], len(beta) - 1]),
        lambda case, got, want: (
            f"Your chain ends at ᾱ = {_end_of(got):.4f}, that of T = {len(case.beta) - 1}; the last time that is kept "
            f"is {case.times[-1]}."
        ),
    ),
    Known(
        lambda beta, times: _respaced(beta, times)[1:],
        lambda case, got, want: (
            f"You return {len(got)} entries for {len(case.times)} steps: the first one leaves t = 0, where ᾱ_0 = 1."
        ),
    ),
)


def _try_respaced(claimed_end, respaced):
    cases = [
        {"beta": betas(12, 1), "times": [3, 6, 9, 12]},
        {"beta": betas(50, 2, 0.005, 0.05), "times": [10, 30, 50]},
        {"beta": betas(9, 5), "times": [2, 3, 6]},  # the last one is not T
        {"beta": betas(6, 3), "times": [6]},
        {"beta": betas(4, 4), "times": [1, 2, 3, 4]},  # nothing is skipped
    ]
    compare(claimed_end, _claimed_end, cases, _END_KNOWN, ("the claim's ᾱ",))
    compare(respaced, _respaced, cases, _RESPACED_KNOWN, ("beta",))


respaced = Exercise(
    title="Find the mistake: fewer steps with the same betas",
    kind="find the mistake",
    answers=("claimed_end", "respaced"),
    trial=_try_respaced,
    points=3,
    difficulty=2,
    minutes=20,
    hints=(
        "What is left of the picture at the end of a chain is a product over the steps that were taken.",
        "The short chain should have the same ᾱ at the kept times. What is α of a step from one kept time to the next?",
        "α of the step from s to t is ᾱ_t / ᾱ_s, so the new β is 1 − ᾱ_t / ᾱ_s; the first step has s = 0 and ᾱ_0 = 1.",
    ),
)
