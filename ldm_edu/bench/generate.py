"""Drawing a prompt: the command, start-up included, and the drawing alone, beside diffusers. Used in notebook 16."""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldm_edu.bench import theirs
from ldm_edu.bench.pairs import Work, ratio_of
from ldm_edu.bench.rows import Row
from ldm_edu.bench.setting import Setting, size_of
from ldm_edu.latent import LatentDiffusion
from ldm_edu.nets.autoencoder import AutoencoderConfig
from ldm_edu.nets.unet import UNetConfig
from ldm_edu.pretrained import find_model

MODEL = "shapes-64"
PROMPT = "a red circle above a blue square"
COUNT, STEPS, GUIDANCE = 4, 25, 3.0


def generate(setting: Setting) -> Iterator[Row]:
    """Four pictures of a prompt with guidance: new processes, then the drawing alone in one process."""
    folder = find_model(MODEL)
    model = LatentDiffusion.load(folder, setting.device)
    if model.text is None or model.autoencoder is None:
        raise ValueError(f"{MODEL}: this comparison needs a latent model that takes text")
    unet, autoencoder = twins(model)
    stems, side = (model.config.unet.stem, model.config.autoencoder.stem), model.config.latent_shape[1]
    sizes = (size_of(model.unet) + size_of(model.autoencoder), size_of(unet) + size_of(autoencoder))
    what = f"{COUNT} pictures of {MODEL}, DDIM with {STEPS} steps, guidance {GUIDANCE:g}"
    with tempfile.TemporaryDirectory() as place:
        unet.save_pretrained(f"{place}/unet")
        autoencoder.save_pretrained(f"{place}/autoencoder")
        out = f"{place}/pictures.png"
        asked = ["generate", PROMPT, "--model", str(folder), "--count", str(COUNT), "--steps", str(STEPS)]
        asked += ["--guidance", str(GUIDANCE), "--device", setting.device, "--out", out]
        peer = [place, setting.device, *map(str, stems), str(side), out]
        commands = (
            [sys.executable, "-m", "ldm_edu", *asked],
            [sys.executable, "-m", "ldm_edu.bench.generate_theirs", *peer],
        )
        costs: tuple[list[float], list[float]] = ([], [])
        waits: tuple[list[float], list[float]] = ([], [])
        least = 6 if setting.seconds >= 1 else 1  # the first pair reads the disk and does not count
        while len(costs[0]) < least + 1 or sum(map(sum, costs)) < setting.seconds:
            for which in (0, 1):
                cost, wait = run(commands[which])
                costs[which].append(cost if setting.device == "cpu" else wait)
                waits[which].append(wait)
    waited = [statistics.median(w[1:]) for w in waits]
    yield Row(
        "generate",
        "a prompt drawn by a new process, import and loading included",
        f"ours, `ldm-edu generate`, {what}; from start to end {waited[0]:.1f} s",
        f"diffusers' classes of the same structure, without a text encoder; from start to end {waited[1]:.1f} s",
        ratio_of(costs[0][1:], costs[1][1:]),
        sizes,
    )
    generator = torch.Generator(setting.device).manual_seed(0)
    yield Row(
        "generate",
        "the drawing alone",
        f"ours, `generate`, {what}",
        "diffusers' classes of the same structure, without a text encoder",
        setting.compare(
            lambda: model.generate(
                COUNT, prompts=[PROMPT] * COUNT, steps=STEPS, guidance=GUIDANCE, generator=generator
            ),
            drawing(unet.to(setting.device), autoencoder.to(setting.device), *stems, side),
        ),
        sizes,
    )


def twins(model: LatentDiffusion) -> tuple[nn.Module, nn.Module]:
    """diffusers' U-Net and autoencoder of a model's structure; what a stem folds, they take as channels.

    Raises:
        RuntimeError: they have not as many parameters.
    """
    unet = theirs.same_structure(folded(model.config.unet))
    autoencoder = same_autoencoder(folded(model.config.autoencoder))
    for ours, other in ((model.unet, unet), (model.autoencoder, autoencoder)):
        if size_of(ours) != size_of(other):
            raise RuntimeError(f"{size_of(ours)} parameters of ours, {size_of(other)} of theirs: not one structure")
    return unet.eval(), autoencoder.eval()


def folded(config: UNetConfig | AutoencoderConfig) -> UNetConfig | AutoencoderConfig:
    """The network behind a stem: the same without one, on stem² times the channels."""
    channels = config.in_channels * config.stem**2
    outside = {"out_channels": channels} if isinstance(config, UNetConfig) else {}
    return dataclasses.replace(config, stem=1, in_channels=channels, **outside)


def same_autoencoder(config: AutoencoderConfig) -> nn.Module:
    """diffusers' `AutoencoderKL` with the structure that a configuration of ours describes."""
    from diffusers import AutoencoderKL

    levels = len(config.multipliers)
    return AutoencoderKL(
        in_channels=config.in_channels,
        out_channels=config.in_channels,
        latent_channels=config.latent_channels,
        block_out_channels=tuple(config.width * m for m in config.multipliers),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=config.blocks,
        norm_num_groups=config.groups,
        mid_block_add_attention=config.middle_attention,
    )


def drawing(unet: nn.Module, autoencoder: nn.Module, unet_stem: int, autoencoder_stem: int, side: int) -> Work:
    """Drawing with diffusers' classes as its pipelines do: both halves of guidance in one batch, DDIM, decode."""
    from diffusers import DDIMScheduler

    device = next(unet.parameters()).device
    scheduler = DDIMScheduler()
    context = torch.randn(2 * COUNT, 20, unet.config.cross_attention_dim[0], device=device)

    @torch.no_grad()
    def draw() -> Tensor:
        scheduler.set_timesteps(STEPS)
        x = torch.randn(COUNT, unet.config.in_channels // unet_stem**2, side, side, device=device)
        for t in scheduler.timesteps:
            twice = F.pixel_unshuffle(torch.cat([x, x]), unet_stem)
            without, with_text = F.pixel_shuffle(unet(twice, t, context).sample, unet_stem).chunk(2)
            x = scheduler.step(without + GUIDANCE * (with_text - without), t, x).prev_sample
        return F.pixel_shuffle(autoencoder.decode(x).sample, autoencoder_stem).clamp(-1, 1)

    return draw


def run(command: list[str]) -> tuple[float, float]:
    """CPU seconds and seconds of the clock that a new process takes."""
    import resource

    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    env = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, time.perf_counter() - began
