"""What the functions of ldm_edu.editing are given: pictures, a condition, a strength; checked and brought to latents.

Used in notebook 09.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ldm_edu.denoiser import Denoise
from ldm_edu.latent import LatentDiffusion
from ldm_edu.schedule import Schedule, timesteps


@dataclass(frozen=True, eq=False)
class Condition:
    """What the pictures are to show; without arguments, anything.

    Args:
        labels: (B,) int64, a class for each picture, for a model with classes.
        prompts: B texts, one for each picture, for a model with text.
        negative: guidance leads away from this text.
        guidance: w; 1 is off.
    Raises:
        ValueError: guidance without labels and prompts.
    """

    labels: Tensor | None = None
    prompts: Sequence[str] | None = None
    negative: str = ""
    guidance: float = 1.0

    def __post_init__(self):
        if self.guidance != 1 and self.labels is None and self.prompts is None:
            raise ValueError(f"guidance = {self.guidance} needs labels or prompts; leave it at 1 without them")


ANYTHING = Condition()


def times_from(schedule: Schedule, steps: int, strength: float) -> list[int]:
    """The times of a walk that starts at strength · (where `timesteps` starts), with steps as wide as its own.

    At strength 1 it is `timesteps(schedule, steps)`; at 0.3 it has 0.3 · steps steps, at least one.

    Raises:
        ValueError: strength outside (0, 1], or so small that no step is left; or steps that `timesteps` refuses.
    """
    if not 0 < strength <= 1:
        raise ValueError(f"strength must lie in (0, 1], near 0 to keep the picture, got {strength}")
    whole = timesteps(schedule, steps)
    start = round(strength * whole[0])
    if start < 1:
        raise ValueError(f"strength {strength} of {whole[0]} times leaves no step; take {1 / whole[0]:.2g} or more")
    count = min(start, max(1, round(strength * steps)))
    return torch.linspace(start, 0, count + 1, dtype=torch.float64).round().long().tolist()


def conditions_for(model: LatentDiffusion, condition: Condition, count: int) -> tuple[Tensor | None, Tensor | None]:
    """What the U-Net takes as cond and uncond for `count` pictures; see `LatentDiffusion.conditions`."""
    return model.conditions(count, condition.labels, condition.prompts, condition.negative)


def denoiser_for(model: LatentDiffusion, condition: Condition, count: int) -> Denoise:
    """denoise(x_t, t) of a model under a condition, for `count` pictures."""
    cond, uncond = conditions_for(model, condition, count)
    return model.denoiser(cond, uncond, guidance=condition.guidance)


@torch.no_grad()
def to_latent(model: LatentDiffusion, pictures: Tensor) -> Tensor:
    """Check pictures (B, C, S, S) as `check_pictures` does, and encode them: (B, c, h, w) float32."""
    return model.encode(check_pictures(model, pictures)).float()


@torch.no_grad()
def to_pictures(model: LatentDiffusion, latent: Tensor) -> Tensor:
    """Decode latents (B, c, h, w) to (B, C, S, S) float32, held in [-1, 1]."""
    return model.decode(latent).float().clamp(-1, 1)


def check_pictures(model: LatentDiffusion, pictures: Tensor) -> Tensor:
    """Pictures (B, C, S, S) on the model's device and in its type.

    Raises:
        ValueError: another shape, no picture, whole numbers, or values outside [-1, 1].
    """
    config = model.config
    shape = (config.channels, config.size, config.size)
    if pictures.ndim != 4 or pictures.shape[1:] != shape or len(pictures) == 0:
        expected = ", ".join(map(str, shape))
        raise ValueError(f"this model takes pictures of shape (B, {expected}), got {tuple(pictures.shape)}")
    if not pictures.is_floating_point():
        raise ValueError(f"pictures must be floats in [-1, 1], got {pictures.dtype}; for bytes use x / 127.5 - 1")
    low, high = pictures.min().item(), pictures.max().item()
    if not (-1.01 <= low and high <= 1.01):
        raise ValueError(f"pictures must lie in [-1, 1], got values from {low:.3g} to {high:.3g}")
    return pictures.to(model.latent_mean)
