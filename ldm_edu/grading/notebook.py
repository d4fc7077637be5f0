"""A notebook's cells as the grader sees them: source, and which exercise's check each one is."""

from __future__ import annotations

import ast
import importlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

STUB = "raise NotImplementedError()"
CHECK, ANSWER, WRITTEN = "check-", "answer-", "written-"
"""How nbgrader's ids of the three kinds of cell begin; the exercise's name follows."""


@dataclass(frozen=True)
class Cell:
    """A code cell: its source, and its id for nbgrader, or ""."""

    source: str
    grade_id: str

    @property
    def checks(self) -> str | None:
        """The exercise whose check stands in this cell, if any."""
        return self.grade_id.removeprefix(CHECK) if self.grade_id.startswith(CHECK) else None


def read_cells(path: str | Path) -> list[Cell]:
    """The code cells of a notebook on disk.

    Raises:
        ValueError: it is not there, or no notebook.
    """
    try:
        notebook = json.loads(Path(path).read_text("utf-8"))
        return [code_cell(cell) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: no Jupyter notebook ({type(error).__name__}: {error})") from None


def code_cell(cell: dict) -> Cell:
    """A cell out of a notebook's JSON."""
    source = cell["source"]
    grading = cell.get("metadata", {}).get("nbgrader") or {}
    return Cell(source if isinstance(source, str) else "".join(source), str(grading.get("grade_id", "")))


def checks_for(name: str | Path) -> ModuleType:
    """The check module of a notebook, from the number its name begins with.

    Raises:
        ValueError: no number, or no exercises of that number.
    """
    found = re.match(r"(\d\d)_", Path(name).name)
    if found is None:
        raise ValueError(f"{name}: exercises are found by the number that the name begins with, as in 03_topic.ipynb")
    module = f"ldm_edu.check.nb{found[1]}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ValueError(f"{name}: there are no exercises of number {found[1]}") from None


def is_untouched(cells: list[Cell]) -> bool:
    """Whether every answer is still the stub."""
    answers = [cell for cell in cells if cell.grade_id.startswith(ANSWER)]
    return bool(answers) and all(_is_stub(cell.source) for cell in answers)


def _is_stub(source: str) -> bool:
    """Whether a cell still raises the stub's error where its answer should stand; a comment does not count."""
    try:
        bodies = [node.body for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.Module)]
    except SyntaxError:
        return False  # someone has been at it
    return any(
        body and ast.unparse(body[-1]) == STUB and not any(isinstance(line, ast.Return) for line in body)
        for body in bodies
    )
