"""The stored notebooks: one complete run, compared where it can be, with the parts every notebook has.

That the outputs agree with a new run is checked by nbval (see the Makefile); what nbval does not see is checked here.
"""

import base64
import importlib.util
import io
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("build", ROOT / "notebooks" / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)

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


def pictures(notebook):
    """(code cell, picture as (H, W, 3) in [0, 1]) for every picture that is stored and compared."""
    from matplotlib.image import imread

    for number, cell in enumerate(code(notebook), 1):
        for output in cell.outputs:
            png = output.get("data", {}).get("image/png")
            if png and not is_exempt(cell):
                yield number, imread(io.BytesIO(base64.b64decode(png)))[..., :3]


def drawn_by(notebook):
    """The version of matplotlib that drew a notebook's pictures: it writes its name into each."""
    from PIL import Image

    for cell in code(notebook):
        for output in cell.outputs:
            png = output.get("data", {}).get("image/png")
            if png:
                return Image.open(io.BytesIO(base64.b64decode(png))).info.get("Software")
    return None


def looks_different(a, b):
    """Whether two pictures differ visibly: in size, or in the mean of some 8×8 block by more than 0.1.

    Blocks forgive a line drawn half a pixel off by another version of the font or drawing library.
    """
    if a.shape != b.shape:
        return True
    height, width = (n // 8 * 8 for n in a.shape[:2])
    blocks = np.abs([x[:height, :width].reshape(height // 8, 8, width // 8, 8, 3).mean((1, 3)) for x in (a, b)])
    return bool(np.abs(blocks[0] - blocks[1]).max() > 0.1)


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


@pytest.mark.slow
@each_notebook
def test_pictures_do_not_differ_from_a_new_run(path):
    notebook = read(path)
    before, pen = list(pictures(notebook)), drawn_by(notebook)
    build.execute(notebook)
    if drawn_by(notebook) != pen:
        pytest.skip(f"the stored pictures were drawn by {pen}: another version lays figures out differently")
    after = list(pictures(notebook))
    assert before, "no picture to compare"
    assert [number for number, _ in before] == [number for number, _ in after]
    assert [n for (n, a), (_, b) in zip(before, after, strict=True) if looks_different(a, b)] == []


@pytest.mark.slow
@each_notebook
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


def test_a_wrong_picture_is_seen_and_a_redrawn_one_forgiven():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    def draw(height, shift=0.0):
        figure = Figure(figsize=(6, 4), dpi=100)
        canvas = FigureCanvasAgg(figure)
        x = np.linspace(0, 6, 200)
        figure.subplots().plot(x, height * np.sin(x) + shift)
        figure.axes[0].set_ylim(-2, 2)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3] / 255

    assert not looks_different(draw(1), draw(1))
    assert not looks_different(draw(1), draw(1, 0.001))  # a tenth of a pixel
    assert looks_different(draw(1), draw(1.1))
    assert looks_different(draw(1), draw(1)[:-1])


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
