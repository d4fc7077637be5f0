"""Samplers in an exact world: DDPM as DDIM at η = 1, the mixture's moments, orders of convergence; errors; and
agreement with diffusers."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, HeunDiscreteScheduler

from ldm_edu.data.toy import sample_mixture, three_gaussians_mixture
from ldm_edu.denoiser import make_denoiser, mixture_denoiser
from ldm_edu.forward import q_posterior, q_sample
from ldm_edu.samplers import ddim, dpmpp_2m, encode, heun, last, normal_like, prior_sample
from ldm_edu.schedule import cosine, linear, scaled_linear, straight, timesteps, variance_exploding
from ldm_edu.target import Prediction

f64 = torch.float64
SCHEDULES = {
    "linear": linear(),
    "cosine": cosine(),
    "exploding": variance_exploding(1000, 0.01, 80.0),
    "straight": straight(),
}
SOLVERS = [ddim, heun, dpmpp_2m]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
every_solver = pytest.mark.parametrize("solver", SOLVERS)


def start(shape, seed=0):
    return torch.randn(shape, dtype=f64, generator=torch.Generator().manual_seed(seed))


def fake(schedule):
    """A denoiser that is no one's mean but fits its own x_t: ε̂ is a fixed function of x_t and t."""

    def denoise(x_t, t):
        eps_hat = torch.tanh(x_t + t / schedule.T)
        return Prediction((x_t - schedule.noise[t] * eps_hat) / schedule.signal[t], eps_hat)

    return denoise


@pytest.mark.parametrize("schedule", [linear(40, 1e-3, 0.3), scaled_linear(40, 0.02, 0.3), cosine(40)])
def test_ddpm_is_ddim_at_eta_1_over_every_step(schedule):
    """Ho et al. Algorithm 2: x_{t−1} = (x_t − β_t/√(1−ᾱ_t) ε̂)/√α_t + √β̃_t z, with one stream of noise."""
    denoise, x = fake(schedule), start((5, 3))
    walk = ddim(denoise, x, range(40, -1, -1), schedule, eta=1.0, generator=torch.Generator().manual_seed(1))
    g = torch.Generator().manual_seed(1)
    for t, ours in zip(range(40, 0, -1), walk, strict=True):
        beta, alpha, bar, before = (
            schedule.beta[t],
            schedule.alpha[t],
            schedule.alpha_bar[t],
            schedule.alpha_bar[t - 1],
        )
        x = (x - beta / (1 - bar).sqrt() * denoise(x, t).eps) / alpha.sqrt()
        if t > 1:
            z = torch.randn(x.shape, dtype=f64, generator=g)
            x = x + (beta * (1 - before) / (1 - bar)).sqrt() * z
        torch.testing.assert_close(ours, x, rtol=1e-9, atol=1e-9)


@every_schedule
def test_eta_1_draws_from_the_posterior_at_x0_hat(schedule):
    """Also when it jumps over steps, and on schedules that have no β."""
    denoise, x, t, s = fake(schedule), start((5, 3)), 600, 350
    ours = last(ddim(denoise, x, [t, s], schedule, eta=1.0, generator=torch.Generator().manual_seed(1)))
    mean, variance = q_posterior(denoise(x, t).x0, x, t, schedule, s)
    torch.testing.assert_close(ours, mean + math.sqrt(variance) * start(x.shape, 1), rtol=1e-9, atol=1e-9)


@every_schedule
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_every_eta_keeps_the_forward_marginals(schedule, eta):
    """With the true x_0 as its x̂_0, x_s ~ N(signal_s x_0, noise_s²): DDIM's reason to be (Song et al., Lemma 1)."""
    n, x_0 = 20000, 0.7
    x_0 = torch.full((n, 1), x_0, dtype=f64)
    ts = [900, 600, 400, 100]

    def knows(x_t, t):
        return Prediction(x_0, (x_t - schedule.signal[t] * x_0) / schedule.noise[t])

    x = q_sample(x_0, ts[0], start((n, 1)), schedule)
    walk = ddim(knows, x, ts, schedule, eta=eta, generator=torch.Generator().manual_seed(1))
    for s, x_s in zip(ts[1:], walk, strict=True):
        signal, noise = schedule.signal[s].item(), schedule.noise[s].item()
        assert abs(x_s.mean() - signal * 0.7) < 4 * noise / math.sqrt(n)
        assert abs(x_s.var() / noise**2 - 1) < 4 * math.sqrt(2 / n)


@every_schedule
@pytest.mark.parametrize("sampler", ["ddim", "ancestral", "heun", "dpmpp_2m"])
def test_the_mixture_comes_out(schedule, sampler):
    """Mean, covariance, weights and widths of 2000 samples, each within 4 standard errors of the truth.

    The solvers' own errors stay below that: with 20,000 samples the variances within a component come out at most
    3 % off, for the first-order walks too small, and one standard error of them is 3.2 % or more here. (Heun over 40
    seeds: mean 0.1 and deviation 1.0 in standard errors.) Heun and DPM-Solver++ get as many calls as each other.
    """
    n = 2000
    means = torch.tensor([[-2.0, 1.0], [2.0, 1.5], [0.0, -2.5]])  # 4 or more deviations from every border
    variances, weights = torch.tensor([0.3, 0.4, 0.5]) ** 2, torch.tensor([0.5, 0.3, 0.2])
    denoise = mixture_denoiser(means, variances, weights, schedule)
    last_t = timesteps(schedule, 1)[0]
    solver, ts, options = {
        "ddim": (ddim, timesteps(schedule, 250, spacing="karras"), {}),
        "ancestral": (ddim, range(last_t, -1, -1), {"eta": 1.0}),
        "heun": (heun, timesteps(schedule, 60, spacing="karras"), {}),
        "dpmpp_2m": (dpmpp_2m, timesteps(schedule, 120, spacing="karras"), {}),
    }[sampler]
    g = torch.Generator().manual_seed(0)
    x_0 = last(
        solver(denoise, prior_sample((n, 2), ts[0], schedule, generator=g), ts, schedule, generator=g, **options)
    )

    away = x_0 - weights @ means
    assert (away.mean(0).abs() < 4 * away.std(0) / math.sqrt(n)).all()
    off = means - weights @ means
    covariance = torch.einsum("k,ki,kj->ij", weights, off, off) + (weights @ variances) * torch.eye(2)
    products = away[:, :, None] * away[:, None]
    assert ((products.mean(0) - covariance).abs() < 4 * products.std(0) / math.sqrt(n)).all()
    which = (x_0[:, None] - means).norm(dim=2).argmin(1)
    share = torch.bincount(which, minlength=3) / n
    assert ((share - weights).abs() < 4 * (weights * (1 - weights) / n).sqrt()).all()
    for k in range(3):
        width = x_0[which == k].var(0).mean() / variances[k]
        assert abs(width - 1) < 4 * math.sqrt(2 / (2 * n * weights[k]))  # two coordinates, n weights[k] points


# Orders of convergence. The walk is over even sub-grids of a fine schedule, from σ > 2 down to σ of about 0.2 to 0.4.
# It stops short of t = 0: there noise ~ √t, so that x has no second derivative in t and no method keeps its order.
T = 2**13
FINE = {"linear": linear(T, 0.1 / T, 20 / T), "cosine": cosine(T)}
TOP, END = T * 3 // 4, T // 8
COUNTS = (64, 128, 256)
# The fitted slope nears the order as the steps shrink. Measured on the Gaussian and the mixture, linear and cosine:
# DDIM 1.00 to 1.01, Heun 2.00 to 2.02, DPM-Solver++ 1.97 to 2.11. A method of another order misses these bounds.
ORDERS = [(ddim, 0.85, 1.15), (heun, 1.8, 2.3), (dpmpp_2m, 1.8, 2.3)]


def fitted_order(solver, denoise, x, exact, schedule):
    """Least-squares slope of log error against log step width."""
    points = []
    for steps in COUNTS:
        ts = range(TOP, END - 1, -(TOP - END) // steps)
        assert ts[-1] == END
        assert len(ts) == steps + 1
        error = (last(solver(denoise, x, ts, schedule)) - exact).abs().max()
        points.append((-math.log(steps), math.log(error)))
    widths, errors = torch.tensor(points, dtype=f64).T
    widths = widths - widths.mean()
    return ((widths * errors).sum() / (widths**2).sum()).item()


@pytest.mark.parametrize("schedule", FINE.values(), ids=FINE.keys())
@pytest.mark.parametrize(("solver", "low", "high"), ORDERS)
def test_order_on_a_gaussian(schedule, solver, low, high):
    """For x_0 ~ N(m, c²) the flow is exact: with y = x/signal − m, y_s / y_t = √((c² + σ_s²) / (c² + σ_t²))."""
    m, c2 = 0.3, 0.25
    ones = torch.ones(1, dtype=f64)
    denoise = mixture_denoiser(m * ones[:, None], c2 * ones, ones, schedule)
    x = torch.linspace(-2, 2, 9, dtype=f64)[:, None]
    sigma, signal = schedule.sigma, schedule.signal
    shrink = ((c2 + sigma[END] ** 2) / (c2 + sigma[TOP] ** 2)).sqrt()
    exact = signal[END] * (m + shrink * (x / signal[TOP] - m))
    assert low < fitted_order(solver, denoise, x, exact, schedule) < high


@pytest.mark.parametrize("schedule", FINE.values(), ids=FINE.keys())
def test_order_on_a_mixture(schedule):
    """Against Heun at every second step of the schedule, 10 to 40 times finer than the runs measured."""
    weights, variances = torch.tensor([[0.4, 0.6], [0.09, 0.16]], dtype=f64)
    denoise = mixture_denoiser(torch.tensor([[-1.0], [0.7]], dtype=f64), variances, weights, schedule)
    x = torch.linspace(-2, 2, 9, dtype=f64)[:, None]
    exact = last(heun(denoise, x, range(TOP, END - 1, -2), schedule))
    for solver, low, high in ORDERS:
        assert low < fitted_order(solver, denoise, x, exact, schedule) < high


def test_heun_needs_a_bound_on_sigma_at_the_cosine_schedules_start():
    """Mean distance from where the exact flow ends: cosine schedule, 25 uniform steps, a mixture.

    Measured over 500 starts, for a bound of 20, 80, 200, 1000 and none:
        DDIM             0.041, 0.043, 0.043, 0.044, 0.044
        Heun             0.019, 0.020, 0.022, 0.050, 0.947
        DPM-Solver++ 2M  0.018, 0.019, 0.020, 0.020, 0.020
    Without a bound Heun's first step spans a fall of σ from 2·10⁴ to about 50 with the mean of two slopes. The
    default of 200 costs Heun a tenth; it cuts four steps of this schedule and none of linear, whose σ_T is 157.
    """
    schedule = cosine()
    denoise = mixture_denoiser(*(v.double() for v in three_gaussians_mixture()), schedule)
    noise = start((100, 2))

    def distances(bound):
        ts = timesteps(schedule, 25, max_sigma=bound)
        x = schedule.noise[ts[0]] * noise
        fine = [*timesteps(schedule, 400, max_sigma=80.0, spacing="karras")]
        fine = [*(t for t in range(ts[0], fine[0], -1)), *fine]
        exact = last(heun(denoise, x, fine, schedule))
        return [(last(solver(denoise, x, ts, schedule)) - exact).norm(dim=1).mean().item() for solver in SOLVERS]

    ddim_80, heun_80, dpm_80 = distances(80.0)
    ddim_200, heun_200, dpm_200 = distances(200.0)
    assert heun_200 < 1.2 * heun_80
    assert heun_200 < 0.75 * ddim_200  # so second order pays
    assert dpm_200 < 1.05 * dpm_80
    assert ddim_200 < 1.05 * ddim_80
    assert distances(math.inf)[1] > 20 * heun_200


@every_schedule
def test_heun_is_heun_written_out(schedule):
    """Karras et al., Algorithm 1, on x̄ = x/signal and σ."""
    denoise, ts = fake(schedule), [900, 700, 300, 50, 0]
    x = start((5, 3))
    scaled, sigma = x / schedule.signal[900], schedule.sigma
    for (t, s), ours in zip(pairwise(ts), heun(denoise, x, ts, schedule), strict=True):
        slope = (scaled - denoise(schedule.signal[t] * scaled, t).x0) / sigma[t]
        ahead = scaled + (sigma[s] - sigma[t]) * slope
        if s > 0:
            other = (ahead - denoise(schedule.signal[s] * ahead, s).x0) / sigma[s]
            ahead = scaled + (sigma[s] - sigma[t]) * (slope + other) / 2
        scaled = ahead
        torch.testing.assert_close(ours, schedule.signal[s] * scaled, rtol=1e-9, atol=1e-9)


@every_solver
def test_a_walk_may_start_where_there_is_no_signal(solver):
    """A straight path at t = T: σ is infinite and the first step is DDIM's."""
    schedule = straight(50)
    denoise = mixture_denoiser(*(v.double() for v in three_gaussians_mixture()), schedule)
    x, ts = start((6, 2)), [50, 40, 20, 0]
    first = next(solver(denoise, x, ts, schedule))
    torch.testing.assert_close(first, next(ddim(denoise, x, ts, schedule)), rtol=1e-12, atol=1e-12)
    assert last(solver(denoise, x, ts, schedule)).isfinite().all()


@every_solver
def test_one_step_to_0_gives_x0_hat(solver):
    schedule, x = linear(), start((5, 3))
    got = last(solver(fake(schedule), x, [300, 0], schedule))
    torch.testing.assert_close(got, fake(schedule)(x, 300).x0, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("solver", "calls"), [(ddim, 4), (dpmpp_2m, 4), (heun, 7)])
def test_calls_of_the_denoiser(solver, calls):
    schedule, seen = linear(), []

    def counted(x_t, t):
        seen.append(t)
        return fake(schedule)(x_t, t)

    steps = list(solver(counted, start((2, 3)), [900, 600, 300, 100, 0], schedule))
    assert len(steps) == 4
    assert len(seen) == calls
    assert 0 not in seen


@every_solver
def test_after_step_sees_and_replaces_every_x(solver):
    schedule, ts, seen, met = linear(), [900, 500, 100, 0], [], {}

    def after(x_s, s):
        seen.append(s)
        return torch.full_like(x_s, s / 1000)

    def denoise(x_t, t):
        met[t] = x_t  # of Heun's two looks at t, the later one: where the next step starts
        return fake(schedule)(x_t, t)

    walk = list(solver(denoise, start((2, 3)), ts, schedule, after_step=after))
    assert seen == ts[1:]
    assert [x.unique().tolist() for x in walk] == [[0.5], [0.1], [0.0]]
    assert met[500].unique().tolist() == [0.5]
    assert met[100].unique().tolist() == [0.1]


@every_solver
def test_the_start_is_left_alone_and_keeps_its_dtype(solver):
    schedule = linear()
    x = start((2, 3)).float()
    before = x.clone()
    got = last(solver(fake(schedule), x, [900, 500, 0], schedule))
    assert torch.equal(x, before)
    assert got.dtype == torch.float32


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_the_generator_decides_the_noise(eta):
    schedule, x, ts = linear(), start((2, 3)), [900, 500, 100, 0]

    def run(seed):
        return last(ddim(fake(schedule), x, ts, schedule, eta=eta, generator=torch.Generator().manual_seed(seed)))

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))


@every_schedule
def test_encoding_is_eulers_step_upwards(schedule):
    """Over x/signal and σ:  x̄_t = x̄_s + (σ_t − σ_s) ε̂(x_s, s), with ε̂ asked at t = 1 for s = 0."""
    denoise, ts = fake(schedule), [900, 600, 300, 50, 0]
    x = start((5, 3))
    sigma, signal = schedule.sigma, schedule.signal
    for (s, t), ours in zip(pairwise(reversed(ts)), encode(denoise, x, ts, schedule), strict=True):
        eps_hat = denoise(x, max(s, 1)).eps
        x = signal[t] * (x / signal[s] + (sigma[t] - sigma[s]) * eps_hat)
        torch.testing.assert_close(ours, x, rtol=1e-9, atol=1e-9)


def test_encoding_reaches_times_without_signal():
    schedule = straight(50)
    denoise = mixture_denoiser(*(v.double() for v in three_gaussians_mixture()), schedule)
    code = last(encode(denoise, start((6, 2)), [50, 40, 20, 0], schedule))
    assert code.isfinite().all()


def test_encoding_undoes_the_sampler_with_an_error_of_the_order_of_a_step():
    """On a mixture's exact flow: twice the steps, half the error, in both directions of the round trip."""
    schedule = cosine()
    denoise = mixture_denoiser(*(v.double() for v in three_gaussians_mixture()), schedule)
    x = sample_mixture(three_gaussians_mixture(), 200, torch.Generator().manual_seed(0)).double()
    errors = []
    for steps in (100, 200, 400):
        ts = timesteps(schedule, steps)
        back = last(ddim(denoise, last(encode(denoise, x, ts, schedule)), ts, schedule))
        errors.append((back - x).square().mean().sqrt().item())
    assert all(1.6 < a / b < 2.6 for a, b in pairwise(errors))
    assert errors[-1] < 0.02


def test_rounds_bring_the_round_trip_nearer_to_exact():
    schedule = cosine()
    denoise = mixture_denoiser(*(v.double() for v in three_gaussians_mixture()), schedule)
    x = sample_mixture(three_gaussians_mixture(), 200, torch.Generator().manual_seed(0)).double()
    ts, errors = timesteps(schedule, 100), []
    for rounds in (0, 1, 2, 5):
        back = last(ddim(denoise, last(encode(denoise, x, ts, schedule, rounds=rounds)), ts, schedule))
        errors.append((back - x).square().mean().sqrt().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[1] < 0.5 * errors[0]
    assert errors[-1] < 0.05 * errors[0]


def test_an_encoding_step_that_is_solved_is_undone_by_the_step_down():
    schedule, x = linear(), start((5, 3))
    up = last(encode(fake(schedule), x, [320, 300], schedule, rounds=40))
    torch.testing.assert_close(last(ddim(fake(schedule), up, [320, 300], schedule)), x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rounds", [-1, 1.5, True])
def test_encoding_refuses_rounds_that_are_no_count(rounds):
    with pytest.raises(ValueError, match=f"rounds must be a whole number, 0 or more, got {rounds}"):
        next(encode(fake(linear(10)), start((2, 3)), [5, 0], linear(10), rounds=rounds))


def test_a_code_is_noise():
    """Data go up to N(0, 1) codes: the exact flow carries one distribution into the other."""
    schedule = cosine()
    denoise = mixture_denoiser(*(v.double() for v in three_gaussians_mixture()), schedule)
    x = sample_mixture(three_gaussians_mixture(), 4000, torch.Generator().manual_seed(0)).double()
    code = last(encode(denoise, x, timesteps(schedule, 400), schedule))
    assert code.mean(0).abs().max() < 0.1
    assert (code.std(0) - 1).abs().max() < 0.1
    assert abs(torch.corrcoef(code.T)[0, 1]) < 0.1


@pytest.mark.parametrize("ts", [[], [5], [0, 5], [5, 5, 0], [11, 5, 0]])
def test_bad_times_for_encoding(ts):
    with pytest.raises(ValueError, match=r"strictly decreasing times in \[0, 10\]"):
        next(encode(fake(linear(10)), start((2, 3)), ts, linear(10)))


@every_solver
def test_times_of_numpy_and_of_tensors_are_times_too(solver):
    schedule, ts = SCHEDULES["linear"], [900, 400, 0]
    denoise = make_denoiser(lambda x, t, c: torch.tanh(x + t.view(-1, 1) / 1000), schedule)
    wanted = last(solver(denoise, start((3, 2)), ts, schedule))
    for other in (np.array(ts), torch.tensor(ts)):
        assert torch.equal(last(solver(denoise, start((3, 2)), other, schedule)), wanted)
    with pytest.raises(ValueError, match="ts must be whole numbers"):
        next(solver(denoise, start((3, 2)), [900.0, 0.0], schedule))


def test_prior_sample_has_the_noise_of_its_time():
    schedule = variance_exploding(10, 0.1, 30.0)
    x = prior_sample((20000, 1), 10, schedule, generator=torch.Generator().manual_seed(0))
    assert x.dtype == torch.float32
    assert abs(x.var() / 900 - 1) < 4 * math.sqrt(2 / 20000)
    z = normal_like(x, torch.Generator().manual_seed(0))
    assert torch.equal(x, schedule.noise[10].item() * z)
    for t in (-1, 11, 2.5):
        with pytest.raises(ValueError, match=r"t must lie in \[0, 10\] and be whole"):
            prior_sample((2, 1), t, schedule)


@every_solver
@pytest.mark.parametrize("ts", [[], [5], [3, 5, 0], [5, 5, 0], [11, 5, 0], [5, 0, -1]])
def test_bad_times(solver, ts):
    with pytest.raises(ValueError, match=r"strictly decreasing times in \[0, 10\]"):
        next(solver(fake(linear(10)), start((2, 3)), ts, linear(10)))


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_bad_eta(eta):
    with pytest.raises(ValueError, match="eta must lie"):
        next(ddim(fake(linear(10)), start((2, 3)), [5, 0], linear(10), eta=eta))


# Agreement with diffusers, step by step, on one fixed network. Their time k is our t = k + 1, and they have no entry
# for clean data. Their arrays are replaced by ours in float64, so that what is compared is the step and not float32.
STEPS = 20
LEADING = [*range(951, 0, -50), 0]  # their "leading" spacing of 20 steps: k = 950, 900, … 0
PREDICTION_TYPE = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
every_target = pytest.mark.parametrize("target", ["eps", "x0", "v"])
every_beta = pytest.mark.parametrize(
    "schedule", [linear(), scaled_linear(), cosine()], ids=["linear", "scaled_linear", "cosine"]
)


# diffusers hands a tensor to np.array, of which NumPy 2 warns.
theirs_warns = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


def net(x, t, cond=None):
    return torch.sin(1.3 * x + 0.2) + 0.1 * x.roll(1, -1) + t.to(x.dtype).view(-1, 1) / 1000


def with_our_arrays(scheduler, schedule):
    scheduler.betas, scheduler.alphas = schedule.beta[1:], schedule.alpha[1:]
    scheduler.alphas_cumprod = schedule.alpha_bar[1:]
    return scheduler


def their_walk(scheduler, x, **options):
    """Their loop: the network is asked at our time for their timestep."""
    for k in scheduler.timesteps:
        out = net(x, torch.full((len(x),), int(k) + 1))
        x = scheduler.step(out, k, x, return_dict=False, **options)[0]
        yield x


@every_beta
@every_target
def test_ancestral_steps_are_diffusers_ddpm(schedule, target):
    theirs = DDPMScheduler(prediction_type=PREDICTION_TYPE[target], clip_sample=False, variance_type="fixed_small")
    with_our_arrays(theirs, schedule).set_timesteps(STEPS)
    x = start((4, 3))
    walk = their_walk(theirs, x, generator=torch.Generator().manual_seed(1))
    denoise = make_denoiser(net, schedule, target)
    ours = ddim(denoise, x, LEADING, schedule, eta=1.0, generator=torch.Generator().manual_seed(1))
    for a, b in zip(ours, walk, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@every_beta
@every_target
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_ddim_steps_are_diffusers(schedule, target, eta, clip):
    """With clipping they must be told to make ε̂ agree (use_clipped_model_output), as we always do."""
    theirs = DDIMScheduler(prediction_type=PREDICTION_TYPE[target], clip_sample=clip is not None)
    with_our_arrays(theirs, schedule).set_timesteps(STEPS)
    theirs.final_alpha_cumprod = torch.ones((), dtype=f64)
    x = start((4, 3))
    options = {"eta": eta, "generator": torch.Generator().manual_seed(1), "use_clipped_model_output": True}
    walk = their_walk(theirs, x, **options)
    denoise = make_denoiser(net, schedule, target, clip=clip)
    ours = ddim(denoise, x, LEADING, schedule, eta=eta, generator=torch.Generator().manual_seed(1))
    for a, b in zip(ours, walk, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@theirs_warns
@every_beta
@every_target
@pytest.mark.parametrize("ts", [timesteps(linear(), 25)[2:], [900, 700, 400, 390, 100, 0]], ids=["even", "uneven"])
def test_dpmpp_2m_steps_are_diffusers(schedule, target, ts):
    """They hold x in float32 inside a step, so each single step is compared, from one and the same x.

    Below 15 steps they fall back to first order at the last one, which goes to t = 0 and is that for us too.
    """
    theirs = DPMSolverMultistepScheduler(
        prediction_type=PREDICTION_TYPE[target],
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        final_sigmas_type="zero",
    )
    theirs.set_timesteps(timesteps=[t - 1 for t in ts[:-1]])
    theirs.sigmas = torch.cat([schedule.sigma[ts[:-1]], torch.zeros(1, dtype=f64)])
    x = start((4, 3))
    denoise = make_denoiser(net, schedule, target)
    shared = iter(their_walk(theirs, x))

    def follow_theirs(x_s, s):
        met.append((x_s, next(shared)))
        return met[-1][1]

    met = []
    last(dpmpp_2m(denoise, x, ts, schedule, after_step=follow_theirs))
    assert len(met) == len(ts) - 1
    for a, b in met:
        torch.testing.assert_close(a, b, rtol=2e-6, atol=2e-6)


@theirs_warns
@every_beta
@pytest.mark.parametrize("target", ["eps", "v"])
def test_heun_steps_are_diffusers(schedule, target):
    """Theirs walks in x/signal and takes two calls of step for each of ours, one for the last."""
    ts = [900, 700, 400, 390, 100, 0]
    theirs = HeunDiscreteScheduler(prediction_type=PREDICTION_TYPE[target])
    theirs.set_timesteps(timesteps=[t - 1 for t in ts[:-1]])
    sigma = schedule.sigma[ts]
    theirs.sigmas = torch.cat([sigma[:1], sigma[1:-1].repeat_interleave(2), sigma[-1:]])
    x = start((4, 3))
    ours = heun(make_denoiser(net, schedule, target), x, ts, schedule)
    scaled = x / schedule.signal[ts[0]]
    for i, k in enumerate(theirs.timesteps):
        x_in = theirs.scale_model_input(scaled, k)
        scaled = theirs.step(net(x_in, torch.full((len(x),), int(k) + 1)), k, scaled, return_dict=False)[0]
        if i % 2 == 1 or i == len(theirs.timesteps) - 1:
            s = ts[i // 2 + 1]
            torch.testing.assert_close(next(ours), schedule.signal[s] * scaled, rtol=1e-8, atol=1e-8)
    assert next(ours, None) is None
