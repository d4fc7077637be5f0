"""Exercise 10.4, Haar wavelets and soft thresholds: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import f64, normal
from ldm_edu.check.exercise import Exercise

_SIGNS = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=f64)
"""What the mean and the three differences add up of a block's (a, b, c, d)."""


def _blocks(y):
    """(B, C, H, W) as (B, C, H/2, W/2, 4), the pixels of each block by rows."""
    B, C, H, W = y.shape
    return y.reshape(B, C, H // 2, 2, W // 2, 2).permute(0, 1, 2, 4, 3, 5).reshape(B, C, H // 2, W // 2, 4)


def _pixels(blocks):
    """The inverse of `_blocks`."""
    B, C, h, w, _ = blocks.shape
    return blocks.reshape(B, C, h, w, 2, 2).permute(0, 1, 2, 4, 3, 5).reshape(B, C, 2 * h, 2 * w)


def _haar(y):
    """The mean and the differences of each block, (…, 4)."""
    return _blocks(y.double()) @ _SIGNS / 2


def _soft(d, threshold):
    return d.sign() * (d.abs() - threshold).clamp(min=0)


def _made(shrink=_soft, scale=0.5, back=None, of=slice(1, 4)):
    """Haar shrinkage with another shrinkage, another scale of the transform, or other coefficients shrunk."""

    def shrunk(y, threshold):
        coefficients = _blocks(y) @ _SIGNS.to(y.dtype) * scale
        coefficients[..., of] = shrink(coefficients[..., of], threshold)
        return _pixels(coefficients @ _SIGNS.to(y.dtype) * (back or 0.25 / scale))

    return shrunk


_shrunk = _made()


def _says(text, index=slice(1, 4)):
    """A sentence with what the coefficient that is most wrong was, and what it has become."""

    def sentence(case, got, want):
        before, after, right = (_haar(x)[..., index] for x in (case.y, got, want))
        worst = (after - right).abs().argmax()
        d, out = (f"{x.flatten()[worst].item():.3f}" for x in (before, after))
        return text.format(d=d, out=out, threshold=case.threshold)

    return sentence


_D = "With λ = {threshold} your difference {d} became {out}: "

_KNOWN = (
    Known(
        _made(lambda d, v: torch.where(d.abs() > v, d, 0)),
        _says(_D + "kept whole or set to 0. That is the hard threshold, which jumps at λ."),
    ),
    Known(
        _made(of=slice(0, 4)),
        _says(
            "With λ = {threshold} a block's (a + b + c + d)/2 went from {d} to {out}: the picture's own brightness is "
            "no noise.",
            slice(0, 1),
        ),
    ),
    Known(
        _made(of=slice(0, 1)),
        _says(
            "With λ = {threshold} a block's (a + b + c + d)/2 went from {d} to {out}: it was shrunk, and the "
            "differences were not.",
            slice(0, 1),
        ),
    ),
    Known(
        _made(lambda d, v: (d.abs() - v).clamp(min=0)),
        _says(_D + "its sign is lost, so every edge runs the same way."),
    ),
    Known(
        _made(lambda d, v: (d - v).clamp(min=0)),
        _says(_D + "negative differences were all set to 0; they are as real as positive ones."),
    ),
    Known(
        _made(lambda d, v: d.sign() * (d.abs() - v)),
        _says(_D + "a small difference must end at 0, not beyond it."),
    ),
    Known(
        _made(lambda d, v: d - v),
        _says(_D + "λ was taken away from each; where d is negative this pushes it away from 0."),
    ),
    Known(
        _made(lambda d, v: d.clamp(-v, v)),
        _says(_D + "this is what the soft threshold takes away. You kept the noise and lost the edges."),
    ),
    Known(
        _made(lambda d, v: torch.where(d.abs() > v, 0, d)),
        _says(_D + "the large ones were removed and the small ones kept."),
    ),
    Known(
        _made(lambda d, v: torch.zeros_like(d)),
        _says(_D + "all differences are gone, whatever their size. This enlarges a picture of half the size."),
    ),
    Known(
        _made(scale=0.25),
        _says(_D + "your differences are half of the task's, with sums over 4, so λ takes away too much."),
    ),
    Known(
        _made(scale=1.0),
        _says(_D + "your differences are twice the task's, with sums over 1, so λ takes away too little."),
    ),
    Known(
        _made(back=0.25),
        _says(
            "A block's (a + b + c + d)/2 went from {d} to {out}: the way back has another factor than the way there.",
            slice(0, 1),
        ),
    ),
    Known(
        _made(back=1.0),
        _says(
            "A block's (a + b + c + d)/2 went from {d} to {out}: the way back needs a factor too, or all grows.",
            slice(0, 1),
        ),
    ),
    Known(
        _made(of=slice(3, 4)),
        _says(_D + "only (a − b − c + d)/2 was shrunk; edges along rows and columns hold noise as well."),
    ),
    Known(
        _made(of=slice(1, 3)),
        _says(_D + "(a − b − c + d)/2 was left as it was; noise lies in all three alike."),
    ),
    Known(
        _made(lambda d, v: _soft(d, v**2)),
        _says(_D + "λ was squared; it is compared with a difference and has its unit."),
    ),
    Known(
        lambda y, threshold: _soft(y, threshold),
        _says(_D + "the pixels were shrunk, not the differences between them."),
    ),
)


def _case(shape, threshold, seed, dtype=f64):
    y = 0.4 + 0.9 * normal(*shape, seed=seed)
    return {"y": y.to(dtype), "threshold": threshold}


def _try(shrunk):
    cases = [
        _case((2, 1, 4, 6), 0.7, 1),
        _case((1, 3, 6, 2), 0.4, 2),
        _case((3, 2, 2, 2), 1.3, 3),
        _case((2, 1, 8, 4), 0.2, 4, torch.float32),
        _case((1, 1, 4, 4), 0.0, 5),  # nothing to take away: the transform and back
    ]
    compare(shrunk, _shrunk, cases, _KNOWN, ("the picture",))


shrunk = Exercise(
    title="Haar wavelets, softly",
    kind="implement",
    answers=("shrunk",),
    trial=_try,
    points=3,
    difficulty=2,
    minutes=20,
    hints=(
        "The four pixels a, b, c, d of all blocks are y[..., 0::2, 0::2] and so on. First write the way there and back "
        "with λ = 0: it must give y.",
        "The transform is its own inverse: a = (m + h + v + g)/2, and the others by their signs. (10.8) acts on the "
        "three differences; the sum m stays.",
        "S = d.sign() · (d.abs() − λ).clamp(min=0) for h = (a − b + c − d)/2, v = (a + b − c − d)/2, "
        "g = (a − b − c + d)/2; then a = (m+h+v+g)/2, b = (m−h+v−g)/2, c = (m+h−v−g)/2, d = (m−h−v+g)/2.",
    ),
)
