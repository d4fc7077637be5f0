"""Exercise 7.4, the scale of the codes: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import f64, normal
from ldm_edu.check.exercise import Exercise

EACH = (0, 2, 3)


def _made(scale=None, dims=EACH, of_mean=None, of_std=None):
    """Normalised means and deviations with another scale, other axes, or another use of them."""
    scale = scale or (lambda m, s, d: (m.var(d, correction=0, keepdim=True) + s.square().mean(d, keepdim=True)).sqrt())
    of_mean = of_mean or (lambda m, shift, size: (m - shift) / size)
    of_std = of_std or (lambda s, shift, size: s / size)

    def normalise(mean, std):
        shift, size = mean.mean(dims, keepdim=True), scale(mean, std, dims)
        return of_mean(mean, shift, size), of_std(std, shift, size)

    return normalise


_normalise = _made()


def _says(text):
    """A sentence with the variance that draws of the first channel have now, and with their mean."""

    def sentence(case, got, want):
        means, stds = (x[:, 0] for x in got)
        variance = (means.var(correction=0) + stds.square().mean()).item()
        mean, std = (f"{x.mean().item():.4f}" for x in (means, stds))
        return text.format(variance=f"{variance:.4f}", mean=mean, std=std, pictures=len(means), places=means[0].numel())

    return sentence


_KNOWN = (
    Known(
        _made(scale=lambda m, s, d: m.std(d, correction=0, keepdim=True)),
        _says("Draws of channel 0 have variance {variance}: the scale is that of the means; draws vary more."),
    ),
    Known(
        _made(scale=lambda m, s, d: s.square().mean(d, keepdim=True).sqrt()),
        _says("Draws of channel 0 have variance {variance}: you measure how a code varies for one picture only."),
    ),
    Known(
        _made(scale=lambda m, s, d: m.std(d, correction=0, keepdim=True) + s.mean(d, keepdim=True)),
        _says("Draws of channel 0 have variance {variance}: deviations do not add, variances do."),
    ),
    Known(
        _made(scale=lambda m, s, d: (m.var(d, correction=0, keepdim=True) + s.mean(d, keepdim=True).square()).sqrt()),
        _says("Draws of channel 0 have variance {variance}: square the deviations first, then take their mean."),
    ),
    Known(
        _made(scale=lambda m, s, d: (m.var(d, correction=0, keepdim=True) + s.mean(d, keepdim=True)).sqrt()),
        _says("Draws of channel 0 have variance {variance}: std is a deviation; (7.9) adds its square."),
    ),
    Known(
        _made(scale=lambda m, s, d: m.var(d, correction=0, keepdim=True) + s.square().mean(d, keepdim=True)),
        _says("Draws of channel 0 have variance {variance}: you divide by a variance."),
    ),
    Known(
        _made(scale=lambda m, s, d: (m.var(d, keepdim=True) + s.square().mean(d, keepdim=True)).sqrt()),
        _says("Draws of channel 0 have variance {variance}: the set is all there is, so take correction=0."),
    ),
    Known(
        _made(scale=lambda m, s, d: (m.square() + s.square()).mean(d, keepdim=True).sqrt()),
        _says("Draws of channel 0 have variance {variance}: you measure the distance to 0 and not to the mean."),
    ),
    Known(
        _made(dims=(2, 3)),
        _says("You have {pictures} scales for channel 0: each picture has its own, which the decoder cannot know."),
    ),
    Known(
        _made(dims=(0,)),
        _says("You have {places} scales for channel 0: each place got its own scale, and a channel has one."),
    ),
    Known(
        _made(dims=(0, 1, 2, 3)),
        _says("Draws of channel 0 have variance {variance}: one scale for all channels; each has its own."),
    ),
    Known(
        _made(of_std=lambda s, shift, scale: s),
        _says("Draws of channel 0 have variance {variance}: only the means were divided."),
    ),
    Known(
        _made(of_std=lambda s, shift, scale: (s - shift) / scale),
        _says("Your first channel's std has the mean {std}: moving a code does not change how it varies."),
    ),
    Known(
        _made(of_mean=lambda m, shift, scale: m / scale),
        _says("Your first channel has the mean {mean}: it was divided, and not shifted."),
    ),
    Known(
        _made(of_mean=lambda m, shift, scale: m / scale - shift),
        _says("Your first channel has the mean {mean}: shift first, then divide."),
    ),
)  # fmt: skip


def _case(shape, seed, dtype=f64):
    loud = torch.arange(1, shape[1] + 1, dtype=dtype).view(-1, 1, 1)
    mean = 2 * loud * normal(*shape, seed=seed, dtype=dtype) + 3 - loud
    return {"mean": mean, "std": loud.sqrt() * (0.3 + normal(*shape, seed=seed + 1, dtype=dtype).abs())}


def _try(normalise):
    cases = [
        _case((5, 3, 2, 4), 1),
        _case((2, 1, 3, 3), 3),
        _case((1, 2, 4, 3), 5),
        _case((6, 2, 3, 5), 7, torch.float32),
    ]
    compare(normalise, _normalise, cases, _KNOWN, ("the means", "the stds"))


normalise = Exercise(
    title="The scale of the codes",
    kind="implement",
    answers=("normalise",),
    trial=_try,
    points=3,
    difficulty=2,
    minutes=15,
    hints=(
        "(7.9) has two terms. One is the spread of the means over pictures and places, the other that of each draw.",
        "Both are taken over the axes 0, 2 and 3, so that a channel is left; keepdim=True keeps the shapes fit.",
        "scale = (mean.var(d, correction=0, keepdim=True) + std.square().mean(d, keepdim=True)).sqrt() with "
        "d = (0, 2, 3); subtract the channel's mean from the means only, and divide both.",
    ),
)
