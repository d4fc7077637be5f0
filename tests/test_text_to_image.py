"""A model that takes text: its condition, drawing, training, files."""

import dataclasses
import math

import pytest
import torch
from tiny import TINY, assert_same, blobs, captioned, weights

from ldm_edu.latent import LatentDiffusion
from ldm_edu.nets.text import NOTHING, TextConfig
from ldm_edu.schedule import cosine
from ldm_edu.start import conditions_for, model_config_for
from ldm_edu.train import Hooks, train

CONFIG = dataclasses.replace(TINY, text=TextConfig(length=4, width=8, depth=1, heads=2))


def make(seed=0):
    """A model with random weights everywhere, the zero-initialised ones too."""
    model = LatentDiffusion(model_config_for(CONFIG, captioned()), cosine(50))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.5 if p.ndim == 1 else 1.5 / math.sqrt(p[0].numel())))
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return make()


def draw(model, prompts, **options):
    return model.generate(len(prompts), prompts=prompts, steps=4, generator=torch.Generator().manual_seed(0), **options)


def test_the_words_come_from_the_captions(model):
    assert model.config.text.words == ("bright", "left", "right", "side")
    assert model.config.unet.context_dim == 8
    assert model.config.classes == ()


def test_the_prompt_decides_and_an_empty_one_is_no_prompt(model):
    left, right, empty = draw(model, ["bright left", "right side", ""])
    assert (left - right).abs().max() > 0.01
    none = model.generate(3, steps=4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(none[2], empty, rtol=1e-4, atol=1e-4)


def test_pictures_of_one_prompt_differ_by_their_noise(model):
    one, other = draw(model, ["right side", "right side"])
    assert (one - other).abs().max() > 0.01


def test_guidance_leads_away_from_the_negative_prompt(model):
    prompts = ["right side"]
    plain = draw(model, prompts, guidance=3.0)
    away = draw(model, prompts, guidance=3.0, negative="bright left")
    assert (plain - away).abs().max() > 0.01
    # With the prompt itself as the negative one, both answers are one and the weight does not matter.
    same = draw(model, prompts, guidance=3.0, negative="right side")
    torch.testing.assert_close(same, draw(model, prompts), rtol=1e-3, atol=1e-3)


def test_the_batch_does_not_matter(model):
    prompts = ["bright left", "right side", "", "bright side", "left left"]
    whole = draw(model, prompts, guidance=2.0, negative="left")
    parts = draw(model, prompts, guidance=2.0, negative="left", batch=2)
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-3)


def test_guidance_in_an_empty_part_of_the_time_is_no_guidance(model):
    prompts = ["right side"]
    plain = draw(model, prompts)
    torch.testing.assert_close(draw(model, prompts, guidance=5.0, interval=(51, 60)), plain)
    assert torch.equal(draw(model, prompts, guidance=5.0, interval=(0, 50)), draw(model, prompts, guidance=5.0))
    half = draw(model, prompts, guidance=5.0, interval=(10, 30))
    assert (half - plain).abs().max() > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": "right side"}, "one string"),
        ({"prompts": ["a", "b"]}, "one prompt a picture, got 2 for 3"),
        ({"guidance": 2.0}, "needs labels or prompts"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "has no classes"),
        ({"prompts": ["a"] * 3, "guidance": 2.0, "interval": (5, 2)}, "low ≤ high"),
        ({"prompts": ["a"] * 3, "negative": "a dog"}, "counts only with guidance"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.generate(3, steps=2, **options)


@pytest.mark.parametrize("options", [{"prompts": ["a"] * 2}, {"negative": "a"}])
def test_a_model_without_text_says_so(options):
    model = LatentDiffusion(model_config_for(TINY, blobs()), cosine(50)).eval()
    with pytest.raises(ValueError, match="takes no text"):
        model.generate(2, steps=2, **options)


def test_parts_that_do_not_fit_are_refused(model):
    with pytest.raises(ValueError, match="context_dim is 8, but the text encoder's width is 12"):
        dataclasses.replace(model.config, text=TextConfig(width=12))
    with pytest.raises(ValueError, match="context_dim is 8, but the text encoder's width is None"):
        dataclasses.replace(model.config, text=None)


def test_training_is_told_the_captions_and_forgets_some():
    pictures = captioned()
    tokens, nothing = conditions_for(model_config_for(CONFIG, pictures), pictures)
    assert tokens[:2].tolist() == [[2, 3, 0, 0], [4, 5, 0, 0]]
    assert nothing == NOTHING


def test_unconditional_training_ignores_captions():
    config = dataclasses.replace(CONFIG, conditional=False)
    assert model_config_for(config, captioned()).text is None


def test_text_and_unet_are_trained_and_saved_as_averages(tmp_path):
    model, _ = train(CONFIG, captioned(), tmp_path / "run")
    loaded = LatentDiffusion.load(tmp_path / "run")
    assert loaded.config == model.config
    assert_same(dict(loaded.state_dict()), dict(model.state_dict()))
    torch.manual_seed(CONFIG.seed)
    untrained = LatentDiffusion(model.config, cosine(50))
    changed = [n for n, p in model.text.named_parameters() if not torch.equal(p, untrained.text.state_dict()[n])]
    assert len(changed) == len(list(model.text.parameters()))


def test_a_run_that_was_cut_goes_on_to_the_same_weights(tmp_path):
    train(CONFIG, captioned(), tmp_path / "whole")

    class Cut(Exception):
        pass

    def cut(step, model):
        raise Cut

    with pytest.raises(Cut):
        train(CONFIG, captioned(), tmp_path / "cut", hooks=Hooks(samples=cut))
    train(CONFIG, captioned(), tmp_path / "cut", resume=True)
    assert_same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def test_captions_without_a_word_to_read_are_refused():
    config = dataclasses.replace(CONFIG, least_words=25)
    with pytest.raises(ValueError, match=r"no word stands in the captions of digits 25 times or more \(least_words\)"):
        model_config_for(config, captioned(24))
