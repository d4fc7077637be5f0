"""Editing pictures with a trained model: start later, hold what is known, change the condition.

Built on `ddim` and `encode`; there is no second sampler. All functions work in pixels and in latents, with text, with
classes or with neither. What inpainting adds to a sampler is in ldm_edu.inpainting. Derived in notebook 09.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ldm_edu.edit_inputs import (
    ANYTHING,
    Condition,
    check_pictures,
    conditions_for,
    denoiser_for,
    times_from,
    to_latent,
    to_pictures,
)
from ldm_edu.forward import check_same_shape, q_sample
from ldm_edu.inpainting import check_mask, fill_plain, latent_mask, paste_known, repaint
from ldm_edu.latent import LatentDiffusion
from ldm_edu.mixing import match_statistics, slerp
from ldm_edu.samplers import ddim, encode, last, normal_like, prior_sample


@torch.no_grad()
def image_to_image(
    model: LatentDiffusion,
    pictures: Tensor,
    condition: Condition = ANYTHING,
    *,
    strength: float = 0.6,
    steps: int = 50,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Noise pictures to time strength · T and walk down from there under a condition.

    Source: Meng et al. 2022, SDEdit (arXiv 2108.01073), §3; notebook 09, (9.1).

    Args:
        model: a trained model.
        pictures: (B, C, S, S) in [-1, 1], of the model's size and channels.
        condition: what they are to become.
        strength: in (0, 1]; near 0 the picture stays, at 1 nothing of it is left. See `times_from`.
        steps: steps of a whole walk; this one takes strength · steps of them.
        eta: η of `ddim`.
        generator: where the noise comes from.
    Returns:
        (B, C, S, S) float32 in [-1, 1], on the model's device.
    Raises:
        ValueError: pictures that do not fit the model, a strength out of range, or a condition that does not fit.
    """
    return _redraw(model, to_latent(model, pictures), condition, strength, steps, eta, generator)


@torch.no_grad()
def restyle(
    model: LatentDiffusion,
    pictures: Tensor,
    style: Tensor,
    condition: Condition = ANYTHING,
    *,
    strength: float = 0.5,
    steps: int = 50,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Give the pictures' latents the channel statistics of a style's, then `image_to_image` from a middle time.

    Where things are is in how a channel varies from place to place; the mean and the spread of each channel, which
    `match_statistics` replaces, carry colour and contrast.

    Source: Huang and Belongie 2017 (arXiv 1703.06868), Eq. 8, in latents; Meng et al. 2022 (arXiv 2108.01073), §3;
    notebook 09.

    Args:
        style: (B, C, S, S) or (1, C, S, S) in [-1, 1], the pictures whose statistics are taken.
        other arguments: as for `image_to_image`.
    """
    latent = match_statistics(to_latent(model, pictures), to_latent(model, style))
    return _redraw(model, latent, condition, strength, steps, eta, generator)


@torch.no_grad()
def inpaint(
    model: LatentDiffusion,
    pictures: Tensor,
    mask: Tensor,
    condition: Condition = ANYTHING,
    *,
    strength: float = 1.0,
    steps: int = 50,
    jumps: int = 0,
    jump_steps: int = 5,
    margin: int = 0,
    again: float = 0.5,
    eta: float = 1.0,
    paste: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill holes: the known part is replaced at each step (`hold_known`), with jumps back up if asked (`repaint`).

    At strength 1 the hole's content has no say: it is painted over before encoding. Below 1 the walk starts
    from the noised content, which is for changing what is there. Either way the latents around the hole then know
    something that will not be there: the paint, or the old content. Therefore the answer is encoded in its turn, and
    a second, shorter walk starts from it.

    Source: Lugmayr et al. 2022 (arXiv 2201.09865), Algorithm 1; notebook 09.

    Args:
        model, pictures, condition, strength, steps, generator: as for `image_to_image`.
        mask: (B, 1, S, S), 1 or True where to fill, 0 elsewhere; both must occur in each picture.
        jumps, jump_steps: as for `repaint`; jumps = 0 is replacement alone.
        margin: latents to free around the hole; see `latent_mask`. Has no effect on pixels outside if `paste`.
        again: strength of the second walk, at most that of the first; 0 leaves it out. A model in pixels has none:
            its known pixels know nothing of the hole.
        eta: η of `ddim`; RePaint's steps are DDPM's, η = 1.
        paste: put the given pixels back outside the mask, so that they are exactly unchanged. Without it all pixels
            come from the decoder: there is no step from given to decoded ones at the border, and the known pixels
            change by the autoencoder's error.
    Returns:
        (B, C, S, S) float32 in [-1, 1], on the model's device.
    Raises:
        ValueError: as for `image_to_image`, or a mask of another shape, with other values, all 0 or all 1, or one that
            leaves no latent untouched.
    """
    if not 0 <= again <= 1:
        raise ValueError(f"again must lie in [0, 1], 0 for no second walk, got {again}")
    given = check_pictures(model, pictures)
    mask = check_mask(mask, given).to(given.device)
    free = latent_mask(mask, model.config.factor, margin)
    if free.flatten(1).all(1).any():
        raise ValueError("the hole reaches into every latent, so nothing around it would be known; take a smaller one")
    denoise = denoiser_for(model, condition, len(given))
    options = {"jumps": jumps, "jump_steps": jump_steps, "eta": eta, "generator": generator}

    def walk(start: Tensor, strength: float) -> Tensor:
        latent, ts = to_latent(model, start), times_from(model.schedule, steps, strength)
        if strength == 1:
            x = prior_sample(latent.shape, ts[0], model.schedule, generator=generator, device=latent.device)
        else:
            x = q_sample(latent, ts[0], normal_like(latent, generator), model.schedule)
        return to_pictures(model, last(repaint(denoise, x, latent, free, ts, model.schedule, **options)))

    known = pictures.to(given.device, torch.float32)
    filled = walk(fill_plain(known, mask) if strength == 1 else known, strength)
    if again > 0 and model.config.factor > 1:
        filled = walk(paste_known(filled, known, mask), min(again, strength))
    return paste_known(filled, known, mask) if paste else filled


@torch.no_grad()
def invert(
    model: LatentDiffusion,
    pictures: Tensor,
    condition: Condition = ANYTHING,
    *,
    strength: float = 1.0,
    steps: int = 50,
    rounds: int = 1,
) -> Tensor:
    """The noise that leads to the given pictures: `encode` on their latents, up to time strength · T.

    Source: Song et al. 2021 (arXiv 2010.02502), §4.3 and §5.4; notebook 09.

    Args:
        condition: what the pictures show, as far as it is known. Guidance is allowed, but the way back is then far
            from exact.
        rounds: as for `encode`; one round doubles the cost of the way up and takes most of its error away.
        other arguments: as for `image_to_image`.
    Returns:
        (B, *latent_shape) float32.
    """
    latent = to_latent(model, pictures)
    ts = times_from(model.schedule, steps, strength)
    return last(encode(denoiser_for(model, condition, len(latent)), latent, ts, model.schedule, rounds=rounds))


@torch.no_grad()
def edit(
    model: LatentDiffusion,
    pictures: Tensor,
    source: Condition,
    target: Condition,
    *,
    strength: float = 1.0,
    steps: int = 50,
    rounds: int = 1,
) -> Tensor:
    """Change given pictures: `invert` them under what they show, walk down under what they are to show.

    There is no noise to draw, so no generator. With one and the same unguided condition the picture comes back,
    up to the error of the steps and of the autoencoder.

    Source: Song et al. 2021 (arXiv 2010.02502), §4.3; Hertz et al. 2022 (arXiv 2208.01626), §4, real image editing;
    notebook 09.

    Args:
        source: what the pictures show; its guidance should be 1.
        target: what they are to show, with any guidance.
        other arguments: as for `invert`.
    """
    code = invert(model, pictures, source, strength=strength, steps=steps, rounds=rounds)
    ts = times_from(model.schedule, steps, strength)
    return to_pictures(model, last(ddim(denoiser_for(model, target, len(code)), code, ts, model.schedule)))


@torch.no_grad()
def interpolate(
    model: LatentDiffusion,
    first: Tensor,
    second: Tensor,
    between: Sequence[float],
    *,
    conditions: tuple[Condition, Condition] = (ANYTHING, ANYTHING),
    strength: float = 1.0,
    steps: int = 50,
    rounds: int = 1,
) -> Tensor:
    """Pictures between two: invert both, mix their codes by `slerp`, mix what the texts say, walk down.

    Source: Song et al. 2021 (arXiv 2010.02502), §5.3; notebook 09.

    Args:
        first, second: (B, C, S, S) in [-1, 1].
        between: numbers u in [0, 1]; 0 is the first picture, 1 the second.
        conditions: what each shows. Texts are mixed as vectors; classes can't be, so labels must agree. Guidance
            must agree too; it counts on the way down only.
        other arguments: as for `invert`.
    Returns:
        (len(between), B, C, S, S) float32 in [-1, 1].
    Raises:
        ValueError: as for `image_to_image`; shapes or labels or guidance that differ, or u outside [0, 1].
    """
    check_same_shape("first", first, "second", second)
    if not between or any(not 0 <= u <= 1 for u in between):
        raise ValueError(f"between must be numbers in [0, 1], at least one, got {list(between)}")
    a, b = conditions
    if a.guidance != b.guidance:
        raise ValueError(f"the two conditions must have one guidance, got {a.guidance} and {b.guidance}")
    codes = [
        invert(model, pictures, replace(condition, guidance=1.0), strength=strength, steps=steps, rounds=rounds)
        for pictures, condition in zip((first, second), conditions, strict=True)
    ]
    ts = times_from(model.schedule, steps, strength)
    (cond_a, uncond_a), (cond_b, uncond_b) = (conditions_for(model, c, len(first)) for c in conditions)
    found = []
    for u in between:
        cond, uncond = _between(cond_a, cond_b, u), _between(uncond_a, uncond_b, u)
        denoise = model.denoiser(cond, uncond, guidance=a.guidance)
        found.append(to_pictures(model, last(ddim(denoise, slerp(*codes, u), ts, model.schedule))))
    return torch.stack(found)


def _redraw(model, latent, condition, strength, steps, eta, generator):
    """Noise latents to strength · T and walk down."""
    ts = times_from(model.schedule, steps, strength)
    x = q_sample(latent, ts[0], normal_like(latent, generator), model.schedule)
    walk = ddim(denoiser_for(model, condition, len(x)), x, ts, model.schedule, eta=eta, generator=generator)
    return to_pictures(model, last(walk))


def _between(a, b, u):
    """Between two conditions: vectors are mixed, labels must agree."""
    if (a is None and b is None) or (a is not None and b is not None and torch.equal(a, b)):
        return a
    if a is None or b is None or not a.is_floating_point():
        raise ValueError("classes can't be mixed: give both pictures the same labels, or none")
    return torch.lerp(a, b, u)
