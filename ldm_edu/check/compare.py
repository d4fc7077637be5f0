"""Comparing an answer with the right one, and recognising the mistake in between.

Used by every check; no notebook derives it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ldm_edu.check.calls import Mistake, Unwritten, attempt, describe

Case = dict[str, Any]
TOLERANCE = 1e-4
"""Of the largest entry of the right result: float32 passes, a mistake does not."""


class Known(NamedTuple):
    """A mistake that is often made.

    wrong: computes what an answer with this mistake returns, from a case's arguments by name.
    says: names the misconception with the number that gives it away. A string may hold {got:.4f}, {want:.4f} (where
        results are one number) and the case's arguments by name. A function takes (case, got, want): the arguments
        as attributes, and results as float64 tensors, tuples of them where several things are returned.
    """

    wrong: Callable[..., Any]
    says: str | Callable[[SimpleNamespace, Any, Any], str]

    def sentence(self, case: Case, got: Any, want: Any) -> str:
        """What to tell the learner."""
        if not isinstance(self.says, str):
            return self.says(SimpleNamespace(**case), got, want)
        numbers = {"got": got, "want": want}
        single = {name: v.item() for name, v in numbers.items() if isinstance(v, Tensor) and v.numel() == 1}
        return self.says.format(**case, **single)


def compare(
    answer: Callable,
    right: Callable,
    cases: Sequence[Case],
    known: Sequence[Known] = (),
    parts: Sequence[str] = ("the result",),
) -> None:
    """Try an answer on every case beside the right function; where they differ, say why if the reason is known.

    A known mistake is recognised where it agrees with the answer on every case (errors agree with errors), or else
    on the first case whose result is wrong.

    Args:
        cases: arguments by name; the first should be the most telling one.
        known: the mistakes to recognise, the special before the general.
        parts: the names of what is returned.
    Raises:
        Mistake: the answer differs. Unwritten: it is still the stub.
    """
    tries = []
    for case in cases:
        want = tidy(right(**case), parts)
        tries.append((case, _outcome(attempt, answer, case, parts), want))
    failed = [(case, got, want) for case, got, want in tries if not close(got, want)]
    if not failed:
        return
    wrong = [one for one in failed if not isinstance(one[1], Mistake)]
    if wrong:
        case, got, want = wrong[0]
        again = _outcome(attempt, answer, case, parts)
        if not isinstance(again, Mistake) and not close(again, got):
            raise Mistake(
                f"Asked twice with the same arguments, your function answers differently ({_apart(got, again):.4g} "
                "apart): it draws by itself. Whatever is random here is given as an argument"
            )
        here = [k for k in known if close(_imitate(k, case, parts), got)]
        everywhere = [k for k in here if all(_agree(_imitate(k, c, parts), g) for c, g, _ in tries)]
        for mistake in (*everywhere, *here):
            raise Mistake(mistake.sentence(case, got, want))
    case, got, want = failed[0]
    raise got if isinstance(got, Mistake) else Mistake(difference(case, got, want, parts))


def tidy(value: Any, parts: Sequence[str]) -> Tensor | tuple[Tensor, ...]:
    """A result as float64 tensors: one, or a tuple of as many as there are parts.

    Raises:
        Mistake: it is no number, tensor or list of numbers, or there are too few or too many.
    """
    if len(parts) == 1:
        return _tensor(value, parts[0])
    if not isinstance(value, tuple | list) or len(value) != len(parts):
        held = f"{len(value)} things" if isinstance(value, tuple | list) else f"one {type(value).__name__}"
        raise Mistake(f"Return {len(parts)} things, {' and '.join(parts)}; your function returns {held}")
    return tuple(_tensor(one, name) for one, name in zip(value, parts, strict=True))


def close(got: Any, want: Any) -> bool:
    """Whether two results are equal up to rounding in float32; an error is close to nothing.

    What is not finite is equal to the same: so a mistake that divides by zero is recognised.
    """
    if isinstance(got, Mistake) or isinstance(want, Mistake):
        return False
    if isinstance(want, tuple):
        return all(close(g, w) for g, w in zip(got, want, strict=True))
    if got.shape != want.shape and not got.numel() == want.numel() == 1:
        return False
    got, finite = got.reshape(want.shape), want.isfinite()
    scale = want[finite].abs().max().item() if finite.any() else 0.0
    near = (got - want).abs() <= TOLERANCE * scale + 1e-7
    return bool((near | (got == want) | (got.isnan() & want.isnan())).all())


def difference(case: Case, got: Any, want: Any, parts: Sequence[str]) -> str:
    """Where and by how much a result is off, when nothing better is known."""
    pairs = zip(got, want, parts, strict=True) if isinstance(want, tuple) else [(got, want, parts[0])]
    part, g, w = next((name, g, w) for g, w, name in pairs if not close(g, w))
    if g.shape != w.shape and not g.numel() == w.numel() == 1:
        return f"{part} has shape {tuple(g.shape)}, expected {tuple(w.shape)} (given {describe(case)})"
    if not torch.isfinite(g).all():
        return f"{part} holds values that are not finite (given {describe(case)})"
    off = (g.reshape(w.shape) - w).abs()
    worst = off.flatten().argmax()
    return (
        f"{part} is off by up to {off.max().item():.4g}: {g.flatten()[worst].item():.4g} in place of "
        f"{w.flatten()[worst].item():.4g} (given {describe(case)})"
    )


def _apart(a: Any, b: Any) -> float:
    pairs = zip(a, b, strict=True) if isinstance(a, tuple) else [(a, b)]
    return max((x - y).abs().max().item() if x.shape == y.shape else float("inf") for x, y in pairs)


def _tensor(value: Any, name: str) -> Tensor:
    if isinstance(value, list) and any(isinstance(v, Tensor) and v.ndim for v in value):
        raise Mistake(f"{name} must be a number or a tensor, got a list of tensors: torch.stack makes one of them")
    try:
        tensor = torch.as_tensor(np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value)
        if tensor.is_complex():
            raise TypeError
        return tensor.detach().cpu().double()
    except (TypeError, ValueError, RuntimeError):
        raise Mistake(f"{name} must be a number or a tensor, got {type(value).__name__}") from None


def _outcome(function: Callable, answer: Callable, case: Case, parts: Sequence[str]) -> Any:
    try:
        return tidy(function(answer, case), parts)
    except Unwritten:
        raise
    except Mistake as mistake:
        return mistake


def _imitate(known: Known, case: Case, parts: Sequence[str]) -> Any:
    """What the mistake gives on a case; an error is an outcome too."""
    try:
        return tidy(known.wrong(**case), parts)
    except Exception as error:
        return Mistake(str(error))


def _agree(a: Any, b: Any) -> bool:
    return isinstance(a, Mistake) == isinstance(b, Mistake) and (isinstance(a, Mistake) or close(a, b))
