"""What the commands edit and inpaint do: a picture file and a checkpoint, the changed picture into a new file.

The model works on a square at one size, which is the size it was trained at unless another is asked for.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ldm_edu.editing import edit, image_to_image, inpaint
from ldm_edu.fit import seeded
from ldm_edu.inpainting import fill_plain, latent_mask
from ldm_edu.picture_command import (
    asked_for,
    at_size,
    finish,
    load_model,
    said_of_colour,
    said_of_size,
    said_of_source,
)
from ldm_edu.picture_file import (
    Picture,
    as_channels,
    place_for,
    read_mask,
    read_picture,
    with_content,
    with_hole_filled,
)
from ldm_edu.tiles import resized, window


def run_edit(
    picture: Path,
    checkpoint: str | Path,
    out: Path | None,
    *,
    prompt: str,
    label: str | None,
    negative: str,
    invert: bool,
    source: str,
    strength: float,
    steps: int,
    eta: float,
    guidance: float,
    size: int | None,
    seed: int,
    device: str,
    force: bool,
) -> None:
    """Noise a picture and denoise it towards a condition; or invert it by DDIM and walk down under another one.

    Raises:
        ValueError: options that contradict each other, a file that cannot be taken, or a place that is taken.
    """
    if source and not invert:
        raise ValueError(f"--source {source!r} says what the picture shows, which only --invert uses; add --invert")
    if invert and eta:
        raise ValueError(f"--eta {eta} adds fresh noise, which --invert does not allow; leave one of them out")
    place = place_for(picture, out, "edited", force=force)
    given = read_picture(picture)
    model = load_model(checkpoint, device)
    condition = asked_for(model, prompt, label, negative, guidance)
    shown = said_of_source(model, source)
    height, width = given.size
    trained, side = model.config.size, model.config.size if size is None else size
    model = at_size(model, side)
    said = [*given.notes, *said_of_size(max(height, width), side, trained)]
    if given.channels > model.config.channels:
        said += said_of_colour(given, model, "the result")

    scale = side / max(height, width)
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (side - h) // 2, (side - w) // 2
    small = resized(as_channels(given.floats(), model.config.channels), h, w)
    square = window(small, -top, -left, side, side)
    if invert:
        new = edit(model, square, shown, condition, strength=strength, steps=steps)
    else:
        generator = seeded(seed, "edit")
        new = image_to_image(model, square, condition, strength=strength, steps=steps, eta=eta, generator=generator)
    new = resized(new[:, :, top : top + h, left : left + w].cpu(), height, width)
    finish(with_content(given, new, given.opacity()), place, *said)


def run_inpaint(
    picture: Path,
    checkpoint: str | Path,
    out: Path | None,
    *,
    mask: Path | None,
    box: tuple[int, ...] | None,
    prompt: str,
    label: str | None,
    negative: str,
    strength: float,
    steps: int,
    jumps: int,
    again: float,
    eta: float,
    guidance: float,
    size: int | None,
    seed: int,
    device: str,
    force: bool,
) -> None:
    """Fill a hole: the model sees a square window around it; all pixels outside the hole stay the very same.

    Raises:
        ValueError: not one of mask and box, a hole that is empty or leaves nothing known, or files as for `run_edit`.
    """
    if (mask is None) == (box is None):
        raise ValueError("say what to fill by either --mask FILE, white where to fill, or --box X0,Y0,X1,Y1")
    place = place_for(picture, out, "inpainted", force=force, others=() if mask is None else (mask,))
    given = read_picture(picture)
    hole = box_hole(box, given) if mask is None else read_mask(mask, given)
    if not hole.any() or hole.all():
        what = "all of the picture; use edit for that" if hole.any() else "nothing"
        raise ValueError(f"{'--box' if mask is None else mask} marks {what}")
    model = load_model(checkpoint, device)
    condition = asked_for(model, prompt, label, negative, guidance)
    trained, side = model.config.size, model.config.size if size is None else size
    model = at_size(model, side)
    top, left, seen = window_around(hole, side)
    said = [*given.notes, *said_of_size(seen, side, trained), *said_of_colour(given, model, "what fills the hole")]

    known, free = as_channels(given.floats(), model.config.channels), torch.from_numpy(hole)[None, None]
    if strength == 1:
        known = fill_plain(known, free)  # before it shrinks, so that nothing of the hole's content reaches its border
    square = resized(window(known, top, left, seen, seen), side, side)
    free = window(free, top, left, seen, seen).float()
    free = F.adaptive_max_pool2d(free, side) if seen > side else F.interpolate(free, (side, side))
    if latent_mask(free > 0, model.config.factor).all():
        raise ValueError(f"next to nothing is known around the hole at {side}×{side}; use edit, or a larger --size")
    new = inpaint(
        model, square, free, condition,
        strength=strength, steps=steps, jumps=jumps, again=again, eta=eta, generator=seeded(seed, "inpaint"),
    )  # fmt: skip
    new = laid_back(resized(new.cpu(), seen, seen), top, left, given.size)
    finish(with_hole_filled(given, new, hole), place, *said)


def window_around(hole: np.ndarray, side: int) -> tuple[int, int, int]:
    """(top, left, length) of the square around a hole: twice the hole's length, `side` or more, inside if it can be."""
    spans = [np.flatnonzero(hole.any(axis)) for axis in (1, 0)]
    length = max(int(s[-1] - s[0]) + 1 for s in spans)
    length = min(max(side, 2 * length), max(hole.shape))

    def start(span: np.ndarray, whole: int) -> int:
        if whole <= length:
            return -((length - whole) // 2)
        return min(max((int(span[0] + span[-1]) + 1 - length) // 2, 0), whole - length)

    return start(spans[0], hole.shape[0]), start(spans[1], hole.shape[1]), length


def laid_back(square: Tensor, top: int, left: int, size: tuple[int, int]) -> Tensor:
    """A window at its place in an otherwise empty picture (1, C, height, width)."""
    plane = square.new_zeros(1, square.shape[1], *size)
    y, x = max(0, top), max(0, left)
    inside = square[:, :, y - top :, x - left :][:, :, : size[0] - y, : size[1] - x]
    plane[:, :, y : y + inside.shape[2], x : x + inside.shape[3]] = inside
    return plane


def box_hole(box: tuple[int, ...], picture: Picture) -> np.ndarray:
    """A box of pixels, x0, y0, x1, y1 with x1 and y1 outside it, as a hole (H, W) of a picture.

    Raises:
        ValueError: a box that is empty or reaches beyond the picture.
    """
    height, width = picture.size
    if len(box) != 4 or not (0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height):
        raise ValueError(
            f"--box takes X0,Y0,X1,Y1 with X0 < X1 ≤ {width} and Y0 < Y1 ≤ {height} in this picture, "
            f"got {','.join(map(str, box))}"
        )
    x0, y0, x1, y1 = box
    hole = np.zeros((height, width), bool)
    hole[y0:y1, x0:x1] = True
    return hole
