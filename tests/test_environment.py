"""environment.yml and pyproject.toml ask for the same packages in the same versions."""

import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"torch": "pytorch", "playwright": "playwright-python"}
WANTED = {"pytorch", "torchvision", "matplotlib", "jupyterlab", "ipywidgets", "nbval", "numpy", "tqdm"}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
def test_conda_and_pip_install_the_same():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = project["dependencies"] + [r for extra in project["optional-dependencies"].values() for r in extra]
    wanted = {"python": Requirement("python" + project["requires-python"]).specifier}
    for line in lines:
        requirement = Requirement(line)
        wanted[CONDA_NAMES.get(requirement.name, requirement.name)] = requirement.specifier
    listed = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
    assert listed[-1] == {"pip": ["-e ."]}
    found = {r.name: r.specifier for r in (Requirement(d) for d in listed if d != "pip" and isinstance(d, str))}
    assert found == wanted
    assert WANTED <= found.keys()
