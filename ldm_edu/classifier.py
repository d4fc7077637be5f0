"""A small classifier, trained apart from any generator, that judges samples and gives features to compare them in.

Used by notebooks 07, 08 and 13.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldm_edu.data.pictures import Pictures, at_once, to_float
from ldm_edu.fit import seeded


class Classifier(nn.Module):
    """Three stride-2 convolutions, the maximum over places, and a linear layer: about 0.1 M parameters.

    Args:
        channels: of the pictures.
        classes: how many.
        width: channels of the first layer; the features have four times as many.
    """

    def __init__(self, channels: int, classes: int, width: int = 32):
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width)
        layers = []
        for a, b in pairwise(sizes):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(8, b), nn.SiLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], classes)
        self.num_features = sizes[-1]

    def features(self, pictures: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] to (B, num_features)."""
        return self.body(pictures).amax((2, 3))  # a small object is as visible as a large one

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] to logits (B, classes)."""
        return self.head(self.features(pictures))


def train_classifier(
    pictures: Pictures, *, steps: int = 600, batch: int = 64, seed: int = 0, device: torch.device | str = "cpu"
) -> Classifier:
    """Train a classifier on labelled pictures, lightly noised, each batch shifted by up to a sixteenth of its size.

    Raises:
        ValueError: the pictures have no labels.
    """
    if pictures.labels is None:
        raise ValueError("a classifier needs labelled pictures")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net = Classifier(pictures.channels, len(pictures.classes)).to(device)
    pixels, labels = pictures.pixels.to(device), pictures.labels.to(device)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    generator, shifts = seeded(seed, "classifier", device), seeded(seed, "shifts")
    reach = pictures.size // 16
    for _ in range(steps):
        index = torch.randint(len(pixels), (batch,), generator=generator, device=device)
        dx, dy = torch.randint(-reach, reach + 1, (2,), generator=shifts).tolist()
        x = torch.roll(to_float(pixels[index]), (dy, dx), (2, 3))
        x = x + 0.1 * torch.randn(x.shape, generator=generator, device=device)
        loss = F.cross_entropy(net(x), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    return net.eval()


@torch.no_grad()
def in_batches(function, pictures: Tensor, batch: int = 500) -> Tensor:
    """Apply a function of pictures (B, C, H, W) to many (N, C, H, W); its results, joined.

    Args:
        batch: how many at a time, of large pictures fewer; see `at_once`.
    """
    return torch.cat([function(part) for part in pictures.split(at_once(batch, pictures.shape))])
