"""Exercise 5.6, its first part: by how much latents as they come move the log-SNR."""

from __future__ import annotations

from ldm_edu.check.compare import Known

ALL = (0, 2, 3)
"""The axes of pictures and places: what is left is a number for each channel."""


def variance(mean, logvar):
    """(C,) of latents drawn from the codes."""
    return mean.var(ALL, correction=0) + logvar.exp().mean(ALL)


def centre(mean):
    return mean.mean(ALL)


def right_shift(mean, logvar):
    return variance(mean, logvar).log()


def _shift(wrong, say):
    """A mistake in the shift, with channel 0's number, and what is right where the sentence wants it."""

    def sentence(case, got, want):
        return f"Channel 0: you get {got.flatten()[0].item():.4f}" + say.format(
            right=f"{want[0].item():.4f}", k=f"{(want[0] / 2).exp().item():.2f}", C=case.mean.shape[1],
            centre=f"{centre(case.mean)[0].item():.2f}", codes=case.mean[:, 0].numel(), numbers=got.numel(),
        )  # fmt: skip

    return Known(wrong, sentence)


def _means(mean):
    return mean.var(ALL, correction=0)


SHIFT_KNOWN = (
    _shift(
        lambda mean, logvar: right_shift(mean, logvar) / 2,
        ", which is log k. SNR is a ratio of powers, and k enters it squared.",
    ),
    _shift(
        lambda mean, logvar: -right_shift(mean, logvar),
        ". The sign says that latents of deviation {k}, louder than 1, lower the SNR of the same noise.",
    ),
    _shift(variance, ", the factor of the SNR; its logarithm is asked."),
    _shift(
        lambda mean, logvar: 10 * variance(mean, logvar).log10(),
        " decibels; (5.15) has the natural logarithm.",
    ),
    _shift(
        lambda mean, logvar: _means(mean).log(),
        " from the means alone. Training noises draws, and they spread more.",
    ),
    _shift(
        lambda mean, logvar: logvar.exp().mean(ALL).log(),
        " from the codes' own variances alone: pictures differ too.",
    ),
    _shift(
        lambda mean, logvar: (mean.square() + logvar.exp()).mean(ALL).log(),
        " from the mean square. The mean {centre} is common to all pictures, and tells none from another.",
    ),
    _shift(
        lambda mean, logvar: (_means(mean) + (2 * logvar).exp().mean(ALL)).log(),
        " with exp(logvar) squared: it is s² already.",
    ),
    _shift(
        lambda mean, logvar: (_means(mean) + (logvar / 2).exp().mean(ALL)).log(),
        " with s where its square, the variance, belongs.",
    ),
    _shift(
        lambda mean, logvar: (_means(mean) + logvar.mean(ALL).exp()).log(),
        ": the logarithms were averaged, and it is variances that average.",
    ),
    _shift(
        lambda mean, logvar: (mean.var(ALL, correction=1) + logvar.exp().mean(ALL)).log(),
        ", not {right}: the variance of the means was divided by {codes} − 1. Divide by all {codes}.",
    ),
    _shift(
        lambda mean, logvar: (mean.var(correction=0) + logvar.exp().mean()).log(),
        ", one number for {C} channels: each has its own scale.",
    ),
    _shift(
        lambda mean, logvar: (mean.var(0, correction=0) + logvar.exp().mean(0)).log(),
        " first, and {numbers} numbers for {C} channels: average over the places too.",
    ),
)
