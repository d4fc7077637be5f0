"""Figures of conditions: what is drawn is what was given, each picture and each word in its place."""

import pytest
import torch
from matplotlib import pyplot as plt

from ldm_edu.plot_guidance import obeyed_curves, picture_table, word_maps

pytestmark = pytest.mark.usefixtures("no_display")


def drawn(ax):
    return torch.as_tensor(ax.images[0].get_array().data)


def test_a_table_draws_each_picture_in_its_place_and_clips_it():
    a, b = 1.5 * (2 * torch.rand(2, 3, 3, 4, 4, generator=torch.Generator().manual_seed(0)) - 1)
    picture_table({"one": a, "two": b}, ["a red circle in the top left", "x", "y"], line=12)
    axes = plt.gcf().axes
    assert len(axes) == 6
    for ax, picture in zip(axes, [*a, *b], strict=True):
        torch.testing.assert_close(drawn(ax), (picture.clamp(-1, 1).permute(1, 2, 0) + 1) / 2)
    assert [ax.get_title(loc="center") for ax in axes[:3]] == ["a red circle\nin the top\nleft", "x", "y"]
    assert [axes[0].get_ylabel(), axes[3].get_ylabel()] == ["one", "two"]


def test_a_table_refuses_a_row_with_too_few_pictures():
    with pytest.raises(ValueError, match="row 'one' has 2 pictures for 3 headings"):
        picture_table({"one": torch.zeros(2, 3, 4, 4)}, ["a", "b", "c"])


def test_word_maps_draw_each_word_in_one_scale_and_nothing_for_words_that_are_not_there():
    g = torch.Generator().manual_seed(0)
    pictures, maps = 2 * torch.rand(2, 3, 4, 4, generator=g) - 1, torch.rand(2, 5, 2, 2, generator=g)
    words = [["a", "ring"], ["a", "red", "cross"]]
    word_maps(pictures, words, maps)
    table = [plt.gcf().axes[:4], plt.gcf().axes[4:]]
    for row, picture, caption, weights in zip(table, pictures, words, maps, strict=True):
        torch.testing.assert_close(drawn(row[0]), (picture.permute(1, 2, 0) + 1) / 2)
        for ax, word, weight in zip(row[1:], caption, weights, strict=False):
            assert ax.get_title(loc="center") == word
            torch.testing.assert_close(drawn(ax), weight)
            assert ax.images[0].get_clim() == (0, weights[: len(caption)].max())
    assert not table[0][3].images


@pytest.mark.parametrize(("count", "length"), [(1, 3), (2, 2)])
def test_word_maps_refuse_what_does_not_fit(count, length):
    with pytest.raises(ValueError, match="do not fit together"):
        word_maps(torch.zeros(2, 3, 4, 4), [["a"], ["a", "red", "cross"]], torch.zeros(count, length, 2, 2))


def test_obeyed_curves_have_a_line_for_each_number_of_steps():
    points = [{"guidance": w, "steps": n, "seen": w * n / 100, "unseen": w / 10} for n in (5, 10) for w in (3.0, 1.0)]
    obeyed_curves(points)
    seen, unseen = plt.gcf().axes
    assert [line.get_xdata().tolist() for line in seen.lines] == [[1, 3], [1, 3]]
    assert seen.lines[1].get_ydata().tolist() == pytest.approx([10, 30])
    assert unseen.lines[0].get_ydata().tolist() == pytest.approx([10, 30])
    obeyed_curves([{"guidance": 1.0, "steps": n, "seen": 0.5, "unseen": 0.5} for n in range(1, 11)])
    assert [len(ax.lines) for ax in plt.gcf().axes] == [10, 10]
