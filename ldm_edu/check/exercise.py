"""What an exercise is: its name, points and hints, and the trial that its answer must pass.

Used by every check; no notebook derives it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from ldm_edu.check.calls import Mistake, Watched

Kind = Literal["derive", "implement", "find the mistake"]


class Words(str):
    """A sentence that Jupyter shows as it is, without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


@dataclass(frozen=True)
class Exercise:
    """An exercise and its check: `exercise(answer)` says that it is right or raises the Mistake, `hint(1)` helps.

    Args:
        title: as it stands in the notebook.
        kind: "derive", "implement" or "find the mistake".
        answers: the names that the learner's cell defines, in the order that the trial takes them.
        trial: raises Mistake unless the answers are right. Answers that are functions may live in another process,
            so a trial calls them by keyword with tensors, numbers, strings, lists, schedules and functions, and
            looks at what they return, and at nothing else of them.
        hints: from a nudge to nearly the solution.
        points, difficulty, minutes: the points a program gives; 1 easy … 3 hard; how long it may take.
        written: points that a person gives for a written derivation.
        may_use: files of the package that an answer may call functions of.
    """

    title: str
    kind: Kind
    answers: tuple[str, ...]
    trial: Callable[..., None]
    hints: tuple[str, ...]
    points: int
    difficulty: Literal[1, 2, 3]
    minutes: int
    written: int = 0
    may_use: tuple[str, ...] = ("schedule.py",)

    @property
    def name(self) -> str:
        """What it is called in its module and in nbgrader: its last answer's name, which is unique in a notebook."""
        return self.answers[-1]

    @property
    def label(self) -> str:
        """The line under its heading."""
        by_hand = f", and {self.written} for the written part" if self.written else ""
        stars = "★" * self.difficulty + "☆" * (3 - self.difficulty)
        return f"*{self.kind.capitalize()} · {_points(self.points)}{by_hand} · {stars} · {self.minutes} minutes*"

    def __call__(self, *answers: Any) -> Words:
        """Check answers in this process, as a notebook's check cell does.

        Raises:
            Mistake: what is wrong.
            ValueError: not as many answers as there should be.
        """
        if len(answers) != len(self.answers):
            raise ValueError(f"check.{self.name} takes {', '.join(self.answers)}; got {len(answers)} answers")
        try:
            self.judge(*(Watched(a, self.may_use) if callable(a) else a for a in answers))
        except Mistake as mistake:
            raise Mistake(f"{mistake}\nFor help: check.{self.name}.hint(1)") from None
        return Words(f"{self.name}: right, {_points(self.points)}")

    def judge(self, *answers: Any) -> None:
        """Raise the Mistake in answers that are called here or elsewhere; calls are watched by who hands them in."""
        for name, answer in zip(self.answers, answers, strict=True):
            if not callable(answer):
                raise Mistake(f"{name} is no function, but {str(answer)[:40]}")
        self.trial(*answers)

    def hint(self, step: int = 1) -> Words:
        """The hint of this number, 1 being the smallest.

        Raises:
            ValueError: there is no such hint.
        """
        if step not in range(1, len(self.hints) + 1):
            raise ValueError(f"{self.name} has hints 1 to {len(self.hints)}, got {step!r}")
        more = f" (hint({step + 1}) says more)" if step < len(self.hints) else ""
        return Words(self.hints[step - 1] + more)


def exercises(module: ModuleType) -> dict[str, Exercise]:
    """The exercises of a check module, by name, in the order they are written there."""
    return {value.name: value for value in vars(module).values() if isinstance(value, Exercise)}


def _points(count: int) -> str:
    return "1 point" if count == 1 else f"{count} points"
