"""Widgets: sliders over a figure, used from notebook 01 on, and the playground of notebook 00.

The only module that imports ipywidgets. Where widgets do not run (GitHub, a PDF) nothing is shown, so a notebook
draws the same figure once with `draw` alone before it offers the sliders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from html import escape

from ldm_edu.latent import LatentDiffusion
from ldm_edu.nets.text import unread
from ldm_edu.playground import SAMPLERS, Drawing, Setting, Step, attention, draw, enlarged, remarks, strip, tiles

EXAMPLE = "a red circle above a blue square"
STYLE = """
.ldm-playground { max-width: 1240px; }
.ldm-playground h2 { margin: 0; font-size: 20px; line-height: 24px; }
.ldm-top { align-items: center; gap: 8px; flex-wrap: wrap; padding-bottom: 6px; }
.ldm-top > :first-child { flex: 1 1 320px; }
.ldm-panels { flex-wrap: wrap; gap: 12px; align-items: stretch; overflow: visible; }
.ldm-panel { flex: 1 1 420px; border: 1px solid #bbb; border-radius: 6px; padding: 8px 12px; overflow: visible; }
.ldm-row { flex-wrap: wrap; gap: 4px 10px; overflow: visible; }
.ldm-strip { flex: 1 1 288px; }
.ldm-tiles { display: flex; flex-wrap: wrap; gap: 6px 4px; line-height: 15px; }
.ldm-tiles figure { margin: 0; text-align: center; }
.ldm-tiles figcaption { font-size: 11px; white-space: pre-line; overflow-wrap: anywhere; }
.ldm-tiles img { image-rendering: pixelated; display: block; margin: 0 auto; max-width: none; outline: 1px solid #ccc; }
.ldm-empty { width: 256px; height: 271px; line-height: 271px; text-align: center; color: #767676; background: #f2f2f2; }
.ldm-known { display: inline-block; margin-left: 12px; vertical-align: top; color: var(--jp-ui-font-color2, #555); }
.ldm-heading { font-size: 12px; font-weight: 600; line-height: 18px; }
.ldm-error, .ldm-remark { line-height: 18px; overflow-wrap: anywhere; }
.ldm-error { color: #d0263b; }
.ldm-remark { color: #a86400; }
"""


@dataclass(frozen=True)
class Slider:
    """A number from low to high; whole numbers throughout make a slider of whole numbers.

    Raises:
        ValueError: not low < high, a step that is not positive, or a start outside.
    """

    label: str
    low: float
    high: float
    step: float
    start: float

    def __post_init__(self):
        if not (self.low < self.high and self.step > 0 and self.low <= self.start <= self.high):
            raise ValueError(f"need low < high, step > 0 and low ≤ start ≤ high, got {self}")


@dataclass(frozen=True)
class Choice:
    """One of some words, the first to begin with."""

    label: str
    options: tuple[str, ...]


def explore(draw: Callable[..., None], controls: Mapping[str, Slider | Choice]):
    """Make a figure with controls: draw(name=value, …) is called for each new setting.

    Args:
        draw: draws one figure with pyplot.
        controls: the name of each argument of draw, and what sets it.
    Returns:
        the widget; the last line of a notebook's cell shows it.
    """
    from ipywidgets import interactive

    return interactive(draw, **{name: _widget(control) for name, control in controls.items()})


def _widget(control: Slider | Choice):
    from ipywidgets import Dropdown, FloatSlider, IntSlider, Layout

    looks = {"description": control.label, "style": {"description_width": "initial"}, "layout": Layout(width="420px")}
    if isinstance(control, Choice):
        return Dropdown(options=control.options, **looks)
    numbers = (control.low, control.high, control.step, control.start)
    kind = IntSlider if all(isinstance(n, int) for n in numbers) else FloatSlider
    # Drawn when the slider is let go: a figure takes a moment, and a queue of them would lag behind the hand.
    return kind(
        min=control.low, max=control.high, step=control.step, value=control.start, continuous_update=False, **looks
    )


def playground(model: LatentDiffusion, name: str = ""):
    """Two settings side by side, A and B: each draws its picture before your eyes, then shows how it came about.

    Args:
        model: any of ours; its text, its classes or neither decide which fields there are.
        name: what to call it in the heading.
    Returns:
        the widget; the last line of a notebook's cell shows it.
    """
    from ipywidgets import HTML, Button, HBox, Layout, VBox

    text, classes = model.config.text, model.config.classes
    kind = "text to image" if text else f"{len(classes) or 'no'} classes"
    told = ", ".join(filter(None, (escape(name), kind, f"{model.config.size}×{model.config.size} pixels")))
    known = (
        f"<details><summary>the words that it knows</summary>{escape(' '.join(text.words))}</details>" if text else ""
    )
    prompt = EXAMPLE if text and unread(EXAMPLE, text) == ([], []) else ""
    first = Setting(prompt=prompt, label=0 if classes else None)
    a, b = Panel("A", model, first), Panel("B", model, replace(first, guidance=1.0))
    both = Button(description="Draw A and B", button_style="primary", layout=Layout(width="130px"))
    copy = Button(description="Copy A to B", layout=Layout(width="130px"))
    both.on_click(lambda _: (a.draw(), b.draw()))
    copy.on_click(lambda _: b.put(a.setting()))
    top = HBox([HTML(f'<h2>Playground</h2>{told}<div class="ldm-known">{known}</div>'), copy, both]).add_class(
        "ldm-top"
    )
    panels = HBox([a.box, b.box]).add_class("ldm-panels")
    return VBox([HTML(f"<style>{STYLE}</style>"), top, panels]).add_class("ldm-playground")


class Panel:
    """One setting and its picture: fields, a button, x̂_0 as it is drawn, a slider over the steps, the words' maps.

    Args:
        letter: its name.
        model: what draws.
        setting: what the fields hold at first.
    """

    def __init__(self, letter: str, model: LatentDiffusion, setting: Setting):
        from ipywidgets import HTML, BoundedIntText, Button, Dropdown, FloatSlider, HBox, IntSlider, Layout, Text, VBox

        self.model, self.drawing = model, Drawing((), ())
        looks = {"style": {"description_width": "72px"}}
        wide = {**looks, "layout": Layout(width="99%")}
        half = {**looks, "layout": Layout(flex="1 1 205px", width="auto")}
        classes, text = model.config.classes, model.config.text is not None
        self.prompt = Text(description="prompt", placeholder="what to draw; empty for any picture", **wide)
        self.negative = Text(description="negative", placeholder="what to lead away from", **wide)
        options = [("any", None), *((name, i) for i, name in enumerate(classes))]
        self.label = Dropdown(description="class", options=options, **wide)
        self.seed = BoundedIntText(description="seed", min=0, max=2**31 - 1, **half)
        self.steps = IntSlider(description="steps", min=1, max=min(100, model.schedule.T), **half)
        self.sampler = Dropdown(description="sampler", options=tuple(SAMPLERS), **half)
        self.guidance = FloatSlider(description="guidance", min=0, max=10, step=0.5, readout_format=".1f", **half)
        self.button = Button(description=f"Draw {letter}", button_style="primary", layout=Layout(width="100px"))
        self.message, self.picture, self.strip, self.words = HTML(), HTML(), HTML(), HTML()
        self.step = IntSlider(description="step", min=1, max=2, disabled=True, layout=Layout(width="265px"))
        self.step.style.description_width = "36px"
        self.button.on_click(lambda _: self.draw())
        self.step.observe(lambda change: self.show(change["new"]), "value")
        self.put(setting)
        self.picture.value = f'<div class="ldm-empty">Draw {letter} to see it here</div>'
        asked = [self.prompt, self.negative] if text else [self.label] if classes else []
        numbers = [self.seed, self.steps, self.sampler, *([self.guidance] if asked else [])]
        self.box = VBox(
            [
                *asked,
                HBox(numbers).add_class("ldm-row"),
                HBox([self.button, self.message]).add_class("ldm-row"),
                HBox([VBox([self.picture, self.step]), self.strip.add_class("ldm-strip")]).add_class("ldm-row"),
                self.words,
            ]
        ).add_class("ldm-panel")

    def setting(self) -> Setting:
        """What the fields say."""
        return Setting(
            prompt=self.prompt.value.strip(),
            negative=self.negative.value.strip(),
            label=self.label.value,
            seed=self.seed.value,
            steps=self.steps.value,
            sampler=self.sampler.value,
            guidance=self.guidance.value,
        )

    def put(self, setting: Setting) -> None:
        """Fill the fields."""
        for name in ("prompt", "negative", "label", "seed", "steps", "sampler", "guidance"):
            getattr(self, name).value = getattr(setting, name)

    def draw(self) -> None:
        """Draw with what the fields say; whatever is wrong with it becomes one line."""
        setting = self.setting()
        self.button.disabled = self.step.disabled = True
        self.words.value = self.message.value = ""
        done: list[Step] = []

        def look(step: Step) -> None:
            done.append(step)
            self._show(step, len(done), setting.steps)
            self.strip.value = strip(done, setting.steps)

        try:
            self.message.value = _lines("remark", remarks(setting, self.model.config))
            self.drawing = draw(self.model, setting, look)
            self.step.max = max(2, len(done))
            self.step.value = len(done)
        except ValueError as error:
            self.message.value = _lines("error", [str(error)])
        except Exception as error:
            self.message.value = _lines("error", [f"unexpected {type(error).__name__}: {error}"])
            raise
        finally:
            self.words.value = attention(self.drawing)
            self.step.disabled = len(self.drawing.steps) < 2
            self.button.disabled = False  # last: who waits for it finds all done

    def show(self, number: int) -> None:
        """Show x̂_0 of a step that is done, counted from 1."""
        steps = self.drawing.steps
        self._show(steps[min(number, len(steps)) - 1], min(number, len(steps)), len(steps))

    def _show(self, step: Step, number: int, total: int) -> None:
        caption = f"x̂_0 at step {number} of {total}, t = {step.t}"
        self.picture.value = tiles([(caption, caption, enlarged(step.x0_hat))])


def _lines(kind: str, sentences: list[str]) -> str:
    return "".join(f'<div class="ldm-{kind}">{escape(s)}</div>' for s in sentences)
