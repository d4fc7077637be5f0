"""The marks of a notebook: its code runs in a process of its own, its answers are judged here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from ldm_edu.check.calls import Mistake, Unwritten
from ldm_edu.check.exercise import Exercise, exercises
from ldm_edu.grading.notebook import Cell, checks_for, read_cells
from ldm_edu.grading.remote import Ended, Failed, Limits, NotStarted, Student

TESTED = Limits()
UNWRITTEN = "not written yet"
NO_POINTS = "; no points"


@dataclass(frozen=True)
class Mark:
    """The points of one exercise, what is wrong if anything is, and the first hint then."""

    exercise: str
    title: str
    points: int
    of: int
    written: int
    said: str
    hint: str
    seconds: float


@dataclass(frozen=True)
class Report:
    """The marks of a notebook, in order; notes are about the grading itself."""

    notebook: str
    marks: tuple[Mark, ...]
    notes: tuple[str, ...] = ()

    @property
    def points(self) -> int:
        """The points a program gave."""
        return sum(mark.points for mark in self.marks)

    @property
    def of(self) -> int:
        """The points a program can give."""
        return sum(mark.of for mark in self.marks)


def grade(path: str | Path, limits: Limits = TESTED) -> Report:
    """Mark a notebook on disk.

    Raises:
        ValueError: no notebook, one without exercises of ours, or its process does not start.
    """
    return grade_cells(Path(path).name, read_cells(path), checks_for(path), limits)


def grade_cells(name: str, cells: Sequence[Cell], checks: ModuleType, limits: Limits = TESTED) -> Report:
    """Mark the code cells of a notebook. Its own check cells say when, never how: the checks are ours.

    A cell that ends the process, or does what is forbidden, is left out; a new process then takes up all that went
    before, so that one bad answer costs its own exercise and no other.
    """
    sheet = _Sheet(cells, exercises(checks), limits)
    try:
        sheet.mark_all()
    finally:
        sheet.close()
    return Report(Path(name).stem, tuple(sheet.marks[e] for e in sheet.exercises), tuple(sheet.notes))


@dataclass
class _Sheet:
    """A grading under way."""

    cells: Sequence[Cell]
    exercises: dict[str, Exercise]
    limits: Limits
    student: Student | None = None
    left_out: set[int] = field(default_factory=set)
    marks: dict[str, Mark] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def mark_all(self) -> None:
        self.deadline = time.monotonic() + self.limits.notebook_seconds
        trouble: list[str] = []  # of the cells since the last check
        for i, cell in enumerate(self.cells):
            if time.monotonic() > self.deadline:
                self.notes.append(f"stopped at cell {i + 1}: {self.limits.notebook_seconds:g} s are up")
                trouble = ["the notebook's time was up before this exercise" + NO_POINTS]
                break
            name = cell.checks
            if name in self.exercises and name not in self.marks:
                self.mark(name, trouble, i)
                trouble = []
            elif name not in self.exercises and (said := self.run(i)):
                trouble.append(said)
        for name in self.exercises:
            if name not in self.marks:
                self.mark(name, trouble, len(self.cells))

    def run(self, i: int) -> str | None:
        """Run a cell; what went wrong."""
        try:
            self.ready(i).run(self.cells[i].source, i + 1)
        except Failed as failed:
            return UNWRITTEN if failed.unwritten else f"cell {i + 1} stopped with {failed}"
        except Ended as ended:
            self.left_out.add(i)
            self.close()
            return f"cell {i + 1}: {ended}{NO_POINTS}"
        return None

    def ready(self, before: int) -> Student:
        """A process in which all cells before this one have run."""
        if self.student is not None and not self.student.alive:  # it went on its own, after its last answer
            self.close()
        while self.student is None:
            self.student = Student(self.limits)
            if self.student.note and self.student.note not in self.notes:
                self.notes.append(str(self.student.note))
            for i in range(before):
                if i not in self.left_out and self.cells[i].checks not in self.exercises:
                    try:
                        self.student.run(self.cells[i].source, i + 1)
                    except Failed:
                        pass
                    except Ended:  # it went well the first time: chance is in it
                        self.left_out.add(i)
                        self.close()
                        break
        return self.student

    def mark(self, name: str, trouble: list[str], before: int) -> None:
        """Judge one exercise."""
        exercise, start = self.exercises[name], time.monotonic()
        said = next((t for t in trouble if t.endswith(NO_POINTS)), None)
        if said is None:
            try:
                student = self.ready(before)
                start = time.monotonic()
                answers = [student.get(answer, exercise.may_use) for answer in exercise.answers]
                exercise.judge(*answers)
            except Unwritten:
                said = UNWRITTEN
            except Failed as failed:  # a name that is not there: why?
                said = trouble[0] if trouble else failed.text
            except Mistake as mistake:
                said = str(mistake)
            except Ended as ended:
                self.close()
                said = f"{ended}{NO_POINTS}"
            except NotStarted:
                raise
            except Exception as error:  # an answer of a kind that its check did not foresee
                said = f"this answer cannot be judged ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        right = said is None
        self.marks[name] = Mark(
            name, exercise.title, exercise.points if right else 0, exercise.points, exercise.written,
            said or "", "" if right or said == UNWRITTEN else exercise.hints[0], round(time.monotonic() - start, 3),
        )  # fmt: skip

    def close(self) -> None:
        if self.student is not None:
            self.student.close()
        self.student = None
