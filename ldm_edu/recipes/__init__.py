"""Settings of whole trainings that come with the package, a file each, for `ldm-edu train --config NAME`.

A file is a run's train.json, or only those of its lines that differ from the demo's. Notebook 07 trains such models.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from ldm_edu.checkpoint import read_json
from ldm_edu.config import TrainConfig
from ldm_edu.kinds import fits, flat_kinds, words

SHIPPED = Path(__file__).parent


def shipped_recipes() -> list[str]:
    """The names of the recipes that come with the package."""
    return sorted(p.stem for p in SHIPPED.glob("*.json"))


def read_recipe(name: str | Path) -> dict:
    """The settings in a file on disk, or in a shipped one by its name, flat as `replace_flat` takes them.

    Raises:
        ValueError: no such file or recipe, no JSON, a setting that there is not, or a value of another type.
    """
    path = Path(name)
    if not path.is_file():
        if str(name) not in shipped_recipes():
            known = ", ".join(shipped_recipes())
            raise ValueError(f"{name}: no such file, and no shipped recipe of that name; shipped are: {known}")
        path = SHIPPED / f"{name}.json"
    settings, kinds = read_json(path), flat_kinds(TrainConfig())
    for key, value in settings.items():
        if key not in kinds:
            near = difflib.get_close_matches(key, kinds, 1)
            raise ValueError(f"{path}: there is no setting {key!r}" + (f"; is {near[0]} meant?" if near else ""))
        if not fits(value, kinds[key]):
            raise ValueError(f"{path}: {key} must be {words(kinds[key])}, got {value!r}")
    return settings
