"""The U-Net, the autoencoder and their parts."""

import json
import math
from dataclasses import asdict, replace

import pytest
import torch

from ldm_edu.nets.attention import Attention, SpatialTransformer
from ldm_edu.nets.autoencoder import Autoencoder, AutoencoderConfig, Gaussian
from ldm_edu.nets.blocks import Downsample, GroupNorm, ResBlock, Upsample, to_map, to_tokens
from ldm_edu.nets.embed import timestep_embedding
from ldm_edu.nets.unet import UNet, UNetConfig

SMALL = UNetConfig(in_channels=2, out_channels=3, width=8, multipliers=(1, 2), heads=2, groups=4, zero_init=False)
UNETS = {
    "lean": SMALL,
    "three levels": replace(SMALL, multipliers=(1, 2, 3), blocks=2, attention=(1,)),
    "one level": replace(SMALL, multipliers=(2,), attention=(0,), depth=2),
    "classes": replace(SMALL, num_classes=3),
    "context": replace(SMALL, context_dim=5, attention=(0, 1)),
    "linear, head_dim": replace(SMALL, context_dim=5, linear_proj=True, heads=None, head_dim=4),
    "no attention": replace(SMALL, middle_attention=False),
    "stem": replace(SMALL, stem=2),
}
TINY = AutoencoderConfig(in_channels=2, latent_channels=3, width=8, multipliers=(1, 2), groups=4)
AUTOENCODERS = {
    "default": TINY,
    "three levels": replace(TINY, multipliers=(1, 1, 2), blocks=2),
    "one level": replace(TINY, multipliers=(1,)),
    "stem, no attention": replace(TINY, stem=2, middle_attention=False),
}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(net: type, config, seed: int = 0):
    """A net whose every parameter is drawn from a seed, without touching the global generator."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return net(config)


def inputs(config: UNetConfig, batch: int = 3, height: int = 12, width: int = 8):
    """x, t and the condition that a configuration asks for."""
    x = torch.randn(batch, config.in_channels, height, width, generator=rng(1))
    t = torch.tensor([1, 40, 999])[:batch]
    if config.num_classes:
        return x, t, torch.tensor([0, 2, config.num_classes])[:batch]
    if config.context_dim:
        return x, t, torch.randn(batch, 4, config.context_dim, generator=rng(2))
    return x, t, None


# --- time ---


def test_timestep_embedding_is_cosines_then_sines_of_falling_frequency():
    t, dim = torch.tensor([0.0, 1.0, 7.5]), 8
    e = timestep_embedding(t, dim, max_period=100)
    for b, time in enumerate(t.tolist()):
        for i in range(4):
            omega = 100 ** (-i / 4)
            assert e[b, i].item() == pytest.approx(math.cos(time * omega), abs=1e-6)
            assert e[b, 4 + i].item() == pytest.approx(math.sin(time * omega), abs=1e-6)


def test_timestep_embedding_takes_integers():
    t = torch.tensor([3, 1000])
    assert torch.equal(timestep_embedding(t, 6), timestep_embedding(t.double(), 6))


@pytest.mark.parametrize(
    ("t", "dim", "message"), [(torch.ones(2, 1), 4, "expected \\(B,\\)"), (torch.ones(2), 5, "even")]
)
def test_timestep_embedding_refuses(t, dim, message):
    with pytest.raises(ValueError, match=message):
        timestep_embedding(t, dim)


# --- parts ---


def test_tokens_and_map_are_inverse_and_free_in_channels_last():
    x = torch.randn(2, 3, 4, 5, generator=rng()).contiguous(memory_format=torch.channels_last)
    tokens = to_tokens(x)
    assert tokens.shape == (2, 20, 3)
    assert torch.equal(tokens[1, 7], x[1, :, 1, 2])
    assert torch.equal(to_map(tokens, 4, 5), x)
    assert tokens.data_ptr() == x.data_ptr()
    assert tokens.is_contiguous()


@pytest.mark.parametrize("context_dim", [None, 5])
def test_attention_is_the_formula(context_dim):
    layer = build(lambda c: Attention(6, heads=2, context_dim=c), context_dim).double()
    x = torch.randn(2, 7, 6, generator=rng(), dtype=torch.float64)
    context = None if context_dim is None else torch.randn(2, 4, context_dim, generator=rng(), dtype=torch.float64)
    source = x if context is None else context
    q, k, v = x @ layer.to_q.weight.T, source @ layer.to_k.weight.T, source @ layer.to_v.weight.T
    heads = []
    for part in (slice(0, 3), slice(3, 6)):
        weights = torch.softmax(q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(3), dim=-1)
        heads.append(weights @ v[..., part])
    expected = layer.to_out(torch.cat(heads, dim=-1))
    torch.testing.assert_close(layer(x, context), expected, rtol=1e-10, atol=1e-10)


def test_zero_init_makes_the_parts_start_as_identity():
    x, temb = torch.randn(2, 8, 5, 6, generator=rng()), torch.randn(2, 4, generator=rng())
    assert torch.equal(ResBlock(8, 8, 4, groups=2, zero_init=True)(x, temb), x)
    assert torch.equal(SpatialTransformer(8, 2, 1, 2, None, zero_init=True)(x), x)
    assert not torch.equal(ResBlock(8, 8, 4, groups=2)(x, temb), x)


def test_downsample_sizes():
    x = torch.zeros(1, 2, 7, 8)
    assert Downsample(2)(x).shape == (1, 2, 4, 4)
    assert Downsample(2, symmetric=False)(x).shape == (1, 2, 3, 4)


def test_upsample_repeats_pixels_up_to_the_size_asked_for():
    up = Upsample(1)
    with torch.no_grad():  # a convolution that copies its input
        up.conv.weight.zero_()[0, 0, 1, 1] = 1
        up.conv.bias.zero_()
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert torch.equal(up(x)[0, 0], x[0, 0].repeat_interleave(2, 0).repeat_interleave(2, 1))
    assert torch.equal(up(x, (3, 4))[0, 0], torch.tensor([[1.0, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4]]))


def test_upsample_is_one_transposed_convolution_where_the_size_doubles():
    up, x = Upsample(6), torch.randn(2, 6, 3, 5, generator=rng(), requires_grad=True)

    def with_gradients():
        y = up(x)
        return y, *torch.autograd.grad(y.square().sum(), (x, up.conv.weight, up.conv.bias))

    at_once = with_gradients()
    calls = []
    up.conv.register_forward_hook(lambda *_: calls.append(1))  # whoever listens hears the convolution
    for one, two in zip(at_once, with_gradients(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    assert calls


def test_upsample_leaves_a_convolution_that_wraps_around_to_itself():
    """Circular padding, set on a finished net, is how seamless tiles are drawn."""
    up, x = Upsample(2), torch.randn(1, 2, 3, 3, generator=rng())
    up.conv.padding_mode = "circular"
    torch.testing.assert_close(up(x), up.conv(torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")))


# --- U-Net ---


@pytest.mark.parametrize("config", UNETS.values(), ids=UNETS.keys())
def test_unet_every_parameter_matters(config):
    net = build(UNet, config)
    x, t, cond = inputs(config)
    out = net(x, t, cond)
    assert out.shape == (3, config.out_channels, 12, 8)
    out.square().mean().backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@pytest.mark.parametrize("config", UNETS.values(), ids=UNETS.keys())
def test_unet_treats_each_example_alone(config):
    net = build(UNet, config)
    x, t, cond = inputs(config)
    with torch.no_grad():
        whole = net(x, t, cond)
        alone = torch.cat(
            [net(x[i : i + 1], t[i : i + 1], None if cond is None else cond[i : i + 1]) for i in range(3)]
        )
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", UNETS.values(), ids=UNETS.keys())
def test_unet_in_channels_last_is_the_same_function(config):
    net = build(UNet, config)
    x, t, cond = inputs(config)
    with torch.no_grad():
        expected = net(x, t, cond)
        net = net.to(memory_format=torch.channels_last)
        out = net(x.contiguous(memory_format=torch.channels_last), t, cond)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    if config.stem == 1:
        assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("config", UNETS.values(), ids=UNETS.keys())
def test_unet_starts_at_zero_with_zero_init(config):
    net = build(UNet, replace(config, zero_init=True))
    assert not net(*inputs(config)).any()


def test_unet_uses_time_and_condition():
    for name in ("classes", "context"):
        net, (x, t, cond) = build(UNet, UNETS[name]), inputs(UNETS[name])
        out = net(x, t, cond)
        assert not torch.allclose(out, net(x, t + 20, cond), atol=1e-4)
        assert not torch.allclose(out, net(x, t, cond.flip(0)), atol=1e-4)


def test_unet_takes_one_time_for_all():
    net, (x, _, _) = build(UNet, SMALL), inputs(SMALL)
    expected = net(x, torch.full((3,), 17))
    for t in (17, 17.0, torch.tensor(17)):
        torch.testing.assert_close(net(x, t), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_unet_takes_floats_of_any_width_in_the_type_of_its_weights(dtype):
    net, (x, t, cond) = build(UNet, UNETS["context"]), inputs(UNETS["context"])
    x, cond = x.to(dtype), cond.to(dtype)
    with torch.no_grad():
        assert torch.equal(net(x, t, cond), net(x.float(), t, cond.float()))
        assert torch.equal(net(x.float(), t, cond), net(x.float(), t, cond.float()))


def test_unet_without_labels_means_no_class():
    net, (x, t, _) = build(UNet, UNETS["classes"]), inputs(UNETS["classes"])
    torch.testing.assert_close(net(x, t), net(x, t, torch.full((3,), 3)), rtol=1e-4, atol=1e-5)
    assert net(x[:0], t[:0], t[:0]).shape == (0, 3, 12, 8)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (6, 9), (15, 4)])
def test_unet_takes_any_size(height, width):
    config = UNETS["three levels"]
    x, t, cond = inputs(config, height=height, width=width)
    assert build(UNet, config)(x, t, cond).shape == (3, 3, height, width)


def test_unet_keeps_half_precision():
    net = build(UNet, SMALL).bfloat16()
    x, t, _ = inputs(SMALL)
    assert net(x.bfloat16(), t).dtype == torch.bfloat16


def test_groups_are_normalised_in_float32_under_autocast():
    norm, x = GroupNorm(2, 4), torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        answer = norm(x)
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, torch.nn.functional.group_norm(x.float(), 2))


def test_under_autocast_the_answer_is_nearly_the_same():
    net, (x, t, _) = build(UNet, SMALL), inputs(SMALL)
    with torch.no_grad():
        whole = net(x, t)
        with torch.autocast("cpu", torch.bfloat16):
            half = net(x, t)
    assert half.dtype == torch.bfloat16
    assert 0 < (half - whole).std() < 0.02 * whole.std()  # bfloat16 keeps eight bits: 0.002 in each of ten layers


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (SMALL, {"x": torch.zeros(3, 4, 8, 8)}, r"\(3, 4, 8, 8\); expected floats of shape \(B, 2, H, W\)"),
        (SMALL, {"x": torch.zeros(2, 8, 8)}, r"expected floats of shape \(B, 2, H, W\)"),
        (SMALL, {"x": torch.zeros(3, 2, 8, 8, dtype=torch.uint8)}, "torch.uint8"),
        (UNETS["stem"], {"x": torch.zeros(3, 2, 9, 8)}, "9x8 pixels; expected multiples of stem=2"),
        (SMALL, {"t": torch.ones(2)}, r"t has shape \(2,\); expected \(3,\)"),
        (SMALL, {"t": torch.ones(3, 1)}, r"t has shape \(3, 1\)"),
        (SMALL, {"cond": torch.zeros(3)}, "takes none; set num_classes or context_dim"),
        (UNETS["classes"], {"cond": torch.tensor([0, 1, 4])}, "labels from 0 to 4; expected 0 to 2, or 3 for no class"),
        (UNETS["classes"], {"cond": torch.tensor([0, -1, 2])}, "labels from -1 to 2"),
        (UNETS["classes"], {"cond": torch.zeros(3)}, "torch.float32 of shape .*expected torch.int64"),
        (UNETS["classes"], {"cond": torch.zeros(1, dtype=torch.int64)}, r"labels of shape \(3,\)"),
        (UNETS["context"], {"cond": None}, r"cond is None; expected a context of shape \(3, L, 5\)"),
        (UNETS["context"], {"cond": torch.zeros(3, 4, 6)}, r"\(3, 4, 6\); expected floats of shape \(3, L, 5\)"),
        (UNETS["context"], {"cond": torch.zeros(1, 4, 5)}, r"expected floats of shape \(3, L, 5\)"),
        (UNETS["context"], {"cond": torch.zeros(3, 4, 5, dtype=torch.int64)}, "torch.int64"),
    ],
)
def test_unet_refuses(config, change, message):
    given = dict(zip(("x", "t", "cond"), inputs(config), strict=True))
    with pytest.raises(ValueError, match=message):
        build(UNet, config)(**{**given, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": 0}, "blocks must be a whole number, 1 or more, got 0"),
        ({"stem": 1.5}, "stem must be a whole number, 1 or more, got 1.5"),
        ({"num_classes": 0}, "num_classes must be a whole number, 1 or more, got 0"),
        ({"multipliers": ()}, "multipliers is"),
        ({"multipliers": (1, 0)}, "multipliers is"),
        ({"attention": (2,)}, r"attention is \(2,\); expected levels out of \(0, 1\)"),
        ({"width": 9, "groups": 3}, "width is 9; expected an even number"),
        ({"head_dim": 4}, "give exactly one"),
        ({"heads": None}, "give exactly one"),
        ({"num_classes": 2, "context_dim": 2}, "choose one kind of condition"),
        ({"context_dim": 2, "middle_attention": False}, "no level has attention"),
        ({"groups": 3}, "8 channels; expected a multiple of groups=3"),
        ({"heads": 3}, "Level 1 has 16 channels and attention; expected a multiple of heads=3"),
        ({"heads": None, "head_dim": 5}, "expected a multiple of head_dim=5"),
    ],
)
def test_unet_config_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


@pytest.mark.parametrize("config", [*UNETS.values(), *AUTOENCODERS.values()])
def test_config_survives_json(config):
    again = type(config)(**json.loads(json.dumps(asdict(config))))
    assert again == config
    assert hash(again) == hash(config)


# --- autoencoder ---


def test_autoencoder_starts_sharp_and_with_idle_branches():
    net = build(Autoencoder, AUTOENCODERS["default"])
    code = net.encode(torch.randn(2, 2, 4 * net.factor, 4 * net.factor, generator=rng()))
    assert torch.equal(code.logvar, torch.full_like(code.logvar, -6.0))
    blocks = [m for m in net.modules() if isinstance(m, ResBlock)]
    assert blocks
    assert not any(b.conv2.weight.any() or b.conv2.bias.any() for b in blocks)


@pytest.mark.parametrize("config", AUTOENCODERS.values(), ids=AUTOENCODERS.keys())
def test_autoencoder_shapes_and_gradients(config):
    net = build(Autoencoder, replace(config, zero_init=False))
    side = 3 * net.factor
    x = torch.randn(2, 2, side, 2 * side, generator=rng())
    code = net.encode(x)
    assert code.mean.shape == code.logvar.shape == (2, 3, 3, 6)
    out = net.decode(code.sample(rng()))
    assert out.shape == x.shape
    ((out - x).square().mean() + code.kl().mean()).backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # A key's bias adds the same number to all of a pixel's scores, which softmax doesn't see.
    assert [name for name in dead if not name.endswith("to_k.bias")] == []


@pytest.mark.parametrize("config", AUTOENCODERS.values(), ids=AUTOENCODERS.keys())
def test_autoencoder_alone_and_in_channels_last(config):
    net = build(Autoencoder, config)
    x = torch.randn(3, 2, 8, 12, generator=rng())
    with torch.no_grad():
        mean, logvar = net.encode(x)
        picture = net.decode(mean)
        for i in range(3):
            torch.testing.assert_close(net.encode(x[i : i + 1]).mean, mean[i : i + 1], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(net.decode(mean[i : i + 1]), picture[i : i + 1], rtol=1e-4, atol=1e-5)
        net = net.to(memory_format=torch.channels_last)
        code = net.encode(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(code.mean, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(code.logvar, logvar, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net.decode(mean), picture, rtol=1e-4, atol=1e-5)


def test_autoencoder_holds_logvar():
    net = build(Autoencoder, TINY)
    with torch.no_grad():
        net.quant.weight.zero_()
        net.quant.bias.copy_(torch.tensor([0.0, 0, 0, -100, 0, 100]))
    logvar = net.encode(torch.zeros(1, 2, 4, 4)).logvar
    assert logvar[0, :, 0, 0].tolist() == [-30, 0, 20]


def test_gaussian_kl_is_torchs():
    code = Gaussian(torch.randn(4, 3, 2, 2, generator=rng()), torch.randn(4, 3, 2, 2, generator=rng(1)))
    q = torch.distributions.Normal(code.mean, torch.exp(0.5 * code.logvar))
    p = torch.distributions.Normal(torch.zeros_like(code.mean), torch.ones_like(code.mean))
    expected = torch.distributions.kl_divergence(q, p).sum((1, 2, 3))
    torch.testing.assert_close(code.kl(), expected)
    zeros = torch.zeros(2, 3, 2, 2)
    assert Gaussian(zeros, zeros).kl().tolist() == [0, 0]


def test_gaussian_samples_have_its_moments():
    n = 100_000
    code = Gaussian(torch.full((n, 1, 1, 1), 3.0), torch.full((n, 1, 1, 1), math.log(0.25)))
    draw = code.sample(rng())
    assert draw.mean().item() == pytest.approx(3, abs=5 * 0.5 / math.sqrt(n))
    assert draw.var().item() == pytest.approx(0.25, abs=5 * 0.25 * math.sqrt(2 / n))
    assert torch.equal(draw, code.sample(rng()))
    assert not torch.equal(draw, code.sample(rng(1)))


def test_autoencoder_factor():
    assert [replace(TINY, multipliers=m, stem=s).factor for m, s in (((1,), 1), ((1, 2), 2), ((1, 1, 1, 1), 1))] == [
        1,
        4,
        8,
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_autoencoder_takes_floats_of_any_width_in_the_type_of_its_weights(dtype):
    net = build(Autoencoder, TINY)
    x, latent = torch.rand(1, 2, 8, 8).to(dtype), torch.rand(1, 3, 4, 4).to(dtype)
    with torch.no_grad():
        assert torch.equal(net.encode(x).mean, net.encode(x.float()).mean)
        assert torch.equal(net.decode(latent), net.decode(latent.float()))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_autoencoder_refuses_whole_numbers(dtype):
    net = build(Autoencoder, TINY)
    with pytest.raises(ValueError, match=rf"x must be floats, got {dtype}: pictures are in \[-1, 1\], as .*to_float"):
        net.encode(torch.ones(1, 2, 8, 8, dtype=dtype))
    with pytest.raises(ValueError, match=f"latent must be floats, got {dtype}"):
        net.decode(torch.ones(1, 3, 4, 4, dtype=dtype))


def test_autoencoder_refuses():
    net = build(Autoencoder, TINY)
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\); expected \(B, 2, H, W\)"):
        net.encode(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="7x8 pixels; expected multiples of factor=2"):
        net.encode(torch.zeros(1, 2, 7, 8))
    with pytest.raises(ValueError, match=r"\(1, 2, 4, 4\); expected \(B, 3, h, w\)"):
        net.decode(torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match="latent_channels must be a whole number, 1 or more, got 0"):
        replace(TINY, latent_channels=0)
    with pytest.raises(ValueError, match="multipliers is"):
        replace(TINY, multipliers=())
    with pytest.raises(ValueError, match="multiple of groups=3"):
        replace(TINY, groups=3)
