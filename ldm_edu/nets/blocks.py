"""Convolutional parts shared by the U-Net and the autoencoder. Derived in notebooks 04 and 05.

Every map is (B, C, H, W). The parts keep the memory format of their input, so a net put in channels_last
stays there.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class GroupNorm(nn.GroupNorm):
    """torch's, in the type of its weights under autocast too: float32.

    So autocast has it on a GPU. On a CPU it would take bfloat16, which is less exact and three times slower there.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, …) to the same shape, in the type of the weights."""
        return super().forward(x.to(self.weight.dtype))


class ResBlock(nn.Module):
    """Residual block:  shortcut(x) + conv2(SiLU(norm2(conv1(SiLU(norm1(x))) + W temb))).

    Source: He et al. 2016 (arXiv 1512.03385); with time as in Ho et al. 2020 (arXiv 2006.11239), appendix B.

    Args:
        channels: channels of x.
        out: channels of the result. A 1x1 convolution carries the shortcut where they differ.
        temb: length of the time vector, or None for a block without time.
        groups: groups of both GroupNorms; divides channels and out.
        eps: added to the variance in both GroupNorms; 1e-5 in the U-Net, 1e-6 in the autoencoder.
        zero_init: start conv2 at zero, so that the block starts as its shortcut.
    """

    def __init__(
        self, channels: int, out: int, temb: int | None, groups: int, eps: float = 1e-5, zero_init: bool = False
    ):
        super().__init__()
        self.norm1 = GroupNorm(groups, channels, eps=eps)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.temb = nn.Linear(temb, out) if temb else None
        self.norm2 = GroupNorm(groups, out, eps=eps)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, out, 1) if channels != out else None
        if zero_init:
            zero(self.conv2)

    def forward(self, x: Tensor, temb: Tensor | None = None) -> Tensor:
        """(B, channels, H, W) to (B, out, H, W); temb is (B or 1, temb) and has been through SiLU already."""
        h = self.conv1(F.silu(self.norm1(x)))
        if self.temb is not None:
            h = h + self.temb(temb)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.shortcut is None else self.shortcut(x))


class Downsample(nn.Module):
    """Halve height and width with a 3x3 convolution of stride 2.

    Args:
        channels: channels in and out.
        symmetric: True pads one pixel on each side (U-Net), False only right and below (autoencoder).
    """

    def __init__(self, channels: int, symmetric: bool = True):
        super().__init__()
        self.symmetric = symmetric
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1 if symmetric else 0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, ⌈H/2⌉, ⌈W/2⌉), or to (B, C, ⌊H/2⌋, ⌊W/2⌋) without symmetric padding."""
        return self.conv(x if self.symmetric else F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Repeat pixels up to a given size, twice the size by default, then a 3x3 convolution.

    Four outputs that share a repeated pixel take sums of the same weights, so twice the size is one transposed
    convolution with 16 products a pixel instead of 36. On a CPU that is what is computed.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """(B, C, H, W) to (B, C, *size). The size is the skip's, which is odd where a level's input was."""
        double = (2 * x.shape[2], 2 * x.shape[3])
        size = size or double
        if tuple(size) == double and x.device.type == "cpu" and is_plain_conv(self.conv):
            return F.conv_transpose2d(x, repeated_pixels(self.conv.weight), self.conv.bias, stride=2, padding=1)
        return self.conv(F.interpolate(x, size=size, mode="nearest"))


def repeated_pixels(weight: Tensor) -> Tensor:
    """The 3x3 kernel (out, in, 3, 3) of a convolution on doubled pixels as that of a transposed one, (in, out, 4, 4).

    It is the flipped kernel, convolved with the 2x2 ones that repeat a pixel.
    """
    w = F.pad(weight.transpose(0, 1).flip(2, 3), (1, 1, 1, 1))
    w = w[:, :, 1:] + w[:, :, :-1]
    return w[..., 1:] + w[..., :-1]


def is_plain_conv(layer: nn.Module) -> bool:
    """Whether a layer is its weights and zeros around: not quantised or wrapped, and nobody listens to its calls."""
    listeners = (
        layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks
    )  # fmt: skip
    return type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not any(listeners)


class Stage(nn.Module):
    """One level of a net: residual blocks, attention after each (or nowhere), a change of size (or none).

    It only holds the parts; the U-Net and the autoencoder walk through them, each in its own way.
    """

    def __init__(
        self,
        res: list[ResBlock],
        attn: list[nn.Module],
        downsample: Downsample | None = None,
        upsample: Upsample | None = None,
    ):
        super().__init__()
        self.res = nn.ModuleList(res)
        self.attn = nn.ModuleList(attn)
        self.downsample = downsample
        self.upsample = upsample


def zero(layer: nn.Module) -> nn.Module:
    """Set weight and bias of a layer to zero, and return it."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H·W, C); a view where x is channels_last."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """(B, H·W, C) to (B, C, H, W); a channels_last view."""
    return tokens.transpose(1, 2).unflatten(2, (height, width))
