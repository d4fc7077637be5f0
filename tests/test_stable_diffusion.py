"""Our nets and those of diffusers are the same functions of the same weights."""

import re
from dataclasses import asdict, replace

import pytest
import torch

from ldm_edu.nets.autoencoder import Autoencoder
from ldm_edu.nets.unet import UNet, UNetConfig
from ldm_edu.stable_diffusion import (
    SD1_UNET,
    SD2_UNET,
    SD_AUTOENCODER,
    ZeroBased,
    autoencoder_config_from_diffusers,
    autoencoder_from_diffusers,
    autoencoder_to_diffusers,
    unet_config_from_diffusers,
    unet_from_diffusers,
    unet_to_diffusers,
)

diffusers = pytest.importorskip("diffusers")

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
COMMON = {"norm_num_groups": 4, "cross_attention_dim": 6, "attention_head_dim": 2, "layers_per_block": 1}
# What to build with diffusers, and the same in our words.
UNETS = {
    "lean": ([8, 16], [PLAIN, PLAIN], {}, {}),
    "cross attention at the top": ([8, 16], [CROSS, PLAIN], {"layers_per_block": 2}, {"attention": (0,), "blocks": 2}),
    "three levels, linear": (
        [8, 16, 16],
        [PLAIN, CROSS, CROSS],
        {"use_linear_projection": True, "transformer_layers_per_block": 2, "attention_head_dim": [2, 4, 4]},
        {"attention": (1, 2), "linear_proj": True, "depth": 2, "heads": None, "head_dim": 4},
    ),
    "no context, classes": (
        [8, 16],
        [PLAIN, PLAIN],
        {"cross_attention_dim": (None, None), "num_class_embeds": 4, "in_channels": 3, "out_channels": 5},
        {"context_dim": None, "num_classes": 3, "in_channels": 3, "out_channels": 5},
    ),
}


def their_unet(name: str) -> torch.nn.Module:
    channels, down, more, _ = UNETS[name]
    up = [kind.replace("Down", "Up") for kind in reversed(down)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return diffusers.UNet2DConditionModel(
            block_out_channels=channels, down_block_types=down, up_block_types=up, **{**COMMON, **more}
        ).eval()


def our_config(name: str) -> UNetConfig:
    channels, _, _, ours = UNETS[name]
    multipliers = tuple(c // 8 for c in channels)
    lean = UNetConfig(width=8, multipliers=multipliers, heads=2, groups=4, context_dim=6, zero_init=False)
    return replace(lean, **ours)


def unet_inputs(config: UNetConfig, height: int, width: int):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(3, config.in_channels, height, width, generator=g)
    t = torch.tensor([0, 333, 999])
    context = None if config.context_dim is None else torch.randn(3, 4, config.context_dim, generator=g)
    labels = None if config.num_classes is None else torch.tensor([0, 2, 3])
    return x, t, context, labels


def assert_same(ours: torch.Tensor, theirs: torch.Tensor):
    """The largest difference is below 1e-5 of the largest value."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


def count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def shapes(state: dict) -> dict:
    return {key: tuple(value.shape) for key, value in state.items()}


# --- U-Net ---


@pytest.mark.parametrize("size", [(8, 12), (7, 9)], ids=["even", "odd"])
@pytest.mark.parametrize("name", UNETS)
def test_unet_with_their_weights_gives_their_numbers(name, size):
    theirs, config = their_unet(name), our_config(name)
    ours = unet_from_diffusers(theirs.state_dict(), config)
    x, t, context, labels = unet_inputs(config, *size)
    with torch.no_grad():
        expected = theirs(x, t, encoder_hidden_states=context, class_labels=labels).sample
        assert_same(ours(x, t + 1, context if labels is None else labels), expected)
        assert_same(ours.unet(x, t, context if labels is None else labels), expected)
    assert count(ours) == count(theirs)


@pytest.mark.parametrize("name", UNETS)
def test_their_unet_with_our_weights_gives_our_numbers(name):
    theirs, config = their_unet(name), our_config(name)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        ours = UNet(config)
    theirs.load_state_dict(unet_to_diffusers(ours))
    x, t, context, labels = unet_inputs(config, 8, 8)
    with torch.no_grad():
        expected = ours(x, t, context if labels is None else labels)
        assert_same(theirs(x, t, encoder_hidden_states=context, class_labels=labels).sample, expected)


@pytest.mark.parametrize("name", UNETS)
def test_unet_config_is_read_from_their_settings(name):
    assert unet_config_from_diffusers(their_unet(name).config) == our_config(name)


def test_unet_weights_are_copies_in_float32():
    state = {key: value.half() for key, value in their_unet("lean").state_dict().items()}
    ours = unet_from_diffusers(state, our_config("lean")).unet
    assert ours.conv_in.weight.dtype == torch.float32
    assert torch.equal(ours.conv_in.weight, state["conv_in.weight"].float())
    with torch.no_grad():
        ours.conv_in.weight.zero_()
    assert state["conv_in.weight"].any()


def test_zero_based_counts_from_one():
    ours = unet_from_diffusers(their_unet("lean").state_dict(), our_config("lean"))
    x, _, context, _ = unet_inputs(ours.config, 8, 8)
    assert isinstance(ours, ZeroBased)
    for t in (torch.tensor([1, 2, 3]), torch.tensor(5), 5):
        assert torch.equal(ours(x, t, context), ours.unet(x, t - 1, context))


# --- autoencoder ---


def their_autoencoder(levels: int, **more) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return diffusers.AutoencoderKL(
            block_out_channels=[8, 16, 16][:levels],
            down_block_types=["DownEncoderBlock2D"] * levels,
            up_block_types=["UpDecoderBlock2D"] * levels,
            norm_num_groups=4,
            **more,
        ).eval()


AUTOENCODERS = {
    "two levels": (2, {}),
    "three levels": (3, {"layers_per_block": 2, "latent_channels": 5, "in_channels": 1, "out_channels": 1}),
    "no attention": (2, {"mid_block_add_attention": False}),
}


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_autoencoder_with_their_weights_gives_their_numbers(name):
    levels, more = AUTOENCODERS[name]
    theirs = their_autoencoder(levels, **more)
    config = autoencoder_config_from_diffusers(theirs.config)
    ours = autoencoder_from_diffusers(theirs.state_dict(), config)
    x = torch.randn(2, config.in_channels, 8, 12, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mine, their_code = ours.encode(x), theirs.encode(x).latent_dist
        assert_same(mine.mean, their_code.mean)
        assert_same(mine.logvar, their_code.logvar)
        assert_same(mine.kl(), their_code.kl())
        assert_same(ours.decode(mine.mean), theirs.decode(mine.mean).sample)
    assert count(ours) == count(theirs)


def test_their_autoencoder_with_our_weights_gives_our_numbers():
    theirs = their_autoencoder(2)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        ours = Autoencoder(autoencoder_config_from_diffusers(theirs.config))
    theirs.load_state_dict(autoencoder_to_diffusers(ours))
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mean = ours.encode(x).mean
        assert_same(theirs.encode(x).latent_dist.mean, mean)
        assert_same(theirs.decode(mean).sample, ours.decode(mean))


def test_autoencoder_reads_old_names():
    theirs = their_autoencoder(2)
    config, state = autoencoder_config_from_diffusers(theirs.config), theirs.state_dict()
    old = {}
    for key, value in state.items():
        for new_part, old_part in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            key = key.replace(new_part, old_part)
        old[key] = value
    assert len(set(old) - set(state)) == 16
    expected = autoencoder_from_diffusers(state, config).state_dict()
    for key, value in autoencoder_from_diffusers(old, config).state_dict().items():
        assert torch.equal(value, expected[key])


# --- the full sizes, without memory: only names and shapes ---


SD = {
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": (CROSS, CROSS, CROSS, PLAIN),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}
SD1 = {**SD, "cross_attention_dim": 768, "attention_head_dim": 8}
SD2 = {
    **SD,
    "cross_attention_dim": 1024,
    "attention_head_dim": [5, 10, 20, 20],
    "use_linear_projection": True,
    "upcast_attention": True,
}


@pytest.mark.parametrize(
    ("settings", "config", "parameters"),
    [(SD1, SD1_UNET, 859_520_964), (SD2, SD2_UNET, 865_910_724)],
    ids=["1.5", "2.1"],
)
def test_stable_diffusions_unet(settings, config, parameters):
    with torch.device("meta"):
        ours, theirs = UNet(config), diffusers.UNet2DConditionModel(**settings)
    assert count(ours) == parameters
    assert shapes(unet_to_diffusers(ours)) == shapes(theirs.state_dict())
    assert unet_config_from_diffusers(settings) == unet_config_from_diffusers(theirs.config) == config


def test_stable_diffusions_autoencoder():
    settings = {
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "latent_channels": 4,
    }
    with torch.device("meta"):
        ours, theirs = Autoencoder(SD_AUTOENCODER), diffusers.AutoencoderKL(**settings)
    assert count(ours) == 83_653_863
    assert ours.factor == 8
    assert shapes(autoencoder_to_diffusers(ours)) == shapes(theirs.state_dict())
    assert autoencoder_config_from_diffusers(theirs.config) == SD_AUTOENCODER


# --- errors ---


def test_weights_that_do_not_fit_are_named():
    state, config = their_unet("lean").state_dict(), our_config("lean")
    with pytest.raises(ValueError, match=re.escape("missing: conv_in.weight.")):
        unet_from_diffusers({key: value for key, value in state.items() if key != "conv_in.weight"}, config)
    with pytest.raises(ValueError, match=re.escape("unexpected: a.bias, a.weight, b.bias and 1 more")):
        unet_from_diffusers(
            {**state, **{f"{a}.{b}": state["conv_in.bias"] for a in "ab" for b in ("bias", "weight")}}, config
        )
    with pytest.raises(ValueError, match=re.escape("wrong shapes: conv_in.bias is (3,), expected (8,)")):
        unet_from_diffusers({**state, "conv_in.bias": torch.zeros(3)}, config)
    with pytest.raises(ValueError, match=r"missing: .* and \d+ more\. Check that the configuration"):
        unet_from_diffusers(state, replace(config, blocks=2))
    with pytest.raises(ValueError, match=re.escape("missing: encoder.conv_in.weight, encoder.conv_in.bias")):
        autoencoder_from_diffusers({}, autoencoder_config_from_diffusers(their_autoencoder(2).config))


def test_a_stem_cannot_be_written():
    with pytest.raises(ValueError, match="stem=2; diffusers knows only stem=1"):
        unet_to_diffusers(UNet(replace(our_config("lean"), stem=2)))
    config = autoencoder_config_from_diffusers(their_autoencoder(2).config)
    with pytest.raises(ValueError, match="stem=2"):
        autoencoder_to_diffusers(Autoencoder(replace(config, stem=2)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"act_fn": "gelu"}, "act_fn is 'gelu'; expected 'silu'"),
        ({"freq_shift": 1}, "freq_shift is 1; expected 0"),
        ({"addition_embed_type": "text_time"}, "addition_embed_type is 'text_time'; this setting isn't supported"),
        ({"num_attention_heads": 4}, "num_attention_heads is 4"),
        ({"block_out_channels": (320, 400, 1280, 1280)}, "expected multiples of the first"),
        ({"down_block_types": (CROSS, CROSS, CROSS, "AttnDownBlock2D")}, "down_block_types is"),
        ({"up_block_types": ("UpBlock2D",) * 4}, "up_block_types is"),
        ({"attention_head_dim": [5, 10, 20, 8]}, "one number of heads or one size of a head"),
        ({"attention_head_dim": [4] * 9}, "expected one number, or one a level"),
        ({"norm_num_groups": None}, "norm_num_groups is None"),
        ({"cross_attention_dim": (768, 768, 768, 1024)}, "cross_attention_dim is .* the same at every level"),
    ],
)
def test_unet_settings_that_we_lack_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        unet_config_from_diffusers({**SD1, **change})


def test_settings_that_are_missing_are_named():
    with pytest.raises(ValueError, match="have no attention_head_dim"):
        unet_config_from_diffusers({key: value for key, value in SD1.items() if key != "attention_head_dim"})
    with pytest.raises(ValueError, match="have no block_out_channels"):
        autoencoder_config_from_diffusers({})


def test_autoencoder_settings_that_we_lack_are_refused():
    settings = dict(their_autoencoder(2).config)
    for change, message in (
        ({"use_quant_conv": False}, "use_quant_conv is False; expected True"),
        ({"out_channels": 1}, "out_channels is 1; expected in_channels=3"),
        ({"up_block_types": ["UpDecoderBlock2D", "AttnUpDecoderBlock2D"]}, "expected 2 times UpDecoderBlock2D"),
        ({"latents_mean": [0.0]}, "latents_mean is"),
    ):
        with pytest.raises(ValueError, match=message):
            autoencoder_config_from_diffusers({**settings, **change})


@pytest.mark.parametrize("config", [SD1_UNET, SD2_UNET, SD_AUTOENCODER])
def test_sizes_survive_asdict(config):
    assert type(config)(**asdict(config)) == config
