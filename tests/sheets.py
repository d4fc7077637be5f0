"""Notebooks of exercises for the tests of grading: one answer under test, and one that is right."""

from __future__ import annotations

from ldm_edu.check import nb01
from ldm_edu.grading.grade import grade_cells
from ldm_edu.grading.notebook import Cell
from ldm_edu.grading.remote import Limits

QUICK = Limits(cell_seconds=30, call_seconds=30, notebook_seconds=200, memory_gib=0.5)
SHORT = Limits(cell_seconds=2, call_seconds=2, notebook_seconds=200, memory_gib=0.5)
SETUP = Cell("import math\nimport torch\nfrom ldm_edu.check import nb01 as check", "")
GOOD = """
def to_exploding(x_t, alpha_bar_t):
    return x_t / math.sqrt(alpha_bar_t), math.sqrt((1 - alpha_bar_t) / alpha_bar_t)
"""
JUMP = """
def jump(x_0, t, eps, beta):
    bar = (1 - beta).cumprod(0)[t].view(-1, *[1] * (x_0.ndim - 1))
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * eps
"""
WRONG = "def jump(x_0, t, eps, beta):\n    return x_0\n"


def marks(*cells, limits=QUICK):
    """The marks of a notebook with the first exercise answered by these cells, and another one right."""
    sheet = [SETUP, *(Cell(source, "answer-jump") for source in cells), Cell("check.jump(jump)", "check-jump")]
    sheet += [Cell(GOOD, "answer-to_exploding"), Cell("check.to_exploding(to_exploding)", "check-to_exploding")]
    return {mark.exercise: mark for mark in grade_cells("01_x", sheet, nb01, limits).marks}
