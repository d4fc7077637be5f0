"""Every check: right answers pass, however they are written; wrong ones fail with their own sentence; cheats fail."""

import inspect
import math
import time
from importlib import import_module
from itertools import chain

import numpy as np
import pytest
import torch
from answers.all import ANSWERS

from ldm_edu.check.calls import Mistake, Unwritten, Watched, attempt
from ldm_edu.check.calls import number as as_number
from ldm_edu.check.compare import Known, compare
from ldm_edu.check.exercise import exercises

MODULES = {number: import_module(f"ldm_edu.check.nb{number}") for number in ANSWERS}
EXERCISES = [pytest.param(n, e, id=f"{n}-{e.name}") for n, m in MODULES.items() for e in exercises(m).values()]
each_exercise = pytest.mark.parametrize(("number", "exercise"), EXERCISES)


def as_tuple(answer):
    return answer if isinstance(answer, tuple) else (answer,)


def answers(which):
    """(exercise, answers, what must be said) for every answer in tests/answers."""
    for number, module in MODULES.items():
        for name, exercise in exercises(module).items():
            if which == "right":
                for k, answer in enumerate(ANSWERS[number][name].right):
                    yield pytest.param(exercise, as_tuple(answer), id=f"{number}-{name}-{k}")
            else:
                for say, answer in ANSWERS[number][name].wrong:
                    yield pytest.param(exercise, as_tuple(answer), say, id=f"{number}-{name}-{say}")


def said(exercise, *answer):
    with pytest.raises(Mistake) as caught:
        exercise(*answer)
    return str(caught.value)


@pytest.mark.parametrize(("exercise", "answer"), list(answers("right")))
def test_a_right_answer_passes_however_it_is_written(exercise, answer):
    assert exercise(*answer) == f"{exercise.name}: right, {exercise.points} points"


@pytest.mark.parametrize(("exercise", "answer", "say"), list(answers("wrong")))
def test_a_wrong_answer_gets_its_own_sentence(exercise, answer, say):
    message = said(exercise, *answer)
    assert say in message
    number = next(n for n, m in MODULES.items() if exercises(m).get(exercise.name) is exercise)
    others = [other for other, _ in ANSWERS[number][exercise.name].wrong if other != say]
    assert not [other for other in others if other in message]


@each_exercise
def test_every_exercise_has_answers_enough(number, exercise):
    given = ANSWERS[number][exercise.name]
    assert len(given.right) >= 2
    assert len(given.wrong) >= 5
    assert len({say for say, _ in given.wrong}) == len(given.wrong)


@each_exercise
def test_a_sentence_that_measures_has_a_number(number, exercise):
    for _, answer in ANSWERS[number][exercise.name].wrong:
        message = said(exercise, *as_tuple(answer)).partition("\nFor help")[0]
        assert any(c.isdigit() for c in message) or "None" in message or "the order is" in message, message


def constants(exercise):
    """Answers that compute nothing: a number, an argument, an object that is equal to everything."""

    class Same(float):
        def __eq__(self, other):
            return True

        __hash__ = float.__hash__

    for value in (0, 1, -1, 0.5, 1.0, float("nan"), float("inf"), True, "1", [], (0, 0), (0, 0, 0), Same(0), object()):
        yield lambda value=value, **case: value
    for value in (torch.zeros(()), torch.zeros(1), torch.ones(3, 4), torch.full((2, 3), float("nan"))):
        yield lambda value=value, **case: value
        yield lambda value=value, **case: (value, value)
    for k in range(5):
        yield lambda k=k, **case: list(case.values())[k % max(1, len(case))] if case else 0
        yield lambda k=k, **case: torch.zeros_like([v for v in case.values() if isinstance(v, torch.Tensor)][k])


@each_exercise
def test_no_constant_and_no_argument_passes(number, exercise):
    right = as_tuple(ANSWERS[number][exercise.name].right[0])
    for answer in constants(exercise):
        for place in range(len(right)):
            tried = [answer if i == place else r for i, r in enumerate(right)]
            if place == 0 and exercise.name == "training_loss":
                continue  # its first answer is a number, which any constant may happen to be; the second is not
            said(exercise, *tried)
        said(exercise, *[answer] * len(right))


def own_functions(exercise):
    """The functions of ours that stand in the check: the reference is among them."""
    module = inspect.getmodule(exercise.trial)
    return [f for f in vars(module).values() if inspect.isfunction(f) and f.__module__ == module.__name__]


@each_exercise
def test_the_checks_own_functions_do_not_pass(number, exercise):
    right = as_tuple(ANSWERS[number][exercise.name].right[0])
    tried = 0
    for function in own_functions(exercise):
        for wrapped in (function, lambda f=function, **case: f(**case)):
            for place in range(len(right)):
                message = said(exercise, *[wrapped if i == place else r for i, r in enumerate(right)])
                tried += "calls the package" in message
    if compare in vars(inspect.getmodule(exercise.trial)).values():  # the others have no function that is the answer
        assert tried, "the reference was not among what was tried"


@each_exercise
def test_a_check_answers_within_two_seconds(number, exercise):
    given = ANSWERS[number][exercise.name]
    for answer in chain(given.right[:1], (a for _, a in given.wrong[:3])):
        start = time.process_time()
        try:
            exercise(*as_tuple(answer))
        except Mistake:
            pass
        assert time.process_time() - start < 2


@each_exercise
def test_the_stub_is_not_written_yet(number, exercise):
    def stub(**case):
        raise NotImplementedError

    assert said(exercise, *[stub] * len(exercise.answers)).startswith("not written yet")


@each_exercise
def test_an_error_is_told_with_what_was_given(number, exercise):
    def broken(**case):
        return [][3]

    assert "stopped with IndexError: list index out of range" in said(exercise, *[broken] * len(exercise.answers))


@each_exercise
def test_what_is_no_function_is_told(number, exercise):
    assert f"{exercise.name} is no function, but 3" in said(exercise, *[print] * (len(exercise.answers) - 1), 3)


@each_exercise
def test_hints_come_in_steps_and_then_end(number, exercise):
    assert len(exercise.hints) >= 2
    for step in range(1, len(exercise.hints)):
        assert exercise.hint(step).endswith(f"(hint({step + 1}) says more)")
    assert repr(exercise.hint(len(exercise.hints))) == exercise.hints[-1]
    for step in (0, len(exercise.hints) + 1, "1"):
        with pytest.raises(ValueError, match=f"hints 1 to {len(exercise.hints)}"):
            exercise.hint(step)


@each_exercise
def test_an_exercise_is_found_by_its_name(number, exercise):
    assert getattr(MODULES[number], exercise.name) is exercise
    with pytest.raises(ValueError, match="takes"):
        exercise()


def test_each_notebook_has_four_to_eight_exercises_of_all_three_kinds():
    for module in MODULES.values():
        tasks = exercises(module).values()
        assert 4 <= len(tasks) <= 8
        assert {task.kind for task in tasks} == {"derive", "implement", "find the mistake"}
        names = [answer for task in tasks for answer in task.answers]
        assert len(set(names)) == len(names)  # a later answer must not take the place of an earlier one


def test_jupyter_shows_the_sentence_alone():
    assert Mistake("one\ntwo")._render_traceback_() == ["one", "two"]


def test_package_functions_are_seen_and_allowed_ones_are_not():
    from ldm_edu import forward, schedule

    table = schedule.linear(10)
    x = torch.randn(2, 3)
    assert Watched(lambda: schedule.cosine(5).T, ("schedule.py",))() == 5
    with pytest.raises(Mistake, match=r"forward\.py: q_sample"):
        Watched(lambda: forward.q_sample(x, 3, x, table), ("schedule.py",))()
    with pytest.raises(Mistake, match=r"schedule\.py: cosine"):
        Watched(lambda: schedule.cosine(5), ())()


def test_an_unknown_mistake_is_told_by_its_size():
    case = {"x": torch.ones(2, 3)}
    with pytest.raises(Mistake, match=r"y is off by up to 2: 3 in place of 1 \(given x float32 of shape \(2, 3\)\)"):
        compare(lambda x: 3 * x, lambda x: x, [case], parts=("y",))
    with pytest.raises(Mistake, match=r"y has shape \(3,\), expected \(2, 3\)"):
        compare(lambda x: x[0], lambda x: x, [case], parts=("y",))
    with pytest.raises(Mistake, match="not finite"):
        compare(lambda x: x / 0, lambda x: x, [case], parts=("y",))
    with pytest.raises(Mistake, match="must be a number or a tensor, got str"):
        compare(lambda x: "x", lambda x: x, [case], parts=("y",))
    with pytest.raises(Mistake, match=r"got a list of tensors: torch\.stack makes one"):
        compare(lambda x: list(x), lambda x: x, [case], parts=("y",))
    with pytest.raises(Unwritten):
        compare(_unwritten, lambda x: x, [case], parts=("y",))


def test_a_list_that_is_changed_is_told_whatever_it_holds_then():
    def spoil(ts):
        ts[0] = torch.zeros(2)
        return 0

    with pytest.raises(Mistake, match=r"changes its argument ts, a list, from \[3, 1\] to \[tensor"):
        attempt(spoil, {"ts": [3, 1]})


def test_numbers_of_numpy_are_numbers_and_other_objects_are_told():
    assert as_number(np.float32(2), "x") == as_number(np.full((1, 1), 2), "x") == 2
    for answer in (np.zeros(2), np.array([None]), np.array([None, None])):
        with pytest.raises(Mistake, match="x must be a finite number"):
            as_number(answer, "x")


def test_an_answer_that_draws_by_itself_is_told_so():
    case = {"x": torch.ones(2, 3)}
    with pytest.raises(Mistake, match=r"answers differently \(\d\S* apart\): it draws by itself"):
        compare(lambda x: x + torch.randn_like(x), lambda x: x, [case], parts=("y",))


def test_what_pytorch_cannot_do_to_a_type_is_no_stub():
    with pytest.raises(Mistake, match="stopped with NotImplementedError"):
        compare(_not_for_bytes, lambda x: x, [{"x": torch.tensor([1, 2])}], parts=("y",))


def _not_for_bytes(x):
    raise NotImplementedError("'mean_cpu' not implemented for 'Byte'")


def _unwritten(x):
    raise NotImplementedError


def test_a_known_mistake_that_fits_every_case_comes_before_one_that_fits_the_first():
    cases = [{"x": torch.tensor(2.0)}, {"x": torch.tensor(3.0)}]
    first = Known(lambda x: x * 2, "doubled: {got:.1f}")
    second = Known(lambda x: x**2, "squared: {got:.1f} for {want:.1f}")
    with pytest.raises(Mistake, match=r"squared: 4\.0 for 2\.0"):
        compare(lambda x: x * x, lambda x: x, cases, [first, second])
    with pytest.raises(Mistake, match=r"doubled: 4\.0"):
        compare(lambda x: x + x, lambda x: x, cases, [second, first])


def test_an_array_that_runs_backwards_is_a_result_like_any_other():
    compare(lambda x: np.arange(3.0)[::-1], lambda x: torch.tensor([2.0, 1.0, 0.0]), [{"x": 0}])


def test_a_mistake_that_divides_by_zero_is_recognised():
    known = [Known(lambda x: x / 0, "you divide by zero")]
    with pytest.raises(Mistake, match="you divide by zero"):
        compare(lambda x: x * math.nan, lambda x: x, [{"x": torch.zeros(2)}], known)
    with pytest.raises(Mistake, match="not finite"):
        compare(lambda x: x / 0, lambda x: x, [{"x": torch.ones(2)}])
