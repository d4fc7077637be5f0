"""Denoisers: guidance, clipping, and the exact denoisers against integration and against the score."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from ldm_edu.denoiser import make_denoiser, mixture_denoiser
from ldm_edu.forward import q_sample
from ldm_edu.schedule import cosine, linear, scaled_linear, straight, variance_exploding
from ldm_edu.target import to_prediction

f64 = torch.float64
SCHEDULES = {
    "linear": linear(100, 1e-3, 0.2),
    "scaled_linear": scaled_linear(100, 0.0085, 0.12),
    "cosine": cosine(100),
    "exploding": variance_exploding(100),
    "straight": straight(100),
}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())


class Net:
    """A fixed function of everything it is given, which remembers what it was given."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, t, cond=None):
        self.calls.append((x, t, cond))
        out = x.tanh() + t.to(x.dtype).view(-1, 1) / 100
        return out if cond is None else out * cond.view(-1, 1)


def inputs():
    g = torch.Generator().manual_seed(0)
    return (
        torch.randn(4, 3, dtype=f64, generator=g),
        torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=f64),
        torch.full((4,), 0.3, dtype=f64),
    )


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
@pytest.mark.parametrize("guidance", [-0.5, 0.0, 1.0, 3.0])
def test_guidance_mixes_the_two_answers(target, guidance):
    x_t, cond, uncond = inputs()
    schedule, t = linear(100), 40
    got = make_denoiser(Net(), schedule, target, cond=cond, uncond=uncond, guidance=guidance)(x_t, t)
    times = torch.full((4,), t)
    with_cond, without = Net()(x_t, times, cond), Net()(x_t, times, uncond)
    mixed = without + guidance * (with_cond - without)
    expected = to_prediction(mixed, x_t, t, schedule, target)
    torch.testing.assert_close(got.x0, expected.x0, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(got.eps, expected.eps, rtol=1e-12, atol=1e-12)


def test_both_halves_go_through_the_net_in_one_call():
    x_t, cond, uncond = inputs()
    net = Net()
    make_denoiser(net, linear(100), cond=cond, uncond=uncond, guidance=2.0)(x_t, 7)
    [(x, t, both)] = net.calls
    assert torch.equal(x, torch.cat([x_t, x_t]))
    assert torch.equal(t, torch.full((8,), 7))
    assert t.dtype == torch.int64
    assert torch.equal(both, torch.cat([uncond, cond]))


@pytest.mark.parametrize(("t", "guided"), [(9, False), (10, True), (20, True), (21, False)])
def test_guidance_counts_inside_its_interval_only(t, guided):
    x_t, cond, uncond = torch.randn(4, 3), torch.ones(4), torch.zeros(4)
    options = {"cond": cond, "uncond": uncond}
    got = make_denoiser(Net(), linear(100), guidance=3.0, interval=(10, 20), **options)(x_t, t)
    want = make_denoiser(Net(), linear(100), guidance=3.0 if guided else 1.0, **options)(x_t, t)
    other = make_denoiser(Net(), linear(100), guidance=1.0 if guided else 3.0, **options)(x_t, t)
    assert torch.equal(got.eps, want.eps)
    assert not torch.equal(got.eps, other.eps)


@pytest.mark.parametrize("conditional", [True, False])
def test_without_guidance_the_net_is_called_once_on_the_batch(conditional):
    x_t, cond, uncond = inputs()
    net = Net()
    make_denoiser(net, linear(100), cond=cond if conditional else None, uncond=uncond)(x_t, 7)
    [(x, t, given)] = net.calls
    assert x is x_t
    assert t.tolist() == [7] * 4
    assert given is (cond if conditional else None)


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
@every_schedule
def test_clipping_bounds_x_0_and_keeps_the_pair_consistent(schedule, target):
    x_t = 3 * inputs()[0]
    free, held = (make_denoiser(Net(), schedule, target, clip=clip) for clip in (None, 0.4))
    for t in (1, 50, 99):
        x0_hat, eps_hat = held(x_t, t)
        assert torch.equal(x0_hat, free(x_t, t).x0.clamp(-0.4, 0.4))
        assert t > 1 or free(x_t, t).x0.abs().max() > 0.4  # so there is something to clip
        torch.testing.assert_close(q_sample(x0_hat, t, eps_hat, schedule), x_t, rtol=1e-10, atol=1e-10)


def test_an_answer_inside_the_bound_is_left_alone():
    x_t = inputs()[0]
    schedule = linear(100)
    free, held = (make_denoiser(Net(), schedule, clip=clip)(x_t, 50) for clip in (None, 1e3))
    torch.testing.assert_close(held.x0, free.x0, rtol=0, atol=0)
    torch.testing.assert_close(held.eps, free.eps, rtol=1e-10, atol=1e-10)


def test_the_answer_has_the_dtype_of_x_t():
    x_t = inputs()[0].float()
    half_net = lambda x, t, cond: x.to(torch.bfloat16)  # noqa: E731
    assert make_denoiser(half_net, linear(100))(x_t, 5).x0.dtype == torch.float32
    means = torch.zeros(1, 3, dtype=f64)
    exact = mixture_denoiser(means, torch.ones(1, dtype=f64), torch.ones(1, dtype=f64), linear(100))
    assert exact(x_t, 5).x0.dtype == exact(x_t, 5).eps.dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guidance": 2.0}, "give both cond and uncond"),
        ({"guidance": 2.0, "cond": torch.zeros(4)}, "give both cond and uncond"),
        ({"guidance": 0.0, "uncond": torch.zeros(4)}, "give both cond and uncond"),
        ({"guidance": 2.0, "cond": torch.zeros(4), "uncond": torch.zeros(1)}, "one shape"),
        ({"target": "epsilon"}, "target must be .* got 'epsilon'"),
        ({"guidance": math.nan, "cond": torch.zeros(4), "uncond": torch.zeros(4)}, "guidance must be a finite number"),
        ({"guidance": math.inf, "cond": torch.zeros(4), "uncond": torch.zeros(4)}, "guidance must be a finite number"),
        ({"clip": 0.0}, "clip must be positive"),
        ({"clip": -1.0}, "clip must be positive"),
        ({"clip": math.nan}, "clip must be positive"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        make_denoiser(Net(), linear(100), **options)


MEANS = torch.tensor([-1.5, 0.2, 1.0], dtype=f64)
VARIANCES = torch.tensor([0.04, 0.25, 0.01], dtype=f64)
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=f64)


@every_schedule
@pytest.mark.parametrize("t", [10, 50, 90])
def test_mixture_is_the_integral_over_x_0(schedule, t):
    """E[x_0 | x_t] = ∫ x_0 q(x_t | x_0) p(x_0) dx_0 / ∫ q(x_t | x_0) p(x_0) dx_0, by the trapezium rule."""
    x_0 = torch.linspace(-6, 6, 20001, dtype=f64)
    p = (WEIGHTS * torch.exp(Normal(MEANS, VARIANCES.sqrt()).log_prob(x_0[:, None]))).sum(1)
    spread = math.hypot(schedule.signal[t], schedule.noise[t])
    x_t = torch.linspace(-2, 2, 9, dtype=f64) * spread
    signal, noise = schedule.signal[t], schedule.noise[t]
    weight = p * torch.exp(-(((x_t[:, None] - signal * x_0) / noise) ** 2) / 2)
    expected = (weight * x_0).sum(1) / weight.sum(1)
    any_sum = 7 * WEIGHTS
    got = mixture_denoiser(MEANS[:, None], VARIANCES, any_sum, schedule)(x_t[:, None], t)
    torch.testing.assert_close(got.x0[:, 0], expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(got.eps[:, 0], (x_t - signal * expected) / noise, rtol=1e-8, atol=1e-8)


@every_schedule
@pytest.mark.parametrize("shape", [(2,), (1, 2, 3)])
def test_mixture_eps_is_minus_noise_times_the_score(schedule, shape):
    """ε̂ = −noise ∇ log p_t(x_t), with p_t written by torch.distributions and differentiated by autograd."""
    g = torch.Generator().manual_seed(0)
    means = torch.randn(4, *shape, dtype=f64, generator=g)
    variances = torch.rand(4, *shape, dtype=f64, generator=g) * 0.5
    weights = torch.rand(4, dtype=f64, generator=g) + 0.1
    denoise = mixture_denoiser(means, variances, weights, schedule)
    for t in (1, 30, 95):
        signal, noise = schedule.signal[t], schedule.noise[t]
        parts = Independent(Normal(signal * means, (signal**2 * variances + noise**2).sqrt()), len(shape))
        p_t = MixtureSameFamily(Categorical(weights), parts)
        x_t = p_t.sample((6,)).requires_grad_()
        [score] = torch.autograd.grad(p_t.log_prob(x_t).sum(), x_t)
        x0_hat, eps_hat = denoise(x_t.detach(), t)
        torch.testing.assert_close(eps_hat, -noise * score, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(q_sample(x0_hat, t, eps_hat, schedule), x_t.detach(), rtol=1e-10, atol=1e-12)


def test_points_are_averaged_by_their_distance():
    """Variance 0: x̂_0 is the softmax of −‖x_t − signal x_i‖² / (2 noise²) over the points."""
    schedule, t = cosine(100), 60
    g = torch.Generator().manual_seed(0)
    points, x_t = torch.randn(5, 2, dtype=f64, generator=g), torch.randn(3, 2, dtype=f64, generator=g)
    got = mixture_denoiser(points, torch.zeros(5, dtype=f64), torch.ones(5, dtype=f64), schedule)(x_t, t)
    square = torch.cdist(x_t, schedule.signal[t] * points) ** 2
    chance = torch.softmax(-square / (2 * schedule.noise[t] ** 2), 1)
    torch.testing.assert_close(got.x0, chance @ points, rtol=1e-10, atol=1e-12)


def test_one_variance_for_each_component_or_for_each_entry():
    means = torch.tensor([[0.0, 1.0], [1.0, -1.0]])
    weights, v = torch.ones(2), torch.tensor([0.1, 0.4])
    x_t, schedule = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), linear(100)
    short = mixture_denoiser(means, v, weights, schedule)(x_t, 50)
    full = mixture_denoiser(means, v[:, None].expand(2, 2), weights, schedule)(x_t, 50)
    assert torch.equal(short.x0, full.x0)


@pytest.mark.parametrize(
    ("variances", "weights", "message"),
    [
        (torch.ones(3), torch.ones(2), "do not fit"),
        (torch.ones(2, 1), torch.ones(2), "do not fit"),
        (torch.ones(2), torch.ones(3), "do not fit"),
        (torch.tensor([1.0, -0.1]), torch.ones(2), "must not be negative"),
        (torch.ones(2), torch.tensor([1.0, 0.0]), "must be positive"),
        (torch.ones(2), torch.tensor([1.0, math.nan]), "must be positive"),
    ],
)
def test_bad_mixtures(variances, weights, message):
    with pytest.raises(ValueError, match=message):
        mixture_denoiser(torch.zeros(2, 2), variances, weights, linear(100))


@pytest.mark.parametrize(
    ("shape", "t", "message"),
    [
        ((4, 1), 5, r"x_t must have shape \(B, 2\), as the means have, got \(4, 1\)"),
        ((4,), 5, "x_t must have shape"),
        ((4, 2, 2), 5, "x_t must have shape"),
        ((4, 2), -1, r"t must lie in \[0, 100\] and be whole, got -1"),
        ((4, 2), 2000, "t must lie in"),
        ((4, 2), 2.5, "t must lie in"),
        ((4, 2), torch.full((4,), 5), "t must be one int for all"),
    ],
)
def test_a_mixture_is_asked_at_points_of_its_space_and_times_of_its_schedule(shape, t, message):
    exact = mixture_denoiser(torch.zeros(2, 2), torch.ones(2), torch.ones(2), linear(100))
    with pytest.raises(ValueError, match=message):
        exact(torch.zeros(shape), t)


def test_means_without_a_data_axis_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        mixture_denoiser(torch.zeros(2), torch.ones(2), torch.ones(2), linear(100))
