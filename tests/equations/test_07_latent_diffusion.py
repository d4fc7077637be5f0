"""Notebook 07: the collapse of a free code, the bound of two stages, the cost of a U-Net, normalised latents."""

import math

import pytest
import torch
from torch.distributions import Normal
from torch.utils.flop_counter import FlopCounterMode

from ldm_edu.data.pictures import to_float
from ldm_edu.latent import LatentDiffusion, ModelConfig
from ldm_edu.nets.attention import Attention
from ldm_edu.nets.autoencoder import AutoencoderConfig
from ldm_edu.nets.unet import UNet, UNetConfig
from ldm_edu.schedule import cosine
from ldm_edu.train import encode_all

f64 = torch.float64
each_seed = pytest.mark.parametrize("seed", [0, 1, 2])
LINE = torch.linspace(-12, 12, 4801, dtype=f64)


def uniform(generator, low, high, *shape):
    return low + (high - low) * torch.rand(shape, dtype=f64, generator=generator)


def normal(mean, variance):
    return Normal(mean, torch.as_tensor(variance, dtype=f64).sqrt())


def integral(values):
    return torch.trapezoid(values, LINE)


def flops(net, *inputs):
    with FlopCounterMode(display=False) as counter:
        net(*inputs)
    return counter.get_total_flops()


@each_seed
@pytest.mark.equation("7.1")
def test_the_floor_of_the_eps_loss_falls_with_the_size_of_the_latents(seed):
    """The best guess by Bayes' rule on a grid of ε, and its squared error averaged over a grid of x_t."""
    g = torch.Generator().manual_seed(seed)
    s, angle = uniform(g, 0.05, 2, 1).item(), uniform(g, 0.3, 1.2, 1).item()
    signal, noise = math.cos(angle), math.sin(angle)
    spread = math.sqrt(signal**2 * s**2 + noise**2)
    x_t = spread * torch.linspace(-8, 8, 801, dtype=f64)
    joint = (normal(0.0, 1.0).log_prob(LINE) + normal(noise * LINE, (signal * s) ** 2).log_prob(x_t[:, None])).exp()
    mean = torch.trapezoid(joint * LINE, LINE, dim=1) / torch.trapezoid(joint, LINE, dim=1)
    squared = torch.trapezoid(joint * (LINE - mean[:, None]) ** 2, LINE, dim=1)
    floor = signal**2 * s**2 / (signal**2 * s**2 + noise**2)
    torch.testing.assert_close(torch.trapezoid(squared, x_t).item(), floor, rtol=1e-6, atol=1e-9)


def two_stage_model(seed):
    """On one number: log p(ℓ), log p(x|ℓ), log q(ℓ|x) on the grid, and the exact log p(x)."""
    g = torch.Generator().manual_seed(seed)
    slope, x, mean = (uniform(g, *limits, 1).item() for limits in ((0.3, 1.5), (-2, 2), (-1, 1)))
    variance, width = uniform(g, 0.2, 1, 2).tolist()
    log_p = normal(0.0, slope**2 + variance).log_prob(torch.tensor(x, dtype=f64))
    log_decoder = normal(slope * LINE, variance).log_prob(torch.tensor(x, dtype=f64))
    return normal(0.0, 1.0).log_prob(LINE), log_decoder, normal(mean, width).log_prob(LINE), log_p


@each_seed
@pytest.mark.equation("7.2")
def test_minus_log_p_is_distortion_and_rate_less_a_divergence(seed):
    log_prior, log_decoder, log_q, log_p = two_stage_model(seed)
    q = log_q.exp()
    terms = integral(q * -log_decoder) + integral(q * log_q) + integral(q * -log_prior)
    gap = integral(q * (log_q - (log_prior + log_decoder - log_p)))
    assert gap > 0
    torch.testing.assert_close(terms - gap, -log_p)


@each_seed
@pytest.mark.equation("7.3")
def test_the_bound_holds_with_the_bound_of_diffusion_inside(seed):
    """One diffusion step as p(ℓ): latent = a · u + noise with u ~ N(0, 1); L(ℓ) by its definition, q(u|ℓ) free."""
    g = torch.Generator().manual_seed(seed)
    _, log_decoder, log_q, _ = two_stage_model(seed)
    bar, slope, width = uniform(g, 0.2, 0.8, 3).tolist()
    log_u = normal(math.sqrt(bar) * LINE[:, None], 1 - bar).log_prob(LINE)  # q(u | ℓ), rows ℓ
    log_joint = normal(0.0, 1.0).log_prob(LINE) + normal(slope * LINE, width).log_prob(LINE[:, None])
    L = torch.trapezoid(log_u.exp() * (log_u - log_joint), LINE, dim=1)
    log_prior = normal(0.0, slope**2 + width).log_prob(LINE)
    assert (L > -log_prior).all()
    log_p = integral((log_prior + log_decoder).exp()).log()
    q = log_q.exp()
    assert integral(q * -log_decoder) + integral(q * log_q) + integral(q * L) > -log_p


@each_seed
@pytest.mark.equation("7.4")
def test_stage_two_pulls_the_prior_to_the_latents_of_all_pictures(seed):
    g = torch.Generator().manual_seed(seed)
    means, variances = uniform(g, -2, 2, 6), uniform(g, 0.05, 0.5, 6)
    each = normal(means[:, None], variances[:, None]).log_prob(LINE).exp()  # q(ℓ | x) of six pictures
    q = each.mean(0)
    log_prior = normal(uniform(g, -1, 1, 1), uniform(g, 0.5, 2, 1)).log_prob(LINE)
    left = torch.stack([integral(row * -log_prior) for row in each]).mean()
    kl = integral(q * (q.clamp(min=1e-300).log() - log_prior))
    assert kl > 0
    torch.testing.assert_close(left, integral(-q * q.clamp(min=1e-300).log()) + kl)


@each_seed
@pytest.mark.equation("7.5")
def test_cost_of_a_convolution_counted(seed):
    g = torch.Generator().manual_seed(seed)
    channels, out, h, w = torch.randint(3, 12, (4,), generator=g).tolist()
    k = (1, 3, 5)[seed]
    conv = torch.nn.Conv2d(channels, out, k, padding=k // 2)
    assert flops(conv, torch.zeros(1, channels, h, w)) == 2 * k**2 * channels * out * h * w


@each_seed
@pytest.mark.equation("7.6")
def test_cost_of_attention_counted(seed):
    g = torch.Generator().manual_seed(seed)
    heads, n = torch.randint(2, 9, (2,), generator=g).tolist()
    channels = 8 * heads
    attention = Attention(channels, heads).to("meta")
    linear = 4 * 2 * channels**2 * n  # Q, K, V and the output
    assert flops(attention, torch.zeros(1, n, channels, device="meta")) == linear + 4 * channels * n**2


@pytest.mark.parametrize("attention", [(), (0,), (0, 1)])
@pytest.mark.equation("7.7")
def test_cost_of_a_unet_is_a_polynomial_of_degree_two_in_places(attention):
    config = UNetConfig(width=16, multipliers=(1, 2), attention=attention, middle_attention=False, heads=2)
    net = UNet(config).to("meta")
    count = {side: flops(net, torch.zeros(1, 4, side, side, device="meta"), 1) for side in (8, 16, 32, 64)}
    places = torch.tensor([64.0, 256.0, 1024.0], dtype=f64)
    values = torch.tensor([count[8], count[16], count[32]], dtype=f64)
    c_0, c_1, c_2 = torch.linalg.solve(torch.stack([places**k for k in range(3)], 1), values).tolist()
    assert count[64] == pytest.approx(c_0 + c_1 * 4096 + c_2 * 4096**2, rel=1e-9)
    levels = {0: (16, 1), 1: (32, 4)}  # channels, and by how much the places shrink; three attentions a level
    by_hand = sum(3 * 4 * levels[level][0] / levels[level][1] ** 2 for level in attention)
    assert c_2 == pytest.approx(by_hand, abs=1e-6)
    for f in (2, 4, 8):  # the same polynomial at n / f²
        n = 64**2
        assert count[64 // f] == pytest.approx(c_0 + c_1 * n / f**2 + c_2 * n**2 / f**4, rel=1e-9)


@each_seed
@pytest.mark.equation("7.8")
def test_encoding_once_saves_all_but_one_pass_over_the_set(seed):
    """Both orders of a small training, counted: an encoder of one convolution, a network of another."""
    N, S, B, width = torch.randint(2, 9, (4,), generator=torch.Generator().manual_seed(seed)).tolist()
    encoder = torch.nn.Conv2d(1, 2, 4, stride=4, device="meta").requires_grad_(False)
    net = torch.nn.Sequential(torch.nn.Conv2d(2, width, 3, padding=1), torch.nn.Conv2d(width, 2, 1)).to("meta")

    def pictures(count):
        return torch.zeros(count, 1, 16, 16, device="meta")

    def train_on(latent):
        net(latent).sum().backward()

    def count(work):
        with FlopCounterMode(display=False) as counter:
            work()
        return counter.get_total_flops()

    def encode_in_each_step():
        for _ in range(S):
            train_on(encoder(pictures(B)))

    def encode_once():
        cache = encoder(pictures(N))
        for _ in range(S):
            train_on(cache[torch.zeros(B, dtype=torch.int64, device="meta")])

    E, U = count(lambda: encoder(pictures(1))), count(lambda: train_on(torch.zeros(1, 2, 4, 4, device="meta")))
    assert count(encode_in_each_step) == S * B * (E + U)
    assert count(encode_once) == N * E + S * B * U


@each_seed
@pytest.mark.equation("7.9")
def test_variance_of_codes_is_that_of_means_and_mean_of_that_of_draws(seed):
    """Exactly, for a code that takes mean ± std with equal chance; and as the package normalises codes."""
    g = torch.Generator().manual_seed(seed)
    mean, std = torch.randn(50, dtype=f64, generator=g), uniform(g, 0.1, 2, 50)
    draws = torch.cat([mean + std, mean - std])
    torch.testing.assert_close(draws.var(correction=0), mean.var(correction=0) + std.square().mean())

    size = AutoencoderConfig(in_channels=1, latent_channels=2, width=8, multipliers=(1,), stem=4, groups=2)
    unet = UNetConfig(in_channels=2, out_channels=2, width=8, multipliers=(1,), heads=2, groups=2)
    torch.manual_seed(seed)
    model = LatentDiffusion(ModelConfig(16, 1, unet, size), cosine(10)).requires_grad_(False)
    model.autoencoder.quant.bias.copy_(torch.randn(4, generator=g))  # a code with visible width
    pixels = torch.randint(256, (20, 1, 16, 16), generator=g).byte()
    mean, std = encode_all(model, pixels)
    torch.testing.assert_close(mean.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    total = mean.var((0, 2, 3), correction=0) + std.square().mean((0, 2, 3))
    torch.testing.assert_close(total, torch.ones(2))
    code = model.autoencoder.encode(to_float(pixels))
    torch.testing.assert_close(mean * model.latent_std + model.latent_mean, code.mean)


@each_seed
@pytest.mark.equation("7.10")
def test_scaling_latents_scales_the_signal_to_noise_ratio(seed):
    g = torch.Generator().manual_seed(seed)
    schedule = cosine(50)
    s = uniform(g, 0.1, 5, 1).item()
    latent = torch.randn(1000, dtype=f64, generator=g)
    latent = s * (latent - latent.mean()) / latent.std(correction=0)
    for t in (1, 10, 40):
        power = (schedule.signal[t] * latent).square().mean() / schedule.noise[t] ** 2
        torch.testing.assert_close(power, s**2 * schedule.snr[t])
