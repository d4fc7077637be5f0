"""The stored exercises: made from their sources, without outputs, and at home in nbgrader."""

import csv
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from ldm_edu.check.exercise import exercises
from ldm_edu.grading.notebook import checks_for

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("make", ROOT / "solutions" / "make.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

SOURCES = make.stored()
each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
STUB = "# YOUR CODE HERE\n    raise NotImplementedError()"


def read(path):
    return nbformat.read(path, as_version=4)


def grading(cell):
    return cell.metadata.get("nbgrader", {})


def test_every_source_has_its_exercise_and_every_exercise_its_source():
    assert SOURCES
    assert [p.name for p in sorted(make.RELEASE.glob("*.ipynb"))] == [p.name for p in SOURCES]
    notebooks = {p.name for p in (ROOT / "notebooks").glob("*.ipynb")}
    assert {p.name for p in SOURCES} <= notebooks


@each_source
def test_the_exercise_is_what_its_source_makes(source):
    text = nbformat.writes(make.to_exercise(source)) + "\n"
    assert (make.RELEASE / source.name).read_text("utf-8") == text, "run: make exercises"


@each_source
def test_a_source_is_what_its_script_makes(source, tmp_path):
    script = tmp_path / f"{source.stem}.py"
    make.to_script(source, script)
    assert make.to_source(script, tmp_path).read_text("utf-8") == source.read_text("utf-8")


@each_source
def test_nothing_is_stored_that_a_run_makes(source):
    for path in (source, make.RELEASE / source.name):
        for cell in read(path).cells:
            if cell.cell_type == "code":
                assert cell.outputs == []
                assert cell.execution_count is None


@each_source
def test_points_headings_and_checks_are_the_packages(source):
    tasks, notebook = exercises(checks_for(source)), read(source)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    marks = {grading(cell)["grade_id"]: cell for cell in notebook.cells if grading(cell)}
    assert len(marks) == sum(map(bool, map(grading, notebook.cells)))
    for number, (name, task) in enumerate(tasks.items(), 1):
        assert f"## {int(source.stem[:2])}.{number} {task.title}\n\n{task.label}\n\n" in text
        check = marks.pop(f"check-{name}")
        assert grading(check)["points"] == task.points
        assert check.source == f"check.{name}({', '.join(task.answers)})"
        answer = marks.pop(f"answer-{name}")
        for answered in task.answers:
            assert re.search(rf"^def {answered}\(", answer.source, re.MULTILINE)
        assert (f"written-{name}" in marks) == (task.kind == "derive") == bool(task.written)
        if task.written:
            assert grading(marks.pop(f"written-{name}"))["points"] == task.written
    assert marks == {}


@each_source
def test_every_check_cell_says_right_in_a_notebook(source):
    """As Jupyter runs them, one after the other in one namespace."""
    names, said = {"__name__": "__main__"}, []
    for cell in read(source).cells:
        if cell.cell_type == "code" and "setup" not in cell.metadata.get("tags", []):
            if grading(cell).get("grade_id", "").startswith("check-"):
                said.append(eval(cell.source, names))
            else:
                exec(cell.source, names)
        elif cell.cell_type == "code":
            exec(cell.source.splitlines()[-1], names)  # the import of the checks
    tasks = exercises(checks_for(source)).values()
    assert said == [f"{task.name}: right, {task.points} points" for task in tasks]


@each_source
def test_no_answer_is_left_in_an_exercise(source):
    text = (make.RELEASE / source.name).read_text("utf-8")
    assert "SOLUTION" not in text
    for cell in read(make.RELEASE / source.name).cells:
        if grading(cell).get("grade_id", "").startswith("answer-"):
            body = re.sub(r'"""[^"]*"""', "", cell.source)
            assert body.count(STUB) == body.count("def "), cell.source
            assert "return" not in body
        if grading(cell).get("grade_id", "").startswith("written-"):
            assert cell.source == "YOUR ANSWER HERE"


@each_source
def test_text_speaks_only_of_equations_that_exist(source):
    tags = set()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        tags |= {t for c in read(path).cells for t in re.findall(r"\\tag\{([^}]*)\}", c.source)}
    tasks = exercises(checks_for(source)).values()
    words = [c.source for c in read(source).cells] + [hint for task in tasks for hint in task.hints]
    assert set(re.findall(r"(?<![\w.])\((\d{1,2}\.\d{1,2})\)", "\n".join(words))) <= tags


def test_a_source_with_a_cell_missing_or_too_many_is_refused(tmp_path):
    script = tmp_path / f"{SOURCES[0].stem}.py"
    make.to_script(SOURCES[0], script)
    text = script.read_text("utf-8")
    script.write_text(text.replace("task:jump", "other"), "utf-8")
    with pytest.raises(ValueError, match="task cells for"):
        make.to_source(script, tmp_path)
    script.write_text(text.replace("answer:jump", "answer:hop"), "utf-8")
    with pytest.raises(ValueError, match="the tag answer:hop names no exercise"):
        make.to_source(script, tmp_path)


def nbgrader(folder, *words):
    """Run nbgrader in a course's folder."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # it calls alembic
    env = os.environ | {"OMP_NUM_THREADS": "1", "JUPYTER_PLATFORM_DIRS": "1", "HOME": str(folder), "PATH": programs}
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *words], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


def solved(source, **answers):
    """The learner's notebook with the source's answers, or others, filled in; written parts are answered."""
    notebook, right = (
        read(make.RELEASE / source.name),
        {grading(c).get("grade_id"): c.source for c in read(source).cells},
    )
    for cell in notebook.cells:
        name = grading(cell).get("grade_id", "")
        if name.startswith(("answer-", "written-")):
            cell.source = answers.get(name.partition("-")[2], right[name])
    return notebook


@pytest.mark.slow
def test_nbgrader_hands_out_and_grades_in_a_clean_folder(tmp_path):
    source = SOURCES[0]
    tasks = exercises(checks_for(source))
    (tmp_path / "solutions").mkdir()
    shutil.copy(source, tmp_path / "solutions")
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)

    nbgrader(tmp_path, "generate_assignment", source.stem, "--create")
    released = tmp_path / ".nbgrader" / "release" / source.stem / source.name
    assert released.read_text("utf-8") == (make.RELEASE / source.name).read_text("utf-8")

    cheat = "def jump(x_0, t, eps, beta):\n    return x_0\n\nimport sys\nsys.modules['ldm_edu.check.nb01'].jump = print"
    slip = "def jump(x_0, t, eps, beta):\n    b = (1 - beta).cumprod(0)[t][:, None]\n    return b * x_0 + (1 - b) * eps"
    tampered = solved(source, jump=slip)
    for cell in tampered.cells:
        if grading(cell).get("grade_id") == "check-jump":
            cell.source = "print('right')"  # nbgrader puts the source's cell back
    hand_ins = {
        "solver": solved(source),
        "beginner": read(make.RELEASE / source.name),
        "cheat": solved(source, jump=cheat),
        "tamperer": tampered,
    }
    for student, notebook in hand_ins.items():
        folder = tmp_path / ".nbgrader" / "submitted" / student / source.stem
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / source.name)
    nbgrader(tmp_path, "autograde", source.stem, "--create")
    nbgrader(tmp_path, "generate_feedback", source.stem)
    nbgrader(tmp_path, "export", "--to", "marks.csv")

    with open(tmp_path / "marks.csv", newline="", encoding="utf-8") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    auto, written = sum(t.points for t in tasks.values()), sum(t.written for t in tasks.values())
    assert {float(row["max_score"]) for row in rows.values()} == {auto + written}
    missing = tasks["jump"].points
    marks = {student: float(row["score"]) for student, row in rows.items()}
    assert marks == {"solver": auto, "beginner": 0, "cheat": auto - missing, "tamperer": auto - missing}

    graded = read(tmp_path / ".nbgrader" / "autograded" / "tamperer" / source.stem / source.name)
    output = next(c for c in graded.cells if grading(c).get("grade_id") == "check-jump").outputs[0]
    assert "are the square roots missing" in output.evalue
    assert tasks["jump"].hints[0] in output.evalue
    page = (tmp_path / ".nbgrader" / "feedback" / "cheat" / source.stem / f"{source.stem}.html").read_text("utf-8")
    assert "changes the checker" in page


def test_labels_hold_points_difficulty_and_minutes():
    task = exercises(checks_for("01_x.ipynb"))["end_gap"]
    assert task.label == "*Derive · 2 points, and 2 for the written part · ★★☆ · 20 minutes*"
