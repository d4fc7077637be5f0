"""Holding the known part: exact on Gaussians, where the walk's law can be computed; masks, seams, errors."""

import math
from itertools import pairwise

import pytest
import torch

from ldm_edu.denoiser import mixture_denoiser
from ldm_edu.forward import q_sample
from ldm_edu.inpainting import check_mask, fill_plain, hold_known, latent_mask, paste_known, repaint, seam
from ldm_edu.samplers import ddim, last, normal_like, prior_sample
from ldm_edu.schedule import cosine, linear, timesteps
from ldm_edu.target import Prediction

f64 = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def correlated(rho, schedule):
    """The exact denoiser of a 2-D Gaussian with variances 1 and correlation ρ: independent along its diagonals."""
    turn = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=f64) / math.sqrt(2)
    spread = torch.tensor([[1 + rho, 1 - rho]], dtype=f64)
    straight = mixture_denoiser(torch.zeros(1, 2, dtype=f64), spread, torch.ones(1, dtype=f64), schedule)

    def denoise(x_t, t):
        return Prediction(*(part @ turn for part in straight(x_t @ turn, t)))

    return denoise


def law(rho, ts, schedule, eta, jumps, jump_steps):
    """Slope on the known value and variance of the free coordinate after `repaint`, by recursion on its moments."""
    signal, noise = schedule.signal.tolist(), schedule.noise.tolist()
    cov = torch.tensor([[1, rho], [rho, 1]], dtype=f64)
    slope, variance = 0.0, noise[ts[0]] ** 2
    for start in range(0, len(ts) - 1, jump_steps):
        stretch = ts[start : start + jump_steps + 1]
        for jump in range(jumps + 1):
            if jump:
                t, s = stretch[0], stretch[-1]
                r = signal[t] / signal[s]
                slope, variance = r * slope, r**2 * variance + noise[t] ** 2 - r**2 * noise[s] ** 2
            for t, s in pairwise(stretch):
                gain = signal[t] * cov @ torch.linalg.inv(signal[t] ** 2 * cov + noise[t] ** 2 * torch.eye(2))
                own, other = gain[1, 1].item(), gain[1, 0].item()
                r = signal[t] / signal[s]
                fresh = eta**2 * noise[s] ** 2 / noise[t] ** 2 * (noise[t] ** 2 - r**2 * noise[s] ** 2)
                keep = math.sqrt(noise[s] ** 2 - fresh) / noise[t]
                a, b = keep, signal[s] - keep * signal[t]  # x_s = a x_t + b x̂_0 + fresh noise
                slope = (a + b * own) * slope + b * other * signal[t]
                variance = (a + b * own) ** 2 * variance + (b * other * noise[t]) ** 2 + fresh
    return slope, variance


@pytest.mark.parametrize(("eta", "jumps"), [(0.0, 0), (1.0, 0), (1.0, 3), (0.5, 2)])
def test_repaint_on_a_gaussian_has_the_law_that_its_moments_follow(eta, jumps):
    """The free coordinate given the known one is Gaussian: sampled slope and variance within 4 standard errors."""
    schedule, n, rho = linear(), 20000, 0.8
    ts = timesteps(schedule, 20)
    known = torch.randn(n, generator=seeded(3), dtype=f64)
    x_0 = torch.stack([known, torch.full((n,), math.nan, dtype=f64)], 1)  # what is free must never be used
    x = prior_sample((n, 2), ts[0], schedule, generator=seeded(1)).double()
    free = torch.tensor([[False, True]])
    options = {"eta": eta, "jumps": jumps, "jump_steps": 4, "generator": seeded(2)}
    got = last(repaint(correlated(rho, schedule), x, x_0, free, ts, schedule, **options))
    assert torch.equal(got[:, 0], known)
    slope, variance = law(rho, ts, schedule, eta, jumps, 4)
    measured = (got[:, 1] @ known / (known @ known)).item()
    rest = (got[:, 1] - measured * known).var().item()
    assert abs(measured - slope) < 4 * math.sqrt(variance / n)
    assert abs(rest / variance - 1) < 4 * math.sqrt(2 / n)


def test_replacement_misses_the_conditional_and_jumps_bring_it_nearer():
    """Truth: slope ρ, variance 1 − ρ². By recursion, so without chance."""
    schedule, rho = linear(), 0.9
    ts = timesteps(schedule, 100)
    laws = [law(rho, ts, schedule, 1.0, jumps, 5) for jumps in (0, 1, 4, 16)]
    slopes = [abs(slope - rho) for slope, _ in laws]
    variances = [abs(variance - (1 - rho**2)) for _, variance in laws]
    assert slopes[0] > 0.1
    assert slopes == sorted(slopes, reverse=True)
    assert slopes[-1] < 0.25 * slopes[0]
    assert variances[-1] < variances[0]


def test_without_jumps_it_is_the_sampler_with_the_known_part_held():
    schedule, ts = cosine(50), [40, 25, 10, 0]
    x_0, x = torch.randn(2, 3, 4, generator=seeded(), dtype=f64)
    free = torch.tensor([[True, False, False, True]])
    denoise = mixture_denoiser(torch.ones(1, 4, dtype=f64), torch.ones(1, dtype=f64), torch.ones(1), schedule)
    g, h = seeded(5), seeded(5)
    hold = hold_known(x_0, free, schedule, g)
    expected = list(ddim(denoise, hold(x, 40), ts, schedule, eta=1.0, generator=g, after_step=hold))
    got = list(repaint(denoise, x, x_0, free, ts, schedule, jump_steps=2, generator=h))
    assert len(got) == 3
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b)


def test_what_is_held_is_noised_to_the_time_that_is_reached():
    schedule = linear()
    x_0 = torch.full((20000, 2), 0.7, dtype=f64)
    free = torch.tensor([[False, True]])
    assert torch.equal(hold_known(x_0, free, schedule)(torch.zeros_like(x_0), 0), torch.where(free, 0, x_0))
    for s in (300, 900):
        held = hold_known(x_0, free, schedule, seeded())(torch.full_like(x_0, 5.0), s)
        assert (held[:, 1] == 5).all()
        assert abs(held[:, 0].mean() - 0.7 * schedule.signal[s]) < 4 * schedule.noise[s] / math.sqrt(20000)
        assert abs(held[:, 0].var() - schedule.noise[s] ** 2) < 4 * schedule.noise[s] ** 2 * math.sqrt(2 / 20000)


@pytest.mark.parametrize(("jumps", "calls"), [(0, 7), (1, 14), (3, 28)])
def test_steps_and_jumps(jumps, calls):
    """Seven steps in stretches of three, three and one, each walked jumps + 1 times."""
    schedule, ts, seen = linear(50), [40, 35, 30, 20, 10, 5, 2, 0], []

    def denoise(x_t, t):
        seen.append(t)
        return Prediction(0 * x_t, x_t)

    x = torch.randn(2, 3, generator=seeded())
    steps = repaint(denoise, x, x, torch.tensor([[True, False, True]]), ts, schedule, jumps=jumps, jump_steps=3)
    assert len(list(steps)) == calls
    assert seen == [40, 35, 30] * (jumps + 1) + [20, 10, 5] * (jumps + 1) + [2] * (jumps + 1)


def test_a_jump_goes_back_up_by_the_forward_process():
    """After a jump from s to t, x ~ N(r x_s, noise_t² − r² noise_s²) where free; here x_s is 2 everywhere."""
    schedule, met = linear(), []

    def denoise(x_t, t):
        met.append(x_t)
        two = torch.full_like(x_t, 2.0)
        return Prediction(two / schedule.signal[300], 0 * x_t)  # with ε̂ = 0: x_300 = 2

    x = torch.zeros(20000, 1, dtype=f64)
    list(repaint(denoise, x, x, torch.tensor([[True]]), [600, 300], schedule, jumps=1, eta=0.0, generator=seeded()))
    r = schedule.signal[600] / schedule.signal[300]
    variance = schedule.noise[600] ** 2 - r**2 * schedule.noise[300] ** 2
    assert abs(met[1].mean() - 2 * r) < 4 * math.sqrt(variance / 20000)
    assert abs(met[1].var() / variance - 1) < 4 * math.sqrt(2 / 20000)


@pytest.mark.parametrize(
    ("options", "message"), [({"jumps": -1}, "jumps must"), ({"jump_steps": 0}, "jump_steps must be a whole number, 1")]
)
def test_jumps_out_of_range(options, message):
    x = torch.zeros(1, 2)
    with pytest.raises(ValueError, match=message):
        next(repaint(None, x, x, torch.tensor([[True, False]]), [5, 0], linear(10), **options))


def test_free_must_be_bool_and_fit():
    x = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match="free must be of type bool"):
        hold_known(x, torch.ones(2, 1, 4, 4), linear(10))
    with pytest.raises(ValueError, match="does not fit x_0"):
        hold_known(x, torch.ones(2, 1, 8, 8, dtype=torch.bool), linear(10))
    with pytest.raises(ValueError, match="x and x_0 must have one shape"):
        next(repaint(None, x[:1], x, torch.ones(2, 1, 4, 4, dtype=torch.bool), [5, 0], linear(10)))


def one_pixel(y, x, size=16):
    mask = torch.zeros(1, 1, size, size, dtype=torch.bool)
    mask[0, 0, y, x] = True
    return mask


def test_a_latent_that_sees_any_pixel_of_the_hole_is_free():
    free = latent_mask(one_pixel(7, 4), 4)
    assert free.nonzero().tolist() == [[0, 0, 1, 1]]
    assert latent_mask(one_pixel(8, 4), 4).nonzero().tolist() == [[0, 0, 2, 1]]
    wider = latent_mask(one_pixel(7, 4), 4, margin=1)
    assert wider.sum() == 9
    assert wider[0, 0, :3, :3].all()
    assert torch.equal(latent_mask(one_pixel(3, 3), 1), one_pixel(3, 3))


@pytest.mark.parametrize(
    ("mask", "factor", "margin", "message"),
    [
        (torch.zeros(1, 1, 8, 8), 4, 0, "of type bool"),
        (torch.zeros(1, 8, 8, dtype=torch.bool), 4, 0, r"\(B, 1, H, W\)"),
        (torch.zeros(1, 1, 8, 6, dtype=torch.bool), 4, 0, "multiples of 4"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.bool), 4, -1, "margin must be a whole number, 0 or more"),
    ],
)
def test_bad_latent_masks(mask, factor, margin, message):
    with pytest.raises(ValueError, match=message):
        latent_mask(mask, factor, margin)


def test_a_hole_is_filled_with_the_mean_colour_around_it():
    pictures = torch.rand(2, 3, 8, 8, generator=seeded())
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    mask[0, 0, 2:4, 3:6] = True
    mask[1, 0, 0, 0] = True
    filled = fill_plain(pictures, mask)
    assert torch.equal(torch.where(mask, 0, filled), torch.where(mask, 0, pictures))
    ring = pictures[0, :, 1:5, 2:7].sum((1, 2)) - pictures[0, :, 2:4, 3:6].sum((1, 2))
    torch.testing.assert_close(filled[0, :, 2, 3], ring / (20 - 6))
    corner = (pictures[1, :, 0, 1] + pictures[1, :, 1, 0] + pictures[1, :, 1, 1]) / 3
    torch.testing.assert_close(filled[1, :, 0, 0], corner)
    other = torch.where(mask, torch.randn(2, 3, 8, 8, generator=seeded(1)), pictures)
    torch.testing.assert_close(fill_plain(other, mask), filled)  # what the hole held does not count


def test_pasting_keeps_the_known_pixels():
    new, old = torch.randn(2, 2, 3, 4, 4, generator=seeded())
    mask = torch.rand(2, 1, 4, 4, generator=seeded()) < 0.5
    got = paste_known(new, old, mask)
    assert torch.equal(got * ~mask, old * ~mask)
    assert torch.equal(got * mask, new * mask)


def test_the_seam_is_the_step_across_the_border_alone():
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    mask[:, :, 2:5, 2:6] = True
    flat = torch.zeros(2, 3, 8, 8)
    assert seam(flat, mask).tolist() == [0, 0]
    lit = paste_known(flat + torch.tensor([0.3, 0.6, 0.9]).view(3, 1, 1), flat, mask)
    torch.testing.assert_close(seam(lit, mask), torch.tensor([0.6, 0.6]))
    inside = flat.clone()
    inside[:, :, 3, 3] = 1  # a step that doesn't touch the border
    assert seam(inside, mask).tolist() == [0, 0]
    one_side = flat.clone()
    one_side[:, :, :, :2] = 1  # 3 of the 14 pairs
    torch.testing.assert_close(seam(one_side, mask), torch.full((2,), 3 / 14))


def test_a_seam_needs_a_border():
    with pytest.raises(ValueError, match="no border"):
        seam(torch.zeros(1, 3, 4, 4), torch.ones(1, 1, 4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="mask must be bool of shape"):
        seam(torch.zeros(1, 3, 4, 4), torch.ones(1, 1, 4, 5, dtype=torch.bool))


def test_masks_of_numbers_become_bool():
    pictures = torch.zeros(2, 3, 4, 4)
    mask = torch.zeros(2, 1, 4, 4)
    mask[:, :, 1, 1] = 1
    assert check_mask(mask, pictures).dtype == torch.bool
    assert torch.equal(check_mask(mask.long(), pictures), mask == 1)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(2, 4, 4), r"shape \(2, 1, 4, 4\)"),
        (torch.ones(1, 1, 4, 4), r"shape \(2, 1, 4, 4\)"),
        (torch.full((2, 1, 4, 4), 0.5), "only 0"),
        (torch.zeros(2, 1, 4, 4), "both 1"),
        (torch.ones(2, 1, 4, 4), "both 1"),
    ],
)
def test_bad_masks(mask, message):
    with pytest.raises(ValueError, match=message):
        check_mask(mask, torch.zeros(2, 3, 4, 4))


def test_noise_is_drawn_where_the_generator_says():
    """One seed, one result: the stream of noise does not depend on the mask."""
    schedule = linear(50)
    x_0 = torch.randn(2, 4, generator=seeded())
    for free in (torch.tensor([[True, False, True, True]]), torch.tensor([[False, False, False, True]])):
        held = hold_known(x_0, free, schedule, seeded(7))(0 * x_0, 20)
        expected = q_sample(x_0, 20, normal_like(x_0, seeded(7)), schedule)
        assert torch.equal(held, torch.where(free, 0, expected))
