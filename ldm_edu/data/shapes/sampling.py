"""Random scenes of shapes, and the combinations that training never sees.

Used in notebooks 07, 08 and 13.
"""

import torch
from torch import Tensor

from ldm_edu.data.shapes.scenes import (
    BACKGROUNDS,
    GRID,
    JITTER,
    N_COLOURS,
    N_KINDS,
    PLACES,
    SIZES,
    TILT,
    Factors,
    Scenes,
)
from ldm_edu.kinds import check_whole

EDGE = 0.015  # least distance of an object from the picture's edge
GAP = 0.08  # least distance between two objects along the axis of their relation: 2.5 pixels of 32
SPLITS = ("all", "train", "held_out")


def sample_scenes(
    n: int,
    *,
    objects: int | None = None,
    split: str = "all",
    n_kinds: int = N_KINDS,
    n_colours: int = N_COLOURS,
    generator: torch.Generator,
) -> Scenes:
    """Draw n scenes at random, uniform over the combinations that the split allows.

    In "train" no scene is held out (see `is_held_out`). In "held_out" a scene of one object has a held-out
    pair of kind and colour; a scene of two has a held-out arrangement, of pairs that training shows. So
    each kind of novelty can be scored by itself. "all" draws from everything.

    Args:
        n:         number of scenes, 1 or more.
        objects:   1, 2, or None for one or two with equal chance.
        split:     "all", "train" or "held_out".
        n_kinds:   use the first n_kinds of KINDS only, 1 to 6.
        n_colours: use the first n_colours of COLOURS only, 1 to 8.
        generator: source of randomness; the scenes are made on its device.
    Returns:
        Scenes of batch size n.
    Raises:
        ValueError: an argument is out of range, or the split leaves no combination.
    """
    _check(n, objects, split, n_kinds, n_colours)
    device = generator.device
    u = torch.rand(n, 18, generator=generator, device=device)  # every choice below uses its own columns
    two = u[:, 0] < {None: 0.5, 1: 0.0, 2: 1.0}[objects]

    kinds, colours = torch.arange(n_kinds, device=device), torch.arange(n_colours, device=device)
    held_pair = _pair_is_held_out(kinds[:, None], colours)
    nothing_held = torch.zeros_like(held_pair)
    what, colour, size = (torch.full((n, 2), -1, device=device) for _ in range(3))
    place, relation = (torch.full((n,), -1, device=device) for _ in range(2))
    centre, radius = torch.zeros(n, 2, 2, device=device), torch.zeros(n, 2, device=device)
    size_index = (u[:, 1:3] * len(SIZES)).long()
    low, high = torch.tensor(list(SIZES.values()), device=device)[size_index].unbind(dim=-1)
    any_radius = low + (high - low) * u[:, 3:5]

    one = ~two
    if one.any():
        allowed = {"all": ~nothing_held, "train": ~held_pair, "held_out": held_pair}[split]
        chosen = _pick(allowed.nonzero(), u[one, 5], "pair of kind and colour", split)
        what[one, 0], colour[one, 0] = chosen.unbind(dim=1)
        size[one, 0], radius[one, 0] = size_index[one, 0], any_radius[one, 0]
        place[one] = (u[one, 6] * len(PLACES)).long()
        cell = torch.stack([place[one] % 3, place[one] // 3], dim=1)
        centre[one, 0] = torch.tensor(GRID, device=device)[cell] + JITTER * (2 * u[one, 7:9] - 1)

    if two.any():
        axes = torch.arange(2, device=device)
        held = _arrangement_is_held_out(kinds[:, None, None], kinds[:, None], axes)
        allowed = {"all": torch.ones_like(held), "train": ~held, "held_out": held}[split]
        first, second, axis = _pick(allowed.nonzero(), u[two, 5], "arrangement", split).unbind(dim=1)
        flip = u[two, 9] < 0.5  # the caption starts with the right or lower object
        what[two] = torch.stack([first, second], dim=1)
        free = nothing_held if split == "all" else held_pair
        for i in range(2):
            colour[two, i] = _pick_colour(~free, what[two, i], u[two, 10 + i], split)
        size[two], radius[two] = size_index[two], any_radius[two]
        centre[two] = _two_centres(any_radius[two], axis, u[two, 12:16])
        relation[two] = 2 * axis + flip.long()
        swap = torch.where(two, relation % 2 == 1, False)
        for values in (what, colour, size, centre, radius):
            values[swap] = values[swap].flip(1)

    background = (u[:, 17] * len(BACKGROUNDS)).long()
    return Scenes(what, colour, size, place, relation, background, centre, radius)


def is_held_out(factors: Factors) -> Tensor:
    """Whether each scene has a combination that the training split never shows.

    Held out are 8 of the 48 pairs of kind and colour, those with (kind + colour) mod 6 = 0, and 12 of the
    72 arrangements of two kinds: kind k with kind k + 1 (mod 6) on its right, and with kind k + 2 below it.
    An arrangement is held out in both wordings, since "a left of b" and "b right of a" are one picture.

    Args:
        factors: B scenes in which kinds, colours and relation are known.
    Returns:
        (B,) bool.
    """
    pair = (_pair_is_held_out(factors.what, factors.colour) & (factors.what >= 0)).any(dim=1)
    swapped = (factors.relation % 2 == 1)[:, None]
    first, second = torch.where(swapped, factors.what.flip(1), factors.what).unbind(dim=1)
    arrangement = _arrangement_is_held_out(first, second, factors.relation // 2)
    return pair | (arrangement & (factors.relation >= 0))


def _pair_is_held_out(what, colour):
    return (what + colour) % 6 == 0


def _arrangement_is_held_out(first, second, axis):
    """first is the left or upper kind; axis is 0 for left and right, 1 for above and below."""
    return (second - first - axis) % 6 == 1


def _pick(rows, u, name, split):
    """For each u in [0, 1) one of the rows."""
    if len(rows) == 0:
        raise ValueError(f"split {split!r} has no {name} among so few kinds and colours: use more of them")
    return rows[(u * len(rows)).long()]


def _pick_colour(allowed, what, u, split):
    """For each u in [0, 1) one of the colours that (n_kinds, n_colours) bool allows to the kind."""
    count = allowed.sum(dim=1)
    if (count[what] == 0).any():
        raise ValueError(f"split {split!r} leaves a kind without colours: use a larger n_colours")
    ordered = allowed.long().argsort(dim=1, descending=True, stable=True)
    return ordered[what, (u * count[what]).long()]


def _two_centres(radius, axis, u):
    """Place two objects apart along the axis, the first one left or above; (N, 2, 2)."""
    slack = 1 - 2 * radius.sum(dim=1) - 2 * EDGE - GAP  # how much of the axis is free
    before, until = torch.sort(u[:, :2], dim=1).values.unbind(dim=1)
    start = EDGE + slack * before + radius[:, 0]
    stop = EDGE + slack * until + GAP + 2 * radius[:, 0] + radius[:, 1]
    reach = EDGE + radius.amax(dim=1)
    middle = reach + (1 - 2 * reach) * u[:, 2]
    tilt = TILT / 2 * (2 * u[:, 3] - 1) * (stop - start)
    across = torch.stack([middle - tilt, middle + tilt], dim=1)
    across = across.clamp(EDGE + radius, 1 - EDGE - radius)  # only ever lessens the tilt
    along = torch.stack([start, stop], dim=1)
    horizontal = (axis == 0)[:, None]
    return torch.stack([torch.where(horizontal, along, across), torch.where(horizontal, across, along)], dim=2)


def _check(n, objects, split, n_kinds, n_colours):
    check_whole(1, n=n)
    if objects not in (None, 1, 2):
        raise ValueError(f"objects is {objects!r}, expected 1, 2 or None for both")
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    if not 1 <= n_kinds <= N_KINDS:
        raise ValueError(f"n_kinds is {n_kinds}, expected 1 to {N_KINDS}")
    if not 1 <= n_colours <= N_COLOURS:
        raise ValueError(f"n_colours is {n_colours}, expected 1 to {N_COLOURS}")
