"""Exercise 4.2, time through the norm: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import f64, normal
from ldm_edu.check.exercise import Exercise


def _wide(values):
    return values[:, :, None, None]


def _split(x, groups):
    return x.unflatten(1, (groups, -1))


def _made(split=_split, join=lambda g: g.flatten(1, 2), over=(2, 3, 4), correction=0, root=None, use=None):
    """The norm with other groups, another variance, another root, or another use of gamma and shift."""
    root = root or (lambda variance, delta: (variance + delta).sqrt())
    use = use or (lambda y, gamma, shift: _wide(gamma) * y + _wide(shift))

    def norm(x, groups, gamma, shift, delta):
        g = split(x, groups)
        mean, variance = g.mean(over, keepdim=True), g.var(over, correction=correction, keepdim=True)
        return use(join((g - mean) / root(variance, delta)), gamma, shift)

    return norm


_norm = _made()


def _group(case, got):
    """The first group of the first picture, gamma and shift undone."""
    size = case.x.shape[1] // case.groups
    return ((got - _wide(case.shift)) / _wide(case.gamma))[0, :size]


def _says(say):
    def sentence(case, got, want):
        group, right = _group(case, got), _group(case, want)
        return say.format(
            B=len(case.x), C=case.x.shape[1], groups=case.groups, delta=case.delta,
            mean=f"{group.mean().item():.4f}", variance=f"{group.var(correction=0).item():.4f}",
            right=f"{right.var(correction=0).item():.4f}", size=group.numel(),
            channel=f"{group.mean((1, 2)).abs().max().item():.4f}", off=f"{(got - want).abs().max().item():.4f}",
        )  # fmt: skip

    return sentence


_KNOWN = (
    Known(
        _made(over=(0, 2, 3, 4)),
        _says(
            "In the first picture the first group has the mean {mean}, not 0: mean and variance were taken over all "
            "{B} pictures together."
        ),
    ),
    Known(
        _made(over=(3, 4)),
        _says(
            "Each channel of a group has the mean {channel} by itself: you normalise channels. Only the {groups} "
            "groups as wholes should have mean 0."
        ),
    ),
    Known(
        _made(split=lambda x, groups: _split(x, 1)),
        _says("The first group has the mean {mean}, not 0: all {C} channels were normalised as one group."),
    ),
    Known(
        _made(split=lambda x, groups: _split(x, x.shape[1] // groups)),
        _says(
            "The first group has the variance {variance} in place of {right}: {groups} is the number of groups, and "
            "you took it for the channels of one."
        ),
    ),
    Known(
        _made(
            lambda x, groups: x.unflatten(1, (-1, groups)).transpose(1, 2), lambda g: g.transpose(1, 2).flatten(1, 2)
        ),
        _says(
            "The first group has the mean {mean}, not 0: you put channels that are {groups} apart into a group. A "
            "group's channels stand side by side."
        ),
    ),
    Known(
        _made(correction=1),
        _says(
            "The first group has the variance {variance} in place of {right}: it was divided by {size} − 1. (4.2) "
            "takes the mean of the squares."
        ),
    ),
    Known(
        _made(root=lambda variance, delta: variance + delta),
        _says("The first group has the variance {variance} in place of {right}: you divide by a variance."),
    ),
    Known(
        _made(root=lambda variance, delta: variance.sqrt() + delta),
        _says(
            "The first group has the variance {variance} in place of {right}: δ = {delta} was added after the root; it "
            "belongs to the variance."
        ),
    ),
    Known(
        _made(root=lambda variance, delta: variance.sqrt()),
        _says("The first group has the variance {variance} in place of {right}: where is δ = {delta}?"),
    ),
    Known(
        _made(root=lambda variance, delta: (variance + delta**2).sqrt()),
        _says(
            "The first group has the variance {variance} in place of {right}: δ = {delta} is added without a square."
        ),
    ),
    Known(
        _made(use=lambda y, gamma, shift: y),
        _says("You are off by up to {off}: normalised rightly, but gamma and shift do not enter."),
    ),
    Known(
        _made(use=lambda y, gamma, shift: _wide(gamma) * (y + _wide(shift))),
        _says("You are off by up to {off}: the shift is multiplied by gamma as well. First the scale, then the shift."),
    ),
    Known(
        _made(use=lambda y, gamma, shift: (1 + _wide(gamma)) * y + _wide(shift)),
        _says("You are off by up to {off}: you multiply by 1 + gamma; here gamma is the whole factor."),
    ),
    Known(
        _made(use=lambda y, gamma, shift: _wide(gamma[:1]) * y + _wide(shift[:1])),
        _says("You are off by up to {off}: all {B} pictures got gamma and shift of the first. Each has its own time."),
    ),
    Known(
        _made(use=lambda y, gamma, shift: gamma * y + shift),
        lambda case, got, want: (
            f"gamma of shape {tuple(case.gamma.shape)} was lined up with height and width of x, shape "
            f"{tuple(case.x.shape)}: it belongs to pictures and channels. The sizes agree by chance."
        ),
    ),
)


def _case(shape, groups, seed, delta, dtype=f64):
    """Pictures whose channels differ in mean and size, so that it is seen what was normalised together."""
    channel = torch.arange(shape[1], dtype=dtype).view(1, -1, 1, 1)
    example = torch.arange(shape[0], dtype=dtype).view(-1, 1, 1, 1)
    x = (1 + channel / 2) * normal(*shape, seed=seed, dtype=dtype) + channel - 2 * example
    gamma, shift = (
        1.5 + 0.3 * normal(*shape[:2], seed=seed + 1, dtype=dtype),
        normal(*shape[:2], seed=seed + 2, dtype=dtype),
    )
    return {"x": x, "groups": groups, "gamma": gamma, "shift": shift, "delta": delta}


def _try(timed_norm):
    cases = [
        _case((3, 6, 2, 3), 2, 1, 0.5),
        _case((2, 4, 2, 4), 4, 11, 0.1),  # height = batch and width = channels
        _case((1, 8, 3, 5), 2, 21, 1e-5),
        _case((2, 6, 4, 4), 1, 31, 0.01, torch.float32),
    ]
    compare(timed_norm, _norm, cases, _KNOWN, ("y",))


timed_norm = Exercise(
    title="Time through the norm",
    kind="implement",
    answers=("timed_norm",),
    trial=_try,
    points=3,
    difficulty=2,
    minutes=15,
    hints=(
        "Normalise as in (4.2), without its own γ and b; then use this exercise's, which differ from picture to "
        "picture.",
        "x.unflatten(1, (groups, −1)) has the shape (B, groups, channels of a group, H, W). Mean and mean square go "
        "over the last three.",
        "(g − mean)/√(variance + δ), flattened back to (B, C, H, W), times gamma[:, :, None, None], plus the shift in "
        "the same shape.",
    ),
)
