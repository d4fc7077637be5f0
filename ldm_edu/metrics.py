"""Scores of pictures: reconstruction, recognition, distance between sets, copying. Derived in notebook 13."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ldm_edu.classifier import Classifier, in_batches
from ldm_edu.data.pictures import at_once
from ldm_edu.forward import check_same_shape


def psnr(pictures: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1], mean over the pictures:  10 log10(4 / MSE).

    The range is taken to be [-1, 1], 2 wide, whatever the values are; what lies beyond it is clipped first.

    Source: torchmetrics' `peak_signal_noise_ratio` on a range of 2.

    Args:
        pictures, reference: (N, C, H, W) float, N ≥ 1, in [-1, 1].
    Returns:
        dB; infinite where a picture is its reference.
    Raises:
        ValueError: shapes that differ, are not (N, C, H, W), or hold no picture; or whole numbers.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    check_same_shape("pictures", pictures, "reference", reference)
    if pictures.ndim != 4 or len(pictures) == 0:
        raise ValueError(f"pictures and reference must be (N, C, H, W) with N ≥ 1, got {tuple(pictures.shape)}")
    return peak_signal_noise_ratio(
        pictures.clamp(-1, 1), reference, data_range=(-1.0, 1.0), dim=(1, 2, 3), reduction="elementwise_mean"
    ).item()


class Recognition(NamedTuple):
    """How a classifier sees labelled samples: share recognised, share recognised with confidence, classes seen."""

    accuracy: float
    confident: float
    classes: int


def recognition(samples: Tensor, labels: Tensor, classifier: Classifier, threshold: float = 0.9) -> Recognition:
    """Compare the classifier's answers to the labels that the samples were asked to show.

    Args:
        samples: (N, C, H, W) in [-1, 1].
        labels: (N,) int64.
        threshold: the probability from which an answer counts as confident.
    """
    probability, answer = in_batches(classifier, samples).softmax(1).max(1)
    right = answer == labels.to(answer.device)
    return Recognition(
        right.float().mean().item(),
        (right & (probability >= threshold)).float().mean().item(),
        len(answer[right].unique()),
    )


def frechet_distance(samples: Tensor, reference: Tensor, classifier: Classifier) -> float:
    """Fréchet distance of two sets of pictures in a classifier's features:  ‖m_a − m_b‖² + tr(A + B − 2 (A B)^½).

    The formula of FID with another network, so comparable only within one classifier.

    Source: Heusel et al. 2017 (arXiv 1706.08500), Eq. 6, as torchmetrics computes it; notebook 13.

    Args:
        samples, reference: (N, C, H, W) and (M, C, H, W) in [-1, 1]; N and M 2 or more, as covariances need.
    Returns:
        the distance, 0 or more.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(_Features(classifier))
    metric = metric.to(samples.device)
    for real, pictures in ((True, reference), (False, samples)):
        for part in pictures.split(at_once(500, pictures.shape)):
            metric.update(part, real=real)
    return metric.compute().item()


class _Features(torch.nn.Module):
    """What torchmetrics asks of a feature extractor."""

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.classifier = classifier
        self.num_features = classifier.num_features

    def forward(self, pictures: Tensor) -> Tensor:
        with torch.no_grad():
            return self.classifier.features(pictures)


def nearest_distance(pictures: Tensor, training: Tensor) -> tuple[Tensor, Tensor]:
    """The training picture nearest to each picture, by root mean squared difference of pixels.

    Args:
        pictures: (N, C, H, W) float. training: (M, C, H, W), M ≥ 1, both in [-1, 1].
    Returns:
        distance (N,) in [0, 2], and the index (N,) of the training picture.
    Raises:
        ValueError: pictures of different shapes, whole numbers, or no training picture.
    """
    check_same_shape("a picture", pictures[:1], "a training picture", training[:1])
    flat = training.flatten(1)
    parts = [torch.cdist(p.flatten(1), flat).min(1) for p in pictures.split(256)]
    return torch.cat([p.values for p in parts]) / flat.shape[1] ** 0.5, torch.cat([p.indices for p in parts])
