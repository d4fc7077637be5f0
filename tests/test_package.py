"""Importing the library takes torch and numpy only, and says nothing."""

import importlib
import pkgutil

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
