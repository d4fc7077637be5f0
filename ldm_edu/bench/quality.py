"""CPU time from nothing to 95% right pictures of `shapes`: the course's recipe, and diffusers' usual one. Notebook 16.

A picture is right where a classifier, trained apart on real pictures of `shapes`, sees the kind and colour that its
label says. Drawing and judging stop the clock; making the training pictures does not count on either side. How many
the exact reader accepts, which refuses any flaw, is said beside it.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ldm_edu.bench import theirs
from ldm_edu.bench.pairs import Clock
from ldm_edu.bench.rows import Reach
from ldm_edu.bench.setting import TYPES
from ldm_edu.classifier import Classifier, train_classifier
from ldm_edu.config import TrainConfig
from ldm_edu.data.pictures import Pictures, to_float
from ldm_edu.fit import FitConfig
from ldm_edu.latent import LatentDiffusion
from ldm_edu.metrics import recognition
from ldm_edu.nets.autoencoder import AutoencoderConfig
from ldm_edu.nets.unet import UNetConfig
from ldm_edu.profile import pick_precision
from ldm_edu.train import Hooks, train

if TYPE_CHECKING:
    from ldm_edu.bench.comparisons import Setting

Curve = list[tuple[float, float, float]]
"""(cost, share that the classifier recognises, share that the exact reader accepts) of every judgement."""

RECIPE = TrainConfig(
    data="shapes",
    size=32,
    autoencoder=AutoencoderConfig(multipliers=(1,), stem=4, middle_attention=False),
    autoencoder_fit=FitConfig(steps=600, batch=16, ema=0.99, optimizer="muon"),
    unet=UNetConfig(multipliers=(1, 1)),
    fit=FitConfig(steps=700, batch=32, learning_rate=8e-3, ema=0.98, optimizer="muon"),
)
JUDGEMENTS = 4  # of our training, evenly over the diffusion model's steps
PICTURES = 480  # drawn for a judgement, the classes in turn
STEPS = 50  # of DDIM
GUIDANCE = 3.0  # ours; diffusers' usual recipe has none
WANTED = 0.95
SECONDS = 60.0  # the goal for ours
TIMES = 10  # of our cost, given to diffusers' recipe
PEER_CHANNELS = (32, 64, 64, 64)
PEER_BATCH = 64


def quality(setting: Setting) -> Iterator[Reach]:
    """From nothing to 95%: ours, then diffusers' usual recipe with ten times the cost."""
    from ldm_edu.data.load import load_pictures

    config = dataclasses.replace(RECIPE, device=setting.device)
    precision = TYPES[pick_precision(config.precision, config.device)]
    pictures = load_pictures(config.data, config.size)
    judge = train_classifier(pictures, seed=config.seed, device=setting.device)
    curve = our_curve(config, pictures, judge, setting.clock, WANTED)
    seconds, share, _ = curve[-1]
    reached = share >= WANTED
    yield Reach(
        "quality",
        "32-px shapes, ours",
        f"autoencoder {config.autoencoder_fit.steps} steps of {config.autoencoder_fit.batch}, U-Net {config.fit.steps} "
        f"of {config.fit.batch}, both with {config.fit.optimizer.capitalize()}, in {precision}; "
        f"{STEPS} DDIM steps, guidance {GUIDANCE:g}",
        WANTED,
        tuple(curve),
        goal=f"{WANTED:.0%} in {SECONDS:g} s",
        met="yes" if reached and seconds <= SECONDS else "no",
    )
    torch.manual_seed(config.seed)
    net = theirs.usual_structure(PEER_CHANNELS, config.size, pictures.channels, len(pictures.classes))
    curve = their_curve(net, pictures, judge, PEER_BATCH, TIMES * seconds, setting.clock, WANTED)
    yield Reach(
        "quality",
        f"32-px shapes, diffusers' usual recipe with up to {TIMES} times that",
        f"UNet2DModel as it comes, channels {PEER_CHANNELS}, in pixels; ε, linear β, AdamW 1e-4, batch {PEER_BATCH}, "
        f"in float32; {STEPS} DDIM steps",
        WANTED,
        tuple(curve),
        goal=f"still below {WANTED:.0%}, ours being there",
        met="yes" if reached and curve[-1][1] < WANTED else "no",
    )


class _EnoughError(Exception):
    """Ends a training that has been judged good enough."""


def our_curve(config: TrainConfig, pictures: Pictures, judge: Classifier, clock: Clock, wanted: float) -> Curve:
    """Train as `ldm-edu train` does; judge JUDGEMENTS times, until the share is what is wanted."""
    labels = torch.arange(PICTURES) % len(pictures.classes)
    config = dataclasses.replace(config, save_every=max(1, config.fit.steps // JUDGEMENTS))
    curve: Curve = []
    began, paused = clock(), 0.0

    def look(step: int, model: LatentDiffusion) -> None:
        nonlocal paused
        now = clock()
        generator = torch.Generator().manual_seed(0)
        drawn = model.generate(PICTURES, labels=labels, steps=STEPS, guidance=GUIDANCE, generator=generator)
        curve.append((now - began - paused, *shares(drawn, labels, judge, pictures.classes)))
        if curve[-1][1] >= wanted:
            raise _EnoughError
        paused += clock() - now

    with tempfile.TemporaryDirectory() as folder:
        try:
            train(config, pictures, Path(folder) / "run", hooks=Hooks(samples=look))
        except _EnoughError:
            pass
    return curve


def their_curve(
    net: nn.Module, pictures: Pictures, judge: Classifier, batch: int, budget: float, clock: Clock, wanted: float
) -> Curve:
    """Train diffusers' network as its examples do; judge at half the budget and at its end, with averaged weights."""
    from diffusers import DDIMScheduler

    device = next(judge.parameters()).device
    x_0, y = to_float(pictures.pixels).to(device), pictures.labels.to(device)
    labels = torch.arange(PICTURES, device=device) % len(pictures.classes)

    def examples() -> tuple[Tensor, Tensor]:
        index = torch.randint(len(y), (batch,), device=device)
        return x_0[index], y[index]

    shape = (PICTURES, *x_0.shape[1:])
    curve: Curve = []
    cost, began = 0.0, clock()
    training = theirs.training(net, examples, device)
    for until in (budget / 2, budget):
        while cost + clock() - began < until:
            training.step()
        cost += clock() - began
        training.average.store(net.parameters())
        training.average.copy_to(net.parameters())
        net.eval()
        drawn = theirs.draw(net, DDIMScheduler(), shape, labels, STEPS)
        net.train()
        training.average.restore(net.parameters())
        curve.append((cost, *shares(drawn, labels, judge, pictures.classes)))
        if curve[-1][1] >= wanted:
            break
        began = clock()
    return curve


def shares(drawn: Tensor, labels: Tensor, judge: Classifier, classes: tuple[str, ...]) -> tuple[float, float]:
    """The share of pictures that the classifier recognises as their label, and the share that the reader accepts."""
    from ldm_edu.data.shapes import obeys

    accepted = obeys(drawn.cpu(), [f"a {classes[k]}" for k in labels.tolist()])
    return recognition(drawn, labels, judge).accuracy, accepted.float().mean().item()
