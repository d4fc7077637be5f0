"""Sliders: a move draws again with the new value, and bad settings are refused."""

import pytest

from ldm_edu.widgets import Choice, Slider, explore

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
