"""Muon: gradient descent whose steps change every direction of a weight matrix by as much. Used by fit.py; notebook 10.

A gradient of a weight matrix is nearly of low rank: a few directions take most of the step. Muon replaces the averaged
gradient  U S Vᵀ  by about  U Vᵀ. What is no matrix inside the network stays with AdamW.

Sources: Jordan 2024 (https://kellerjordan.github.io/posts/muon/); the size of the step, Liu et al. 2025 (arXiv
2502.16982), §2.2, so that AdamW's learning rates and weight decays serve both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # steep at 0: five rounds take singular values from 0.01 to about 1
ENDS = ("conv_in", "conv_out", "first", "last")  # from and to the few channels of a picture, latent or score


class Muon(torch.optim.AdamW):
    """Muon for the weights of linear and convolutional layers, AdamW for everything else.

    A convolution's weight (out, in, k, k) is the matrix (out, in · k · k). Embeddings, biases, scales and the layers
    named in ENDS are AdamW's.

    Args:
        module: the network; all its parameters are trained.
        lr: of both; a step of Muon has AdamW's usual size.
        betas: AdamW's.
        weight_decay: of both.
    """

    def __init__(self, module: nn.Module, lr: float, betas: tuple[float, float], weight_decay: float):
        hidden = [
            layer.weight
            for name, layer in module.named_modules()
            if isinstance(layer, (nn.Linear, nn.Conv2d)) and name.rpartition(".")[2] not in ENDS
        ]
        ids = {id(p) for p in hidden}
        groups = [
            {"params": [p for p in module.parameters() if id(p) not in ids], "muon": False},
            {"params": hidden, "muon": True},
        ]
        fused = all(p.device.type == "cpu" for p in module.parameters())  # on a GPU it would take over fp16's scaler
        super().__init__([g for g in groups if g["params"]], lr, betas, weight_decay=weight_decay, fused=fused or None)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step from the gradients, which it takes away from the parameters that are Muon's.

        Raises:
            ValueError: a closure, which it cannot call again.
        """
        if closure is not None:
            raise ValueError("Muon takes no closure; compute the gradients before the step")
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not group["muon"] or not params:
                continue
            same = defaultdict(lambda: ([], []))  # one stack of matrices a shape: a GPU then has few calls to start
            for p, averaged in zip(params, self._averaged(params), strict=True):
                alike, averages = same[p.shape]
                alike.append(p)
                averages.append(averaged)
            # Not stack, which forgets the memory format, and copies one by one where it makes five dimensions.
            updates = [torch.cat(averages).view(-1, *shape) for shape, (_, averages) in same.items()]
            found = orthogonalise([u.flatten(2) for u in updates])
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            for (alike, _), update, matrices in zip(same.values(), updates, found, strict=True):
                size = 0.2 * max(matrices.shape[1:]) ** 0.5  # AdamW's usual root mean square
                update.copy_(matrices.view(update.shape))
                torch._foreach_add_(alike, update.unbind(), alpha=-group["lr"] * size)
            for p in params:
                p.grad = None  # AdamW passes over what has none
        super().step()

    def _averaged(self, params: list[Tensor]) -> tuple[Tensor, ...]:
        """The gradients with Nesterov's momentum."""
        for p in params:
            state = self.state[p]
            if not state:
                state["step"], state["momentum"] = torch.zeros(()), torch.zeros_like(p)  # AdamW counts steps, so we do
        grads, momenta = [p.grad for p in params], [self.state[p]["momentum"] for p in params]
        torch._foreach_add_([self.state[p]["step"] for p in params], 1)
        torch._foreach_lerp_(momenta, grads, 1 - MOMENTUM)
        return torch._foreach_lerp(grads, momenta, MOMENTUM)


def orthogonalise(stacks: Sequence[Tensor]) -> list[Tensor]:
    """For each U S Vᵀ about U Vᵀ: singular values near 1, but for the smallest, by Newton and Schulz.

        X ← a X + b (X Xᵀ) X + c (X Xᵀ)² X,  five times

    Each round multiplies X by a polynomial of X Xᵀ, so the rounds are done with X Xᵀ alone, which is small, for all
    matrices of one height together, and the product of the polynomials meets X at the end.

    Args:
        stacks: each (n, h, w) float.
    Returns:
        of the same shapes and types; computed in float32.
    """
    units = [x.float() / x.float().norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7) for x in stacks]  # values up to 1
    wide = [x.mT if x.shape[-2] > x.shape[-1] else x for x in units]  # the smaller side makes the smaller X Xᵀ
    heights = defaultdict(list)
    for i, x in enumerate(wide):
        heights[x.shape[-2]].append(i)
    found = list(stacks)
    for some in heights.values():
        factors = _rounds(torch.cat([wide[i] @ wide[i].mT for i in some])).split([len(wide[i]) for i in some])
        for i, factor in zip(some, factors, strict=True):
            x = factor @ wide[i]
            found[i] = (x if wide[i] is units[i] else x.mT).to(stacks[i].dtype)
    return found


def _rounds(square: Tensor, rounds: int = 5) -> Tensor:
    """What the rounds multiply X by, from X Xᵀ, (n, h, h). All are polynomials of X Xᵀ, so their order is free."""
    a, b, c = NEWTON_SCHULZ
    unit = a * torch.eye(square.shape[-1], device=square.device)

    def factor_of(square: Tensor) -> Tensor:
        return torch.baddbmm(square, square, square, beta=b, alpha=c) + unit

    total = factor = factor_of(square)
    for _ in range(rounds - 1):
        square = factor @ square @ factor
        factor = factor_of(square)
        total = factor @ total
    return total


def state_names(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, tuple[str, ...]]:
    """Parameter's name -> names of what the optimizer keeps for it, AdamW or Muon."""
    hidden = {id(p) for g in optimizer.param_groups if g.get("muon") for p in g["params"]}
    adam = ("step", "exp_avg", "exp_avg_sq")
    return {name: ("step", "momentum") if id(p) in hidden else adam for name, p in module.named_parameters()}
