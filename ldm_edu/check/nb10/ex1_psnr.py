"""Exercise 10.1, PSNR on any scale: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.calls import Mistake, attempt
from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import f64, normal
from ldm_edu.check.exercise import Exercise


def _error(pictures, reference, low, high):
    return pictures.double().clamp(low, high) - reference.double()


def _made(span=lambda reference, low, high: high - low, error=_error, score=None, reduce=lambda e: (e**2).mean()):
    """PSNR with another range, another error, another formula or another mean."""
    score = score or (lambda R, mse: 10 * torch.log10(R**2 / mse))

    def psnr(pictures, reference, low, high):
        R = torch.as_tensor(span(reference, low, high)).double()
        return score(R, reduce(error(pictures, reference, low, high))).mean()

    return psnr


_psnr = _made()


def _wrapped(pictures, reference, low, high):
    """The difference in the pictures' own type: bytes wrap around below 0."""
    return (pictures.clamp(low, high) - reference).double()


def _wrapped_square(pictures, reference, low, high):
    """The root of a square that was taken in the pictures' own type."""
    return ((pictures.clamp(low, high) - reference) ** 2).double().sqrt()


_YOURS = "Your PSNR is {got:.2f} dB for pictures in [{low}, {high}]: "

_KNOWN = (
    Known(
        _made(lambda reference, low, high: high),
        _YOURS + "R is how far apart two values can be, not the largest value.",
    ),
    Known(_made(lambda reference, low, high: 1.0), _YOURS + "you took R = 1, which is right for [0, 1]."),
    Known(_made(lambda reference, low, high: 2.0), _YOURS + "you took R = 2, which is right for [-1, 1]."),
    Known(_made(lambda reference, low, high: 255.0), _YOURS + "you took R = 255, which is right for bytes."),
    Known(
        _made(lambda reference, low, high: reference.double().max() - reference.double().min()),
        _YOURS + "you took R from these pictures; then a pale picture scores otherwise than one with full contrast.",
    ),
    Known(
        _made(reduce=lambda e: (e**2).flatten(1).mean(1)),
        _YOURS + "this is the mean of each picture's PSNR. A mean of logarithms is not the logarithm of the mean.",
    ),
    Known(
        lambda pictures, reference, low, high: (
            10 * torch.log10((high - low) ** 2 / _error(pictures, reference, low, high).square().flatten(1).mean(1))
        ),
        lambda case, got, want: f"You return {got.numel()} numbers, one for each picture; one for all is asked.",
    ),
    Known(
        _made(score=lambda R, mse: 10 * torch.log10(R / mse.sqrt())),
        _YOURS + "half of what it should be. With the root of the MSE another factor stands before the logarithm.",
    ),
    Known(
        _made(score=lambda R, mse: 20 * torch.log10(R**2 / mse)),
        _YOURS + "twice what it should be. The factor 20 goes with amplitudes, and you have squares.",
    ),
    Known(
        _made(score=lambda R, mse: 10 * torch.log(R**2 / mse)),
        _YOURS + "a decibel counts with another logarithm than the natural one.",
    ),
    Known(
        _made(score=lambda R, mse: 10 * torch.log10(mse / R**2)),
        _YOURS + "it falls where pictures get better: the fraction is upside down.",
    ),
    Known(
        _made(score=lambda R, mse: 10 * torch.log10(R / mse)),
        _YOURS + "R stands there without its square, so the score depends on the unit of a pixel.",
    ),
    Known(
        _made(reduce=lambda e: (e**2).sum()),
        _YOURS + "the squares were summed up. The same error in a larger picture would score worse.",
    ),
    Known(
        _made(reduce=lambda e: e.abs().mean() ** 2),
        _YOURS + "you took the mean of absolute errors, not of squares.",
    ),
    Known(
        _made(reduce=lambda e: e.mean() ** 2),
        _YOURS + "errors up and down cancel if their mean is taken before the square.",
    ),
    Known(
        _made(error=lambda pictures, reference, low, high: pictures.double() - reference.double()),
        _YOURS + "what lies outside counts with its full error, though a screen shows the nearest value that it has.",
    ),
    Known(
        _made(error=_wrapped),
        _YOURS + "bytes cannot be negative. What is 3 − 5 in uint8?",
    ),
    Known(
        _made(error=_wrapped_square),
        _YOURS + "bytes end at 255. What is the square of a difference in uint8?",
    ),
)


def _noisy(shape, low, high, seed, dtype=f64):
    """A pale reference and noise of a different size in each picture, which leaves the range in places."""
    span = high - low
    reference = low + span * (0.15 + 0.6 * torch.sigmoid(normal(*shape, seed=seed)))
    size = torch.linspace(0.05, 0.3, shape[0], dtype=f64).view(-1, 1, 1, 1)
    pictures = reference + span * size * normal(*shape, seed=seed + 1)
    return {"pictures": pictures.to(dtype), "reference": reference.to(dtype), "low": low, "high": high}


def _bytes(shape, seed):
    case = _noisy(shape, 0, 255, seed)
    return case | {name: case[name].round().clamp(0, 255).to(torch.uint8) for name in ("pictures", "reference")}


def _try(psnr):
    cases = [
        _noisy((3, 1, 6, 5), -1, 1, 1),
        _bytes((4, 3, 4, 7), 11),
        _noisy((1, 2, 3, 8), 0, 1, 21, torch.float32),
        _noisy((2, 1, 4, 4), -0.5, 0.5, 31),
    ]
    attempt(psnr, cases[0])
    try:
        compare(psnr, _psnr, cases, _KNOWN, ("the PSNR",))
    except Mistake as mistake:
        if "mean(): could not infer" not in str(mistake):  # PyTorch's kind of error differs between its versions
            raise
        raise Mistake("Your function stops at pictures of uint8: PyTorch takes no mean of bytes") from None


psnr = Exercise(
    title="PSNR on any scale",
    kind="implement",
    answers=("psnr",),
    trial=_try,
    points=2,
    difficulty=1,
    minutes=15,
    hints=(
        "Three questions come before (10.3): in which type do you subtract, what does a screen show of a value "
        "outside, and over what is the mean taken?",
        "Turn both into floats first. Clip the pictures to [low, high]. Take one mean over all pixels of all pictures, "
        "and only then the logarithm. R is the width of the range.",
        "mse = (pictures.double().clamp(low, high) − reference.double()).square().mean(); "
        "10 · log10((high − low)² / mse).",
    ),
)
