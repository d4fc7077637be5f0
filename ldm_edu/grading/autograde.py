"""Our marks inside nbgrader: `nbgrader autograde` calls `mark_cells` in place of running the notebook itself.

nbgrader runs a submission and its tests in one process, where the submission can change the tests. Here the code runs
in a process of its own and is judged outside it; nbgrader then finds the outcome in the check cells' outputs, where it
looks for it. Set in nbgrader_config.py.
"""

from __future__ import annotations

from typing import Any

from ldm_edu.grading.grade import grade_cells
from ldm_edu.grading.notebook import CHECK, checks_for, code_cell


def mark_cells(notebook: Any, resources: dict) -> tuple[Any, dict]:
    """Write the marks into a submission's check cells as outputs: an error gives no points, anything else all.

    Args:
        notebook, resources: as nbconvert hands them to a preprocessor.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    name = resources["nbgrader"]["notebook"]
    report = grade_cells(name, [code_cell(cell) for cell in code], checks_for(name))
    marks = {CHECK + mark.exercise: mark for mark in report.marks}
    for number, cell in enumerate(code, 1):
        cell.execution_count, cell.outputs = number, []
        grading = cell.metadata.get("nbgrader", {})
        if not grading.get("grade"):
            continue
        mark = marks.pop(grading["grade_id"], None)  # a second cell of one id gets nothing
        if mark is not None and mark.points == mark.of:  # nbgrader gives the cell's own points for it
            cell.outputs = [_output("stream", name="stdout", text=f"right, {mark.points} points\n")]
        else:
            said = (
                "\n".join(filter(None, (mark.said, mark.hint and f"Hint: {mark.hint}")))
                if mark
                else "no exercise of the course belongs to this cell"
            )
            cell.outputs = [_output("error", ename="Mistake", evalue=said, traceback=said.splitlines())]
    return notebook, resources


def _output(kind: str, **fields: Any) -> Any:
    from nbformat.v4 import new_output

    return new_output(kind, **fields)
