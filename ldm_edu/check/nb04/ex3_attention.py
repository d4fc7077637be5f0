"""Exercise 4.3, attention with heads: how its answers are checked.

In the first case v is made so that the answer shows the weights: entry j of each head is 1 at place j and 0 elsewhere,
and the head's last entry is 1 everywhere.
"""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import f64, normal
from ldm_edu.check.exercise import Exercise

PLACES = 5


def _heads(x, heads):
    """(B, N, C) -> (B, heads, N, d)."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _together(out):
    return out.transpose(1, 2).flatten(2)


def _made(scale=lambda d, C, M: d**-0.5, split=_heads, axis=3, join=_together, flip=False):
    """Attention with another scale, other heads, another axis of the softmax, or weights the wrong way round."""

    def attend(q, k, v, heads):
        C, M = q.shape[2], k.shape[1]
        q, k, v = (split(x, heads) for x in (q, k, v))
        weights = torch.softmax(scale(q.shape[3], C, M) * q @ k.transpose(2, 3), axis)
        return join((weights.transpose(2, 3) if flip else weights) @ v)

    return attend


_attend = _made()


def _says(say):
    def sentence(case, got, want):
        shown, right = (_heads(x, case.heads) if x.shape == case.q.shape else x for x in (got, want))
        return say.format(
            C=case.q.shape[2], d=case.q.shape[2] // case.heads, heads=case.heads, M=case.k.shape[1],
            largest=f"{shown[..., :PLACES].max().item():.3f}", right=f"{right[..., :PLACES].max().item():.3f}",
            total=f"{shown[0, 0, 0, -1].item():.3f}", off=f"{(got - want).abs().max().item():.3f}",
        )  # fmt: skip

    return sentence


_KNOWN = (
    Known(
        _made(scale=lambda d, C, M: 1.0),
        _says("Your largest weight is {largest}, not {right}: the scores have a variance that grows with d = {d}."),
    ),
    Known(
        _made(scale=lambda d, C, M: 1 / d),
        _says(
            "Your largest weight is {largest}, not {right}: too even. (4.12) is about a variance; you divided by {d}."
        ),
    ),
    Known(
        _made(scale=lambda d, C, M: d**0.5),
        _says("Your largest weight is {largest}, not {right}: the root makes the scores larger in place of smaller."),
    ),
    Known(
        _made(scale=lambda d, C, M: C**-0.5),
        _says(
            "Your largest weight is {largest}, not {right}: you took the root of all {C} channels. How many products "
            "does a score of one head add up?"
        ),
    ),
    Known(
        _made(scale=lambda d, C, M: M**-0.5),
        _says(
            "Your largest weight is {largest}, not {right}: you took the root of the {M} places. A score adds up over "
            "something else."
        ),
    ),
    Known(
        _made(axis=2),
        _says(
            "The weights that the first place gives add up to {total}, not 1: the softmax ran over the places that "
            "ask. Each of them shares out its 1 among the places that answer."
        ),
    ),
    Known(
        _made(axis=1),
        _says("The weights that the first place gives add up to {total}, not 1: the softmax ran over the heads."),
    ),
    Known(
        _made(flip=True),
        _says(
            "The weights that the first place receives add up to {total}, not 1: the weights were transposed before "
            "they met v."
        ),
    ),
    Known(
        lambda q, k, v, heads: _attend(q, k, v, 1),
        _says(
            "You are off by up to {off}: all {C} channels make one score, where {heads} heads should make their own."
        ),
    ),
    Known(
        _made(split=lambda x, heads: x.reshape(len(x), heads, x.shape[1], -1)),
        _says(
            "With one head you would be right; with {heads} you are off by up to {off}. (B, N, C) was reshaped at once "
            "to (B, heads, N, d): that mixes places with channels."
        ),
    ),
    Known(
        _made(
            split=lambda x, heads: x.reshape(len(x), heads, x.shape[1], -1),
            join=lambda out: out.reshape(len(out), out.shape[2], -1),
        ),
        _says(
            "You are off by up to {off} with {heads} heads: on both ways reshape was used where axes must change "
            "places, so a head is a part of the places."
        ),
    ),
    Known(
        _made(join=lambda out: out.reshape(len(out), out.shape[2], -1)),
        _says(
            "You are off by up to {off} with {heads} heads: on the way back (B, heads, N, d) was reshaped to (B, N, C) "
            "as it stands, which mixes heads with places."
        ),
    ),
    Known(
        _made(
            split=lambda x, heads: x.unflatten(2, (-1, heads)).permute(0, 3, 1, 2),
            join=lambda out: out.permute(0, 2, 3, 1).flatten(2),
        ),
        _says(
            "You are off by up to {off}: each head took channels that are {heads} apart. The first head has the first "
            "{d}, and so on."
        ),
    ),
)


def _case(places, asked, channels, heads, seed, B=2, dtype=f64):
    q = normal(B, places, channels, seed=seed, dtype=dtype)
    k, v = normal(2, B, asked, channels, seed=seed + 1, dtype=dtype)
    return {"q": q, "k": k, "v": v, "heads": heads}


def _telling():
    case = _case(PLACES, PLACES, 2 * (PLACES + 1), 2, 1)
    shows = torch.cat([torch.eye(PLACES, dtype=f64), torch.ones(PLACES, 1, dtype=f64)], 1)
    return case | {"v": shows.repeat(2, 1, 2)}


def _try(attention):
    cases = [
        _telling(),
        _case(4, 7, 6, 3, 11),  # the places that ask and those that answer differ in number
        _case(3, 3, 4, 4, 21, B=1),  # d = 1
        _case(2, 5, 8, 1, 31, B=3, dtype=torch.float32),
    ]
    compare(attention, _attend, cases, _KNOWN, ("the answer",))


attention = Exercise(
    title="Attention with heads",
    kind="implement",
    answers=("attention",),
    trial=_try,
    points=3,
    difficulty=2,
    minutes=20,
    hints=(
        "Each head does (4.11) by itself on its share of the channels. Bring q, k and v to the shape (B, heads, "
        "places, d).",
        "unflatten the channels to (heads, d), then transpose(1, 2): a plain reshape to that shape is something else. "
        "Which number d stands under the root, and over which places must the weights sum to 1?",
        "softmax(q @ k.transpose(2, 3) / √d, last axis) @ v, with d the channels of one head; then transpose(1, 2) and "
        "flatten the last two axes.",
    ),
)
