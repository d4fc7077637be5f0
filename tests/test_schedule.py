"""Schedules and times: closed forms, agreement with diffusers, what timesteps promises, errors."""

import math
from itertools import pairwise

import pytest
import torch
from diffusers import DDPMScheduler

from ldm_edu.schedule import (
    Schedule,
    at,
    cosine,
    from_betas,
    linear,
    scaled_linear,
    straight,
    timesteps,
    variance_exploding,
)

PRESERVING = {"linear": linear(), "scaled_linear": scaled_linear(), "cosine": cosine()}
ALL = PRESERVING | {"exploding": variance_exploding(), "straight": straight()}
f64 = torch.float64


@pytest.mark.parametrize("name", ALL)
def test_index_0_is_clean_and_sigma_rises(name):
    schedule = ALL[name]
    assert schedule.signal[0] == 1
    assert schedule.noise[0] == 0
    assert not schedule.noise[0].signbit()
    assert schedule.T == 1000
    assert len(schedule.signal) == len(schedule.noise) == 1001
    assert (schedule.sigma.diff() > 0).all()
    assert torch.equal(schedule.snr[1:], (schedule.signal[1:] / schedule.noise[1:]) ** 2)
    assert schedule.is_variance_preserving == (name in PRESERVING)


@pytest.mark.parametrize("name", PRESERVING)
def test_alpha_bar_is_the_product_of_alpha(name):
    schedule = PRESERVING[name]
    assert schedule.alpha_bar[0] == 1
    assert schedule.alpha[0] == 1
    assert schedule.beta[0] == 0
    torch.testing.assert_close(schedule.alpha.cumprod(0), schedule.alpha_bar, rtol=1e-12, atol=0)
    torch.testing.assert_close(1 - schedule.alpha_bar, schedule.noise**2, rtol=1e-11, atol=0)


def test_betas_come_back():
    betas = torch.rand(200, dtype=f64, generator=torch.Generator().manual_seed(0)) * 0.2 + 1e-4
    torch.testing.assert_close(from_betas(betas).beta[1:], betas, rtol=1e-11, atol=1e-15)
    assert torch.equal(from_betas(betas.tolist()).signal, from_betas(betas).signal)


def test_closed_forms():
    betas = linear(100, 1e-3, 0.2).beta[1:]
    torch.testing.assert_close(betas, torch.tensor([1e-3 + 0.199 * k / 99 for k in range(100)], dtype=f64))
    roots = scaled_linear().beta[1:].sqrt()
    torch.testing.assert_close(roots.diff(), roots.diff().mean().expand(999), rtol=1e-8, atol=0)
    torch.testing.assert_close(roots[[0, -1]] ** 2, torch.tensor([0.00085, 0.012], dtype=f64))

    f = [math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(1001)]
    exact = torch.tensor(f, dtype=f64) / f[0]
    torch.testing.assert_close(cosine().alpha_bar[:1000], exact[:1000], rtol=1e-9, atol=0)
    assert cosine().beta[1000] == pytest.approx(0.999)  # only the last β meets its bound

    sigma = variance_exploding(100, 0.02, 80.0).sigma
    assert sigma[1] == pytest.approx(0.02)
    assert sigma[100] == pytest.approx(80.0)
    ratio = sigma[2:] / sigma[1:-1]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 4000 ** (1 / 99)))

    path = straight(10)
    torch.testing.assert_close(path.noise, torch.arange(11, dtype=f64) / 10)
    torch.testing.assert_close(path.signal + path.noise, torch.ones(11, dtype=f64))
    assert path.signal[10] == 0


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (linear(), DDPMScheduler(1000, 1e-4, 0.02, "linear")),
        (scaled_linear(), DDPMScheduler(1000, 0.00085, 0.012, "scaled_linear")),
        (cosine(), DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")),
    ],
    ids=["linear", "scaled_linear", "cosine"],
)
def test_equals_diffusers_shifted_by_one(ours, theirs):
    """Their index k is our t = k + 1. They keep float32, and 1000 rounded factors leave up to 1000 · 6e-8."""
    torch.testing.assert_close(ours.beta[1:], theirs.betas.double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(ours.alpha_bar[1:], theirs.alphas_cumprod.double(), rtol=6e-5, atol=0)
    from_theirs = from_betas(theirs.betas.double())
    torch.testing.assert_close(from_theirs.alpha_bar[1:], (1 - theirs.betas.double()).cumprod(0), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["exploding", "straight"])
@pytest.mark.parametrize("quantity", ["alpha_bar", "alpha", "beta"])
def test_beta_needs_a_variance_preserving_schedule(name, quantity):
    with pytest.raises(ValueError, match="use signal and noise"):
        getattr(ALL[name], quantity)


def test_to_keeps_the_numbers():
    moved = linear(10).to("cpu")
    assert torch.equal(moved.signal, linear(10).signal)


@pytest.mark.parametrize(
    ("signal", "noise", "message"),
    [
        ([1.0, 0.5], [0.0, 0.5, 1.0], "one length"),
        ([1.0], [0.0], "one length"),
        ([0.9, 0.5], [0.0, 0.5], "clean data"),
        ([1.0, 0.5], [0.1, 0.5], "clean data"),
        ([1.0, -0.5], [0.0, 0.5], "not be negative"),
        ([1.0, math.nan], [0.0, 0.5], "finite"),
        ([1.0, 1.5], [0.0, 0.5], "never rise"),
        ([1.0, 0.5, 0.5], [0.0, 0.5, 0.5], "rise strictly"),
        ([1.0, 0.5], [0.0, 0.0], r"rise strictly .*; at t = 1 signal is 0\.5 and noise 0, just before 1 and 0"),
        ([1.0, 0.0, 0.0], [0.0, 1.0, 2.0], "rise strictly"),
    ],
)
def test_bad_arrays(signal, noise, message):
    with pytest.raises(ValueError, match=message):
        Schedule(torch.tensor(signal, dtype=f64), torch.tensor(noise, dtype=f64))


def test_float32_arrays_are_refused():
    with pytest.raises(ValueError, match="must be float64"):
        Schedule(torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.5]))


@pytest.mark.parametrize("betas", [[], [[0.1]], [0.1, 0.0], [0.1, 1.0], [-0.1], [math.nan]])
def test_bad_betas(betas):
    with pytest.raises(ValueError, match="beta"):
        from_betas(torch.tensor(betas, dtype=f64))


def test_betas_that_leave_nothing_of_the_signal_are_refused():
    with pytest.raises(
        ValueError, match=r"leave e\^-1151 of the signal at T = 1000, .* from t = 616 on; give fewer or"
    ):
        from_betas(torch.full((1000,), 0.9, dtype=f64))


def test_beta_is_right_where_alpha_bar_is_too_small_for_a_number():
    betas = torch.full((1300,), 0.5, dtype=f64)
    assert from_betas(betas).alpha_bar[-1] == 0
    torch.testing.assert_close(from_betas(betas).beta[1:], betas, rtol=1e-11, atol=0)


@pytest.mark.parametrize("make", [linear, scaled_linear, cosine, variance_exploding, straight])
@pytest.mark.parametrize("T", [0, -1, 2.5])
def test_bad_T(make, T):
    with pytest.raises(ValueError, match="whole number"):
        make(T)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0)])
def test_bad_sigmas(low, high):
    with pytest.raises(ValueError, match="sigma_min < sigma_max"):
        variance_exploding(10, low, high)


def test_at_looks_up_in_the_shape_dtype_of_the_batch():
    values, like = torch.arange(5, dtype=f64), torch.zeros(2, 3, 4)
    picked = at(values, torch.tensor([4, 1]), like)
    assert picked.shape == (2, 1, 1)
    assert picked.dtype == torch.float32
    assert picked.flatten().tolist() == [4, 1]
    assert at(values, 3, like) == 3


@pytest.mark.parametrize("name", ALL)
def test_uniform_times_at_every_number_of_steps(name):
    schedule = ALL[name]
    top = int((schedule.sigma <= 200).sum()) - 1
    for steps in range(1, top + 1):
        ts = timesteps(schedule, steps)
        assert len(ts) == steps + 1
        assert (ts[0], ts[-1]) == (top, 0)
        assert all(t > s for t, s in pairwise(ts))
    assert ts == list(range(top, -1, -1))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("steps", [1, 2, 10, 25, 100, 500])
def test_karras_times_are_distinct(name, steps):
    schedule = ALL[name]
    ts = timesteps(schedule, steps, spacing="karras")
    assert len(ts) <= steps + 1
    assert ts[-1] == 0
    assert ts[0] == timesteps(schedule, 1)[0]
    assert all(t > s for t, s in pairwise(ts))


@pytest.mark.parametrize("name", ALL)
def test_karras_times_are_the_nearest_to_eq_5(name):
    sigma = ALL[name].sigma
    top = timesteps(ALL[name], 1)[0]
    high, low = sigma[top] ** (1 / 7), sigma[1] ** (1 / 7)
    exact = [(high + i / 19 * (low - high)) ** 7 for i in range(20)]
    nearest = {int((sigma[1 : top + 1] - one).abs().argmin()) + 1 for one in exact}
    assert timesteps(ALL[name], 20, spacing="karras") == [*sorted(nearest, reverse=True), 0]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bound", [5.0, 80.0, 200.0, math.inf])
def test_the_walk_starts_at_the_last_sigma_inside_the_bound(name, bound):
    schedule = ALL[name]
    top = timesteps(schedule, 10, max_sigma=bound)[0]
    assert schedule.sigma[top] <= bound
    assert top == 1000 or schedule.sigma[top + 1] > bound


def test_the_default_bound_leaves_linear_alone_and_cuts_cosine():
    assert linear().sigma[1000] == pytest.approx(157.4, abs=0.1)
    assert timesteps(linear(), 10)[0] == 1000
    assert cosine().sigma[1000] > 2e4
    assert timesteps(cosine(), 10)[0] == 996


@pytest.mark.parametrize(
    ("steps", "options", "message"),
    [
        (0, {}, "between 1 and 1000"),
        (1001, {}, "between 1 and 1000"),
        (10, {"spacing": "cubic"}, "cubic"),
        (10, {"max_sigma": 1e-9}, "no step"),
    ],
)
def test_bad_times(steps, options, message):
    with pytest.raises(ValueError, match=message):
        timesteps(linear(), steps, **options)


def test_karras_times_cannot_start_at_an_infinite_sigma():
    with pytest.raises(ValueError, match="finite max_sigma"):
        timesteps(straight(), 10, spacing="karras", max_sigma=math.inf)
