"""The folder of a run: whose it is, with which settings, and where its training stands. Used by train.py.

train.json holds the settings, flat: {"size": 32, "unet.width": 32, …}.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from ldm_edu.checkpoint import CheckpointError, is_leftover, read_about, read_json, remove_leftovers, write_json
from ldm_edu.data.images import IGNORED
from ldm_edu.kinds import fits, flat_kinds, words

HOW = frozenset(("root", "download", "device", "compile", "save_every", "tensorboard"))
"""Fields of TrainConfig that say how a run goes: a resumed run may change them.

Another device draws other random numbers and rounds differently, so the result is as good, and not the same.
"""


def check_folder(out: str | Path, config: object, resume: bool) -> None:
    """Make sure that a folder may be trained in: a new or empty one, or the one of this very run. Changes nothing.

    Raises:
        CheckpointError: a run is there and `resume` is off, it has other settings, or the folder holds something else.
    """
    out = Path(out)
    if (out / "train.json").exists():
        if not resume:
            raise CheckpointError(
                f"{out}: holds a run already ({run_status(out)}); continue it with --resume, or choose another --out"
            )
        saved = flatten(type(config)()) | read_json(out / "train.json")  # an older run lacks the fields added since
        different = [
            f"{key} was {old!r}, now {new!r}" for key, old, new in _compare(saved, flatten(config)) if key not in HOW
        ]
        if different:
            raise CheckpointError(f"{out}: the run there has other settings: {'; '.join(different)}")
    elif out.exists() and (not out.is_dir() or any(not is_leftover(p) for p in contents(out))):
        raise CheckpointError(f"{out}: exists, and holds no run of ours; choose another --out")


def contents(folder: Path) -> list[Path]:
    """What a folder holds, without what file managers put there by themselves."""
    return [path for path in folder.iterdir() if path.name not in IGNORED]


def claim(out: str | Path, config: object) -> None:
    """Write the settings into a folder that `check_folder` found fit, and clear away what a killed process left."""
    remove_leftovers(out)  # first: they may be what fills the disk
    write_json(Path(out) / "train.json", flatten(config))


@contextlib.contextmanager
def held(out: str | Path) -> Iterator[None]:
    """Keep a folder for this process. The lock is on the folder itself: it leaves no file, and a killed process none.

    Windows, and file systems without locks, keep nothing.

    Raises:
        CheckpointError: another process keeps it.
    """
    try:
        import fcntl

        Path(out).mkdir(parents=True, exist_ok=True)
        folder = os.open(out, os.O_RDONLY)
    except (ImportError, OSError):  # what is wrong with the folder is told by the first that writes there
        yield
        return
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                f"{out}: another process trains in this folder; wait for it, or choose another --out"
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(folder)


def read_settings(out: str | Path, default):
    """The configuration of the run in a folder.

    Args:
        default: a configuration of the kind wanted.
    Raises:
        CheckpointError: no run there, or its settings are damaged: a value of another type, or one out of range.
    """
    path = Path(out) / "train.json"
    saved = read_json(path)
    for key, kind in flat_kinds(default).items():
        if key in saved and not fits(saved[key], kind):
            raise CheckpointError(f"{path}: {key} must be {words(kind)}, got {saved[key]!r}; correct it")
    try:
        return replace_flat(default, saved)
    except ValueError as error:
        raise CheckpointError(f"{path}: not the settings of a run of ours ({error})") from None


def run_status(out: str | Path) -> str:
    """Where the run in a folder stands, in words.

    Raises:
        CheckpointError: a state there is damaged.
    """
    for name in ("diffusion", "autoencoder"):
        if (path := Path(out) / f"{name}.state").exists():
            about = read_about(path)
            try:
                return f"{name} at step {about['step']} of {about['fit']['steps']}"
            except (KeyError, TypeError):
                raise CheckpointError(f"{path}: is no training state of ours") from None
    return "no step saved yet"


def flatten(config: object, prefix: str = "") -> dict:
    """Nested frozen dataclasses as one flat dictionary: unet.width, fit.steps, …"""
    flat = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        nested = dataclasses.is_dataclass(value)
        flat |= flatten(value, f"{prefix}{f.name}.") if nested else {f"{prefix}{f.name}": value}
    return flat


def replace_flat(config, flat: dict, prefix: str = ""):
    """The other way: a copy of nested dataclasses with the entries of a flat dictionary put in.

    Raises:
        ValueError: what the dataclass says of its fields, after its own name.
    """
    changes = {}
    for f in dataclasses.fields(config):
        key, now = f"{prefix}{f.name}", getattr(config, f.name)
        if dataclasses.is_dataclass(now):
            changes[f.name] = replace_flat(now, flat, f"{key}.")
        elif key in flat:
            changes[f.name] = flat[key]
    try:
        return dataclasses.replace(config, **changes)
    except ValueError as error:
        raise ValueError(f"{prefix.rstrip('.')}: {error}" if prefix else str(error)) from None


def _compare(old: dict, new: dict):
    """(key, old, new) where two flat configurations differ; JSON has lists where Python has tuples."""
    for key in sorted(old.keys() | new.keys()):
        before, now = old.get(key), new.get(key)
        same = (
            tuple(before) == tuple(now)
            if isinstance(before, list | tuple) and isinstance(now, tuple)
            else before == now
        )
        if not same:
            yield key, before, now
