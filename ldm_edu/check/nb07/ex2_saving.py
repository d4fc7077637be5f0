"""Exercise 7.2, what latents save on a picture: how its answers are checked."""

from __future__ import annotations

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.exercise import Exercise


def _made(call=None, whole=lambda call, steps, decoder: steps * call + decoder):
    """The saving with another cost of a call in latents, or of a whole picture."""
    call = call or (lambda a, f: (1 - a) / f**2 + a / f**4)
    return lambda share, factor, steps, decoder: steps / whole(call(share, factor), steps, decoder)


_saving = _made()

_KNOWN = (
    Known(
        lambda share, factor, steps, decoder: 1 / _saving(share, factor, steps, decoder),
        "You get {got:.4f}, the cost in latents over that in pixels; how many times cheaper is asked.",
    ),
    Known(
        _made(call=lambda a, f: 1 / ((1 - a) * f**2 + a * f**4)),
        "You get {got:.4f}: you average the two savings. What stays to be paid adds up, and the smaller saving rules.",
    ),
    Known(
        _made(call=lambda a, f: (1 - a) / f + a / f**2),
        "You get {got:.4f}: f = {factor} divides height and width, so the places fall by more than {factor}.",
    ),
    Known(
        _made(call=lambda a, f: 1 / f**2),
        "You get {got:.4f} whatever the share {share} is: attention does not go with n, but with another power.",
    ),
    Known(
        _made(call=lambda a, f: 1 / f**4),
        "You get {got:.4f} whatever the share {share} is: only attention goes with n².",
    ),
    Known(
        _made(call=lambda a, f: a / f**2 + (1 - a) / f**4),
        "You get {got:.4f}: {share} is the share of attention; you took it for that of the convolutions.",
    ),
    Known(
        _made(whole=lambda call, steps, decoder: steps * (call + decoder)),
        "You get {got:.4f}: the decoder is paid in each of {steps} steps; a picture is decoded once.",
    ),
    Known(
        _made(whole=lambda call, steps, decoder: steps * call),
        "You get {got:.4f}: that is the saving of a call. A picture in latents also pays {decoder} for the decoder.",
    ),
    Known(
        _made(whole=lambda call, steps, decoder: call + decoder),
        "You get {got:.4f}: in latents you pay a single call, in pixels {steps}.",
    ),
)  # fmt: skip


def _try(saving):
    rows = [(0.3, 4, 20, 0.05), (0.9, 2, 50, 0.4), (0.0, 8, 10, 1.5), (1.0, 2, 1, 0.1), (0.6, 1, 5, 0.0)]
    names = ("share", "factor", "steps", "decoder")
    compare(saving, _saving, [dict(zip(names, row, strict=True)) for row in rows], _KNOWN, ("the saving",))


saving = Exercise(
    title="What a picture costs less",
    kind="derive",
    answers=("saving",),
    trial=_try,
    points=2,
    written=2,
    difficulty=2,
    minutes=20,
    hints=(
        "Write down two costs, of a picture in pixels and of one in latents, and divide at the very end.",
        "A call in latents costs (1 − a)/f² + a/f⁴, by (7.7). A picture takes N calls, and one decoding on top.",
        "N / (N ((1 − a)/f² + a/f⁴) + d).",
    ),
)
