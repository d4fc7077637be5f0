"""Pictures from disk come in right, whatever they are, and what is no picture is named."""

import math
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import picture_folder

from ldm_edu.data.images import fashion_mnist, folder, mnist, open_picture

SHARED = Path(__file__).parents[2] / "shared" / "data"
RED = [255, 0, 0]


def corners():
    """A picture whose four quarters are red, green, blue and grey."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4, :4], pixels[:4, 4:], pixels[4:, :4], pixels[4:, 4:] = RED, [0, 255, 0], [0, 0, 255], [128] * 3
    return pixels


def test_pixels_come_in_as_they_are(tmp_path):
    Image.fromarray(corners()).save(tmp_path / "x.png")
    got = open_picture(tmp_path / "x.png", 8)
    assert torch.equal(got, torch.from_numpy(corners()).permute(2, 0, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_that_was_turned_does_not_show(tmp_path, orientation):
    upright = Image.fromarray(corners())
    undo = {  # how the camera stored the scene, for each value of the EXIF tag
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "x.png", exif=exif)
    assert torch.equal(open_picture(tmp_path / "x.png", 8), torch.from_numpy(corners()).permute(2, 0, 1))


def one_colour(mode, value):
    return Image.new(mode, (8, 8), value)


def palette(transparent):
    image = Image.fromarray(corners()).convert("P", palette=Image.Palette.ADAPTIVE)
    return image, {"transparency": image.getpixel((0, 0))} if transparent else {}


@pytest.mark.parametrize(
    ("image", "name", "colour"),
    [
        (one_colour("RGB", tuple(RED)), "x.png", RED),
        (one_colour("RGBA", (255, 0, 0, 0)), "x.png", [255, 255, 255]),
        (one_colour("RGBA", (255, 0, 0, 51)), "x.png", [255, 204, 204]),
        (one_colour("LA", (0, 128)), "x.png", [127, 127, 127]),
        (one_colour("L", 77), "x.png", [77, 77, 77]),
        (one_colour("1", 1), "x.png", [255, 255, 255]),
        (one_colour("CMYK", (0, 255, 255, 0)), "x.tif", RED),
        (one_colour("I;16", 257 * 90), "x.png", [90, 90, 90]),
        (one_colour("I;16", 200), "x.tif", [1, 1, 1]),
        (one_colour("I", 257 * 90), "x.tif", [90, 90, 90]),
        (one_colour("F", 90.0), "x.tif", [90, 90, 90]),
        (one_colour("HSV", (0, 255, 255)).convert("RGB"), "x.bmp", RED),
        (one_colour("RGB", tuple(RED)), "x.gif", RED),
        (one_colour("RGB", tuple(RED)), "x.webp", RED),
        (one_colour("RGB", tuple(RED)), "x.jpg", RED),
    ],
)
def test_every_mode_gives_its_colour(tmp_path, image, name, colour):
    image.save(tmp_path / name)
    got = open_picture(tmp_path / name, 8)
    assert got.dtype == torch.uint8
    assert got.shape == (3, 8, 8)
    assert (got.float() - torch.tensor(colour).view(3, 1, 1)).abs().max() <= (2 if name[-3:] in ("jpg", "ebp") else 1)
    grey = open_picture(tmp_path / name, 8, channels=1)
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    assert grey.shape == (1, 8, 8)
    assert (grey.float() - luma).abs().max() <= 2


@pytest.mark.parametrize("transparent", [False, True])
def test_a_palette_with_and_without_a_transparent_entry(tmp_path, transparent):
    image, options = palette(transparent)
    image.save(tmp_path / "x.png", **options)
    got = open_picture(tmp_path / "x.png", 8)
    assert got[:, 0, 0].tolist() == ([255, 255, 255] if transparent else RED)
    assert got[:, 0, 7].tolist() == [0, 255, 0]


def test_the_middle_square_is_taken(tmp_path):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = corners()
    Image.fromarray(wide).save(tmp_path / "x.png")
    assert torch.equal(open_picture(tmp_path / "x.png", 8), torch.from_numpy(corners()).permute(2, 0, 1))
    assert open_picture(tmp_path / "x.png", 5).shape == (3, 5, 5)


def test_files_that_are_no_pictures_are_named(tmp_path):
    Image.fromarray(corners()).save(tmp_path / "good.png")
    data = (tmp_path / "good.png").read_bytes()
    bad = {"text.png": b"hello", "empty.png": b"", "cut.png": data[: len(data) // 2], "random.jpg": bytes(range(256))}
    bad["tiff.tif"] = b"II*\x00" + struct.pack("<I", 8) + b"\xff" * 20
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: cannot be read as a picture .*; remove or replace it"):
            open_picture(tmp_path / name, 8)
    with pytest.raises(ValueError, match="no such file"):
        open_picture(tmp_path / "absent.png", 8)
    with pytest.raises(ValueError, match=r"cannot be read as a picture \(a folder\)"):
        open_picture(tmp_path, 8)


@pytest.mark.skipif(os.name == "nt", reason="no such files")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match=r"pipe.png: cannot be read as a picture \(not a file\)"):
        open_picture(tmp_path / "pipe.png", 8)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (np.float32, 0.5, "from 0 to 0.5"),
        (np.float32, math.nan, "from nan to nan"),
        (np.float32, 300, "from 0 to 300"),
        (np.int32, 70_000, "from 0 to 70000"),
        (np.int32, -3, "from -3 to 0"),
    ],
)
def test_values_without_a_known_white_are_refused(tmp_path, kind, value, said):
    values = np.zeros((8, 8), kind)
    values[0, 0] = value
    Image.fromarray(values).save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match=f"its values go {said}, whose white is not known; save it with 8 or 16 bits"):
        open_picture(tmp_path / "x.tif", 8)


def test_sixteen_bit_grey_with_a_transparent_value_lies_on_white(tmp_path):
    values = np.full((8, 8), 257 * 90, np.uint16)
    values[:, :4] = 700
    Image.fromarray(values).save(tmp_path / "x.png", transparency=700)
    assert open_picture(tmp_path / "x.png", 8)[:, 0].tolist() == [[255] * 4 + [90] * 4] * 3


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    for name, value in (("b.png", 2), ("a.png", 1), ("c.png", 3), (".hidden.png", 9)):
        one_colour("L", value).save(tmp_path / name)
    (tmp_path / "Thumbs.db").write_text("x")
    pictures = folder(tmp_path, 8)
    assert pictures.pixels[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert pictures.labels is None
    assert pictures.classes == ()


def test_sub_folders_are_classes(tmp_path):
    for name, value in (("dog/1.png", 3), ("cat/1.png", 1), ("cat/2.png", 2)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        one_colour("L", value).save(tmp_path / name)
    (tmp_path / "cat" / "desktop.ini").write_text("x")
    pictures = folder(tmp_path, 8)
    assert pictures.classes == ("cat", "dog")
    assert pictures.labels.tolist() == [0, 0, 1]
    assert pictures.pixels[:, 0, 0, 0].tolist() == [1, 2, 3]


def test_folders_that_are_no_sets_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        folder(tmp_path / "absent", 8)
    with pytest.raises(ValueError, match="holds no pictures"):
        folder(tmp_path, 8)
    (tmp_path / "cat").mkdir()
    with pytest.raises(ValueError, match="cat: holds no pictures; every sub-folder is a class"):
        folder(tmp_path, 8)
    picture_folder(tmp_path, 1)
    with pytest.raises(ValueError, match=r"holds files \(00\.png, …\) beside sub-folders"):
        folder(tmp_path, 8)


def test_a_set_that_is_not_there_says_what_to_do(tmp_path):
    for load in (mnist, fashion_mnist):
        with pytest.raises(ValueError, match=r"not found or not whole under .* --download .*, or point --root"):
            load(root=tmp_path)
    assert not list(tmp_path.rglob("*.gz"))


@pytest.fixture
def root(tmp_path, request):
    """A writable folder with the set's own compressed files, which torchvision unpacks without a network."""
    raw = SHARED / request.param / "raw"
    if not raw.is_dir():
        pytest.skip(f"no {request.param} in {SHARED}")
    shutil.copytree(raw, tmp_path / request.param / "raw", copy_function=shutil.copyfile)
    return tmp_path


@pytest.mark.parametrize(
    ("root", "load", "name"),
    [("MNIST", mnist, "5 - five"), ("FashionMNIST", fashion_mnist, "Sandal")],
    indirect=["root"],
)
def test_real_sets_are_read_whole(root, load, name):
    held_out = load(root=root, train=False, download=True)
    assert held_out.pixels.shape == (10_000, 1, 32, 32)
    assert held_out.labels.unique().tolist() == list(range(10))
    assert held_out.classes[5] == name
    assert (held_out.pixels[:, :, [0, 1, 30, 31]] == 0).all()  # padded, not resampled
    assert (held_out.pixels[..., [0, 1, 30, 31]] == 0).all()
    plain = load(28, root=root, train=False)
    assert torch.equal(plain.pixels, held_out.pixels[:, :, 2:30, 2:30])
    small = load(16, root=root, train=False)
    assert small.pixels.shape == (10_000, 1, 16, 16)
    assert small.pixels.float().mean().item() == pytest.approx(plain.pixels.float().mean().item(), rel=0.05)
    assert len(load(root=root)) == 60_000


@pytest.mark.parametrize("root", ["MNIST"], indirect=True)
def test_a_set_that_was_cut_short_is_refused(root):
    mnist(root=root, train=False, download=True)
    path = root / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="mnist: not found or not whole"):
        mnist(root=root, train=False)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: bytes(len(whole)),
        lambda whole: b"<!DOCTYPE html><title>404 Not Found</title>",
        lambda whole: whole[:100],
        lambda whole: whole[:3],
        lambda whole: b"",
    ],
    ids=["zeros", "html", "cut", "cut in its head", "empty"],
)
@pytest.mark.parametrize("load", [mnist, fashion_mnist])
@pytest.mark.parametrize("file", ["images-idx3-ubyte", "labels-idx1-ubyte"])
def test_a_damaged_file_is_one_to_remove(tmp_path, load, file, damage):
    raw = tmp_path / {mnist: "MNIST", fashion_mnist: "FashionMNIST"}[load] / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, 200, 28, 28) + bytes(200 * 28 * 28))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 200) + bytes(200))
    assert len(load(root=tmp_path)) == 200
    path = raw / f"train-{file}"
    path.write_bytes(damage(path.read_bytes()))
    for download in (False, True):
        with pytest.raises(ValueError, match=r"not whole under .* Where damaged files are there, remove them first"):
            load(root=tmp_path, download=download)


def test_a_folder_inside_a_class_is_named(tmp_path):
    picture_folder(tmp_path / "a", 3)
    picture_folder(tmp_path / "b" / "deeper", 3)
    with pytest.raises(ValueError, match=r"deeper: a folder inside a class; put pictures only into .*b$"):
        folder(tmp_path, 8)
