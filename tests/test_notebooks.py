"""The stored notebooks: one complete run, compared where it can be, with the parts every notebook has.

That the outputs agree with a new run, pictures too, is checked by nbval (see the Makefile and notebooks/conftest.py);
what nbval does not see is checked here.
"""

import importlib.util
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def load(name):
    """A module that lies beside the notebooks."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "notebooks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load("build")

NOTEBOOKS = build.stored()
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
FIGURE = re.compile(r"^<Figure size [\dx.]+ with \d+ Axes>$")


def read(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_exempt(cell):
    return build.EXEMPT in cell.metadata.get("tags", [])


def compared_text(cell):
    """What nbval compares and a reader can be wrong about: printed text and tables, not the name of a figure."""
    if is_exempt(cell):
        return ""
    return "\n".join(t for t in map(build.words, cell.outputs) if t.strip() and not FIGURE.match(t.strip()))


def nbval(path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    command += [f"--nbval-sanitize-with={ROOT / 'notebooks' / 'sanitize.cfg'}", f"--rootdir={path.parent}", str(path)]
    return subprocess.run(command, capture_output=True, text=True, cwd=path.parent)


@each_notebook
def test_stored_notebook_holds_one_complete_clean_run(path):
    assert build.complaints(read(path)) == []
    nbformat.validate(read(path))


@each_notebook
def test_more_cells_are_compared_than_exempt(path):
    cells = code(read(path))
    exempt = sum(map(is_exempt, cells))
    compared = sum(bool(compared_text(cell)) for cell in cells)
    assert compared > exempt, f"{compared} compared, {exempt} exempt"
    assert not any("NBVAL_" in cell.source or "nbval-skip" in cell.metadata.get("tags", []) for cell in cells)


@each_notebook
def test_head_and_set_up_are_made_from_the_repositorys_address(path):
    notebook = read(path)
    head = notebook.cells[0].source
    assert re.match(rf"# {path.stem[:2]} · .+\n\n.+\.", head), "the head is a title and one sentence"
    assert build.between(head, "badge") == build.badge(path.stem)
    setup = [cell for cell in notebook.cells if "setup" in cell.metadata.get("tags", [])]
    assert [cell.source for cell in setup] == [build.setup_source()]
    assert build.repository() in build.setup_source()


@each_notebook
def test_measured_cost_stands_in_the_head_and_is_within_three_minutes(path):
    rows = build.between(read(path).cells[0].source, "cost").splitlines()[2:]
    cpu = [re.match(r"\| CPU, \d+ thread \| (\d+) s \| (\d+\.\d) GiB \| – \|$", row) for row in rows]
    seconds = [int(row[1]) for row in cpu if row]
    assert len(seconds) == 1
    assert 0 < seconds[0] <= 180


@each_notebook
def test_links_to_files_lead_somewhere(path):
    words = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", words) if "://" not in link]
    assert [link for link in links if not (path.parent / link).exists()] == []


@each_notebook
def test_parts_every_notebook_has(path):
    words = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    headings = re.findall(r"^#+ (.+)$", words, re.MULTILINE)
    for part in ["Common mistakes", "Summary", "References"]:
        assert part in headings, f"no heading {part!r}"
    for part in ["**You will be able to**", "**You need**", "xercises"]:
        assert part in words, f"no {part!r}"


@each_notebook
def test_accelerate_is_told_the_device(path):
    """By itself it takes a Mac's GPU, where the notebooks take the CPU."""
    for cell in code(read(path)):
        assert re.search(r"Accelerator\((?!cpu=)", cell.source) is None


@each_notebook
def test_there_are_pictures_to_compare(path):
    assert any("image/png" in output.get("data", {}) for cell in code(read(path)) for output in cell.outputs)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS[:4], ids=lambda path: path.stem)  # each costs two kernels
def test_a_number_changed_by_hand_makes_nbval_fail(path, tmp_path):
    """The notebook up to its first printed number passes; with one digit of that number changed it fails."""
    notebook = read(path)
    last = next(
        i for i, c in enumerate(notebook.cells) if c.cell_type == "code" and re.search(r"\d\.\d", compared_text(c))
    )
    notebook.cells = notebook.cells[: last + 1]
    copy = tmp_path / path.name
    nbformat.write(notebook, copy)
    untouched = nbval(copy)
    assert untouched.returncode == 0, untouched.stdout[-3000:]

    def change(text):
        return re.sub(r"(\d\.\d*)(\d)", lambda m: m[1] + str((int(m[2]) + 1) % 10), text, count=1)

    for output in notebook.cells[last].outputs:
        if "text" in output:
            output.text = change(output.text)
        for kind in [kind for kind in output.get("data", {}) if kind.startswith("text/")]:
            output.data[kind] = change(output.data[kind])
    nbformat.write(notebook, copy)
    changed = nbval(copy)
    assert changed.returncode == 1, changed.stdout[-3000:]
    assert "1 failed" in changed.stdout


PICTURE = """\
import matplotlib.pyplot as plt
_, ax = plt.subplots(figsize=(3, 2))
_ = ax.plot([0, 1], [0, {}])
plt.ylim(0, 2)
plt.show()"""


@pytest.mark.slow
def test_a_picture_that_is_not_what_the_code_draws_makes_nbval_fail(tmp_path):
    shutil.copy(ROOT / "notebooks" / "conftest.py", tmp_path)
    stored, other = (run_once(PICTURE.format(height)) for height in (1, 2))
    path = tmp_path / "picture.ipynb"
    nbformat.write(stored, path)
    untouched = nbval(path)
    assert untouched.returncode == 0, untouched.stdout[-3000:]
    stored.cells[0].outputs = other.cells[0].outputs
    nbformat.write(stored, path)
    changed = nbval(path)
    assert changed.returncode == 1, changed.stdout[-3000:]
    assert "looks different from the stored one" in changed.stdout
    stored.cells[0].outputs = [o for o in stored.cells[0].outputs if "image/png" not in o.get("data", {})]
    nbformat.write(stored, path)
    assert nbval(path).returncode == 1


def run_once(source):
    """A notebook of one cell, run."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    build.execute(notebook)
    return notebook


def test_a_wrong_picture_is_seen_and_a_redrawn_one_forgiven(monkeypatch):
    from matplotlib.figure import Figure

    monkeypatch.setattr("nbval.plugin.IPyNbCell.compare_outputs", None)  # loading conftest.py replaces it
    looks_different = load("conftest").looks_different

    def draw(height, shift=0.0, size=(6, 4)):
        figure = Figure(figsize=size, dpi=100)
        x = np.linspace(0, 6, 200)
        figure.subplots().plot(x, height * np.sin(x) + shift)
        figure.axes[0].set_ylim(-2, 2)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        return buffer.getvalue()

    assert not looks_different(draw(1), draw(1))
    assert not looks_different(draw(1), draw(1, 0.001))  # a tenth of a pixel
    assert looks_different(draw(1), draw(1.1))
    assert looks_different(draw(1), draw(1, size=(6, 3.9)))


@pytest.mark.parametrize(
    ("new", "stored", "expected"),
    [
        ("recognised 71 %, loss 0.22", "recognised 67 %, loss 0.21", True),
        ("recognised   9 %", "recognised 12 %", True),  # a narrower number moves the others
        ("rate 1450 bits", "rate 1250 bits", True),
        ("loss 0.06", "loss 0.01", True),
        ("recognised 71 %", "recognised 40 %", False),
        ("loss 0.31", "loss 0.21", False),
        ("loss 0.210", "loss 0.21", False),
        ("rate 1250 bits", "rate 950 bits", False),
        ("recognised 71 %", "known 71 %", False),
        ("1 2", "1 2 3", False),
        ("of 120", "of 12", False),
    ],
)
def test_numbers_out_of_a_training_may_differ_a_little(monkeypatch, new, stored, expected):
    monkeypatch.setattr("nbval.plugin.IPyNbCell.compare_outputs", None)
    assert load("conftest").agree(new, stored) is expected


@pytest.mark.slow
def test_a_number_out_of_a_training_that_is_far_off_makes_nbval_fail(tmp_path):
    shutil.copy(ROOT / "notebooks" / "conftest.py", tmp_path)
    path = tmp_path / "trained.ipynb"
    for number, tags, code in (("0.52", ["trained"], 0), ("0.95", ["trained"], 1), ("0.52", [], 1)):
        notebook = run_once("print(0.5 + 0.01)")
        notebook.cells[0].metadata["tags"] = tags
        notebook.cells[0].outputs[0].text = f"{number}\n"
        nbformat.write(notebook, path)
        assert nbval(path).returncode == code, (number, tags)


def stored_cell(source="1", count=1, tags=(), outputs=()):
    cell = nbformat.v4.new_code_cell(source, execution_count=count, outputs=list(outputs))
    cell.metadata["tags"] = list(tags)
    return cell


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([stored_cell(count=None)], "not one run"),
        ([stored_cell(count=2), stored_cell(count=1)], "not one run"),
        ([stored_cell(outputs=[nbformat.v4.new_output("error", ename="E", evalue="v", traceback=[])])], "failed: E"),
        ([stored_cell(outputs=[nbformat.v4.new_output("stream", name="stderr", text="Warning")])], "stderr: Warning"),
        ([stored_cell(outputs=[nbformat.v4.new_output("stream", name="stdout", text="in /home/me/x.py")])], "a path"),
    ],
)
def test_what_must_not_be_stored_is_seen(cells, message):
    found = build.complaints(nbformat.v4.new_notebook(cells=cells))
    assert len(found) == 1
    assert message in found[0]


def test_a_cost_replaces_the_row_of_its_own_device_only():
    first = build.with_cost("", "| CPU, 1 thread | 9 s | 0.5 GiB | – |")
    both = build.with_cost(first, "| NVIDIA T4 | 3 s | 0.5 GiB | 1.0 GiB |")
    again = build.with_cost(both, "| CPU, 1 thread | 8 s | 0.5 GiB | – |")
    assert again == f"{build.COST_HEAD}\n| CPU, 1 thread | 8 s | 0.5 GiB | – |\n| NVIDIA T4 | 3 s | 0.5 GiB | 1.0 GiB |"
    text = build.put_between("a\n<!-- cost --><!-- /cost -->\nb", "cost", again)
    assert build.between(text, "cost") == again
    assert text.startswith("a\n")
    assert text.endswith("\nb")
