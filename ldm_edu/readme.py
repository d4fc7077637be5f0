"""Measured numbers in a Markdown file: each block between two markers is written by the program that measured it."""

from __future__ import annotations

from pathlib import Path

from ldm_edu.checkpoint import write_atomic


def write_block(path: str | Path, name: str, text: str) -> None:
    """Replace what stands between <!-- name:begin --> and <!-- name:end -->.

    Raises:
        ValueError: no such file, or not exactly one such block in it.
    """
    before, after = around_block(path, name)
    write_atomic(path, f"{before}\n{text.strip()}\n{after}".encode())


def around_block(path: str | Path, name: str) -> tuple[str, str]:
    """A file's text up to and with the first marker, and from the second one on; errors as `write_block`."""
    path, begin, end = Path(path), f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    whole = path.read_text(encoding="utf-8")
    if whole.count(begin) != 1 or whole.count(end) != 1 or whole.index(begin) > whole.index(end):
        raise ValueError(f"{path}: needs one line {begin} and after it one line {end}")
    before, rest = whole.split(begin)
    return before + begin, end + rest.split(end)[1]
