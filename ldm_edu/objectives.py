"""The two losses of a training as modules whose forward is the loss. Derived in notebooks 03 and 05."""

from __future__ import annotations

from torch import Tensor, nn

from ldm_edu.adversary import Adversary
from ldm_edu.loss import diffusion_loss
from ldm_edu.nets.autoencoder import Autoencoder
from ldm_edu.nets.text import TextEncoder
from ldm_edu.nets.unet import UNet
from ldm_edu.perceptual import Distance
from ldm_edu.schedule import Schedule
from ldm_edu.target import Target


class AutoencoderObjective(nn.Module):
    """‖x − x̂‖² + l1 |x − x̂| + kl · KL(q(latent|x) ‖ N(0, I)): means over pixels, and over components for the last.

    A distance in features and an adversary may be added.

    Source: Rombach et al. 2022 (arXiv 2112.10752), Appendix G; notebook 05.

    Args:
        autoencoder: what is trained.
        l1, kl: weights.
        adversary: a discriminator with its place in the loss; it is trained along.
        perceptual: weight of a distance.
        distance: a function distance(x̂, x) -> (B,), such as `lpips` gives; needed where perceptual is not 0.
    Raises:
        ValueError: a perceptual weight without a distance.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        l1: float,
        kl: float,
        *,
        adversary: Adversary | None = None,
        perceptual: float = 0.0,
        distance: Distance | None = None,
    ):
        super().__init__()
        if perceptual and distance is None:
            raise ValueError(
                f"perceptual = {perceptual} weighs a distance: give one, such as lpips(), or leave it at 0"
            )
        self.autoencoder, self.l1, self.kl = autoencoder, l1, kl
        self.adversary, self.perceptual, self.distance = adversary, perceptual, distance

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """x (B, C, H, W) pictures, z (B, c, h, w) standard normal; the scalar loss."""
        code = self.autoencoder.encode(x)
        answer, more = self.autoencoder.decode(code.mean + code.std * z), 0.0
        if self.adversary is not None:
            answer, more = self.adversary(x, answer.float())
        if self.perceptual:
            more = more + self.perceptual * self.distance(answer, x).float().mean()
        error = (answer - x).float()
        return error.square().mean() + self.l1 * error.abs().mean() + self.kl * code.kl().mean() / z[0].numel() + more


class DiffusionObjective(nn.Module):
    """The diffusion loss of a network, and of its text encoder if it has one; all that is random comes in as arguments.

    Notebooks 03 and 08.
    """

    def __init__(self, unet: UNet, schedule: Schedule, target: Target, text: TextEncoder | None = None):
        super().__init__()
        self.unet, self.schedule, self.target, self.text = unet, schedule, target, text

    def forward(self, x_0: Tensor, t: Tensor, eps: Tensor, cond: Tensor | None = None) -> Tensor:
        """x_0, eps (B, *D), t (B,), cond (B,) labels or (B, L) tokens; the scalar loss."""
        if self.text is not None:
            cond = self.text(cond)
        return diffusion_loss(self.unet, x_0, t, eps, self.schedule, target=self.target, cond=cond)
