"""The sizes of diffusers' models in our words: their settings to our configurations. Used in notebook 18."""

from collections.abc import Mapping
from typing import Any

from ldm_edu.nets.autoencoder import AutoencoderConfig
from ldm_edu.nets.unet import UNetConfig

# Settings of theirs that our nets have with one value only.
UNET_FIXED = {
    "center_input_sample": False,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
    "dropout": 0.0,
    "act_fn": "silu",
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "resnet_out_scale_factor": 1.0,
    "time_embedding_type": "positional",
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "attention_type": "default",
}
UNET_READ = {
    "in_channels",
    "out_channels",
    "block_out_channels",
    "layers_per_block",
    "down_block_types",
    "up_block_types",
    "norm_num_groups",
    "cross_attention_dim",
    "attention_head_dim",
    "transformer_layers_per_block",
    "use_linear_projection",
    "num_class_embeds",
}
# Settings without a meaning for the weights and the result.
UNET_IGNORED = {"sample_size", "upcast_attention", "addition_embed_type_num_heads"}
AUTOENCODER_FIXED = {"act_fn": "silu", "use_quant_conv": True, "use_post_quant_conv": True}
AUTOENCODER_READ = {
    "in_channels",
    "out_channels",
    "latent_channels",
    "block_out_channels",
    "layers_per_block",
    "down_block_types",
    "up_block_types",
    "norm_num_groups",
    "mid_block_add_attention",
}
AUTOENCODER_IGNORED = {"sample_size", "force_upcast", "scaling_factor", "shift_factor"}


def unet_config_from_diffusers(settings: Mapping[str, Any]) -> UNetConfig:
    """Read the size of a U-Net from the settings of a diffusers `UNet2DConditionModel`.

    Args:
        settings: the content of its config.json, or its `.config`.
    Returns:
        The size. With class labels, their last row is taken for "no class".
    Raises:
        ValueError: a setting is missing, or has a value that our U-Net doesn't have.
    """
    _refuse_others(settings, UNET_FIXED, UNET_READ | UNET_IGNORED)
    width, multipliers = _levels(settings)
    down, up = list(_need(settings, "down_block_types")), list(_need(settings, "up_block_types"))
    attention = tuple(level for level, kind in enumerate(down) if kind == "CrossAttnDownBlock2D")
    inside = range(len(down))
    if down != ["CrossAttnDownBlock2D" if i in attention else "DownBlock2D" for i in inside]:
        raise ValueError(f"down_block_types is {down}; expected only CrossAttnDownBlock2D and DownBlock2D.")
    if up != ["CrossAttnUpBlock2D" if i in attention else "UpBlock2D" for i in reversed(inside)]:
        raise ValueError(f"up_block_types is {up}; expected the kinds of down_block_types {down}, reversed.")
    # Their attention_head_dim is the number of heads, whatever its name says.
    heads = _need(settings, "attention_head_dim")
    per_level = list(heads) if isinstance(heads, list | tuple) else [heads] * len(multipliers)
    if len(per_level) != len(multipliers):
        raise ValueError(f"attention_head_dim is {heads}; expected one number, or one a level ({len(multipliers)}).")
    if settings.get("norm_num_groups", 32) is None:
        raise ValueError("norm_num_groups is None; our blocks always normalise: expected a number of groups.")
    sizes = {width * m // h for m, h in zip(multipliers, per_level, strict=True)}
    same_heads = len(set(per_level)) == 1
    if not same_heads and len(sizes) > 1:
        raise ValueError(f"attention_head_dim is {heads}; expected one number of heads or one size of a head.")
    classes = settings.get("num_class_embeds")
    return UNetConfig(
        in_channels=settings.get("in_channels", 4),
        out_channels=settings.get("out_channels", 4),
        width=width,
        multipliers=multipliers,
        blocks=_single(settings, "layers_per_block", 2),
        attention=attention,
        heads=per_level[0] if same_heads else None,
        head_dim=None if same_heads else sizes.pop(),
        groups=settings.get("norm_num_groups", 32),
        depth=_single(settings, "transformer_layers_per_block", 1),
        num_classes=None if classes is None else classes - 1,
        context_dim=_single(settings, "cross_attention_dim", 1280),
        linear_proj=settings.get("use_linear_projection", False),
        zero_init=False,
    )


def autoencoder_config_from_diffusers(settings: Mapping[str, Any]) -> AutoencoderConfig:
    """Read the size of an autoencoder from the settings of a diffusers `AutoencoderKL`.

    The latents' scale, `scaling_factor` there, is no part of the autoencoder and isn't read.

    Args:
        settings: the content of its config.json, or its `.config`.
    Raises:
        ValueError: a setting is missing, or has a value that our autoencoder doesn't have.
    """
    _refuse_others(settings, AUTOENCODER_FIXED, AUTOENCODER_READ | AUTOENCODER_IGNORED)
    width, multipliers = _levels(settings)
    for name, kind in (("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")):
        if list(_need(settings, name)) != [kind] * len(multipliers):
            raise ValueError(f"{name} is {settings[name]}; expected {len(multipliers)} times {kind}.")
    channels = settings.get("in_channels", 3)
    if settings.get("out_channels", 3) != channels:
        raise ValueError(f"out_channels is {settings.get('out_channels', 3)}; expected in_channels={channels}.")
    return AutoencoderConfig(
        in_channels=channels,
        latent_channels=settings.get("latent_channels", 4),
        width=width,
        multipliers=multipliers,
        blocks=settings.get("layers_per_block", 1),
        groups=settings.get("norm_num_groups", 32),
        middle_attention=settings.get("mid_block_add_attention", True),
    )


def _refuse_others(settings: Mapping[str, Any], fixed: Mapping[str, Any], known: set[str]) -> None:
    """Refuse a setting that would change the net in a way we don't have."""
    for name, value in settings.items():
        if name in fixed and value != fixed[name]:
            raise ValueError(f"{name} is {value!r}; expected {fixed[name]!r}, the only value supported.")
        off = value is None or value is False
        if name not in fixed and name not in known and not name.startswith("_") and not off:
            raise ValueError(f"{name} is {value!r}; this setting isn't supported, expected it absent or None.")


def _need(settings: Mapping[str, Any], name: str) -> Any:
    """A setting that has to be there."""
    if name not in settings:
        raise ValueError(f"The settings have no {name}; expected the content of a model's config.json.")
    return settings[name]


def _single(settings: Mapping[str, Any], name: str, default: int) -> int | None:
    """A setting that is one value or, level by level, the same value."""
    value = settings.get(name, default)
    values = set(value) if isinstance(value, list | tuple) else {value}
    if len(values) > 1:
        raise ValueError(f"{name} is {value}; expected the same at every level.")
    return values.pop()


def _levels(settings: Mapping[str, Any]) -> tuple[int, tuple[int, ...]]:
    """Width and multipliers from the channels of each level."""
    channels = _need(settings, "block_out_channels")
    width = channels[0]
    if any(c % width for c in channels):
        raise ValueError(f"block_out_channels is {channels}; expected multiples of the first.")
    return width, tuple(c // width for c in channels)
