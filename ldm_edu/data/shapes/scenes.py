"""What a scene of shapes is: its words, its geometry and how the one names the other.

A picture is the unit square: x grows to the right, y grows downwards, lengths are parts of its side.
Used in notebooks 07, 08 and 13.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

KINDS = ("circle", "square", "triangle", "star", "cross", "ring")
COLOURS = {  # RGB in [0, 1]
    "red": (0.90, 0.10, 0.12),
    "green": (0.10, 0.65, 0.20),
    "blue": (0.12, 0.25, 0.95),
    "yellow": (1.00, 0.90, 0.10),
    "purple": (0.58, 0.10, 0.78),
    "orange": (1.00, 0.52, 0.05),
    "cyan": (0.10, 0.82, 0.90),
    "pink": (1.00, 0.50, 0.78),
}
N_KINDS, N_COLOURS = len(KINDS), len(COLOURS)
BACKGROUNDS = {
    "black": (0.0, 0.0, 0.0),
    "grey": (0.5, 0.5, 0.5),
    "white": (1.0, 1.0, 1.0),
    "navy": (0.08, 0.08, 0.30),
}
SIZES = {"small": (0.130, 0.145), "large": (0.190, 0.210)}  # range of the radius
PLACES = (
    *("top left", "top", "top right"),
    *("left", "centre", "right"),
    *("bottom left", "bottom", "bottom right"),
)
RELATIONS = ("left of", "right of", "above", "below")  # i ^ 1 is the opposite of i

GRID = (0.27, 0.50, 0.73)  # the coordinates of the nine places
JITTER = 0.045  # how far an object may be from the middle of its place, in x and in y
TILT = 0.4  # two objects' offset across the axis of their relation, over the one along it, is at most this

# A measured value has a word if it misses the word's range by no more than this; between words it has none.
SIZE_SLACK, PLACE_SLACK, TILT_SLACK = 0.02, 0.04, 0.2


@dataclass(frozen=True)
class Factors:
    """The words of B scenes as indices; -1 is absent, unsaid or unclear.

    Args:
        what:       (B, 2) int64, index in KINDS; what[:, 1] is -1 where there is one object.
        colour:     (B, 2) int64, index in COLOURS.
        size:       (B, 2) int64, index in SIZES.
        place:      (B,) int64, index in PLACES; -1 where there are two objects.
        relation:   (B,) int64, index in RELATIONS, of object 0 to object 1; -1 where there is one.
        background: (B,) int64, index in BACKGROUNDS.
    """

    what: Tensor
    colour: Tensor
    size: Tensor
    place: Tensor
    relation: Tensor
    background: Tensor

    def __len__(self):
        return len(self.what)

    def __getitem__(self, index):
        """The scenes that a slice, a list, an index tensor or a mask picks."""
        if isinstance(index, int):
            raise ValueError(f"got the number {index}; a batch stays a batch: use [{index} : {index + 1}]")
        return type(self)(*(getattr(self, field.name)[index] for field in fields(self)))

    def to(self, device):
        """The same scenes on another device."""
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class Scenes(Factors):
    """Factors and their geometry: all that `draw` needs.

    Args:
        centre: (B, 2, 2) float32, the x and y of each object, in [0, 1]; 0 where absent.
        radius: (B, 2) float32, half the side of the box that holds the object; 0 where absent.
    """

    centre: Tensor
    radius: Tensor


def name_sizes(radius: Tensor) -> Tensor:
    """(...) float -> (...) int64: the index in SIZES, or -1 where the radius is of no size."""
    size = torch.full(radius.shape, -1, dtype=torch.int64, device=radius.device)
    for index, (low, high) in enumerate(SIZES.values()):
        size[(radius >= low - SIZE_SLACK) & (radius <= high + SIZE_SLACK)] = index
    return size


def name_places(centre: Tensor) -> Tensor:
    """(..., 2) float -> (...) int64: the index in PLACES, or -1 where the centre is between places."""
    distance = (centre[..., None] - centre.new_tensor(GRID)).abs()  # (..., 2, 3)
    miss, cell = distance.min(dim=-1)
    place = 3 * cell[..., 1] + cell[..., 0]
    return torch.where(miss.amax(dim=-1) <= JITTER + PLACE_SLACK, place, -1)


def name_relations(centre: Tensor) -> Tensor:
    """(..., 2, 2) float -> (...) int64: the index in RELATIONS, or -1 where the two lie diagonally."""
    dx, dy = (centre[..., 1, :] - centre[..., 0, :]).unbind(dim=-1)
    along, across = torch.maximum(dx.abs(), dy.abs()), torch.minimum(dx.abs(), dy.abs())
    relation = torch.where(dx.abs() >= dy.abs(), (dx < 0).long(), 2 + (dy < 0).long())
    return torch.where(across <= (TILT + TILT_SLACK) * along, relation, -1)


def label_of(scenes: Factors, n_colours: int = N_COLOURS) -> Tensor:
    """The class of one-object scenes, label = what · n_colours + colour.

    Args:
        scenes:    B scenes of one object each.
        n_colours: how many of COLOURS are in use.
    Returns:
        (B,) int64 in [0, n_kinds · n_colours).
    Raises:
        ValueError: a scene has two objects, or a colour outside the first n_colours.
    """
    if (scenes.what[:, 1] >= 0).any():
        raise ValueError("labels are for scenes of one object, got a scene of two: sample with objects=1")
    if (scenes.colour[:, 0] >= n_colours).any():
        raise ValueError(f"got a colour past the first {n_colours}: sample with the same n_colours")
    return scenes.what[:, 0] * n_colours + scenes.colour[:, 0]


def label_names(n_kinds: int = N_KINDS, n_colours: int = N_COLOURS) -> list[str]:
    """The name of every class in the order of `label_of`, such as "red circle"."""
    return [f"{colour} {kind}" for kind in KINDS[:n_kinds] for colour in list(COLOURS)[:n_colours]]
