"""The equations of notebook 09."""

import math
from itertools import pairwise

import pytest
import torch

from ldm_edu.denoiser import mixture_denoiser
from ldm_edu.forward import posterior_variance, q_sample, q_step
from ldm_edu.inpainting import hold_known, latent_mask, repaint, seam
from ldm_edu.mixing import match_statistics
from ldm_edu.samplers import ddim, encode, last, normal_like
from ldm_edu.schedule import cosine, linear, straight, timesteps
from ldm_edu.target import Prediction

f64 = torch.float64
SCHEDULES = {"linear": linear(), "cosine": cosine(), "straight": straight()}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=f64, generator=seeded(seed))


def gaussian(mean, variance, schedule):
    """The exact denoiser of one number from N(mean, variance)."""
    one = torch.ones(1, dtype=f64)
    return mixture_denoiser(mean * one[:, None], variance * one, one, schedule)


def correlated(rho, schedule):
    """The exact denoiser of two numbers with variance 1 and correlation ρ, independent along their diagonals."""
    turn = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=f64) / math.sqrt(2)
    spread = torch.tensor([[1 + rho, 1 - rho]], dtype=f64)
    upright = mixture_denoiser(torch.zeros(1, 2, dtype=f64), spread, torch.ones(1, dtype=f64), schedule)
    return lambda x, t: Prediction(*(part @ turn for part in upright(x @ turn, t)))


def gains(S, N, rho):
    """(9.6) for signal² = S and noise² = N: the weights of x_t^u and of x_t^k."""
    det = (S + N) ** 2 - S**2 * rho**2
    return math.sqrt(S) * (S + N - S * rho**2) / det, math.sqrt(S) * N * rho / det


def right_gain(S, N, rho):
    """The factor of x_0^k in (9.7)."""
    return rho * N / (S * (1 - rho**2) + N)


@every_schedule
@pytest.mark.equation("9.1")
def test_the_start_has_the_marginal_of_its_time_so_an_exact_walk_ends_in_the_data(schedule):
    """From x_{t0} of data N(1, 0.3) the walk from t0 gives N(1, 0.3) again."""
    n, t0 = 40_000, 500
    x_0, eps = 1 + math.sqrt(0.3) * randn(n, 1), randn(n, 1, seed=1)
    start = schedule.signal[t0] * x_0 + schedule.noise[t0] * eps
    torch.testing.assert_close(start, q_sample(x_0, t0, eps, schedule))
    end = last(ddim(gaussian(1.0, 0.3, schedule), start, range(t0, -1, -1), schedule))
    assert abs(end.mean() - 1) < 4 * math.sqrt(0.3 / n)
    assert abs(end.var() / 0.3 - 1) < 4 * math.sqrt(2 / n) + 0.01  # Euler's steps lose a little


@every_schedule
@pytest.mark.equation("9.2")
def test_the_share_of_the_variance_that_comes_from_the_picture(schedule):
    """It is the squared correlation of x_t and x_0, and the exact denoiser's x̂_0 has it as signal · weight."""
    n = 200_000
    for v, t in ((0.3, 200), (1.0, 500), (4.0, 800)):
        S, N = schedule.signal[t].item() ** 2, schedule.noise[t].item() ** 2
        share = S * v / (S * v + N)
        x_0 = math.sqrt(v) * randn(n, 1)
        x_t = q_sample(x_0, t, randn(n, 1, seed=1), schedule)
        assert abs(torch.corrcoef(torch.cat([x_0, x_t], 1).T)[0, 1] ** 2 - share) < 4 / math.sqrt(n)
        weight = gaussian(0.0, v, schedule)(torch.ones(1, 1, dtype=f64), t).x0.item()
        assert math.isclose(schedule.signal[t].item() * weight, share, rel_tol=1e-9)


@pytest.mark.equation("9.3")
@pytest.mark.parametrize(("eta", "power"), [(1.0, 1.0), (0.0, 0.5)])
def test_how_close_the_end_is_to_the_start(eta, power):
    schedule, n, v, t0 = cosine(), 40_000, 0.5, 400
    x_0 = math.sqrt(v) * randn(n, 1)
    x_t = q_sample(x_0, t0, randn(n, 1, seed=1), schedule)
    end = last(ddim(gaussian(0.0, v, schedule), x_t, range(t0, -1, -1), schedule, eta=eta, generator=seeded(2)))
    S, N = schedule.signal[t0].item() ** 2, schedule.noise[t0].item() ** 2
    corr = (S * v / (S * v + N)) ** power
    assert abs(torch.corrcoef(torch.cat([x_0, end], 1).T)[0, 1] - corr) < 4 / math.sqrt(n) + 0.003
    assert abs((end - x_0).square().mean() - 2 * v * (1 - corr)) < 0.02 * v


@every_schedule
@pytest.mark.equation("9.4")
def test_a_frequency_is_drowned_where_its_variance_is_below_sigma_squared(schedule):
    for v in (0.01, 0.3, 2.0, 100.0):
        for t in (1, 50, 300, 600, 950):
            S, N = schedule.signal[t].item() ** 2, schedule.noise[t].item() ** 2
            assert (S * v / (S * v + N) < 0.5) == (S * v < N) == (v < schedule.sigma[t].item() ** 2)
    noise = torch.fft.fft2(randn(4000, 1, 8, 8), norm="ortho").abs().square().mean((0, 1))
    assert (noise - 1).abs().max() < 6 * math.sqrt(2 / 4000)  # variance 1 at every frequency
    x = randn(3, 2, 8, 8, seed=1)
    torch.testing.assert_close(torch.fft.fft2(x, norm="ortho").abs().square().sum(), x.square().sum())


@every_schedule
@pytest.mark.equation("9.5")
def test_replacement_noises_the_known_part_to_the_time_reached(schedule):
    x_0, x_s = randn(5, 3), randn(5, 3, seed=1)
    free = torch.tensor([[True, False, True]])
    for s in (0, 300, 900):
        got = hold_known(x_0, free, schedule, seeded(2))(x_s, s)
        z = normal_like(x_0, seeded(2))
        torch.testing.assert_close(got[:, 1], (schedule.signal[s] * x_0 + schedule.noise[s] * z)[:, 1])
        assert torch.equal(got[:, [0, 2]], x_s[:, [0, 2]])


@every_schedule
@pytest.mark.equation("9.6")
def test_the_guess_from_two_noisy_numbers(schedule):
    """Against the exact denoiser, and against the regression of x_0^u on (x_t^k, x_t^u)."""
    for rho, t in ((0.3, 100), (0.9, 500), (-0.7, 800)):
        S, N = schedule.signal[t].item() ** 2, schedule.noise[t].item() ** 2
        g_u, g_k = gains(S, N, rho)
        x_t = randn(6, 2)
        torch.testing.assert_close(correlated(rho, schedule)(x_t, t).x0[:, 1], g_u * x_t[:, 1] + g_k * x_t[:, 0])
        cov = torch.tensor([[S + N, S * rho], [S * rho, S + N]], dtype=f64)
        row = math.sqrt(S) * torch.tensor([rho, 1.0], dtype=f64)
        torch.testing.assert_close(torch.linalg.solve(cov, row), torch.tensor([g_k, g_u], dtype=f64))


@every_schedule
@pytest.mark.equation("9.7")
def test_the_guess_from_the_known_number_itself(schedule):
    """Against the regression of x_0^u on (x_0^k, x_t^u)."""
    for rho, t in ((0.3, 100), (0.9, 500), (-0.7, 800)):
        s, N = schedule.signal[t].item(), schedule.noise[t].item() ** 2
        cov = torch.tensor([[1, s * rho], [s * rho, s**2 + N]], dtype=f64)  # of x_0^k and x_t^u
        weights = torch.linalg.solve(cov, torch.tensor([rho, s], dtype=f64))
        x_k, x_u = randn(2, 7)
        guess = rho * x_k + s * (1 - rho**2) / (s**2 * (1 - rho**2) + N) * (x_u - s * rho * x_k)
        torch.testing.assert_close(weights[0] * x_k + weights[1] * x_u, guess)
        assert math.isclose(weights[0].item(), right_gain(s**2, N, rho), rel_tol=1e-9)


@every_schedule
@pytest.mark.equation("9.8")
def test_replacement_hears_the_known_number_less_and_late(schedule):
    rho, ratios = 0.8, []
    for t in (1, 100, 300, 500, 700, 900, 990):
        S, N = schedule.signal[t].item() ** 2, schedule.noise[t].item() ** 2
        ratio = math.sqrt(S) * gains(S, N, rho)[1] / right_gain(S, N, rho)
        formula = S * (S * (1 - rho**2) + N) / ((S + N) ** 2 - S**2 * rho**2)
        assert math.isclose(ratio, formula, rel_tol=1e-9)
        assert math.isclose((S + N) ** 2 - S**2 * rho**2 - S * (S * (1 - rho**2) + N), N * (S + N), rel_tol=1e-6)
        ratios.append(ratio)
    assert ratios == sorted(ratios, reverse=True)
    assert 0.99 < ratios[0] <= 1
    assert ratios[-1] < 0.02


@pytest.mark.equation("9.9")
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_the_law_after_one_step(eta):
    """Slope on the known number and variance, from 400,000 steps of the sampler itself."""
    schedule, n, rho, m, V = linear(), 400_000, 0.8, 0.4, 0.7
    for t, s in ((700, 500), (300, 200), (200, 0)):
        S, N = schedule.signal[t].item() ** 2, schedule.noise[t].item() ** 2
        known = randn(n)
        x_k = math.sqrt(S) * known + math.sqrt(N) * randn(n, seed=1)
        x_t = torch.stack([x_k, m * known + math.sqrt(V) * randn(n, seed=2)], 1)
        got = last(ddim(correlated(rho, schedule), x_t, [t, s], schedule, eta=eta, generator=seeded(3)))[:, 1]
        g_u, g_k = gains(S, N, rho)
        c2 = eta**2 * posterior_variance(s, t, schedule)
        a = math.sqrt(schedule.noise[s].item() ** 2 - c2) / math.sqrt(N)
        b = schedule.signal[s].item() - a * math.sqrt(S)
        slope = (a + b * g_u) * m + b * g_k * math.sqrt(S)
        variance = (a + b * g_u) ** 2 * V + (b * g_k * math.sqrt(N)) ** 2 + c2
        drawn = (got @ known / (known @ known)).item()
        assert abs(drawn - slope) < 4 * math.sqrt(variance / n)
        assert abs((got - drawn * known).var() / variance - 1) < 4 * math.sqrt(2 / n)


@every_schedule
@pytest.mark.equation("9.10")
def test_the_law_after_a_jump_up(schedule):
    n, m, V, s, t = 400_000, 0.4, 0.7, 300, 500
    known = randn(n)
    x_s = m * known + math.sqrt(V) * randn(n, seed=1)
    x_t = q_step(x_s, t, randn(n, seed=2), schedule, s=s)
    r = (schedule.signal[t] / schedule.signal[s]).item()
    slope = r * m
    variance = r**2 * V + schedule.noise[t].item() ** 2 - r**2 * schedule.noise[s].item() ** 2
    drawn = (x_t @ known / (known @ known)).item()
    assert abs(drawn - slope) < 4 * math.sqrt(variance / n)
    assert abs((x_t - drawn * known).var() / variance - 1) < 4 * math.sqrt(2 / n)


@pytest.mark.equation("9.9", "9.10")
def test_the_whole_walk_with_a_jump_follows_its_law():
    schedule, n, rho = cosine(), 40_000, 0.9
    signal, noise = schedule.signal.tolist(), schedule.noise.tolist()
    ts = timesteps(schedule, 12)
    m, V = 0.0, noise[ts[0]] ** 2
    for begin in (0, 6):
        stretch = ts[begin : begin + 7]
        for jump in range(2):
            if jump:
                r = signal[stretch[0]] / signal[stretch[-1]]
                m, V = r * m, r**2 * V + noise[stretch[0]] ** 2 - r**2 * noise[stretch[-1]] ** 2
            for t, s in pairwise(stretch):
                g_u, g_k = gains(signal[t] ** 2, noise[t] ** 2, rho)
                c2 = posterior_variance(s, t, schedule)
                a = math.sqrt(noise[s] ** 2 - c2) / noise[t]
                b = signal[s] - a * signal[t]
                m, V = (a + b * g_u) * m + b * g_k * signal[t], (a + b * g_u) ** 2 * V + (b * g_k * noise[t]) ** 2 + c2
    known = randn(n)
    x_0 = torch.stack([known, known], 1)
    x = noise[ts[0]] * randn(n, 2, seed=1)
    free = torch.tensor([[False, True]])
    options = {"jumps": 1, "jump_steps": 6, "generator": seeded(2)}
    got = last(repaint(correlated(rho, schedule), x, x_0, free, ts, schedule, **options))[:, 1]
    drawn = (got @ known / (known @ known)).item()
    assert abs(drawn - m) < 4 * math.sqrt(V / n)
    assert abs((got - drawn * known).var() / V - 1) < 4 * math.sqrt(2 / n)


@pytest.mark.equation("9.11")
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_latent_is_free_if_a_pixel_of_its_square_is(factor):
    mask = torch.rand(3, 1, 16, 16, generator=seeded()) < 0.1
    free = latent_mask(mask, factor)
    for n in range(3):
        for i in range(16 // factor):
            for j in range(16 // factor):
                square = mask[n, 0, factor * i : factor * (i + 1), factor * j : factor * (j + 1)]
                assert free[n, 0, i, j] == square.max()


@pytest.mark.equation("9.12")
def test_the_seam_is_the_mean_step_over_pairs_across_the_border():
    pictures, mask = randn(2, 3, 6, 7), torch.rand(2, 1, 6, 7, generator=seeded(1)) < 0.4
    for picture, hole, value in zip(pictures, mask[:, 0], seam(pictures, mask), strict=True):
        steps = []
        for y in range(6):
            for x in range(7):
                for v, u in ((y + 1, x), (y, x + 1)):
                    if v < 6 and u < 7 and hole[y, x] != hole[v, u]:
                        steps.append((picture[:, y, x] - picture[:, v, u]).abs().sum())
        torch.testing.assert_close(value, sum(steps) / (3 * len(steps)))


@every_schedule
@pytest.mark.equation("9.13")
def test_two_guidances_part_by_the_difference_of_the_answers(schedule):
    """A short step up with w_1 and down with w_2, over its width in σ; exact Gaussians with and without a condition."""
    told, untold = gaussian(1.0, 0.25, schedule), gaussian(0.0, 1.0, schedule)

    def guided(w):
        def denoise(x, t):
            a, b = told(x, t), untold(x, t)
            return Prediction(b.x0 + w * (a.x0 - b.x0), b.eps + w * (a.eps - b.eps))

        return denoise

    x, t, s = randn(5, 1), 501, 500
    for up, down in ((1.0, 3.0), (2.0, 0.0), (1.5, 1.5)):
        back = last(ddim(guided(down), last(encode(guided(up), x, [t, s], schedule)), [t, s], schedule))
        width = (schedule.sigma[s] - schedule.sigma[t]).item()
        rate = (back - x) / schedule.signal[s].item() / width
        expected = (down - up) * (told(x, s).eps - untold(x, s).eps)
        torch.testing.assert_close(rate, expected, rtol=0.05, atol=0.03)


@pytest.mark.equation("9.14")
def test_statistics_are_those_of_the_style():
    x, y = 3 * randn(2, 4, 5, 6) + 1, 0.5 * randn(2, 4, 7, 3, seed=1) - 2
    got = match_statistics(x, y)
    for n in range(2):
        for c in range(4):
            expected = y[n, c].std() * (x[n, c] - x[n, c].mean()) / x[n, c].std() + y[n, c].mean()
            torch.testing.assert_close(got[n, c], expected)


@every_schedule
@pytest.mark.equation("9.15")
def test_the_least_error_of_the_noise_is_at_the_nearest_mean(schedule):
    """In the mean over ε the classes' errors differ by (noise signal / k)² ‖x_0 − m_s‖², so the nearest mean wins."""
    v, means, x_0 = 0.3, (-1.0, 0.2, 1.5), torch.linspace(-2, 2, 41, dtype=f64)[:, None]
    x_0 = x_0[[abs(x.item() + 0.4) > 1e-6 and abs(x.item() - 0.85) > 1e-6 for x in x_0]]  # not half way between two
    eps = randn(2000, 1)
    eps = torch.cat([eps, -eps]) / eps.square().mean().sqrt()  # mean 0 and mean square 1, exactly
    for t in (50, 300, 600):
        signal, noise = schedule.signal[t].item(), schedule.noise[t].item()
        k = signal**2 * v + noise**2
        errors = []
        for m in means:
            x_t = q_sample(x_0.repeat_interleave(len(eps), 0), t, eps.repeat(len(x_0), 1), schedule)
            told = gaussian(m, v, schedule)(x_t, t).eps
            error = (told - eps.repeat(len(x_0), 1)).square().view(len(x_0), -1).mean(1)
            torch.testing.assert_close(
                error, (signal**2 * v / k) ** 2 + (noise * signal / k) ** 2 * (x_0[:, 0] - m).square()
            )
            errors.append(error)
        nearest = (x_0 - torch.tensor(means, dtype=f64)).abs().argmin(1)
        assert torch.equal(torch.stack(errors).argmin(0), nearest)
