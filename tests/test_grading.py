"""Grading what nobody has read: honest answers get their points, and no trick gets any."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from ldm_edu.check import nb01
from ldm_edu.check.calls import Mistake
from ldm_edu.cli import main
from ldm_edu.grading import wire
from ldm_edu.grading.autograde import mark_cells
from ldm_edu.grading.grade import grade, grade_cells
from ldm_edu.grading.notebook import Cell, checks_for, is_untouched, read_cells
from ldm_edu.grading.remote import Ended, Failed, Limits, Student
from ldm_edu.grading.table import check_text, progress_text, report_text
from ldm_edu.schedule import linear

ROOT = Path(__file__).parents[1]
SOLUTIONS = sorted((ROOT / "solutions").glob("[0-9][0-9]_*.ipynb"))
each_solution = pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
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


@pytest.mark.slow
@each_solution
def test_a_solution_gets_full_points_and_the_stub_none(path):
    report = grade(path)
    assert [(mark.exercise, mark.said) for mark in report.marks if mark.points < mark.of] == []
    assert report.points == report.of > 0
    stub = grade(ROOT / "exercises" / path.name)
    assert [(mark.points, mark.said) for mark in stub.marks] == [(0, "not written yet")] * len(report.marks)
    assert stub.of == report.of


TRICKS = {
    "prints a score": (WRONG + "print('jump: right, 3 points')", r"x_t is off by"),
    "changes the checker": (
        WRONG + "check.jump = lambda *answers: 'right'",
        r"changes the checker \(jump\); no points",
    ),
    "sets an attribute": (WRONG + "setattr(check, 'compare', None)", r"changes the checker \(compare\); no points"),
    "takes the checker's name": (WRONG + "check = print", r"gives the checker's name check to something else"),
    "puts in a checker": (
        "import sys, types\nsys.modules['ldm_edu.check.nb01'] = types.ModuleType('x')\n" + JUMP,
        r"puts another module in the checker's place",
    ),
    "changes the comparison": (
        "torch.testing.assert_close = lambda *a, **k: None\n" + JUMP,
        r"changes torch\.testing\.assert_close",
    ),
    "changes allclose": ("torch.allclose = lambda *a, **k: True\n" + JUMP, r"changes torch\.allclose"),
    "leaves": (WRONG + "import sys\nsys.exit(0)", r"x_t is off by|SystemExit"),
    "leaves early": ("import sys\nsys.exit(0)\n" + JUMP, r"cell 2 stopped with SystemExit: 0"),
    "leaves at once": ("import os\nos._exit(0)\n" + JUMP, r"cell 2: it ended its process \(exit code 0\)"),
    "leaves when called": (
        "def jump(**case):\n    import os\n    os._exit(0)",
        r"it ended its process \(exit code 0\)",
    ),
    "exits when called": ("def jump(**case):\n    raise SystemExit", r"stopped with SystemExit"),
    "crashes": ("import os\nos.abort()", r"it ended its process \(signal 6\)"),
    "loops": ("while True:\n    pass", r"cell 2: a cell took longer than 2 s"),
    "loops when called": ("def jump(**case):\n    while True:\n        pass", r"jump took longer than 2 s"),
    "catches all and loops": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        r"cell 2: a cell took longer",
    ),
    "fills the memory": ("hoard = [bytearray(2**28) for _ in range(40)]", r"stopped with MemoryError"),
    "asks for a large tensor": (
        "def jump(**case):\n    return torch.zeros(2**33)",
        r"stopped with RuntimeError: .*memory",
    ),
    "answers too much": ("def jump(**case):\n    return torch.zeros(2**24)", r"is too large: at most 64 MiB"),
    "goes too deep": ("def jump(**case):\n    return jump(**case)", r"RecursionError"),
    "reads the solution": (
        f"text = open({str(SOLUTIONS[0])!r}).read()\n" + JUMP,
        r"opens 01_\w+\.ipynb, where answers are",
    ),
    "reads it by a link": (
        f"import os\nos.symlink({str(SOLUTIONS[0])!r}, 'mine')\n" + JUMP,
        r"opens 01_\w+\.ipynb, where answers are",
    ),
    "reads the check": (
        "import importlib.util as u, pathlib\nhere = pathlib.Path(u.find_spec('ldm_edu').origin).parent\n"
        "(here / 'check' / 'nb01' / 'ex1_jump.py').read_text()",
        r"opens ex1_jump\.py, where answers are",
    ),
    "imports the reference": (
        "from ldm_edu.check.nb01.ex1_jump import _jump as jump",
        r"returns None|not defined|stopped",
    ),
    "imports it anew": (
        "import sys\nfor name in [name for name in sys.modules if name.startswith('ldm_edu.check')]:\n"
        "    del sys.modules[name]\n"
        "from ldm_edu.check.nb01.ex1_jump import _jump as jump",
        r"where answers are",
    ),
    "uses the package": (
        "from ldm_edu import forward, schedule\n"
        "def jump(x_0, t, eps, beta):\n    return forward.q_sample(x_0, t, eps, schedule.from_betas(beta[1:]))",
        r"calls the package \(forward\.py: q_sample\)",
    ),
    "stops the watch": (
        "import sys\nfrom ldm_edu import forward, schedule\ndef jump(x_0, t, eps, beta):\n    sys.setprofile(None)\n"
        "    return forward.q_sample(x_0, t, eps, schedule.from_betas(beta[1:]))",
        r"turns off the watch",
    ),
    "starts a program": ("import subprocess\nsubprocess.run(['cat', '/etc/hostname'])", r"must not start programs"),
    "forks": ("import os\nos.fork()", r"must not start programs"),
    "goes to the network": (
        "import socket\nsocket.create_connection(('127.0.0.1', 9))",
        r"must not use socket\.connect",
    ),
    "loads a C library": ("import ctypes\nctypes.CDLL(None)", r"must not use ctypes\.dlopen"),
    "writes to our pipe": (
        "import os\nfor fd in range(3, 12):\n    try:\n        os.write(fd, b'x' * 99)\n    except OSError: pass",
        r"sent something that is no message",
    ),
    "answers for the grader": (
        "import gc\nworker = next(o for o in gc.get_objects() if type(o).__name__ == 'Student')\n"
        "worker.answer = lambda message: {'value': 'right', 'after': {}}",
        r"stopped with TypeError|sent something|cannot be judged",
    ),
    "returns what equals all": (
        "class Same(float):\n    __eq__ = lambda a, b: True\ndef jump(**case):\n    return Same(0)",
        r"x_t has shape \(\)",
    ),
    "returns an object": ("def jump(**case):\n    return object()", r"a value of type object does not travel"),
    "is no function": ("jump = 3", r"jump is no function"),
    "does not compile": ("def jump(:\n    pass", r"cell 2 stopped with SyntaxError: .* \(line 1\)"),
    "is not there": ("pass", r"jump is not defined"),
}


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="some limits are Linux's")
@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_gets_no_points_is_told_and_costs_no_other_exercise(trick):
    source, message = TRICKS[trick]
    found = marks(source, limits=SHORT if "loops" in trick else QUICK)
    assert found["jump"].points == 0
    assert re.search(message, found["jump"].said), found["jump"].said
    assert found["jump"].hint == nb01.jump.hints[0]
    assert found["to_exploding"].points == 2, found["to_exploding"].said


@pytest.mark.slow
def test_ordinary_cells_run_magics_plots_and_check_calls_too():
    noise = (
        "%matplotlib inline\n!ls\nfrom matplotlib import pyplot as plt\nplt.plot([1, 2])\nplt.show()\n"
        "display(check.jump.hint(1))\nprint(check.jump)\nif False:\n    %pip install x\n"
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 0\n"
    )
    found = marks(noise, JUMP)
    assert [found[name].points for name in ("jump", "to_exploding")] == [3, 2]
    assert found["jump"].seconds < 2


@pytest.mark.slow
def test_an_exercise_is_judged_where_its_check_stands():
    helper = "def shape(t, x):\n    return t.view(-1, *[1] * (x.ndim - 1))\n"
    answer = JUMP.replace(
        "(1 - beta).cumprod(0)[t].view(-1, *[1] * (x_0.ndim - 1))", "shape((1 - beta).cumprod(0)[t], x_0)"
    )
    cells = [SETUP, Cell(helper + answer, ""), Cell("check.jump(jump)", "check-jump"), Cell("shape = None", "")]
    report = grade_cells("01_x", cells, nb01, QUICK)
    assert report.marks[0].points == 3
    assert report.marks[1].said == "even_snr is not defined"


@pytest.mark.slow
def test_a_notebooks_time_runs_out():
    slow = Cell("import time\ntime.sleep(2)", "")
    report = grade_cells(
        "01_x", [SETUP, slow, Cell(JUMP, ""), Cell("", "check-jump")], nb01, Limits(notebook_seconds=1)
    )
    assert report.marks[0].points == 0
    assert report.notes == ("stopped at cell 3: 1 s are up",)
    assert "time was up" in report.marks[0].said


@pytest.mark.slow
def test_functions_travel_both_ways_and_changed_arguments_come_back():
    with Student(QUICK) as student:
        student.run("def twice(f, x, many, plan):\n    x += 1\n    return lambda y: [f(f(y)), many, plan.T]", 1)
        twice = student.get("twice")
        x = torch.zeros(2, dtype=torch.float32)
        inner = twice(f=lambda v: v * 3, x=x, many={"a": (1, None, "é", True, 2.5)}, plan=linear(7))
        assert x.tolist() == [1, 1]  # changed there, as it would have been here
        student.run("def apply(f, y):\n    return f(y) + 1", 2)
        assert student.get("apply")(f=lambda v: v * 3, y=torch.ones(2, 2)).tolist() == [[4, 4], [4, 4]]
        student.run("def broken(f):\n    return f(1)", 3)
        with pytest.raises(Mistake, match="ValueError: no"):
            student.get("broken")(f=_refuse)
        with pytest.raises(Failed, match="NameError: nothing is not defined"):
            student.get("nothing")
        assert callable(inner)
    with pytest.raises(Ended):
        student.run("1", 4)


def _refuse(value):
    raise ValueError("no")


VALUES = [
    None, True, 3, -2.5, float("inf"), "ε", [1, [2.0]], (1, "a"), {"k": (None,)}, torch.zeros(0, 3), torch.tensor(7),
    torch.randn(2, 3, dtype=torch.float64), torch.tensor([True, False]), torch.ones(3, dtype=torch.bfloat16),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_values_come_back_as_they_went(value):
    back = wire.decode(json.loads(json.dumps(wire.encode(value, []))), None)
    if isinstance(value, torch.Tensor):
        assert back.dtype == value.dtype
        assert torch.equal(back, value)
    else:
        assert back == value
        assert type(back) is type(value)


GARBLED = [
    [], {}, {"object": 1}, {"tensor": "object", "shape": [1], "data": ""},
    {"tensor": "uint8", "shape": [9**9], "data": ""},
    {"tensor": "float32", "shape": [-1], "data": ""}, {"tensor": "int64", "shape": [1], "data": "AAAA"},
    {"function": "x"},
    {"list": 3}, {"dict": []}, {"schedule": [{"list": []}]}, {"tensor": "float32", "data": ""},
]  # fmt: skip


@pytest.mark.parametrize("data", GARBLED, ids=str)
def test_what_is_no_value_is_refused(data):
    with pytest.raises(wire.Garbled):
        wire.decode(data, lambda number: None)


def test_kinds_that_do_not_travel():
    for value in (object(), torch.zeros(2, dtype=torch.complex64), {1: 2}, {3}):
        with pytest.raises(ValueError, match="does not travel"):
            wire.encode(value, [])


def test_files_that_are_no_notebooks(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        read_cells(tmp_path / "01_x.ipynb")
    for text in ("", "[]", '{"cells": [{}]}', '{"cells": [{"cell_type": "code", "source": 3}]}', "\x00" * 9):
        (tmp_path / "01_x.ipynb").write_text(text)
        with pytest.raises(ValueError, match=r"01_x\.ipynb: no Jupyter notebook"):
            read_cells(tmp_path / "01_x.ipynb")
    with pytest.raises(ValueError, match="number that the name begins with"):
        checks_for("x.ipynb")
    with pytest.raises(ValueError, match="no exercises of number 99"):
        checks_for("99_x.ipynb")


def test_progress_needs_no_process_where_nothing_is_written():
    text = progress_text(ROOT / "exercises")
    assert text.count("not started") == len(SOLUTIONS)
    assert "Next: The jump, with a time for each example (01_forward_process), about 10 minutes" in text
    with pytest.raises(ValueError, match="holds no notebooks like"):
        progress_text(ROOT / "tests")


@pytest.mark.slow
def test_progress_and_table_of_a_notebook_begun(tmp_path):
    notebook = json.loads((ROOT / "exercises" / SOLUTIONS[0].name).read_text("utf-8"))
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == "answer-jump":
            cell["source"] = JUMP
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == "answer-to_exploding":
            cell["source"] = GOOD.replace("math.sqrt(alpha_bar_t), ", "alpha_bar_t, ")
    path = tmp_path / SOLUTIONS[0].name
    path.write_text(json.dumps(notebook))
    assert not is_untouched(read_cells(path))
    text = check_text([path])
    assert text.startswith("01_forward_process: 3 of 16 points\n  3/3  The jump, with a time for each example (jump)\n")
    assert "  0/2  From variance preserving to variance exploding (to_exploding)\n       At ᾱ_t = 0.3 you" in text
    assert f"       Hint: {nb01.to_exploding.hints[0]}" in text
    text = progress_text(tmp_path)
    assert "3 of 16 points   1 of 6 exercises" in text
    assert "Next: A schedule with even steps in log SNR" in text
    marks = json.loads(check_text([path], as_json=True))["notebooks"][0]
    assert (marks["notebook"], marks["points"], marks["of"]) == ("01_forward_process", 3, 16)
    assert marks["marks"][0]["exercise"] == "jump"
    assert marks["marks"][0]["said"] == ""


def test_the_commands_say_what_is_wrong_in_one_line(tmp_path, capsys):
    assert main(["progress", str(ROOT / "exercises")]) == 0
    assert capsys.readouterr().out == progress_text(ROOT / "exercises")
    assert main(["check", str(tmp_path / "01_x.ipynb")]) == 2
    assert re.fullmatch(r"ldm-edu: \S+01_x\.ipynb: No such file or directory\n", capsys.readouterr().err)
    assert main(["progress", str(tmp_path)]) == 2
    assert "give the folder of your exercises" in capsys.readouterr().err


def test_a_note_about_the_grading_is_shown():
    from ldm_edu.grading.grade import Report

    assert "  note: no memory limit" in report_text(Report("x", (), ("no memory limit here",)))


@pytest.mark.slow
def test_nbgrader_finds_the_marks_where_it_looks_for_them():
    import nbformat

    notebook = nbformat.v4.new_notebook()
    graded = {"grade": True, "solution": False, "locked": True, "schema_version": 3, "task": False}
    for source, grade_id, points in [
        (JUMP, "", 0),
        ("", "check-jump", 3),
        ("", "check-even_snr", 3),
        ("", "check-x", 1),
    ]:
        cell = nbformat.v4.new_code_cell(source)
        if grade_id:
            cell.metadata["nbgrader"] = {**graded, "grade_id": grade_id, "points": points}
        notebook.cells.append(cell)
    notebook.cells[0].source = SETUP.source + JUMP
    notebook.cells.append(nbformat.from_dict(notebook.cells[1]))  # a second check of the same exercise
    notebook.cells.append(
        nbformat.v4.new_code_cell("", metadata={"nbgrader": {**graded, "grade_id": "check-jump", "points": 9}})
    )
    notebook, _ = mark_cells(notebook, {"nbgrader": {"notebook": "01_forward_process"}})
    kinds = [[(o.output_type, o.get("text", o.get("evalue"))) for o in cell.outputs] for cell in notebook.cells]
    assert kinds[0] == []
    assert kinds[1] == [("stream", "right, 3 points\n")]
    assert kinds[2] == [("error", "even_snr is not defined\nHint: " + nb01.even_snr.hints[0])]
    assert kinds[3] == [("error", "no exercise of the course belongs to this cell")]
    assert [kind for kind, _ in kinds[4] + kinds[5]] == ["error", "error"]
