"""Exercise 10.2, the t of a noisy picture: how its answers are checked.

The levels are those of entries of the table, so that every way to say "nearest" finds the same t.
"""

from __future__ import annotations

import math

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import bars, betas, f64, normal
from ldm_edu.check.exercise import Exercise


def _claimed_sigma(level):
    return level / math.sqrt(1 - level**2)


_SIGMA_KNOWN = (
    Known(
        lambda level: level,
        "You get {got:.4f}, as if the claim were right: the t with noise_t = {level} has a signal below 1.",
    ),
    Known(
        lambda level: level * math.sqrt(1 - level**2),
        "You get {got:.4f}, below {level}: noise_t was multiplied by signal_t.",
    ),
    Known(
        lambda level: math.sqrt(1 - level**2),
        "You get {got:.4f}, which is signal_t there. What is σ_t?",
    ),
    Known(
        lambda level: level / (1 - level**2),
        "You get {got:.4f}: you divided by ᾱ_t, and σ_t divides by the signal's factor.",
    ),
    Known(
        lambda level: level**2 / (1 - level**2),
        "You get {got:.4f}, a ratio of variances; σ_t is one of deviations.",
    ),
    Known(
        lambda level: math.sqrt(1 - level**2) / level,
        "You get {got:.4f}, which falls as the noise grows: the ratio is upside down.",
    ),
    Known(
        lambda level: level / math.sqrt(1 + level**2),
        "You get {got:.4f}: this is noise_t where σ_t = {level}. The claim's t has noise_t = {level}.",
    ),
    Known(
        lambda level: level / (1 - level),
        "You get {got:.4f}: signal and noise were taken to add up to 1. Their squares do.",
    ),
)  # fmt: skip


def _tables(alpha_bar):
    """signal, noise and σ."""
    signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    return {"signal": signal, "noise": noise, "σ": noise / signal, "σ²": (noise / signal) ** 2}


def _nearest(level, alpha_bar, unit, table):
    return 1 + int((_tables(alpha_bar)[table][1:] - level / unit).abs().argmin())


def _made(unit=127.5, table="σ", factor=lambda signal: signal, shift=0, end=lambda x, signal: x):
    """The one call, with another unit of the level, another table to look it up in, or another factor of y."""

    def answer(denoise, y, level, alpha_bar):
        t = _nearest(level, alpha_bar, unit, table) + shift
        signal = alpha_bar[t].sqrt().item()
        return end(denoise(factor(signal) * y, t), signal)

    return answer


def _at(pick):
    """The one call at t = pick(σ of all t, the level)."""

    def answer(denoise, y, level, alpha_bar):
        tables = _tables(alpha_bar)
        t = pick(tables["σ"], level / 127.5)
        return denoise(tables["signal"][t].item() * y, t)

    return answer


_denoised = _made()


def _says(text, unit=127.5, table="σ", shift=0):
    """A sentence with the t that the mistake leads to, what stands there, and how far the picture is off."""

    def sentence(case, got, want):
        t = _nearest(case.level, case.alpha_bar, unit, table) + shift
        tables = {name: f"{values[t].item():.3f}" for name, values in _tables(case.alpha_bar).items()}
        off = f"{(got - want).square().mean().sqrt().item():.3f}"
        return text.format(
            t=t, level=f"{case.level:.1f}", off=off, sigma=tables["σ"], noise=tables["noise"], signal=tables["signal"]
        )  # fmt: skip

    return sentence


def _unscaled(signal):
    return 1.0


_KNOWN = (
    Known(
        _made(255, "noise", _unscaled),
        _says("Off by {off} (root mean square): you ask at t = {t}. This still is the claim.", 255, "noise"),
    ),
    Known(
        _made(127.5, "noise", _unscaled),
        _says(
            "Off by {off}: you ask at t = {t}, with y as it is. The unit is mended, and two mistakes are left, in the "
            "choice of t and in what the network is shown.",
            127.5,
            "noise",
        ),
    ),
    Known(
        _made(255, "σ", _unscaled),
        _says(
            "Off by {off}: you ask at t = {t}, with σ_t = {sigma}. The table is mended, and two mistakes are left, in "
            "the unit of the level and in what the network is shown.",
            255,
        ),
    ),
    Known(
        _made(255, "noise"),
        _says(
            "Off by {off}: you ask at t = {t}, with noise_t = {noise}. What the network is shown is mended, and two "
            "mistakes are left, both in the choice of t.",
            255,
            "noise",
        ),
    ),
    Known(
        _made(255),
        _says(
            "You ask at t = {t}, with σ_t = {sigma}, for noise of {level} bytes. 255 bytes are the whole width of "
            "[−1, 1].",
            255,
        ),
    ),
    Known(
        _made(1.0),
        _says("You ask at t = {t}: {level} was looked up as it is, and the table does not count in bytes.", 1.0),
    ),
    Known(
        _made(table="noise"),
        _says(
            "You ask at t = {t}, where noise_t = {noise} fits the level of {level} bytes, and σ_t = {sigma} does not.",
            table="noise",
        ),
    ),
    Known(
        _made(table="σ²"),
        _says(
            "You ask at t = {t}, with σ_t = {sigma}: a ratio of variances was compared with a deviation.", table="σ²"
        ),
    ),
    Known(
        _made(factor=_unscaled),
        _says(
            "Off by {off}: the network is shown y itself, and in what it was trained on a picture has the factor "
            "{signal}."
        ),
    ),
    Known(
        _made(factor=lambda signal: 1 / signal),
        _says("Off by {off}: y was divided by signal_t = {signal}. Noise of a given σ comes with how much picture?"),
    ),
    Known(
        _made(factor=lambda signal: signal**2),
        _says("Off by {off}: y has the factor ᾱ_t = {signal}², and a root is missing."),
    ),
    Known(
        _made(end=lambda x, signal: x / signal),
        _says("Off by {off}: the answer was divided by signal_t = {signal}, but x̂_0 is a clean picture already."),
    ),
    Known(
        _at(lambda sigma, there: int((sigma < there * (1 - 1e-6)).sum())),
        _says(
            "Off by {off}: {level} bytes lie between two entries of the table, and you ask at the upper one; the lower "
            "is nearer."
        ),
    ),
    Known(
        _at(lambda sigma, there: max(int((sigma <= there * (1 + 1e-6)).sum()) - 1, 1)),
        _says(
            "Off by {off}: {level} bytes lie between two entries of the table, and you ask at the lower one; the upper "
            "is nearer."
        ),
    ),
    Known(
        _made(shift=-1),
        _says("You ask at t = {t}, with σ_t = {sigma}: one off. Where does your table begin?", shift=-1),
    ),
    Known(
        lambda denoise, y, level, alpha_bar: y * _tables(alpha_bar)["signal"][_nearest(level, alpha_bar, 127.5, "σ")],
        _says("Off by {off}: this is x_t at t = {t}. Nobody has asked the network."),
    ),
)  # fmt: skip


def _network(alpha_bar):
    """An exact denoiser: pixels from N(0.2, 0.3), at t from 1 to T."""
    T, mean, variance = len(alpha_bar) - 1, 0.2, 0.3

    def denoise(x_t, t):
        t = torch.as_tensor(t)
        if t.is_floating_point() or not ((t >= 1) & (t <= T)).all():
            raise ValueError(f"denoise takes whole numbers t from 1 to {T}, got {t.tolist()}")
        bar = alpha_bar[t].to(x_t.dtype)
        bar = bar.view(-1, *[1] * (x_t.ndim - 1)) if bar.ndim else bar
        return mean + bar.sqrt() * variance / (bar * variance + 1 - bar) * (x_t - bar.sqrt() * mean)

    return denoise


def _case(shape, t, T, seed, dtype=f64, past=0.0):
    """`past` is how far beyond σ_t the level lies, as a share of the way to the next entry."""
    alpha_bar = bars(betas(T, seed, 0.01, 0.06))
    sigma = _tables(alpha_bar)["σ"]
    there, beyond = sigma[t].item(), sigma[min(t + 1, T)].item()
    level = 127.5 * (there + past * (beyond - there))
    y = 0.2 + 0.55 * normal(*shape, seed=seed) + level / 127.5 * normal(*shape, seed=seed + 1)
    return {"denoise": _network(alpha_bar), "y": y.to(dtype), "level": level, "alpha_bar": alpha_bar}


def _try(claimed_sigma, denoised):
    compare(claimed_sigma, _claimed_sigma, [{"level": v} for v in (0.6, 0.1, 0.8, 0.45)], _SIGMA_KNOWN, ("σ_t",))
    cases = [
        _case((3, 1, 4, 5), 14, 40, 2),
        _case((1, 3, 5, 2), 25, 30, 12),
        _case((2, 1, 3, 3), 8, 25, 22),
        _case((2, 6), 30, 30, 32, torch.float32),
        _case((2, 1, 2, 2), 1, 12, 42),
        _case((2, 1, 3, 2), 9, 20, 52, past=0.3),  # between two entries
        _case((2, 1, 3, 2), 9, 20, 62, past=0.7),
        _case((2, 1, 2, 3), 0, 12, 72, past=0.2),  # hardly any noise: t is 1
    ]
    compare(denoised, _denoised, cases, _KNOWN, ("the picture",))


denoised = Exercise(
    title="Find the mistake: noise of 25 bytes",
    kind="find the mistake",
    answers=("claimed_sigma", "denoised"),
    trial=_try,
    points=4,
    difficulty=2,
    minutes=20,
    hints=(
        "Multiply y = x_0 + σ n by signal_t and compare with x_t. Which t makes them alike, and what is then fed in? "
        "And how many bytes wide is one unit of x_0?",
        "σ_t = noise_t/signal_t must be the level in units of x_0 (10.5), and signal² + noise² = 1 turns one into the "
        "other. A range of 2 holds 255 bytes.",
        "level/√(1 − level²). And sigma = (1/ᾱ − 1).sqrt(); t = 1 + (sigma[1:] − level/127.5).abs().argmin(); "
        "denoise(√ᾱ_t · y, t).",
    ),
)
