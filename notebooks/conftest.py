"""How nbval compares these notebooks: pictures too, and what comes out of a training within bounds.

A training ends elsewhere on another kind of processor: rounding differs in the last digit, and a thousand steps
magnify it. So in a cell tagged "trained" each number may be off by a fifth (a whole number by 20, for shares in percent
of a hundred samples; a decimal by 5 of its last digit), all else must be equal, and pictures must agree in size.
A picture that another version of matplotlib stored is laid out differently: it is left out, and the summary says so.
"""

from __future__ import annotations

import base64
import copy
import io
import re

import numpy as np
from nbval.plugin import IPyNbCell
from PIL import Image

TRAINED = "trained"
NUMBER = re.compile(r"\d+(?:\.\d+)?")
left_out: set[str] = set()
compare_words = IPyNbCell.compare_outputs


def png_files(outputs) -> list[bytes]:
    """The pictures among a cell's outputs."""
    found = [output.get("data", {}).get("image/png") for output in outputs]
    return [base64.b64decode(png) for png in found if png]


def pen(png: bytes) -> str:
    """The program that drew a picture: matplotlib writes its version into each."""
    return Image.open(io.BytesIO(png)).info.get("Software", "another program")


def size(png: bytes) -> tuple[int, int]:
    """Width and height."""
    return Image.open(io.BytesIO(png)).size


def looks_different(a: bytes, b: bytes) -> bool:
    """Whether two pictures differ visibly: in size, or in the mean of some 8×8 block by more than 0.1 of the range.

    Blocks forgive a line drawn half a pixel off by another version of the font or drawing library.
    """
    a, b = (np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.float64) / 255 for png in (a, b))
    if a.shape != b.shape:
        return True
    height, width = (n // 8 * 8 for n in a.shape[:2])
    means = [x[:height, :width].reshape(height // 8, 8, width // 8, 8, 3).mean((1, 3)) for x in (a, b)]
    return bool(np.abs(means[0] - means[1]).max() > 0.1)


def near(a: str, b: str) -> bool:
    """Whether two printed numbers may come from one training on two machines."""
    places = len(b.partition(".")[2])
    if places != len(a.partition(".")[2]):
        return False
    off = abs(float(a) - float(b))
    return off <= 0.2 * max(float(a), float(b)) or off < (5.5 * 10.0**-places if places else 20.5)


def agree(new: str, stored: str) -> bool:
    """Whether two texts are equal but for spaces and for numbers that are near."""
    if NUMBER.sub("0", new).split() != NUMBER.sub("0", stored).split():
        return False
    return all(near(a, b) for a, b in zip(NUMBER.findall(new), NUMBER.findall(stored), strict=True))


def forgiving(test, ref) -> list:
    """The new outputs, with the stored text in place of each text that agrees with it."""
    forgiven = []
    for new, stored in zip(test, ref, strict=False):
        if "text" in new and "text" in stored and agree(new["text"], stored["text"]):
            new = copy.copy(new)
            new["text"] = stored["text"]
        forgiven.append(new)
    return forgiven + list(test[len(forgiven) :])


def compare_words_and_pictures(self, test, ref, skip_compare=None) -> bool:
    """nbval's comparison, then that of the pictures."""
    trained = TRAINED in self.cell.metadata.get("tags", [])
    if not compare_words(self, forgiving(test, ref) if trained else test, ref, skip_compare):
        return False
    new, stored = png_files(test), png_files(ref)
    if len(new) != len(stored):
        self.comparison_traceback.append(f"{len(stored)} pictures are stored, the run made {len(new)}")
        return False
    for number, (a, b) in enumerate(zip(new, stored, strict=True), 1):
        if pen(a) != pen(b):
            left_out.add(f"{self.parent.name}: stored by {pen(b)}, here is {pen(a)}")
        elif size(a) != size(b) if trained else looks_different(a, b):
            self.comparison_traceback.append(f"picture {number} of the cell looks different from the stored one")
            return False
    return True


IPyNbCell.compare_outputs = compare_words_and_pictures


def pytest_terminal_summary(terminalreporter) -> None:
    """Say whose pictures were not compared."""
    for line in sorted(left_out):
        terminalreporter.write_line(f"pictures not compared, {line}")
