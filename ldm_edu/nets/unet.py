"""The U-Net: predicts ε, x_0 or v from x_t, t and a condition. Derived in notebooks 04 and 08.

The structure is Stable Diffusion's at any size, so the class that learns digits also takes its weights
(ldm_edu.stable_diffusion). Sources: Ronneberger et al. 2015 (arXiv 1505.04597), Ho et al. 2020
(arXiv 2006.11239), Rombach et al. 2022 (arXiv 2112.10752).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm_edu.kinds import check_whole
from ldm_edu.nets.attention import SpatialTransformer
from ldm_edu.nets.blocks import Downsample, GroupNorm, ResBlock, Stage, Upsample, zero
from ldm_edu.nets.embed import TimeMLP
from ldm_edu.nets.inputs import as_context, as_labels, as_times, check_x


@dataclass(frozen=True)
class UNetConfig:
    """The size of a U-Net. Level 0 is the finest; each further level has half the height and width.

    Args:
        in_channels: channels of x_t.
        out_channels: channels of the prediction.
        width: channels of level 0; even. The time vector has four times as many.
        multipliers: channels of each level, as multiples of width.
        blocks: residual blocks a level on the way down; one more on the way up.
        attention: the levels with attention, as 1,2 on the command line; none for none.
        middle_attention: attention at the bottom.
        heads: heads of every attention; None where head_dim is given.
        head_dim: channels of a head, instead of heads: wide levels then have more heads.
        groups: groups of every GroupNorm.
        depth: transformer blocks in each attention.
        num_classes: condition on a label 0 … num_classes - 1. A further row means "no class".
        context_dim: condition on a context (B, L, context_dim), such as a text, by cross-attention.
        stem: the first step folds stem x stem pixels into channels, the last unfolds them; 1 is off.
        linear_proj: attention projects with linear layers, as Stable Diffusion 2, not 1x1 convolutions.
        zero_init: start each residual branch and the output at zero.
    Raises:
        ValueError: a number doesn't fit the others; the message says which.
    """

    in_channels: int = 4
    out_channels: int = 4
    width: int = 32
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 1
    attention: tuple[int, ...] = ()
    middle_attention: bool = True
    heads: int | None = 4
    head_dim: int | None = None
    groups: int = 8
    depth: int = 1
    num_classes: int | None = None
    context_dim: int | None = None
    stem: int = 1
    linear_proj: bool = False
    zero_init: bool = True

    def __post_init__(self):
        # Lists come from JSON; tuples keep the configuration hashable.
        object.__setattr__(self, "multipliers", tuple(self.multipliers))
        object.__setattr__(self, "attention", tuple(self.attention))
        for name in ("in_channels", "out_channels", "width", "blocks", "groups", "depth", "stem"):
            check_whole(1, **{name: getattr(self, name)})
        for name in ("heads", "head_dim", "num_classes", "context_dim"):
            if getattr(self, name) is not None:
                check_whole(1, **{name: getattr(self, name)})
        if not self.multipliers or min(self.multipliers) < 1:
            raise ValueError(f"multipliers is {self.multipliers}; expected one number >= 1 for each level.")
        levels = range(len(self.multipliers))
        if not set(self.attention) <= set(levels):
            raise ValueError(f"attention is {self.attention}; expected levels out of {tuple(levels)}.")
        if self.width % 2:
            raise ValueError(f"width is {self.width}; expected an even number, for the time's sines and cosines.")
        if (self.heads is None) == (self.head_dim is None):
            raise ValueError(
                f"heads is {self.heads} and head_dim is {self.head_dim}; give exactly one, the other None."
            )
        if self.num_classes is not None and self.context_dim is not None:
            raise ValueError("num_classes and context_dim are both set; choose one kind of condition.")
        if self.context_dim is not None and not self.attention and not self.middle_attention:
            raise ValueError("context_dim is set but no level has attention; name levels or set middle_attention.")
        for channels in self.channels:
            if channels % self.groups:
                raise ValueError(f"A level has {channels} channels; expected a multiple of groups={self.groups}.")
        for level in {*self.attention, *([len(levels) - 1] if self.middle_attention else [])}:
            divisor = self.heads or self.head_dim
            if self.channels[level] % divisor:
                what = "heads" if self.heads else "head_dim"
                raise ValueError(
                    f"Level {level} has {self.channels[level]} channels and attention; "
                    f"expected a multiple of {what}={divisor}."
                )

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * m for m in self.multipliers)

    @property
    def factor(self) -> int:
        """Pixels along each side that one pixel at the bottom stands for."""
        return self.stem * 2 ** (len(self.multipliers) - 1)


class UNet(nn.Module):
    """The network ε_θ(x_t, t, cond) of a given size; the output means what it was trained for: ε, x_0 or v.

    Args:
        config: the size.
    """

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = c = config
        temb = 4 * c.width
        self.time = TimeMLP(c.width, temb)
        self.classes = nn.Embedding(c.num_classes + 1, temb) if c.num_classes else None
        self.conv_in = nn.Conv2d(c.in_channels * c.stem**2, c.width, 3, padding=1)

        def res(channels: int, out: int) -> ResBlock:
            return ResBlock(channels, out, temb, c.groups, zero_init=c.zero_init)

        def attn(channels: int) -> SpatialTransformer:
            heads = c.heads or channels // c.head_dim
            return SpatialTransformer(channels, heads, c.depth, c.groups, c.context_dim, c.linear_proj, c.zero_init)

        now = c.width
        skips = [now]  # channels of each map that the way down leaves for the way up
        self.down = nn.ModuleList()
        for level, out in enumerate(c.channels):
            last = level == len(c.channels) - 1
            self.down.append(
                Stage(
                    [res(now if i == 0 else out, out) for i in range(c.blocks)],
                    [attn(out) for _ in range(c.blocks if level in c.attention else 0)],
                    downsample=None if last else Downsample(out),
                )
            )
            skips += [out] * (c.blocks + (not last))
            now = out
        self.middle = Stage([res(now, now), res(now, now)], [attn(now)] if c.middle_attention else [])
        self.up = nn.ModuleList()
        for level, out in reversed(list(enumerate(c.channels))):
            self.up.append(
                Stage(
                    [res((now if i == 0 else out) + skips.pop(), out) for i in range(c.blocks + 1)],
                    [attn(out) for _ in range(c.blocks + 1 if level in c.attention else 0)],
                    upsample=Upsample(out) if level else None,
                )
            )
            now = out
        self.norm_out = GroupNorm(c.groups, now)
        self.conv_out = nn.Conv2d(now, c.out_channels * c.stem**2, 3, padding=1)
        if c.zero_init:
            zero(self.conv_out)

    def forward(self, x: Tensor, t: Tensor | int | float, cond: Tensor | None = None) -> Tensor:
        """Predict from x_t, t and a condition.

        Args:
            x: (B, in_channels, H, W) float of any width; H and W multiples of config.stem, otherwise free.
            t: (B,) int or float, or one time for all.
            cond: with num_classes, (B,) int64 labels in [0, num_classes], the last meaning "no class", or
                None for no class anywhere. With context_dim, a (B, L, context_dim) float context.
                Otherwise None.
        Returns:
            (B, out_channels, H, W), in the type of the weights, on the device of x.
        Raises:
            ValueError: a shape or type differs from these; or, for labels on the CPU, a label is out of range.
        """
        c = self.config
        check_x(x, c.in_channels, c.stem)
        x = x.to(self.conv_in.weight.dtype)
        temb = self.time(as_times(t, x), x.dtype)
        context = None
        if self.classes is not None:
            temb = temb + self.classes(as_labels(cond, x, c.num_classes))
        else:
            context = as_context(cond, x, c.context_dim)
        temb = F.silu(temb)  # once here instead of once in each block

        h = self.conv_in(F.pixel_unshuffle(x, c.stem) if c.stem > 1 else x)
        skips = [h]
        for stage in self.down:
            for i, res in enumerate(stage.res):
                h = res(h, temb)
                if stage.attn:
                    h = stage.attn[i](h, context)
                skips.append(h)
            if stage.downsample is not None:
                h = stage.downsample(h)
                skips.append(h)
        h = self.middle.res[0](h, temb)
        if self.middle.attn:
            h = self.middle.attn[0](h, context)
        h = self.middle.res[1](h, temb)
        for stage in self.up:
            for i, res in enumerate(stage.res):
                h = res(torch.cat((h, skips.pop()), dim=1), temb)
                if stage.attn:
                    h = stage.attn[i](h, context)
            if stage.upsample is not None:
                h = stage.upsample(h, skips[-1].shape[2:])
        h = self.conv_out(F.silu(self.norm_out(h)))
        return F.pixel_shuffle(h, c.stem) if c.stem > 1 else h
