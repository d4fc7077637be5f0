"""Filling holes: what a sampler must do so that the known part of x stays known. Derived in notebook 09.

Small pieces over denoise, x, ts and schedule; `ldm_edu.editing.inpaint` puts them together for a trained model.
A mask is 1 (True) where something is to be filled in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm_edu.denoiser import Denoise
from ldm_edu.forward import check_same_shape, q_sample, q_step
from ldm_edu.kinds import check_whole
from ldm_edu.samplers import AfterStep, ddim, normal_like
from ldm_edu.schedule import Schedule


def hold_known(x_0: Tensor, free: Tensor, schedule: Schedule, generator: torch.Generator | None = None) -> AfterStep:
    """Replacement:  x_s ← x_s where free,  signal_s x_0 + noise_s z elsewhere, with fresh z at each step.

    Source: Song et al. 2021 (arXiv 2011.13456), Appendix I.2; Lugmayr et al. 2022 (arXiv 2201.09865), Eq. 8, which as
    printed noises to t instead of s; notebook 09, (9.5).

    Args:
        x_0: (B, *D) clean data; what it holds at free places is never used.
        free: bool, of a shape that broadcasts to x_0's: True where the sampler decides.
        schedule: that of the sampler.
        generator: where z comes from.
    Returns:
        the `after_step` of a sampler.
    Raises:
        ValueError: free is not of type bool, or does not fit x_0.
    """
    _check_free(free, x_0)

    def after_step(x_s: Tensor, s: int) -> Tensor:
        return torch.where(free, x_s, q_sample(x_0, s, normal_like(x_0, generator), schedule))

    return after_step


def repaint(
    denoise: Denoise,
    x: Tensor,
    x_0: Tensor,
    free: Tensor,
    ts: Sequence[int],
    schedule: Schedule,
    *,
    jumps: int = 0,
    jump_steps: int = 5,
    eta: float = 1.0,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Walk down with the known part replaced; after each `jump_steps` steps jump back up and walk them again.

    The way up is `q_step`, for known and free places alike. Without jumps it is plain replacement.

    Source: Lugmayr et al. 2022 (arXiv 2201.09865), Algorithm 1 and §4.2, whose r is our jumps + 1 and whose j is
    our jump_steps; notebook 09.

    Args:
        denoise: denoise(x_t, t) -> Prediction.
        x: (B, *D) the start at time ts[0].
        x_0, free: as for `hold_known`.
        ts: strictly decreasing times, as `timesteps` makes.
        jumps: jumps back up at each place, 0 or more; the cost is jumps + 1 walks.
        jump_steps: how many of the walk's steps one jump undoes, 1 or more.
        eta, generator: as for `ddim`.
    Returns:
        an iterator over x after each step, as a sampler gives.
    Raises:
        ValueError: at the first step: jumps or jump_steps out of range, or what `ddim` and `hold_known` refuse.
    """
    check_whole(0, jumps=jumps)
    check_whole(1, jump_steps=jump_steps)
    check_same_shape("x", x, "x_0", x_0)
    hold = hold_known(x_0, free, schedule, generator)
    x = hold(x, ts[0])
    for start in range(0, len(ts) - 1, jump_steps):
        stretch = ts[start : start + jump_steps + 1]
        for jump in range(jumps + 1):
            if jump > 0:
                x = q_step(x, stretch[0], normal_like(x, generator), schedule, s=stretch[-1])
            for x_s in ddim(denoise, x, stretch, schedule, eta=eta, generator=generator, after_step=hold):
                x = x_s
                yield x


def check_mask(mask: Tensor, pictures: Tensor) -> Tensor:
    """A mask (B, 1, H, W) of zeros and ones, of any type, for pictures (B, C, H, W), as bool.

    Raises:
        ValueError: another shape, other values, or a picture with nothing to fill or nothing known.
    """
    expected = (len(pictures), 1, *pictures.shape[2:])
    if mask.shape != expected:
        raise ValueError(f"mask must have shape {expected}, one for each picture, got {tuple(mask.shape)}")
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError("mask must hold only 0 (known) and 1 (to fill), or be of type bool")
    filled = mask.bool().flatten(1)
    if filled.all(1).any() or not filled.any(1).all():
        raise ValueError("each picture's mask must hold both 1, what to fill, and 0, what is known")
    return mask.bool()


def latent_mask(mask: Tensor, factor: int, margin: int = 0) -> Tensor:
    """Bring a mask of pixels down to latents: a latent is free if any pixel of its square is.

    A latent sees a little beyond its own factor × factor pixels, and what the hole held may be left in the latents
    around it; the margin frees those too.

    Args:
        mask: (B, 1, H, W) bool, True where to fill; H and W are multiples of factor.
        factor: pixels along each side of a latent; 1 leaves the mask as it is.
        margin: how many latents more to free on each side, 0 or more.
    Returns:
        (B, 1, H / factor, W / factor) bool.
    Raises:
        ValueError: another shape or type, a size that factor does not divide, or a negative margin.
    """
    if mask.ndim != 4 or mask.shape[1] != 1 or mask.dtype != torch.bool:
        raise ValueError(f"mask must be (B, 1, H, W) of type bool, got {mask.dtype} of shape {tuple(mask.shape)}")
    if mask.shape[2] % factor or mask.shape[3] % factor:
        raise ValueError(f"the mask's sides must be multiples of {factor}, got {tuple(mask.shape[2:])}")
    check_whole(0, margin=margin)
    free = F.max_pool2d(mask.float(), factor)
    return F.max_pool2d(free, 2 * margin + 1, stride=1, padding=margin) > 0


def fill_plain(pictures: Tensor, mask: Tensor) -> Tensor:
    """Fill each picture's holes with the mean colour of the known pixels that touch them, side or corner.

    Done before encoding, so that nothing of what the hole held reaches the latents around it.

    Args:
        pictures: (B, C, H, W).
        mask: (B, 1, H, W) bool.
    """
    around = (F.max_pool2d(mask.float(), 3, stride=1, padding=1) > 0) & ~mask
    count = around.sum((2, 3), keepdim=True).clamp(min=1)
    return torch.where(mask, (pictures * around).sum((2, 3), keepdim=True) / count, pictures)


def paste_known(new: Tensor, pictures: Tensor, mask: Tensor) -> Tensor:
    """New pictures (B, C, H, W) in the hole, mask (B, 1, H, W) bool, the given ones' very pixels elsewhere."""
    return torch.where(mask, new, pictures)


def seam(pictures: Tensor, mask: Tensor) -> Tensor:
    """Mean |difference| of neighbouring pixels, one inside and one outside the mask, over channels and pairs.

    Notebook 09. Compare it with the same of real pictures: an edge of the scene may cross the border too.

    Args:
        pictures: (B, C, H, W) in [-1, 1].
        mask: (B, 1, H, W) bool, with a border in each picture.
    Returns:
        (B,) in [0, 2].
    Raises:
        ValueError: shapes that do not fit, or a mask without a border.
    """
    if mask.dtype != torch.bool or mask.shape != (len(pictures), 1, *pictures.shape[2:]):
        raise ValueError(
            f"mask must be bool of shape {(len(pictures), 1, *pictures.shape[2:])}, "
            f"got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    total, pairs = 0.0, 0.0
    for dim in (2, 3):
        across = mask.diff(dim=dim)  # of bools: True where neighbours differ
        step = pictures.diff(dim=dim).abs().mean(1, keepdim=True)
        total = total + (step * across).sum((1, 2, 3))
        pairs = pairs + across.sum((1, 2, 3))
    if (pairs == 0).any():
        raise ValueError("a mask has no border: it must hold both places to fill and known ones")
    return total / pairs


def _check_free(free: Tensor, x_0: Tensor) -> None:
    if free.dtype != torch.bool:
        raise ValueError(f"free must be of type bool, got {free.dtype}: use mask > 0.5")
    if free.ndim != x_0.ndim or any(a not in (1, b) for a, b in zip(free.shape, x_0.shape, strict=True)):
        raise ValueError(f"free of shape {tuple(free.shape)} does not fit x_0 of shape {tuple(x_0.shape)}")
