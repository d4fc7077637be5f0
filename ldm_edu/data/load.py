"""One name for each picture set, as the command line takes it."""

from __future__ import annotations

from pathlib import Path

import torch

from ldm_edu.data import captioned, images
from ldm_edu.data.digits import digits
from ldm_edu.data.pictures import Pictures, spread, to_bytes

TORCHVISION = {
    "mnist": images.mnist,
    "fashion_mnist": images.fashion_mnist,
    "cifar10": images.cifar10,
    "flowers102": images.flowers102,
}


CREDITS = {
    "digits": "The test part of Alpaydin and Kaynak's Optical Recognition of Handwritten Digits (UCI), CC BY 4.0.",
    "shapes": "Made by ldm_edu.",
    "scenes": "Made by ldm_edu.",
    "fashion_mnist": "Fashion-MNIST, Zalando SE, MIT licence.",
    "emoji64_permissive.npz": "Noto Emoji and Blob Emoji, Google and contributors, Apache-2.0; Twemoji, Twitter and "
    "contributors, CC BY 4.0; all scaled to 64×64 on white.",
}
"""Whose pictures a set holds, and under which licence they may be used, where we know it."""


def credit_for(data: str, credit: str = "") -> str:
    """What a card says of whose pictures these are.

    Args:
        data: what `load_pictures` takes.
        credit: what the user says, if anything.
    """
    known = CREDITS.get(Path(data).name if data.endswith(".npz") else data, "")
    if credit or known or data in TORCHVISION:
        return credit or known
    return "Pictures of the user's own; whose they are, and under which licence, was not said."


def load_pictures(
    name: str,
    size: int,
    *,
    train: bool = True,
    root: str | Path = "data",
    download: bool = False,
    limit: int = 0,
) -> Pictures:
    """Load a picture set by name, or a folder or a file by its path.

    A folder has no held-out part of its own: every tenth picture, by name, is held out, so it needs ten. Where there
    are captions (a .npz file, or a folder with a metadata.csv; see `ldm_edu.data.captioned`) it is every tenth caption.

    Args:
        name: "digits", "shapes", "scenes", "mnist", "fashion_mnist", "cifar10", "flowers102", a folder, or a .npz file,
            which may also lie under root.
        size: height and width.
        train: the training part or the held-out part.
        root: where torchvision's sets and .npz files lie.
        download: for torchvision's sets.
        limit: only so many, spread evenly over the set, which may be sorted by class; 0 is all.
    Raises:
        ValueError: neither a known name nor a folder nor a file, the set cannot be read, or there are fewer than ten.
    """
    if name == "digits":
        pictures = digits(size, train=train)
    elif name == "shapes":
        pictures = shapes(size, train=train)
    elif name == "scenes":
        pictures = scenes(size, train=train)
    elif name in TORCHVISION:
        pictures = TORCHVISION[name](size, train=train, root=root, download=download)
    elif name.endswith(".npz"):
        pictures = captioned.from_npz(_find(name, root), size, train=train)
    elif (Path(name) / "metadata.csv").is_file():
        pictures = captioned.from_folder(name, size, train=train)
    elif Path(name).is_dir():
        pictures = _part(images.folder(name, size), train, name)
    else:
        known = ", ".join(["digits", "shapes", "scenes", *TORCHVISION])
        raise ValueError(f"{name}: neither a picture set ({known}) nor a folder nor a .npz file")
    return _spread(pictures, limit) if 0 < limit < len(pictures) else pictures


def shapes(size: int = 32, *, train: bool = True, count: int = 10_000, kinds: int = 4, colours: int = 4) -> Pictures:
    """The `shapes` for class-conditional models: one large object anywhere on black, labelled by kind and colour.

    Args:
        count: how many for training; 1,000 are held out.
        kinds, colours: how many of each: kinds · colours classes.
    """
    from ldm_edu.data.shapes import BACKGROUNDS, SIZES, draw, label_names, label_of, sample_scenes

    generator = torch.Generator().manual_seed(0 if train else 1)
    count = count if train else 1000
    large, black = list(SIZES).index("large"), list(BACKGROUNDS).index("black")
    plenty = 2 * count * len(SIZES) * len(BACKGROUNDS)  # twice what holds `count` such scenes on average
    scenes = sample_scenes(plenty, objects=1, n_kinds=kinds, n_colours=colours, generator=generator)
    wanted = (scenes.size[:, 0] == large) & (scenes.background == black)
    scenes = scenes[wanted.nonzero()[:count, 0]]
    return Pictures(to_bytes(draw(scenes, size)), label_of(scenes, colours), tuple(label_names(kinds, colours)))


def scenes(size: int = 64, *, train: bool = True, count: int = 20_000, unsaid: float = 0.3) -> Pictures:
    """The `shapes` for text to image: one object, or two and their relation, each picture with a caption.

    Held out are combinations that training never shows; see `ldm_edu.data.shapes.is_held_out`.

    Args:
        count: how many for training; 1,000 are held out.
        unsaid: chance that a training caption leaves out the sizes, the place, the background. Held-out ones say all.
    Raises:
        ValueError: size is under 32, where the reader that scores a model cannot read.
    """
    from ldm_edu.data.shapes import captions, draw, leave_unsaid, sample_scenes

    if size < 32:
        raise ValueError(f"scenes need pictures of 32 pixels a side or more, which their reader can read; got {size}")
    generator = torch.Generator().manual_seed(2 if train else 3)
    count = count if train else 1000
    drawn = sample_scenes(count, split="train" if train else "held_out", generator=generator)
    said = leave_unsaid(drawn, unsaid if train else 0.0, generator=generator)
    pixels = torch.cat([to_bytes(draw(drawn[i : i + 1000], size)) for i in range(0, count, 1000)])
    return Pictures(pixels, captions=tuple(captions(said)))


def _find(name: str, root: str | Path) -> Path:
    """A file here, or under root."""
    for path in (Path(name), Path(root) / name):
        if path.is_file():
            return path
    raise ValueError(f"{name}: no such file, neither here nor under {root}; say with --root where it lies")


def _part(pictures: Pictures, train: bool, where: str) -> Pictures:
    if len(pictures) < 10:
        raise ValueError(f"{where}: pictures there: {len(pictures)}; 10 or more are needed, as every tenth is held out")
    held_out = torch.arange(len(pictures)) % 10 == 9
    return _pick(pictures, (~held_out if train else held_out).nonzero()[:, 0])


def _spread(pictures: Pictures, count: int) -> Pictures:
    return _pick(pictures, torch.tensor(spread(count, len(pictures))))


def _pick(pictures: Pictures, index: torch.Tensor) -> Pictures:
    return Pictures(
        pictures.pixels[index],
        None if pictures.labels is None else pictures.labels[index],
        pictures.classes,
        tuple(pictures.captions[i] for i in index.tolist()) if pictures.captions else (),
    )
