"""Reading a picture of shapes back into its factors, by analysis and synthesis.

Find the background, the objects' colours, centres and areas; choose the kinds whose drawing fits best; draw
the scene that was read. The picture is read only if that drawing lies near to it everywhere, so noise, a
half-formed object or a third one is refused. Used in notebooks 08 and 13.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ldm_edu.data.shapes.drawing import draw
from ldm_edu.data.shapes.finding import (
    find_background,
    grow,
    is_foreground,
    label_parts,
    moments,
    two_largest,
    unmix,
)
from ldm_edu.data.shapes.fitting import fit_colours, fit_kinds, patches
from ldm_edu.data.shapes.scenes import Scenes, name_places, name_relations, name_sizes

LEAST_AREA = 0.008  # of an object; the smallest that is drawn covers three times as much
LEAST_RADIUS, LARGEST_RADIUS = 0.11, 0.23  # every size with its slack; in between it may have no name
# What a reading may miss. Set from 2,000 scenes at 32, 48 and 64 pixels, with noise of standard deviation 0.15
# or a blur of 0.7 pixels of 32: they reach a miss of 0.34 and a misshape of 0.12, the least margin is 0.47.
LARGEST_MISS = 0.4
LARGEST_MISSHAPE = 0.13
LEAST_MARGIN = 0.5
LARGEST_RMS = 0.25  # of the picture from the drawing, over all pixels and channels
CHUNK = 64  # pictures at a time, to bound the memory


@dataclass(frozen=True)
class Reading(Scenes):
    """Scenes as read from pictures; an object on the left or above comes first.

    A size, place or relation that lies between two words is -1.

    Args:
        ok:       (B,) bool, whether the picture shows a scene of ours; where False the rest means nothing.
        miss:     (B,) float32, largest distance of a patch's mean colour from the drawing's, RGB in [-1, 1].
        misshape: (B,) float32, largest error of a patch's mean coverage by an object, in [0, 1].
        margin:   (B,) float32, how clearly kinds and colours were chosen: 1 fits exactly, 0 lies halfway to another.
    """

    ok: Tensor
    miss: Tensor
    misshape: Tensor
    margin: Tensor


def read(pictures: Tensor) -> Reading:
    """Recover the scene of each picture.

    Args:
        pictures: (B, 3, S, S) float in [-1, 1], S 32 or more; noise of standard deviation 0.15 does no harm.
    Returns:
        Reading of batch size B.
    Raises:
        ValueError: the shape or the type is another.
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3 or pictures.shape[2] != pictures.shape[3]:
        raise ValueError(f"got pictures of shape {tuple(pictures.shape)}, expected (B, 3, S, S)")
    if pictures.shape[2] < 32:
        raise ValueError(f"got pictures of {pictures.shape[2]} pixels a side, expected 32 or more: draw them larger")
    if not pictures.is_floating_point():
        raise ValueError(f"got pictures of type {pictures.dtype}, expected floats in [-1, 1]: use x / 127.5 - 1")
    if len(pictures) == 0:
        raise ValueError("got no pictures, expected one or more")
    parts = [_read_chunk(chunk.detach().float()) for chunk in pictures.split(CHUNK)]
    return Reading(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Reading)))


def _read_chunk(pictures):
    finite = pictures.isfinite().all(dim=1).all(dim=1).all(dim=1)
    pictures = torch.where(finite[:, None, None, None], pictures, 0.0)
    side = pictures.shape[-1]
    background = find_background(pictures)
    alpha, misfit = unmix(pictures, background)
    masks = two_largest(label_parts(is_foreground(pictures, background)))  # (B, 2, S, S)
    present = masks.flatten(2).sum(dim=2) >= LEAST_AREA * side * side

    colour, colour_margin = fit_colours(alpha, misfit, masks, background)
    alpha = torch.gather(alpha, 1, colour[:, :, None, None].expand_as(masks))
    near = grow(masks, side // 32) * ~masks.flip(1)  # the antialiased rim too, not the other object
    area, centre = moments(alpha * near)
    what, radius, kind_margin, misshape = fit_kinds(alpha, near, area, centre)

    what, colour = (torch.where(present, v, -1) for v in (what, colour))
    centre, radius = centre * present[:, :, None], radius * present
    margin = torch.where(present, torch.minimum(kind_margin, colour_margin), 1.0).amin(dim=1)
    misshape = (misshape * present).amax(dim=1)
    in_range = ((radius >= LEAST_RADIUS) & (radius <= LARGEST_RADIUS) | ~present).all(dim=1)
    what, colour, centre, radius = _first_the_left_or_upper(what, colour, centre, radius)
    two = what[:, 1] >= 0
    size = torch.where(what >= 0, name_sizes(radius), -1)
    place = torch.where(two, -1, name_places(centre[:, 0]))
    relation = torch.where(two, name_relations(centre), -1)
    scenes = Scenes(what, colour, size, place, relation, background, centre, radius)

    error = pictures - draw(scenes, side)
    miss = patches(error).square().sum(dim=1).sqrt().amax(dim=(1, 2))
    rms = error.square().flatten(1).mean(dim=1).sqrt()
    ok = finite & present[:, 0] & in_range & (margin >= LEAST_MARGIN)
    ok = ok & (miss <= LARGEST_MISS) & (misshape <= LARGEST_MISSHAPE) & (rms <= LARGEST_RMS)
    return Reading(*(getattr(scenes, field.name) for field in fields(Scenes)), ok, miss, misshape, margin)


def _first_the_left_or_upper(what, colour, centre, radius):
    """Swap two objects where the first lies right of or below the second."""
    offset = centre[:, 1] - centre[:, 0]
    axis = (offset[:, 1].abs() > offset[:, 0].abs()).long()
    swap = (torch.gather(offset, 1, axis[:, None])[:, 0] < 0) & (what[:, 1] >= 0)
    return tuple(
        torch.where(swap.reshape(-1, *[1] * (v.ndim - 1)), v.flip(1), v) for v in (what, colour, centre, radius)
    )
