"""Exercise 4.4, a young average: how its answers are checked."""

from __future__ import annotations

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.exercise import Exercise


def _mean_age(decay, steps):
    return decay / (1 - decay) - steps * decay**steps / (1 - decay**steps)


_KNOWN = (
    Known(
        lambda decay, steps: decay / (1 - decay),
        "You get {got:.4f}, which is (4.18): the sum over infinitely many steps, but there were only {steps}.",
    ),
    Known(
        lambda decay, steps: 1 / (1 - decay),
        "You get {got:.4f}, the window of an old average: there were only {steps} steps.",
    ),
    Known(
        lambda decay, steps: (1 - decay**steps) * _mean_age(decay, steps),
        "You get {got:.4f} with factors that add up to 1 − d^n, less than 1: the corrected ones add up to 1.",
    ),
    Known(
        lambda decay, steps: _mean_age(decay, steps) / (1 - decay**steps),
        "You get {got:.4f}: the correction 1 − d^n was divided out twice.",
    ),
    Known(
        lambda decay, steps: (steps - 1) / 2,
        "You get {got:.4f}, the mean age where all {steps} steps count the same. Here the late ones count more.",
    ),
    Known(
        lambda decay, steps: _mean_age(decay, steps) + 1,
        "You get {got:.4f}: you counted from 1, but the newest weights are 0 steps old.",
    ),
    Known(
        lambda decay, steps: _mean_age(decay, steps + 1),
        "You get {got:.4f}: that is a sum with k = {steps} in it, a term too many. It would be the age of the start.",
    ),
    Known(
        lambda decay, steps: (1 - decay**steps) * _mean_age(decay, steps) + steps * decay**steps,
        "You get {got:.4f}, in which the random start counts with the age {steps}: the correction has removed it.",
    ),
    Known(
        lambda decay, steps: steps - 1 - _mean_age(decay, steps),
        "You get {got:.4f}, more than half of the {steps} steps: that is a time counted from the start, not an age.",
    ),
    Known(
        lambda decay, steps: (1 - decay) / decay,
        "You get {got:.4f}, less than a step for d = {decay}: d and 1 − d have changed places.",
    ),
)


def _try(mean_age):
    pairs = [(0.9, 6), (0.995, 150), (0.5, 3), (0.7, 1), (0.9, 400)]
    compare(mean_age, _mean_age, [{"decay": d, "steps": n} for d, n in pairs], _KNOWN, ("the mean age",))


mean_age = Exercise(
    title="A young average",
    kind="derive",
    answers=("mean_age",),
    trial=_try,
    points=2,
    written=3,
    difficulty=2,
    minutes=20,
    hints=(
        "Write down the factor that each of the n weights has after the correction. Do they add up to 1?",
        "They are (1−d) d^k/(1−d^n) for k = 0 … n−1. For the mean age you need the finite sum of k d^k: subtract from "
        "the infinite one of (4.18) its tail from n on, in which k = n + j.",
        "The tail is d^n (d/(1−d) + n). So the mean age is d/(1−d) − n d^n/(1−d^n).",
    ),
)
