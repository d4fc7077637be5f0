"""Does a picture obey its caption? Exact, since the reader is.

Derived in notebook 08; a score of models in notebook 13.
"""

import torch
from torch import Tensor

from ldm_edu.data.shapes.reader import read
from ldm_edu.data.shapes.wording import parse


def obeys(pictures: Tensor, captions: list[str]) -> Tensor:
    """Whether each picture shows what its caption says.

    What a caption leaves unsaid is free, except the number of objects: "a red circle" is not obeyed by a
    circle beside a square. A picture that can't be read obeys nothing.

    Args:
        pictures: (B, 3, S, S) float in [-1, 1], S 32 or more.
        captions: B strings, see `parse`.
    Returns:
        (B,) bool.
    Raises:
        ValueError: as `read` and `parse`, or there are not as many captions as pictures.
    """
    return torch.stack(list(obeys_by_factor(pictures, captions).values())).all(dim=0)


def obeys_by_factor(pictures: Tensor, captions: list[str]) -> dict[str, Tensor]:
    """Which factors of its caption each picture shows.

    "a left of b" and "b right of a" are the same. Where a picture obeys neither order of its objects in
    full, the order is scored in which more factors hold.

    Args:
        pictures: (B, 3, S, S) float in [-1, 1], S 32 or more.
        captions: B strings, see `parse`.
    Returns:
        A dict of (B,) bool with the keys objects (their number), what, colour, size, place, relation and
        background. An unsaid factor holds; where the picture can't be read, none does.
    Raises:
        ValueError: as `read` and `parse`, or there are not as many captions as pictures.
    """
    asked = parse(captions).to(pictures.device)
    if len(asked) != len(pictures):
        raise ValueError(f"got {len(pictures)} pictures and {len(asked)} captions, expected one caption each")
    seen = read(pictures)
    two = seen.what[:, 1] >= 0
    orders = []
    for swap in (False, True):
        what, colour, size = (v.flip(1) if swap else v for v in (seen.what, seen.colour, seen.size))
        relation = torch.where(seen.relation >= 0, seen.relation ^ int(swap), -1)
        held = {
            "objects": two == (asked.what[:, 1] >= 0),
            "what": _holds(asked.what, what).all(dim=1),
            "colour": _holds(asked.colour, colour).all(dim=1),
            "size": _holds(asked.size, size).all(dim=1),
            "place": _holds(asked.place, seen.place),
            "relation": _holds(asked.relation, relation),
            "background": _holds(asked.background, seen.background),
        }
        orders.append(torch.stack(list(held.values())) & seen.ok)
    as_said, swapped = orders
    best = torch.where(as_said.sum(dim=0) >= swapped.sum(dim=0), as_said, swapped)
    return dict(zip(held, best, strict=True))


def _holds(asked, seen):
    return (asked < 0) | (asked == seen)
