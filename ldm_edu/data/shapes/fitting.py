"""The reader's second half: the colours and the kinds that fit an object's pixels best, and how clearly.

A margin says how clearly: with the picture p, the best candidate a and another one b,

    margin = (|p − b|² − |p − a|²) / |a − b|²,

which is 1 where p is a, 0 where p lies halfway from a to b, and hardly moved by noise. Used by `read` only.
"""

import torch
import torch.nn.functional as F

from ldm_edu.data.shapes.drawing import AREAS, coverage, palette
from ldm_edu.data.shapes.finding import unmix
from ldm_edu.data.shapes.scenes import COLOURS, KINDS

BLUR = 0.022  # an object may be as soft as after this blur, in parts of the side: 0.7 pixels of 32


def fit_colours(alpha, misfit, masks, background):
    """Keep the colour that leaves each object's pixels the least misfit: colour and margin, both (B, 2)."""
    cost = (misfit[:, None] * masks[:, :, None]).flatten(3).sum(dim=3)  # (B, 2, 8)
    least, colour = cost.min(dim=2)
    weight = (alpha.square()[:, None] * masks[:, :, None]).flatten(3).sum(dim=3)
    weight = torch.gather(weight, 2, colour[:, :, None])
    pure = palette(COLOURS, alpha.device).T[None, :, :, None].expand(len(alpha), -1, -1, -1)
    _, apart = unmix(pure, background)  # (B, 8, 8, 1): of the second colour from the first
    apart = torch.gather(apart[..., 0].mT, 1, colour[:, :, None].expand_as(cost))
    margin = (cost - least[:, :, None]) / (weight * apart).clamp(min=1e-6)
    chosen = F.one_hot(colour, len(COLOURS)).bool()
    return colour, margin.masked_fill(chosen, torch.inf).amin(dim=2)


def fit_kinds(alpha, near, area, centre):
    """Draw every kind with the object's area and centre, keep the best: what, radius, margin, misshape, all (B, 2)."""
    radius = (area[:, :, None] / area.new_tensor(list(AREAS.values()))).sqrt()  # (B, 2, 6)
    kinds = torch.arange(len(KINDS), device=alpha.device).expand_as(radius)
    drawn = coverage(kinds, centre[:, :, None].expand(-1, -1, len(KINDS), -1), radius, alpha.shape[-1])
    soften = _blur(drawn, BLUR) - drawn
    missing = alpha[:, :, None] - drawn
    near = near[:, :, None]
    softness = _sum(missing * soften * near) / _sum(soften.square() * near).clamp(min=1e-6)  # least squares
    drawn = drawn + softness.clamp(0, 1)[..., None, None] * soften
    cost = _sum((drawn - alpha[:, :, None]).square() * near)  # (B, 2, 6)
    least, what = cost.min(dim=2)
    best = torch.gather(drawn, 2, what[:, :, None, None, None].expand_as(drawn[:, :, :1]))
    apart = _sum((drawn - best).square() * near)
    margin = (cost - least[:, :, None]) / apart.clamp(min=1e-6)
    margin = margin.masked_fill(kinds == what[:, :, None], torch.inf).amin(dim=2)
    misshape = patches((best[:, :, 0] - alpha) * near[:, :, 0]).abs().amax(dim=(2, 3))
    return what, torch.gather(radius, 2, what[:, :, None])[:, :, 0], margin, misshape


def patches(pictures):
    """Means of overlapping patches, about a sixth of the side wide: they outlast the noise."""
    return F.avg_pool2d(pictures, 2 * (pictures.shape[-1] // 16) + 1, stride=1)


def _sum(pictures):
    return pictures.flatten(-2).sum(dim=-1)


def _blur(pictures, sigma):
    """Gaussian blur of the last two axes, sigma in parts of the side."""
    pixel = torch.arange(pictures.shape[-1], device=pictures.device) / pictures.shape[-1]
    weight = torch.exp(-((pixel[:, None] - pixel) ** 2) / (2 * sigma**2))
    weight = weight / weight.sum(dim=1, keepdim=True)
    return weight @ pictures @ weight.mT
