"""The playground's drawing: the same picture as generate, each x̂_0 on the way, the words' maps, what it says."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from random_models import random_model

from ldm_edu.fit import seeded
from ldm_edu.playground import (
    SAMPLERS,
    Drawing,
    Setting,
    Step,
    attention,
    draw,
    enlarged,
    heat,
    png,
    remarks,
    strip,
    tiles,
)
from ldm_edu.schedule import timesteps

PROMPT = "a red circle"


@pytest.fixture(scope="module")
def text():
    return random_model("text")


@pytest.fixture(scope="module")
def classes():
    return random_model("classes")


def image(data):
    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("guidance", [0.0, 1.0, 3.0])
def test_the_picture_is_the_one_that_generate_draws(text, sampler, guidance):
    setting = Setting(PROMPT, "blue", seed=3, steps=4, sampler=sampler, guidance=guidance)
    drawn = draw(text, setting).steps[-1].x0_hat
    negative = "" if guidance == 1 else "blue"  # at 1 it has no say, and generate refuses it
    options = {"negative": negative, "steps": 4, "sampler": sampler, "guidance": guidance}
    expected = text.generate(1, prompts=[PROMPT], generator=seeded(3, "generate"), **options)
    torch.testing.assert_close(drawn, expected[0])


def test_classes_and_no_condition_at_all(classes):
    for label in (1, None):
        labels = None if label is None else torch.tensor([label])
        expected = classes.generate(
            1, labels=labels, steps=3, guidance=1.0 if label is None else 2.0, generator=seeded(0, "generate")
        )
        drawing = draw(classes, Setting(label=label, steps=3))
        torch.testing.assert_close(drawing.steps[-1].x0_hat, expected[0])
        assert drawing.words == ()
    plain = draw(random_model("plain"), Setting(steps=3))
    assert [tuple(step.x0_hat.shape) for step in plain.steps] == 3 * [(1, 16, 16)]


def test_every_step_is_seen_as_it_is_done_with_the_models_own_guess(text):
    seen = []
    drawing = draw(text, Setting(PROMPT, steps=5, guidance=1.0), seen.append)
    assert tuple(seen) == drawing.steps
    ts = timesteps(text.schedule, 5)
    assert [step.t for step in seen] == ts[:-1]
    x = torch.randn(1, *text.config.latent_shape, generator=seeded(0, "generate")) * text.schedule.noise[ts[0]].item()
    with torch.no_grad():
        guess = text.denoiser(*text.conditions(1, prompts=[PROMPT]))(x, ts[0]).x0
        torch.testing.assert_close(seen[0].x0_hat, text.decode(guess)[0].clamp(-1, 1))


def test_heuns_second_look_at_a_step_is_not_shown(text):
    heun, ddim = (draw(text, Setting(PROMPT, steps=3, sampler=s)) for s in ("heun", "ddim"))
    assert [s.t for s in heun.steps] == [s.t for s in ddim.steps]
    torch.testing.assert_close(heun.steps[0].x0_hat, ddim.steps[0].x0_hat)  # the first guess is of the same x_t
    assert (heun.steps[1].x0_hat - ddim.steps[1].x0_hat).abs().max() > 1e-3


def test_seed_and_prompt_decide(text):
    pictures = [
        draw(text, s).steps[-1].x0_hat
        for s in (Setting(PROMPT, steps=3), Setting(PROMPT, steps=3), Setting(PROMPT, steps=3, seed=1),
                  Setting("blue", steps=3))
    ]  # fmt: skip
    assert torch.equal(pictures[0], pictures[1])
    assert (pictures[0] - pictures[2]).abs().max() > 0.01
    assert (pictures[0] - pictures[3]).abs().max() > 0.01


def test_each_word_has_its_map_and_all_sum_to_one(text):
    words = draw(text, Setting("a red, zebra", steps=3, guidance=2.0)).words
    assert [word for word, _ in words] == ["a", "red", ",", "zebra", "no word"]
    torch.testing.assert_close(sum(m for _, m in words), torch.ones(8, 8))
    full = draw(text, Setting("a red circle above a blue square", steps=3)).words
    assert [word for word, _ in full] == ["a", "red", "circle", "above", "a", "blue"]  # six places, all taken
    torch.testing.assert_close(sum(m for _, m in full), torch.ones(8, 8))


def test_the_maps_are_of_the_prompt_and_not_of_its_negative(text):
    maps = [
        dict(draw(text, Setting("red", negative, steps=1, guidance=3.0)).words)["red"]
        for negative in ("", "blue square")
    ]
    torch.testing.assert_close(*maps)  # in the one step, x_t is the same


@pytest.mark.parametrize("setting", [Setting(steps=2), Setting(PROMPT, steps=2, guidance=0.0)])
def test_no_maps_where_the_prompt_is_not_read(text, setting):
    assert draw(text, setting).words == ()


def test_remarks(text, classes):
    config = text.config
    assert remarks(Setting(PROMPT, "blue"), config) == []
    assert remarks(Setting("a zebra zebra", "gnu"), config) == [
        "Words that this model does not know: zebra.",
        "Words that this model does not know: gnu.",
    ]
    assert remarks(Setting("a red circle above a blue square"), config) == ["Only 6 words are read; left out: square."]
    assert remarks(Setting(PROMPT, "blue", guidance=1.0), config) == [
        "The negative prompt counts only where guidance is not 1."
    ]
    assert remarks(Setting(PROMPT, guidance=0.0), config) == ["With guidance 0 the prompt is not read."]
    assert remarks(Setting(label=1), classes.config) == []
    (long,) = remarks(Setting("a " * 1000), config)
    assert len(long) < 300


@pytest.mark.parametrize(
    ("kind", "setting", "message"),
    [
        ("text", Setting(negative="blue"), "give a prompt too"),
        ("text", Setting(PROMPT, steps=0), "steps must lie between 1 and"),
        ("text", Setting(PROMPT, steps=51), "steps must lie between 1 and"),
        ("text", Setting(PROMPT, sampler="euler"), "sampler must be one of ddim, ddpm, heun, dpmpp_2m, got 'euler'"),
        ("text", Setting(label=0), "this model has no classes"),
        ("classes", Setting(PROMPT), "this model takes no text"),
        ("classes", Setting(label=7), "labels must be int64 in"),
    ],
)
def test_what_cannot_be_drawn(text, classes, kind, setting, message):
    model = {"text": text, "classes": classes}[kind]
    with pytest.raises(ValueError, match=message):
        draw(model, setting)
    assert not any(m._forward_hooks for m in model.modules())


def test_pictures_are_enlarged_by_whole_pixels():
    picture = torch.tensor([[[-1.0, 1.0], [0.0, 1.0]]])
    big = enlarged(picture, 7)
    assert big.shape == (3, 8, 8)
    assert torch.equal(big[:, ::4, ::4], big[:, 3::4, 3::4])
    assert big[0, :, 0].tolist() == 4 * [0] + 4 * [128]
    assert enlarged(picture, 1).shape == (3, 2, 2)
    np.testing.assert_array_equal(image(png(big)), big.permute(1, 2, 0).numpy())


def test_heat_is_where_the_map_is():
    spot = torch.zeros(4, 4)
    spot[1, 2] = 0.3
    drawn = heat(torch.zeros(3, 8, 8), spot, 32).float().mean(0)
    assert drawn.shape == (32, 32)
    assert divmod(int(drawn.argmax()), 32) == (pytest.approx(11.5, abs=1), pytest.approx(19.5, abs=1))
    assert drawn[0, 0] < drawn.max() / 3
    assert heat(torch.zeros(3, 8, 8), torch.zeros(4, 4), 32).shape == (3, 32, 32)  # nothing looked at it


def test_tiles_show_their_pictures_and_escape_their_words():
    pixels = torch.randint(0, 255, (3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    shown = tiles([("<script>", '"onload', pixels)], "<h>")
    assert "<script>" not in shown
    assert "<h>" not in shown
    assert "&lt;script&gt;" in shown
    assert 'alt="&quot;onload"' in shown
    (data,) = re.findall(r"base64,([^\"]+)", shown)
    np.testing.assert_array_equal(image(base64.b64decode(data)), pixels.permute(1, 2, 0).numpy())
    assert tiles([], "heading") == '<div class="ldm-tiles"></div>'


def test_a_strip_grows_and_ends_with_the_last_step():
    steps = tuple(Step(t, torch.zeros(1, 4, 4)) for t in range(50, 0, -1))
    captions = [re.findall(r"<figcaption>t = (\d+)", strip(steps[:n], 50)) for n in (1, 25, 50)]
    assert captions[0] == ["50"]
    assert captions[2][: len(captions[1])] == captions[1]
    assert len(captions[2]) == 12
    assert captions[2][-1] == "1"
    assert re.findall(r"<figcaption>t = (\d+)", strip(steps[:3], 3)) == ["50", "49", "48"]


def test_attention_names_each_word_and_its_largest_weight():
    picture = torch.zeros(3, 8, 8)
    drawing = Drawing((Step(3, picture),), (("red", torch.full((2, 2), 0.25)), ("<b>", torch.full((2, 2), 0.75))))
    shown = attention(drawing)
    assert re.findall(r"<figcaption>(.*?)</figcaption>", shown, re.DOTALL) == ["red\n0.25", "&lt;b&gt;\n0.75"]
    assert attention(Drawing((Step(3, picture),), ())) == attention(Drawing((), ())) == ""
