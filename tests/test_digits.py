"""The digits are the real scans, in two parts that share none."""

import pytest
import torch
from sklearn.datasets import load_digits

from ldm_edu.data.digits import digits


def test_the_two_parts_hold_every_scan_once():
    train, held_out = digits(8), digits(8, train=False)
    assert (len(train), len(held_out)) == (1500, 297)
    both = torch.cat([train.pixels, held_out.pixels])
    labels = torch.cat([train.labels, held_out.labels])
    scans, truth = load_digits(return_X_y=True)
    # 0 … 16 becomes 0 … 255: a scan and its label, as text, to compare as multisets
    expected = torch.from_numpy(scans).mul(255 / 16).round().to(torch.uint8)
    ours = sorted(zip(map(bytes, both.flatten(1).numpy()), labels.tolist(), strict=True))
    assert ours == sorted(zip(map(bytes, expected.numpy()), truth.tolist(), strict=True))
    assert len({scan for scan, _ in ours}) == 1797


def test_every_class_is_in_both_parts():
    for part in (digits(8), digits(8, train=False)):
        assert part.labels.unique().tolist() == list(range(10))
        assert part.classes == tuple("0123456789")


def test_a_larger_size_is_the_same_picture():
    small, large = digits(8, train=False), digits(32, train=False)
    assert large.pixels.shape == (297, 1, 32, 32)
    assert torch.equal(small.labels, large.labels)
    mean = torch.nn.functional.avg_pool2d(large.pixels.float(), 4)
    a, b = mean.flatten(), small.pixels.float().flatten()
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.97


def test_the_order_is_always_the_same_and_the_global_numbers_are_left_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = digits(8)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    assert torch.equal(first.pixels, digits(8).pixels)


def test_smaller_than_the_scans_is_refused():
    with pytest.raises(ValueError, match="size must be 8 or more, got 4"):
        digits(4)
