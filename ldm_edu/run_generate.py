"""What the command generate does: a checkpoint, a prompt or a label, pictures into files."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import torch

from ldm_edu.fit import seeded
from ldm_edu.latent import LatentDiffusion, SamplerName
from ldm_edu.nets.text import TextConfig, unread
from ldm_edu.plot import grid, save_png
from ldm_edu.pretrained import find_model
from ldm_edu.profile import pick_device
from ldm_edu.progress import sampler_bar


def run_generate(
    prompt: str,
    checkpoint: str | Path,
    out: Path,
    *,
    count: int,
    label: str | None,
    negative: str,
    steps: int,
    sampler: SamplerName,
    eta: float,
    guidance: float,
    interval: tuple[int, ...] | None,
    seed: int,
    batch: int,
    scale: int,
    device: str,
) -> None:
    """Draw pictures and write them as one grid (.png) or as single files (a folder).

    Raises:
        ValueError: a number out of its range, another ending than .png, or a condition that the model does not take.
    """
    if count < 1 or scale < 1 or batch < 1:
        raise ValueError(f"--count, --scale and --batch must be 1 or more, got {count}, {scale} and {batch}")
    if not math.isfinite(guidance):
        raise ValueError(f"--guidance must be a number, got {guidance}")
    one_file = bool(out.suffix) and not out.is_dir()
    if one_file and out.suffix.lower() != ".png":
        raise ValueError(f"--out {out}: pictures are written as .png, or as single files into a folder")
    if interval is not None and len(interval) != 2:
        raise ValueError(f"--interval takes two times, LOW,HIGH, got {','.join(map(str, interval))}")
    if prompt and os.path.isdir(prompt):  # of a long prompt Path's own raises an error
        raise ValueError(f"{prompt} is a folder, not a prompt; draw with its checkpoint by --model {prompt}")
    model = LatentDiffusion.load(find_model(checkpoint), pick_device(device))
    labels = pick_labels(label, count, model.config.classes)
    prompts = pick_prompts(prompt, negative, count, model.config.text)
    step = sampler_bar(steps * -(-count // batch))
    pictures = model.generate(
        count,
        labels=labels,
        prompts=prompts,
        negative=negative,
        steps=steps,
        sampler=sampler,
        eta=eta,
        guidance=guidance if labels is not None or prompts is not None else 1.0,
        interval=interval,
        generator=seeded(seed, "generate"),
        batch=batch,
        after_step=lambda x, s: (step(), x)[1],
    )
    if one_file:
        columns = min(count, len(model.config.classes) if 1 < len(model.config.classes) <= 12 and label is None else 8)
        save_png(grid(pictures, columns, scale), out)
    else:
        for i, picture in enumerate(pictures):
            name = "" if labels is None else "-" + model.config.classes[labels[i]].replace(" ", "-").replace("/", "-")
            save_png(grid(picture[None], 1, scale, padding=0), out / f"{i:04d}{name}.png")
    print(f"{count} picture{'s' if count > 1 else ''} written to {out}")


def pick_labels(label: str | None, count: int, classes: tuple[str, ...]) -> torch.Tensor | None:
    """Labels (count,) int64: the class asked for, by name or number, or all in turn; None for a model without classes.

    Raises:
        ValueError: a label that the model does not have.
    """
    if label is None:
        return torch.arange(count) % len(classes) if classes else None
    if not classes:
        raise ValueError(f"--label {label}: this checkpoint has no classes")
    if label in classes:
        return torch.full((count,), classes.index(label))
    if label.isdecimal() and int(label) < len(classes):
        return torch.full((count,), int(label))
    raise ValueError(f"--label {label}: not a class of this checkpoint; it has {', '.join(classes)}")


def pick_prompts(prompt: str, negative: str, count: int, text: TextConfig | None) -> list[str] | None:
    """The prompt for each picture, or None without one; says on standard error what the model cannot read.

    Raises:
        ValueError: a prompt for a model without text, or a negative prompt alone.
    """
    if text is None:
        if prompt or negative:
            raise ValueError(f"{prompt or negative!r}: this checkpoint takes no text; leave the prompt out")
        return None
    if negative and not prompt:
        raise ValueError("--negative leads away from something on the way to a prompt; give a prompt too")
    for said in (prompt, negative):
        unknown, cut = unread(said, text)
        if unknown:
            known = " ".join(text.words[:40]) + (" …" if len(text.words) > 40 else "")
            print(f"Words that this model does not know: {' '.join(unknown)}. It knows: {known}", file=sys.stderr)
        if cut:
            print(f"Only {text.length} words are read; left out: {' '.join(cut)}", file=sys.stderr)
    return [prompt] * count if prompt else None
