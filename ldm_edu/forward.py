"""The forward process: from data to noise, in one jump or step by step. Derived in notebooks 01 and 02."""

from __future__ import annotations

import operator

import torch
from torch import Tensor

from ldm_edu.schedule import Schedule, at


def q_sample(x_0: Tensor, t: Tensor | int, eps: Tensor, schedule: Schedule) -> Tensor:
    """Noise clean data to step t:  x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε  (in general signal[t] x_0 + noise[t] ε).

    Source: Ho et al. 2020 (arXiv 2006.11239), Eq. 4; notebook 01.

    Args:
        x_0: (B, *D) float; images in [-1, 1], latents near unit variance.
        t: (B,) int64 in [0, T], or one int for all; 0 gives x_0 back.
        eps: (B, *D) standard normal, float of any width.
    Returns:
        x_t: (B, *D), dtype and device of x_0.
    Raises:
        ValueError: shapes differ, whole numbers instead of floats, or t lies outside [0, T].
    """
    check_same_shape("x_0", x_0, "eps", eps)
    check_t(t, x_0, schedule)
    return (at(schedule.signal, t, x_0) * x_0 + at(schedule.noise, t, x_0) * eps).to(x_0.dtype)


def q_step(x_s: Tensor, t: int, eps: Tensor, schedule: Schedule, s: int | None = None) -> Tensor:
    """Take the Markov chain from step s to t:  x_t = √(1−β_t) x_{t−1} + √β_t ε  for s = t − 1.

    For any s < t and any schedule: x_t = r x_s + √(noise_t² − r² noise_s²) ε, with r = signal_t / signal_s.

    Source: Ho et al. 2020 (arXiv 2006.11239), Eq. 2; notebook 01.

    Args:
        x_s: (B, *D) data at step s.
        t: the step to reach, 1 … T.
        eps: (B, *D) fresh standard normal noise.
        s: the step to leave, 0 … t − 1; t − 1 unless told.
    Returns:
        x_t: (B, *D), dtype and device of x_s.
    Raises:
        ValueError: shapes differ, or not 0 ≤ s < t ≤ T, both whole.
    """
    check_same_shape("x_s", x_s, "eps", eps)
    ratio, variance = _transition(s if s is not None else t - 1, t, schedule)
    return (ratio.item() * x_s + variance.sqrt().item() * eps).to(x_s.dtype)


def q_posterior(x_0: Tensor, x_t: Tensor, t: int, schedule: Schedule, s: int | None = None) -> tuple[Tensor, float]:
    """Mean and variance of q(x_s | x_t, x_0), the step back when the clean data are known.

    For s = t − 1: mean √ᾱ_{t−1} β_t / (1−ᾱ_t) x_0 + √α_t (1−ᾱ_{t−1}) / (1−ᾱ_t) x_t,
    variance (1−ᾱ_{t−1}) / (1−ᾱ_t) β_t.

    Source: Ho et al. 2020 (arXiv 2006.11239), Eqs. 6 and 7; notebooks 02 and 03.

    Args:
        x_0, x_t: (B, *D).
        t: the step to leave, 1 … T.
        s: the step to reach, 0 … t − 1; t − 1 unless told.
    Returns:
        mean (B, *D), and the variance, one number for all entries.
    Raises:
        ValueError: shapes differ, or not 0 ≤ s < t ≤ T, both whole.
    """
    check_same_shape("x_0", x_0, "x_t", x_t)
    s = s if s is not None else t - 1
    ratio, step_variance = _transition(s, t, schedule)
    noise_s, noise_t = schedule.noise[s], schedule.noise[t]
    from_x_0 = schedule.signal[s] * step_variance / noise_t**2
    from_x_t = ratio * noise_s**2 / noise_t**2
    return from_x_0.item() * x_0 + from_x_t.item() * x_t, posterior_variance(s, t, schedule)


def posterior_variance(s: int, t: int, schedule: Schedule) -> float:
    """Variance of q(x_s | x_t, x_0): noise_s²/noise_t² · (noise_t² − r² noise_s²), r = signal_t/signal_s.

    Raises:
        ValueError: not 0 ≤ s < t ≤ T, both whole.
    """
    _, step_variance = _transition(s, t, schedule)
    return (schedule.noise[s] ** 2 / schedule.noise[t] ** 2 * step_variance).item()


def _transition(s: int, t: int, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """r and the variance of q(x_t | x_s) = N(r x_s, variance)."""
    try:
        s, t = operator.index(s), operator.index(t)  # NumPy's and a tensor's whole numbers too
    except TypeError:
        raise ValueError(f"s and t must be one whole number each, got s = {s} and t = {t}") from None
    if not 0 <= s < t <= schedule.T:
        raise ValueError(f"need 0 ≤ s < t ≤ T = {schedule.T}, got s = {s} and t = {t}")
    ratio = schedule.signal[t] / schedule.signal[s]
    return ratio, schedule.noise[t] ** 2 - ratio**2 * schedule.noise[s] ** 2


def check_same_shape(name_a: str, a: Tensor, name_b: str, b: Tensor) -> None:
    """Raise ValueError where two tensors that are added differ in shape, or are not of floats.

    Broadcasting would hide a bug, and so would whole numbers: signal and noise, in their type, are 0 or 1.

    Args:
        name_a, name_b: what the message calls them.
        a, b: (B, *D) float.
    """
    for name, x in ((name_a, a), (name_b, b)):
        if not x.is_floating_point():
            raise ValueError(f"{name} must hold floats (pictures in [-1, 1], as `to_float` makes), got {x.dtype}")
    if a.shape != b.shape:
        raise ValueError(f"{name_a} and {name_b} must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")


def check_t(t: Tensor | int, x: Tensor, schedule: Schedule) -> None:
    """Raise ValueError unless t is a whole number in [0, T] or a (B,) int64 tensor of such.

    The values of a tensor are not looked at on a GPU, where the call would wait for the device, or while compiling.
    """
    if isinstance(t, Tensor):
        if t.shape != (len(x),) or t.dtype != torch.int64:
            raise ValueError(
                f"t must be an int or an int64 tensor of shape ({len(x)},), got {t.dtype} of shape {tuple(t.shape)}"
            )
        unseen = t.device.type != "cpu" or torch.compiler.is_compiling()
        inside = unseen or bool(((t >= 0) & (t <= schedule.T)).all())
    else:
        whole = hasattr(t, "__index__") and not isinstance(t, bool)  # NumPy's are as good
        inside = whole and 0 <= t <= schedule.T
    if not inside:
        raise ValueError(
            f"t must lie in [0, {schedule.T}] and be whole, got {t.tolist() if isinstance(t, Tensor) else t}"
        )
