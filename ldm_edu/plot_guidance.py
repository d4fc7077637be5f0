"""Figures of conditions: a table of colour pictures, where pixels look in a text, captions obeyed. Notebook 08."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

from torch import Tensor


def picture_table(rows: dict[str, Tensor], columns: Sequence[str], width: float = 9.5, line: int = 14) -> None:
    """Draw named rows of colour pictures under headings.

    Args:
        rows: name -> (N, 3, H, W) in [-1, 1]; what lies outside is clipped.
        columns: N headings, broken into lines.
        line: characters of a heading's line.
    Raises:
        ValueError: a row that has not one picture for each heading.
    """
    from textwrap import fill

    from matplotlib import pyplot as plt

    for name, pictures in rows.items():
        if len(pictures) != len(columns):
            raise ValueError(f"row {name!r} has {len(pictures)} pictures for {len(columns)} headings")
    headings = [fill(heading, line) for heading in columns]
    lines = max(heading.count("\n") + 1 for heading in headings)
    height = (width - 1.1) / len(columns) * len(rows) + 0.23 * lines
    _, axes = plt.subplots(len(rows), len(columns), figsize=(width, height), squeeze=False)
    for axes_of_row, (name, pictures) in zip(axes, rows.items(), strict=True):
        for ax, picture in zip(axes_of_row, pictures, strict=True):
            _picture(ax, picture)
        axes_of_row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, heading in zip(axes[0], headings, strict=True):
        ax.set_title(heading, loc="center", fontsize=9)


def word_maps(pictures: Tensor, words: Sequence[Sequence[str]], maps: Tensor, width: float = 9.5) -> None:
    """Draw each picture and, beside it, how much weight each of its pixels gives to each word of its caption.

    All words of one picture share one grey scale, from 0 (black) to the largest weight (white).

    Args:
        pictures: (N, 3, H, W) in [-1, 1].
        words: N captions of L words at most.
        maps: (N, L, h, w) weights, not negative.
    Raises:
        ValueError: counts that do not fit together.
    """
    from matplotlib import pyplot as plt

    longest = max(len(caption) for caption in words)
    if not len(pictures) == len(words) == len(maps) or longest > maps.shape[1]:
        raise ValueError(
            f"{len(pictures)} pictures, {len(words)} captions of {longest} words at most and maps of shape "
            f"{tuple(maps.shape)} do not fit together"
        )
    side = width / (longest + 1)
    _, axes = plt.subplots(len(words), longest + 1, figsize=(width, (side + 0.2) * len(words)), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for row, picture, caption, weights in zip(axes, pictures, words, maps, strict=True):
        _picture(row[0], picture)
        top = weights[: len(caption)].max().item()
        for ax, word, weight in zip(row[1:], caption, weights, strict=False):
            ax.imshow(weight.cpu().numpy(), cmap="gray", vmin=0, vmax=top, interpolation="nearest")
            ax.set_title(word, loc="center", fontsize=10)


def obeyed_curves(points: Sequence[Mapping[str, float]], width: float = 9.5) -> None:
    """Draw the share of captions obeyed over the guidance weight, a line for each number of steps.

    Args:
        points: guidance, steps, seen, unseen of each setting, as `ldm-edu sweep --write` stores them.
    """
    from matplotlib import pyplot as plt

    _, axes = plt.subplots(1, 2, figsize=(width, 3.4), sharey=True)
    titles = {"seen": "combinations as in training", "unseen": "combinations never shown"}
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        for marker, steps in zip(cycle("osD^vP*X"), sorted({p["steps"] for p in points}), strict=False):
            chosen = sorted((p["guidance"], 100 * p[name]) for p in points if p["steps"] == steps)
            ax.plot(*zip(*chosen, strict=True), marker=marker, markersize=5, label=f"{steps:g} steps")
        ax.set(title=title, xlabel="guidance weight w", ylim=(-3, 103))
    axes[0].set_ylabel("captions obeyed in every word, %")
    axes[1].legend(loc="best")


def _picture(ax, picture: Tensor) -> None:
    """One colour picture in a frame, without ticks."""
    ax.set_axis_on()
    ax.imshow((picture.cpu().clamp(-1, 1).permute(1, 2, 0).numpy() + 1) / 2, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(True)
