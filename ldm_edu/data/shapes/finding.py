"""The reader's first half: the background of a picture, its objects' pixels, their areas and centres.

Used by `read` only.
"""

import torch
import torch.nn.functional as F

from ldm_edu.data.shapes.drawing import palette
from ldm_edu.data.shapes.scenes import BACKGROUNDS, COLOURS


def find_background(pictures):
    """(B,) int64: the background to which most pixels are nearest; objects cover less than half."""
    colours = palette(BACKGROUNDS, pictures.device)
    distance = (pictures[:, None] - colours[:, :, None, None]).square().sum(dim=2)
    return F.one_hot(distance.argmin(dim=1).flatten(1), len(BACKGROUNDS)).sum(dim=1).argmax(dim=1)


def unmix(pictures, background):
    """See each pixel as background + alpha · (colour − background): alpha and misfit, (B, 8, S, S)."""
    base = palette(BACKGROUNDS, pictures.device)[background][:, None, :, None, None]
    step = palette(COLOURS, pictures.device)[:, :, None, None] - base  # (B, 8, 3, 1, 1)
    offset = pictures[:, None] - base
    alpha = (offset * step).sum(dim=2) / step.square().sum(dim=2)
    misfit = (offset - alpha.clamp(0, 1)[:, :, None] * step).square().sum(dim=2)
    return alpha, misfit


def is_foreground(pictures, background):
    """(B, S, S) bool: nearer to some colour of objects than to the background, in the smoothed picture."""
    kernel = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]], device=pictures.device) / 16
    smooth = F.conv2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), kernel.expand(3, 1, 3, 3), groups=3)
    base = palette(BACKGROUNDS, pictures.device)[background][:, :, None, None]
    colours = palette(COLOURS, pictures.device)[:, :, None, None]
    to_colour = (smooth[:, None] - colours).square().sum(dim=2).amin(dim=1)
    return to_colour < (smooth - base).square().sum(dim=1)


def label_parts(mask):
    """(B, S, S) bool -> (B, S, S) int64: one number for each connected part, 0 outside."""
    side = mask.shape[-1]
    seed = torch.arange(1, side * side + 1, device=mask.device).reshape(side, side)
    label = (seed * mask).float()  # exact: side² is far below 2^24
    for _ in range(4 * side):  # the number of each part's last pixel spreads; longer paths are no shapes
        spread = grow(label, 1) * mask
        if torch.equal(spread, label):
            break
        label = spread
    return label.long()


def two_largest(label):
    """(B, S, S) int64 -> (B, 2, S, S) bool: the masks of the two largest parts."""
    count = torch.zeros(len(label), label.shape[-1] ** 2 + 1, device=label.device)
    count.scatter_add_(1, label.flatten(1), torch.ones_like(label.flatten(1), dtype=torch.float32))
    count[:, 0] = 0
    largest = count.topk(2, dim=1).indices
    return (label[:, None] == largest[:, :, None, None]) & (label > 0)[:, None]


def grow(mask, pixels):
    """Spread the larger values by some pixels, in all eight directions."""
    grown = mask.float()
    for _ in range(pixels):  # shifted maxima: several times faster on a CPU than max_pool2d
        wide = F.pad(grown, (1, 1, 1, 1))
        rows = torch.maximum(torch.maximum(wide[..., :-2, :], wide[..., 1:-1, :]), wide[..., 2:, :])
        grown = torch.maximum(torch.maximum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])
    return grown


def moments(weight):
    """(B, 2, S, S) -> the area (B, 2) and the centre of mass (B, 2, 2), in parts of the side."""
    side = weight.shape[-1]
    pixel = (torch.arange(side, device=weight.device) + 0.5) / side
    total = weight.flatten(2).sum(dim=2).clamp(min=1.0)
    x = (weight * pixel).flatten(2).sum(dim=2) / total
    y = (weight * pixel[:, None]).flatten(2).sum(dim=2) / total
    return total / side**2, torch.stack([x, y], dim=2)
