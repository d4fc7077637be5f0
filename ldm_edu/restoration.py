"""Restoration: noise removed, small pictures enlarged, blur and holes undone, by the samplers as they are.

Derived in notebook 10. What was measured is joined to what is likely in `ldm_edu.measurement`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ldm_edu.denoiser import Denoise
from ldm_edu.edit_inputs import ANYTHING, Condition, conditions_for
from ldm_edu.kinds import check_whole
from ldm_edu.latent import LatentDiffusion
from ldm_edu.measurement import Measure, with_measurement
from ldm_edu.nets.unet import UNet
from ldm_edu.samplers import ddim, last, prior_sample
from ldm_edu.schedule import Schedule, timesteps


def time_of(noise_level: float, schedule: Schedule) -> int:
    """The t at which the schedule's noise / signal is nearest to a noise level:  σ_t ≈ noise_level.

    y = x_0 + noise_level · n has the distribution of x_t / signal_t, so that `signal_t · y` is a valid x_t.

    Source: notebook 10.

    Args:
        noise_level: standard deviation of the noise in y, in units of x_0 (pictures in [-1, 1]), at least σ_1 / 2.
    Returns:
        t in [1, T].
    Raises:
        ValueError: a noise level outside what the schedule has.
    """
    sigma = schedule.sigma
    if not sigma[1].item() / 2 <= noise_level <= sigma[-1].item():
        raise ValueError(
            f"noise_level must lie between σ_1 / 2 = {sigma[1].item() / 2:.3g} and σ_T = {sigma[-1].item():.3g} of the "
            f"schedule, got {noise_level}; pictures are in [-1, 1], so a level in bytes is divided by 127.5"
        )
    return 1 + int((sigma[1:] - noise_level).abs().argmin())


def posterior_mean(denoise: Denoise, y: Tensor, noise_level: float, schedule: Schedule) -> Tensor:
    """The mean of all clean pictures that y = x_0 + noise_level · n may be:  x̂_0(signal_t y, t),  σ_t = noise_level.

    Of all answers that y allows it has the least expected squared error. One call of the network.

    Source: Efron 2011, Tweedie's formula (Robbins 1956); notebook 10.

    Args:
        denoise: denoise(x_t, t) -> Prediction.
        y: (B, *D) noisy data.
        noise_level: see `time_of`.
    Returns:
        (B, *D), as `denoise` gives it: not clipped unless that clips.
    Raises:
        ValueError: a noise level outside what the schedule has.
    """
    t = time_of(noise_level, schedule)
    return denoise(schedule.signal[t].item() * y, t).x0


def posterior_sample(
    denoise: Denoise,
    y: Tensor,
    noise_level: float,
    schedule: Schedule,
    *,
    steps: int = 20,
    eta: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One of the clean pictures that y = x_0 + noise_level · n may be: the sampler, started at x_t = signal_t y.

    For an exact denoiser and short steps with eta = 1 it is a draw from p(x_0 | y), whose expected squared error is
    twice that of `posterior_mean`. With eta = 0 the answer is a function of y.

    Source: Kawar et al. 2021 (arXiv 2101.09552), denoising by sampling the posterior; notebook 10.

    Args:
        denoise, y, noise_level: as for `posterior_mean`.
        steps: of the sampler, at most as many as times remain.
        eta, generator: see `ddim`.
    Returns:
        (B, *D).
    Raises:
        ValueError: a noise level outside what the schedule has, steps below 1, eta outside [0, 1].
    """
    t = time_of(noise_level, schedule)
    check_whole(1, steps=steps)
    ts = torch.linspace(t, 0, min(steps, t) + 1, dtype=torch.float64).round().long().tolist()
    return last(ddim(denoise, schedule.signal[t].item() * y, ts, schedule, eta=eta, generator=generator))


def restore(
    model: LatentDiffusion,
    y: Tensor,
    measure: Measure,
    condition: Condition = ANYTHING,
    *,
    noise_level: float = 0.02,
    steps: int = 100,
    eta: float = 1.0,
    generator: torch.Generator | None = None,
    batch: int = 64,
) -> Tensor:
    """Draw pictures that the model finds likely and that agree with what was measured, y = A(x_0) + noise.

    Super-resolution is `restore(model, small, lambda x: downsample(x, 4))`, hole filling
    `restore(model, y * mask, masked(mask))`, denoising `restore(model, y, lambda x: x, noise_level=0.2)`.

    Source: Chung et al. 2023 (arXiv 2209.14687), Algorithm 1, with the step of `with_measurement`; notebook 10.

    Args:
        model: pixel or latent.
        y: (B, …) measurements of pictures in [-1, 1].
        measure: A, from pictures (B, C, H, W) of the model's size to y's shape; differentiable.
        condition: what the pictures show, as far as it is known.
        noise_level: standard deviation of the noise in y; a little more where the model (its autoencoder) cannot
            show the picture exactly.
        steps: sampler steps; each costs one call of the networks and one gradient.
        eta, generator: see `ddim`.
        batch: how many at once.
    Returns:
        (B, C, H, W) float32 in [-1, 1].
    Raises:
        ValueError: options out of range, shapes that do not fit.
    """
    check_whole(1, batch=batch)
    device = model.latent_mean.device
    y = y.to(device, torch.float32)
    conds, unconds = (
        [None] * -(-len(y) // batch) if c is None else c.split(batch) for c in conditions_for(model, condition, len(y))
    )
    ts = timesteps(model.schedule, steps)
    start = prior_sample(
        (len(y), *model.config.latent_shape), ts[0], model.schedule, generator=generator, device=device
    )

    def of_latent(latent: Tensor) -> Tensor:
        return measure(model.decode(latent).float())

    pictures = []
    for x, part, cond, uncond in zip(start.split(batch), y.split(batch), conds, unconds, strict=True):
        plain = model.denoiser(cond, uncond, guidance=condition.guidance, clip=False)
        clip = None if model.autoencoder else 1.0
        denoise = with_measurement(plain, part, of_latent, model.schedule, noise_level=noise_level, clip=clip)
        x = last(ddim(denoise, x, ts, model.schedule, eta=eta, generator=generator))
        with torch.no_grad():
            pictures.append(model.decode(x).float().clamp(-1, 1))
    return torch.cat(pictures)


class PictureConditioned(nn.Module):
    """A U-Net that also sees a picture:  net(x_t, t, cond) = unet([x_t, cond], t), stacked as channels.

    For super-resolution cond is the small picture, enlarged to x_t's size; one network then serves all factors it was
    trained with. Trained with `ldm_edu.objectives.DiffusionObjective`, used with `make_denoiser(net, …, cond=…)`.

    Source: Saharia et al. 2022 (SR3, arXiv 2104.07636); notebook 10.

    Args:
        unet: with in_channels = channels of x_t + channels of cond, out_channels = channels of x_t.
    """

    def __init__(self, unet: UNet):
        super().__init__()
        self.unet = unet

    def forward(self, x_t: Tensor, t: Tensor | int, cond: Tensor) -> Tensor:
        """x_t (B, C, H, W), t (B,) or one time, cond (B, C', H, W) in [-1, 1]; the answer (B, C, H, W).

        Raises:
            ValueError: no cond, or one of another height, width or number than x_t.
        """
        if cond is None or cond.ndim != 4 or len(cond) != len(x_t) or cond.shape[2:] != x_t.shape[2:]:
            given = None if cond is None else tuple(cond.shape)
            raise ValueError(
                f"cond must be a picture for each x_t {tuple(x_t.shape)}, of its height and width, got {given}; "
                "enlarge it first"
            )
        return self.unet(torch.cat([x_t, cond.to(x_t)], 1), t)
