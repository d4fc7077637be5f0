"""Exercise 5.6, latents as they come: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import f64, normal
from ldm_edu.check.exercise import Exercise
from ldm_edu.check.nb05 import ex6_shift
from ldm_edu.check.nb05.ex6_shift import ALL, SHIFT_KNOWN, right_shift


def _wide(values):
    return values.view(-1, 1, 1)


def _made(use, centre=ex6_shift.centre, variance=ex6_shift.variance):
    """A map of latents made of their channels' centre and deviation."""
    return lambda x, mean, logvar: use(x, _wide(centre(mean)), _wide(variance(mean, logvar)).sqrt())


def _own(axes):
    """Normalises by the batch's own mean and deviation."""
    return lambda latent, mean, logvar: (
        (latent - latent.mean(axes, keepdim=True)) / latent.var(axes, correction=0, keepdim=True).sqrt()
    )


_forward = _made(lambda x, centre, k: (x - centre) / k)


def _normalise(latent, mean, logvar):
    return _forward(latent, mean, logvar)


def _channel(say):
    """A sentence about channel 0 of the result: its mean and variance, and what they should be."""

    def sentence(case, got, want):
        got, want = got[:, 0], want[:, 0]
        return say.format(
            mean=f"{got.mean().item():.3f}", variance=f"{got.var(correction=0).item():.3f}",
            right_mean=f"{want.mean().item():.3f}", right=f"{want.var(correction=0).item():.3f}", B=len(got),
        )  # fmt: skip

    return sentence


def _known_normal(wrong, say):
    return Known(lambda latent, mean, logvar: wrong(latent, mean, logvar), _channel(say))


_NORMAL_KNOWN = (
    _known_normal(
        lambda latent, mean, logvar: latent,
        "Channel 0 has variance {variance} in place of about 1: the latents are as they came.",
    ),
    _known_normal(
        _made(lambda x, centre, k: (x - centre) / k**2),
        "Channel 0 has variance {variance} in place of {right}: you divided by the variance.",
    ),
    _known_normal(
        _made(lambda x, centre, k: x / k),
        "Channel 0 has the mean {mean} in place of {right_mean}: the scale is right, the mean is still in.",
    ),
    _known_normal(
        _made(lambda x, centre, k: x - centre),
        "Channel 0 has variance {variance} in place of {right}: only the mean was taken away.",
    ),
    _known_normal(
        _made(lambda x, centre, k: (x - centre) * k),
        "Channel 0 has variance {variance} in place of {right}: you multiplied where you should divide.",
    ),
    _known_normal(
        _made(lambda x, centre, k: x / k - centre),
        "Channel 0 has the mean {mean} in place of {right_mean}: the mean was taken away after the scaling, which has "
        "changed it.",
    ),
    _known_normal(
        _own(ALL),
        "Channel 0 has the mean {mean} and variance {variance}, exactly: this batch of {B} was made so with numbers of "
        "its own, and the next batch would get others.",
    ),
    _known_normal(
        _own((2, 3)),
        "Each picture's channel 0 has mean 0 and variance {variance} by itself: what tells pictures apart is lost.",
    ),
    _known_normal(
        _made(lambda x, centre, k: (x - centre) / k, variance=lambda mean, logvar: mean.var(ALL, correction=0)),
        "Channel 0 has variance {variance} in place of {right}: the scale is that of the codes' means alone.",
    ),
    _known_normal(
        _made(
            lambda x, centre, k: (x - centre) / k,
            centre=lambda mean: mean.mean().expand(mean.shape[1]),
            variance=lambda mean, logvar: (mean.var(correction=0) + logvar.exp().mean()).expand(mean.shape[1]),
        ),
        "Channel 0 has variance {variance} in place of {right}: all channels got the same mean and scale.",
    ),
)

_back = _made(lambda x, centre, k: k * x + centre)


def _undo(x_0, mean, logvar):
    return _back(x_0, mean, logvar)


def _known_back(use, say):
    """A mistake on the way back, from x_0, the centre and k."""
    wrong = _made(use)
    return Known(lambda x_0, mean, logvar: wrong(x_0, mean, logvar), _channel(say))


_UNDO_KNOWN = (
    _known_back(
        lambda x, centre, k: k * (x + centre),
        "Channel 0 comes back with the mean {mean}, not {right_mean}: the mean was added before the scaling. Undo the "
        "last thing first.",
    ),
    _known_back(
        lambda x, centre, k: x / k + centre,
        "Channel 0 comes back with variance {variance}, not {right}: it was divided once more.",
    ),
    _known_back(
        lambda x, centre, k: (x - centre) / k,
        "Channel 0 comes back with the mean {mean}, not {right_mean}: it was normalised a second time.",
    ),
    _known_back(
        lambda x, centre, k: k * x,
        "Channel 0 comes back with the mean {mean}, not {right_mean}: the mean was forgotten.",
    ),
    _known_back(
        lambda x, centre, k: x + centre,
        "Channel 0 comes back with variance {variance}, not {right}: the scale was forgotten.",
    ),
    _known_back(
        lambda x, centre, k: k**2 * x + centre,
        "Channel 0 comes back with variance {variance}, not {right}: you multiplied by the variance.",
    ),
    _known_back(
        lambda x, centre, k: k * x - centre,
        "Channel 0 comes back with the mean {mean}, not {right_mean}: the mean was taken away again.",
    ),
    _known_back(
        lambda x, centre, k: x,
        "Channel 0 comes back with variance {variance}, not {right}: nothing was undone.",
    ),
)


def _codes(N, C, H, W, seed, dtype=f64):
    """Codes whose channels differ in mean and spread."""
    channel = torch.arange(C, dtype=dtype).view(-1, 1, 1)
    mean = (4 / (1 + channel)) * normal(N, C, H, W, seed=seed, dtype=dtype) + 2 * channel - 1.5
    return {"mean": mean, "logvar": 0.7 * normal(N, C, H, W, seed=seed + 1, dtype=dtype) + 0.5}


def _try(claimed_shift, normalise, undo):
    codes = [_codes(12, 3, 2, 4, 1), _codes(5, 1, 3, 3, 11), _codes(8, 4, 1, 2, 21, torch.float32)]
    compare(claimed_shift, right_shift, codes, SHIFT_KNOWN, ("the shift",))
    cases, back = [], []
    for code, B in zip(codes, (6, 1, 3), strict=True):
        z = normal(B, *code["mean"].shape[1:], seed=B, dtype=code["mean"].dtype)
        cases.append({"latent": code["mean"][:B] + (code["logvar"][:B] / 2).exp() * z, **code})
        back.append({"x_0": z, **code})
    compare(normalise, _normalise, cases, _NORMAL_KNOWN, ("x_0",))
    compare(undo, _undo, back, _UNDO_KNOWN, ("the latent",))


undo = Exercise(
    title="Find the mistake: latents as they come",
    kind="find the mistake",
    answers=("claimed_shift", "normalise", "undo"),
    trial=_try,
    points=4,
    difficulty=2,
    minutes=25,
    hints=(
        "What is the variance of a latent that is drawn from the code of a picture that is drawn? Take each channel "
        "over all pictures and places.",
        "It is k² = the variance of the means plus the mean of exp(logvar). (5.15) says what k does. For the way back: "
        "what was done last must be undone first.",
        "The shift is log k². With μ = mean.mean((0, 2, 3)), both in the shape (C, 1, 1): (latent − μ)/k, and k x_0 + "
        "μ.",
    ),
)
