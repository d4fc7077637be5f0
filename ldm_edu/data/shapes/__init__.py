"""Pictures of coloured shapes with captions, and a reader that says whether a picture obeys its caption.

We own the generator of these pictures, so nothing about them is guessed: every factor of a scene is
known, any size can be drawn, and `read` gives the factors back. Used in notebooks 07, 08 and 13.

    scenes.py    what a scene is, its words and geometry; class labels
    sampling.py  random scenes; splits that hold out combinations
    drawing.py   signed distances and the antialiased drawing
    wording.py   captions, and the parser that reads them
    reader.py    from a picture back to its factors: finding.py the objects, fitting.py their words
    obeying.py   does a picture obey its caption?
"""

from ldm_edu.data.shapes.drawing import coverage, draw
from ldm_edu.data.shapes.obeying import obeys, obeys_by_factor
from ldm_edu.data.shapes.reader import Reading, read
from ldm_edu.data.shapes.sampling import is_held_out, sample_scenes
from ldm_edu.data.shapes.scenes import (
    BACKGROUNDS,
    COLOURS,
    KINDS,
    PLACES,
    RELATIONS,
    SIZES,
    Factors,
    Scenes,
    label_names,
    label_of,
)
from ldm_edu.data.shapes.wording import captions, leave_unsaid, parse

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "KINDS",
    "PLACES",
    "RELATIONS",
    "SIZES",
    "Factors",
    "Reading",
    "Scenes",
    "captions",
    "coverage",
    "draw",
    "is_held_out",
    "label_names",
    "label_of",
    "leave_unsaid",
    "obeys",
    "obeys_by_factor",
    "parse",
    "read",
    "sample_scenes",
]
