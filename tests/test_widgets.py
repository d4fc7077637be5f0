"""Sliders draw again when moved; the playground's panels draw what their fields say. Its page: test_play.py."""

import re

import pytest
from random_models import random_model

from ldm_edu import widgets
from ldm_edu.playground import Setting
from ldm_edu.widgets import Choice, Panel, Slider, explore, playground

CONTROLS = {
    "t": Slider("time", 0, 10, 1, 3),
    "w": Slider("weight", 0.0, 1.0, 0.1, 0.5),
    "name": Choice("set", ("a", "b")),
}


def test_a_move_draws_again():
    drawn = []
    widget = explore(lambda t, w, name: drawn.append((t, w, name)), CONTROLS)
    widget.update()
    assert drawn[-1] == (3, 0.5, "a")
    for child, value in zip(widget.kwargs_widgets, (7, 0.2, "b"), strict=True):
        child.value = value
    assert drawn[-1] == (7, 0.2, "b")
    assert [child.description for child in widget.kwargs_widgets] == ["time", "weight", "set"]


def test_whole_numbers_stay_whole():
    drawn = []
    widget = explore(lambda t: drawn.append(t), {"t": Slider("t", 0, 10, 2, 4)})
    widget.kwargs_widgets[0].value = 6
    assert drawn[-1] == 6
    assert isinstance(drawn[-1], int)


@pytest.mark.parametrize("numbers", [(1, 0, 1, 0), (0, 1, 0, 0), (0, 1, 1, 2)])
def test_bad_sliders(numbers):
    with pytest.raises(ValueError, match="low < high"):
        Slider("t", *numbers)


FULL = Setting("a red circle", "blue", None, seed=5, steps=4, sampler="heun", guidance=3.5)


@pytest.fixture(scope="module")
def text():
    return random_model("text")


def caption(panel):
    return re.search("<figcaption>(.*?)</figcaption>", panel.picture.value)[1]


def test_the_fields_hold_a_setting(text):
    panel = Panel("A", text, FULL)
    assert panel.setting() == FULL
    panel.put(Setting())
    assert panel.setting() == Setting()
    assert Panel("A", random_model("classes"), Setting(label=2)).setting().label == 2


def test_a_click_draws_and_the_slider_goes_back(text):
    panel = Panel("A", text, FULL)
    assert panel.step.disabled
    panel.button.click()
    assert caption(panel) == f"x̂_0 at step 4 of 4, t = {panel.drawing.steps[-1].t}"
    assert (panel.step.value, panel.step.max, panel.step.disabled, panel.button.disabled) == (4, 4, False, False)
    assert panel.strip.value.count("<img") == 4
    assert panel.words.value.count("<img") == 4  # three words, and the places without one
    last = panel.picture.value
    panel.step.value = 2
    assert caption(panel) == f"x̂_0 at step 2 of 4, t = {panel.drawing.steps[1].t}"
    assert panel.picture.value != last


def test_fewer_steps_after_more(text):
    panel = Panel("A", text, FULL)
    for steps in (6, 1, 3):
        panel.steps.value = steps
        panel.draw()
        assert caption(panel).startswith(f"x̂_0 at step {steps} of {steps},")
        assert panel.step.disabled == (steps == 1)


def test_the_steps_are_shown_while_it_draws(text):
    panel = Panel("A", text, FULL)
    seen = []
    panel.picture.observe(lambda change: seen.append((caption(panel), panel.button.disabled)), "value")
    panel.draw()
    assert [c.split(",")[0] for c, _ in seen] == [f"x̂_0 at step {i} of 4" for i in (1, 2, 3, 4)]
    assert all(disabled for _, disabled in seen)


def test_the_seed_decides_and_comes_back(text):
    panel = Panel("A", text, FULL)
    pictures = []
    for seed in (5, 6, 5):
        panel.seed.value = seed
        panel.draw()
        pictures.append(panel.picture.value)
    assert pictures[0] == pictures[2] != pictures[1]


def test_what_is_wrong_is_a_line_and_nothing_is_raised(text):
    panel = Panel("A", text, Setting(negative="blue", steps=3))
    panel.draw()
    assert "give a prompt too" in panel.message.value
    assert "ldm-error" in panel.message.value
    assert not panel.button.disabled
    panel.prompt.value = "a <b>zebra</b>"
    panel.draw()
    assert "ldm-remark" in panel.message.value
    assert "does not know: &lt; &gt; zebra." in panel.message.value
    assert "step 3 of 3" in panel.picture.value
    assert "<b>" not in panel.message.value + panel.words.value
    panel.prompt.value = ""
    shown = panel.picture.value, panel.words.value
    panel.draw()
    assert "give a prompt too" in panel.message.value
    assert (panel.picture.value, panel.words.value) == shown  # the last drawing stays, and its slider
    assert not panel.step.disabled
    panel.prompt.value = "a red circle"
    panel.draw()
    assert panel.message.value == ""


def test_a_bug_is_a_line_too_and_is_raised(text, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("<x>")

    monkeypatch.setattr(widgets, "draw", broken)
    panel = Panel("A", text, FULL)
    with pytest.raises(ZeroDivisionError):
        panel.draw()
    assert "unexpected ZeroDivisionError: &lt;x&gt;" in panel.message.value
    assert not panel.button.disabled


@pytest.mark.parametrize(
    ("kind", "fields", "heading"),
    [
        ("text", ["prompt", "negative", "seed", "steps", "sampler", "guidance"], "text to image, 16×16 pixels"),
        ("classes", ["class", "seed", "steps", "sampler", "guidance"], "3 classes, 16×16 pixels"),
        ("plain", ["seed", "steps", "sampler"], "no classes, 16×16 pixels"),
    ],
)
def test_the_model_decides_which_fields_there_are(kind, fields, heading):
    page = playground(random_model(kind), "<mine>")
    found = [w.description for w in every(page) if getattr(w, "description", "")]
    assert found == ["Copy A to B", "Draw A and B", *fields, "Draw A", "step", *fields, "Draw B", "step"]
    assert f"&lt;mine&gt;, {heading}" in page.children[1].children[0].value


def test_both_are_drawn_and_a_is_copied_to_b(text):
    page = playground(text)
    buttons = {w.description: w for w in every(page) if hasattr(w, "click")}
    prompts = [w for w in every(page) if getattr(w, "description", "") == "prompt"]
    steps = [w for w in every(page) if getattr(w, "description", "") == "steps"]
    assert [p.value for p in prompts] == ["", ""]  # its six words are too few for the example
    prompts[0].value, steps[0].value = "a red circle", 2
    buttons["Copy A to B"].click()
    assert (prompts[1].value, steps[1].value) == ("a red circle", 2)
    prompts[1].value = "blue"
    buttons["Draw A and B"].click()
    pictures = [w.value for w in every(page) if "step 2 of 2" in str(getattr(w, "value", ""))]
    assert len(set(pictures)) == 2


def every(widget):
    """A widget and all that it holds."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from every(child)
