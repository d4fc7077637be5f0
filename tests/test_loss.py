"""The loss and its weightings, and the bound on −log p(x_0) against what it bounds."""

import math
from itertools import pairwise

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ldm_edu.denoiser import mixture_denoiser
from ldm_edu.forward import q_posterior, q_sample
from ldm_edu.loss import diffusion_loss, elbo, elbo_weights, kl_gaussian, min_snr_weights
from ldm_edu.schedule import cosine, linear, scaled_linear, straight, variance_exploding
from ldm_edu.target import Prediction, training_target

f64 = torch.float64
PRESERVING = {"linear": linear(), "scaled_linear": scaled_linear(), "cosine": cosine()}
SCHEDULES = PRESERVING | {"exploding": variance_exploding(), "straight": straight()}
TABLES = {"min_snr": min_snr_weights, "elbo": elbo_weights}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_a_signal_whose_square_is_too_small_for_a_number_has_no_weights_for_eps(table):
    schedule = linear(100_000)
    assert schedule.signal[-1] > 0
    with pytest.raises(ValueError, match=r"SNR is 0 at t = 100000: .*; use x0 or v instead"):
        table(schedule, "eps")
    assert table(schedule, "v").isfinite().all()


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
@pytest.mark.parametrize("target", ["eps", "v"])
def test_every_target_weighs_one_x_0_error(table, schedule, target):
    """The weighted squared error is the same, whichever target the error of x̂_0 is written in."""
    if target == "eps" and schedule.signal[-1] == 0:
        with pytest.raises(ValueError, match="use x0 or v instead"):
            table(schedule, target)
        return
    t = torch.arange(1, schedule.T + 1)
    g = torch.Generator().manual_seed(0)
    x_0, eps, wrong = torch.randn(3, len(t), dtype=f64, generator=g)
    x_t = q_sample(x_0, t, eps, schedule)
    x0_hat = x_0 + wrong
    eps_hat = (x_t - schedule.signal[t] * x0_hat) / schedule.noise[t]
    error = training_target(x0_hat - x_0, t, eps_hat - eps, schedule, target) ** 2
    weighted, on_x0 = table(schedule, target)[t] * error, table(schedule, "x0")[t] * wrong**2
    torch.testing.assert_close(weighted, on_x0, rtol=1e-6, atol=1e-12)
    assert table(schedule, target)[0] == 0


@pytest.mark.parametrize("gamma", [1.0, 5.0])
@pytest.mark.parametrize("schedule", PRESERVING.values(), ids=PRESERVING.keys())
def test_min_snr_as_the_paper_writes_it(schedule, gamma):
    """Hang et al. §3.4: min(SNR, γ) for x_0, min(SNR, γ)/SNR for ε, min(SNR, γ)/(SNR + 1) for v."""
    snr = schedule.alpha_bar[1:] / (1 - schedule.alpha_bar[1:])
    for target, scale in (("x0", 1), ("eps", snr), ("v", snr + 1)):
        weights = min_snr_weights(schedule, target, gamma)[1:]
        torch.testing.assert_close(weights, snr.clamp(max=gamma) / scale, rtol=1e-9, atol=0)


@pytest.mark.parametrize("schedule", PRESERVING.values(), ids=PRESERVING.keys())
def test_elbo_weights_are_eq_12(schedule):
    """Ho et al. Eq. 12: β_t² / (2 σ_t² α_t (1 − ᾱ_t)) on the error of ε, with σ_t² = β̃_t."""
    beta, alpha, bar = schedule.beta[2:], schedule.alpha[2:], schedule.alpha_bar[2:]
    variance = (1 - schedule.alpha_bar[1:-1]) / (1 - bar) * beta
    expected = beta**2 / (2 * variance * alpha * (1 - bar))
    torch.testing.assert_close(elbo_weights(schedule, "eps")[2:], expected, rtol=1e-8, atol=0)
    assert elbo_weights(schedule, "eps")[:2].tolist() == pytest.approx([0, 0.5], rel=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
def test_elbo_weights_at_1_are_the_reconstructions(schedule):
    """What a wrong x̂_0 adds to `elbo`'s reconstruction is its squared error, weighted."""
    x_0 = torch.tensor([[0.3]], dtype=f64)
    right, wrong = (elbo(lambda x, t, g=guess: Prediction(g, 0 * x), x_0, schedule) for guess in (x_0, x_0 - 0.8))
    added = wrong.reconstruction - right.reconstruction
    torch.testing.assert_close(added, elbo_weights(schedule, "x0")[1:2] * 0.8**2, rtol=1e-6, atol=0)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
def test_elbo_weights_are_the_kl_of_the_posteriors(schedule):
    """½ (SNR_{t−1} − SNR_t) (x̂_0 − x_0)² is KL(q(x_{t−1}|x_t, x_0) ‖ the same at x̂_0)."""
    x_0, x0_hat, x_t = (torch.tensor([v], dtype=f64) for v in (0.3, -0.5, 1.1))
    weights = elbo_weights(schedule, "x0")
    for t in (2, 300, 999):
        mean, variance = q_posterior(x_0, x_t, t, schedule)
        mean_hat, _ = q_posterior(x0_hat, x_t, t, schedule)
        deviation = math.sqrt(variance)
        kl = kl_divergence(Normal(mean, deviation), Normal(mean_hat, deviation))
        torch.testing.assert_close(weights[t] * (x0_hat - x_0) ** 2, kl, rtol=1e-6, atol=0)


def test_kl_is_that_of_torch_distributions():
    g = torch.Generator().manual_seed(0)
    mean_a, mean_b = torch.randn(2, 3, 4, dtype=f64, generator=g)
    var_a, var_b = torch.rand(2, 3, 4, dtype=f64, generator=g) + 0.1
    expected = kl_divergence(Normal(mean_a, var_a.sqrt()), Normal(mean_b, var_b.sqrt()))
    torch.testing.assert_close(kl_gaussian(mean_a, var_a, mean_b, var_b), expected, rtol=1e-12, atol=1e-14)
    # Plain numbers keep float64's digits.
    a, b = torch.zeros(1, dtype=f64), torch.ones(1, dtype=f64)
    exact = (math.log(0.3 / 0.1) + (0.1 + 1) / 0.3 - 1) / 2
    assert kl_gaussian(a, 0.1, b, 0.3).item() == pytest.approx(exact, rel=1e-14)
    assert kl_gaussian(mean_a, var_a, mean_a, var_a).abs().max() == 0


# Gaussian data, for which everything is known.
MEAN, DEVIATION = 0.4, 0.5


def gaussian_denoiser(schedule):
    return mixture_denoiser(
        torch.tensor([[MEAN]], dtype=f64),
        torch.tensor([DEVIATION**2], dtype=f64),
        torch.ones(1, dtype=f64),
        schedule,
    )


def expected_bound(schedule):
    """E over x_0 of the bound: with the exact denoiser E (x_0 − x̂_0)² = c² noise² / (signal² c² + noise²)."""
    signal2, noise2, c2 = schedule.signal**2, schedule.noise**2, DEVIATION**2
    error = c2 * noise2 / (signal2 * c2 + noise2)
    prior = schedule.snr[-1] * (MEAN**2 + c2) / 2
    steps = ((schedule.snr[1:-1] - schedule.snr[2:]) / 2 * error[2:]).sum()
    first = (error[1] * schedule.snr[1] + math.log(2 * math.pi) - schedule.snr[1].log()) / 2
    return (prior + steps + first).item()


ENTROPY = math.log(2 * math.pi * math.e * DEVIATION**2) / 2  # E[−log p(x_0)] = 0.7258 nats


@pytest.mark.parametrize("T", [20, 80, 320])
@pytest.mark.parametrize(
    "make",
    [lambda T: linear(T, 0.1 / T, 10 / T), lambda T: variance_exploding(T, 0.002, 50.0), straight],
    ids=["linear", "exploding", "straight"],
)
def test_the_bound_is_above_minus_log_p(make, T):
    """Drawn term by term, the bound has the mean that follows from E (x_0 − x̂_0)², and lies above −log p."""
    n, schedule, g = 4000, make(T), torch.Generator().manual_seed(0)
    x_0 = MEAN + DEVIATION * torch.randn(n, 1, dtype=f64, generator=g)
    bound = elbo(gaussian_denoiser(schedule), x_0, schedule, generator=g)
    assert bound.prior.shape == bound.reconstruction.shape == (n,)
    assert bound.steps.shape == (n, T - 1)
    over = bound.total + Normal(MEAN, DEVIATION).log_prob(x_0[:, 0])
    error = over.std() / math.sqrt(n)
    gap = expected_bound(schedule) - ENTROPY
    assert gap > 0
    assert abs(over.mean() - gap) < 4 * error
    assert over.mean() > 3 * error


def test_the_bound_closes_like_1_over_T():
    """σ geometric from 0.002 to 50: gaps of 0.333, 0.163, 0.0804 and 0.0400 nats at T = 160, 320, 640, 1280."""
    gaps = [expected_bound(variance_exploding(T, 0.002, 50.0)) - ENTROPY for T in (160, 320, 640, 1280)]
    assert gaps == pytest.approx([0.3331, 0.1627, 0.0804, 0.0400], abs=1e-4)
    for coarse, fine in pairwise(gaps):
        assert 1.95 < coarse / fine < 2.1


def test_the_bound_of_linear_beta_stays_half_of_eulers_constant_too_high():
    """Near t = 0 a constant β gives SNR_t ∝ 1/t, so Σ ½ (SNR_{t−1}/SNR_t − 1) = Σ ½ / (t − 1) for ½ Σ log(t/(t−1)).

    The two differ by half of Euler's constant, 0.2886 nats an entry, at every T: more steps cut time
    ever finer, but never the first doublings of σ. At T = 2·10⁴ and 8·10⁴ the gap is 0.297 and 0.292, of
    which the prior is 0.0013.
    """
    prior = []
    gaps = []
    for T in (20_000, 80_000, 320_000):
        schedule = linear(T, 0.1 / T, 10 / T)
        prior.append((schedule.snr[-1] * (MEAN**2 + DEVIATION**2) / 2).item())
        gaps.append(expected_bound(schedule) - ENTROPY)
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] - prior[2] == pytest.approx(0.5772157 / 2, abs=5e-4)


def test_a_worse_denoiser_has_a_larger_bound():
    schedule = linear(50, 0.002, 0.4)
    exact = gaussian_denoiser(schedule)
    x_0 = MEAN + DEVIATION * torch.randn(4000, 1, dtype=f64, generator=torch.Generator().manual_seed(0))

    def worse(x_t, t):
        x0_hat, eps_hat = exact(x_t, t)
        return type(exact(x_t, t))(x0_hat + 0.05, eps_hat)

    good, bad = (
        elbo(denoise, x_0, schedule, generator=torch.Generator().manual_seed(1)).total for denoise in (exact, worse)
    )
    # E[excess] is 0.05² times half the telescoped SNR_1 − SNR_T, plus the first step's SNR_1 / 2.
    excess = 0.05**2 / 2 * (2 * schedule.snr[1] - schedule.snr[-1])
    difference = bad - good
    assert abs(difference.mean() - excess) < 4 * difference.std() / math.sqrt(4000)


def test_the_two_end_terms_by_hand():
    """One step, β = ½: KL to N(0, noise²), then −log N(x_0; x̂_0(x_1), σ_1²) with σ_1² = 1; nothing between."""
    schedule = linear(1, 0.5, 0.5)
    denoise, x_0 = gaussian_denoiser(schedule), torch.tensor([[-0.3], [0.4], [1.2]], dtype=f64)
    bound = elbo(denoise, x_0, schedule, generator=torch.Generator().manual_seed(0))
    eps = torch.randn(3, 1, dtype=f64, generator=torch.Generator().manual_seed(0))
    root = math.sqrt(0.5)
    prior = kl_divergence(Normal(root * x_0, root), Normal(torch.zeros_like(x_0), root))
    reconstruction = -Normal(denoise(root * x_0 + root * eps, 1).x0, 1.0).log_prob(x_0)
    torch.testing.assert_close(bound.prior, prior[:, 0], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(bound.reconstruction, reconstruction[:, 0], rtol=1e-12, atol=1e-14)
    assert bound.steps.shape == (3, 0)
    assert torch.equal(bound.total, bound.prior + bound.reconstruction)


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
def test_the_exact_denoiser_has_the_least_loss(target):
    """Any error added to it costs its own square: E‖target − (exact + d)‖² = E‖target − exact‖² + d²."""
    schedule, t0, n = linear(100, 1e-3, 0.2), 30, 20000
    means = torch.tensor([[-1.0], [0.8]])
    exact = mixture_denoiser(means, torch.tensor([0.05, 0.2]), torch.tensor([0.4, 0.6]), schedule)
    g = torch.Generator().manual_seed(0)
    which = (torch.rand(n, generator=g) < 0.6).long()
    x_0 = means[which] + torch.tensor([0.05, 0.2]).sqrt()[which, None] * torch.randn(n, 1, generator=g)
    eps, t = torch.randn(n, 1, generator=g), torch.full((n,), t0)

    def answer(x_t, t, cond):
        x0_hat, eps_hat = exact(x_t, t0)
        return training_target(x0_hat, t0, eps_hat, schedule, target)

    least = diffusion_loss(answer, x_0, t, eps, schedule, target=target)
    error = answer(q_sample(x_0, t, eps, schedule), t, None)
    error = training_target(x_0, t, eps, schedule, target) - error
    assert least == pytest.approx(error.square().mean().item(), rel=1e-5)
    for wrong in (torch.sin, torch.tanh, lambda x: 0.3 * x, lambda x: 0.2 + 0 * x):
        worse = diffusion_loss(lambda x, t, c, d=wrong: answer(x, t, c) + d(x), x_0, t, eps, schedule, target=target)
        d = wrong(q_sample(x_0, t, eps, schedule))
        cross = 2 * error * d  # of mean 0, because the error of a conditional mean is uncorrelated with d(x_t)
        assert abs(worse - least - d.square().mean()) < 4 * cross.std() / math.sqrt(n)
        assert worse > least


def test_the_least_loss_of_gaussian_data_is_known():
    """E(ε − ε̂)² = signal² c² / (signal² c² + noise²), at every t."""
    schedule, n = linear(100, 1e-3, 0.2), 20000
    g = torch.Generator().manual_seed(0)
    x_0 = MEAN + DEVIATION * torch.randn(n, 1, dtype=f64, generator=g)
    eps = torch.randn(n, 1, dtype=f64, generator=g)
    for t in (2, 20, 60):
        loss = diffusion_loss(
            lambda x, _, c, t=t: gaussian_denoiser(schedule)(x, t).eps, x_0, torch.full((n,), t), eps, schedule
        )
        kept = schedule.signal[t] ** 2 * DEVIATION**2
        floor = (kept / (kept + schedule.noise[t] ** 2)).item()
        assert abs(loss - floor) < 4 * floor * math.sqrt(2 / n)  # a squared normal has deviation √2 times its mean


def test_loss_by_hand_with_weights_and_condition():
    schedule = linear(10)
    x_0, eps = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0))
    t, cond = torch.tensor([1, 5, 10]), torch.tensor([1.0, 2.0, 3.0])
    weights = torch.arange(11, dtype=f64)
    seen = []

    def net(x, t, cond):
        seen.append((x, t, cond))
        return cond[:, None] * x

    loss = diffusion_loss(net, x_0, t, eps, schedule, cond=cond, weights=weights)
    x_t = q_sample(x_0, t, eps, schedule)
    square = (eps - cond[:, None] * x_t) ** 2
    assert loss == pytest.approx((weights[t][:, None] * square).mean().item(), rel=1e-6)
    [(x, times, given)] = seen
    assert torch.equal(x, x_t)
    assert times is t
    assert given is cond


def test_loss_is_float32_where_the_net_is_not():
    schedule, x = linear(10), torch.ones(2, 3)
    t = torch.tensor([1, 2])
    loss = diffusion_loss(lambda x, t, c: x.to(torch.bfloat16), x, t, x, schedule)
    assert loss.dtype == torch.float32
    assert loss.shape == ()


def test_bad_input():
    schedule, x, t = linear(10), torch.zeros(2, 3), torch.tensor([1, 2])
    with pytest.raises(ValueError, match="got 'score'"):
        diffusion_loss(lambda x, t, c: x, x, t, x, schedule, target="score")
    with pytest.raises(ValueError, match="one shape"):
        diffusion_loss(lambda x, t, c: x, x, t, x[:1], schedule)
    with pytest.raises(ValueError, match="lie in"):
        diffusion_loss(lambda x, t, c: x, x, t + 9, x, schedule)
    for table in TABLES.values():
        with pytest.raises(ValueError, match="got 'score'"):
            table(schedule, "score")


def test_an_answer_or_a_table_of_another_shape_is_refused():
    schedule, x_0 = linear(5), torch.zeros(4, 1)
    t, eps = torch.ones(4, dtype=torch.int64), torch.zeros(4, 1)
    with pytest.raises(ValueError, match="the network's answer and the target must have one shape"):
        diffusion_loss(lambda x, t, cond: x[:, 0], x_0, t, eps, schedule)
    with pytest.raises(ValueError, match=r"weights must be a table of shape \(6,\)"):
        diffusion_loss(lambda x, t, cond: x, x_0, t, eps, schedule, weights=torch.ones(5))
