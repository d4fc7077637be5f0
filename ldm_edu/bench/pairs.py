"""Ratios of two costs, measured in turn: A B, B A, A B, … in one run, so that a busy machine slows both alike.

On the CPU a cost is process time: what other programs do in between does not count. On a GPU it is wall time from
one idle device to the next. Used in notebook 16.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Clock = Callable[[], float]
Work = Callable[[], object]

LEAST_PAIRS = 3
LEAST_UNIT = 0.02  # seconds; shorter work is repeated within a measurement


@dataclass(frozen=True)
class Ratio:
    """How many times A's cost B costs, pair by pair.

    Args:
        median: of the ratios cost(B) / cost(A).
        low, high: 95% interval of the median; with fewer than six pairs, their range.
        lower_quartile, upper_quartile: of the ratios.
        pairs: how many.
        seconds: measured in all, A and B together.
    """

    median: float
    low: float
    high: float
    lower_quartile: float
    upper_quartile: float
    pairs: int
    seconds: float


def ratio_of(a: Sequence[float], b: Sequence[float], seconds: float | None = None) -> Ratio:
    """Summarise paired costs; the interval takes order statistics, so it assumes nothing about the distribution.

    Args:
        a, b: costs of A and of B, pair by pair, positive.
        seconds: measured in all; the sum of the costs unless given.
    Raises:
        ValueError: not as many of one as of the other, none at all, or a cost that is not positive.
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"got {len(a)} costs of A and {len(b)} of B; expected as many of each, one or more")
    if min(*a, *b) <= 0:
        raise ValueError("a cost is 0: the work is too short for the clock; measure more of it at once")
    ratios = sorted(y / x for x, y in zip(a, b, strict=True))
    n, outside = len(ratios), 0
    # The median lies outside [r_k, r_{n−1−k}] where k or fewer of n fair coins show heads, on either side.
    while 2 * sum(math.comb(n, i) for i in range(outside + 1)) / 2**n <= 0.05:
        outside += 1
    k = max(outside - 1, 0)
    quartiles = statistics.quantiles(ratios, n=4, method="inclusive") if n > 1 else [ratios[0]] * 3
    seconds = sum(a) + sum(b) if seconds is None else seconds
    return Ratio(statistics.median(ratios), ratios[k], ratios[-1 - k], quartiles[0], quartiles[2], n, seconds)


def clock_of(device: torch.device | str) -> Clock:
    """The clock for work on a device: process time, or wall time of an idle GPU."""
    if torch.device(device).type != "cuda":
        return time.process_time

    def clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


def compare(a: Work, b: Work, *, seconds: float, clock: Clock) -> Ratio:
    """Run A and B in turn, as `costs_in_turn` does, and summarise."""
    costs, measured = costs_in_turn(a, b, seconds=seconds, clock=clock)
    return ratio_of(*costs, seconds=measured)


def costs_in_turn(a: Work, b: Work, *, seconds: float, clock: Clock) -> tuple[tuple[list[float], list[float]], float]:
    """Run A and B in turn, each first in every other pair, until `seconds` are measured; warm-up not counted.

    Returns:
        costs of A and of B, pair by pair, and what was measured in all.
    """
    repeats = [_repeats(work, clock) for work in (a, b)]
    costs: tuple[list[float], list[float]] = ([], [])
    while sum(map(sum, costs)) < seconds or len(costs[0]) < LEAST_PAIRS:
        order = (0, 1) if len(costs[0]) % 2 == 0 else (1, 0)
        for which in order:
            began = clock()
            for _ in range(repeats[which]):
                (a, b)[which]()
            costs[which].append(clock() - began)
    mine, others = ([cost / n for cost in of] for of, n in zip(costs, repeats, strict=True))
    return (mine, others), sum(map(sum, costs))


def _repeats(work: Work, clock: Clock) -> int:
    """Warm up, and say how often work must run to be measured well."""
    for _ in range(2):  # the first time may be longer, so only a long one is believed
        began = clock()
        work()
        cost = clock() - began
        if cost > 10 * LEAST_UNIT:
            break
    return max(1, math.ceil(LEAST_UNIT / max(cost, 1e-6)))
