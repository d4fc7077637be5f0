"""What the commands upscale and denoise do: a picture file of any size through a model of one size, tile by tile."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ldm_edu.edit_inputs import Condition, denoiser_for
from ldm_edu.fit import seeded
from ldm_edu.latent import LatentDiffusion
from ldm_edu.measurement import Measure, downsample
from ldm_edu.picture_command import asked_for, finish, load_model, said_of_colour
from ldm_edu.picture_file import GREY, MOST_PIXELS, as_channels, place_for, read_picture, with_content
from ldm_edu.restoration import posterior_mean, restore
from ldm_edu.tiles import joined, tile_corners, window

SMALL_PICTURE_NOISE = 0.02  # of a picture to enlarge, in [-1, 1]: rounding to bytes, and the autoencoder's error
AT_ONCE = 16  # tiles in a batch


def run_upscale(
    picture: Path,
    checkpoint: str | Path,
    out: Path | None,
    *,
    factor: int,
    prompt: str,
    label: str | None,
    guidance: float,
    steps: int,
    draws: int,
    seed: int,
    device: str,
    force: bool,
) -> None:
    """Draw a picture whose mean over each factor × factor block is the given picture's pixel.

    Raises:
        ValueError: a factor that the model or the size does not allow, draws below 1, or files as for `run_edit`.
    """
    if factor not in (2, 4):
        raise ValueError(f"--factor must be 2 or 4, got {factor}")
    check_draws(draws)
    place = place_for(picture, out, "upscaled", force=force)
    given = read_picture(picture)
    height, width = (factor * n for n in given.size)
    if height * width > MOST_PIXELS:
        raise ValueError(f"--factor {factor}: {width}×{height} is too large; at most {MOST_PIXELS:,} pixels are drawn")
    model = load_model(checkpoint, device)
    condition = asked_for(model, prompt, label, "", guidance)
    channels, side = min(given.channels, model.config.channels), model.config.size
    if side % factor:
        raise ValueError(f"--factor {factor}: this model draws {side}×{side}, which is no multiple of it")
    said = [*given.notes, *said_of_colour(given, model, "the result")]

    def smaller(pictures: Tensor) -> Tensor:
        return downsample(as_channels(pictures, channels), factor)

    new = by_tiles(
        model, as_channels(given.floats(), channels), smaller, SMALL_PICTURE_NOISE, condition,
        factor=factor, steps=steps, draws=draws, generator=seeded(seed, "upscale"),
    )  # fmt: skip
    opacity = given.opacity()
    if opacity is not None:
        opacity = F.interpolate(opacity, (height, width), mode="bicubic", align_corners=False).clamp(0, 1)
    finish(with_content(given, as_channels(new, channels), opacity), place, *said)


def run_denoise(
    picture: Path,
    checkpoint: str | Path,
    out: Path | None,
    *,
    sigma: float,
    prompt: str,
    label: str | None,
    guidance: float,
    steps: int,
    draws: int | None,
    seed: int,
    device: str,
    force: bool,
) -> None:
    """Take Gaussian noise of a known deviation (of values 0 to 255) off a picture.

    A model of pixels gives the posterior mean in one call, unless draws are asked for. To a latent model noise on
    pixels is a measurement of what it decodes, so it draws.

    Raises:
        ValueError: a sigma that is not positive, draws below 1, or files as for `run_edit`.
    """
    if not 0 < sigma < math.inf:
        raise ValueError(f"--sigma must be a positive number, the noise's deviation in values of 0 to 255, got {sigma}")
    check_draws(1 if draws is None else draws)
    place = place_for(picture, out, "denoised", force=force)
    given = read_picture(picture)
    model = load_model(checkpoint, device)
    condition = asked_for(model, prompt, label, "", guidance)
    channels = min(given.channels, model.config.channels)
    level = sigma / 127.5
    if channels < given.channels:  # independent noise of three colours shrinks in their weighted sum
        level *= math.hypot(*GREY)
    said = [*given.notes, *said_of_colour(given, model, "the result")]

    noisy = as_channels(given.floats(), channels)
    in_one_call = draws is None and model.autoencoder is None and channels == model.config.channels
    new = by_tiles(
        model, noisy, lambda pictures: as_channels(pictures, channels), level, condition,
        factor=1, steps=steps, draws=0 if in_one_call else draws or 1, generator=seeded(seed, "denoise"),
    )  # fmt: skip
    finish(with_content(given, as_channels(new, channels), given.opacity()), place, *said)


def check_draws(draws: int) -> None:
    """Refuse to average nothing.

    Raises:
        ValueError: draws below 1.
    """
    if draws < 1:
        raise ValueError(f"--draws must be 1 or more, got {draws}")


def by_tiles(
    model: LatentDiffusion,
    y: Tensor,
    measure: Measure,
    level: float,
    condition: Condition,
    *,
    factor: int,
    steps: int,
    draws: int,
    generator: torch.Generator,
) -> Tensor:
    """Restore y (1, c, H, W) in tiles of the model's size that overlap by a quarter: (1, C, factor H, factor W).

    Args:
        measure: from pictures of the model's size to tiles of y.
        level: deviation of y's noise, in [-1, 1].
        draws: how many answers to average; 0 for the posterior mean in one call, of a model of pixels.
    """
    side = model.config.size // factor
    overlap = side // 4
    size = tuple(y.shape[2:])
    corners = tile_corners(size, side, overlap)
    tiles = torch.cat([window(y, top, left, side, side) for top, left in corners])
    done = []
    for part in tqdm(tiles.split(AT_ONCE), unit="batch", desc="restoring", delay=0.5, disable=None, leave=False):
        cond = for_each(condition, len(part))
        if draws == 0:
            denoise = denoiser_for(model, cond, len(part))
            with torch.no_grad():
                done.append(posterior_mean(denoise, part.to(model.latent_mean), level, model.schedule))
            continue
        answers = [
            restore(
                model, part, measure, cond,
                noise_level=level, steps=steps, generator=generator, batch=AT_ONCE,
            )
            for _ in range(draws)
        ]  # fmt: skip
        done.append(torch.stack(answers).mean(0))
    corners = [(factor * top, factor * left) for top, left in corners]
    return joined(torch.cat(done).float().cpu(), corners, tuple(factor * n for n in size), factor * overlap)


def for_each(condition: Condition, count: int) -> Condition:
    """The condition of one picture, for `count` tiles of it."""
    labels = None if condition.labels is None else condition.labels.expand(count)
    prompts = None if condition.prompts is None else list(condition.prompts) * count
    return Condition(labels, prompts, condition.negative, condition.guidance)
