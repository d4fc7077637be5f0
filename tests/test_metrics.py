"""Scores against hand computations."""

import math

import pytest
import torch
from torch import nn

from ldm_edu.metrics import frechet_distance, nearest_distance, psnr, recognition


class Plain(nn.Module):
    """Stands for a classifier: a picture's own pixels are its features and its logits."""

    def __init__(self, num_features):
        super().__init__()
        self.num_features = num_features

    def features(self, pictures):
        return pictures.flatten(1)

    def forward(self, pictures):
        return pictures.flatten(1)


def test_psnr_of_a_known_error():
    reference = torch.zeros(2, 1, 4, 4)
    off = reference.clone()
    off[0] += 0.1
    off[1] += 0.2
    expected = (10 * math.log10(4 / 0.01) + 10 * math.log10(4 / 0.04)) / 2
    assert psnr(off, reference) == pytest.approx(expected, abs=1e-4)


def test_psnr_clips_what_passes_the_range():
    reference = torch.full((1, 1, 2, 2), 0.5)
    assert psnr(torch.full((1, 1, 2, 2), 7.0), reference) == pytest.approx(10 * math.log10(4 / 0.25), abs=1e-4)


@pytest.mark.parametrize(
    ("pictures", "reference", "message"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4), r"one shape, got \(2, 3, 4, 4\) and \(2, 1, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4).byte(), torch.zeros(1, 1, 4, 4), r"pictures must hold floats .*, got torch\.uint8"),
        (torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4).long(), r"reference must hold floats .*, got torch\.int64"),
        (torch.zeros(1, 4, 4), torch.zeros(1, 4, 4), r"must be \(N, C, H, W\) with N ≥ 1, got \(1, 4, 4\)"),
        (torch.zeros(0, 1, 4, 4), torch.zeros(0, 1, 4, 4), r"N ≥ 1, got \(0, 1, 4, 4\)"),
    ],
)
def test_psnr_of_other_shapes_or_whole_numbers_is_refused(pictures, reference, message):
    with pytest.raises(ValueError, match=message):
        psnr(pictures, reference)


def test_frechet_distance_is_its_formula():
    generator = torch.Generator().manual_seed(0)
    mix = torch.tensor([[1.0, 0.5, 0.0], [0.0, 2.0, 0.3], [0.0, 0.0, 0.7]])
    a = torch.randn(700, 3, generator=generator) @ mix + torch.tensor([1.0, 0.0, -1.0])
    b = torch.randn(500, 3, generator=generator) * 0.8
    mean = (a.mean(0) - b.mean(0)).square().sum()
    A, B = a.T.double().cov(), b.T.double().cov()
    root = torch.linalg.eigvals(A @ B).sqrt().real.sum()
    expected = (mean + A.trace() + B.trace() - 2 * root).item()
    got = frechet_distance(a.reshape(-1, 3, 1, 1), b.reshape(-1, 3, 1, 1), Plain(3))
    assert got == pytest.approx(expected, rel=1e-4)


def test_frechet_distance_takes_large_pictures_in_smaller_batches(monkeypatch):
    seen, judge = [], Plain(3)
    monkeypatch.setattr(judge, "features", lambda part: seen.append(len(part)) or part[:, :3, 0, 0])
    pictures = torch.randn(9, 3, 1, 1, generator=torch.Generator().manual_seed(0)).expand(-1, -1, 512, 512)
    frechet_distance(pictures, pictures, judge)
    assert seen == [7, 2] * 2


def test_frechet_distance_of_two_gaussians_is_the_one_of_their_moments():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(50_000, 2, generator=generator)
    b = 3 * torch.randn(50_000, 2, generator=generator) + 2
    # ‖(2, 2)‖² + tr(I + 9 I − 2 · 3 I) = 8 + 8
    assert frechet_distance(a[..., None, None], b[..., None, None], Plain(2)) == pytest.approx(16, rel=0.02)


def test_frechet_distance_of_a_set_to_itself_is_0():
    a = torch.randn(200, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(a, a.clone(), Plain(2)) == pytest.approx(0, abs=1e-4)


def test_nearest_distance_is_the_least_rmse():
    generator = torch.Generator().manual_seed(0)
    training = torch.rand(20, 3, 4, 4, generator=generator) * 2 - 1
    pictures = torch.rand(300, 3, 4, 4, generator=generator) * 2 - 1
    pictures[7] = training[3]
    distance, index = nearest_distance(pictures, training)
    by_hand = (pictures[:, None] - training[None]).square().mean((2, 3, 4)).sqrt().min(1)
    torch.testing.assert_close(distance, by_hand.values, rtol=1e-4, atol=1e-3)
    assert torch.equal(index, by_hand.indices)
    assert index[7] == 3
    assert distance[7] < 1e-3


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (torch.zeros(2, 1, 4, 4), r"a picture and a training picture must have one shape, got \(1, 3, 4, 4\)"),
        (torch.zeros(0, 3, 4, 4), r"must have one shape, got \(1, 3, 4, 4\) and \(0, 3, 4, 4\)"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "a training picture must hold floats"),
    ],
)
def test_nearest_distance_refuses_what_cannot_be_compared(training, message):
    with pytest.raises(ValueError, match=message):
        nearest_distance(torch.zeros(2, 3, 4, 4), training)


def test_recognition_counts_right_confident_and_classes():
    logits = torch.tensor([[9.0, 0, 0], [1.0, 0, 0], [0, 9.0, 0], [0, 9.0, 0]])
    seen = recognition(logits[:, :, None, None], torch.tensor([0, 0, 1, 2]), Plain(3))
    assert seen.accuracy == 0.75
    assert seen.confident == 0.5
    assert seen.classes == 2
