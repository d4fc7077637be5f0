"""Importing the library takes torch and numpy only, and says nothing."""

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
from tiny import finished, python

import ldm_edu

HEAVY = (
    "accelerate",
    "diffusers",
    "matplotlib",
    "PIL",
    "safetensors",
    "sklearn",
    "torchmetrics",
    "torchvision",
    "tqdm",
)
COMMAND_LINE = ("__main__", "cli", "cli_edit", "options", "progress", "run")  # these print, and read options
LIBRARY = sorted(
    m.name
    for m in pkgutil.walk_packages(ldm_edu.__path__, "ldm_edu.")
    if m.name.split(".")[1] not in (*COMMAND_LINE, "bench")
)

IMPORT = """
import sys
import numpy, torch
before = set(sys.modules)
for name in sys.argv[1].split(","):
    __import__(name)
print(sorted({m.partition(".")[0] for m in sys.modules.keys() - before} & set(sys.argv[2].split(","))))
"""


@pytest.mark.slow
def test_the_library_imports_nothing_heavy_and_is_silent():
    assert "ldm_edu.schedule" in LIBRARY
    names = ",".join(["ldm_edu", *LIBRARY])
    code, out, err = finished(python("-W", "error", "-c", IMPORT, names, ",".join((*HEAVY, "typer"))))
    assert (code, out, err) == (0, "[]\n", "")


@pytest.mark.slow
def test_the_command_line_imports_only_what_parses_options():
    code, out, err = finished(python("-W", "error", "-c", IMPORT, "ldm_edu.cli", ",".join(HEAVY)))
    assert (code, out, err) == (0, "[]\n", "")


@pytest.mark.parametrize("name", [n for n in LIBRARY if n != "ldm_edu.data"])
def test_every_module_says_what_it_is(name):
    assert importlib.import_module(name).__doc__


def public_functions(module):
    """(name, node) of each function and method of a module, those of private classes and private ones left out."""
    for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_") else [node]
        for function in inside:
            if isinstance(function, ast.FunctionDef) and not function.name.startswith("_"):
                yield function.name, function


@pytest.mark.parametrize("name", [n for n in LIBRARY if ".check" not in n and ".grading" not in n])
def test_every_public_function_says_what_it_does_and_what_it_raises(name):
    for function, node in public_functions(importlib.import_module(name)):
        said = ast.get_docstring(node)
        assert said, f"{name}.{function} has no docstring"
        raises = any(isinstance(n, ast.Raise) and n.exc is not None for n in ast.walk(node))
        assert not raises or re.search("Raise|[eE]rror", said), f"{name}.{function} does not say what it raises"
