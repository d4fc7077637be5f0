"""Editing is the sampler, started later, held in part, or told otherwise; with text, classes and neither."""

import dataclasses
import functools
import math

import pytest
import torch
from tiny import TINY, blobs

from ldm_edu.data.pictures import Pictures
from ldm_edu.edit_inputs import Condition, denoiser_for, times_from
from ldm_edu.editing import edit, image_to_image, inpaint, interpolate, invert, restyle
from ldm_edu.forward import q_sample
from ldm_edu.inpainting import fill_plain, latent_mask, paste_known, repaint
from ldm_edu.latent import LatentDiffusion
from ldm_edu.mixing import match_statistics, slerp
from ldm_edu.nets.text import TextConfig
from ldm_edu.samplers import ddim, encode, last, normal_like, prior_sample
from ldm_edu.schedule import cosine
from ldm_edu.start import model_config_for


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make(config, pictures):
    """A model with random weights everywhere, the zero-initialised ones too, and mild answers."""
    model = LatentDiffusion(model_config_for(config, pictures), cosine(50))
    generator = seeded()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.5 if p.ndim == 1 else 1 / math.sqrt(p[0].numel())))
    return model.eval()


@functools.cache
def classed():
    return make(TINY, blobs())


@functools.cache
def pixels():
    return make(dataclasses.replace(TINY, latent=False), blobs(classes=0))


@functools.cache
def texted():
    pictures = blobs()
    names = ("bright left", "right side")
    told = Pictures(pictures.pixels, captions=tuple(names[k] for k in pictures.labels.tolist()))
    return make(dataclasses.replace(TINY, text=TextConfig(length=4, width=8, depth=1, heads=2)), told)


KINDS = {
    "classes": (classed, Condition(labels=torch.tensor([0, 1])), Condition(labels=torch.tensor([1, 1]), guidance=2.0)),
    "text": (
        texted,
        Condition(prompts=["bright left", "right side"]),
        Condition(prompts=["right side"] * 2, negative="left", guidance=3.0),
    ),
    "pixels": (pixels, Condition(), Condition()),
}
every_kind = pytest.mark.parametrize(("build", "source", "target"), KINDS.values(), ids=KINDS.keys())


def given(count=2, seed=0):
    return 2 * torch.rand(count, 1, 16, 16, generator=seeded(seed)) - 1


def hole(count=2):
    mask = torch.zeros(count, 1, 16, 16)
    mask[:, :, 5:9, 6:12] = 1
    return mask


@every_kind
def test_image_to_image_is_the_forward_jump_then_the_sampler(build, source, target):
    model, pictures = build(), given()
    ts = times_from(model.schedule, 10, 0.5)
    assert len(ts) == 6
    with torch.no_grad():
        latent, g = model.encode(pictures), seeded(1)
        x = q_sample(latent, ts[0], normal_like(latent, g), model.schedule)
        walk = ddim(denoiser_for(model, target, 2), x, ts, model.schedule, eta=0.3, generator=g)
        expected = model.decode(last(walk)).clamp(-1, 1)
    got = image_to_image(model, pictures, target, strength=0.5, steps=10, eta=0.3, generator=seeded(1))
    torch.testing.assert_close(got, expected)
    assert got.dtype == torch.float32
    assert got.abs().max() <= 1


@every_kind
def test_all_edits_run_and_the_seed_decides(build, source, target):
    model, pictures = build(), given()
    calls = [
        lambda g: image_to_image(model, pictures, target, steps=5, generator=g),
        lambda g: restyle(model, pictures, given(1, 9), target, steps=5, generator=g),
        lambda g: inpaint(model, pictures, hole(), target, steps=5, jumps=1, jump_steps=2, generator=g),
    ]
    for call in calls:
        one = call(seeded(1))
        assert one.shape == pictures.shape
        assert one.isfinite().all()
        assert torch.equal(one, call(seeded(1)))
        assert not torch.equal(one, call(seeded(2)))


def test_little_strength_keeps_more():
    """With an autoencoder's error on both sides, a start near 0 stays nearer to the picture than one near T."""
    model, pictures = pixels(), given(8)
    off = [
        (image_to_image(model, pictures, strength=s, steps=25, generator=seeded(1)) - pictures).square().mean()
        for s in (0.04, 0.4, 1.0)
    ]
    assert off == sorted(off)
    assert off[0] < 0.1 * off[2]


def test_restyle_starts_from_matched_statistics():
    model, pictures, style = classed(), given(), given(1, seed=5)
    ts = times_from(model.schedule, 10, 0.4)
    with torch.no_grad():
        latent, g = match_statistics(model.encode(pictures), model.encode(style)), seeded(1)
        x = q_sample(latent, ts[0], normal_like(latent, g), model.schedule)
        expected = model.decode(last(ddim(model.denoiser(), x, ts, model.schedule))).clamp(-1, 1)
    torch.testing.assert_close(restyle(model, pictures, style, strength=0.4, steps=10, generator=seeded(1)), expected)


@every_kind
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_inpaint_is_repaint_on_latents(build, source, target, strength):
    model, pictures, mask = build(), given(), torch.zeros_like(hole()).bool()
    mask[:, :, 0, 0] = True  # with the margin below a few latents
    ts = times_from(model.schedule, 10, strength)
    with torch.no_grad():
        latent = model.encode(fill_plain(pictures, mask) if strength == 1 else pictures)
        g = seeded(1)
        if strength == 1:
            x = prior_sample(latent.shape, ts[0], model.schedule, generator=g)
        else:
            x = q_sample(latent, ts[0], normal_like(latent, g), model.schedule)
        free = latent_mask(mask, model.config.factor, 1)
        denoise = denoiser_for(model, target, 2)
        options = {"jumps": 2, "jump_steps": 3, "eta": 1.0, "generator": g}
        x = last(repaint(denoise, x, latent, free, ts, model.schedule, **options))
        expected = model.decode(x).clamp(-1, 1)
    options = {"strength": strength, "steps": 10, "jumps": 2, "jump_steps": 3, "margin": 1, "generator": seeded(1)}
    torch.testing.assert_close(inpaint(model, pictures, mask, target, again=0, paste=False, **options), expected)


@every_kind
@pytest.mark.parametrize(("strength", "again"), [(1.0, 0.5), (1.0, 0.8), (0.6, 0.3), (0.3, 0.5)])
def test_the_second_walk_starts_from_the_first_ones_answer(build, source, target, strength, again):
    """In latents it is `inpaint` twice, the second time never stronger than the first; a model in pixels walks once."""
    model, pictures, mask, g = build(), given(), hole(), seeded(1)
    options = {"steps": 10, "jumps": 1}
    expected = inpaint(model, pictures, mask, target, strength=strength, again=0, generator=g, **options)
    if build is not pixels:
        expected = inpaint(
            model, expected, mask, target, strength=min(again, strength), again=0, generator=g, **options
        )
    for paste in (True, False):
        got = inpaint(
            model, pictures, mask, target,
            strength=strength, again=again, paste=paste, generator=seeded(1), **options,
        )  # fmt: skip
        torch.testing.assert_close(paste_known(got, pictures, mask.bool()), expected)


@every_kind
def test_inpaint_leaves_the_known_pixels_exactly_and_fills_the_hole(build, source, target):
    model, pictures, mask = build(), given(), hole()
    got = inpaint(model, pictures, mask, source, steps=5, generator=seeded(1))
    assert torch.equal(got[mask == 0], pictures[mask == 0])
    assert (got[mask == 1] - pictures[mask == 1]).abs().mean() > 0.01


@every_kind
def test_from_noise_the_holes_content_has_no_say(build, source, target):
    model, pictures, mask = build(), given(), hole()
    other = torch.where(mask.bool(), given(seed=3), pictures)
    for paste in (True, False):
        a, b = (inpaint(model, p, mask, source, steps=5, paste=paste, generator=seeded(1)) for p in (pictures, other))
        assert torch.equal(a, b)
    a, b = (inpaint(model, p, mask, source, strength=0.3, steps=10, generator=seeded(1)) for p in (pictures, other))
    assert not torch.equal(a, b)  # below 1 it has


@every_kind
def test_invert_is_encode_on_latents(build, source, target):
    model, pictures = build(), given()
    for strength in (0.5, 1.0):
        ts = times_from(model.schedule, 10, strength)
        with torch.no_grad():
            latent = model.encode(pictures)
            expected = last(encode(denoiser_for(model, source, 2), latent, ts, model.schedule, rounds=2))
        got = invert(model, pictures, source, strength=strength, steps=10, rounds=2)
        torch.testing.assert_close(got, expected)
        assert got.shape == (2, *model.config.latent_shape)


@every_kind
def test_edit_with_the_same_condition_comes_back_the_nearer_the_more_steps(build, source, target):
    """To the autoencoder's own answer."""
    model, pictures = build(), given()
    with torch.no_grad():
        own = model.decode(model.encode(pictures)).clamp(-1, 1)
    errors = [
        (edit(model, pictures, source, source, strength=0.6, steps=n, rounds=r) - own).square().mean().sqrt().item()
        for n, r in ((5, 0), (40, 0), (40, 1))
    ]
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.5 * errors[1]


@every_kind
def test_edit_goes_up_under_the_source_and_down_under_the_target(build, source, target):
    model, pictures = build(), given()
    ts = times_from(model.schedule, 10, 0.6)
    code = invert(model, pictures, source, strength=0.6, steps=10)
    with torch.no_grad():
        expected = model.decode(last(ddim(denoiser_for(model, target, 2), code, ts, model.schedule))).clamp(-1, 1)
    got = edit(model, pictures, source, target, strength=0.6, steps=10)
    torch.testing.assert_close(got, expected)
    if target.guidance != 1:
        assert (got - edit(model, pictures, source, source, strength=0.6, steps=10)).abs().max() > 1e-3


def test_interpolation_ends_at_both_pictures_and_takes_the_shell_between():
    model, first, second = texted(), given(seed=1), given(seed=2)
    conditions = (Condition(prompts=["bright left"] * 2), Condition(prompts=["right side"] * 2))
    got = interpolate(model, first, second, [0.0, 0.3, 1.0], conditions=conditions, strength=0.6, steps=10)
    assert got.shape == (3, 2, 1, 16, 16)
    options = {"strength": 0.6, "steps": 10}
    ends = [edit(model, p, c, c, **options) for p, c in zip((first, second), conditions, strict=True)]
    torch.testing.assert_close(got[0], ends[0])
    torch.testing.assert_close(got[2], ends[1])
    codes = [invert(model, p, c, **options) for p, c in zip((first, second), conditions, strict=True)]
    contexts = [model.conditions(2, prompts=c.prompts)[0] for c in conditions]
    ts = times_from(model.schedule, 10, 0.6)
    with torch.no_grad():
        walk = ddim(model.denoiser(0.7 * contexts[0] + 0.3 * contexts[1]), slerp(*codes, 0.3), ts, model.schedule)
        expected = model.decode(last(walk)).clamp(-1, 1)
    torch.testing.assert_close(got[1], expected)


def test_guidance_between_two_pictures_counts_on_the_way_down_only():
    model, first, second = texted(), given(seed=1), given(seed=2)
    prompts = ["right side"] * 2
    guided, plain = Condition(prompts=prompts, guidance=3.0), Condition(prompts=prompts)
    got = interpolate(model, first, second, [0.0], conditions=(guided, guided), strength=0.6, steps=5)
    torch.testing.assert_close(got[0], edit(model, first, plain, guided, strength=0.6, steps=5))


def test_interpolation_refuses_what_it_cannot_mix():
    model, p = classed(), given()
    labels = [Condition(labels=torch.tensor([k, k])) for k in (0, 1)]
    with pytest.raises(ValueError, match="classes can't be mixed"):
        interpolate(model, p, p, [0.5], conditions=tuple(labels), steps=2)
    with pytest.raises(ValueError, match="classes can't be mixed"):
        interpolate(model, p, p, [0.5], conditions=(labels[0], Condition()), steps=2)
    guided = Condition(labels=labels[0].labels, guidance=2.0)
    with pytest.raises(ValueError, match="one guidance"):
        interpolate(model, p, p, [0.5], conditions=(labels[0], guided), steps=2)
    with pytest.raises(ValueError, match=r"numbers in \[0, 1\]"):
        interpolate(model, p, p, [0.5, 1.2], steps=2)
    with pytest.raises(ValueError, match="first and second must have one shape"):
        interpolate(model, p, p[:1], [0.5], steps=2)
    same = interpolate(model, p, p, [0.5], conditions=(labels[0], labels[0]), steps=2)
    assert same.shape == (1, 2, 1, 16, 16)


def test_what_does_not_fit_is_refused():
    model = classed()
    for call in (image_to_image, invert, lambda m, p: inpaint(m, p, hole())):
        with pytest.raises(ValueError, match=r"takes pictures of shape \(B, 1, 16, 16\)"):
            call(model, torch.zeros(2, 3, 16, 16))
    with pytest.raises(ValueError, match="mask must have shape"):
        inpaint(model, given(), hole(1))
    with pytest.raises(ValueError, match="strength must lie"):
        image_to_image(model, given(), strength=0)
    with pytest.raises(ValueError, match="style must be"):
        restyle(model, given(2), given(3))
    inside = torch.nn.functional.pad(torch.ones(2, 1, 14, 14), (1, 1, 1, 1))
    with pytest.raises(ValueError, match="reaches into every latent"):
        inpaint(model, given(), inside)
    with pytest.raises(ValueError, match="jumps must be"):
        inpaint(model, given(), hole(), jumps=-1, steps=2)
    for again in (-0.1, 1.5):
        with pytest.raises(ValueError, match=r"again must lie in \[0, 1\]"):
            inpaint(model, given(), hole(), again=again, steps=2)


def test_nothing_needs_a_gradient_and_the_pictures_are_left_alone():
    model, pictures = classed(), given()
    before = pictures.clone()
    found = [image_to_image(model, pictures, steps=4, generator=seeded()), invert(model, pictures, steps=4)]
    found.append(inpaint(model, pictures, hole(), steps=4, generator=seeded()))
    assert not any(x.requires_grad for x in found)
    assert torch.equal(pictures, before)


def test_half_precision_models_edit_too():
    model = make(TINY, blobs()).to(torch.bfloat16)
    pictures = given()
    got = inpaint(model, pictures, hole(), steps=3, generator=seeded())
    assert got.dtype == torch.float32
    assert torch.equal(got[hole() == 0], pictures[hole() == 0])
    assert image_to_image(model, pictures, steps=3, generator=seeded()).isfinite().all()
