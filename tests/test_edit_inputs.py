"""What editing is given: strength, pictures, conditions."""

from itertools import pairwise

import pytest
import torch
from test_editing import classed, pixels, texted

from ldm_edu.edit_inputs import Condition, check_pictures, denoiser_for, times_from, to_latent, to_pictures
from ldm_edu.schedule import cosine, linear, straight, timesteps


@pytest.mark.parametrize("schedule", [linear(), cosine(), straight(200)], ids=["linear", "cosine", "straight"])
def test_a_whole_walk_is_that_of_timesteps_and_a_part_has_steps_as_wide(schedule):
    whole = timesteps(schedule, 50)
    assert times_from(schedule, 50, 1.0) == whole
    for strength in (0.1, 0.37, 0.8):
        ts = times_from(schedule, 50, strength)
        assert ts[0] == round(strength * whole[0])
        assert ts[-1] == 0
        assert len(ts) - 1 == round(50 * strength)
        widths = [t - s for t, s in pairwise(ts)]
        assert max(widths) - min(widths) <= 1
        assert abs(max(widths) - whole[0] / 50) < 1 + 0.1 * whole[0] / 50


def test_a_short_walk_never_repeats_a_time():
    assert times_from(linear(20), 20, 0.1) == [2, 1, 0]
    assert times_from(linear(1000), 10, 0.01) == [10, 0]


@pytest.mark.parametrize("strength", [0.0, -0.1, 1.01, float("nan")])
def test_strength_out_of_range(strength):
    with pytest.raises(ValueError, match=r"strength must lie in \(0, 1\]"):
        times_from(linear(), 50, strength)


def test_a_strength_without_a_step():
    with pytest.raises(ValueError, match=r"leaves no step; take 0.1 or more"):
        times_from(linear(10), 5, 0.01)


def test_guidance_needs_something_to_guide_to():
    with pytest.raises(ValueError, match="needs labels or prompts"):
        Condition(guidance=2.0)


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (torch.zeros(1, 16, 16), r"shape \(B, 1, 16, 16\)"),
        (torch.zeros(1, 3, 16, 16), r"shape \(B, 1, 16, 16\), got \(1, 3, 16, 16\)"),
        (torch.zeros(1, 1, 8, 8), r"shape \(B, 1, 16, 16\)"),
        (torch.zeros(0, 1, 16, 16), r"shape \(B, 1, 16, 16\)"),
        (torch.zeros(1, 1, 16, 16, dtype=torch.uint8), "floats in"),
        (torch.full((1, 1, 16, 16), 255.0), "values from 255 to 255"),
        (torch.full((1, 1, 16, 16), float("nan")), "values from nan"),
    ],
)
def test_pictures_that_do_not_fit(pictures, message):
    with pytest.raises(ValueError, match=message):
        check_pictures(classed(), pictures)


def test_to_latent_and_back_are_the_models_own():
    model = classed()
    pictures = 2 * torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)) - 1
    with torch.no_grad():
        assert torch.equal(to_latent(model, pictures), model.encode(pictures))
        assert torch.equal(
            to_pictures(model, model.encode(pictures)), model.decode(model.encode(pictures)).clamp(-1, 1)
        )
    assert torch.equal(to_latent(pixels(), pictures), pictures)
    assert torch.equal(to_pictures(pixels(), 3 * pictures), (3 * pictures).clamp(-1, 1))


def test_the_condition_reaches_the_network():
    x = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    cases = [
        (classed(), Condition(labels=torch.tensor([0, 0])), Condition(labels=torch.tensor([1, 1]))),
        (texted(), Condition(prompts=["bright left"] * 2), Condition(prompts=["right side"] * 2)),
    ]
    for model, one, other in cases:
        with torch.no_grad():
            a, b, plain = (denoiser_for(model, c, 2)(x, 30).eps for c in (one, other, Condition()))
            w = Condition(labels=one.labels, prompts=one.prompts, guidance=3.0)
            guided = denoiser_for(model, w, 2)(x, 30).eps
        assert (a - b).abs().max() > 1e-3
        if one.prompts is not None:  # without labels a model with classes is told nothing, in another way
            torch.testing.assert_close(guided, plain + 3 * (a - plain), rtol=1e-3, atol=1e-3)
        assert (guided - a).abs().max() > 1e-3


def test_a_condition_that_the_model_does_not_take():
    with pytest.raises(ValueError, match="takes no text"):
        denoiser_for(classed(), Condition(prompts=["x"]), 1)
    with pytest.raises(ValueError, match="has no classes"):
        denoiser_for(texted(), Condition(labels=torch.tensor([0])), 1)
    with pytest.raises(ValueError, match="one prompt a picture"):
        denoiser_for(texted(), Condition(prompts=["x"]), 2)
