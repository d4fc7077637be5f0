"""What the commands edit, inpaint, upscale and denoise share: the model at a size, its condition, what is said."""

from __future__ import annotations

import copy
import math
import sys
from dataclasses import replace
from pathlib import Path

from ldm_edu.edit_inputs import ANYTHING, Condition
from ldm_edu.latent import LatentDiffusion
from ldm_edu.picture_file import Picture, write_picture
from ldm_edu.pretrained import find_model
from ldm_edu.profile import pick_device
from ldm_edu.run_generate import pick_labels, pick_prompts

WIDEST = 8  # times the size that a model was trained at: beyond, attention over the whole picture takes hours


def load_model(checkpoint: str | Path, device: str) -> LatentDiffusion:
    """A checkpoint folder's model, or a shipped one's, on a device by name."""
    return LatentDiffusion.load(find_model(checkpoint), pick_device(device))


def asked_for(model: LatentDiffusion, prompt: str, label: str | None, negative: str, guidance: float) -> Condition:
    """The condition for one picture; guidance counts only where there is something to lead to.

    Raises:
        ValueError: what this model does not take.
    """
    if not math.isfinite(guidance):
        raise ValueError(f"--guidance must be a number, got {guidance}")
    labels = None if label is None else pick_labels(label, 1, model.config.classes)
    prompts = pick_prompts(prompt, negative, 1, model.config.text)
    if labels is None and prompts is None:
        return ANYTHING
    return Condition(labels, prompts, negative, guidance)


def said_of_source(model: LatentDiffusion, source: str) -> Condition:
    """The condition that says what a picture shows: a text, or the name of a class; unguided."""
    if not source:
        return ANYTHING
    if model.config.classes:
        return Condition(labels=pick_labels(source, 1, model.config.classes))
    return Condition(prompts=pick_prompts(source, "", 1, model.config.text))


def at_size(model: LatentDiffusion, size: int) -> LatentDiffusion:
    """The same weights for pictures of another size.

    Raises:
        ValueError: a size that the networks can't halve as often as they do, or one far beyond the trained one.
    """
    trained, divisor = model.config.size, model.config.factor * model.config.unet.factor
    if size % divisor or not 0 < size <= WIDEST * trained:
        raise ValueError(f"--size must be a multiple of {divisor} up to {WIDEST * trained} for this model, got {size}")
    other = copy.copy(model)  # of the module alone: the weights stay shared
    other.config = replace(model.config, size=size)
    return other


def said_of_size(seen: int, side: int, trained: int) -> list[str]:
    """A sentence where the model is shown a square at another size than it has, or than the model was trained at.

    Args:
        seen: length of the square in the picture's own pixels.
        side: length at which the model is shown it.
        trained: length of what the model was trained on.
    """
    if seen == side == trained:
        return []
    shown = f"a square of {seen}×{seen} pixels" + ("" if seen == side else f" at {side}×{side}")
    trained_at = ", the size it was trained at" if side == trained else f"; it was trained at {trained}×{trained}"
    lost = " What it draws is enlarged again and lacks fine detail; see --size." if seen > side else ""
    return [f"The model is shown {shown}{trained_at}.{lost}"]


def said_of_colour(picture: Picture, model: LatentDiffusion, what: str) -> list[str]:
    """A sentence where one is grey and the other is not; `what` the model draws is then grey."""
    if picture.channels == model.config.channels:
        return []
    who = "model" if model.config.channels == 1 else "picture"
    return [f"The {who} is grey: so is {what}."]


def finish(picture: Picture, place: Path, *sentences: str) -> None:
    """Write the result; say where, and on standard error what else the user should know of it."""
    write_picture(picture, place)
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    height, width = picture.size
    print(f"{width}×{height} pixels written to {place}")
