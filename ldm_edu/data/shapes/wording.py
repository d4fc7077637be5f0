"""Captions of scenes, and a parser that reads them back.

    caption    := thing [relation thing | place] ["on a" background "background"]
    thing      := ["a" | "an"] [size] [colour] kind

Used in notebook 08.
"""

import re

import torch

from ldm_edu.data.shapes.scenes import BACKGROUNDS, COLOURS, KINDS, PLACES, RELATIONS, SIZES, Factors

PLACE_PHRASES = (
    *("in the top left", "at the top", "in the top right"),
    *("on the left", "in the centre", "on the right"),
    *("in the bottom left", "at the bottom", "in the bottom right"),
)
assert all(phrase.endswith(place) for phrase, place in zip(PLACE_PHRASES, PLACES, strict=True))


def captions(scenes: Factors) -> list[str]:
    """Say scenes in words, such as "a large red circle above a small blue square on a grey background".

    Args:
        scenes: B factors or scenes; what is -1 is left unsaid.
    Returns:
        A list of B strings; `parse` gives the factors back.
    """
    said = []
    for what, colour, size, place, relation, background in zip(
        scenes.what.tolist(),
        scenes.colour.tolist(),
        scenes.size.tolist(),
        scenes.place.tolist(),
        scenes.relation.tolist(),
        scenes.background.tolist(),
        strict=True,
    ):
        words = [_thing(what[0], colour[0], size[0])]
        if relation >= 0:
            words += [RELATIONS[relation], _thing(what[1], colour[1], size[1])]
        if place >= 0:
            words.append(PLACE_PHRASES[place])
        if background >= 0:
            words.append(f"on a {list(BACKGROUNDS)[background]} background")
        said.append(" ".join(words))
    return said


def leave_unsaid(factors: Factors, share: float, *, generator: torch.Generator) -> Factors:
    """Factors whose sizes, place and background are each left out of the caption with a chance of `share`.

    Kinds, colours and the relation stay. A model trained on such captions understands short ones too.

    Args:
        factors:   B factors or scenes.
        share:     chance, in [0, 1].
        generator: source of randomness, on the factors' device.
    Returns:
        Factors of batch size B, -1 where unsaid; both sizes of a scene go or stay together.
    Raises:
        ValueError: share is out of range.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, expected a chance in [0, 1]")
    unsaid = torch.rand(3, len(factors), generator=generator, device=generator.device) < share
    return Factors(
        factors.what,
        factors.colour,
        factors.size.masked_fill(unsaid[0, :, None], -1),
        factors.place.masked_fill(unsaid[1], -1),
        factors.relation,
        factors.background.masked_fill(unsaid[2], -1),
    )


def parse(captions: list[str]) -> Factors:
    """Read captions; what a caption leaves unsaid is -1.

    Case, punctuation, "to the left of", "center" and "gray" are understood. A size, a colour, the place and
    the background may be left out; a kind may not.

    Args:
        captions: B strings.
    Returns:
        Factors of batch size B.
    Raises:
        ValueError: captions is one string, a word is unknown, or the words make no caption.
    """
    if isinstance(captions, str):
        raise ValueError(f"got one string, expected a list of captions: use [{captions!r}]")
    rows = [_parse_one(caption) for caption in captions]
    columns = zip(*rows, strict=True) if rows else ((),) * 6
    what, colour, size, place, relation, background = (torch.tensor(c, dtype=torch.int64) for c in columns)
    return Factors(
        *(pairs.reshape(-1, 2) for pairs in (what, colour, size)), place=place, relation=relation, background=background
    )


def _thing(what, colour, size):
    words = [list(SIZES)[size]] if size >= 0 else []
    words += [list(COLOURS)[colour]] if colour >= 0 else []
    words.append(KINDS[what])
    return f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"


def _choice(words):
    """A pattern of one named choice, longer words first so that "left" does not hide "left of"."""
    return "(" + "|".join(sorted(words, key=len, reverse=True)) + ")"


_THING = rf"(?:an? )?(?:{_choice(SIZES)} )?(?:{_choice(COLOURS)} )?{_choice(KINDS)}"
_CAPTION = re.compile(
    rf"{_THING}(?: {_choice(RELATIONS)} {_THING}| {_choice(PLACE_PHRASES)})?"
    rf"(?: on an? {_choice(BACKGROUNDS)} background)?"
)
_VOCABULARY = {*KINDS, *COLOURS, *SIZES, *BACKGROUNDS} | set(
    " ".join([*RELATIONS, *PLACE_PHRASES, "a an to background"]).split()
)


def _parse_one(caption):
    words = re.sub(r"[^a-z]+", " ", caption.lower()).strip()
    words = re.sub(r"\bcenter\b", "centre", re.sub(r"\bgray\b", "grey", words))
    unknown = sorted(set(words.split()) - _VOCABULARY)
    if unknown:
        raise ValueError(
            f"unknown in {caption!r}: {', '.join(unknown)}. Known are the kinds {', '.join(KINDS)}; "
            f"the colours {', '.join(COLOURS)}; the sizes {', '.join(SIZES)}; the relations "
            f"{', '.join(RELATIONS)}; the places {', '.join(PLACE_PHRASES)}; "
            f"the backgrounds {', '.join(BACKGROUNDS)}"
        )
    words = re.sub(r"\bto the (left|right) of\b", r"\1 of", words)
    match = _CAPTION.fullmatch(words)
    if match is None:
        raise ValueError(
            f"{caption!r} is no caption of ours: expected '[a] [size] [colour] kind', then a relation and a "
            f"second such thing, or a place, or neither; then 'on a ... background' or nothing"
        )
    size_0, colour_0, kind_0, relation, size_1, colour_1, kind_1, place, background = match.groups()
    return (
        (_index(KINDS, kind_0), _index(KINDS, kind_1)),
        (_index(COLOURS, colour_0), _index(COLOURS, colour_1)),
        (_index(SIZES, size_0), _index(SIZES, size_1)),
        _index(PLACE_PHRASES, place),
        _index(RELATIONS, relation),
        _index(BACKGROUNDS, background),
    )


def _index(words, word):
    return -1 if word is None else list(words).index(word)
