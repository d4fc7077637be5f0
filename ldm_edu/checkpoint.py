"""Files that are whole or absent: weights as safetensors, settings as JSON, each replaced in one move.

Nothing is unpickled. A process killed at any moment leaves the file of before or the file of after, and at worst a
temporary file beside it, which `remove_leftovers` knows. Used from notebook 04 on.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, foreign, or cannot be written."""


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write a file under a temporary name beside its place, flush it to the disk, and move it there for good.

    A file that is replaced hands on its permissions; a link stays, and what it leads to is replaced.

    Raises:
        CheckpointError: the disk is full, the folder is read-only, …; what stood at `path` is untouched.
    """
    asked, path = path, Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:  # readable for whom the user's umask says
            if path.is_file():
                temporary.chmod(path.stat().st_mode & 0o777)
            file.write(data)
            file.flush()
            flush(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # it may never have been there
            temporary.unlink()
        if isinstance(error, OSError):
            raise CheckpointError(
                f"{asked}: could not be written ({error.strerror or error}); what was there before is unchanged"
            ) from None
        raise
    if os.name == "posix":
        with contextlib.suppress(OSError):  # the file is there; some network file systems flush no folder
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                flush(folder)  # the move itself
            finally:
                os.close(folder)


def flush(descriptor: int) -> None:
    """Wait until an open file, or folder, is on the disk.

    Raises:
        OSError: it is not.
    """
    if sys.platform == "darwin":
        import fcntl

        with contextlib.suppress(OSError):  # a file system that does not know it
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync stops at the disk's own cache
            return
    os.fsync(descriptor)


def is_leftover(path: str | Path) -> bool:
    """Whether a file has a name that `write_atomic` gives while it writes."""
    return re.fullmatch(r"\..+\.\w{8}\.part", Path(path).name) is not None


def remove_leftovers(folder: str | Path) -> None:
    """Remove the temporary files that killed processes left in a folder and below it."""
    for path in Path(folder).rglob(".*.part"):
        if is_leftover(path):
            path.unlink(missing_ok=True)


def write_json(path: str | Path, value: Mapping) -> None:
    """Write a JSON file, whole or not at all."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: str | Path) -> dict:
    """Read a JSON object.

    Raises:
        CheckpointError: no such file, or it is not a JSON object.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged or not JSON ({error})") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], about: Mapping | None = None) -> None:
    """Write named tensors, and a JSON object about them in the same file's header, whole or not at all."""
    from safetensors.torch import save

    # Clones, because safetensors refuses tensors that share memory (tied weights, views).
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomic(path, save(whole, {"about": json.dumps(about or {})}))


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Read what `write_tensors` wrote: the tensors, on the CPU, and the object about them.

    Raises:
        CheckpointError: no such file, cut short, or not a safetensors file of ours.
    """
    with _opened(path) as file:
        # Clones: safetensors' own are views of the file, which would break when it is cut, and Windows would not
        # let it be replaced.
        return {name: file.get_tensor(name).clone() for name in file.keys()}, _about(file)


def read_about(path: str | Path) -> dict:
    """Read only the object about the tensors. A file that was cut short is found out all the same.

    Raises:
        CheckpointError: as `read_tensors`.
    """
    with _opened(path) as file:
        return _about(file)


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator:
    """A safetensors file, open; whatever is wrong with it becomes a CheckpointError."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged or not a safetensors file ({error})") from None


def _about(file) -> dict:
    about = json.loads((file.metadata() or {}).get("about", "{}"))
    if not isinstance(about, dict):
        raise ValueError("its header is not ours")
    return about


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: str | Path) -> None:
    """Copy named weights into a module; every name and shape must fit, or nothing is copied.

    Raises:
        CheckpointError: names the first that are missing, unexpected, or of another shape.
    """
    own = module.state_dict()
    problems = [f"{n} is missing" for n in own if n not in tensors]
    problems += [f"{n} is unexpected" for n in tensors if n not in own]
    problems += [
        f"{n} has shape {tuple(tensors[n].shape)}, expected {tuple(own[n].shape)}"
        for n in own
        if n in tensors and tensors[n].shape != own[n].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(f"{where}: the weights do not fit the model: {'; '.join(problems[:3])}{more}")
    with torch.no_grad():
        module.load_state_dict(tensors)
