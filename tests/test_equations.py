"""No equation without a test: every \\tag{N.k} in a notebook has a test with its mark, and every mark an equation."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

TESTS = Path(__file__).parent
NOTEBOOKS = sorted((TESTS.parent / "notebooks").glob("[0-9][0-9]_*.ipynb"))
TAG = re.compile(r"\\tag\{([^}]*)\}")


def tags(path):
    """The equations of a notebook, in order."""
    cells = nbformat.read(path, as_version=4).cells
    return [tag for cell in cells if cell.cell_type == "markdown" for tag in TAG.findall(cell.source)]


def marks(source):
    """(tag, test) for every @pytest.mark.equation("tag") on a test function."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.equation":
                    found += [(arg.value, node.name) for arg in mark.args]
    return found


def all_marks():
    return [mark for path in sorted(TESTS.rglob("test_*.py")) for mark in marks(path.read_text("utf-8"))]


def unmatched(equations, tested):
    """Equations without a test, and marks without an equation."""
    return sorted(set(equations) - set(tested)), sorted(set(tested) - set(equations))


def test_every_equation_has_a_test_and_every_mark_an_equation():
    equations = [tag for path in NOTEBOOKS for tag in tags(path)]
    untested, dangling = unmatched(equations, [tag for tag, _ in all_marks()])
    assert not untested, f"equations without a test: {untested}"
    assert not dangling, f"marks without an equation: {dangling}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_equations_are_numbered_in_order(path):
    number = int(path.stem[:2])
    assert tags(path) == [f"{number}.{k}" for k in range(1, len(tags(path)) + 1)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_text_speaks_only_of_equations_that_exist(path):
    """A reference (N.k) in words, to this or an earlier notebook, must lead somewhere."""
    known = {tag for p in NOTEBOOKS for tag in tags(p)}
    cells = nbformat.read(path, as_version=4).cells
    words = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert set(re.findall(r"(?<![\w.])\((\d{1,2}\.\d{1,2})\)", words)) <= known


def test_no_equation_test_is_skipped_or_empty():
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            decorators = [ast.unparse(mark) for mark in node.decorator_list]
            if any("mark.equation" in mark for mark in decorators):
                assert not any("skip" in mark or "xfail" in mark for mark in decorators), node.name
                body = ast.unparse(node)
                assert re.search(r"assert|raises\(|close\(", body), f"{node.name} asserts nothing"


def test_marks_are_read():
    source = "@pytest.mark.equation('1.2', '1.3')\ndef test_a(): pass\n@pytest.mark.equation('1.4')\ndef helper(): pass"
    assert marks(source) == [("1.2", "test_a"), ("1.3", "test_a")]


def test_a_missing_test_and_a_dangling_mark_are_seen():
    assert unmatched(["1.1", "1.2"], ["1.2", "1.3"]) == (["1.1"], ["1.3"])
    assert TAG.findall(r"$$x = y \tag{4.12}$$") == ["4.12"]
