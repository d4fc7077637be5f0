"""Stable Diffusion's sizes, and its weights in and out of our nets. Used in notebook 18.

Weights are read and written as state dicts in the layout of `diffusers`; nothing here downloads or opens a
file. Sources: Rombach et al. 2022 (arXiv 2112.10752) for the model; the configuration files published with
versions 1.5 and 2.1 for the sizes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ldm_edu.nets.autoencoder import Autoencoder, AutoencoderConfig
from ldm_edu.nets.unet import UNet, UNetConfig
from ldm_edu.stable_diffusion_config import autoencoder_config_from_diffusers, unet_config_from_diffusers

__all__ = [
    "SD1_UNET",
    "SD2_UNET",
    "SD_AUTOENCODER",
    "SD_LATENT_SCALE",
    "ZeroBased",
    "autoencoder_config_from_diffusers",
    "autoencoder_from_diffusers",
    "autoencoder_to_diffusers",
    "unet_config_from_diffusers",
    "unet_from_diffusers",
    "unet_to_diffusers",
]

SD1_UNET = UNetConfig(
    width=320,
    multipliers=(1, 2, 4, 4),
    blocks=2,
    attention=(0, 1, 2),
    heads=8,
    groups=32,
    context_dim=768,
    zero_init=False,
)
SD2_UNET = UNetConfig(
    width=320,
    multipliers=(1, 2, 4, 4),
    blocks=2,
    attention=(0, 1, 2),
    heads=None,
    head_dim=64,
    groups=32,
    context_dim=1024,
    linear_proj=True,
    zero_init=False,
)
SD_AUTOENCODER = AutoencoderConfig(width=128, multipliers=(1, 2, 4, 4), blocks=2, groups=32)
SD_LATENT_SCALE = 0.18215  # Stable Diffusion's U-Net works on this times the autoencoder's latent.

# Our name of a part and theirs. Names that aren't here are the same.
NAMES = {
    "down": "down_blocks",
    "middle": "mid_block",
    "up": "up_blocks",
    "res": "resnets",
    "attn": "attentions",
    "downsample": "downsamplers.0",
    "upsample": "upsamplers.0",
    "norm_out": "conv_norm_out",
    "time": "time_embedding",
    "fc1": "linear_1",
    "fc2": "linear_2",
    "classes": "class_embedding",
    "temb": "time_emb_proj",
    "shortcut": "conv_shortcut",
    "blocks": "transformer_blocks",
    "self_attn": "attn1",
    "cross_attn": "attn2",
    "to_out": "to_out.0",
    "inner": "net.0.proj",
    "out": "net.2",
    "quant": "quant_conv",
    "post_quant": "post_quant_conv",
}
# The autoencoder's attention in older files.
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class ZeroBased(nn.Module):
    """A U-Net trained on times 0 … T − 1, called with the course's 1 … T:  net(x, t) = unet(x, t − 1).

    Args:
        unet: the U-Net.
    """

    def __init__(self, unet: UNet):
        super().__init__()
        self.unet = unet

    @property
    def config(self) -> UNetConfig:
        """The U-Net's size."""
        return self.unet.config

    def forward(self, x: Tensor, t: Tensor | int | float, cond: Tensor | None = None) -> Tensor:
        """As UNet.forward: x (B, C, H, W), with t in [1, T]."""
        return self.unet(x, t - 1, cond)


def unet_from_diffusers(state: Mapping[str, Tensor], config: UNetConfig) -> ZeroBased:
    """Build a U-Net with the weights of a diffusers `UNet2DConditionModel`.

    Args:
        state: its state dict; any float type.
        config: its size, such as SD1_UNET or unet_config_from_diffusers(...).
    Returns:
        The U-Net on the CPU with float32 copies of the weights, taking t in 1 … T. The bare one is `.unet`.
    Raises:
        ValueError: a key is missing or unexpected, or a shape differs; the message names the first few.
    """
    with torch.device("meta"):  # no time spent on random weights that are about to be replaced
        unet = UNet(config)
    return ZeroBased(_fill(unet, state))


def unet_to_diffusers(unet: UNet) -> dict[str, Tensor]:
    """The weights of a U-Net under the names of a diffusers `UNet2DConditionModel`.

    The times stay as they are: a net trained in this course is to be called with t in 1 … T there too.

    Args:
        unet: a U-Net without stem; of a ZeroBased net, pass `.unet`.
    Returns:
        A state dict that shares memory with the net.
    Raises:
        ValueError: the U-Net has a stem, which diffusers doesn't know.
    """
    return _rename(unet, unet.config.stem)


def autoencoder_from_diffusers(state: Mapping[str, Tensor], config: AutoencoderConfig) -> Autoencoder:
    """Build an autoencoder with the weights of a diffusers `AutoencoderKL`, under its new or old names.

    Args:
        state: its state dict; any float type.
        config: its size, such as SD_AUTOENCODER or autoencoder_config_from_diffusers(...).
    Returns:
        The autoencoder on the CPU with float32 copies of the weights.
    Raises:
        ValueError: a key is missing or unexpected, or a shape differs; the message names the first few.
    """
    with torch.device("meta"):
        autoencoder = Autoencoder(config)
    return _fill(autoencoder, {_new_name(key): value for key, value in state.items()})


def autoencoder_to_diffusers(autoencoder: Autoencoder) -> dict[str, Tensor]:
    """The weights of an autoencoder under the names of a diffusers `AutoencoderKL`.

    Args:
        autoencoder: an autoencoder without stem.
    Returns:
        A state dict that shares memory with the net.
    Raises:
        ValueError: the autoencoder has a stem, which diffusers doesn't know.
    """
    return _rename(autoencoder, autoencoder.config.stem)


def _their_name(ours: str) -> str:
    """Our key in their words."""
    return ".".join(NAMES.get(part, part) for part in ours.split("."))


def _new_name(theirs: str) -> str:
    """A key of an older file in today's words."""
    return ".".join(OLD_NAMES.get(part, part) for part in theirs.split("."))


def _rename(net: nn.Module, stem: int) -> dict[str, Tensor]:
    """The weights under their names."""
    if stem > 1:
        raise ValueError(f"The net has stem={stem}; diffusers knows only stem=1.")
    return {_their_name(key): value for key, value in net.state_dict().items()}


def _fill(net: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Move a net from the meta device to the CPU, with copies of their weights."""
    names = {ours: _their_name(ours) for ours in net.state_dict()}
    missing = [theirs for theirs in names.values() if theirs not in state]
    unexpected = sorted(set(state) - set(names.values()))
    shapes = [
        f"{names[ours]} is {tuple(state[names[ours]].shape)}, expected {tuple(value.shape)}"
        for ours, value in net.state_dict().items()
        if names[ours] in state and state[names[ours]].shape != value.shape
    ]
    faults = []
    if missing:
        faults.append(f"missing: {_few(missing)}")
    if unexpected:
        faults.append(f"unexpected: {_few(unexpected)}")
    if shapes:
        faults.append(f"wrong shapes: {_few(shapes)}")
    if faults:
        raise ValueError(
            f"The state dict doesn't fit {net.config}. Keys {'; '.join(faults)}. Check that the configuration "
            f"belongs to these weights."
        )
    net.to_empty(device="cpu")
    net.load_state_dict({ours: state[theirs] for ours, theirs in names.items()})
    return net


def _few(names: list[str]) -> str:
    """The first three names and the number of the others."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
