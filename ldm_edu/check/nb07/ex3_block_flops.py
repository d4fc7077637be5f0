"""Exercise 7.3, the cost of a block: how its answers are checked."""

from __future__ import annotations

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.exercise import Exercise


def _made(places=lambda h, w, f: (h // f) * (w // f), conv=None, attention=None):
    """The two costs with one thing done differently, from channels, kernel and places."""
    conv = conv or (lambda c, k, n: 2 * k**2 * c**2 * n)
    attention = attention or (lambda c, n: 4 * c * n**2)

    def block_flops(channels, kernel, height, width, factor):
        n = places(height, width, factor)
        return conv(channels, kernel, n), attention(channels, n)

    return block_flops


_block_flops = _made()


def _says(text):
    def sentence(case, got, want):
        ratios = [(g / w).item() for g, w in zip(got, want, strict=True)]
        size = f"{case.height}×{case.width}"
        return text.format(conv=f"{ratios[0]:.4g}", attention=f"{ratios[1]:.4g}", f=case.factor, size=size)

    return sentence


_KNOWN = (
    Known(
        _made(places=lambda h, w, f: h * w),
        _says(
            "Your convolution costs {conv} times what it should: you count the pixels, and f = {f} leaves fewer places."
        ),
    ),
    Known(
        _made(places=lambda h, w, f: h * w // f),
        _says("Your convolution costs {conv} times what it should: f = {f} divides the height and the width."),
    ),
    Known(
        _made(places=lambda h, w, f: (h // f) ** 2),
        _says("Your convolution costs {conv} times what it should: the picture has {size} pixels, and is no square."),
    ),
    Known(
        _made(conv=lambda c, k, n: k**2 * c**2 * n, attention=lambda c, n: 2 * c * n**2),
        _says("Both your costs are {conv} of what they should be: an addition goes with each multiplication."),
    ),
    Known(
        _made(conv=lambda c, k, n: k**2 * c**2 * n),
        _says("Your convolution costs {conv} of what it should: an addition goes with each of its multiplications."),
    ),
    Known(
        _made(conv=lambda c, k, n: 2 * k * c**2 * n),
        _says("Your convolution costs {conv} of what it should: its kernel has two sides."),
    ),
    Known(
        _made(conv=lambda c, k, n: 2 * k**2 * c * n),
        _says(
            "Your convolution costs {conv} of what it should: each channel that leaves reads every channel that enters."
        ),
    ),
    Known(
        _made(attention=lambda c, n: 2 * c * n**2),
        _says("Your attention costs {attention} of what it should: after QKᵀ the values have to be weighed."),
    ),
    Known(
        _made(attention=lambda c, n: 4 * c * n),
        _says("Your attention costs {attention} of what it should: every place looks at every place."),
    ),
    Known(
        _made(attention=lambda c, n: 4 * c**2 * n),
        _says(
            "Your attention costs {attention} of what it should: the linear layers go like this; n² products do not."
        ),
    ),
    Known(
        lambda **case: _block_flops(**case)[::-1],
        _says("Your first number is {conv} times the convolution's: the order is convolution, attention."),
    ),
)


def _try(block_flops):
    rows = [(32, 3, 48, 64, 4), (8, 1, 16, 24, 2), (4, 5, 12, 6, 1), (16, 3, 8, 8, 8)]
    names = ("channels", "kernel", "height", "width", "factor")
    cases = [dict(zip(names, row, strict=True)) for row in rows]
    compare(block_flops, _block_flops, cases, _KNOWN, ("the convolution's cost", "the attention's cost"))


block_flops = Exercise(
    title="Counting a block",
    kind="implement",
    answers=("block_flops",),
    trial=_try,
    points=2,
    difficulty=1,
    minutes=10,
    hints=(
        "How many places n has the latent of a picture of H×W pixels? Then (7.5) and (7.6).",
        "n = (H/f)(W/f). The convolution has as many channels leaving as entering.",
        "2 k² C² n and 4 C n².",
    ),
)
