"""The perceptual loss of an autoencoder: LPIPS. Notebook 05 says what it is for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ldm_edu.forward import check_same_shape

Distance = Callable[[Tensor, Tensor], Tensor]


def lpips(device: torch.device | str = "cpu", *, download: bool = False) -> Distance:
    """distance(a, b) of pictures in features:  Σ over layers, mean over places, of ‖w ⊙ (φ(a) − φ(b))‖².

    φ are five layers of VGG-16, trained on ImageNet, each of length 1 at each place; torchmetrics computes it.

    Source: Zhang et al. 2018 (arXiv 1801.03924), Eq. 1.

    Args:
        device: where to compute.
        download: let torchvision fetch VGG's weights (528 MB) if they are not in its cache.
    Returns:
        a function of two (B, 1 or 3, H, W) float in [-1, 1], H and W 16 or more, that gives (B,) float32.
    Raises:
        ValueError: the weights are not there, and may not be fetched; of the function, pictures of other or different
            shapes, or of whole numbers.
    """
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
    from torchvision.models import VGG16_Weights

    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(VGG16_Weights.DEFAULT.url).name
    if not download and not cached.is_file():
        raise ValueError(
            f"the perceptual loss needs VGG's weights, and {cached} is not there; allow their download (528 MB) with "
            f"--download, or put {VGG16_Weights.DEFAULT.url} there yourself"
        )
    with torch.random.fork_rng(devices=[]):  # building draws weights that are replaced at once
        net = LearnedPerceptualImagePatchSimilarity("vgg").net.requires_grad_(False).to(device)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        check_same_shape("a", a, "b", b)
        if a.ndim != 4 or a.shape[1] not in (1, 3) or min(a.shape[2:]) < 16:
            raise ValueError(f"pictures must be (B, 1 or 3, H, W), H and W 16 or more, got {tuple(a.shape)}")
        # Not the metric itself, which refuses what passes a little beyond [-1, 1], as reconstructions do.
        return net(a.float().expand(-1, 3, -1, -1), b.float().expand(-1, 3, -1, -1)).flatten()

    return distance
