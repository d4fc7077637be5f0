"""Command-line options made from the fields of frozen dataclasses, their help from the docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Iterator

import typer

from ldm_edu.config import DERIVED


def with_options(config: object) -> Callable:
    """Give a command one option for each field of a nested dataclass.

    The command takes `given`, a dictionary from field ("unet.width") to value that holds only what was typed.
    """
    fields = {key.replace(".", "__"): (key, *rest) for key, *rest in _fields(config)}

    def decorate(command: Callable) -> Callable:
        def wrapper(**arguments):
            given = {fields[n][0]: v for n, v in arguments.items() if n in fields and v is not None}
            return command(**{n: v for n, v in arguments.items() if n not in fields}, given=given)

        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(*spec))
            for name, spec in fields.items()
        ]
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        wrapper.__signature__ = inspect.Signature(own + added)
        wrapper.__annotations__ = {p.name: p.annotation for p in own + added}
        wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
        return wrapper

    return decorate


def _fields(config: object, prefix: str = "") -> Iterator[tuple]:
    """(key, type, default, help) of every option."""
    hints, texts = typing.get_type_hints(type(config)), docstring_args(type(config))
    for f in dataclasses.fields(config):
        key, value = f"{prefix}{f.name}", getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            yield from _fields(value, f"{key}.")
        elif key not in DERIVED:
            yield key, hints[f.name], value, texts[f.name]


def _annotation(key: str, kind: type, default: object, text: str) -> type:
    """The Typer annotation of one option; every default is None, so that what was typed can be told apart."""
    flag = option(key)
    info = {"help": f"{text} (default: {_shown(default)})", "show_default": False}
    if kind is bool:
        return typing.Annotated[bool | None, typer.Option(f"{flag}/--no-{flag[2:]}", **info)]
    if typing.get_origin(kind) is tuple:
        return typing.Annotated[str | None, typer.Option(flag, parser=numbers, metavar="N,N,…", **info)]
    if type(None) in typing.get_args(kind):
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
        return typing.Annotated[
            str | None, typer.Option(flag, parser=_or_none(kind), metavar=f"{kind.__name__.upper()}|none", **info)
        ]
    return typing.Annotated[kind | None, typer.Option(flag, **info)]


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or "none"
    return "none" if default is None else str(default)


def typed_options(config: object, default: object) -> list[str]:
    """What to type to get `config`: the options whose values differ from the default's."""
    words = []
    before = {key: value for key, _, value, *_ in _fields(default)}
    for key, _, value, *_ in _fields(config):
        if value == before[key]:
            continue
        flag = option(key)
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        else:
            words += [flag, _shown(value)]
    return words


def option(key: str) -> str:
    """ "unet.head_dim" as --unet-head-dim."""
    return "--" + re.sub("[._]", "-", key)


class Nothing:
    """Stands for a typed "none", since None itself means "not typed"."""


def _or_none(kind: type) -> Callable[[str], object]:
    def parse(text: str) -> object:
        return Nothing if text.lower() == "none" else kind(text)

    return parse


def numbers(text: str) -> tuple[int, ...]:
    """ "1,2,4" as numbers; "none" as an empty tuple.

    Raises:
        typer.BadParameter: no such list.
    """
    try:
        return () if text.lower() in ("", "none") else tuple(int(n) for n in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of whole numbers such as 1,2,4, nor none") from None


def weights(text: str) -> tuple[float, ...]:
    """ "1,2.5" as numbers.

    Raises:
        typer.BadParameter: no such list.
    """
    try:
        return tuple(float(n) for n in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of numbers such as 1,2.5") from None


def docstring_args(kind: type) -> dict[str, str]:
    """The entries of the Args section of a docstring: name -> text."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(kind) or "", re.M | re.S)
    entries = re.findall(r"^ {4}(\w+): (.*?)(?=^ {4}\w|\Z)", section[1] if section else "", re.M | re.S)
    return {name: " ".join(text.split()) for name, text in entries}
