"""Pictures from disk: any single file, a folder of them, and the sets that torchvision loads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ldm_edu.data.pictures import Pictures, to_bytes, to_float

IGNORED = {".DS_Store", "Thumbs.db", "desktop.ini"}  # file managers put them into folders by themselves


def open_picture(path: str | Path, size: int, channels: int = 3) -> Tensor:
    """Read one picture as (channels, size, size) uint8: turned upright, on white, cropped to its middle square.

    Any mode is taken: palette, alpha, 16 bit, CMYK, grey; of an animation its first picture.

    Args:
        path: the file.
        size: height and width of the result.
        channels: 1 grey, 3 colour.
    Raises:
        ValueError: no such file, a folder, or one that cannot be read as a picture: foreign, cut short, huge, or with
            values whose white is not known.
    """
    from PIL import Image, ImageOps

    try:
        if Path(path).exists() and not Path(path).is_file():  # opening a pipe would wait for ever
            raise ValueError("a folder" if Path(path).is_dir() else "not a file")
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I") or image.mode == "F":
                image = _eight_bit(image)
            pixels = one_picture(image, size, channels)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except Exception as error:  # decoders of damaged files raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: cannot be read as a picture ({reason}); remove or replace it") from None
    return pixels


def one_picture(image, size: int, channels: int) -> Tensor:
    """A picture that PIL holds as (channels, size, size) uint8: on white, cropped to its middle square."""
    from PIL import Image, ImageOps

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).reshape(size, size, channels).permute(2, 0, 1)


def _eight_bit(image):
    """A 16-bit or float picture as 8 bits; 16-bit values are scaled, others are taken as 0 … 255."""
    from PIL import Image

    values = np.asarray(image, dtype=np.float64)
    low, high, top = values.min(), values.max(), 255 if image.mode == "F" else 65535
    if not 0 <= low <= high <= top or (image.mode == "F" and 0 < high <= 1):  # of the last the white may be 1
        raise ValueError(f"its values go from {low:g} to {high:g}, whose white is not known; save it with 8 or 16 bits")
    scale = 257.0 if image.mode.startswith("I;16") or high > 255 else 1.0
    grey = Image.fromarray((values / scale).round().astype(np.uint8))
    if "transparency" in image.info:
        grey.putalpha(Image.fromarray((values != image.info["transparency"]).astype(np.uint8) * 255))
    return grey


def folder(path: str | Path, size: int, channels: int = 3) -> Pictures:
    """Read a folder of pictures; where it has sub-folders, each is a class named after it.

    Raises:
        ValueError: no such folder, no pictures, a file that is no picture, or pictures beside sub-folders.
    """
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"{path}: no such folder; give a folder of pictures or the name of a set")
    entries = _entries(path)
    classes = [p for p in entries if p.is_dir()]
    files = [p for p in entries if not p.is_dir()]
    if classes and files:
        raise ValueError(f"{path}: holds files ({files[0].name}, …) beside sub-folders; give one or the other")
    labels = None
    if classes:
        inside = [_entries(c) for c in classes]
        if not all(inside):
            raise ValueError(f"{classes[inside.index([])]}: holds no pictures; every sub-folder is a class")
        if deeper := [p for entries in inside for p in entries if p.is_dir()]:
            raise ValueError(f"{deeper[0]}: a folder inside a class; put pictures only into {deeper[0].parent}")
        files = [p for entries in inside for p in entries]
        labels = torch.tensor([k for k, entries in enumerate(inside) for _ in entries])
    if not files:
        raise ValueError(f"{path}: holds no pictures")
    pixels = torch.stack([open_picture(p, size, channels) for p in files])
    return Pictures(pixels, labels, tuple(c.name for c in classes))


def _entries(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if not p.name.startswith(".") and p.name not in IGNORED)


def mnist(size: int = 32, *, train: bool = True, root: str | Path = "data", download: bool = False) -> Pictures:
    """MNIST's 60,000 + 10,000 handwritten digits, grey (LeCun et al. 1998)."""
    from torchvision.datasets import MNIST

    return _torchvision(lambda: MNIST(root, train, download=download), "mnist", size, root)


def fashion_mnist(size: int = 32, *, train: bool = True, root: str | Path = "data", download: bool = False) -> Pictures:
    """Fashion-MNIST's 60,000 + 10,000 garments, grey (Xiao et al. 2017, arXiv 1708.07747)."""
    from torchvision.datasets import FashionMNIST

    return _torchvision(lambda: FashionMNIST(root, train, download=download), "fashion_mnist", size, root)


def cifar10(size: int = 32, *, train: bool = True, root: str | Path = "data", download: bool = False) -> Pictures:
    """CIFAR-10's 50,000 + 10,000 colour photographs (Krizhevsky 2009)."""
    from torchvision.datasets import CIFAR10

    return _torchvision(lambda: CIFAR10(root, train, download=download), "cifar10", size, root)


def flowers102(size: int = 64, *, train: bool = True, root: str | Path = "data", download: bool = False) -> Pictures:
    """102 kinds of flowers: 6,149 photographs (torchvision's "test" part) for training, 1,020 held out.

    Source: Nilsback and Zisserman 2008.
    """
    from torchvision.datasets import Flowers102

    split = "test" if train else "val"  # the official training part is the small one
    return _torchvision(lambda: Flowers102(root, split, download=download), "flowers102", size, root)


def _torchvision(load: Callable, name: str, size: int, root: str | Path) -> Pictures:
    """Run a torchvision loader and hold its pictures in memory at one size."""
    from PIL import Image, ImageOps

    try:
        data = load()
    except (RuntimeError, OSError, EOFError, ValueError, AssertionError, KeyError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{name}: not found or not whole under {root} ({reason}); allow its download with --download "
            "(it also unpacks .gz files that are there), or point --root at a folder that has it. Where damaged files "
            "are there, remove them first: a download leaves what it finds"
        ) from None
    if hasattr(data, "data"):  # MNIST and CIFAR-10 hold arrays of one size
        pixels = torch.as_tensor(data.data)
        pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
        labels = torch.as_tensor(data.targets).long()
        if pixels.shape[-1] == 28 and size == 32:
            pixels = F.pad(pixels, (2, 2, 2, 2))  # the usual way to 32: black borders, no resampling
        elif pixels.shape[-1] != size:
            parts = [
                to_bytes(F.interpolate(to_float(p), (size, size), mode="bicubic", antialias=True, align_corners=False))
                for p in pixels.split(1000)
            ]
            pixels = torch.cat(parts)
    else:
        pairs = [(ImageOps.fit(im.convert("RGB"), (size, size), Image.Resampling.LANCZOS), y) for im, y in data]
        pixels = torch.stack([torch.from_numpy(np.array(im)).permute(2, 0, 1) for im, _ in pairs])
        labels = torch.tensor([y for _, y in pairs])
    names = getattr(data, "classes", None) or range(int(labels.max()) + 1)
    return Pictures(pixels.contiguous(), labels, tuple(str(n) for n in names))
