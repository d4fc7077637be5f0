"""Attention over a map's pixels and over a text's tokens. Derived in notebooks 04 and 08."""

import torch.nn.functional as F
from torch import Tensor, nn

from ldm_edu.nets.blocks import GroupNorm, to_map, to_tokens, zero


class Attention(nn.Module):
    """Multi-head attention:  to_out(softmax(Q Kᵀ / √d) V),  Q from x, K and V from the context.

    Source: Vaswani et al. 2017 (arXiv 1706.03762), Eq. 1.

    Args:
        channels: channels of x and of the result.
        heads: number of heads; divides channels, and d = channels / heads.
        context_dim: channels of the context, or None to attend to x itself.
        bias: give Q, K and V a bias (only the autoencoder's attention has one).
    """

    def __init__(self, channels: int, heads: int, context_dim: int | None = None, bias: bool = False):
        super().__init__()
        self.heads = heads
        source = context_dim or channels
        self.to_q = nn.Linear(channels, channels, bias=bias)
        self.to_k = nn.Linear(source, channels, bias=bias)
        self.to_v = nn.Linear(source, channels, bias=bias)
        self.to_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(B, N, channels) and an optional context (B, L, context_dim) to (B, N, channels)."""
        source = x if context is None else context
        split = (self.heads, -1)
        q = self.to_q(x).unflatten(2, split).transpose(1, 2)  # (B, heads, N, d)
        k = self.to_k(source).unflatten(2, split).transpose(1, 2)  # (B, heads, L, d)
        v = self.to_v(source).unflatten(2, split).transpose(1, 2)
        h = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(h.transpose(1, 2).flatten(2))


class GEGLU(nn.Module):
    """Feed-forward layer with a gate:  out(a · GELU(b)),  (a, b) = W x,  four times as wide inside.

    Source: Shazeer 2020 (arXiv 2002.05202), Eq. 6.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.inner = nn.Linear(channels, 8 * channels)
        self.out = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(..., channels) to (..., channels)."""
        a, b = self.inner(x).chunk(2, dim=-1)
        return self.out(a * F.gelu(b))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention (only with a context), feed-forward; each  x + f(LayerNorm(x))."""

    def __init__(self, channels: int, heads: int, context_dim: int | None):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.self_attn = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels) if context_dim else None
        self.cross_attn = Attention(channels, heads, context_dim) if context_dim else None
        self.norm3 = nn.LayerNorm(channels)
        self.ff = GEGLU(channels)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        """(B, N, channels) to (B, N, channels)."""
        x = x + self.self_attn(self.norm1(x))
        if self.cross_attn is not None:
            x = x + self.cross_attn(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the pixels of a map:  x + proj_out(blocks(proj_in(GroupNorm(x)))).

    Source: Rombach et al. 2022 (arXiv 2112.10752), section 3.3 and appendix E.2.1.

    Args:
        channels: channels of the map; heads and groups divide it.
        heads: heads of every attention.
        depth: number of transformer blocks.
        groups: groups of the GroupNorm.
        context_dim: channels of the context, or None for blocks without cross-attention.
        linear_proj: proj_in and proj_out are linear layers (Stable Diffusion 2) instead of 1x1 convolutions
            (Stable Diffusion 1). The function is the same; the stored shape and a little speed differ.
        zero_init: start proj_out at zero, so that the whole starts as the identity.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        depth: int,
        groups: int,
        context_dim: int | None,
        linear_proj: bool = False,
        zero_init: bool = False,
    ):
        super().__init__()
        self.linear_proj = linear_proj
        self.norm = GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels) if linear_proj else nn.Conv2d(channels, channels, 1)
        self.blocks = nn.ModuleList(TransformerBlock(channels, heads, context_dim) for _ in range(depth))
        self.proj_out = nn.Linear(channels, channels) if linear_proj else nn.Conv2d(channels, channels, 1)
        if zero_init:
            zero(self.proj_out)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(B, C, H, W) and an optional context (B, L, context_dim) to (B, C, H, W)."""
        h = self.norm(x)
        h = self.proj_in(to_tokens(h)) if self.linear_proj else to_tokens(self.proj_in(h))
        for block in self.blocks:
            h = block(h, context)
        size = x.shape[2:]
        h = to_map(self.proj_out(h), *size) if self.linear_proj else self.proj_out(to_map(h, *size))
        return x + h


class PixelAttention(Attention):
    """The autoencoder's attention:  x + Attention(GroupNorm(x)), one head, over all pixels."""

    def __init__(self, channels: int, groups: int):
        super().__init__(channels, heads=1, bias=True)
        self.group_norm = GroupNorm(groups, channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        return x + to_map(super().forward(to_tokens(self.group_norm(x))), *x.shape[2:])
