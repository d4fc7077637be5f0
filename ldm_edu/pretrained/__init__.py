"""Small trained models that come with the package: a folder each, with weights, card and picture. Notebook 00."""

from __future__ import annotations

from pathlib import Path

SHIPPED = Path(__file__).parent
DEFAULT_MODEL = "shapes-64"


def shipped_models() -> list[str]:
    """The names of the models that come with the package."""
    return sorted(p.parent.name for p in SHIPPED.glob("*/model.safetensors"))


def find_model(name: str | Path) -> Path:
    """The folder of a checkpoint: one on disk, or a shipped one by its name.

    Raises:
        ValueError: neither; the message names the shipped ones.
    """
    if Path(name).is_dir():
        return Path(name)
    if str(name) in shipped_models():
        return SHIPPED / name
    known = ", ".join(shipped_models()) or "none yet"
    raise ValueError(f"{name}: no such folder, and no shipped model of that name; shipped are: {known}")
