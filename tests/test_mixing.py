"""Between two codes, and the statistics of another."""

import math

import pytest
import torch

from ldm_edu.mixing import match_statistics, slerp


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_slerp_keeps_the_length_and_divides_the_angle():
    a, b = torch.randn(2, 5, 3, 4, dtype=torch.float64, generator=seeded())
    b = b * (a.flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)).view(-1, 1, 1)
    whole = torch.cosine_similarity(a.flatten(1), b.flatten(1)).arccos()
    for u in (0.0, 0.3, 0.5, 1.0):
        mixed = slerp(a, b, u)
        torch.testing.assert_close(mixed.flatten(1).norm(dim=1), a.flatten(1).norm(dim=1))
        part = torch.cosine_similarity(a.flatten(1), mixed.flatten(1)).clamp(-1, 1).arccos()
        torch.testing.assert_close(part, u * whole, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)


def test_slerp_of_independent_noise_is_noise():
    a, b = torch.randn(2, 4, 20000, generator=seeded())
    for u in (0.25, 0.5):
        assert (slerp(a, b, u).var(1) - 1).abs().max() < 4 * math.sqrt(2 / 20000)


@pytest.mark.parametrize("factor", [1.0, -1.0])
def test_slerp_of_parallel_codes_is_finite(factor):
    a = torch.randn(3, 7, generator=seeded())
    torch.testing.assert_close(slerp(a, factor * a, 0.25), (0.75 + 0.25 * factor) * a)


def test_slerp_refuses_other_shapes():
    with pytest.raises(ValueError, match="a and b must have one shape"):
        slerp(torch.zeros(1, 2), torch.zeros(1, 3), 0.5)


def test_matched_latents_have_the_styles_mean_and_deviation_and_keep_their_pattern():
    x = torch.randn(3, 4, 8, 8, generator=seeded(), dtype=torch.float64) * 3 + 1
    style = torch.randn(1, 4, 5, 6, generator=seeded(1), dtype=torch.float64) * 0.2 - 2
    got = match_statistics(x, style)
    torch.testing.assert_close(got.mean((2, 3)), style.mean((2, 3)).expand(3, -1))
    torch.testing.assert_close(got.std((2, 3)), style.std((2, 3)).expand(3, -1))
    for pattern, before in zip(got.flatten(2).flatten(0, 1), x.flatten(2).flatten(0, 1), strict=True):
        assert torch.corrcoef(torch.stack([pattern, before]))[0, 1] > 1 - 1e-9
    torch.testing.assert_close(match_statistics(x, x), x)


def test_a_flat_channel_gives_the_styles_mean():
    assert (match_statistics(torch.ones(1, 2, 4, 4), torch.full((1, 2, 4, 4), 3.0)) == 3).all()


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (2, 4, 4, 4), (4, 4, 4)])
def test_a_style_that_does_not_fit(shape):
    with pytest.raises(ValueError, match="style must be"):
        match_statistics(torch.zeros(3, 4, 8, 8), torch.zeros(shape))
