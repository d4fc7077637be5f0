"""Drawing scenes of shapes: signed distances, antialiased at any size.

Each kind lives in the box [-1, 1]² with its centroid at 0 and y downwards. Its function gives the signed
distance to the outline, negative inside; near a corner it is the distance to the nearer edge's line.
Used in notebooks 07, 08 and 13.
"""

import math

import torch
from torch import Tensor

from ldm_edu.data.shapes.scenes import BACKGROUNDS, COLOURS, KINDS, Scenes

CIRCLE = 0.9  # radius
SQUARE = 0.8  # half the side
STAR = 0.48  # radius of the inner corners, the tips being at 1
ARM, ARM_WIDTH = 0.95, 0.32  # the cross: half the length and half the width of its bars
RING = (0.46, 0.95)  # inner and outer radius
_COS, _SIN = math.cos(math.radians(54)), math.sin(math.radians(54))  # direction of a star's inner corner


def _circle(x, y):
    return (x * x + y * y).sqrt() - CIRCLE


def _square(x, y):
    return torch.maximum(x.abs(), y.abs()) - SQUARE


def _triangle(x, y):
    slanted = math.sqrt(0.75) * x.abs() - 0.5 * y
    return torch.maximum(slanted, y) - 0.5


def _star(x, y):
    x, y = x.abs(), -y
    for _ in range(2):  # fold the plane onto one half of the upper tip, 54° to 90°
        past = (x * _SIN - y * _COS).clamp(min=0)
        x, y = (x - 2 * past * _SIN).abs(), y + 2 * past * _COS
    out_x, out_y = 1 - STAR * _SIN, STAR * _COS  # normal of the edge from the tip to the inner corner
    return (x * out_x + (y - 1) * out_y) / math.hypot(out_x, out_y)


def _cross(x, y):
    x, y = x.abs(), y.abs()
    across = torch.maximum(x - ARM, y - ARM_WIDTH)
    upright = torch.maximum(x - ARM_WIDTH, y - ARM)
    return torch.minimum(across, upright)


def _ring(x, y):
    inner, outer = RING
    return ((x * x + y * y).sqrt() - (inner + outer) / 2).abs() - (outer - inner) / 2


OUTLINES = {"circle": _circle, "square": _square, "triangle": _triangle, "star": _star, "cross": _cross, "ring": _ring}
AREAS = {  # of each kind at radius 1; the reader finds the radius from them
    "circle": math.pi * CIRCLE**2,
    "square": 4 * SQUARE**2,
    "triangle": 3 * math.sqrt(3) / 4,
    "star": 5 * STAR * math.sin(math.pi / 5),
    "cross": 8 * ARM * ARM_WIDTH - 4 * ARM_WIDTH**2,
    "ring": math.pi * (RING[1] ** 2 - RING[0] ** 2),
}
assert tuple(OUTLINES) == tuple(AREAS) == KINDS


def coverage(what: Tensor, centre: Tensor, radius: Tensor, size: int) -> Tensor:
    """The part of each pixel that an object covers:  clamp(1/2 − distance in pixels, 0, 1).

    Args:
        what:   (*N) int64, index in KINDS; -1 covers nothing.
        centre: (*N, 2) float, x and y in [0, 1].
        radius: (*N) float, in parts of the picture's side.
        size:   pixels a side.
    Returns:
        (*N, size, size) float32 in [0, 1].
    """
    shape, what = what.shape, what.flatten()
    centre, radius = centre.reshape(-1, 2), radius.flatten()
    covered = torch.zeros(len(what), size, size, device=centre.device)
    pixel = (torch.arange(size, device=centre.device) + 0.5) / size
    for index, outline in enumerate(OUTLINES.values()):
        chosen = (what == index).nonzero()[:, 0]
        middle, unit = centre[chosen, :, None, None], radius[chosen, None, None]
        x, y = (pixel - middle[:, 0]) / unit, (pixel[:, None] - middle[:, 1]) / unit
        covered[chosen] = (0.5 - outline(*torch.broadcast_tensors(x, y)) * unit * size).clamp(0, 1)
    return covered.reshape(*shape, size, size)


def draw(scenes: Scenes, size: int) -> Tensor:
    """Draw scenes, antialiased:  picture = background + Σ_i coverage_i · (colour_i − picture).

    Args:
        scenes: B scenes.
        size:   pixels a side, 16 or more.
    Returns:
        (B, 3, size, size) float32 in [-1, 1], RGB, on the scenes' device.
    Raises:
        ValueError: size is under 16.
    """
    if size < 16:
        raise ValueError(f"size is {size}, expected 16 or more: in fewer pixels the kinds look alike")
    colours, backgrounds = palette(COLOURS, scenes.radius.device), palette(BACKGROUNDS, scenes.radius.device)
    covered = coverage(scenes.what, scenes.centre, scenes.radius, size)
    picture = backgrounds[scenes.background][:, :, None, None].repeat(1, 1, size, size)
    for i in range(2):
        colour = colours[scenes.colour[:, i]][:, :, None, None]  # where absent any colour, of no coverage
        picture = picture + covered[:, i, None] * (colour - picture)
    return picture


def palette(colours: dict[str, tuple[float, float, float]], device) -> Tensor:
    """A table of colours as (N, 3) float32 in [-1, 1]."""
    return 2 * torch.tensor(list(colours.values()), device=device) - 1
