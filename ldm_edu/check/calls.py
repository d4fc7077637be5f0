"""Calling a learner's function: on copies, watched, with every accident put into words.

Used by every check; no notebook derives it.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

PACKAGE = str(Path(__file__).resolve().parents[1]) + os.sep
PLUMBING = ("check/calls.py", "grading/", "kinds.py")
"""Code of ours that runs between the learner's function and the check, or checks what a call was given: no answer."""


class Mistake(AssertionError):
    """What is wrong with an answer, in a sentence or two. Jupyter shows the sentence without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


class Unwritten(Mistake):
    """The answer is still the stub."""


class Stopped(Exception):
    """An error of an answer that ran in another process: its kind and its text, in one."""


class Given:
    """A function that a check gives to an answer: its own calls are not the learner's, so they are not watched."""

    def __init__(self, function: Callable):
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        watcher = sys.getprofile()
        sys.setprofile(None)
        try:
            return self.function(*args, **kwargs)
        finally:
            sys.setprofile(watcher)


class Watched:
    """A learner's function, watched for calls of package functions that would do the exercise for it.

    Args:
        function: what the learner wrote.
        may_use: files of the package, as "schedule.py", whose functions may be called.
    """

    def __init__(self, function: Callable, may_use: tuple[str, ...]):
        self.function = function
        self.free = tuple(PACKAGE + name.replace("/", os.sep) for name in (*may_use, *PLUMBING))

    def __call__(self, **case: Any) -> Any:
        borrowed: list[str] = []

        def watch(frame: Any, event: str, arg: Any) -> None:
            file = frame.f_code.co_filename
            if event != "call" or frame.f_code.co_name == "<module>":
                return
            if file.startswith(PACKAGE) and not file.startswith(self.free):
                borrowed.append(f"{file.removeprefix(PACKAGE)}: {frame.f_code.co_name}")

        before = sys.getprofile(), threading.getprofile()
        sys.setprofile(watch)
        threading.setprofile(watch)
        try:
            result = self.function(**case)
            watched = threading.getprofile() is watch
        finally:
            sys.setprofile(before[0])
            threading.setprofile(before[1])
        if not watched:
            raise Mistake("Your answer turns off the watch over its calls")
        if borrowed:
            raise Mistake(f"Your answer calls the package ({borrowed[0]}): write the computation itself")
        return result


def attempt(answer: Callable, case: dict[str, Any]) -> Any:
    """The answer's result on copies of a case's arguments, passed by name.

    Raises:
        Unwritten: the answer is still the stub.
        Mistake: it raised an error, returned nothing, or changed an argument.
    """
    copies = {name: _copy(value) for name, value in case.items()}
    try:
        result = answer(**copies)
    except Mistake:
        raise
    except Exception as error:
        if isinstance(error, NotImplementedError) and not str(error):  # PyTorch's own, of a type, has a text
            raise Unwritten("not written yet") from None
        told = str(error) if isinstance(error, Stopped) else f"{type(error).__name__}: {error}"
        raise Mistake(f"Your function stopped with {' '.join(told.split())[:300]} (given {describe(case)})") from None
    for name, value in case.items():
        if isinstance(value, list) and repr(value) != repr(copies[name]):  # it may hold tensors by now
            raise Mistake(
                f"Your function changes its argument {name}, a list, from {str(value)[:80]} to "
                f"{str(copies[name])[:80]}: the caller still needs it. list({name}) is a copy"
            )
        if isinstance(value, Tensor) and not torch.equal(value, copies[name]):
            raise Mistake(
                f"Your function changes its argument {name} in place, by up to "
                f"{_most(copies[name], value):.4g}: the caller still needs it"
            )
    if result is None:
        raise Mistake("Your function returns None: is its return missing?")
    return result


def number(answer: Any, name: str) -> float:
    """A finite number out of an answer that should be one.

    Raises:
        Mistake: it is something else.
    """
    if isinstance(answer, np.ndarray | np.generic) and answer.size == 1:
        answer = answer.item()
    if isinstance(answer, Tensor) and answer.numel() == 1:
        answer = answer.item()
    if isinstance(answer, bool) or not isinstance(answer, int | float) or not math.isfinite(answer):
        raise Mistake(f"{name} must be a finite number, got {str(answer)[:60]}")
    return float(answer)


def describe(case: dict[str, Any]) -> str:
    """A case in words: shapes of tensors, values of numbers."""
    words = []
    for name, value in case.items():
        if isinstance(value, Tensor):
            kind = str(value.dtype).removeprefix("torch.")
            short = value.ndim == 1 and value.numel() <= 5 and not value.is_floating_point()
            words.append(f"{name} = {value.tolist()}" if short else f"{name} {kind} of shape {tuple(value.shape)}")
        elif isinstance(value, int | float | str):
            words.append(f"{name} = {value}")
    return ", ".join(words)


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, list):
        return list(value)
    return Given(value) if callable(value) and not isinstance(value, torch.nn.Module) else value


def _most(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).abs().max()) if a.shape == b.shape else math.inf
