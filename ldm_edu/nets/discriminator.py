"""The discriminator of an autoencoder: one verdict a patch. Notebook 05 says what it is for.

Source: Isola et al. 2017 (arXiv 1611.07004), section 3.2.2, as Esser et al. 2021 (arXiv 2012.09841) use it.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from ldm_edu.nets.blocks import GroupNorm


class PatchDiscriminator(nn.Module):
    """Pictures to scores, high for real ones; a score looks at 26x26 pixels.

    GroupNorm stands where the paper has BatchNorm, so that an example's score does not depend on the rest of its batch.

    Args:
        channels: of the pictures.
        width: channels of the first layer; a multiple of 8.
    """

    def __init__(self, channels: int, width: int = 32):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 4, stride=2, padding=1)
        self.second = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        self.norm2 = GroupNorm(8, 2 * width)
        self.third = nn.Conv2d(2 * width, 4 * width, 3, padding=1)
        self.norm3 = GroupNorm(8, 4 * width)
        self.last = nn.Conv2d(4 * width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, 1, H / 4, W / 4)."""
        h = F.leaky_relu(self.first(x), 0.2)
        h = F.leaky_relu(self.norm2(self.second(h)), 0.2)
        h = F.leaky_relu(self.norm3(self.third(h)), 0.2)
        return self.last(h)
