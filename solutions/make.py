"""Make the exercises: solutions/NN_topic.ipynb is the source, exercises/NN_topic.ipynb is made from it.

    python solutions/make.py --script 03_predicting_noise draft/03_predicting_noise.py   # a source as a script to edit
    python solutions/make.py draft/03_predicting_noise.py                                # the script -> its source
    python solutions/make.py                                                             # sources -> exercises/

What a script holds, and what is filled in, is told in solutions/README.md. Sources are stored without outputs.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from ldm_edu.check.exercise import Exercise, exercises
from ldm_edu.grading.notebook import ANSWER, CHECK, WRITTEN, checks_for

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RELEASE = ROOT / "exercises"
sys.path.insert(0, str(ROOT / "notebooks"))
import build  # noqa: E402  the notebooks' set-up cell and badge

FILLED = re.compile(r"\A## \d+\.\d+ .*\n\n\*.*\*\n\n")
IMPORT = "from ldm_edu.check import nb{number} as check"


def dress(notebook: NotebookNode, name: str) -> None:
    """Fill in what is made and not written: headings, points, check cells, nbgrader's marks, ids; no outputs.

    Raises:
        ValueError: a cell names an exercise that is not there, or an exercise lacks a cell.
    """
    tasks = exercises(checks_for(f"{name}.ipynb"))
    cells, met = [], []
    for cell in notebook.cells:
        kind, task = tag_of(cell, tasks, name)
        if kind == "check":
            continue
        if kind == "task":
            met.append(task.name)
            number = f"{int(name[:2])}.{len(met)}"
            cell.source = f"## {number} {task.title}\n\n{task.label}\n\n" + FILLED.sub("", cell.source)
        cells.append(cell)
        if kind == "answer":
            mark(cell, ANSWER + task.name, solution=True)
            call = f"check.{task.name}({', '.join(task.answers)})"
            cells.append(nbformat.v4.new_code_cell(call, metadata={"tags": [f"check:{task.name}"]}))
            mark(cells[-1], CHECK + task.name, points=task.points)
        elif kind == "written":
            mark(cell, WRITTEN + task.name, points=task.written, solution=True)
        elif kind == "setup":
            cell.source = f"{build.setup_source()}\n\n{IMPORT.format(number=name[:2])}"
    if met != list(tasks):
        raise ValueError(f"{name}: task cells for {met}, but the exercises in this order are {list(tasks)}")
    notebook.cells = cells
    head = notebook.cells[0]
    head.source = build.put_between(head.source, "badge", build.badge(name).replace("/notebooks/", "/exercises/"))
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{name[:2]}-{number:03d}"
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.metadata = {k: v for k, v in cell.metadata.items() if k in ("nbgrader", "tags")}


def tag_of(cell: NotebookNode, tasks: dict[str, Exercise], name: str) -> tuple[str, Exercise | None]:
    """The tag of a cell as (kind, exercise): "task:jump" is ("task", jump), "setup" is ("setup", None)."""
    for tag in cell.metadata.get("tags", []):
        kind, _, which = tag.partition(":")
        if kind in ("task", "answer", "check", "written"):
            if which not in tasks:
                raise ValueError(f"{name}: the tag {tag} names no exercise; there are {', '.join(tasks)}")
            return kind, tasks[which]
        if kind == "setup":
            return kind, None
    return "", None


def mark(cell: NotebookNode, grade_id: str, points: int | None = None, solution: bool = False) -> None:
    """nbgrader's marks on a cell: graded where it has points, the learner's to fill in where it is a solution."""
    marks = {
        "grade": points is not None,
        "grade_id": grade_id,
        "locked": not solution,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    cell.metadata["nbgrader"] = marks if points is None else {**marks, "points": points}


def to_source(script: Path, into: Path = HERE) -> Path:
    """A percent script, or a source, as the source it should be."""
    notebook = jupytext.read(script)
    notebook.nbformat_minor = 5
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"},
        "language_info": {"name": "python"},
    }
    dress(notebook, script.stem)
    nbformat.validate(notebook)
    out = into / f"{script.stem}.ipynb"
    nbformat.write(notebook, out)
    return out


def to_script(source: Path, out: Path) -> None:
    """A source as a percent script, without what is filled in."""
    notebook = nbformat.read(source, 4)
    notebook.cells = [c for c in notebook.cells if not any(t.startswith("check:") for t in c.metadata.get("tags", []))]
    for cell in notebook.cells:
        cell.metadata.pop("nbgrader", None)
        cell.source = FILLED.sub("", cell.source)
    out.parent.mkdir(parents=True, exist_ok=True)
    jupytext.write(notebook, out, fmt="py:percent")


def to_exercise(source: Path) -> NotebookNode:
    """The learner's version of a source, by the steps that `nbgrader generate_assignment` takes."""
    from nbgrader.preprocessors import CheckCellMetadata, ClearOutput, ClearSolutions, ComputeChecksums, LockCells

    notebook, resources = nbformat.read(source, 4), {}
    for step in (LockCells, ClearSolutions, ClearOutput, CheckCellMetadata, ComputeChecksums):
        notebook, resources = step().preprocess(notebook, resources)
    return notebook


def stored() -> list[Path]:
    """The sources, in order."""
    return sorted(HERE.glob("[0-9][0-9]_*.ipynb"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "scripts", nargs="*", type=Path, help="scripts to make sources of; unless given, make exercises"
    )
    parser.add_argument("--script", nargs=2, metavar=("NAME", "OUT.py"), help="write a source as a script")
    args = parser.parse_args()
    if args.script:
        to_script(HERE / f"{args.script[0]}.ipynb", Path(args.script[1]))
        return
    for script in args.scripts:
        print(to_source(script), file=sys.stderr)
    RELEASE.mkdir(exist_ok=True)
    for source in stored():
        nbformat.write(to_exercise(source), RELEASE / source.name)


if __name__ == "__main__":
    main()
