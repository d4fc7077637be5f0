"""What each choice of ours gives: with it against without, everything else equal. Used in notebook 16."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from ldm_edu.bench import ours
from ldm_edu.bench.ours import Choices
from ldm_edu.bench.pairs import Work
from ldm_edu.bench.rows import Row
from ldm_edu.bench.setting import Setting, describe_batch, size_of
from ldm_edu.fit import FitConfig
from ldm_edu.nets.blocks import Upsample
from ldm_edu.nets.unet import UNet
from ldm_edu.profile import has_bfloat16


def options(setting: Setting) -> Iterator[Row]:
    """What each choice of ours gives: A as the course has it (or, for the stem, could), B without."""
    s, device = setting.sizes, setting.device
    net = UNet(s.pixel)

    where = describe_batch(s.pixel, s.pixel_batch, s.pixel_side)

    def step(choices: Choices | None = None, of: UNet = net) -> Work:
        return ours.training_step(of, s.pixel_batch, s.pixel_side, device, choices or Choices())

    def row(name: str, a: str, b: str, work_a: Work, work_b: Work) -> Row:
        return Row("options", f"{name}, training step", f"{a}, {where}", b, setting.compare(work_a, work_b))

    plain = step()
    yield row("memory layout", "channels last", "contiguous", plain, step(Choices(channels_last=False)))
    if has_bfloat16(device):
        yield row("half precision", "bfloat16 autocast", "float32", step(Choices(autocast=True)), plain)
    if device == "cpu":
        twice = "doubled pixels and their convolution"
        yield row(twice, "one transposed convolution", "one after the other", plain, step(of=_in_two_steps(net)))
    stem = UNet(dataclasses.replace(s.pixel, stem=2))
    yield row("stem", "2×2 pixels folded into channels", "without", step(of=stem), plain)
    half = s.pixel_side // 2
    more = UNet(dataclasses.replace(s.pixel, attention=(1,)))
    yield row("where attention is", "in the middle only", f"also at {half}×{half}", plain, step(of=more))
    yield _attention(setting)
    yield from _updates(setting, net)
    yield from _batches(setting)


def _in_two_steps(net: UNet) -> UNet:
    """The same net with a listener at each convolution after doubled pixels, which is then called for itself."""
    net = copy.deepcopy(net)
    for part in net.modules():
        if isinstance(part, Upsample):
            part.conv.register_forward_hook(lambda *_: None)
    return net


def _attention(setting: Setting) -> Row:
    """One attention, forward and backward, by torch's fused kernel and written out."""
    tokens, heads, dim = setting.sizes.tokens, 4, 32
    shape = (8, tokens, heads, dim)
    q, k, v = (torch.randn(shape, device=setting.device).transpose(1, 2).requires_grad_() for _ in range(3))

    def fused() -> None:
        F.scaled_dot_product_attention(q, k, v).sum().backward()

    def written_out() -> None:
        (torch.softmax(q @ k.transpose(2, 3) / dim**0.5, 3) @ v).sum().backward()

    return Row(
        "options",
        f"attention alone over {tokens} tokens, forward and backward",
        f"scaled_dot_product_attention, {heads} heads of {dim}",
        "softmax(QKᵀ/√d) V written out",
        setting.compare(fused, written_out),
    )


def _updates(setting: Setting, net: UNet) -> Iterator[Row]:
    """The optimiser's and the moving average's update alone."""
    nets = [UNet(net.config).to(setting.device) for _ in range(2)]
    for p in (p for n in nets for p in n.parameters()):
        p.grad = torch.randn_like(p) / 100
    a, b = nets
    fused, plain = (ours.optimiser_update(n, FitConfig(), f) for n, f in ((a, True), (b, None)))
    size = (size_of(net), size_of(net))
    yield Row("options", "AdamW's update alone", "fused", "as it comes", setting.compare(fused, plain), size)
    yield Row(
        "options",
        "moving average's update alone",
        "one call for all tensors",
        "one tensor at a time",
        setting.compare(ours.average_update(a, 0.995, True), ours.average_update(b, 0.995, False)),
        size,
    )


def _batches(setting: Setting) -> Iterator[Row]:
    """Cost of an example in a batch of 32 over that in a batch of 128."""
    s, device = setting.sizes, setting.device
    pixels = dataclasses.replace(s.latent, in_channels=3, out_channels=3)
    for name, config, side in (("latents", s.latent, s.latent_side), ("pixels", pixels, s.pixel_side)):
        net, large = UNet(config), 2 * s.latent_batch
        big, little = (ours.training_step(net, n, side, device, Choices()) for n in (large, large // 4))

        def four_times(step: Work = little) -> None:
            for _ in range(4):
                step()

        yield Row(
            "options",
            f"batch, training, {name}",
            f"one step of {describe_batch(config, large, side)}",
            f"four steps of {large // 4}",
            setting.compare(big, four_times),
        )
