"""Values as bytes between two processes, none of which can carry code: JSON, with tensors as raw numbers.

Functions stay where they are: what travels is a number, and calling it there is a message of its own.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator
from itertools import islice
from math import prod
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from ldm_edu.schedule import Schedule

LARGEST = 64 * 2**20
"""Bytes of a message."""

ITEMS = 10_000
"""Entries that are taken from an iterator."""

DTYPES = {
    str(d).removeprefix("torch."): d
    for d in (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int8, torch.int16,
              torch.int32, torch.int64, torch.bool)
}  # fmt: skip


class Garbled(ValueError):
    """Bytes that are no message of ours."""


def send(stream: BinaryIO, message: dict) -> None:
    """Write a message; raises ValueError where it is too large."""
    data = json.dumps(message).encode()
    if len(data) > LARGEST:
        raise ValueError(f"a value of {len(data) / 2**20:.0f} MiB is too large: at most {LARGEST // 2**20} MiB")
    stream.write(struct.pack(">Q", len(data)) + data)
    stream.flush()


def receive(stream: BinaryIO) -> dict:
    """Read a message. Raises EOFError at the stream's end and Garbled where it holds something else."""
    size = struct.unpack(">Q", _exactly(stream, 8))[0]
    if size > LARGEST:
        raise Garbled(f"a message of {size} bytes")
    try:
        message = json.loads(_exactly(stream, size))
    except (ValueError, RecursionError) as error:
        raise Garbled(str(error)) from None
    if not isinstance(message, dict):
        raise Garbled(f"a {type(message).__name__}")
    return message


def encode(value: Any, functions: list[Callable]) -> Any:
    """A value as JSON can hold it; functions in it are appended to the list and go as their number.

    Raises:
        ValueError: a kind of value that does not travel.
    """
    if value is None or isinstance(value, bool | int | float | str):
        plain = next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), type(None))
        return value if value is None else plain(value)  # without what a subclass adds
    if isinstance(value, np.generic | np.ndarray):
        value = torch.as_tensor(np.array(value))  # a copy: torch refuses arrays that run backwards
    if isinstance(value, Tensor):
        name = str(value.dtype).removeprefix("torch.")
        if name not in DTYPES:
            raise ValueError(f"a tensor of {name} does not travel; numbers do")
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return {"tensor": name, "shape": list(value.shape), "data": base64.b64encode(flat.numpy().tobytes()).decode()}
    if isinstance(value, Schedule):
        return {"schedule": [encode(value.signal, functions), encode(value.noise, functions)]}
    if isinstance(value, tuple | list):
        return {type_name(value): [encode(v, functions) for v in value]}
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {"dict": {k: encode(v, functions) for k, v in value.items()}}
    if isinstance(value, Iterator):
        return encode(list(islice(value, ITEMS)), functions)
    if callable(value):
        functions.append(value)
        return {"function": len(functions) - 1}
    raise ValueError(
        f"a value of type {type(value).__name__} does not travel; numbers, tensors, lists and functions do"
    )


def decode(data: Any, function: Callable[[int], Callable]) -> Any:
    """The value back; `function` makes what stands for the other side's function of a number.

    Raises:
        Garbled: nothing that encode makes.
    """
    if data is None or isinstance(data, bool | int | float | str):
        return data
    if not isinstance(data, dict) or not data:
        raise Garbled(f"a bare {type(data).__name__}")
    kind = next(iter(data))
    try:
        if kind == "tensor":
            return _tensor(data)
        if kind == "schedule":
            return Schedule(*(decode(v, function) for v in data["schedule"]))
        if kind in ("tuple", "list"):
            items = [decode(v, function) for v in data[kind]]
            return tuple(items) if kind == "tuple" else items
        if kind == "dict":
            return {str(k): decode(v, function) for k, v in data["dict"].items()}
        if kind == "function":
            return function(int(data["function"]))
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, RecursionError) as error:
        raise Garbled(f"{type(error).__name__}: {error}") from None
    raise Garbled(f"a {kind}")


def type_name(value: tuple | list) -> str:
    """What a sequence goes as; a NamedTuple goes as a tuple."""
    return "tuple" if isinstance(value, tuple) else "list"


def _tensor(data: dict) -> Tensor:
    dtype, shape = DTYPES[data["tensor"]], [int(n) for n in data["shape"]]
    raw = bytearray(base64.b64decode(data["data"], validate=True))
    if any(n < 0 for n in shape) or prod(shape) * dtype.itemsize != len(raw):
        raise Garbled(f"{len(raw)} bytes for a {data['tensor']} tensor of shape {shape}")
    return torch.frombuffer(raw, dtype=dtype).reshape(shape) if raw else torch.empty(shape, dtype=dtype)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data
