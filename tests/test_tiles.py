"""Windows and tiles put a picture of any size through a model of one size and lose nothing of it."""

from itertools import pairwise

import pytest
import torch

from ldm_edu.tiles import joined, resized, tile_corners, window

SIZES = [(16, 16), (16, 40), (41, 23), (5, 7), (1, 1), (100, 3), (17, 16), (28, 28)]


def picture(size, channels=2):
    return torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_window_beyond_the_border_sees_the_mirrored_picture():
    row = torch.tensor([1.0, 2, 3]).view(1, 1, 1, 3)
    assert window(row, 0, -4, 1, 11).flatten().tolist() == [3, 3, 2, 1, 1, 2, 3, 3, 2, 1, 1]
    column = row.transpose(2, 3)
    assert window(column, 1, 0, 4, 1).flatten().tolist() == [2, 3, 3, 2]
    assert window(column, 1, 0, 2, 1).flatten().tolist() == [2, 3]


def test_another_size_keeps_what_is_even_and_the_range():
    assert (resized(torch.full((1, 3, 8, 6), 0.25), 5, 13) - 0.25).abs().max() < 1e-6
    edges = resized(picture((8, 8)).sign(), 31, 29)
    assert edges.shape == (1, 2, 31, 29)
    assert -1 <= edges.min() <= edges.max() <= 1
    given = picture((5, 5))
    assert resized(given, 5, 5) is given


def test_shrinking_is_smoothed_first():
    stripes = torch.ones(1, 1, 8, 64)
    stripes[..., ::2] = -1
    assert resized(stripes, 8, 16)[..., 2:-2].abs().max() < 0.1  # taking every fourth pixel would give -1 everywhere


@pytest.mark.parametrize("overlap", [0, 4, 7])
@pytest.mark.parametrize("size", SIZES)
def test_tiles_cover_a_picture_with_overlap_and_join_to_it(size, overlap):
    corners = tile_corners(size, 16, overlap)
    tops, lefts = sorted({c[0] for c in corners}), sorted({c[1] for c in corners})
    for length, starts in zip(size, (tops, lefts), strict=True):
        assert starts[0] == 0
        assert starts[-1] == max(0, length - 16)
        assert all(b - a <= 16 - overlap for a, b in pairwise(starts))
    assert len(corners) == len(tops) * len(lefts)
    given = picture(size)
    tiles = torch.cat([window(given, top, left, 16, 16) for top, left in corners])
    torch.testing.assert_close(joined(tiles, corners, size, overlap), given)


def test_where_tiles_disagree_the_join_goes_over_by_degrees():
    corners = tile_corners((16, 28), 16, 4)
    assert corners == [(0, 0), (0, 12)]
    tiles = torch.stack([torch.zeros(1, 16, 16), torch.ones(1, 16, 16)])
    row = joined(tiles, corners, (16, 28), 4)[0, 0, 8]
    assert (row[:12] == 0).all()
    assert (row[16:] == 1).all()
    torch.testing.assert_close(row[12:16], torch.tensor([0.2, 0.4, 0.6, 0.8]))
