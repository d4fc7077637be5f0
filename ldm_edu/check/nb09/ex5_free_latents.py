"""Exercise 9.5, which latents are free: how its answers are checked."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.exercise import Exercise


def _any(mask, f):
    return F.max_pool2d(mask.double(), f) > 0


def _square(free, margin):
    return F.max_pool2d(free.double(), 2 * margin + 1, 1, margin) > 0


def _made(pool=_any, widen=_square, before=lambda mask, f, margin: mask, after=lambda free: free):
    """A mask for latents with one thing done differently."""

    def free_latents(mask, factor, margin):
        return after(widen(pool(before(mask, factor, margin), factor), margin))

    return free_latents


_free_latents = _made()


def _mean(mask, f):
    return F.avg_pool2d(mask.double(), f)


def _far_apart(mask, f):
    """Blocks made of pixels that lie far apart."""
    B, _, H, W = mask.shape
    return mask.view(B, 1, f, H // f, f, W // f).amax((2, 4))


def _cross(free, margin):
    for _ in range(margin):
        wide = F.pad(free, (1, 1, 1, 1))
        free = free | wide[..., 2:, 1:-1] | wide[..., :-2, 1:-1] | wide[..., 1:-1, 2:] | wide[..., 1:-1, :-2]
    return free


def _wrapped(free, margin):
    moves = [(i, j) for i in range(-margin, margin + 1) for j in range(-margin, margin + 1)]
    return torch.stack([torch.roll(free, move, (2, 3)) for move in moves]).any(0)


def _one_side(free, margin):
    return F.max_pool2d(F.pad(free.double(), (margin, 0, margin, 0)), margin + 1, 1) > 0


def _half_as_wide(free, margin):
    return _square(free, margin // 2)


def _in_pixels(mask, f, margin):
    return _square(mask, margin)


def _says(text):
    """A sentence with how many pixels of the hole lie in latents that are held, and how many latents are free."""

    def sentence(case, got, want):
        f = case.factor
        covered = (got != 0).repeat_interleave(f, 2).repeat_interleave(f, 3)
        return text.format(
            lost=int((case.mask & ~covered).sum()), hole=int(case.mask.sum()), free=int(got.sum()),
            right=int(want.sum()), f=f, margin=case.margin, B=len(case.mask),
        )  # fmt: skip

    return sentence


_KNOWN = (
    *(
        Known(
            _made(pool=pool),
            _says(
                "{lost} of the hole's {hole} pixels lie in latents that you hold: a latent with less than half of its "
                "square in the hole was taken for known."
            ),
        )
        for pool in (lambda mask, f: _mean(mask, f) > 0.5, lambda mask, f: _mean(mask, f) >= 0.5)
    ),
    Known(
        _made(pool=lambda mask, f: mask[..., ::f, ::f]),
        _says(
            "{lost} of the hole's {hole} pixels lie in latents that you hold: only the first pixel of each square was "
            "looked at, and a thin stroke runs between those."
        ),
    ),
    Known(
        _made(pool=lambda mask, f: mask[..., f // 2 :: f, f // 2 :: f]),
        _says(
            "{lost} of the hole's {hole} pixels lie in latents that you hold: only the middle pixel of each square was "
            "looked at, and a thin stroke runs between those."
        ),
    ),
    Known(
        _made(pool=lambda mask, f: _mean(mask, f) == 1),
        _says("{lost} of the hole's {hole} pixels lie in latents that you hold: you free only whole squares of hole."),
    ),
    Known(
        _made(pool=_far_apart),
        _says(
            "{lost} of the hole's {hole} pixels lie in latents that you hold: in your reshape a block's {f} rows come "
            "from far apart."
        ),
    ),
    Known(
        _made(pool=lambda mask, f: ~_any(mask, f)),
        _says("You free {free} latents where {right} are to be: those without a pixel of the hole. True means free."),
    ),
    Known(
        _made(widen=lambda free, margin: free),
        _says("You free {free} latents, not {right}: the margin {margin} has not been used."),
    ),
    Known(
        _made(before=_in_pixels, widen=lambda free, margin: free),
        _says("You free {free} latents, not {right}: the hole grew by {margin} pixels. A margin counts latents."),
    ),
    Known(
        _made(widen=_cross),
        _says("You free {free} latents, not {right}: the margin went to four sides, and the corners touch as well."),
    ),
    Known(
        _made(widen=_wrapped),
        _says("You free {free} latents, not {right}: at the picture's edge the margin comes in on the other side."),
    ),
    Known(
        _made(widen=_one_side),
        _says("You free {free} latents, not {right}: the margin {margin} goes to one side of the hole only."),
    ),
    Known(
        _made(widen=_half_as_wide),
        _says("You free {free} latents, not {right}: the window is {margin} wide. Count its cells on both sides."),
    ),
    Known(
        _made(after=lambda free: free.any(0, keepdim=True).expand(free.shape)),
        _says("You free {free} latents, not {right}: the holes of all {B} pictures were joined."),
    ),
)  # fmt: skip


def _strokes(B, H, W, *pixels):
    """Masks with these pixels (picture, row, column) in the hole; a slice is a stroke."""
    mask = torch.zeros(B, 1, H, W, dtype=torch.bool)
    for b, i, j in pixels:
        mask[b, 0, i, j] = True
    return mask


def _try(free_latents):
    whole = slice(None)
    cases = [
        {  # thin strokes, a solid corner, a block of three quarters
            "mask": _strokes(
                2, 16, 24, (0, 7, slice(5, 18)), (0, slice(0, 4), slice(0, 4)), (1, slice(9, 12), slice(8, 12)),
                (1, slice(2, 11), 21), (1, 14, 2), (1, 12, 12),
            ),
            "factor": 4, "margin": 0,
        },
        {"mask": _strokes(2, 20, 20, (0, 9, 10), (1, 0, 19), (1, 18, 1)), "factor": 2, "margin": 2},
        {"mask": _strokes(1, 6, 9, (0, 4, slice(3, 5))), "factor": 1, "margin": 1},
        {"mask": _strokes(1, 8, 16, (0, whole, 7)), "factor": 8, "margin": 0},
        {"mask": _strokes(3, 12, 12, (0, 5, 5), (2, whole, whole)), "factor": 3, "margin": 1},  # none, one, all
    ]  # fmt: skip
    compare(free_latents, _free_latents, cases, _KNOWN, ("the mask",))


free_latents = Exercise(
    title="Which latents are free",
    kind="implement",
    answers=("free_latents",),
    trial=_try,
    points=3,
    difficulty=1,
    minutes=15,
    hints=(
        "One pixel of a square in the hole is enough, (9.11). Which reduction over the square says “at least one”?",
        "The margin is the same question again: a latent is freed if at least one of the (2 margin + 1)² latents "
        "around it is free. Beyond the edge there are none.",
        "F.max_pool2d(mask.float(), factor), then F.max_pool2d(…, 2 margin + 1, stride=1, padding=margin) > 0.",
    ),
)
