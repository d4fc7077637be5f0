"""Exercise 1.5, noise without shrinking: how its answers are checked."""

from __future__ import annotations

import math

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import normal
from ldm_edu.check.exercise import Exercise


def _claimed_variance(variance_0, level, t):
    return variance_0 + t * level


def _mended_step(x, level, z):
    return math.sqrt(1 - level) * x + math.sqrt(level) * z


_VARIANCE_KNOWN = (
    Known(
        lambda variance_0, level, t: t * level,
        "For data of variance {variance_0} you get {got:.4f}: that is the noise's part alone.",
    ),
    Known(
        lambda variance_0, level, t: variance_0 + t * math.sqrt(level),
        "You get {got:.4f} after {t} steps of level {level}: you added deviations. It is variances that add.",
    ),
    Known(
        lambda variance_0, level, t: variance_0 + t * level**2,
        "You get {got:.4f} after {t} steps of level {level}: √level Z has the variance level, not level².",
    ),
    Known(
        lambda variance_0, level, t: math.sqrt(variance_0 + t * level),
        "Your {got:.4f} is the deviation after {t} steps; the variance is asked.",
    ),
    Known(
        lambda variance_0, level, t: (1 - level) ** t * (variance_0 - 1) + 1,
        "Your {got:.4f} is the variance with shrinking, (1.7). The claim's step does not shrink.",
    ),
    Known(
        lambda variance_0, level, t: variance_0 + level,
        "You get {got:.4f} for t = {t}: that is one step only.",
    ),
)

_MENDED_STEP_KNOWN = (
    Known(
        lambda x, level, z: x + math.sqrt(level) * z,
        lambda case, got, want: (
            f"Your step takes data of variance 1 to variance {got.var().item():.3f}: this is still the claim's step."
        ),
    ),
    Known(
        lambda x, level, z: (1 - level) * x + math.sqrt(level) * z,
        lambda case, got, want: (
            f"Your step takes data of variance 1 to variance {got.var().item():.3f}: it shrinks too much. A factor "
            "comes out of a variance squared."
        ),
    ),
    Known(
        lambda x, level, z: math.sqrt(1 - level) * x + level * z,
        lambda case, got, want: (
            f"Your step takes data of variance 1 to variance {got.var().item():.3f}: the shrinking is right, the noise "
            "has lost its root."
        ),
    ),
    Known(
        lambda x, level, z: math.sqrt(1 - level) * (x + math.sqrt(level) * z),
        lambda case, got, want: (
            f"Your step takes data of variance 1 to variance {got.var().item():.3f}: the fresh noise is shrunk along "
            "with x."
        ),
    ),
    Known(
        lambda x, level, z: (x + math.sqrt(level) * z) / math.sqrt(1 + level),
        lambda case, got, want: (
            f"Your noise has the variance {_level_of(case, got):.4f}, not level = {case.level}. "
            "It keeps variance 1, but it is not the step (1.3), whose fresh noise has the variance of its level."
        ),
    ),
)


def _level_of(case, got):
    """The variance of the part of a step that follows z."""
    z = case.z.double().flatten()
    return ((got.flatten() @ z) / (z @ z)).item() ** 2


def _try_mended_step(claimed_variance, mended_step):
    cases = [
        {"variance_0": 0.5, "level": 0.02, "t": 1000},
        {"variance_0": 2.0, "level": 0.3, "t": 7},
        {"variance_0": 0.0, "level": 0.1, "t": 1},
        {"variance_0": 1.5, "level": 0.05, "t": 0},
    ]
    compare(claimed_variance, _claimed_variance, cases, _VARIANCE_KNOWN, ("the variance",))
    cases = [
        {"x": normal(20000, seed=1), "level": 0.4, "z": normal(20000, seed=2)},
        {"x": normal(2, 3, 4, seed=3), "level": 0.02, "z": normal(2, 3, 4, seed=4)},
        {"x": normal(1, 1, seed=5, dtype=torch.float32), "level": 0.9, "z": normal(1, 1, seed=6, dtype=torch.float32)},
    ]
    compare(mended_step, _mended_step, cases, _MENDED_STEP_KNOWN, ("the step",))


mended_step = Exercise(
    title="Find the mistake: noise without shrinking",
    kind="find the mistake",
    answers=("claimed_variance", "mended_step"),
    trial=_try_mended_step,
    points=3,
    difficulty=1,
    minutes=15,
    hints=(
        "Take the variance of both sides of the claim's step. x_{t−1} and Z are independent.",
        "Each step adds `level` to the variance. To stay at variance 1, what must the old x be multiplied by?",
        "The variance is Var[x_0] + t · level. The mended step is (1.3) with β = level: √(1 − level) x + √level z.",
    ),
)
