"""What a comparison is told: where and how long to measure, and at which sizes. Used in notebook 16."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import nn

from ldm_edu.bench.pairs import Clock, Ratio, Work, clock_of, compare
from ldm_edu.config import TrainConfig
from ldm_edu.nets.unet import UNetConfig

TYPES = {"no": "float32", "bf16": "bfloat16"}
"""Precision as Accelerate names it -> type that is multiplied."""


@dataclass(frozen=True)
class Sizes:
    """How large the measured networks and batches are; the defaults are the course's.

    Args:
        latent_side, pixel_side: height and width.
        latent_batch, pixel_batch: examples a training step.
        draw: pictures drawn at once.
        steps: of DDIM.
        latent: the network in latents, of the demo.
        pixel: the lean network in pixels: one block a level down, two up, attention only in the middle.
        peer_channels: of diffusers' usual network that has as many parameters as `pixel`, within 2%.
        tokens: length of the attention that is measured alone.
        large: a network of 24 million parameters, whose throughput is measured on a GPU.
        batches: examples a step, for that.
    """

    latent_side: int = 8
    pixel_side: int = 32
    latent_batch: int = 64
    pixel_batch: int = 16
    draw: int = 8
    steps: int = 50
    latent: UNetConfig = dataclasses.replace(TrainConfig().unet, num_classes=16)
    pixel: UNetConfig = UNetConfig(in_channels=3, out_channels=3, width=32, multipliers=(1, 2, 3, 3))
    peer_channels: tuple[int, ...] = (32, 64, 96)
    tokens: int = 256
    large: UNetConfig = UNetConfig(in_channels=3, out_channels=3, width=128, multipliers=(1, 2, 2, 2))
    batches: tuple[int, ...] = (32, 128, 512)


@dataclass(frozen=True)
class Setting:
    """Where and how long to measure: seconds for each row, cpu or cuda, and the sizes."""

    seconds: float = 10.0
    device: str = "cpu"
    sizes: Sizes = Sizes()

    @property
    def clock(self) -> Clock:
        """The device's clock."""
        return clock_of(self.device)

    def compare(self, a: Work, b: Work) -> Ratio:
        """Compare A and B for the seconds asked for."""
        return compare(a, b, seconds=self.seconds, clock=self.clock)


def describe_batch(config: UNetConfig, count: int, side: int) -> str:
    """A batch in words."""
    return f"batch {count} of {config.in_channels}×{side}×{side}"


def size_of(net: nn.Module) -> int:
    """The number of a network's parameters."""
    return sum(p.numel() for p in net.parameters())
