"""The equations of notebook 04, on random numbers in float64."""

import math

import pytest
import sympy as sp
import torch
from torch import nn
from torch.nn import functional as F

from ldm_edu.denoiser import make_denoiser, mixture_denoiser
from ldm_edu.fit import FitConfig
from ldm_edu.nets.attention import Attention
from ldm_edu.nets.blocks import ResBlock
from ldm_edu.nets.embed import timestep_embedding
from ldm_edu.samplers import ddim, last
from ldm_edu.schedule import cosine, from_betas

f64 = torch.float64
close = torch.testing.assert_close
each_seed = pytest.mark.parametrize("seed", [0, 1, 2])


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=f64, generator=torch.Generator().manual_seed(seed))


def seeded_net(make, seed):
    """A module with random weights everywhere, biases too, in float64."""
    net, generator = make().to(f64), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=f64, generator=generator) / 2)
    return net


@each_seed
@pytest.mark.equation("4.1")
def test_a_convolution_is_a_sum_over_channels_and_nine_shifts(seed):
    x, w, b = normal(3, 5, 6, seed=seed), normal(4, 3, 3, 3, seed=seed + 10), normal(4, seed=seed + 20)
    y = F.conv2d(x[None], w, b, padding=1)[0]
    for o, i, j in [(0, 0, 0), (1, 2, 3), (3, 4, 5), (2, 0, 4)]:
        total = b[o].item()
        for c in range(3):
            for u in (-1, 0, 1):
                for v in (-1, 0, 1):
                    if 0 <= i + u < 5 and 0 <= j + v < 6:  # beyond the edge x counts as 0
                        total += (w[o, c, u + 1, v + 1] * x[c, i + u, j + v]).item()
        assert math.isclose(total, y[o, i, j].item(), rel_tol=1e-9, abs_tol=1e-12)


@each_seed
@pytest.mark.equation("4.2")
def test_group_norm_takes_mean_and_variance_over_a_group_of_one_example(seed):
    x = 3 * normal(2, 6, 4, 5, seed=seed) + 1
    gamma, shift = normal(2, 6, seed=seed + 10)
    y = F.group_norm(x, 3, gamma, shift, eps=1e-5)
    for example in range(2):
        for c in range(6):
            group = x[example, 2 * (c // 2) : 2 * (c // 2) + 2]
            m = group.sum() / group.numel()
            s2 = ((group - m) ** 2).sum() / group.numel()
            close(y[example, c], gamma[c] * (x[example, c] - m) / torch.sqrt(s2 + 1e-5) + shift[c])


@pytest.mark.equation("4.3")
def test_silu():
    x = 5 * normal(100)
    close(F.silu(x), x / (1 + torch.exp(-x)))


@each_seed
@pytest.mark.equation("4.4")
def test_the_residual_block_adds_its_correction(seed):
    block = seeded_net(lambda: ResBlock(6, 6, temb=5, groups=2), seed)
    x, tau = normal(2, 6, 7, 7, seed=seed + 1), normal(2, 5, seed=seed + 2)
    conv = {
        name: lambda h, c=c: F.conv2d(h, c.weight, c.bias, padding=1)
        for name, c in (("1", block.conv1), ("2", block.conv2))
    }
    norm = {
        name: lambda h, n=n: F.group_norm(h, 2, n.weight, n.bias)
        for name, n in (("1", block.norm1), ("2", block.norm2))
    }
    with_time = (tau @ block.temb.weight.T + block.temb.bias)[:, :, None, None]
    correction = conv["2"](F.silu(norm["2"](conv["1"](F.silu(norm["1"](x))) + with_time)))
    assert correction.abs().max() > 0.1
    close(block(x, tau), x + correction)


@each_seed
@pytest.mark.equation("4.5")
def test_gradients_pass_residual_blocks_as_a_product_with_the_identity(seed):
    w = normal(3, 4, 4, seed=seed)
    x = normal(4, seed=seed + 10)

    def through(x):
        for one in w:
            x = x + torch.tanh(one @ x)
        return x

    product, now = torch.eye(4, dtype=f64), x
    for one in w:
        of_f = torch.diag(1 - torch.tanh(one @ now) ** 2) @ one
        product = (torch.eye(4, dtype=f64) + of_f) @ product
        now = now + torch.tanh(one @ now)
    close(torch.autograd.functional.jacobian(through, x), product)


@each_seed
@pytest.mark.equation("4.6")
def test_a_shift_in_time_is_a_rotation(seed):
    t, k = 1000 * torch.rand(2, dtype=f64, generator=torch.Generator().manual_seed(seed))
    for w in (1.0, 0.3, 1e-3):
        turn = torch.tensor([[(w * k).cos(), -(w * k).sin()], [(w * k).sin(), (w * k).cos()]], dtype=f64)
        close(turn @ turn.T, torch.eye(2, dtype=f64))
        now, later = (torch.stack([(w * time).cos(), (w * time).sin()]) for time in (t, t + k))
        close(turn @ now, later)


@pytest.mark.equation("4.7")
def test_the_embedding_is_cosines_then_sines_of_geometric_frequencies():
    t, d = torch.tensor([0, 1, 17, 999]), 12
    e = timestep_embedding(t, d)
    for row, time in zip(e, t.tolist(), strict=True):
        for i in range(d // 2):
            w = 10000.0 ** (-i / (d / 2))
            assert math.isclose(row[i].item(), math.cos(w * time), abs_tol=1e-4)  # float32 angles
            assert math.isclose(row[i + d // 2].item(), math.sin(w * time), abs_tol=1e-4)


@each_seed
@pytest.mark.equation("4.8")
def test_likeness_depends_on_the_distance_only(seed):
    t, s = torch.randint(0, 1000, (2, 20), generator=torch.Generator().manual_seed(seed))
    d = 16
    w = 10000.0 ** (-torch.arange(d // 2, dtype=f64) / (d / 2))
    products = (timestep_embedding(t, d).double() * timestep_embedding(s, d).double()).sum(1)
    close(products, torch.cos(w * (t - s)[:, None]).sum(1), rtol=0, atol=1e-3)


@pytest.mark.parametrize("K", [2, 3, 4])
@pytest.mark.equation("4.9")
def test_a_transposed_convolution_spreads_each_pixel(K):
    x, w = normal(6, seed=K), normal(K, seed=K + 1)
    y = F.conv_transpose1d(x[None, None], w[None, None], stride=2)[0, 0]
    for i in range(len(y)):
        by_hand = sum((w[i - 2 * j] * x[j]).item() for j in range(6) if 0 <= i - 2 * j < K)
        assert math.isclose(y[i].item(), by_hand, rel_tol=1e-9, abs_tol=1e-12)


@each_seed
@pytest.mark.equation("4.10")
def test_a_projection_loses_one_unit_of_noise_for_each_direction_left_out(seed):
    D, n = 12, 5
    basis = torch.linalg.qr(normal(D, n, seed=seed)).Q
    P = basis @ basis.T
    rest = torch.eye(D, dtype=f64) - P
    close(torch.trace(rest @ rest.T), torch.tensor(float(D - n), dtype=f64))
    eps = normal(200_000, D, seed=seed + 1)
    lost = (eps - eps @ P.T).square().sum(1)
    assert abs(lost.mean() - (D - n)) < 5 * lost.std() / 200_000**0.5
    # No other linear map of this rank loses less.
    for other in range(20):
        A = normal(D, n, seed=other + 50) @ normal(n, D, seed=other + 90) / D
        assert (torch.eye(D, dtype=f64) - A).square().sum() >= D - n - 1e-9


@each_seed
@pytest.mark.equation("4.11")
def test_attention_is_a_weighted_mean_of_values(seed):
    layer = seeded_net(lambda: Attention(6, heads=2), seed)
    x = normal(1, 5, 6, seed=seed + 1)
    heads = []
    for head in range(2):
        rows = slice(3 * head, 3 * head + 3)
        q, k, v = (x[0] @ part.weight[rows].T for part in (layer.to_q, layer.to_k, layer.to_v))
        weights = torch.exp(q @ k.T / math.sqrt(3))
        weights = weights / weights.sum(1, keepdim=True)
        heads.append(weights @ v)
    close(layer(x)[0], torch.cat(heads, 1) @ layer.to_out.weight.T + layer.to_out.bias)


@pytest.mark.parametrize("d", [3, 16, 100])
@pytest.mark.equation("4.12")
def test_a_dot_product_has_variance_d(d):
    """For normal entries and for others with mean 0 and variance 1."""
    generator, n = torch.Generator().manual_seed(d), 100_000
    signs = torch.randint(0, 2, (2, n, d), generator=generator).double() * 2 - 1
    for q, k in (torch.randn(2, n, d, dtype=f64, generator=generator), signs):
        scores = (q * k).sum(1)
        tolerance = 5 * (scores.square().var() / n).sqrt()
        assert abs(scores.square().mean() - d) < tolerance
        assert abs((scores / math.sqrt(d)).square().mean() - 1) < tolerance / d


@each_seed
@pytest.mark.equation("4.13")
def test_attention_follows_a_permutation(seed):
    layer = seeded_net(lambda: Attention(8, heads=2), seed)
    x = normal(2, 7, 8, seed=seed)
    P = torch.eye(7, dtype=f64)[torch.randperm(7, generator=torch.Generator().manual_seed(seed))]
    close(layer(P @ x), P @ layer(x))
    assert (P @ layer(x) - layer(x)).abs().max() > 1e-3


@pytest.mark.parametrize(
    "layers", [[(3, 1), (3, 2), (3, 1)], [(5, 2), (3, 2), (3, 1), (1, 1)], [(4, 2), (2, 3), (3, 1)]]
)
@pytest.mark.equation("4.14")
def test_the_receptive_field(layers):
    x = normal(1, 1, 80).requires_grad_()
    h = x
    for kernel, stride in layers:
        h = F.conv1d(h, torch.ones(1, 1, kernel, dtype=f64), stride=stride)
    gradient = torch.autograd.grad(h[0, 0, h.shape[2] // 2], x)[0]
    field = 1 + sum((k - 1) * math.prod(s for _, s in layers[:i]) for i, (k, _) in enumerate(layers))
    seen = gradient[0, 0].nonzero()
    assert (seen.max() - seen.min() + 1).item() == field


@pytest.mark.parametrize(("steps", "warmup"), [(100, 10), (1000, 50), (7, 3)])
@pytest.mark.equation("4.15")
def test_warm_up_and_cosine(steps, warmup):
    config = FitConfig(steps=steps, warmup=warmup, learning_rate=0.37)
    for n in range(steps):
        if n < warmup:
            rate = 0.37 * (n + 1) / warmup
        else:
            rate = 0.37 * (0.01 + 0.99 * (1 + math.cos(math.pi * (n - warmup) / (steps - warmup))) / 2)
        assert math.isclose(config.rate_at(n), rate)


@pytest.mark.parametrize("c", [0.1, 1.0, 100.0])
@pytest.mark.equation("4.16")
def test_clipping_shortens_a_gradient_and_keeps_its_direction(c):
    a, b = nn.Parameter(normal(4, 3)), nn.Parameter(normal(5))
    a.grad, b.grad = normal(4, 3, seed=1), normal(5, seed=2)
    g = torch.cat([a.grad.flatten(), b.grad])
    nn.utils.clip_grad_norm_([a, b], c)
    clipped = torch.cat([a.grad.flatten(), b.grad])
    close(clipped, g * min(1, c / g.norm().item()), rtol=1e-5, atol=0)  # torch adds 1e-6 to the norm


@each_seed
@pytest.mark.equation("4.17")
def test_the_moving_average_unrolled(seed):
    weights, d, start = normal(30, seed=seed), 0.9, 1.7
    average = start
    for n, weight in enumerate(weights.tolist(), 1):
        average = d * average + (1 - d) * weight
        unrolled = (1 - d) * sum(d**k * weights[n - 1 - k].item() for k in range(n)) + d**n * start
        assert math.isclose(average, unrolled, rel_tol=1e-12)


@pytest.mark.parametrize("d", ["1/2", "9/10", "199/200"])
@pytest.mark.equation("4.18", "4.19")
def test_weight_age_and_variance_of_the_moving_average(d):
    d, k = sp.Rational(d), sp.symbols("k", integer=True, nonnegative=True)
    assert sp.summation((1 - d) * d**k, (k, 0, sp.oo)) == 1
    assert sp.simplify(sp.summation(k * (1 - d) * d**k, (k, 0, sp.oo)) - d / (1 - d)) == 0
    assert sp.simplify(sp.summation((1 - d) ** 2 * d ** (2 * k), (k, 0, sp.oo)) - (1 - d) / (1 + d)) == 0


def random_schedule(seed):
    return from_betas(0.02 + 0.4 * torch.rand(9, dtype=f64, generator=torch.Generator().manual_seed(seed)))


@each_seed
@pytest.mark.equation("4.20", "4.21")
def test_ancestral_sampling_is_the_sampler_at_eta_1(seed):
    """Both forms of the step, and the package's sampler with the same fresh noise; the exact denoiser stands in."""
    schedule = random_schedule(seed)
    denoise = mixture_denoiser(normal(3, 2, seed=seed), torch.full((3,), 0.2, dtype=f64), torch.ones(3), schedule)
    x = normal(5, 2, seed=seed + 10)
    alpha, bar, beta = schedule.alpha, schedule.alpha_bar, schedule.beta
    for t in range(9, 0, -1):
        z = torch.randn(x.shape, dtype=f64, generator=torch.Generator().manual_seed(seed))
        x0_hat, eps_hat = denoise(x, t)
        tilde = (1 - bar[t - 1]) / (1 - bar[t]) * beta[t]
        mean = bar[t - 1].sqrt() * beta[t] * x0_hat + alpha[t].sqrt() * (1 - bar[t - 1]) * x
        ancestral = mean / (1 - bar[t]) + tilde.sqrt() * z
        keep = (1 - bar[t - 1] - tilde).clamp(min=0).sqrt()
        close(ancestral, bar[t - 1].sqrt() * x0_hat + keep * eps_hat + tilde.sqrt() * z)
        generator = torch.Generator().manual_seed(seed)
        close(last(ddim(denoise, x, [t, t - 1], schedule, eta=1, generator=generator)), ancestral)


@each_seed
@pytest.mark.equation("4.22")
def test_clipping_bounds_the_guess_and_keeps_the_pair_consistent(seed):
    schedule = cosine(50)
    x, eps_hat = normal(2, 4, 3, seed=seed)
    clipped = make_denoiser(lambda x, t, cond: eps_hat, schedule, "eps", clip=1.0)
    for t in (5, 25, 50):
        bar = schedule.alpha_bar[t]
        x0_hat = ((x - (1 - bar).sqrt() * eps_hat) / bar.sqrt()).clamp(-1, 1)
        guess = clipped(x, t)
        close(guess.x0, x0_hat)
        close(guess.eps, (x - bar.sqrt() * x0_hat) / (1 - bar).sqrt())
        close(bar.sqrt() * guess.x0 + (1 - bar).sqrt() * guess.eps, x)
    truth = torch.rand(4, 3, dtype=f64, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    guess = 3 * normal(4, 3, seed=seed + 5)
    assert ((guess.clamp(-1, 1) - truth).abs() <= (guess - truth).abs()).all()
