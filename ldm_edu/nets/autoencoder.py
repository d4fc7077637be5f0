"""The KL autoencoder: pictures to small latents and back. Derived in notebook 05.

Source: Rombach et al. 2022 (arXiv 2112.10752), section 3.1 and appendix G; the Gaussian code is Kingma and
Welling 2014 (arXiv 1312.6114). The structure is Stable Diffusion's at any size.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm_edu.kinds import check_whole
from ldm_edu.nets.attention import PixelAttention
from ldm_edu.nets.blocks import Downsample, GroupNorm, ResBlock, Stage, Upsample
from ldm_edu.nets.inputs import as_floats


@dataclass(frozen=True)
class AutoencoderConfig:
    """The size of an autoencoder. Level 0 is the finest; each further level halves height and width.

    Args:
        in_channels: channels of a picture.
        latent_channels: channels of a latent.
        width: channels of level 0.
        multipliers: channels of each level, as multiples of width.
        blocks: residual blocks a level in the encoder; one more in the decoder.
        groups: groups of every GroupNorm.
        middle_attention: attention at the bottom of encoder and decoder.
        stem: the first step folds stem x stem pixels into channels, the last unfolds them; 1 is off.
        zero_init: start each residual branch at zero, so that the code starts as a plain map of the picture.
    Raises:
        ValueError: a number doesn't fit the others; the message says which.
    """

    in_channels: int = 3
    latent_channels: int = 4
    width: int = 32
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 1
    groups: int = 8
    middle_attention: bool = True
    stem: int = 1
    zero_init: bool = True

    def __post_init__(self):
        # Lists come from JSON; tuples keep the configuration hashable.
        object.__setattr__(self, "multipliers", tuple(self.multipliers))
        for name in ("in_channels", "latent_channels", "width", "blocks", "groups", "stem"):
            check_whole(1, **{name: getattr(self, name)})
        if not self.multipliers or min(self.multipliers) < 1:
            raise ValueError(f"multipliers is {self.multipliers}; expected one number >= 1 for each level.")
        for channels in self.channels:
            if channels % self.groups:
                raise ValueError(f"A level has {channels} channels; expected a multiple of groups={self.groups}.")

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * m for m in self.multipliers)

    @property
    def factor(self) -> int:
        """Pixels a latent's pixel stands for, along each side."""
        return self.stem * 2 ** (len(self.multipliers) - 1)


class Gaussian(NamedTuple):
    """The code q(latent | x): a normal distribution with independent components.

    Both tensors are (B, latent_channels, h, w); logvar is the logarithm of the variance.
    """

    mean: Tensor
    logvar: Tensor

    @property
    def std(self) -> Tensor:
        """The standard deviation,  exp(logvar / 2)."""
        return torch.exp(0.5 * self.logvar)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw  mean + std · z,  z standard normal, drawn on the generator's device; (B, latent_channels, h, w)."""
        device = self.mean.device if generator is None else generator.device
        z = torch.randn(self.mean.shape, generator=generator, device=device, dtype=self.mean.dtype)
        return self.mean + self.std * z.to(self.mean.device)

    def kl(self) -> Tensor:
        """KL divergence from the standard normal:  ½ Σ (mean² + exp(logvar) − 1 − logvar).

        Source: Kingma and Welling 2014 (arXiv 1312.6114), appendix B.

        Returns:
            (B,) in nats, summed over each example's components.
        """
        return 0.5 * (self.mean**2 + self.logvar.exp() - 1 - self.logvar).flatten(1).sum(1)


class Encoder(nn.Module):
    """Pictures (B, in_channels, H, W) to mean and logvar, joined along the channels."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        c = config
        self.stem = c.stem
        self.conv_in = nn.Conv2d(c.in_channels * c.stem**2, c.width, 3, padding=1)
        now = c.width
        self.down = nn.ModuleList()
        for level, out in enumerate(c.channels):
            self.down.append(
                Stage(
                    [res(now if i == 0 else out, out, c) for i in range(c.blocks)],
                    [],
                    downsample=Downsample(out, symmetric=False) if level < len(c.channels) - 1 else None,
                )
            )
            now = out
        self.middle = middle(now, c)
        self.norm_out = GroupNorm(c.groups, now, eps=1e-6)
        self.conv_out = nn.Conv2d(now, 2 * c.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, 2 · latent_channels, H / factor, W / factor)."""
        h = self.conv_in(F.pixel_unshuffle(x, self.stem) if self.stem > 1 else x)
        for stage in self.down:
            for block in stage.res:
                h = block(h)
            if stage.downsample is not None:
                h = stage.downsample(h)
        return self.conv_out(F.silu(self.norm_out(through_middle(self.middle, h))))


class Decoder(nn.Module):
    """Latents (B, latent_channels, h, w) to pictures (B, in_channels, H, W)."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        c = config
        self.stem = c.stem
        now = c.channels[-1]
        self.conv_in = nn.Conv2d(c.latent_channels, now, 3, padding=1)
        self.middle = middle(now, c)
        self.up = nn.ModuleList()
        for level, out in reversed(list(enumerate(c.channels))):
            self.up.append(
                Stage(
                    [res(now if i == 0 else out, out, c) for i in range(c.blocks + 1)],
                    [],
                    upsample=Upsample(out) if level else None,
                )
            )
            now = out
        self.norm_out = GroupNorm(c.groups, now, eps=1e-6)
        self.conv_out = nn.Conv2d(now, c.in_channels * c.stem**2, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        """(B, latent_channels, h, w) to (B, in_channels, h · factor, w · factor)."""
        h = through_middle(self.middle, self.conv_in(latent))
        for stage in self.up:
            for block in stage.res:
                h = block(h)
            if stage.upsample is not None:
                h = stage.upsample(h)
        h = self.conv_out(F.silu(self.norm_out(h)))
        return F.pixel_shuffle(h, self.stem) if self.stem > 1 else h


class Autoencoder(nn.Module):
    """Encoder to a Gaussian code and decoder back, of a given size.

    Args:
        config: the size.
    """

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quant = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.post_quant = nn.Conv2d(config.latent_channels, config.latent_channels, 1)
        self.decoder = Decoder(config)
        # Start with a sharp code, standard deviation e^-3: at 1 the noise would drown the means for many steps.
        nn.init.zeros_(self.quant.weight[config.latent_channels :])
        nn.init.constant_(self.quant.bias[config.latent_channels :], -6.0)

    @property
    def factor(self) -> int:
        """Pixels a latent's pixel stands for, along each side."""
        return self.config.factor

    def encode(self, x: Tensor) -> Gaussian:
        """The code q(latent | x) of pictures.

        Args:
            x: (B, in_channels, H, W) float of any width, in [-1, 1]; H and W multiples of factor.
        Returns:
            Gaussian over (B, latent_channels, H / factor, W / factor), in the type of the weights; logvar is held in
            [-30, 20].
        Raises:
            ValueError: x has another shape, or holds whole numbers.
        """
        channels, factor = self.config.in_channels, self.factor
        if x.ndim != 4 or x.shape[1] != channels:
            raise ValueError(f"x has shape {tuple(x.shape)}; expected (B, {channels}, H, W).")
        if x.shape[2] % factor or x.shape[3] % factor:
            raise ValueError(
                f"x is {x.shape[2]}x{x.shape[3]} pixels; expected multiples of factor={factor}. Pad or crop it."
            )
        x = as_floats("x", x, self.quant.weight)
        mean, logvar = self.quant(self.encoder(x)).chunk(2, dim=1)
        return Gaussian(mean, logvar.clamp(-30.0, 20.0))

    def decode(self, latent: Tensor) -> Tensor:
        """Pictures from latents.

        Args:
            latent: (B, latent_channels, h, w) float of any width, on the scale that encode gives.
        Returns:
            (B, in_channels, h · factor, w · factor), in the type of the weights, near [-1, 1] but not clipped.
        Raises:
            ValueError: latent has another shape, or holds whole numbers.
        """
        if latent.ndim != 4 or latent.shape[1] != self.config.latent_channels:
            raise ValueError(
                f"latent has shape {tuple(latent.shape)}; expected (B, {self.config.latent_channels}, h, w)."
            )
        return self.decoder(self.post_quant(as_floats("latent", latent, self.post_quant.weight)))


def res(channels: int, out: int, config: AutoencoderConfig) -> ResBlock:
    """A residual block without time."""
    return ResBlock(channels, out, None, config.groups, eps=1e-6, zero_init=config.zero_init)


def middle(channels: int, config: AutoencoderConfig) -> Stage:
    """The bottom: two residual blocks around one attention."""
    attn = [PixelAttention(channels, config.groups)] if config.middle_attention else []
    return Stage([res(channels, channels, config), res(channels, channels, config)], attn)


def through_middle(stage: Stage, h: Tensor) -> Tensor:
    """Apply the bottom: (B, channels, h, w) to the same shape."""
    h = stage.res[0](h)
    if stage.attn:
        h = stage.attn[0](h)
    return stage.res[1](h)
