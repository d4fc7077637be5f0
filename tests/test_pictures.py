"""A picture set holds together or is refused."""

import pytest
import torch

from ldm_edu.data.pictures import Pictures, at_once, mirrored, to_bytes, to_float

PIXELS = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 1])


def test_a_set_knows_its_size():
    pictures = Pictures(PIXELS, LABELS, ("a", "b"))
    assert (len(pictures), pictures.channels, pictures.size) == (3, 1, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((PIXELS.float(),), "must be .* uint8"),
        ((PIXELS[0],), "must be .* uint8"),
        ((PIXELS[:0],), "N ≥ 1"),
        ((PIXELS, LABELS[:2], ("a", "b")), r"labels must be \(3,\) int64"),
        ((PIXELS, LABELS.int(), ("a", "b")), "int64, got torch.int32"),
        ((PIXELS, LABELS, ("a",)), r"lie in \[0, 1\).* got 0 … 1"),
        ((PIXELS, LABELS - 1, ("a", "b")), "got -1 … 0"),
        ((PIXELS, None, (), ("one",)), "3 pictures but 1 captions"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Pictures(*arguments)


def test_bytes_and_floats_are_one_to_one():
    levels = torch.arange(256, dtype=torch.uint8)
    floats = to_float(levels)
    assert (floats[0], floats[-1]) == (-1, 1)
    assert torch.equal(to_bytes(floats), levels)
    assert to_bytes(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_mirrored_pictures_follow_with_their_labels_and_captions():
    pixels = torch.arange(2 * 3 * 4 * 4).view(2, 3, 4, 4).to(torch.uint8)
    both = mirrored(Pictures(pixels, torch.tensor([1, 0]), ("a", "b"), ("one", "two")))
    assert torch.equal(both.pixels[:2], pixels)
    assert torch.equal(both.pixels[2:, :, :, 0], pixels[:, :, :, 3])
    assert both.labels.tolist() == [1, 0, 1, 0]
    assert both.captions == ("one", "two", "one", "two")
    assert mirrored(Pictures(pixels)).labels is None


@pytest.mark.parametrize(("size", "count"), [(8, 256), (64, 256), (128, 125), (512, 7), (4096, 1)])
def test_large_pictures_are_taken_in_smaller_batches(size, count):
    assert at_once(256, (1000, 3, size, size)) == count
    assert at_once(500, (64, 64)) == 500
    assert at_once(3, (size, size)) == min(3, count)
