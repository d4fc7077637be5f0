"""A measurement y = A(x_0) + noise and a denoiser, made into one denoiser, so that no sampler knows of it.

Some measurements A, and the step towards y by the gradient of the fit. Derived in notebook 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ldm_edu.denoiser import Denoise
from ldm_edu.forward import check_same_shape
from ldm_edu.schedule import Schedule
from ldm_edu.target import Prediction, to_prediction

Measure = Callable[[Tensor], Tensor]
"""What a camera does to a picture: a differentiable function A of (B, C, H, W), applied to each picture by itself."""


def gaussian_blur(pictures: Tensor, width: float) -> Tensor:
    """Blur with a Gaussian of standard deviation `width` in pixels; the border is mirrored.

    Args:
        pictures: (B, C, H, W).
        width: in pixels, positive; the kernel reaches to three widths and must fit into the picture.
    Returns:
        (B, C, H, W).
    Raises:
        ValueError: a width that is not positive, or too large for the picture.
    """
    if not 0 < width < math.inf:
        raise ValueError(f"width must be a positive number of pixels, got {width}; leave the blur out for none")
    reach = math.ceil(3 * width)
    if reach >= min(pictures.shape[2:]):
        raise ValueError(f"width {width} reaches {reach} pixels, too far for pictures of {tuple(pictures.shape[2:])}")
    kernel = torch.exp(-(torch.arange(-reach, reach + 1, dtype=torch.float64) ** 2) / (2 * width**2))
    kernel = (kernel / kernel.sum()).to(pictures)
    channels = pictures.shape[1]
    padded = F.pad(pictures, (reach, reach, reach, reach), mode="reflect")
    rows = F.conv2d(padded, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(rows, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def downsample(pictures: Tensor, factor: int) -> Tensor:
    """The mean of each factor × factor block of pixels: (B, C, H, W) to (B, C, H/factor, W/factor).

    Raises:
        ValueError: height or width is no multiple of factor.
    """
    if factor < 1 or pictures.shape[2] % factor or pictures.shape[3] % factor:
        raise ValueError(f"height and width must be multiples of factor {factor}, got {tuple(pictures.shape[2:])}")
    return F.avg_pool2d(pictures, factor)


def enlarge(pictures: Tensor, factor: int) -> Tensor:
    """Bicubic interpolation: (B, C, H, W) to (B, C, factor · H, factor · W); it may pass a little beyond [-1, 1]."""
    return F.interpolate(pictures, scale_factor=factor, mode="bicubic", align_corners=False)


def masked(mask: Tensor) -> Measure:
    """A that keeps the pixels where mask is 1 and sets those where it is 0 to 0: a hole.

    Args:
        mask: 0 or 1, of a shape that broadcasts with the pictures. Give y without noise in the hole, as y · mask.
    Returns:
        pictures (B, C, H, W) -> pictures · mask, of their shape, dtype and device.
    Raises:
        ValueError: a mask with other values.
    """
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError("mask must hold 0 (hole) and 1 (seen) only; threshold it first")
    return lambda pictures: pictures * mask.to(pictures)


def with_measurement(
    denoise: Denoise, y: Tensor, measure: Measure, schedule: Schedule, *, noise_level: float, clip: float | None = None
) -> Denoise:
    """Move a denoiser's answer towards what was measured, y = A(x_0) + noise_level · n.

    With e = y − A(x̂_0), J the Jacobian of A at x̂_0 and b = Jᵀe:

        x̂_0 + (noise²/signal) g,   ε̂ − noise g,   g = (∂x̂_0/∂x_t)ᵀ b / γ²,
        γ² = noise_level² + bᵀ C b / eᵀe,   C b = (noise²/signal) (∂x̂_0/∂x_t)ᵀ b.

    g is the gradient of −‖y − A(x̂_0(x_t))‖² / (2 γ²) with respect to x_t. C is the covariance of x_0 given x_t, and γ²
    the variance of y given x_t along e. So the step is the exact posterior's where A is linear, the data are Gaussian
    and e is an eigenvector of J C Jᵀ (data of one variance, and a mask or a downsampling); elsewhere an approximation.
    It divides by the signal at t, so a walk must start where there is some, as `timesteps` does.
    Leaving C's term out of γ², and scaling by a constant found by trial, is diffusion posterior sampling.

    Source: Chung et al. 2023 (arXiv 2209.14687), Algorithm 1, for the gradient; Boys et al. 2023 (arXiv 2310.06721)
    for a covariance by Tweedie's formula; notebook 10.

    Args:
        denoise: without clipping inside, whose gradient is 0 where it holds x̂_0; differentiable.
        y: (B, …) what was measured.
        measure: A, differentiable, each picture by itself; for a latent model A(decode(latent)).
        noise_level: standard deviation of the noise in y, positive; where there is none, about the size of the
            model's errors (0.02 for pictures in [-1, 1]).
        clip: bound on the moved |x̂_0|; ε̂ is made to agree. None: no bound.
    Returns:
        denoise(x_t, t) -> Prediction; t = 0 is answered unmoved.
    Raises:
        ValueError: a noise level or bound that is not positive; of the denoiser, A(x̂_0) of another shape than y, or a t
            without signal.
    """
    if not 0 < noise_level < math.inf:
        raise ValueError(
            f"noise_level must be positive, got {noise_level}: a model is never exact, so give at least about 0.01"
        )
    if clip is not None and not clip > 0:
        raise ValueError(f"clip must be positive or None, got {clip}")

    def moved(x_t: Tensor, t: int) -> Prediction:
        if t == 0:
            return denoise(x_t, t)
        signal, noise = schedule.signal[t].item(), schedule.noise[t].item()
        if signal < torch.finfo(x_t.dtype).tiny:
            raise ValueError(
                f"signal[{t}] is 0 to {x_t.dtype}: a measurement says nothing of x_t there; start at a smaller t"
            )
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            x0_hat, eps_hat = denoise(x, t)
            guess = x0_hat.detach().requires_grad_()
            seen = measure(guess)
            check_same_shape("the measurement of x̂_0", seen, "y", y)
            e = (y - seen).detach()
            (b,) = torch.autograd.grad(seen, guess, e)
            (pulled,) = torch.autograd.grad(x0_hat, x, b.to(x0_hat))
        covariance = noise**2 / signal * pulled  # C b
        spread = _inner(b, covariance).clamp(min=0) / _inner(e, e).clamp(min=1e-20)  # a network's C may dip below 0
        share = (1 / (noise_level**2 + spread)).view(-1, *[1] * (x_t.ndim - 1))
        moved_x0 = x0_hat.detach() + share * covariance
        if clip is not None:
            return to_prediction(moved_x0.clamp(-clip, clip), x_t, t, schedule, "x0")
        return Prediction(moved_x0, eps_hat.detach() - share * noise * pulled)

    return moved


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """aᵀb of each entry of the batch, (B,)."""
    return (a * b).flatten(1).sum(1)
