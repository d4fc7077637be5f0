"""Exercise 10.6, a step that trusts x̂_0 too much: how its answers are checked.

The data are Gaussian and A is a matrix, so that the right answer is exact.
"""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import f64, normal
from ldm_edu.check.exercise import Exercise


def _left(variance, alpha_bar_t):
    """The variance of one pixel of x_0, given x_t."""
    return (1 - alpha_bar_t) * variance / (alpha_bar_t * variance + 1 - alpha_bar_t)


def _ratio(of):
    """A number made of C and σ_y²."""
    return lambda variance, alpha_bar_t, noise_level: of(_left(variance, alpha_bar_t), noise_level**2)


_overshoot = _ratio(lambda C, s2: (s2 + C) / s2)

_OVERSHOOT_KNOWN = (
    Known(
        lambda variance, alpha_bar_t, noise_level: 1 + variance / noise_level**2,
        "You get {got:.4f}, for any t: the data's variance stands where that of x_0 given x_t should.",
    ),
    Known(
        _ratio(lambda C, s2: C / s2),
        "You get {got:.4f}, which can be 0: this is how far the claim moves for a misfit of 1. How far should it?",
    ),
    Known(_ratio(lambda C, s2: s2 / (s2 + C)), "You get {got:.4f}: the right step over the claim's, upside down."),
    Known(_ratio(lambda C, s2: C / (s2 + C)), "You get {got:.4f}, the right step for a misfit of 1, and no ratio yet."),
    Known(_ratio(lambda C, s2: 1 + C / s2**0.5), "You get {got:.4f}: C is a variance, and so must what divides it be."),
    Known(_ratio(lambda C, s2: (1 + C / s2) ** 0.5), "You get {got:.4f}: the steps are asked, not their roots."),
    Known(
        lambda variance, alpha_bar_t, noise_level: 1 + (1 - alpha_bar_t) / alpha_bar_t / noise_level**2,
        "You get {got:.4f}, as if nothing were known of pictures: C is smaller than σ_t², as the data have a variance.",
    ),
    Known(
        lambda variance, alpha_bar_t, noise_level: (
            1 + alpha_bar_t**0.5 * variance / (alpha_bar_t * variance + 1 - alpha_bar_t) / noise_level**2
        ),
        "You get {got:.4f}, made of ∂x̂_0/∂x_t alone: (10.16) has a factor before it.",
    ),
    Known(
        lambda variance, alpha_bar_t, noise_level: 1 + (1 - alpha_bar_t) / noise_level**2,
        "You get {got:.4f}: 1 − ᾱ_t is the variance of x_t's noise, not of x_0 given x_t.",
    ),
)  # fmt: skip


def _factors(alpha_bar_t):
    return alpha_bar_t**0.5, (1 - alpha_bar_t) ** 0.5


def _unmoved(x_t, mean, cov, alpha_bar_t):
    """x̂_0, ε̂ and C of Gaussian data, without y."""
    signal, noise = _factors(alpha_bar_t)
    slope = signal * cov @ torch.linalg.inv(signal**2 * cov + noise**2 * torch.eye(len(cov), dtype=cov.dtype))
    x0_hat = mean + (x_t - signal * mean) @ slope.T
    return x0_hat, (x_t - signal * x0_hat) / noise, noise**2 / signal * slope


def _solved(S, e):
    return torch.linalg.solve(S, e.T).T


def _spread(A, C, cov, level):
    return A @ C @ A.T + level**2 * torch.eye(len(A), dtype=A.dtype)


def _to_fit(x_t, x0_hat, eps_hat, signal, noise):
    """The pair whose x_t is the given one."""
    return x0_hat, (x_t - signal * x0_hat) / noise


def _made(
    spread=_spread, pull=lambda A, C, cov, bar: C @ A.T, times=1.0, finish=_to_fit, seen=lambda x0_hat, x_t, s: x0_hat
):
    """The moved pair with another variance of y, another way from e to x_0, or another end."""

    def measured(x_t, y, A, mean, cov, alpha_bar_t, noise_level):
        signal, noise = _factors(alpha_bar_t)
        x0_hat, eps_hat, C = _unmoved(x_t, mean, cov, alpha_bar_t)
        e = y - seen(x0_hat, x_t, signal) @ A.T
        u = _solved(spread(A, C, cov, noise_level), e)
        moved = x0_hat + times * u @ pull(A, C, cov, alpha_bar_t).T
        return finish(x_t, moved, eps_hat, signal, noise)

    return measured


_measured = _made()


def _claim(A, C, cov, level):
    """The variance of y, if x̂_0 were x_0."""
    return level**2 * torch.eye(len(A), dtype=A.dtype)


def _along_e(x_t, y, A, mean, cov, alpha_bar_t, noise_level):
    """(10.19): one number for the matrix."""
    x0_hat, eps_hat, C = _unmoved(x_t, mean, cov, alpha_bar_t)
    e = y - x0_hat @ A.T
    p = e @ A
    s2 = noise_level**2 + ((p @ C) * p).sum(1, keepdim=True) / e.square().sum(1, keepdim=True)
    return _to_fit(x_t, x0_hat + p @ C / s2, eps_hat, *_factors(alpha_bar_t))


def _projected(x_t, y, A, mean, cov, alpha_bar_t, noise_level):
    """The nearest x_0 with A x_0 = y."""
    x0_hat, eps_hat, _ = _unmoved(x_t, mean, cov, alpha_bar_t)
    moved = x0_hat + (y - x0_hat @ A.T) @ torch.linalg.pinv(A).T
    return _to_fit(x_t, moved, eps_hat, *_factors(alpha_bar_t))


def _slope(C, bar):
    """∂x̂_0/∂x_t, from C."""
    signal, noise = _factors(bar)
    return C * signal / noise**2


def _says(text):
    """A sentence with the move's size beside the right one, the misfit that is left, and how well the pair fits x_t."""

    def sentence(case, got, want):
        x_t, y, A, mean, cov = (getattr(case, name).double() for name in ("x_t", "y", "A", "mean", "cov"))
        before = _unmoved(x_t, mean, cov, case.alpha_bar_t)[0]
        signal, noise = _factors(case.alpha_bar_t)
        along = ((got[0] - before) * (want[0] - before)).sum() / (want[0] - before).square().sum()
        numbers = {
            "along": along,
            "off": (got[0] - want[0]).square().mean().sqrt(),
            "off_eps": (got[1] - want[1]).square().mean().sqrt(),
            "misfit": (y - got[0] @ A.T).square().mean().sqrt(),
            "before": (y - before @ A.T).square().mean().sqrt(),
            "left": (signal * got[0] + noise * got[1] - x_t).abs().max(),
        }
        return text.format(**{k: f"{v.item():.3f}" for k, v in numbers.items()}, sigma=case.noise_level)

    return sentence


_MOVE = "You move x̂_0 by {along} times the right step"

_KNOWN = (
    Known(
        _made(_claim),
        _says(_MOVE + ", and the misfit goes from {before} to {misfit}. The claim is unchanged."),
    ),
    Known(
        _made(lambda A, C, cov, level: A @ C @ A.T),
        _says(
            _MOVE + ", as if y had no noise: the misfit that is left is {misfit}, and σ_y = {sigma} has no part in it."
        ),
    ),
    Known(
        _made(lambda A, C, cov, level: A @ C @ A.T + level * torch.eye(len(A), dtype=A.dtype)),
        _says(_MOVE + ", with σ_y = {sigma}: a deviation was added to a variance."),
    ),
    Known(
        _made(lambda A, C, cov, level: A @ cov @ A.T + level**2 * torch.eye(len(A), dtype=A.dtype)),
        _says(_MOVE + ": the covariance of all data stands in the variance of y; x_t is known, which leaves less."),
    ),
    Known(
        _made(
            lambda A, C, cov, level: A @ cov @ A.T + level**2 * torch.eye(len(A), dtype=A.dtype),
            lambda A, C, cov, bar: cov @ A.T,
        ),
        _says(_MOVE + ": this is the update of someone who has not seen x_t: the prior's covariance, not C."),
    ),
    Known(
        lambda x_t, y, A, mean, cov, alpha_bar_t, noise_level: _made(
            lambda A, C, cov, level: _spread(A, _slope(C, alpha_bar_t), cov, level),
            lambda A, C, cov, bar: _slope(C, bar) @ A.T,
        )(x_t, y, A, mean, cov, alpha_bar_t, noise_level),
        _says(_MOVE + ", with ∂x̂_0/∂x_t for C in both places: (10.16) has a factor before it."),
    ),
    Known(
        _made(pull=lambda A, C, cov, bar: _slope(C, bar) @ A.T),
        _says(_MOVE + ": ∂x̂_0/∂x_t pulls there, without the factor that makes it C."),
    ),
    Known(
        lambda x_t, y, A, mean, cov, alpha_bar_t, noise_level: _made(
            lambda A, C, cov, level: _spread(A, _slope(C, alpha_bar_t), cov, level)
        )(x_t, y, A, mean, cov, alpha_bar_t, noise_level),
        _says(_MOVE + ": ∂x̂_0/∂x_t stands in the variance of y, without the factor that makes it C."),
    ),
    Known(
        _made(pull=lambda A, C, cov, bar: A.T),
        _says(
            _MOVE + ", off by {off} (root mean square): Aᵀ alone carries e back, so no pixel moves that A does not see."
        ),
    ),
    Known(
        _made(times=-1.0),
        _says(_MOVE + ", and the misfit grows from {before} to {misfit}: the sign is wrong."),
    ),
    Known(
        _projected,
        _says(_MOVE + ", off by {off}: you went to the nearest x_0 that fits y best, whatever σ_y and C say."),
    ),
    Known(
        _made(lambda A, C, cov, level: torch.eye(len(A), dtype=A.dtype)),
        _says(_MOVE + ", off by {off}: C Aᵀe is not divided by anything, and the variance of y should divide it."),
    ),
    Known(
        _along_e,
        _says(
            _MOVE + ", off by {off}: this is (10.19), one number for a matrix. Here the matrix is small, and e no "
            "eigenvector of it."
        ),
    ),
    Known(
        _made(lambda A, C, cov, level: _spread(A, C, cov, level).diag().diag()),
        _says(
            _MOVE
            + ", off by {off}: only the diagonal of y's covariance was used, as if its numbers had nothing in common."
        ),
    ),
    Known(
        _made(lambda A, C, cov, level: A @ A.T + level**2 * torch.eye(len(A), dtype=A.dtype)),
        _says(_MOVE + ", off by {off}: A Aᵀ stands in the variance of y, as if x_0 given x_t had variance 1."),
    ),
    Known(
        _made(finish=lambda x_t, x0, eps, signal, noise: (x0, eps)),
        _says("signal·x̂_0 + noise·ε̂ misses x_t by up to {left}: x̂_0 has moved, and ε̂ is still the one from before."),
    ),
    Known(
        _made(finish=lambda x_t, x0, eps, signal, noise: (x0, 2 * eps - (x_t - signal * x0) / noise)),
        _says("signal·x̂_0 + noise·ε̂ misses x_t by up to {left}: ε̂ was moved the same way as x̂_0."),
    ),
    Known(
        _made(finish=lambda x_t, x0, eps, signal, noise: ((x_t - signal * x0) / noise, x0)),
        _says("Your first result is off by {off}: it is ε̂. Return x̂_0 first."),
    ),
    Known(
        _made(times=0.0),
        _says("The misfit stays at {before}: this is the answer without y."),
    ),
    Known(
        _made(seen=lambda x0_hat, x_t, s: x_t),
        _says(_MOVE + ", off by {off}: y was compared with A(x_t), a noisy picture, and not with A(x̂_0)."),
    ),
    Known(
        _made(seen=lambda x0_hat, x_t, s: x_t / s),
        _says(_MOVE + ", off by {off}: y was compared with A(x_t/signal_t), and not with A(x̂_0)."),
    ),
)


def _case(B, D, M, bar, level, seed, dtype=f64):
    root = normal(D, D, seed=seed)
    cov = 0.3 * root @ root.T / D + 0.2 * torch.eye(D, dtype=f64)
    x_t, y = normal(B, D, seed=seed + 1), normal(B, M, seed=seed + 2)
    A, mean = normal(M, D, seed=seed + 3), 0.5 * normal(D, seed=seed + 4)
    tensors = {"x_t": x_t, "y": y, "A": A, "mean": mean, "cov": cov}
    return {k: v.to(dtype) for k, v in tensors.items()} | {"alpha_bar_t": bar, "noise_level": level}


def _try(overshoot, measured):
    cases = [
        {"variance": v, "alpha_bar_t": bar, "noise_level": level}
        for v, bar, level in ((0.5, 0.4, 0.2), (1.0, 0.9, 0.5), (0.3, 0.05, 0.05), (2.0, 0.7, 1.5))
    ]
    compare(overshoot, _overshoot, cases, _OVERSHOOT_KNOWN, ("the ratio",))
    cases = [
        _case(4, 5, 3, 0.4, 0.4, 1),
        _case(1, 4, 1, 0.8, 0.2, 11),  # one number is measured
        _case(3, 3, 5, 0.1, 0.7, 21),  # more numbers than pixels
        _case(2, 4, 2, 0.6, 0.5, 31, torch.float32),
    ]
    compare(measured, _measured, cases, _KNOWN, ("x0_hat", "eps_hat"))


measured = Exercise(
    title="Find the mistake: a guess taken for the truth",
    kind="find the mistake",
    answers=("overshoot", "measured"),
    trial=_try,
    points=4,
    difficulty=3,
    minutes=30,
    hints=(
        "Suppose x_t is nearly pure noise. How far may y lie from A(x̂_0), even if y itself has hardly any noise?",
        "Given x_t, y has two sources of variance, and the claim counts one. (10.16) says how large the other is in "
        "x_0, (10.17) what A makes of it.",
        "For one pixel C = (1−ᾱ_t)v/(ᾱ_t v + 1 − ᾱ_t); the steps are C e/σ_y² and C e/(σ_y² + C). In general "
        "x̂_0 + C Aᵀ(σ_y² I + A C Aᵀ)⁻¹ e (10.18), with C = noise²/signal · gain, and ε̂ = (x_t − signal·x̂_0)/noise.",
    ),
)
