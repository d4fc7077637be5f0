"""Pictures with captions from disk: a .npz file of arrays, or a folder with a metadata.csv.

Captions are what notebook 08 conditions on. Held out are whole captions, so that there are prompts that training never
met, with all their pictures.
"""

from __future__ import annotations

import csv
import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ldm_edu.data.images import one_picture, open_picture
from ldm_edu.data.pictures import Pictures

LEFT_OUT = ("skin", "flag")  # masks of an emoji file: variants by the hundred, hardly told apart at this size
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
KEYBOARD = str.maketrans("‘’“”", "''\"\"")  # quotes as they are typed
LEAST = 10  # different captions
UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)


def from_npz(path: str | Path, size: int, *, train: bool = True) -> Pictures:
    """Read one part of a file of arrays.

    Its arrays: images (N, H, W) or (N, H, W, C) uint8, C = 1, 3 or 4 (alpha, which goes on white); captions (N,) text;
    perhaps styles (N,) text, which end the caption ("red heart, noto"); groups (N,) text, which become labels, to score
    with; skin and flag (N,) bool, whose pictures are left out. Other arrays are not read.

    Raises:
        ValueError: damaged, pickled, arrays missing or of another shape, or fewer than ten different captions.
    """
    wanted = {"images", "captions", "styles", "groups", *LEFT_OUT}
    try:
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files if name in wanted}
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path}: cannot be read as arrays ({reason}); write it with numpy.savez, without Python objects"
        ) from None
    for name, what in (("images", "the pictures"), ("captions", "a caption for each picture")):
        if name not in arrays:
            raise ValueError(f"{path}: has no array {name}, {what}; it has {', '.join(arrays) or 'none of ours'}")
    images = arrays["images"]
    fits = images.dtype == np.uint8 and images.ndim >= 3 and images.shape[3:] in ((), (1,), (3,), (4,))
    if not fits or 0 in images.shape:
        raise ValueError(f"{path}: images must be (N, H, W, 1, 3 or 4) uint8, got {images.dtype} {images.shape}")
    for name, kind in (("captions", "U"), ("styles", "U"), ("groups", "U"), ("skin", "b"), ("flag", "b")):
        if name in arrays and (arrays[name].shape != (len(images),) or arrays[name].dtype.kind != kind):
            what = "text" if kind == "U" else "bool"
            given = f"{arrays[name].dtype} {arrays[name].shape}"
            raise ValueError(f"{path}: {name} must be ({len(images)},) {what}, one for each picture, got {given}")

    captions = [_plain(c) for c in arrays["captions"].tolist()]
    if "" in captions:
        raise ValueError(f"{path}: picture {captions.index('')} has an empty caption; give it one, or leave it out")
    kept = np.ones(len(images), bool)
    for name in LEFT_OUT:
        if name in arrays:
            kept &= ~arrays[name]
    part = _part(captions, kept, train, path)
    labels, classes = None, ()
    if "groups" in arrays:
        names, index = np.unique(arrays["groups"], return_inverse=True)
        labels, classes = torch.from_numpy(index[part]).long(), tuple(str(n) or "other" for n in names)
    styles = arrays["styles"].tolist() if "styles" in arrays else [""] * len(images)
    said = [captions[i] + (f", {styles[i]}" if styles[i] else "") for i in part]
    return Pictures(_resized(images[part], size), labels, classes, tuple(said))


def from_folder(path: str | Path, size: int, *, train: bool = True) -> Pictures:
    """Read one part of a folder with a metadata.csv, whose columns file_name and text caption each picture in it.

    This is the layout that Hugging Face's ImageFolder reads. File names are relative to the folder.

    Raises:
        ValueError: the table is damaged, a picture has no caption or a caption no picture, or there are fewer than ten
            different captions.
    """
    path = Path(path)
    rows = _read_metadata(path / "metadata.csv")
    for line, file in rows:
        if not (path / file).is_file():
            raise ValueError(f"{path / 'metadata.csv'}, line {line}: {file} is not in the folder")
    named = {path / file for _, file in rows}
    for picture in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in picture.relative_to(path).parts)
        if picture.suffix.lower() in SUFFIXES and not hidden and picture not in named:
            raise ValueError(f"{picture}: has no line in metadata.csv; add one with its caption, or remove it")
    captions, files = list(rows.values()), [file for _, file in rows]
    part = _part(captions, np.ones(len(captions), bool), train, path)
    pixels = torch.stack([open_picture(path / files[i], size) for i in part])
    return Pictures(pixels, captions=tuple(captions[i] for i in part))


def _read_metadata(table: Path) -> dict[tuple[int, str], str]:
    """(line, file name) -> caption."""
    rows, seen = {}, set()
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            if missing := {"file_name", "text"} - set(reader.fieldnames or ()):
                has = ", ".join(reader.fieldnames or ()) or "none"
                raise ValueError(f"{table}: has no column {' and '.join(sorted(missing))}; its columns: {has}")
            for row in reader:
                file, text = row["file_name"], _plain(row["text"] or "")
                if not file or not text:
                    raise ValueError(f"{table}, line {reader.line_num}: has no {'text' if file else 'file_name'}")
                if file in seen:
                    raise ValueError(f"{table}, line {reader.line_num}: {file} stands there twice")
                seen.add(file)
                rows[reader.line_num, file] = text
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{table}: cannot be read as a table ({error}); save it as CSV in UTF-8") from None
    if not rows:
        raise ValueError(f"{table}: has no lines below its head")
    return rows


def _plain(text: str) -> str:
    """A caption without superfluous space, its quotes as a keyboard has them."""
    return " ".join(text.translate(KEYBOARD).split())


def _part(captions: Sequence[str], kept: np.ndarray, train: bool, where: str | Path) -> np.ndarray:
    """The indices of one part; every tenth caption in the order of their hashes is held out."""
    different = sorted({c.lower() for c, k in zip(captions, kept, strict=True) if k}, key=_hash)
    if len(different) < LEAST:
        raise ValueError(
            f"{where}: different captions there: {len(different)}; {LEAST} or more are needed, as every tenth is held "
            "out with its pictures"
        )
    held_out = set(different[9::10])
    return np.flatnonzero(kept & np.array([(c.lower() in held_out) != train for c in captions]))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _resized(images: np.ndarray, size: int) -> Tensor:
    """(N, H, W[, C]) uint8 to (N, 1 or 3, size, size), alpha on white, each cropped to its middle square."""
    from PIL import Image

    images = images[..., None] if images.ndim == 3 else images
    if images.shape[1:3] == (size, size) and images.shape[3] != 4:
        return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    channels = 1 if images.shape[3] == 1 else 3
    return torch.stack(
        [one_picture(Image.fromarray(i.squeeze(-1) if channels == 1 else i), size, channels) for i in images]
    )
