"""Exercise 8.3, pixels look at words, empty places left out: how its answers are checked.

In the first two cases the words and w_v are made so that the answer shows the weights: value j is 1 at word j and 0
at the others, and a last value is 1 everywhere.
"""

from __future__ import annotations

import math

import torch

from ldm_edu.check.calls import Mistake, attempt
from ldm_edu.check.compare import Known, compare, tidy
from ldm_edu.check.draw import f64, normal
from ldm_edu.check.exercise import Exercise

PLACES = 5


def _minus_infinity(scores, empty):
    return scores.masked_fill(empty[:, None], -math.inf)


def _made(scale=lambda d, C: d**-0.5, axis=2, hide=_minus_infinity, after=lambda weights, empty: weights, value=None):
    """Cross-attention with another scale, axis of the softmax, way of hiding empty places, or value."""

    def attend(pixels, words, tokens, w_q, w_k, w_v):
        q, k = pixels @ w_q, words @ w_k
        v = value(words, w_k, w_v) if value else words @ w_v
        scores = hide(scale(q.shape[2], pixels.shape[2]) * q @ k.transpose(1, 2), tokens == 0)
        return after(torch.softmax(scores, axis), tokens == 0) @ v

    return attend


_attend = _made()


def _swapped(pixels, words, tokens, w_q, w_k, w_v):
    """Words ask, pixels answer."""
    q, k, v = words @ w_q, pixels @ w_k, pixels @ w_v
    return torch.softmax(q @ k.transpose(1, 2) / q.shape[2] ** 0.5, 2) @ v


def _hides_unknown(pixels, words, tokens, w_q, w_k, w_v):
    return _attend(pixels, words, tokens * (tokens > 1), w_q, w_k, w_v)


def _says(say):
    def sentence(case, got, want):
        empty, shown = case.tokens[0] == 0, got[0, 0]
        return say.format(
            d=case.w_q.shape[1], C=case.pixels.shape[2], L=case.words.shape[1], N=case.pixels.shape[1],
            largest=f"{shown[:PLACES].max().item():.3f}", right=f"{want[0, 0, :PLACES].max().item():.3f}",
            total=f"{shown[PLACES].item():.3f}" if len(shown) > PLACES else "", rows=got.shape[1],
            wasted=f"{shown[:PLACES][empty[:PLACES]].sum().item():.3f}" if got.shape == want.shape else "",
            off=f"{(got - want).abs().max().item():.3f}" if got.shape == want.shape else "", width=got.shape[2],
        )  # fmt: skip

    return sentence


_KNOWN = (
    Known(
        _swapped,
        _says("Your result has {rows} rows, one a word, for {N} pixels: the words ask and the pixels answer."),
    ),
    Known(
        _made(scale=lambda d, C: 1.0),
        _says("The first pixel's largest weight is {largest}, not {right}: the scores' variance grows with d = {d}."),
    ),
    Known(
        _made(scale=lambda d, C: 1 / d),
        _says("The first pixel's largest weight is {largest}, not {right}, too even: d is the variance of a score."),
    ),
    Known(
        _made(scale=lambda d, C: C**-0.5),
        _says(
            "The first pixel's largest weight is {largest}, not {right}: you took the root of the pixels' {C} "
            "channels. How many products does a score add up?"
        ),
    ),
    Known(
        _made(axis=1),
        _says(
            "The first pixel's weights add up to {total}, not 1: the softmax ran over the pixels, so each word shares "
            "itself out among them."
        ),
    ),
    Known(
        _made(hide=lambda scores, empty: scores),
        _says("The first pixel gives the weight {wasted} to places where no word is: tokens has not been looked at."),
    ),
    Known(
        _made(hide=lambda scores, empty: scores.masked_fill(empty[:, None], 0)),
        _says(
            "The first pixel gives the weight {wasted} to places where no word is: a score of 0 is a middling one, for "
            "e⁰ = 1."
        ),
    ),
    Known(
        _made(hide=lambda scores, empty: scores, after=lambda weights, empty: weights.masked_fill(empty[:, None], 0)),
        _says(
            "The first pixel's weights add up to {total}, not 1: what the empty places had got was thrown away after "
            "the softmax."
        ),
    ),
    Known(
        _made(hide=lambda scores, empty: scores.masked_fill(~empty[:, None], -math.inf)),
        _says(
            "The first pixel gives the weight {wasted} to places where no word is: you kept these, and hid the words."
        ),
    ),
    Known(
        _made(hide=lambda scores, empty: scores.masked_fill(empty[:1, None], -math.inf)),
        _says("You are off by up to {off}: all texts had the empty places of the first."),
    ),
    Known(
        _hides_unknown,
        _says("You are off by up to {off}: tokens that are 1 were hidden too. They are words outside the vocabulary."),
    ),
    Known(
        _made(value=lambda words, w_k, w_v: words @ w_k),
        _says("You are off by up to {off}: the pixels receive keys. What is compared and what is handed over differ."),
    ),
    Known(
        _made(value=lambda words, w_k, w_v: words),
        _says("A pixel receives {width} numbers: the words as they are, without their value's matrix."),
    ),
)


def _case(pixels, places, filled, channels, width, d, d_v, seed, dtype=f64):
    tokens = torch.zeros(len(filled), places, dtype=torch.int64)
    for row, n in zip(tokens, filled, strict=True):
        row[:n] = torch.arange(1, n + 1)  # 1 is a word outside the vocabulary, which is a word too
    shapes = (len(filled), pixels, channels), (len(filled), places, width), (channels, d), (width, d), (width, d_v)
    drawn = [normal(*shape, seed=seed + i, dtype=dtype) for i, shape in enumerate(shapes)]
    return dict(zip(("pixels", "words", "tokens", "w_q", "w_k", "w_v"), (*drawn[:2], tokens, *drawn[2:]), strict=True))


def _telling(filled):
    width, d = 8, PLACES + 1
    case = _case(7, PLACES, filled, width, width, d, d, 1)
    shows = torch.cat([torch.eye(PLACES, dtype=f64), torch.ones(PLACES, 1, dtype=f64)], 1)
    words = case["words"].clone()
    words[..., :d] = shows
    return case | {"words": words, "w_v": torch.eye(width, dtype=f64)[:, :d].clone()}


def _try(cross_attention):
    full, some = _telling((5, 5, 5)), _telling((3, 4, 1))
    cases = [
        *((full, some) if _finite(cross_attention, full) else (some, full)),
        _case(4, 6, (6, 2), 3, 5, 4, 2, 11),
        _case(2, 3, (1,), 5, 2, 1, 3, 21),  # one word: each pixel receives its value
        _case(3, 4, (4, 3), 6, 6, 2, 5, 31, torch.float32),
    ]
    compare(cross_attention, _attend, cases, _KNOWN, ("the answer",))


def _finite(answer, case):
    """Whether an answer has numbers to show: one that hides all the words has none where no place is empty."""
    try:
        return bool(tidy(attempt(answer, case), ("the answer",)).isfinite().all())
    except Mistake:
        return True  # told by compare


cross_attention = Exercise(
    title="Pixels look at words",
    kind="implement",
    answers=("cross_attention",),
    trial=_try,
    points=3,
    difficulty=2,
    minutes=20,
    hints=(
        "Which of the two asks, and which answers? (8.7) says from which of them Q, K and V come. What weight should "
        "an empty place have, and what must the others then add up to?",
        "Scores have the shape (B, N, L). Give the empty places a score whose exponential is 0, before the softmax "
        "over the words.",
        "scores = Q @ K.transpose(1, 2) / √d, with Q = pixels @ w_q, K = words @ w_k; "
        "scores.masked_fill(tokens[:, None] == 0, −inf); softmax over the last axis; @ (words @ w_v).",
    ),
)
