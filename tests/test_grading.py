"""Grading: honest answers get their points, where they are judged, and what is told of them."""

import json
import re
from pathlib import Path

import pytest
import torch
from sheets import GOOD, JUMP, QUICK, SETUP, marks

from ldm_edu.check import nb01
from ldm_edu.check.calls import Stopped
from ldm_edu.cli import main
from ldm_edu.grading.autograde import mark_cells
from ldm_edu.grading.grade import grade, grade_cells
from ldm_edu.grading.notebook import Cell, checks_for, is_untouched, read_cells
from ldm_edu.grading.remote import Ended, Failed, Limits, Student
from ldm_edu.grading.table import check_text, matching, progress_text, report_text
from ldm_edu.schedule import linear

ROOT = Path(__file__).parents[1]
SOLUTIONS = sorted((ROOT / "solutions").glob("[0-9][0-9]_*.ipynb"))
each_solution = pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)


@pytest.mark.slow
@each_solution
def test_a_solution_gets_full_points_and_the_stub_none(path):
    report = grade(path)
    assert [(mark.exercise, mark.said) for mark in report.marks if mark.points < mark.of] == []
    assert report.points == report.of > 0
    stub = grade(ROOT / "exercises" / path.name)
    assert [(mark.points, mark.said) for mark in stub.marks] == [(0, "not written yet")] * len(report.marks)
    assert stub.of == report.of


@pytest.mark.slow
def test_ordinary_cells_run_magics_plots_and_check_calls_too():
    noise = (
        "%matplotlib inline\n!ls\nfrom matplotlib import pyplot as plt\nplt.plot([1, 2])\nplt.show()\n"
        "display(check.jump.hint(1))\nprint(check.jump)\nif False:\n    %pip install x\n"
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 0\n"
    )
    wrapped = "print('x = %d'\n      % 3)\n"  # no magic, though its second line begins like one
    found = marks(noise, wrapped + JUMP)
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
    assert re.fullmatch(r"stopped at cell [23]: 1 s are up", report.notes[0])
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
        student.run("def spoil(ts):\n    ts.pop()\n    return 0", 4)
        ts = [3, 2, 1]
        student.get("spoil")(ts=ts)
        assert ts == [3, 2]
        student.run("def broken(f):\n    return f(1)", 3)
        with pytest.raises(Stopped, match="ValueError: no"):
            student.get("broken")(f=_refuse)
        with pytest.raises(Failed, match="NameError: nothing is not defined"):
            student.get("nothing")
        assert callable(inner)
    with pytest.raises(Ended):
        student.run("1", 4)


def _refuse(value):
    raise ValueError("no")


def test_files_that_are_no_notebooks(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        read_cells(tmp_path / "01_x.ipynb")
    for text in ("", "[]", '{"cells": [{}]}', '{"cells": [{"cell_type": "code", "source": 3}]}', "\x00" * 9):
        (tmp_path / "01_x.ipynb").write_text(text, "utf-8")
        with pytest.raises(ValueError, match=r"01_x\.ipynb: no Jupyter notebook"):
            read_cells(tmp_path / "01_x.ipynb")
    with pytest.raises(ValueError, match="number that the name begins with"):
        checks_for("x.ipynb")
    with pytest.raises(ValueError, match="no exercises of number 99"):
        checks_for("99_x.ipynb")


def test_a_pattern_that_the_shell_left_is_taken_as_its_files(tmp_path, capsys):
    for name in ("03_b.ipynb", "03_a.ipynb", "04_c.ipynb", "03_[1].ipynb"):
        (tmp_path / name).touch()
    assert [p.name for p in matching(tmp_path / "03_?.ipynb")] == ["03_a.ipynb", "03_b.ipynb"]
    assert matching(tmp_path / "03_[1].ipynb") == [tmp_path / "03_[1].ipynb"]
    assert matching(tmp_path / "absent.ipynb") == [tmp_path / "absent.ipynb"]
    assert main(["check", str(tmp_path / "03_*.ipynb")]) == 2
    err = capsys.readouterr().err
    assert all(f"{name}: no Jupyter notebook" in err for name in ("03_a.ipynb", "03_b.ipynb", "03_[1].ipynb"))
    assert main(["check", str(tmp_path / "09_*.ipynb")]) == 2
    err = capsys.readouterr().err
    assert err == f"ldm-edu: {tmp_path / '09_*.ipynb'}: no file matches this pattern; look at the folder and the name\n"


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
    path.write_text(json.dumps(notebook), "utf-8")
    assert not is_untouched(read_cells(path))
    text, failed = check_text([path])
    assert failed == ""
    assert text.startswith("01_forward_process: 3 of 16 points\n  3/3  The jump, with a time for each example (jump)\n")
    assert "  0/2  From variance preserving to variance exploding (to_exploding)\n       At ᾱ_t = 0.3 you" in text
    assert f"       Hint: {nb01.to_exploding.hints[0]}" in text
    text = progress_text(tmp_path)
    assert "3 of 16 points   1 of 6 exercises" in text
    assert "Next: A schedule with even steps in log SNR" in text
    marks = json.loads(check_text([path], as_json=True)[0])["notebooks"][0]
    assert (marks["notebook"], marks["points"], marks["of"]) == ("01_forward_process", 3, 16)
    assert marks["marks"][0]["exercise"] == "jump"
    assert marks["marks"][0]["said"] == ""


@pytest.mark.slow
def test_a_class_is_told_apart_and_one_broken_file_costs_the_others_nothing(tmp_path, capsys):
    name = SOLUTIONS[0].name
    for who in ("a", "b", "c"):
        (tmp_path / who).mkdir()
        (tmp_path / who / name).write_bytes((ROOT / "exercises" / name).read_bytes())
    (tmp_path / "b" / name).write_text("{")
    paths = [str(tmp_path / who / name) for who in ("a", "b", "c")]
    assert main(["check", "--json", *paths]) == 2
    out, err = capsys.readouterr()
    assert [row["notebook"] for row in json.loads(out)["notebooks"]] == [paths[0], paths[2]]
    assert re.fullmatch(rf"ldm-edu: not graded: {re.escape(paths[1])}: no Jupyter notebook .*\n", err)


@pytest.mark.parametrize(
    ("source", "untouched"),
    [
        ("def jump(x_0):\n    # YOUR CODE HERE\n    raise NotImplementedError()\n", True),
        ("def jump(x_0):\n    half = x_0 / 2\n    raise NotImplementedError()\n", True),
        ("def jump(x_0):\n    # raise NotImplementedError()\n    return x_0\n", False),
        ("def jump(x_0):\n    return x_0\n    raise NotImplementedError()\n", False),
        ("def jump(x_0:\n    raise NotImplementedError()\n", False),
    ],
)
def test_a_stub_is_told_from_an_answer(source, untouched):
    assert is_untouched([Cell(source, "answer-jump")]) == untouched


def test_a_process_that_does_not_start_costs_no_points(monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(ValueError, match=r"did not start \(it ended its process \(exit code 1\)\); nothing was graded"):
        marks(JUMP)


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
        ("", "check-to_exploding", 5),  # a lecturer gave it other points than we do
        ("", "check-x", 1),
    ]:
        cell = nbformat.v4.new_code_cell(source)
        if grade_id:
            cell.metadata["nbgrader"] = {**graded, "grade_id": grade_id, "points": points}
        notebook.cells.append(cell)
    notebook.cells[0].source = SETUP.source + JUMP + GOOD
    notebook.cells.append(nbformat.from_dict(notebook.cells[1]))  # a second check of the same exercise
    notebook.cells.append(
        nbformat.v4.new_code_cell("", metadata={"nbgrader": {**graded, "grade_id": "check-jump", "points": 9}})
    )
    notebook, _ = mark_cells(notebook, {"nbgrader": {"notebook": "01_forward_process"}})
    kinds = [[(o.output_type, o.get("text", o.get("evalue"))) for o in cell.outputs] for cell in notebook.cells]
    assert kinds[0] == []
    assert kinds[1] == [("stream", "right, 3 points\n")]
    assert kinds[2] == [("error", "even_snr is not defined\nHint: " + nb01.even_snr.hints[0])]
    assert kinds[3] == [("stream", "right, 2 points\n")]
    assert kinds[4] == [("error", "no exercise of the course belongs to this cell")]
    assert [kind for kind, _ in kinds[5] + kinds[6]] == ["error", "error"]
