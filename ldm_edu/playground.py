"""The playground without its widgets: one setting, drawn step by step, and the pictures that show it.

The widgets over it are in ldm_edu.widgets, the page in ldm_edu.run_play; both are shown in notebook 00.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from textwrap import shorten
from typing import NamedTuple

import torch
from torch import Tensor

from ldm_edu.attention_maps import watch, word_maps
from ldm_edu.data.pictures import to_bytes
from ldm_edu.fit import seeded
from ldm_edu.latent import LatentDiffusion, SamplerName
from ldm_edu.model_config import ModelConfig
from ldm_edu.nets.text import split_words, unread
from ldm_edu.samplers import ddim, dpmpp_2m, heun, prior_sample
from ldm_edu.schedule import timesteps

SAMPLERS = {"ddim": ddim, "ddpm": partial(ddim, eta=1.0), "heun": heun, "dpmpp_2m": dpmpp_2m}


@dataclass(frozen=True)
class Setting:
    """What one picture is drawn with; the options are those of `LatentDiffusion.generate`.

    Args:
        prompt, negative: for a model with text; an empty prompt asks for any picture.
        label: the class's number, for a model with classes; None asks for any picture.
        seed: of the noise; with it, and a prompt or a label, `ldm-edu generate --count 1` draws this picture.
        steps, sampler, guidance: as there; without a prompt or class, guidance does not count.
    """

    prompt: str = ""
    negative: str = ""
    label: int | None = None
    seed: int = 0
    steps: int = 25
    sampler: SamplerName = "ddim"
    guidance: float = 2.0


class Step(NamedTuple):
    """One step of a drawing: where it started, t, and x̂_0 there as a picture (C, H, W) in [-1, 1]."""

    t: int
    x0_hat: Tensor


class Drawing(NamedTuple):
    """A picture's steps, the last of which is the picture, and what the words looked at: (word, (h, w)) pairs."""

    steps: tuple[Step, ...]
    words: tuple[tuple[str, Tensor], ...]


def remarks(setting: Setting, config: ModelConfig) -> list[str]:
    """What of a setting the model cannot read or does not use, a sentence each; an empty list where all counts."""
    if config.text is None:
        return []
    said = []
    for text in (setting.prompt, setting.negative):
        unknown, cut = unread(text, config.text)
        if unknown:
            said.append(f"Words that this model does not know: {_listed(dict.fromkeys(unknown))}.")
        if cut:
            said.append(f"Only {config.text.length} words are read; left out: {_listed(cut)}.")
    if setting.negative and setting.guidance == 1:
        said.append("The negative prompt counts only where guidance is not 1.")
    if setting.prompt and setting.guidance == 0:
        said.append("With guidance 0 the prompt is not read.")
    return said


@torch.no_grad()
def draw(model: LatentDiffusion, setting: Setting, look: Callable[[Step], object] | None = None) -> Drawing:
    """Draw one picture and keep every x̂_0 on the way, decoded, and the attention of each word.

    Args:
        model: any of ours; the maps are there where it takes text and the prompt is read.
        setting: what to draw.
        look: called with each step as it is done.
    Raises:
        ValueError: an option out of range, a condition that the model does not take, or a negative prompt alone.
    """
    if setting.negative and not setting.prompt:
        raise ValueError("the negative prompt leads away from something on the way to a prompt; give a prompt too")
    if setting.sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {setting.sampler!r}")
    labels = None if setting.label is None else torch.tensor([setting.label])
    prompts = [setting.prompt] if setting.prompt else None
    guidance = setting.guidance if labels is not None or prompts is not None else 1.0
    cond, uncond = model.conditions(1, labels, prompts, setting.negative)
    denoise = model.denoiser(cond, uncond, guidance=guidance)
    ts = timesteps(model.schedule, setting.steps)
    device = model.latent_mean.device
    generator = seeded(setting.seed, "generate")
    x = prior_sample((1, *model.config.latent_shape), ts[0], model.schedule, generator=generator, device=device)
    guesses: dict[int, Tensor] = {}

    def watched(x_t: Tensor, t: int):
        prediction = denoise(x_t, t)
        guesses[t] = prediction.x0
        return prediction

    reads = prompts is not None and guidance != 0
    done = []
    with watch(model.unet) if reads else nullcontext([]) as seen:
        walk = SAMPLERS[setting.sampler](watched, x, ts, model.schedule, generator=generator)
        for t, _ in zip(ts, walk, strict=False):  # t: where the step began; the list ends with 0, where none does
            x0_hat = model.decode(guesses[t]).float().clamp(-1, 1)
            done.append(Step(t, x0_hat[0].cpu()))
            if look is not None:
                look(done[-1])
    return Drawing(tuple(done), _words(setting.prompt, word_maps(seen)[0].cpu(), model) if reads else ())


def _words(prompt: str, maps: Tensor, model: LatentDiffusion) -> tuple[tuple[str, Tensor], ...]:
    """Each word with its map, and last the places without a word together."""
    words = split_words(prompt)[: model.config.text.length]
    rest = (("no word", maps[len(words) :].sum(0)),) if len(words) < len(maps) else ()
    return (*zip(words, maps[: len(words)], strict=True), *rest)


def enlarged(picture: Tensor, side: int = 256) -> Tensor:
    """A picture (C, H, W) in [-1, 1] as (3, S, S) uint8, each pixel a whole number of pixels wide: S is near side."""
    scale = max(1, round(side / picture.shape[1]))
    pixels = to_bytes(picture).repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    return pixels.expand(3, -1, -1)


def heat(picture: Tensor, word_map: Tensor, side: int = 96) -> Tensor:
    """A word's map (h, w) over the picture made grey: dark at 0, bright at the map's own maximum; (3, S, S) uint8."""
    from matplotlib import colormaps

    grey = enlarged(picture.mean(0, keepdim=True), side)[0].float() / 255
    size = (*grey.shape,)
    smooth = torch.nn.functional.interpolate(word_map[None, None].float(), size=size, mode="bilinear")[0, 0]
    hot = torch.as_tensor(colormaps["inferno"]((smooth / smooth.max().clamp(min=1e-12)).numpy())[..., :3])
    return (255 * (0.35 * grey[..., None] + 0.65 * hot)).round().clamp(0, 255).to(torch.uint8).permute(2, 0, 1)


def _listed(words: Iterable[str]) -> str:
    return shorten(" ".join(words), 200, placeholder=" …")


def png(pixels: Tensor) -> bytes:
    """(3, H, W) uint8 as the bytes of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(buffer, format="png")
    return buffer.getvalue()


def tiles(pictures: list[tuple[str, str, Tensor]], heading: str = "") -> str:
    """HTML of pictures in a row that wraps, each over its caption and with its alternative text.

    Args:
        pictures: (caption, alternative text, (3, H, W) uint8); the texts may be anything, they are escaped.
        heading: a line above them, if there are any.
    """
    cells = []
    for caption, alt, pixels in pictures:
        source = "data:image/png;base64," + base64.b64encode(png(pixels)).decode()
        height, width = pixels.shape[1:]
        cells.append(
            f'<figure style="width: {max(width, 68)}px">'
            f'<img src="{source}" width="{width}" height="{height}" alt="{html.escape(alt)}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )
    above = f'<div class="ldm-heading">{html.escape(heading)}</div>' if heading and cells else ""
    return f'{above}<div class="ldm-tiles">{"".join(cells)}</div>'


def strip(steps: Sequence[Step], total: int, count: int = 12, side: int = 64) -> str:
    """HTML of x̂_0 at `count` steps evenly spread over `total`, as far as they are done."""
    chosen = sorted({round(i * (total - 1) / (count - 1)) for i in range(count)})
    shown = [steps[i] for i in chosen if i < len(steps)]
    return tiles([(f"t = {t}", f"x̂_0 at t = {t}", enlarged(x0_hat, side)) for t, x0_hat in shown], "On the way: x̂_0")


def attention(drawing: Drawing, side: int = 80) -> str:
    """HTML of each word's map over the final picture, and the largest weight that a pixel gives it; empty without."""
    if not drawing.words:
        return ""
    picture = drawing.steps[-1].x0_hat
    shown = [(f"{word}\n{m.max():.2f}", f"attention of {word}", heat(picture, m, side)) for word, m in drawing.words]
    return tiles(shown, "Attention of each word, and its largest weight")
