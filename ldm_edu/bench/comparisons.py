"""The comparisons: each yields rows, A being ours and B diffusers' or another of ours. Used in notebook 16."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

from torch import nn

from ldm_edu.bench import ours, theirs
from ldm_edu.bench.choices import options
from ldm_edu.bench.generate import generate
from ldm_edu.bench.ours import Choices
from ldm_edu.bench.pairs import Ratio, Work, ratio_of
from ldm_edu.bench.rows import Row
from ldm_edu.bench.setting import TYPES, Setting, Sizes, describe_batch, size_of
from ldm_edu.config import Precision
from ldm_edu.nets.unet import UNet, UNetConfig
from ldm_edu.profile import pick_precision
from ldm_edu.stable_diffusion import unet_from_diffusers


def structure(setting: Setting) -> Iterator[Row]:
    """A training step on the same network with the same weights: only how it is computed differs.

    First each side as it comes: ours in `train`'s default precision, diffusers' as its example scripts run, in float32.
    Then both in the same precision, which tells what the rest gives.
    """
    usual = pick_precision("auto", setting.device)
    for name, config, count, side in _both(setting.sizes):
        for mine, other in dict.fromkeys(((usual, "no"), ("no", "no"), (usual, usual))):
            net, peer = twins(config, side, setting.device)
            step = theirs.training_step(peer, count, side, setting.device, other)
            yield Row(
                "structure",
                f"training step, same network, {name}, "
                + ("each as it comes" if (mine, other) == (usual, "no") else f"both in {TYPES[mine]}"),
                f"ours, as `fit` trains, {describe_batch(config, count, side)}, {TYPES[mine]}",
                f"diffusers' UNet2DConditionModel with the same weights, trained as its examples do, {TYPES[other]}",
                _fit(setting, net, count, side, step, mine),
                (size_of(net), size_of(peer)),
                1.3 if (mine, other) == (usual, "no") else None,
            )


def small(setting: Setting) -> Iterator[Row]:
    """A training step of the course's network in pixels and of diffusers' with as many parameters."""
    s = setting.sizes
    for name, config, goal in _with_and_without_stem(s.pixel):
        net, peer = UNet(config).to(setting.device), theirs.usual_structure(s.peer_channels, s.pixel_side)
        step = theirs.training_step(peer, s.pixel_batch, s.pixel_side, setting.device)
        yield Row(
            "small",
            f"training step, as many parameters, {name}",
            f"ours, {_describe(config)}, {describe_batch(config, s.pixel_batch, s.pixel_side)}",
            f"diffusers' UNet2DModel as it comes, channels {s.peer_channels}, trained as its examples do",
            _fit(setting, net, s.pixel_batch, s.pixel_side, step),
            (size_of(net), size_of(peer)),
            goal=goal,
        )


def sampling(setting: Setting) -> Iterator[Row]:
    """Drawing with DDIM: the same networks as in `structure` and `small`."""
    s, device = setting.sizes, setting.device
    for name, config, _, side in _both(s):
        net, peer = twins(config, side, device)
        yield Row(
            "sampling",
            f"DDIM with {s.steps} steps, same network, {name}",
            f"ours, `generate`, {describe_batch(config, s.draw, side)}",
            "diffusers' UNet2DConditionModel with the same weights, its DDIMScheduler",
            setting.compare(
                ours.drawing(net, s.draw, side, s.steps, device), theirs.drawing(peer, s.draw, side, s.steps, device)
            ),
            (size_of(net), size_of(peer)),
        )
    for name, config, goal in _with_and_without_stem(s.pixel):
        net, peer = UNet(config), theirs.usual_structure(s.peer_channels, s.pixel_side)
        yield Row(
            "sampling",
            f"DDIM with {s.steps} steps, as many parameters, {name}",
            f"ours, `generate`, {_describe(config)}, {describe_batch(config, s.draw, s.pixel_side)}",
            f"diffusers' UNet2DModel as it comes, channels {s.peer_channels}, its DDIMPipeline",
            setting.compare(
                ours.drawing(net, s.draw, s.pixel_side, s.steps, device),
                theirs.drawing(peer, s.draw, s.pixel_side, s.steps, device),
            ),
            (size_of(net), size_of(peer)),
            goal=goal,
        )


def latent(setting: Setting) -> Iterator[Row]:
    """A training step on latents and one on pixels: the course's U-Net, the same batch."""
    s, device = setting.sizes, setting.device
    on_latents = UNet(s.latent)
    on_pixels = UNet(dataclasses.replace(s.latent, in_channels=3, out_channels=3))
    yield Row(
        "latent",
        "training step, latents against pixels",
        f"ours, {describe_batch(s.latent, s.latent_batch, s.latent_side)}",
        f"ours, {describe_batch(on_pixels.config, s.latent_batch, s.pixel_side)}",
        setting.compare(
            ours.training_step(on_latents, s.latent_batch, s.latent_side, device, Choices()),
            ours.training_step(on_pixels, s.latent_batch, s.pixel_side, device, Choices()),
        ),
        (size_of(on_latents), size_of(on_pixels)),
        goal=10.0,
    )


def imports(setting: Setting) -> Iterator[Row]:
    """The cost of `import ldm_edu`, and for scale that of diffusers, over that of `import torch`; new processes."""
    for name, code, goal in (
        ("import ldm_edu, over import torch", "import ldm_edu", 1.15),
        ("import our LatentDiffusion, over import torch", "from ldm_edu.latent import LatentDiffusion", 1.15),
        ("import diffusers, over import torch", "import diffusers", None),
        ("import diffusers' UNet2DModel, over import torch", "from diffusers import UNet2DModel", None),
    ):
        least = 10 if setting.seconds >= 1 else 1
        pairs = [(_import_seconds("import torch"), _import_seconds(code)) for _ in range(least + 1)][1:]
        while sum(map(sum, pairs)) < setting.seconds:
            pairs.append((_import_seconds("import torch"), _import_seconds(code)))
        yield Row("import", name, "import torch", code, ratio_of(*zip(*pairs, strict=True)), None, goal, at_most=True)


def _both(s: Sizes) -> tuple[tuple[str, UNetConfig, int, int], ...]:
    """The networks whose structure diffusers has too: name, configuration, batch, side."""
    return (
        ("latents", s.latent, s.latent_batch, s.latent_side),
        ("pixels", s.pixel, s.pixel_batch, s.pixel_side),
    )


def _with_and_without_stem(config: UNetConfig) -> tuple[tuple[str, UNetConfig, float | None], ...]:
    return ("without stem", config, 2.0), ("with 2×2 stem", dataclasses.replace(config, stem=2), None)


def twins(config: UNetConfig, side: int, device: str) -> tuple[UNet, nn.Module]:
    """diffusers' network and ours with its weights, seen to answer alike."""
    peer = theirs.same_structure(config)
    net = unet_from_diffusers(peer.state_dict(), dataclasses.replace(config, zero_init=False)).unet
    theirs.check_equal(net, peer, side)  # on the CPU: a GPU's convolutions round products to ten bits (TF32)
    return net.to(device), peer.to(device)


def _fit(setting: Setting, net: UNet, count: int, side: int, step: Work, precision: Precision = "no") -> Ratio:
    return ours.compare_fit(
        net,
        count,
        side,
        step,
        device=setting.device,
        seconds=setting.seconds,
        clock=setting.clock,
        precision=precision,
    )


def _describe(config: UNetConfig) -> str:
    return f"channels {config.channels}, one block down, two up, attention in the middle"


def _import_seconds(code: str) -> float:
    """CPU seconds of a new Python that runs the code."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


COMPARISONS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "structure": structure,
    "small": small,
    "sampling": sampling,
    "latent": latent,
    "options": options,
    "import": imports,
    "generate": generate,
}


def usual_comparisons() -> list[str]:
    """What is measured where nothing is named: all of COMPARISONS that this platform can."""
    windows = sys.platform == "win32"  # it lacks the module that tells the CPU time of other processes
    return [name for name in COMPARISONS if not (windows and name in ("import", "generate"))]
