"""Notebook 08: conditions in the bound and in the network, attention over words, guidance and what it samples."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from ldm_edu.denoiser import make_denoiser, mixture_denoiser
from ldm_edu.nets.attention import Attention
from ldm_edu.nets.unet import UNet, UNetConfig
from ldm_edu.samplers import heun, last
from ldm_edu.schedule import from_betas, variance_exploding
from ldm_edu.target import to_prediction, training_target

f64 = torch.float64
each_seed = pytest.mark.parametrize("seed", [0, 1, 2])
T = 9


def setting(seed):
    """A random schedule, and a generator for the rest."""
    g = torch.Generator().manual_seed(seed)
    return from_betas(0.05 + 0.4 * torch.rand(T, dtype=f64, generator=g)), g


def two_classes(seed):
    """A random schedule; means, variances, weights of four components on a line; the class of each; a generator."""
    schedule, g = setting(seed)
    means = 1.5 * torch.randn(4, dtype=f64, generator=g)
    variances, weights = 0.1 + torch.rand(2, 4, dtype=f64, generator=g)
    return schedule, (means, variances, weights / weights.sum()), torch.tensor([0, 1, 0, 1]), g


def log_densities(x_t, bar, parts):
    """log p(component, x_t) for points (N): (N, K), each from its Gaussian."""
    means, variances, weights = parts
    spread = (bar * variances + 1 - bar).sqrt()
    return Normal(bar.sqrt() * means, spread).log_prob(x_t[:, None]) + weights.log()


def answers(schedule, parts, of_class):
    """The exact denoisers of all the data and of class 0."""
    means, variances, weights = parts
    mine = of_class == 0
    return (
        mixture_denoiser(means[:, None], variances, weights, schedule),
        mixture_denoiser(means[mine][:, None], variances[mine], weights[mine], schedule),
    )


@each_seed
@pytest.mark.equation("8.1")
def test_the_bound_holds_for_each_condition(seed):
    """Two steps of a model that hears c, against the integral over all chains on a grid."""
    g = torch.Generator().manual_seed(seed)
    schedule = from_betas([0.3, 0.5])
    alpha, bar = schedule.alpha.tolist(), schedule.alpha_bar.tolist()
    grid = torch.linspace(-9, 9, 1201, dtype=f64)
    x_1, x_2 = grid[:, None], grid[None, :]

    def integral(f):
        return torch.trapezoid(torch.trapezoid(f, grid, dim=1), grid, dim=0)

    for _ in range(3):  # three conditions; x_0 and the model's two steps depend on c, the noising doesn't
        x_0, a, b, a_2, b_2 = torch.randn(5, dtype=f64, generator=g)
        s, s_2 = 0.5 + torch.rand(2, dtype=f64, generator=g)
        q = Normal(alpha[1] ** 0.5 * x_0, (1 - alpha[1]) ** 0.5).log_prob(x_1)
        q = q + Normal(alpha[2] ** 0.5 * x_1, (1 - alpha[2]) ** 0.5).log_prob(x_2)
        prior = Normal(torch.zeros((), dtype=f64), 1.0).log_prob(x_2)
        step, end = Normal(a_2 * x_2 + b_2, s_2).log_prob(x_1), Normal(a * x_1 + b, s).log_prob(x_0)
        weight = q.exp()
        at_2 = Normal(bar[2] ** 0.5 * x_0, (1 - bar[2]) ** 0.5).log_prob(x_2)  # q(x_2 | x_0)
        at_1 = Normal(bar[1] ** 0.5 * x_0, (1 - bar[1]) ** 0.5).log_prob(x_1)
        posterior = q - at_2  # log q(x_1 | x_2, x_0)
        terms = [
            integral(weight * (at_2 - prior)),
            integral(weight * (posterior - step)),
            torch.trapezoid(at_1[:, 0].exp() * -end[:, 0], grid),
        ]
        bound = integral(weight * (q - prior - step - end))
        torch.testing.assert_close(sum(terms), bound)
        minus_log_p = -integral((prior + step + end).exp()).log()
        chains = (prior + step + end) + minus_log_p  # log p(x_1, x_2 | x_0, c)
        gap = integral(weight * (q - chains))
        torch.testing.assert_close(bound - gap, minus_log_p)
        assert gap > 0


def pairs(seed):
    """Four clean values with two conditions, p(x_0, c) as a table, and for one t: a grid of x_t with its weights."""
    schedule, g = setting(seed)
    values, bar = torch.randn(4, dtype=f64, generator=g), schedule.alpha_bar[1 + seed]
    table = torch.rand(4, 2, dtype=f64, generator=g)
    grid = torch.linspace(-8, 8, 4001, dtype=f64)
    joint = (table / table.sum())[..., None] * Normal(bar.sqrt() * values, (1 - bar).sqrt()).log_prob(
        grid[:, None]
    ).exp().T[:, None]
    eps = (grid - bar.sqrt() * values[:, None]) / (1 - bar).sqrt()  # (4, N)
    return grid, joint, eps, g


@each_seed
@pytest.mark.equation("8.2", "8.3", "8.4")
def test_the_best_answer_with_and_without_the_condition(seed):
    grid, joint, eps, g = pairs(seed)

    def mean(f):
        return torch.trapezoid((joint * f).sum((0, 1)), grid)

    with_c = (joint * eps[:, None]).sum(0) / joint.sum(0)  # E[ε | x_t, c], (2, N)
    without = (joint * eps[:, None]).sum((0, 1)) / joint.sum((0, 1))
    answer = torch.sin(grid * torch.randn(2, 1, dtype=f64, generator=g))  # any answer that sees x_t and c
    own = (with_c - answer).square()
    floor = mean((eps[:, None] - with_c).square())
    torch.testing.assert_close(mean((eps[:, None] - answer).square()), floor + mean(own[None]))
    chance = joint.sum(0) / joint.sum((0, 1))  # p(c | x_t)
    torch.testing.assert_close((chance * with_c).sum(0), without)
    torch.testing.assert_close(mean((eps[:, None] - without).square()) - floor, mean((with_c - without).square()[None]))


@each_seed
@pytest.mark.equation("8.5")
def test_a_class_is_a_shift_of_the_time_vector(seed):
    """The net with classes is, for each class, the net without them with the class's row on the last bias of time."""
    torch.manual_seed(seed)
    config = UNetConfig(in_channels=2, out_channels=2, width=8, multipliers=(1,), groups=4, heads=2, zero_init=False)
    plain = UNet(config).double()
    told = UNet(UNetConfig(**(vars(config) | {"num_classes": 3}))).double()
    told.load_state_dict(plain.state_dict(), strict=False)
    x, t = torch.randn(2, 2, 4, 4, dtype=f64), torch.tensor([3, 70])
    bias = plain.time.fc2.bias.clone()
    for label in range(4):
        with torch.no_grad():
            plain.time.fc2.bias.copy_(bias + told.classes.weight[label])
        torch.testing.assert_close(told(x, t, torch.full((2,), label)), plain(x, t))
    torch.testing.assert_close(told(x, t, torch.full((2,), 3)), told(x, t))


@each_seed
@pytest.mark.equation("8.6")
def test_dropping_the_condition_trains_two_answers(seed):
    """The mean over every way to drop, each with its probability."""
    g = torch.Generator().manual_seed(seed)
    told, untold = torch.rand(2, 4, dtype=f64, generator=g)  # the loss of each example with c and with ∅
    p = torch.rand((), dtype=f64, generator=g)
    total = 0
    for drops in itertools.product((0, 1), repeat=4):
        drop = torch.tensor(drops, dtype=f64)
        total = total + (p**drop * (1 - p) ** (1 - drop)).prod() * (drop * untold + (1 - drop) * told).mean()
    torch.testing.assert_close(total, (1 - p) * told.mean() + p * untold.mean())


def attention_by_hand(layer, x, context):
    """Softmax over the words, one pixel and one head at a time."""
    heads, d = layer.heads, x.shape[2] // layer.heads
    q, k, v = layer.to_q(x), layer.to_k(context), layer.to_v(context)
    out = torch.zeros_like(q)
    for b, n, h in itertools.product(range(len(x)), range(x.shape[1]), range(heads)):
        part = slice(h * d, (h + 1) * d)
        score = torch.stack([(q[b, n, part] * word[part]).sum() for word in k[b]]) / math.sqrt(d)
        weight = score.exp() / score.exp().sum()
        out[b, n, part] = sum(w * word[part] for w, word in zip(weight, v[b], strict=True))
    return layer.to_out(out)


@each_seed
@pytest.mark.equation("8.7", "8.9")
def test_cross_attention_mixes_words_and_does_not_see_their_order(seed):
    torch.manual_seed(seed)
    layer = Attention(6, heads=2, context_dim=5).double()
    x, context = torch.randn(2, 4, 6, dtype=f64), torch.randn(2, 3, 5, dtype=f64)
    torch.testing.assert_close(layer(x, context), attention_by_hand(layer, x, context))
    for order in itertools.permutations(range(3)):
        torch.testing.assert_close(layer(x, context[:, list(order)]), layer(x, context))
    torch.testing.assert_close(layer(x[:, [2, 0, 3, 1]], context), layer(x, context)[:, [2, 0, 3, 1]])


@pytest.mark.parametrize("d", [1, 2, 4])
@pytest.mark.equation("8.8")
def test_a_scalar_product_has_variance_d(d):
    """Over all sign vectors, whose entries are independent with mean 0 and variance 1."""
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=d)), dtype=f64)
    products = signs @ signs.T
    assert products.mean() == 0
    assert products.var(correction=0) == d
    torch.testing.assert_close((products / math.sqrt(d)).var(correction=0), torch.ones((), dtype=f64))


@each_seed
@pytest.mark.equation("8.10", "8.11", "8.12", "8.13")
def test_guidance_is_the_score_of_a_sharpened_density_at_each_step(seed):
    schedule, parts, of_class, g = two_classes(seed)
    everything, mine = answers(schedule, parts, of_class)
    for t in (1, 4, T):
        bar, w = schedule.alpha_bar[t], 6 * torch.rand((), dtype=f64, generator=g) - 1
        x_t = (2 * torch.randn(5, dtype=f64, generator=g)).requires_grad_()
        log_joint = log_densities(x_t, bar, parts)
        log_p = torch.logsumexp(log_joint, 1)
        log_with_c = torch.logsumexp(log_joint[:, of_class == 0], 1)  # log p(x_t, c)
        log_c = log_with_c - log_p  # log p(c | x_t), the classifier

        def gradient(f, x_t=x_t):
            return torch.autograd.grad(f.sum(), x_t, retain_graph=True)[0]

        with_c, without = mine(x_t.detach()[:, None], t).eps[:, 0], everything(x_t.detach()[:, None], t).eps[:, 0]
        noise = (1 - bar).sqrt()
        torch.testing.assert_close(gradient(log_with_c), gradient(log_p) + gradient(log_c))
        torch.testing.assert_close(with_c, without - noise * gradient(log_c))
        guided = without + w * (with_c - without)
        torch.testing.assert_close(guided, without - w * noise * gradient(log_c))
        torch.testing.assert_close(guided, (1 + (w - 1)) * with_c - (w - 1) * without)  # Ho and Salimans, w − 1
        torch.testing.assert_close(-noise * gradient(log_p + w * log_c), guided)
        torch.testing.assert_close(-noise * gradient((1 - w) * log_p + w * log_with_c), guided)


@each_seed
@pytest.mark.equation("8.12", "8.14")
def test_the_packages_guidance_is_the_formula_for_every_target(seed):
    schedule, g = setting(seed)
    w = 6 * torch.rand((), dtype=f64, generator=g).item() - 1
    x_t, with_c, without = torch.randn(3, 4, 2, dtype=f64, generator=g)
    cond, uncond = torch.ones(4, dtype=torch.int64), torch.zeros(4, dtype=torch.int64)
    for t, target in itertools.product((1, 5, T), ("eps", "x0", "v")):
        told, untold = (to_prediction(out, x_t, t, schedule, target) for out in (with_c, without))

        def net(x, t, c):
            return torch.where(c[:, None] == 1, with_c.repeat(len(x) // 4, 1), without.repeat(len(x) // 4, 1))

        guided = make_denoiser(net, schedule, target, cond=cond, uncond=uncond, guidance=w)(x_t, t)
        for name in ("x0", "eps"):
            a, b = getattr(told, name), getattr(untold, name)
            torch.testing.assert_close(getattr(guided, name), b + w * (a - b))
        v, v_told, v_untold = (training_target(p.x0, t, p.eps, schedule, "v") for p in (guided, told, untold))
        torch.testing.assert_close(v, v_untold + w * (v_told - v_untold))


@each_seed
@pytest.mark.equation("8.15", "8.16")
def test_the_mean_of_powers_is_not_the_power_of_the_mean(seed):
    schedule, parts, of_class, g = two_classes(seed)
    grid = torch.linspace(-12, 12, 4001, dtype=f64)
    w = 1.5 + 2 * torch.rand((), dtype=f64, generator=g)
    log_joint_0 = log_densities(grid, schedule.alpha_bar[0], parts)
    p_0 = log_joint_0.exp().sum(1)
    c_0 = log_joint_0[:, of_class == 0].exp().sum(1) / p_0  # p(c | x_0)
    for t in (1, 4, T):
        bar = schedule.alpha_bar[t]
        x_t = torch.randn(5, dtype=f64, generator=g)
        log_joint = log_densities(x_t, bar, parts)
        p_t = log_joint.exp().sum(1)
        c_t = log_joint[:, of_class == 0].exp().sum(1) / p_t  # p(c | x_t)
        q = Normal(bar.sqrt() * grid, (1 - bar).sqrt()).log_prob(x_t[:, None]).exp()
        diffused = torch.trapezoid(p_0 * c_0**w * q, grid)
        given_x_t = p_0 * q / p_t[:, None]  # p(x_0 | x_t)
        mean_of_powers = torch.trapezoid(given_x_t * c_0**w, grid)
        torch.testing.assert_close(diffused, p_t * mean_of_powers)
        torch.testing.assert_close(torch.trapezoid(given_x_t * c_0, grid), c_t)
        assert (mean_of_powers > c_t**w).all()


@each_seed
@pytest.mark.equation("8.17")
def test_the_sharpened_gaussian(seed):
    g = torch.Generator().manual_seed(seed)
    m, v, w = torch.rand(3, dtype=f64, generator=g) * torch.tensor([2, 0.8, 5]) + torch.tensor([-1, 0.1, 0])
    x = torch.linspace(-14, 14, 20001, dtype=f64)
    zero, one = torch.zeros((), dtype=f64), torch.ones((), dtype=f64)
    log_target = (1 - w) * Normal(zero, one).log_prob(x) + w * Normal(m, v.sqrt()).log_prob(x)
    density = torch.softmax(log_target, 0)
    mean = (density * x).sum()
    variance = (density * (x - mean) ** 2).sum()
    torch.testing.assert_close(variance, 1 / (1 + w * (1 / v - 1)))
    torch.testing.assert_close(mean, w * m / v * variance)


@pytest.mark.parametrize(("v", "w"), [(0.25, 3.0), (0.5, 2.0), (0.3, 0.4), (0.6, 5.0)])
@pytest.mark.equation("8.18")
def test_what_the_guided_sampler_draws_from_gaussians(v, w):
    """Two starts walked down by Heun's method; their distance is the deviation, for the map is affine."""
    schedule = variance_exploding(4000, 1e-3, 1e3)
    mean = 0.7
    one = torch.ones(1, dtype=f64)
    everything = mixture_denoiser(0 * one[:, None], one, one, schedule)
    mine = mixture_denoiser(mean * one[:, None], v * one, one, schedule)

    def denoise(x, t):
        a, b = mine(x, t), everything(x, t)
        return type(a)(b.x0 + w * (a.x0 - b.x0), b.eps + w * (a.eps - b.eps))

    start = schedule.noise[-1] * torch.tensor([[0.0], [1.0], [-2.0]], dtype=f64)
    end = last(heun(denoise, start, list(range(4000, -1, -1)), schedule))[:, 0]
    deviation = (end[1] - end[0]).item()
    assert deviation == pytest.approx(v ** (w / 2), rel=1e-3)
    assert (end[2] - end[0]).item() == pytest.approx(-2 * deviation, rel=1e-6)


@pytest.mark.parametrize(("n", "p"), [(1, 0.3), (4, 0.9), (7, 0.5)])
@pytest.mark.equation("8.19")
def test_the_standard_error_of_a_share(n, p):
    """The deviation of the share over all outcomes, each with its probability."""
    outcomes = torch.tensor(list(itertools.product((0.0, 1.0), repeat=n)), dtype=f64)
    chance = (p**outcomes * (1 - p) ** (1 - outcomes)).prod(1)
    share = outcomes.mean(1)
    mean = (chance * share).sum()
    variance = (chance * (share - mean) ** 2).sum()
    torch.testing.assert_close(variance.sqrt().item(), math.sqrt(p * (1 - p) / n))


@each_seed
@pytest.mark.equation("8.20")
def test_rescaling_moves_the_spread_back(seed):
    """φ = 1 gives each picture the conditional spread, φ = 0 changes nothing; between lies a straight line."""
    g = torch.Generator().manual_seed(seed)
    told, guided = torch.randn(3, 2, 4, 4, dtype=f64, generator=g), 4 * torch.randn(3, 2, 4, 4, dtype=f64, generator=g)
    phi = torch.rand((), dtype=f64, generator=g)

    def spread(x):
        return x.std((1, 2, 3), keepdim=True)

    def rescaled(phi):
        return guided * (phi * spread(told) / spread(guided) + 1 - phi)

    torch.testing.assert_close(spread(rescaled(1)), spread(told))
    torch.testing.assert_close(spread(rescaled(phi)), phi * spread(told) + (1 - phi) * spread(guided))
    direction = nn.functional.cosine_similarity(rescaled(phi).flatten(1), guided.flatten(1))
    torch.testing.assert_close(direction, torch.ones(3, dtype=f64))
