"""nbval compares what a notebook prints; with this file beside the notebooks it compares their pictures too.

A picture that another version of matplotlib stored is laid out differently: it is left out, and the summary says so.
"""

from __future__ import annotations

import base64
import io

import numpy as np
from nbval.plugin import IPyNbCell
from PIL import Image

left_out: set[str] = set()
compare_words = IPyNbCell.compare_outputs


def png_files(outputs) -> list[bytes]:
    """The pictures among a cell's outputs."""
    found = [output.get("data", {}).get("image/png") for output in outputs]
    return [base64.b64decode(png) for png in found if png]


def pen(png: bytes) -> str:
    """The program that drew a picture: matplotlib writes its version into each."""
    return Image.open(io.BytesIO(png)).info.get("Software", "another program")


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


def compare_words_and_pictures(self, test, ref, skip_compare=None) -> bool:
    """nbval's comparison, then that of the pictures."""
    if not compare_words(self, test, ref, skip_compare):
        return False
    new, stored = png_files(test), png_files(ref)
    if len(new) != len(stored):
        self.comparison_traceback.append(f"{len(stored)} pictures are stored, the run made {len(new)}")
        return False
    for number, (a, b) in enumerate(zip(new, stored, strict=True), 1):
        if pen(a) != pen(b):
            left_out.add(f"{self.parent.name}: stored by {pen(b)}, here is {pen(a)}")
        elif looks_different(a, b):
            self.comparison_traceback.append(f"picture {number} of the cell looks different from the stored one")
            return False
    return True


IPyNbCell.compare_outputs = compare_words_and_pictures


def pytest_terminal_summary(terminalreporter) -> None:
    """Say whose pictures were not compared."""
    for line in sorted(left_out):
        terminalreporter.write_line(f"pictures not compared, {line}")
