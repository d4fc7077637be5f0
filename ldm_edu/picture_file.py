"""One picture file, for the commands that edit and restore: read whole or refused, written beside the original.

Notebooks 09 and 10 show these commands. `ldm_edu.data.images` reads pictures to train on, all cropped to one size.
"""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ldm_edu.checkpoint import write_atomic

MOST_PIXELS = 50_000_000  # a camera's largest picture; a small file may claim to hold far more
GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue in a grey value, ITU-R BT.601


class PictureError(ValueError):
    """A file that is no picture, or one that cannot be taken."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as its file has it, turned upright.

    Args:
        values: (H, W, 1) grey or (H, W, 3) colour; uint8, or uint16 for 16-bit grey.
        alpha: (H, W) of the same type, 0 transparent; None without transparency.
        profile: the file's ICC colour profile.
        notes: sentences on what of the file is not taken over.
    """

    values: np.ndarray
    alpha: np.ndarray | None = None
    profile: bytes | None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.values.shape[:2]

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return self.values.shape[2]

    @property
    def top(self) -> int:
        """The value of white."""
        return np.iinfo(self.values.dtype).max

    def floats(self, background: float = 1.0) -> Tensor:
        """(1, channels, H, W) float32 in [-1, 1], transparent parts over a grey value, white unless given."""
        pixels = torch.from_numpy(self.values.astype(np.float32)).permute(2, 0, 1)[None] / self.top * 2 - 1
        opaque = self.opacity()
        return pixels if opaque is None else background + opaque * (pixels - background)

    def opacity(self) -> Tensor | None:
        """Alpha as (1, 1, H, W) float32 in [0, 1]; None without transparency."""
        return None if self.alpha is None else torch.from_numpy(self.alpha.astype(np.float32) / self.top)[None, None]


def read_picture(path: str | Path) -> Picture:
    """Read a picture file of any kind that Pillow knows.

    Raises:
        PictureError: no such file, a folder, no picture, a damaged one, a huge one, or one without a known white.
    """
    from PIL import Image, UnidentifiedImageError

    path = Path(path)
    if path.is_dir():
        raise PictureError(f"{path}: a folder; give one picture file")
    if not path.exists():
        raise PictureError(f"{path}: no such file")
    if not path.is_file():
        raise PictureError(f"{path}: not a file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of sizes that are judged below
            with Image.open(path) as image:
                return _taken(image, path)
    except PictureError:
        raise
    except Image.DecompressionBombError:
        raise PictureError(f"{path}: too large; at most {MOST_PIXELS:,} pixels are taken") from None
    except UnidentifiedImageError:
        what = "not a picture of a known kind" if path.stat().st_size else "an empty file"
        raise PictureError(f"{path}: {what}; give a PNG or JPEG file") from None
    except Exception as error:  # decoders of damaged files raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"{path}: cannot be read as a picture ({reason})") from None


def _taken(image, path: Path) -> Picture:
    """What Pillow holds as a `Picture`."""
    from PIL import ImageOps

    width, height = image.size
    if min(image.size) < 1:
        raise PictureError(f"{path}: has no pixels ({width}×{height})")
    if width * height > MOST_PIXELS:
        raise PictureError(f"{path}: {width}×{height} is too large; at most {MOST_PIXELS:,} pixels are taken")
    notes = []
    if (frames := getattr(image, "n_frames", 1)) > 1:
        notes.append(f"{path.name} holds {frames} pictures; only the first is used.")
    if image.mode in ("RGB", "RGBA") and any(";16" in str(tile[3]) for tile in image.tile):
        notes.append(f"{path.name} has 16 bits a colour; they are rounded to 8.")
    image.load()
    clear = "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La")
    deep = image.mode == "I" or image.mode.startswith("I;16")
    upright = ImageOps.exif_transpose(image)
    if deep:
        if clear:
            notes.append(f"The transparency of {path.name} is lost: it is one of 16-bit grey.")
        profile = image.info.get("icc_profile")
        return Picture(_deep_grey(upright, image.format, path)[:, :, None], profile=profile, notes=tuple(notes))
    if image.mode == "F":
        raise PictureError(f"{path}: its values are floats, whose white is not known; save it with 8 or 16 bits")
    plain = image.mode in ("1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBa", "La")
    if not plain:
        notes.append(f"The {image.mode} colours of {path.name} are turned into RGB, without their colour profile.")
    grey = image.mode in ("1", "L", "LA", "La")
    array = np.array(upright.convert(("LA" if clear else "L") if grey else ("RGBA" if clear else "RGB")))
    array = array.reshape(*array.shape[:2], -1)
    colours = 1 if grey else 3
    profile = image.info.get("icc_profile") if plain else None
    return Picture(array[:, :, :colours], array[:, :, colours] if clear else None, profile, tuple(notes))


def _deep_grey(image, kind: str, path: Path) -> np.ndarray:
    """Grey values of more than 8 bits as (H, W) uint16; a 32-bit file that holds bytes as uint8."""
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise PictureError(f"{path}: its values go from {low} to {high}; save it with 8 or 16 bits")
    holds_bytes = image.mode == "I" and kind != "PNG" and high <= 255  # older Pillow has 16-bit PNG as "I"
    return values.astype(np.uint8 if holds_bytes else np.uint16)


def as_channels(pictures: Tensor, channels: int) -> Tensor:
    """Pictures (B, 1 or 3, H, W) with so many channels: grey repeated, or colour weighed into grey."""
    if pictures.shape[1] == channels:
        return pictures
    if channels == 3:
        return pictures.expand(-1, 3, -1, -1)
    return (pictures * torch.tensor(GREY).to(pictures).view(1, 3, 1, 1)).sum(1, keepdim=True)


def with_content(picture: Picture, content: Tensor, opacity: Tensor | None = None) -> Picture:
    """A picture of another content, of any size, with the old one's depth (colour has 8 bits); notes are dropped.

    Args:
        content: (1, 1 or 3, H, W) in [-1, 1], as seen over white.
        opacity: (1, 1, H, W) in [0, 1], or None for an opaque result. Where it is 0 the colour says nothing.
    """
    content = content.detach().float().cpu()
    if opacity is not None:
        seen_through = torch.where(opacity > 0, opacity, 1)
        content = 1 + (content - 1) / seen_through  # the colour that gives the content when laid over white
    kind = picture.values.dtype if content.shape[1] == 1 else np.uint8
    top = np.iinfo(kind).max
    values = ((content[0].clamp(-1, 1) + 1) * (top / 2)).round().permute(1, 2, 0).numpy().astype(kind)
    alpha = None if opacity is None else (opacity[0, 0].clamp(0, 1) * top).round().numpy().astype(kind)
    profile = picture.profile if values.shape[2] == picture.channels else None
    return Picture(values, alpha, profile)


def with_hole_filled(picture: Picture, content: Tensor, hole: np.ndarray) -> Picture:
    """The picture with new content in a hole, opaque there; all other values are the very same.

    Args:
        content: (1, 1 or 3, H, W) in [-1, 1], of the picture's size; grey where the picture is grey.
        hole: (H, W) bool.
    """
    new = with_content(picture, as_channels(content, picture.channels)).values
    alpha = None if picture.alpha is None else np.where(hole, picture.top, picture.alpha).astype(picture.alpha.dtype)
    return replace(picture, values=np.where(hole[:, :, None], new, picture.values), alpha=alpha, notes=())


def read_mask(path: str | Path, picture: Picture) -> np.ndarray:
    """A mask file as (H, W) bool: True where it is nearer to white than to black; transparent is black.

    Raises:
        PictureError: as for `read_picture`, or of another size than the picture.
    """
    mask = read_picture(path)
    if mask.size != picture.size:
        (h, w), (height, width) = mask.size, picture.size
        raise PictureError(f"{path}: the mask is {w}×{h}, the picture {width}×{height}; they must be of one size")
    return (as_channels(mask.floats(background=-1.0), 1)[0, 0] > 0).numpy()


def write_picture(picture: Picture, path: str | Path) -> None:
    """Write a PNG file, whole or not at all, with the picture's depth, transparency and colour profile."""
    from PIL import Image

    layers = picture.values if picture.alpha is None else np.dstack([picture.values, picture.alpha])
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(layers[:, :, 0] if layers.shape[2] == 1 else layers))
    image.save(buffer, format="png", icc_profile=picture.profile)
    write_atomic(path, buffer.getvalue())


def place_for(original: str | Path, out: str | Path | None, ending: str, *, force: bool, others: tuple = ()) -> Path:
    """Where a result goes: `out`, or NAME-ending.png beside the original.

    Args:
        out: a .png file, a folder, or None.
        force: whether a file that is there may be replaced; the original and the others never are.
        others: further files that are read.
    Raises:
        PictureError: a place that is taken, or that is no .png file.
    """
    if Path(original).is_dir():
        raise PictureError(f"{original}: a folder; give one picture file")
    name = f"{Path(original).stem}-{ending}.png"
    path = Path(original).with_name(name) if out is None else Path(out)
    if path.is_dir():
        path = path / name
    if path.suffix.lower() != ".png":
        raise PictureError(f"--out {path}: results are written as .png, which keeps every value; name it so")
    if path.is_dir():
        raise PictureError(f"--out {path}: a folder has this name; choose another")
    for given in (original, *others):
        if path.exists() and Path(given).exists() and os.path.samefile(path, given):
            raise PictureError(f"--out {path}: this is {given}, which is read and never overwritten; choose another")
    if os.path.lexists(path) and not force:
        raise PictureError(f"{path}: exists already; choose another --out, or replace it with --force")
    return path
