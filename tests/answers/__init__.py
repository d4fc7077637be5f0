"""Answers to the exercises, right ones written in several ways and wrong ones of the kinds that are met.

For each exercise: `right`, a list of answers, and `wrong`, a list of (what its check must say, answer). An answer is a
function, or a tuple of functions where an exercise asks for several. Nothing here may call the checks' own code.
"""

from typing import NamedTuple


class Answers(NamedTuple):
    right: list
    wrong: list
