"""Where a picture looks in its prompt: the cross-attention's weights, recorded beside the network's own forward.

Cross-attention is derived in notebook 08; its maps are shown in notebook 00.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm_edu.nets.attention import Attention, TransformerBlock


def attention_weights(layer: Attention, x: Tensor, context: Tensor | None = None) -> Tensor:
    """The weights of an attention layer:  softmax(Q Kᵀ / √d),  which its forward computes but does not give out.

    Source: Vaswani et al. 2017 (arXiv 1706.03762), Eq. 1; notebook 08.

    Args:
        layer: the layer.
        x: (B, N, channels), what its forward gets.
        context: (B, L, context_dim), or None to attend to x itself.
    Returns:
        (B, heads, N, L); each row over L is positive and sums to 1.
    """
    split = (layer.heads, -1)
    q = layer.to_q(x).unflatten(2, split).transpose(1, 2)  # (B, heads, N, d)
    k = layer.to_k(x if context is None else context).unflatten(2, split).transpose(1, 2)
    return torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[3]), dim=3)


@contextmanager
def watch(net: nn.Module) -> Iterator[list[Tensor]]:
    """Record each cross-attention of a network, averaged over its heads, for as long as the with-block lasts.

    The network's code and results stay as they are: hooks compute the weights a second time, from the same input.

    Args:
        net: a U-Net with a context.
    Returns:
        a context manager that gives a list; every call of a layer adds (B, L, h, w), for square maps.
    """
    seen: list[Tensor] = []

    @torch.no_grad()
    def record(layer: Attention, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        over_words = attention_weights(layer, *inputs).mean(1)  # (B, N, L)
        side = math.isqrt(over_words.shape[1])
        seen.append(over_words.transpose(1, 2).unflatten(2, (side, side)))

    layers = [m.cross_attn for m in net.modules() if isinstance(m, TransformerBlock) and m.cross_attn is not None]
    hooks = [layer.register_forward_hook(record) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def word_maps(seen: Sequence[Tensor], count: int = 1) -> Tensor:
    """One map for each place of the prompt: the mean over all layers and steps, at the size of the largest map.

    A layer with smaller maps is enlarged linearly, so over the places the maps still sum to 1 at each pixel.

    Source: as Hertz et al. 2022 (arXiv 2208.01626) and Tang et al. 2023 (arXiv 2210.04885) average them.

    Args:
        seen: what `watch` recorded, (B, L, h, w) each.
        count: the last so many of each B are meant; guidance puts its other half before them.
    Returns:
        (count, L, H, W) float32.
    Raises:
        ValueError: nothing was recorded.
    """
    if not seen:
        raise ValueError("no cross-attention was recorded; draw inside the with-block, with a model that takes text")
    size = max(m.shape[2:] for m in seen)
    same = [F.interpolate(m[-count:].float(), size=size, mode="bilinear", align_corners=False) for m in seen]
    return torch.stack(same).mean(0)
