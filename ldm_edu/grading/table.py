"""Marks as text and as JSON, and where a learner stands."""

from __future__ import annotations

import glob
import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ldm_edu.check.exercise import exercises
from ldm_edu.grading.grade import Report, grade
from ldm_edu.grading.notebook import checks_for, is_untouched, read_cells

WIDTH = 100


def check_text(paths: Sequence[str | Path], as_json: bool = False) -> tuple[str, str]:
    """Grade notebooks and show their marks; and say which could not be graded, and why.

    A notebook goes by its file's name; where two have the same one, by their paths.

    Args:
        paths: notebooks, or patterns such as 03_*.ipynb.
    Raises:
        ValueError: none could be graded, or a pattern that no file matches.
    """
    paths = [file for path in paths for file in matching(path)]
    names = [Path(path).stem for path in paths]
    reports, failed = [], []
    for path, name in zip(paths, names, strict=True):
        try:
            report = grade(path)
        except ValueError as error:
            failed.append(str(error))
            continue
        reports.append(report if names.count(name) == 1 else replace(report, notebook=str(path)))
    if not reports:
        raise ValueError("; ".join(failed))
    text = as_object(reports) if as_json else "\n".join(map(report_text, reports))
    return text, "; ".join(failed)


def matching(path: str | Path) -> list[Path]:
    """The files that a pattern stands for, which Windows' shells leave to the program; else the path itself.

    Raises:
        ValueError: a pattern that no file matches.
    """
    if Path(path).exists() or not any(sign in str(path) for sign in "*?["):
        return [Path(path)]
    found = sorted(map(Path, glob.glob(str(path))))
    if not found:
        raise ValueError(f"{path}: no file matches this pattern; look at the folder and the name")
    return found


def as_object(reports: Sequence[Report]) -> str:
    """Marks for another program."""
    rows = [{**asdict(r), "points": r.points, "of": r.of} for r in reports]
    return json.dumps({"notebooks": rows}, ensure_ascii=False, indent=1) + "\n"


def report_text(report: Report) -> str:
    """A notebook's marks as a table, with a sentence and a hint where points are missing."""
    lines = [f"{report.notebook}: {report.points} of {report.of} points"]
    for mark in report.marks:
        by_hand = f", {mark.written} by hand" if mark.written else ""
        lines.append(f"  {mark.points}/{mark.of}  {mark.title} ({mark.exercise}{by_hand})")
        if mark.said:
            lines += _indented(mark.said)
        if mark.hint:
            lines += _indented(f"Hint: {mark.hint}")
    return "\n".join([*lines, *(f"  note: {note}" for note in report.notes), ""])


def progress_text(folder: str | Path) -> str:
    """Where a learner stands: every notebook of exercises in a folder, and the exercise to do next.

    Raises:
        ValueError: the folder holds no notebooks of exercises.
    """
    paths = sorted(Path(folder).glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise ValueError(f"{folder}: holds no notebooks like 01_topic.ipynb; give the folder of your exercises")
    lines, points, of, following = [], 0, 0, None
    for path in paths:
        tasks = exercises(checks_for(path))
        most = sum(task.points for task in tasks.values())
        if is_untouched(read_cells(path)):
            got, done, state = 0, set(), "not started"
        else:
            report = grade(path)
            got, done = report.points, {mark.exercise for mark in report.marks if mark.points == mark.of}
            state = "done" if len(done) == len(tasks) else f"{len(done)} of {len(tasks)} exercises"
        points, of = points + got, of + most
        lines.append(f"{path.stem:<28} {got:3d} of {most:2d} points   {state}")
        if following is None and len(done) < len(tasks):
            following = path.stem, next(task for name, task in tasks.items() if name not in done)
    lines.append(f"{'all':<28} {points:3d} of {of:2d} points")
    if following:
        name, task = following
        lines.append(f"Next: {task.title} ({name}), about {task.minutes} minutes")
    return "\n".join(lines) + "\n"


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=" " * 7, subsequent_indent=" " * 7)
