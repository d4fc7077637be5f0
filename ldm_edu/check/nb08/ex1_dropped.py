"""Exercise 8.1, label 0 for "no class": how its answers are checked.

The second answer draws by itself, so it is judged by what it did to many labels.
"""

from __future__ import annotations

import torch

from ldm_edu.check.calls import Mistake, attempt
from ldm_edu.check.compare import Known, compare, tidy
from ldm_edu.check.exercise import Exercise

B = 4000


def _claimed_share(counts, p):
    return counts[0] / (counts[0] + p * sum(counts[1:]))


_SHARE_KNOWN = (
    Known(
        lambda counts, p: 1.0,
        "You get {got:.0f}: then no dropped picture of another class would be shown with the label 0.",
    ),
    Known(
        lambda counts, p: counts[0] / sum(counts),
        "You get {got:.4f}, the share of class 0 in the data. That holds if every label is dropped; here p = {p}.",
    ),
    Known(
        lambda counts, p: (1 - p) * counts[0] / ((1 - p) * counts[0] + p * sum(counts)),
        "You get {got:.4f}: the share that was not dropped. A picture of class 0 whose label is dropped is still "
        "one of class 0.",
    ),
    Known(
        lambda counts, p: counts[0] / (counts[0] + p * sum(counts)),
        "You get {got:.4f}: the dropped pictures of class 0 are counted twice below the line.",
    ),
    Known(
        lambda counts, p: 1 - _claimed_share(counts, p),
        "You get {got:.4f}, the share of the other classes.",
    ),
    Known(
        lambda counts, p: 1 / (1 + p * (len(counts) - 1)),
        "You get {got:.4f}, which is right for classes of equal size; these are {counts}.",
    ),
    Known(
        lambda counts, p: 1 - p,
        "You get {got:.4f}, the share of all labels that are kept. How many of the rest end at 0, and what was there "
        "before?",
    ),
)  # fmt: skip


def _try(claimed_share, dropped):
    cases = [
        {"counts": [100, 400, 250, 50], "p": 0.1},
        {"counts": [30, 20], "p": 0.5},
        {"counts": [10] * 10, "p": 0.2},
        {"counts": [5, 60, 7], "p": 1.0},
    ]
    compare(claimed_share, _claimed_share, cases, _SHARE_KNOWN, ("the share",))
    for p, K, seed in ((0.3, 10, 1), (0.1, 5, 2), (0.7, 2, 3)):
        _look_at_many(dropped, p, K, seed)
    _look_at_ends(dropped)
    _look_at_one(dropped)


def _drawn(K, seed):
    """Labels of all classes."""
    return torch.randint(0, K, (B,), generator=torch.Generator().manual_seed(seed))


def _lost(dropped, labels, p, K):
    """Which labels were dropped, as booleans."""
    out = attempt(dropped, {"labels": labels, "p": p, "num_classes": K})
    new = tidy(out, ("the labels",))
    if torch.as_tensor(out).is_floating_point():
        kind = str(torch.as_tensor(out).dtype).removeprefix("torch.")
        raise Mistake(f"Your labels are {kind}s: E has rows 0, 1, 2, …, whole numbers")
    if new.shape != labels.shape:
        raise Mistake(f"Your labels have the shape {tuple(new.shape)}, expected {tuple(labels.shape)}")
    moved = new != labels
    elsewhere = new[moved & (new != K)]
    if not len(elsewhere):
        return moved
    place = elsewhere[0].item()
    if (elsewhere != place).any():
        raise Mistake(f"{len(elsewhere)} of {len(labels)} labels became another class: a dropped one says nothing")
    if place == 0:
        raise Mistake("Dropped labels became 0, the claim's mistake: class 0 has that row already.")
    if place == K - 1:
        raise Mistake(f"Dropped labels became {K - 1}, with K = {K}: this is the last class. Which row of E is ∅?")
    raise Mistake(f"Dropped labels became {place:g}, with K = {K}: E has the rows 0 … {K}.")


def _look_at_many(dropped, p, K, seed):
    labels = _drawn(K, seed)
    first = _lost(dropped, labels, p, K)
    share = first.double().mean().item()
    if share in (0.0, 1.0):
        others = [_lost(dropped, labels, p, K).double().mean().item() for _ in range(40)]
        if {share, *others} == {0.0, 1.0}:
            raise Mistake(
                f"Of {len(others) + 1} batches {sum(others) + share:.0f} lost all labels and the others none: one coin "
                "was tossed for the batch. Each picture needs its own."
            )
    if abs(share - p) > 0.05:
        if abs(share - (1 - p)) < 0.05:
            raise Mistake(f"A share {share:.2f} of the labels was dropped, with p = {p}: p is the chance to drop.")
        raise Mistake(f"A share {share:.2f} of the labels was dropped, with p = {p}.")
    if torch.equal(first, _lost(dropped, labels, p, K)):
        raise Mistake(
            f"In two calls the same {int(first.sum())} of {B} pictures lost their labels: toss the coins anew "
            "each time."
        )


def _look_at_ends(dropped):
    labels = _drawn(4, 4)
    for p, right in ((0.0, 0), (1.0, B)):
        count = int(_lost(dropped, labels, p, 4).sum())
        if count != right:
            raise Mistake(f"with p = {p:g} of {B} labels {count} were dropped, not {right}")


def _look_at_one(dropped):
    """A batch of 1: now and then its label must go."""
    calls = 60
    count = sum(int(_lost(dropped, torch.tensor([1]), 0.5, 3).sum()) for _ in range(calls))
    if count in (0, calls):
        raise Mistake(
            f"In {calls} batches of 1, with p = 0.5, {count} labels were dropped: dropping a fixed number of a batch "
            "is no coin for each picture."
        )


dropped = Exercise(
    title="Find the mistake: label 0 for “no class”",
    kind="find the mistake",
    answers=("claimed_share", "dropped"),
    trial=_try,
    points=4,
    difficulty=1,
    minutes=20,
    hints=(
        "Which pictures does the claim's network see with the label 0? Count those of class 0, and the others.",
        "All n_0 pictures of class 0 are shown with the label 0, dropped or not, and of the others the share p. For "
        "the second part: E has K + 1 rows (8.5), and the caller still needs its labels.",
        "n_0 / (n_0 + p (n − n_0)). And torch.where(torch.rand(len(labels)) < p, num_classes, labels).",
    ),
)
