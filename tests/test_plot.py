"""Figures are valid PNG files with the right pixels."""

import io

import pytest
import torch
from PIL import Image
from torchvision.utils import make_grid

from ldm_edu.data.pictures import to_bytes
from ldm_edu.plot import grid, save_png, save_rows


def test_a_grid_lays_pictures_out_in_rows_on_white():
    pictures = torch.stack([torch.full((1, 2, 2), v) for v in (-1.0, 0.0, 1.0)])
    sheet = grid(pictures, columns=2, scale=3, padding=1)
    assert sheet.dtype == torch.uint8
    assert sheet.shape == (3, 2 * 7 + 1, 2 * 7 + 1)
    assert (sheet[:, 1:7, 1:7] == 0).all()
    assert (sheet[:, 1:7, 8:14] == 128).all()
    assert (sheet[:, 8:14, 1:7] == 255).all()
    assert (sheet[:, 0] == 255).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_holds_the_very_pixels(tmp_path, channels):
    pixels = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
    save_png(pixels, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert (image.format, image.size) == ("PNG", (7, 5))
        data = torch.tensor(list(image.tobytes()), dtype=torch.uint8).reshape(5, 7, channels).permute(2, 0, 1)
    assert torch.equal(data, pixels)


def test_a_figure_of_rows_is_a_png(tmp_path):
    rows = {"Real": torch.rand(4, 1, 8, 8), "Drawn": torch.rand(10, 1, 8, 8)}
    save_rows(rows, tmp_path / "deep" / "x.png", columns=5, title="Digits")
    data = (tmp_path / "deep" / "x.png").read_bytes()
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x.png"]
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.format == "PNG"
        assert image.width == 1500


def test_few_pictures_keep_their_size_beside_many(tmp_path):
    save_rows({"two": torch.zeros(2, 1, 8, 8), "forty": torch.zeros(40, 1, 8, 8)}, tmp_path / "rows.png", columns=20)
    save_rows({"forty": torch.zeros(40, 1, 8, 8)}, tmp_path / "one.png", columns=20)
    (wide, tall), (width, one) = (
        Image.open(io.BytesIO((tmp_path / n).read_bytes())).size for n in ("rows.png", "one.png")
    )
    assert wide == width
    assert tall < 2 * one


@pytest.mark.parametrize(("count", "channels", "columns"), [(1, 3, 8), (3, 1, 8), (7, 3, 3), (6, 3, 2)])
def test_a_grid_is_laid_out_as_torchvisions(count, channels, columns):
    pictures = 2 * torch.rand(count, channels, 5, 4, generator=torch.Generator().manual_seed(0)) - 1
    expected = make_grid(to_bytes(pictures), nrow=columns, padding=2, pad_value=255)
    assert torch.equal(grid(pictures, columns), expected)
