"""What is measured on our side: one training step, as `fit` does it or with one choice changed; drawing pictures."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ldm_edu.bench.pairs import LEAST_PAIRS, Clock, Ratio, Work, ratio_of
from ldm_edu.config import Precision, TrainConfig
from ldm_edu.fit import Batch, FitConfig, fit
from ldm_edu.latent import LatentDiffusion
from ldm_edu.model_config import ModelConfig
from ldm_edu.nets.unet import UNet
from ldm_edu.objectives import DiffusionObjective
from ldm_edu.schedule import cosine
from ldm_edu.train import make_accelerator

if TYPE_CHECKING:
    from accelerate import Accelerator

MakeBatch = Callable[[int, torch.Generator], Batch]

WARM_UP = 2  # steps: the first makes the optimiser's state


class _EnoughError(Exception):
    """Ends a fit whose steps have been measured."""


def accelerator_on(device: str, precision: Precision = "no") -> Accelerator:
    """Accelerate's view of the device, as a training makes it."""
    return make_accelerator(TrainConfig(device="cuda" if device == "cuda" else "cpu", precision=precision), Path())


def batch_of(net: UNet, count: int, side: int, device: str) -> MakeBatch:
    """make_batch for `fit`: fixed data, fresh t and ε, as `train` makes them."""
    c = net.config
    x_0 = torch.randn(count, c.in_channels, side, side, device=device)
    labels = None if c.num_classes is None else torch.arange(count, device=device) % c.num_classes

    def make_batch(n: int, generator: torch.Generator) -> Batch:
        t = torch.randint(1, 1001, (n,), generator=generator, device=device)
        eps = torch.randn(x_0.shape, generator=generator, device=device)
        return (x_0, t, eps) if labels is None else (x_0, t, eps, labels)

    return make_batch


def compare_fit(
    net: UNet,
    count: int,
    side: int,
    other: Work,
    *,
    device: str,
    seconds: float,
    clock: Clock,
    precision: Precision = "no",
) -> Ratio:
    """Compare one step of `fit` (A) with other work (B).

    B runs, with its own clock, where `fit` asks for its next batch. So A is `fit` as it is, and nothing else.
    """
    make = batch_of(net, count, side, device)
    ours, others = [], []
    begun = 0.0

    def make_batch(n: int, generator: torch.Generator) -> Batch:
        nonlocal begun
        now = clock()
        if begun:
            ours.append(now - begun)
        enough = sum(ours[WARM_UP:]) + sum(others[WARM_UP:]) >= seconds and len(ours) >= WARM_UP + LEAST_PAIRS
        if enough:
            raise _EnoughError
        now = clock()
        other()
        others.append(clock() - now)
        begun = clock()
        return make(n, generator)

    accelerator = accelerator_on(device, precision)
    objective = DiffusionObjective(net, cosine().to(device), "eps")
    try:
        fit(objective, make_batch, FitConfig(steps=1_000_000, batch=count), accelerator=accelerator)
    except _EnoughError:
        accelerator.free_memory()
    return ratio_of(ours[WARM_UP:], others[WARM_UP:])


@dataclass(frozen=True)
class Choices:
    """What `fit` chooses, one by one; the defaults are what it does.

    Args:
        channels_last: keep the channels of a pixel side by side in memory.
        fused: one kernel for AdamW's update of a tensor; None leaves it to torch.
        foreach_ema: one call for the moving average of all tensors.
        autocast: half precision (bfloat16) in convolutions and matrix products.
        compile: a mode of torch.compile; None leaves it.
    """

    channels_last: bool = True
    fused: bool | None = True
    foreach_ema: bool = True
    autocast: bool = False
    compile: str | None = None


@dataclass(frozen=True)
class Training:
    """A copy of a network in training: one step, and the network."""

    net: UNet
    step: Work


def training(net: UNet, make_batch: MakeBatch, count: int, device: str, choices: Choices) -> Training:
    """Training as `fit` does it except for the choices, at a constant learning rate."""
    net = copy.deepcopy(net)
    form = torch.channels_last if choices.channels_last else torch.contiguous_format
    objective = DiffusionObjective(net, cosine().to(device), "eps").to(device).to(memory_format=form)
    if choices.compile:
        objective.compile(mode=choices.compile, dynamic=False)
    parameters = list(objective.parameters())
    config = FitConfig(batch=count)
    update = optimiser_update(objective, config, choices.fused)
    average = average_update(objective, config.ema, choices.foreach_ema)
    generator = torch.Generator(device).manual_seed(0)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=choices.autocast):
            loss = objective(*make_batch(count, generator))
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, config.clip)
        update()
        for p in parameters:
            p.grad = None
        average()

    return Training(net, step)


def training_step(net: UNet, count: int, side: int, device: str, choices: Choices) -> Work:
    """One training step on fixed data."""
    return training(net, batch_of(net, count, side, device), count, device, choices).step


def optimiser_update(module: nn.Module, config: FitConfig, fused: bool | None) -> Work:
    """AdamW's update alone."""
    return torch.optim.AdamW(
        module.parameters(),
        config.learning_rate,
        (0.9, config.beta2),
        weight_decay=config.weight_decay,
        fused=fused,
    ).step


def average_update(module: nn.Module, decay: float, foreach: bool) -> Work:
    """The moving average's update alone: one call for all weights, or one for each."""
    current = [p.detach() for p in module.parameters()]
    averaged = [p.clone() for p in current]

    def update() -> None:
        if foreach:
            torch._foreach_lerp_(averaged, current, 1 - decay)
        else:
            for old, new in zip(averaged, current, strict=True):
                old.lerp_(new, 1 - decay)

    return update


def drawing(net: UNet, count: int, side: int, steps: int, device: str) -> Work:
    """Drawing with DDIM, as `LatentDiffusion.generate` does; the net's weights are copied."""
    classes = tuple(str(i) for i in range(net.config.num_classes or 0))
    model = LatentDiffusion(
        ModelConfig(side, net.config.in_channels, net.config, target="eps", classes=classes), cosine()
    )
    model.unet.load_state_dict(net.state_dict())
    model.to(device).eval()
    labels: Tensor | None = torch.arange(count) % len(classes) if classes else None
    generator = torch.Generator(device).manual_seed(0)
    return lambda: model.generate(count, labels=labels, steps=steps, generator=generator)
