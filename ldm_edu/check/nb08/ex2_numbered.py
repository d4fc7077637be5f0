"""Exercise 8.2, words to numbers: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.calls import Mistake, attempt
from ldm_edu.check.compare import Known, compare
from ldm_edu.check.exercise import Exercise


def _made(unknown=1, first=2, fill=0, cut=lambda row, n: row[:n], front=False, lower=str.lower, order=tuple, wide=None):
    """Numbers of texts with one thing done differently; unknown None leaves the word out."""

    def numbered(texts, words, length):
        number = {word: i for i, word in enumerate(order(words), first)}
        rows = []
        for text in texts:
            row = [number.get(word, unknown) for word in lower(text).split()]
            rows.append(cut([n for n in row if n is not None], length))
        width = wide(rows) if wide else length
        fills = [[fill] * (width - len(row)) for row in rows]
        return torch.tensor([f + r if front else r + f for r, f in zip(rows, fills, strict=True)])

    return numbered


_numbered = _made()


def _row(say):
    """A sentence about the first text that is wrong, with its numbers."""

    def sentence(case, got, want):
        same = got.shape == want.shape
        i = next((i for i, (g, w) in enumerate(zip(got, want, strict=False)) if not same or not g.equal(w)), 0)
        return f"“{case.texts[i]}” becomes {[int(n) for n in got[i]]}: " + say.format(length=case.length)

    return sentence


_KNOWN = (
    Known(
        _made(unknown=None),
        _row("a word outside the vocabulary has left no trace, and the words after it stand in its place."),
    ),
    Known(_made(unknown=0), _row("an unknown word got 0, which says that no word is there.")),
    Known(
        _made(first=0),
        _row("the vocabulary starts at 0, so its first two words look like “no word” and “unknown”."),
    ),
    Known(_made(first=1), _row("the vocabulary starts at 1, so its first word looks like an unknown one.")),
    Known(_made(first=3), _row("the vocabulary starts at 3: a row of the table is never used.")),
    Known(_made(fill=1), _row("a short text was filled up with 1, as if unknown words followed.")),
    Known(
        _made(front=True), _row("the filling stands before the words, so a word's place depends on what follows it.")
    ),
    Known(_made(cut=lambda row, n: row[-n:]), _row("a text longer than {length} has lost its beginning.")),
    Known(_made(lower=str), _row("a word with a capital letter is not found among those without.")),
    Known(_made(order=sorted), _row("the vocabulary was sorted; its order is the one it came in.")),
    Known(
        _made(wide=lambda rows: max(1, *map(len, rows))),
        _row("this is as long as the longest text of the batch. Each batch would have another length, not {length}."),
    ),
)


def _try(numbered):
    words = ("red", "a", "circle", "blue", "above", "square", "the")
    cases = [
        {
            "texts": ("A red heron above the square", "a  circle", "", "a red circle above a blue square Now", "red"),
            "words": words,
            "length": 6,
        },
        {"texts": ("the blue circle",), "words": words, "length": 9},
        {"texts": ("Square dance", "", "square"), "words": ("square",), "length": 1},
        {"texts": ("", ""), "words": (), "length": 3},
    ]
    _look_at_rows(numbered, cases[0])
    compare(numbered, _numbered, cases, _KNOWN, ("the numbers",))


def _look_at_rows(numbered, case):
    """Rows of several lengths make no tensor, so they are looked at before."""
    try:
        rows = attempt(numbered, case)
        lengths = [len(row) for row in rows]
    except (Mistake, TypeError):
        return  # told by compare
    kind = getattr(rows, "dtype", None)
    if "float" in str(kind):
        raise Mistake(
            f"Your numbers are {str(kind).removeprefix('torch.')}s: they pick rows of a table, by whole numbers"
        )
    n = case["length"]
    if len(set(lengths)) > 1:
        cut, fill = max(lengths) > n, min(lengths) < n
        missing = "cut nor filled up" if cut and fill else "cut" if cut else "filled up"
        raise Mistake(
            f"Your rows have {', '.join(map(str, lengths))} numbers, and one tensor needs {n} in each: "
            f"texts are {'neither' if cut and fill else 'not'} {missing}."
        )


numbered = Exercise(
    title="Words to numbers",
    kind="implement",
    answers=("numbered",),
    trial=_try,
    points=2,
    difficulty=1,
    minutes=15,
    hints=(
        "Make a dict from each word to its number first. Two numbers are taken before the vocabulary starts.",
        "number = {word: i for i, word in enumerate(words, 2)}; number.get(word, 1) answers for every word. Cut before "
        "you fill up.",
        "For each text: row = [number.get(w, 1) for w in text.lower().split()][:length], then "
        "row + [0] * (length − len(row)).",
    ),
)
