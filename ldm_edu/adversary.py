"""The adversarial loss of an autoencoder, both sides of it in one number. Notebook 05 says what it is for.

The sum of both losses has one backward pass, and yet each side gets the gradient of its own loss only: the
discriminator judges the answer cut off from the decoder, and the decoder is judged by weights that are held fixed.

Source: Esser et al. 2021 (arXiv 2012.09841), section 3.1; Rombach et al. 2022 (arXiv 2112.10752), appendix G.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """The hinge loss  ½ (mean max(0, 1 − D(x)) + mean max(0, 1 + D(x̂))).

    Source: Lim and Ye 2017 (arXiv 1705.02894).

    Args:
        real, made: the discriminator's scores of pictures and of reconstructions, any shapes.
    Returns:
        the scalar loss.
    """
    return 0.5 * (F.relu(1 - real.float()).mean() + F.relu(1 + made.float()).mean())


def generator_loss(made: Tensor) -> Tensor:
    """−mean D(x̂): the decoder is rewarded for high scores.

    Source: Lim and Ye 2017 (arXiv 1705.02894).

    Args:
        made: the discriminator's scores of reconstructions, any shape.
    Returns:
        the scalar loss, float32.
    """
    return -made.float().mean()


class Balance(torch.autograd.Function):
    """One tensor as two; their gradients g and h come back as  g + weight · ‖g‖ · h / ‖h‖.

    So the second loss pulls `weight` times as hard as the first, whatever its scale. Esser et al. 2021, Eq. 7, compare
    the gradients at the last layer's weights; at its output, here, no further backward pass is needed.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        """x of any shape, float32; itself twice."""
        ctx.weight = weight
        return x.view_as(x), x.view_as(x)

    @staticmethod
    def backward(ctx, g: Tensor, h: Tensor) -> tuple[Tensor, None]:
        """g, h of x's shape, the gradients of the two; that of x."""
        return g + ctx.weight * g.norm() * F.normalize(h.flatten(), dim=0).view_as(h), None


class Adversary(nn.Module):
    """A discriminator and its place in the loss of an autoencoder.

    Each process, and each piece of a batch that is split, balances the two gradients of its own examples.

    Args:
        discriminator: pictures to scores.
        weight: length of the adversarial gradient at the reconstruction, as a multiple of that of the other errors.
        start: examples seen in training before both losses count.
    """

    seen: Tensor

    def __init__(self, discriminator: nn.Module, weight: float, start: int = 0):
        super().__init__()
        self.discriminator, self.weight, self.start = discriminator, weight, start
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))  # saved and resumed with the weights

    def forward(self, x: Tensor, answer: Tensor) -> tuple[Tensor, Tensor]:
        """Judge reconstructions.

        Args:
            x: (B, C, H, W) pictures.
            answer: their reconstructions, float32.
        Returns:
            answer, for all other errors to be taken from, and the scalar loss of both sides.
        """
        counts = self.seen >= self.start
        if self.training:
            self.seen += len(x)
        answer, judged = Balance.apply(answer, self.weight)
        fixed = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        decoders = generator_loss(functional_call(self.discriminator, fixed, (judged,)))
        own = discriminator_loss(self.discriminator(x), self.discriminator(answer.detach()))
        return answer, counts * (decoders + own)
