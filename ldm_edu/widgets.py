"""Sliders for the notebooks: a figure that is drawn again when one is moved. Used from notebook 01 on.

The only module that imports ipywidgets. Where widgets do not run (GitHub, a PDF) nothing is shown, so a notebook
draws the same figure once with `draw` alone before it offers the sliders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


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
