"""What is measured on diffusers' side: its networks, its training step and its sampling, as its own scripts do them.

The training step follows the published examples `train_unconditional.py` and `train_text_to_image.py`: Accelerate,
AdamW as it comes, `EMAModel`, `DDPMScheduler.add_noise`, the norm clipped, the loss read at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm_edu.bench.ours import accelerator_on
from ldm_edu.bench.pairs import Work
from ldm_edu.config import Precision
from ldm_edu.nets.unet import UNet, UNetConfig

if TYPE_CHECKING:
    from diffusers import DDIMScheduler
    from diffusers.training_utils import EMAModel

TOLERANCE = 1e-4  # of two networks' answers; float32 sums in another order differ by about 1e-6


def need_diffusers() -> str:
    """The version of diffusers.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import diffusers
    except ImportError:
        raise ValueError("the comparison needs the package diffusers: pip install diffusers") from None
    return diffusers.__version__


def same_structure(config: UNetConfig) -> nn.Module:
    """diffusers' `UNet2DConditionModel` with the structure that a configuration of ours describes."""
    from diffusers import UNet2DConditionModel

    levels = range(len(config.multipliers))
    plain = (config.context_dim,) * len(levels)  # a tuple: a bare None is refused there
    return UNet2DConditionModel(
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        block_out_channels=config.channels,
        layers_per_block=config.blocks,
        down_block_types=tuple("CrossAttnDownBlock2D" if i in config.attention else "DownBlock2D" for i in levels),
        up_block_types=tuple("CrossAttnUpBlock2D" if i in config.attention else "UpBlock2D" for i in reversed(levels)),
        norm_num_groups=config.groups,
        attention_head_dim=config.heads,
        cross_attention_dim=plain,
        num_class_embeds=None if config.num_classes is None else config.num_classes + 1,
    )


def usual_structure(
    channels: tuple[int, ...], side: int, in_channels: int = 3, classes: int | None = None
) -> nn.Module:
    """diffusers' `UNet2DModel` as it comes, channels aside: two blocks a level, attention at all but the finest."""
    from diffusers import UNet2DModel

    coarse = len(channels) - 1
    return UNet2DModel(
        sample_size=side,
        in_channels=in_channels,
        out_channels=in_channels,
        block_out_channels=channels,
        down_block_types=("DownBlock2D", *["AttnDownBlock2D"] * coarse),
        up_block_types=(*["AttnUpBlock2D"] * coarse, "UpBlock2D"),
        num_class_embeds=classes,
    )


def predict(net: nn.Module, x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
    """A diffusers network's answer."""
    from diffusers import UNet2DConditionModel

    inner = getattr(net, "module", net)
    context = (None,) if isinstance(inner, UNet2DConditionModel) else ()
    return net(x, t, *context, class_labels=labels).sample


@torch.no_grad()
def check_equal(ours: UNet, theirs: nn.Module, side: int) -> float:
    """The largest difference of two networks' answers to the same input.

    Raises:
        RuntimeError: they differ, so that comparing their speed would mean nothing.
    """
    c, device = ours.config, next(ours.parameters()).device
    x = torch.linspace(-2, 2, 2 * c.in_channels * side * side, device=device).view(2, c.in_channels, side, side).sin()
    t = torch.tensor([7, 700], device=device)
    labels = None if c.num_classes is None else torch.tensor([0, c.num_classes], device=device)
    answer, wanted = ours(x, t, labels), predict(theirs, x, t, labels)
    difference = (answer - wanted).abs().max().item()
    if not difference <= TOLERANCE or wanted.std() < 10 * TOLERANCE:
        raise RuntimeError(f"the networks answer differently, by {difference}, so their speed cannot be compared")
    return difference


@dataclass(frozen=True)
class Training:
    """A network of diffusers' in training: one step, and the moving average of the weights."""

    net: nn.Module
    average: EMAModel
    step: Work


def training(
    net: nn.Module, examples: Callable[[], tuple[Tensor, Tensor | None]], device: str, precision: Precision = "no"
) -> Training:
    """Training as diffusers' examples do it; examples() gives x_0 (B, C, H, W) and labels (B,) or None."""
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import EMAModel

    accelerator = accelerator_on(device, precision)
    net.to(device).train()
    average = EMAModel(net.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    average.to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
    rate = get_scheduler("constant_with_warmup", optimizer, num_warmup_steps=500)
    net, optimizer, rate = accelerator.prepare(net, optimizer, rate)
    scheduler = DDPMScheduler()

    def step() -> None:
        x_0, labels = examples()
        eps = torch.randn(x_0.shape, device=device)
        t = torch.randint(0, scheduler.config.num_train_timesteps, (len(x_0),), device=device).long()
        x_t = scheduler.add_noise(x_0, eps, t)
        loss = F.mse_loss(predict(net, x_t, t, labels).float(), eps.float())
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        rate.step()
        optimizer.zero_grad()
        average.step(net.parameters())
        loss.detach().item()

    return Training(net, average, step)


def training_step(net: nn.Module, count: int, side: int, device: str, precision: Precision = "no") -> Work:
    """One training step on fixed data."""
    x_0 = torch.randn(count, net.config.in_channels, side, side, device=device)
    classes = net.config.num_class_embeds
    labels = None if classes is None else torch.arange(count, device=device) % classes
    return training(net, lambda: (x_0, labels), device, precision).step


def drawing(net: nn.Module, count: int, side: int, steps: int, device: str) -> Work:
    """Drawing with DDIM: `DDIMPipeline` where it knows the network, which is without labels; else its loop by hand."""
    from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

    net.to(device).eval()
    scheduler = DDIMScheduler()
    classes = net.config.num_class_embeds
    if classes is None and isinstance(net, UNet2DModel):
        pipeline = DDIMPipeline(net, scheduler)
        pipeline.set_progress_bar_config(disable=True)
        return lambda: pipeline(count, num_inference_steps=steps, output_type="np")
    labels = None if classes is None else torch.arange(count, device=device) % classes
    shape = (count, net.config.in_channels, side, side)
    return lambda: draw(net, scheduler, shape, labels, steps)


@torch.no_grad()
def draw(net: nn.Module, scheduler: DDIMScheduler, shape: tuple[int, ...], labels: Tensor | None, steps: int) -> Tensor:
    """Draw pictures of a shape (B, C, H, W), in [-1, 1]."""
    scheduler.set_timesteps(steps)
    x = torch.randn(shape, device=next(net.parameters()).device)
    for t in scheduler.timesteps:
        x = scheduler.step(predict(net, x, t, labels), t, x).prev_sample
    return x.clamp(-1, 1)
