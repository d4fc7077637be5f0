"""Whether a value is of the kind asked for: a count whole, an entry of a JSON file as a dataclass's field has it."""

from __future__ import annotations

import dataclasses
import operator
import typing
from collections.abc import Mapping

WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}


def check_whole(least: int, **values: object) -> None:
    """Raise ValueError unless every value is a whole number, Python's, NumPy's or a tensor's, of `least` or more."""
    for name, value in values.items():
        try:
            whole = operator.index(value)
        except TypeError:
            whole = None
        if whole is None or isinstance(value, bool) or whole < least:
            raise ValueError(f"{name} must be a whole number, {least} or more, got {value!r}")


def check_kinds(of: type, values: Mapping) -> None:
    """Raise ValueError where an entry is not of the type of the field of that name.

    Args:
        of: a dataclass.
        values: what its fields are to hold, but for those that are dataclasses themselves.
    """
    hints = typing.get_type_hints(of)
    for name, value in values.items():
        if name in hints and not fits(value, hints[name]):
            raise ValueError(f"{name} must be {words(hints[name])}, got {value!r}")


def flat_kinds(config: object, prefix: str = "") -> dict[str, object]:
    """The type of every field of nested dataclasses, flat: {"size": int, "unet.width": int, …}."""
    hints, kinds = typing.get_type_hints(type(config)), {}
    for f in dataclasses.fields(config):
        value, key = getattr(config, f.name), f"{prefix}{f.name}"
        kinds |= flat_kinds(value, f"{key}.") if dataclasses.is_dataclass(value) else {key: hints[f.name]}
    return kinds


def fits(value: object, kind: object) -> bool:
    """Whether a value out of JSON is of a field's type; JSON has lists where Python has tuples."""
    of = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return value in of
    if typing.get_origin(kind) is tuple:
        return isinstance(value, list) and all(fits(v, of[0]) for v in value)
    if of:
        return any(fits(value, k) for k in of)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def words(kind: object) -> str:
    """What a field takes, to be told."""
    of = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(of)
    if typing.get_origin(kind) is tuple:
        return f"a list, each {WORDS[of[0]]}"
    return " or ".join(WORDS[k] for k in of) if of else WORDS[kind]
