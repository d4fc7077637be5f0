"""Every odd kind of picture is read as it looks, or refused in one line; what is written is what was read."""

import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from ldm_edu.picture_file import (
    MOST_PIXELS,
    Picture,
    PictureError,
    as_channels,
    place_for,
    read_mask,
    read_picture,
    with_content,
    with_hole_filled,
    write_picture,
)

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (5, 7), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
ALPHA = RANDOM.integers(0, 256, (5, 7), dtype=np.uint8)
DEEP = RANDOM.integers(0, 65536, (5, 7), dtype=np.uint16)


def saved(path, array, **options):
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(path, **options)
    return path


def png(path, width, height, bits, kind, rows, *chunks):
    """A PNG file byte by byte, for what Pillow does not write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *(chunk(*c) for c in chunks), chunk(b"IDAT", zlib.compress(rows))]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b""))
    return path


def paletted(clear=None):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    if clear is not None:
        image.info["transparency"] = clear
    return image


# Each file, and what must be read: values, alpha.
KINDS = {
    "colour.png": (COLOUR, COLOUR, None),
    "grey.png": (GREY, GREY[:, :, None], None),
    "alpha.png": (np.dstack([COLOUR, ALPHA]), COLOUR, ALPHA),
    "grey-alpha.png": (np.dstack([GREY, ALPHA]), GREY[:, :, None], ALPHA),
    "deep.png": (DEEP, DEEP[:, :, None], None),
    "deep.tif": (DEEP, DEEP[:, :, None], None),
    "dark-deep.png": (DEEP // 1000, DEEP[:, :, None] // 1000, None),
    "black-and-white.png": (Image.fromarray(GREY > 99), (GREY[:, :, None] > 99) * np.uint8(255), None),
    "palette.png": (paletted(), [[[10, 20, 30], [200, 100, 50]]], None),
    "palette.gif": (paletted(), [[[10, 20, 30], [200, 100, 50]]], None),
    "palette-alpha.png": (paletted(clear=1), [[[10, 20, 30], [200, 100, 50]]], [[255, 0]]),
    "bytes-in-32-bits.tif": (GREY.astype(np.int32), GREY[:, :, None], None),
    "colour.bmp": (COLOUR, COLOUR, None),
    "colour.tif": (COLOUR, COLOUR, None),
    "one-pixel.png": (COLOUR[:1, :1], COLOUR[:1, :1], None),
    "thin.png": (np.tile(COLOUR, (1, 100, 1)), np.tile(COLOUR, (1, 100, 1)), None),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_read_and_written_value_by_value(tmp_path, name):
    array, values, alpha = KINDS[name]
    picture = read_picture(saved(tmp_path / name, array))
    assert picture.notes == ()
    again = tmp_path / "again.png"
    write_picture(picture, again)
    for read in (picture, read_picture(again)):
        np.testing.assert_array_equal(read.values, values)
        assert read.values.dtype == (np.uint16 if "deep" in name else np.uint8)
        if alpha is None:
            assert read.alpha is None
        else:
            np.testing.assert_array_equal(read.alpha, alpha)
    assert os.listdir(tmp_path).count("again.png") == 1
    assert len(os.listdir(tmp_path)) == 2


def test_the_name_does_not_decide_what_a_file_is(tmp_path):
    saved(tmp_path / "x.png", COLOUR).rename(tmp_path / "x.jpg")
    np.testing.assert_array_equal(read_picture(tmp_path / "x.jpg").values, COLOUR)


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turned_camera_is_turned_back(tmp_path, turn):
    upright = np.zeros((8, 16), np.uint8)
    upright[:4, :4] = 255  # white in the corner at the top left
    how = [None, 0, 3, 1, 5, 4, 6, 2][turn - 1]  # the turn that undoes each orientation, by Pillow's own names
    stored = Image.fromarray(upright)
    if how is not None:
        back = {4: 2, 2: 4}.get(how, how)  # 90 and 270 degrees undo each other
        stored = stored.transpose(Image.Transpose(back))
    exif = Image.Exif()
    exif[0x0112] = turn
    picture = read_picture(saved(tmp_path / "turned.png", stored, exif=exif))
    np.testing.assert_array_equal(picture.values[:, :, 0], upright)
    write_picture(picture, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.getexif().get(0x0112, 1) == 1  # not turned a second time


def test_cmyk_is_read_in_its_colours_and_said(tmp_path):
    picture = read_picture(saved(tmp_path / "print.tif", Image.new("CMYK", (3, 2), (255, 0, 0, 0))))
    np.testing.assert_array_equal(picture.values, np.tile(np.uint8([0, 255, 255]), (2, 3, 1)))
    assert picture.notes == ("The CMYK colours of print.tif are turned into RGB, without their colour profile.",)


def test_of_an_animation_the_first_picture_is_taken_and_said(tmp_path):
    frames = [Image.new("L", (4, 4), grey) for grey in (40, 90, 200)]
    path = saved(tmp_path / "film.gif", frames[0], save_all=True, append_images=frames[1:])
    picture = read_picture(path)
    assert picture.notes == ("film.gif holds 3 pictures; only the first is used.",)
    assert (picture.values == 40).all()


def test_sixteen_bits_a_colour_are_rounded_and_said(tmp_path):
    picture = read_picture(png(tmp_path / "deep.png", 1, 1, 16, 2, b"\0" + struct.pack(">3H", 65535, 32896, 0)))
    np.testing.assert_array_equal(picture.values, [[[255, 128, 0]]])
    assert picture.notes == ("deep.png has 16 bits a colour; they are rounded to 8.",)


def test_transparency_of_sixteen_bit_grey_is_lost_and_said(tmp_path):
    clear = (b"tRNS", struct.pack(">H", 700))
    picture = read_picture(png(tmp_path / "deep.png", 2, 1, 16, 0, b"\0" + struct.pack(">2H", 700, 65535), clear))
    np.testing.assert_array_equal(picture.values, [[[700], [65535]]])
    assert picture.notes == ("The transparency of deep.png is lost: it is one of 16-bit grey.",)


def test_a_colour_profile_is_kept_while_the_colours_are(tmp_path):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = read_picture(saved(tmp_path / "profiled.jpg", COLOUR, icc_profile=profile))
    write_picture(with_content(picture, picture.floats()), tmp_path / "out.png")
    assert read_picture(tmp_path / "out.png").profile == profile
    assert with_content(picture, torch.zeros(1, 1, 2, 2)).profile is None
    assert read_picture(saved(tmp_path / "deep.png", DEEP, icc_profile=profile)).profile == profile


def damaged(tmp_path, name):
    """A file that can't be taken, by name."""
    path = tmp_path / name
    if name == "folder.png":
        path.mkdir()
    elif name == "empty.png":
        path.touch()
    elif name == "text.png":
        path.write_text("not a picture")
    elif name == "cut.png":
        data = saved(path, np.tile(COLOUR, (20, 20, 1))).read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif name == "cut.jpg":
        data = saved(path, np.tile(COLOUR, (20, 20, 1))).read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif name == "cut.gif":
        data = saved(path, np.tile(GREY, (20, 20))).read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif name == "nothing.png":
        png(path, 0, 4, 8, 0, b"")
    elif name == "nothing.ppm":
        path.write_bytes(b"P6 0 4 255\n")
    elif name == "bomb.png":
        png(path, 60_000, 60_000, 8, 0, b"")
    elif name == "large.png":
        png(path, 10_000, 10_000, 8, 0, b"")
    elif name == "floats.tif":
        saved(path, GREY.astype(np.float32))
    elif name == "deeper.tif":
        saved(path, GREY.astype(np.int32) * 100_000)
    elif name == "pipe.png":
        os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.png", "absent.png: no such file"),
        ("folder.png", "folder.png: a folder; give one picture file"),
        ("empty.png", "empty.png: an empty file"),
        ("text.png", "text.png: not a picture of a known kind"),
        ("cut.png", "cut.png: cannot be read as a picture"),
        ("cut.jpg", "cut.jpg: cannot be read as a picture"),
        ("cut.gif", "cut.gif: cannot be read as a picture"),
        ("nothing.png", "nothing.png: "),
        ("nothing.ppm", "nothing.ppm: "),
        ("bomb.png", f"bomb.png: too large; at most {MOST_PIXELS:,} pixels"),
        ("large.png", f"large.png: 10000×10000 is too large; at most {MOST_PIXELS:,} pixels"),
        ("floats.tif", "floats.tif: its values are floats, whose white is not known"),
        ("deeper.tif", "save it with 8 or 16 bits"),
        pytest.param(
            "pipe.png", "pipe.png: not a file", marks=pytest.mark.skipif(os.name == "nt", reason="no such files")
        ),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(tmp_path, name, message):
    path = damaged(tmp_path, name)
    with pytest.raises(PictureError) as error:
        read_picture(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [n for n in KINDS if "alpha" not in n])
def test_values_come_back_from_floats(tmp_path, name):
    picture = read_picture(saved(tmp_path / name, KINDS[name][0]))
    floats = picture.floats()
    assert floats.dtype == torch.float32
    assert floats.shape == (1, picture.channels, *picture.size)
    assert -1 <= floats.min() <= floats.max() <= 1
    np.testing.assert_array_equal(with_content(picture, floats).values, picture.values)


def test_colour_in_place_of_deep_grey_has_bytes():
    new = with_content(Picture(DEEP[:, :, None]), torch.ones(1, 3, 2, 2))
    np.testing.assert_array_equal(new.values, np.full((2, 2, 3), 255, np.uint8), strict=True)


def test_black_and_white_are_the_ends_of_the_range():
    for top, kind in ((255, np.uint8), (65535, np.uint16)):
        assert Picture(np.array([[[0], [top]]], kind)).floats().tolist() == [[[[-1.0, 1.0]]]]


def test_transparent_parts_are_seen_over_white_and_stay_transparent():
    values = np.array([[[0, 0, 0], [0, 0, 0], [255, 0, 0]]], np.uint8)
    picture = Picture(values, np.array([[0, 51, 255]], np.uint8))
    seen = picture.floats()
    torch.testing.assert_close(seen[0, :, 0].T, torch.tensor([[1.0, 1, 1], [0.6, 0.6, 0.6], [1, -1, -1]]))
    back = with_content(picture, seen, picture.opacity())
    np.testing.assert_array_equal(back.alpha, picture.alpha)
    np.testing.assert_array_equal(back.values[0, 1:], values[0, 1:])  # what can't be seen has no colour to keep
    assert with_content(picture, seen).alpha is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["colour.png", "grey.png", "alpha.png", "grey-alpha.png", "deep.png"])
def test_filling_a_hole_changes_nothing_else(tmp_path, name, channels):
    picture = read_picture(saved(tmp_path / name, KINDS[name][0]))
    hole = np.zeros((5, 7), bool)
    hole[1:3, 2:5] = True
    filled = with_hole_filled(picture, torch.zeros(1, channels, 5, 7), hole)
    assert filled.values.dtype == picture.values.dtype
    np.testing.assert_array_equal(filled.values[~hole], picture.values[~hole])
    np.testing.assert_array_equal(filled.values[hole], round(picture.top / 2))
    if picture.alpha is not None:
        np.testing.assert_array_equal(filled.alpha[~hole], picture.alpha[~hole])
        assert (filled.alpha[hole] == picture.top).all()


def test_channels_are_repeated_or_weighed():
    pictures = torch.rand(2, 3, 4, 5)
    assert as_channels(pictures, 3) is pictures
    grey = as_channels(pictures, 1)
    torch.testing.assert_close(grey[:, 0], 0.299 * pictures[:, 0] + 0.587 * pictures[:, 1] + 0.114 * pictures[:, 2])
    torch.testing.assert_close(as_channels(as_channels(grey, 3), 1), grey)


def test_masks_are_white_where_to_fill(tmp_path):
    picture = Picture(COLOUR)
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "grey.png", GREY), picture), GREY >= 128)
    painted = np.dstack([np.full_like(COLOUR, 255), ALPHA])  # white paint on a transparent ground
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "painted.png", painted), picture), ALPHA >= 128)
    with pytest.raises(PictureError, match=r"wide.png: the mask is 4×3, the picture 7×5; they must be of one size"):
        read_mask(saved(tmp_path / "wide.png", GREY[:3, :4]), picture)


def test_results_go_beside_the_original_unless_told(tmp_path):
    original = saved(tmp_path / "a.b.jpg", COLOUR)
    assert place_for(original, None, "edited", force=False) == tmp_path / "a.b-edited.png"
    assert place_for(original, tmp_path / "new" / "x.PNG", "edited", force=False) == tmp_path / "new" / "x.PNG"
    (tmp_path / "folder").mkdir()
    assert place_for(original, tmp_path / "folder", "edited", force=False) == tmp_path / "folder" / "a.b-edited.png"
    with pytest.raises(PictureError, match=r"x.jpg: results are written as .png"):
        place_for(original, tmp_path / "x.jpg", "edited", force=False)
    (tmp_path / "folder" / "a.b-edited.png").mkdir()
    with pytest.raises(PictureError, match="a folder has this name"):
        place_for(original, tmp_path / "folder", "edited", force=False)


def test_what_is_there_is_not_replaced_unasked(tmp_path):
    original = saved(tmp_path / "a.png", COLOUR)
    taken = saved(tmp_path / "a-edited.png", GREY)
    for out in (None, taken):
        with pytest.raises(PictureError, match=r"a-edited.png: exists already; choose another --out, or .* --force"):
            place_for(original, out, "edited", force=False)
        assert place_for(original, out, "edited", force=True) == taken


@pytest.mark.skipif(os.name == "nt", reason="Windows allows links to few")
def test_a_link_that_leads_nowhere_is_there_too(tmp_path):
    original = saved(tmp_path / "a.png", COLOUR)
    nowhere = tmp_path / "nowhere.png"
    nowhere.symlink_to(tmp_path / "absent")
    with pytest.raises(PictureError, match="exists already"):
        place_for(original, nowhere, "edited", force=False)


@pytest.mark.skipif(os.name == "nt", reason="Windows allows links to few")
def test_what_is_read_is_never_the_place_to_write(tmp_path, monkeypatch):
    original, mask = saved(tmp_path / "a.png", COLOUR), saved(tmp_path / "mask.png", GREY)
    (tmp_path / "soft.png").symlink_to(original)
    (tmp_path / "hard.png").hardlink_to(original)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    for out in ("a.png", "sub/../a.png", "soft.png", "hard.png", str(original), "mask.png"):
        with pytest.raises(PictureError, match="which is read and never overwritten"):
            place_for("a.png", out, "edited", force=True, others=(mask,))


def test_a_place_that_cannot_be_written_is_left_as_it_was(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ValueError, match="could not be written"):
        write_picture(Picture(COLOUR), tmp_path / "file" / "out.png")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
